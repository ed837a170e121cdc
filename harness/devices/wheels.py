"""Wheels for another machine, downloaded here by this Python's pip, for devices that have no pip or no network."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.devices.answers import Survey
from harness.devices.runtime_packages import machine_of
from harness.errors import DeviceError
from space.text import printable

LIMIT_S = 1800.0
MOST_TOLD = 500  # characters of what pip prints
_FIRST_GLIBC = {"x86_64": 5, "i686": 5}  # of manylinux wheels: PEP 600; of other machines 2.17
_NEWEST_GLIBC = 99
_LEGACY = {12: "manylinux2010", 17: "manylinux2014", 5: "manylinux1"}


def platform_tags(survey: Survey) -> list[str]:
    """Return the tags of wheels that run on a device, the newest glibc first (https://peps.python.org/pep-0600)."""
    machine = machine_of(survey)
    major, _, minor = survey.libc_version.partition(".")
    newest = min(int(minor), _NEWEST_GLIBC) if major == "2" and minor.isdecimal() else 17
    tags = []
    for one in range(newest, _FIRST_GLIBC.get(machine, 17) - 1, -1):
        tags.append(f"manylinux_2_{one}_{machine}")
        if one in _LEGACY:
            tags.append(f"{_LEGACY[one]}_{machine}")
    return [*tags, f"linux_{machine}"]


def download_wheels(
    survey: Survey, requirements: Sequence[str], folder: Path, *, no_deps: bool = False
) -> list[Path]:
    """Download the wheels of some requirements and, without `no_deps`, of what these need into a folder; return them.

    pip verifies each by its index's digest. Raises: DeviceError with what pip says.
    """
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-input", "--disable-pip-version-check"]
    command += ["--dest", str(folder), "--only-binary", ":all:", "--implementation", "cp"]
    command += ["--python-version", ".".join(map(str, survey.version))]
    command += ["--no-deps"] if no_deps else []
    for tag in platform_tags(survey):
        command += ["--platform", tag]
    try:
        done = subprocess.run(
            [*command, "--", *requirements],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeviceError(
            f"this machine's pip did not end within {LIMIT_S:g} s; see to its network"
        ) from error
    if done.returncode:
        said = printable(done.stderr.strip()[-MOST_TOLD:], keep="\n") or f"status {done.returncode}"
        raise DeviceError(f"this machine's pip has no wheels for the device: {said}")
    return sorted(folder.glob("*.whl"))
