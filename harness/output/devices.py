"""Devices and what a doctor finds on them, as text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from harness.devices.config import devices_schema
from harness.output.layout import Table
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.devices.doctor import Diagnosis


def print_schema() -> None:
    """Print the JSON schema of devices.toml."""
    print_json(devices_schema())


def print_devices(devices: Mapping[str, Device], *, json_output: bool, wide: bool = False) -> None:
    """Print devices, a row each."""
    if json_output:
        print_json({name: device.model_dump(mode="json") for name, device in devices.items()})
        return
    rows = [
        [
            name,
            device.transport,
            device.where,
            ", ".join(device.runtimes) or "all found",
            str(device.threads),
            device.description,
        ]
        for name, device in devices.items()
    ]
    columns = ["name", "transport", "where", "runtimes", "threads", "description"]
    spare = ("threads", "description", "runtimes")
    table = Table(title="devices", columns=columns, rows=rows, right=(), folds=(3, 5), spare=spare)
    print_table(table, wide=wide)


def print_diagnosis(found: Diagnosis, *, json_output: bool) -> None:
    """Print checks, each with its remedy; lines, not a table: a line to be pasted must not be folded."""
    if json_output:
        print_json({name: [check.to_json() for check in checks] for name, checks in found.checks.items()})
        return
    for name, checks in found.checks.items():
        echo(name)
        width = max(len(check.name) for check in checks)
        for check in checks:
            echo(f"{check.status:4}  {check.name:{width}}  {check.found}")
            if check.remedy:
                echo(f"{'':{width + 6}}  -> {check.remedy}")
