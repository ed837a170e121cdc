"""`harness doctor`: check whether a device is ready, with the commands that make it so."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag
from harness.devices.config import LOCAL


def doctor(
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", help="Device; repeatable. [default: local]")
    ] = None,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Connect to a device and check login, Python, runtimes, free space, clocks and temperatures."""
    from harness.devices.config import load_devices, select_device
    from harness.devices.doctor import diagnose
    from harness.output.tables import print_json

    known = load_devices(devices_file)
    chosen = [select_device(known, name) for name in dict.fromkeys(device or [LOCAL])]
    reports = {one.name: diagnose(one) for one in chosen}
    if json_output:
        print_json({name: [check.to_json() for check in checks] for name, checks in reports.items()})
    else:
        for name, checks in reports.items():
            typer.echo(name)
            width = max(len(check.name) for check in checks)
            for check in checks:  # lines, not a table: a line to be pasted must not be folded
                typer.echo(f"{check.status:4}  {check.name:{width}}  {check.found}")
                if check.remedy:
                    typer.echo(f"{'':{width + 6}}  -> {check.remedy}")
    if any(check.status == "FAIL" for checks in reports.values() for check in checks):
        raise typer.Exit(3)
