"""Devices and what a doctor finds on them, as text and JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from harness.devices.config import devices_schema
from harness.devices.doctor import exit_status
from harness.output.layout import Table
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.devices.doctor import Check


def print_schema() -> None:
    """Print the JSON schema of devices.toml."""
    print_json(devices_schema())


def print_devices(devices: Mapping[str, Device], *, json_output: bool, wide: bool = False) -> None:
    """Print devices, a row each."""
    if json_output:
        print_json({name: device.model_dump(mode="json") for name, device in devices.items()})
        return
    groups = ["group"] if any(device.group for device in devices.values()) else []
    rows = [
        [
            name,
            device.transport,
            device.where,
            ", ".join(device.runtimes) or "all found",
            str(device.threads),
            *([", ".join(device.group)] if groups else []),
            device.description,
        ]
        for name, device in devices.items()
    ]
    columns = ["name", "transport", "where", "runtimes", "threads", *groups, "description"]
    spare = ("threads", "description", "runtimes", *groups)
    folds = (3, len(columns) - 1)
    table = Table(title="devices", columns=columns, rows=rows, right=(), folds=folds, spare=spare)
    print_table(table, wide=wide)


def print_diagnoses(found: Iterable[tuple[str, Sequence[Check]]], *, json_output: bool) -> int:
    """Print checks, each with its remedy, as they come, and return the command's exit status.

    Lines, not a table: a line to be pasted must not be folded.
    """
    every: dict[str, Sequence[Check]] = {}
    for name, checks in found:
        every[name] = checks
        if json_output:
            continue
        echo(name)
        width = max(len(check.name) for check in checks)
        for check in checks:
            echo(f"{check.status:4}  {check.name:{width}}  {check.found}")
            if check.remedy:
                echo(f"{'':{width + 6}}  -> {check.remedy}")
    if json_output:
        print_json({name: [check.to_json() for check in checks] for name, checks in every.items()})
    return exit_status(check for checks in every.values() for check in checks)
