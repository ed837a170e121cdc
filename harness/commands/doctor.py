"""`harness doctor`: check whether a device is ready, with the commands that make it so."""

from __future__ import annotations

import typer

from harness.commands.options import Devices, DevicesFile, JsonFlag, named_devices


def doctor(
    device: Devices = None,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Connect to devices, several at once, and check login, Python, runtimes, free space, clocks and temperatures."""
    from harness.devices.doctor import diagnose_all
    from harness.output.devices import DoctorSteps, print_diagnoses

    devices, steps = named_devices(device, devices_file), DoctorSteps()
    raise typer.Exit(print_diagnoses(devices, diagnose_all(devices, steps), steps, json_output=json_output))
