"""The steps of `harness provision` on a device as text and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.devices import print_checks
from harness.output.tables import print_json
from harness.output.terminal import echo

if TYPE_CHECKING:
    from harness.devices.provision import Provisioned


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
