"""Devices, what a doctor finds on them, and what was installed there, as text and JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from harness.devices.config import devices_schema
from harness.devices.doctor import exit_status
from harness.output.heartbeat import EVERY_S, speaking
from harness.output.layout import GAP, LEAST_TEXT, PrintedTable
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo, put, width_of, wrap
from space.text import counted, duration

if TYPE_CHECKING:
    from harness.devices.config import Device
    from harness.devices.doctor import Check
    from harness.devices.provision import Provisioned


FIRST_S = 3.0  # a device that takes longer is named
NAMED = 3  # devices in a line


class DoctorSteps:
    """Steps of a doctor with each device, shown on standard error where they take long."""

    def __init__(self) -> None:
        self._begun: dict[str, tuple[str, float]] = {}  # of devices under way: what is done, and since when
        self._next_s = time.monotonic() + FIRST_S

    def __call__(self, name: str, step: str) -> None:
        """Take note of what is done with a device now; an empty text: its checks are known."""
        if step:
            self._begun[name] = (step, time.monotonic())
        else:
            self._begun.pop(name, None)

    def due(self) -> list[str]:
        """Return a line on what is waited for, after some seconds and then each half minute."""
        now_s, under_way = time.monotonic(), list(self._begun.items())
        if now_s < self._next_s or not under_way:
            return []
        self._next_s = now_s + EVERY_S
        named = [f"{name} ({step}, {duration(now_s - since)})" for name, (step, since) in under_way[:NAMED]]
        more = [f"{counted(len(under_way) - NAMED, 'other')}"] if len(under_way) > NAMED else []
        return [f"waiting for {', '.join([*named, *more])}"]


def print_schema() -> None:
    """Print the JSON schema of devices.toml."""
    print_json(devices_schema())


def print_devices(devices: Mapping[str, Device], *, json_output: bool) -> None:
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
    table = PrintedTable(title="devices", columns=columns, rows=rows, right=(), folds=folds, spare=spare)
    print_table(table)


def print_diagnoses(
    devices: Sequence[Device],
    found: Iterable[tuple[str, Sequence[Check]]],
    steps: DoctorSteps,
    *,
    json_output: bool,
) -> int:
    """Print checks, each with its remedy, as they come, and return the command's exit status.

    Of several devices those in trouble are told again at the end; JSON has them in the order of `devices`.
    Lines, not a table: a line to be pasted must not be folded.
    """
    every: dict[str, Sequence[Check]] = {}
    with speaking(steps.due):
        for name, checks in found:
            every[name] = checks
            if not json_output:
                print_checks(name, checks)
    every = {device.name: every[device.name] for device in devices}
    if json_output:
        print_json({name: [check.to_json() for check in checks] for name, checks in every.items()})
    elif len(every) > 1:
        _print_summary(every)
    return exit_status(check for checks in every.values() for check in checks)


def _print_summary(every: Mapping[str, Sequence[Check]]) -> None:
    """Print how many devices are in trouble, and what fails on them."""
    failing = {
        name: failed
        for name, checks in every.items()
        if (failed := [one for one in checks if one.status == "FAIL"])
    }
    warned = [
        name
        for name, checks in every.items()
        if name not in failing and any(one.status == "warn" for one in checks)
    ]
    counts = {
        "in trouble": len(failing),
        "with warnings": len(warned),
        "ready": len(every) - len(failing) - len(warned),
    }
    kinds = [f"{count} {kind}" for kind, count in counts.items() if count]
    echo(f"{counted(len(every), 'device')}: {', '.join(kinds)}")
    for name, failed in failing.items():
        print_checks(name, failed)


def print_provisioned(found: Provisioned, *, json_output: bool) -> None:
    """Print what was done, what was left out and why, and the trials of the runtimes."""
    if json_output:
        print_json(found.to_json())
        return
    for note in found.notes:
        echo(f"{note}; so another way was taken")
    echo(f"{found.device}: {found.sentence()}")
    for runtime, reason in found.left_out.items():
        echo(f"{found.device}: {runtime} is left out: {reason}")
    if found.checks:
        print_checks(found.device, found.checks)


def print_checks(name: str, checks: Sequence[Check]) -> None:
    """Print a device's checks, each with its remedy."""
    echo(name)
    width = max(len(check.name) for check in checks)
    for check in checks:
        head = f"{check.status:4}  {check.name:{width}}"
        _print_beside(head, check.found)
        if check.remedy:
            _print_beside(" " * len(head), f"-> {check.remedy}")


def _print_beside(head: str, text: str) -> None:
    """Print a text beside its head, or below it where a terminal has no room for both; what is to be pasted stays whole."""
    width, margin = width_of(sys.stdout), cell_len(head + GAP)
    if width is not None and width - margin < LEAST_TEXT:
        if head.strip():
            put(head.rstrip(), sys.stdout)
        head, margin = "", len(GAP)
    for line in [text] if width is None else wrap(text, width - margin, ""):
        # A command line has a line of its own, from the first column on.
        if width is not None and cell_len(line) > width - margin:
            if head.strip():
                put(head.rstrip(), sys.stdout)
            put(line, sys.stdout)
        else:
            put(head + " " * (margin - cell_len(head)) + line, sys.stdout)
        head = ""
