"""Packages that hold the runtimes: the row of the table that fits a device, and wheels for it; and drivers of phones' GPUs.

Wheels for another machine are downloaded by this Python's pip, for devices that have no pip or no network.
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict

from harness.devices.answers import Survey
from harness.errors import DeviceError
from space.text import printable

LIMIT_S = 1800.0
MOST_TOLD = 500  # characters of what pip prints
_FIRST_GLIBC = {"x86_64": 5, "i686": 5}  # of manylinux wheels: PEP 600; of other machines 2.17
_NEWEST_GLIBC = 99
_LEGACY = {12: "manylinux2010", 17: "manylinux2014", 5: "manylinux1"}

_Release = tuple[int, ...]
# The platform of a 32-bit Python, by the processor of its 64-bit kernel.
_32_BIT = {"aarch64": "armv7l", "x86_64": "i686", "armv8l": "armv7l"}
_OTHERS = {"arm64": "aarch64", "amd64": "x86_64"}


def _release(version: str | Iterable[int]) -> _Release:
    """Return a version as numbers; of text that is none, nothing."""
    if isinstance(version, str):
        pieces = version.split(".")
        return tuple(map(int, pieces)) if all(piece.isdecimal() for piece in pieces) else ()
    return tuple(version)


_Told = Annotated[_Release, BeforeValidator(_release)]


class PackageRow(BaseModel):
    """Packages of a runtime for some systems; `python` has the first and the last release.

    needs_numpy: numpy 1 is the device's own, and nothing that the packages need is installed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    runtime: str
    requirements: tuple[str, ...]
    python: tuple[_Told, _Told]
    machines: tuple[str, ...]
    libc: str
    least: _Told = (0,)
    installer: str
    needs_numpy: bool = False


@cache
def package_rows() -> tuple[PackageRow, ...]:
    """Return the table's rows, in its order."""
    table = tomllib.loads(files("harness.devices").joinpath("runtime_packages.toml").read_text("utf-8"))
    return tuple(map(PackageRow.model_validate, table["row"]))


def machine_of(survey: Survey) -> str:
    """Return the machine that the device's Python is for: a 32-bit one runs on 64-bit kernels, too."""
    machine = _OTHERS.get(survey.machine, survey.machine)
    return _32_BIT.get(machine, machine) if survey.bits == 32 else machine


def find_row(runtime: str, survey: Survey) -> PackageRow | str:
    """Return the first row of a runtime that fits a device, or why none does and what would."""
    left = [row for row in package_rows() if row.runtime == runtime]
    if not left:
        return f"{runtime} is of another package: install what it needs on the device"
    python, machine = _release(survey.version), machine_of(survey)
    if not (fitting := [row for row in left if row.libc == survey.libc]):
        return _other_libc(runtime, survey)
    if fitting[0].installer == "pkg":
        return (
            fitting[0]
            if survey.pkg
            else "this Python is of Android and not of Termux, whose pkg has it: measure from Termux"
        )
    if survey.implementation != "CPython" or survey.free_threaded:
        kind = "a free-threaded CPython" if survey.implementation == "CPython" else survey.implementation
        return f'wheels are for CPython, and this is {kind}: name a CPython with python = "..."'
    left, fitting = fitting, [row for row in fitting if machine in row.machines]
    if not fitting:
        there = sorted({one for row in left for one in row.machines})
        remedy = "; a 64-bit system on it would do" if survey.bits == 32 else ""
        return f"wheels are for {', '.join(there)}, and this Python is for {machine} ({survey.bits} bits){remedy}"
    left, fitting = fitting, [row for row in fitting if row.python[0] <= python[:2] <= row.python[1]]
    if not fitting:
        first, last = min(row.python[0] for row in left), max(row.python[1] for row in left)
        return (
            f"wheels for {machine} are for Python {_dotted(first)} to {_dotted(last)}, and this is {_dotted(python)}: "
            'install one of those and name it with python = "..."'
        )
    left, fitting = fitting, [row for row in fitting if row.least <= _release(survey.libc_version)]
    if not fitting:
        least = _dotted(min(row.least for row in left))
        return f"wheels need glibc {least}, and this is {survey.libc_version or 'of unknown version'}: a newer system would do"
    has_numpy = _release(survey.numpy)[:1] == (1,)
    return next(row for row in fitting if has_numpy or not row.needs_numpy)


def _other_libc(runtime: str, survey: Survey) -> str:
    if survey.libc == "musl":
        return (
            f"no wheels of {runtime} are for musl, this system's C library; what would do: a Debian or another system of glibc, "
            "in a container or chroot with an sshd of its own, or the distribution's package (Alpine: \"apk search "
            f'{runtime}")'
        )
    if survey.libc == "bionic":
        return f"no package of {runtime} is for Android"
    return f"no wheels of {runtime} are for this system's C library, which is neither glibc nor musl: use Linux with glibc"


def _dotted(release: _Release) -> str:
    return ".".join(map(str, release))


@cache
def vendor_libraries() -> list[dict[str, Any]]:
    """Return the rows of where the drivers of phones' GPUs lie, as an agent is told them, which says which of them fits."""
    text = files("harness.devices").joinpath("vendor_libraries.toml").read_text("utf-8")
    return [{key: row[key] for key in ("vendor", "shows", "paths")} for row in tomllib.loads(text)["row"]]


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
