"""`harness doctor`: check whether a device is ready, with the commands that make it so."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import Devices, DevicesFile, JsonFlag, named_devices


def doctor(
    device: Devices = None,
    devices_file: DevicesFile = None,
    fix: Annotated[
        bool,
        typer.Option("--fix", help="Install what is missing, as 'harness provision' does, and check again."),
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Connect to devices, several at once, and check login, Python, runtimes, free space, clocks and temperatures."""
    from harness.devices.doctor import diagnose, diagnose_all
    from harness.devices.provision import fix as fix_device
    from harness.output.devices import DoctorSteps, print_diagnoses

    devices, steps = named_devices(device, devices_file), DoctorSteps()
    found = diagnose_all(devices, steps, fix_device if fix else diagnose)
    raise typer.Exit(print_diagnoses(devices, found, steps, json_output=json_output))
