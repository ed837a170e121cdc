"""`harness provision`: install on a device what its runtimes need, in a folder of the agent's own."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag, OneDevice, check_runtime, checked_by, named_device
from harness.devices.destination import LOCAL


def provision(
    device: OneDevice = LOCAL,
    runtime: Annotated[
        list[str] | None,
        typer.Option(
            "--runtime",
            "-r",
            callback=checked_by(check_runtime),
            help="onnxruntime, tflite or litert; repeatable. [default: devices.toml's, else onnxruntime and tflite]",
        ),
    ] = None,
    carry: Annotated[
        bool, typer.Option("--carry", help="Download wheels here and send them; do not ask the device's pip.")
    ] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Remove what this command installed.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")
    ] = False,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """Install a device's runtimes into the agent's folder there, by its own pip or with wheels sent from here.

    The device's system, and the Python that devices.toml names, stay as they are. A second run changes nothing.
    """
    from harness.devices.provision import provision_device
    from harness.output.devices import DoctorSteps, print_provisioned
    from harness.output.heartbeat import speaking

    steps = DoctorSteps()
    with speaking(steps.due):
        found = provision_device(
            named_device(device, devices_file),
            runtimes=runtime or (),
            carry=carry,
            remove=remove,
            dry_run=dry_run,
            on_progress=steps,
        )
    print_provisioned(found, json_output=json_output)
    raise typer.Exit(found.exit_status)
