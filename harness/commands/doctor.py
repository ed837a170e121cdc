"""`harness doctor`: is a device ready, and what to type if it is not."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag
from harness.devices import LOCAL


def doctor(
    device: Annotated[
        list[str] | None, typer.Option("--device", "-d", help="Device; repeatable. [default: local]")
    ] = None,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Reach a device and check login, Python, runtimes, free space, clocks and temperatures."""
    from harness.commands.tables import print_json, print_table
    from harness.devices import load_devices, select_device
    from harness.diagnosis import diagnose

    known = load_devices(devices_file)
    chosen = [select_device(known, name) for name in dict.fromkeys(device or [LOCAL])]
    reports = {one.name: diagnose(one) for one in chosen}
    if json_output:
        print_json({name: [check.to_json() for check in checks] for name, checks in reports.items()})
    else:
        for name, checks in reports.items():
            rows = [[check.status, check.name, check.found, check.remedy] for check in checks]
            print_table(f"{name}", ["", "check", "found", "remedy"], rows, right=())
    if any(check.status == "FAIL" for checks in reports.values() for check in checks):
        raise typer.Exit(3)
