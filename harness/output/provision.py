"""What `harness provision` did to a device, as text and JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.devices import print_checks
from harness.output.tables import print_json
from harness.output.terminal import echo

if TYPE_CHECKING:
    from harness.devices.provision import Provisioned

_HOW = {
    "pip": "by the device's pip",
    "carried": "with wheels that this machine's pip downloads and sends",
    "pkg": "by Termux's pkg",
}


def print_provisioned(found: Provisioned, *, json_output: bool) -> None:
    """Print what was done, what was left out and why, and the trials of the runtimes."""
    if json_output:
        print_json(found.to_json())
        return
    packages = ", ".join(f"{name} {version}".strip() for name, version in found.packages.items())
    runtimes = ", ".join(found.runtimes)
    for note in found.notes:
        echo(f"{note}; so another way was taken")
    if found.state == "installed":
        echo(f"{found.device}: installed for {runtimes} {_HOW[found.how]}: {packages}")
    elif found.state == "planned":
        echo(f"{found.device}: would install for {runtimes} {_HOW[found.how]}: {packages}")
    elif found.state == "unchanged" and runtimes:
        echo(
            f"{found.device}: nothing to do for {runtimes}"
            + (f" (installed here: {packages})" if packages else "")
        )
    elif found.state == "unchanged":
        echo(f"{found.device}: nothing to remove, harness provision has installed nothing there")
    else:
        echo(f"{found.device}: {'would remove' if found.state == 'would-remove' else 'removed'} {packages}")
    for runtime, reason in found.left_out.items():
        echo(f"{found.device}: {runtime} is left out: {reason}")
    if found.checks:
        print_checks(found.device, found.checks)
