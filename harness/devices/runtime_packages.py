"""Packages that hold the runtimes, and drivers of phones' GPUs: tables that are data, and the row that fits a device."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from harness.devices.answers import Survey

_Release = tuple[int, ...]
# The platform of a 32-bit Python, by the processor of its 64-bit kernel.
_32_BIT = {"aarch64": "armv7l", "x86_64": "i686", "armv8l": "armv7l"}
_OTHERS = {"arm64": "aarch64", "amd64": "x86_64"}


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRow:
    """Packages of a runtime for some systems; `python` has the first and the last release.

    needs_numpy: numpy 1 is the device's own, and nothing that the packages need is installed.
    """

    runtime: str
    requirements: tuple[str, ...]
    python: tuple[_Release, _Release]
    machines: tuple[str, ...]
    libc: str
    least: _Release
    installer: str
    needs_numpy: bool = False


@cache
def package_rows() -> tuple[PackageRow, ...]:
    """Return the table's rows, in its order."""
    table = tomllib.loads(files("harness.devices").joinpath("runtime_packages.toml").read_text("utf-8"))
    return tuple(
        PackageRow(
            runtime=row["runtime"],
            requirements=tuple(row["requirements"]),
            python=(_release(row["python"][0]), _release(row["python"][1])),
            machines=tuple(row["machines"]),
            libc=row["libc"],
            least=_release(row.get("least", "0")),
            installer=row["installer"],
            needs_numpy=row.get("needs_numpy", False),
        )
        for row in table["row"]
    )


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


def _release(version: str | Iterable[int]) -> _Release:
    """Return a version as numbers; of text that is none, nothing."""
    if isinstance(version, str):
        pieces = version.split(".")
        return tuple(map(int, pieces)) if all(piece.isdecimal() for piece in pieces) else ()
    return tuple(version)


def _dotted(release: _Release) -> str:
    return ".".join(map(str, release))


@cache
def vendor_libraries() -> list[dict[str, Any]]:
    """Return the rows of where the drivers of phones' GPUs lie, as an agent is told them, which says which of them fits."""
    text = files("harness.devices").joinpath("vendor_libraries.toml").read_text("utf-8")
    return [{key: row[key] for key in ("vendor", "shows", "paths")} for row in tomllib.loads(text)["row"]]
