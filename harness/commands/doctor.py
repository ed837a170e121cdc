"""`harness doctor`: check whether a device is ready, with the commands that make it so."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag, named_devices


def doctor(
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", help="Device; repeatable. [default: local]")
    ] = None,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Connect to a device and check login, Python, runtimes, free space, clocks and temperatures."""
    from harness.devices.doctor import diagnose_all
    from harness.output.devices import print_diagnosis

    found = diagnose_all(named_devices(device, devices_file))
    print_diagnosis(found, json_output=json_output)
    raise typer.Exit(found.exit_status)
