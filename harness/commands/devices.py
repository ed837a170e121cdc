"""`harness devices`: the devices that can be measured on."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import DevicesFile, JsonFlag


def devices(
    schema: Annotated[
        bool, typer.Option("--schema", help="Print the JSON schema of devices.toml, for editors.")
    ] = False,
    devices_file: DevicesFile = None,
    json_output: JsonFlag = False,
) -> None:
    """List the devices of devices.toml; the device 'local' is always there."""
    from harness.devices.config import load_devices
    from harness.output.devices import print_devices, print_schema

    if schema:
        print_schema()
    else:
        print_devices(load_devices(devices_file), json_output=json_output)
