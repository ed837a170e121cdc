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
    from harness.devices.config import devices_schema, load_devices
    from harness.output.tables import print_json, print_table

    if schema:
        print_json(devices_schema())
        return
    known = load_devices(devices_file)
    if json_output:
        print_json({name: device.model_dump(mode="json") for name, device in known.items()})
        return
    rows = []
    for name, device in known.items():
        rows.append(
            [
                name,
                device.transport,
                device.where,
                ", ".join(device.runtimes) or "all found",
                str(device.threads),
                device.description,
            ]
        )
    print_table(
        "devices", ["name", "transport", "where", "runtimes", "threads", "description"], rows, right=()
    )
