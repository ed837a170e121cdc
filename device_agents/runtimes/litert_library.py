"""Where LiteRT's library is on this machine, and of which version it is.

A library that devices.toml names comes first, then one that the harness carried here, then that of the package ai-edge-litert.
LiteRT's C functions changed their arguments between versions, and a call in the wrong form ends the process: so only versions
that were tried are used, unless devices.toml allows others.
"""

from __future__ import annotations

import hashlib
import os
import struct
from functools import lru_cache
from importlib import util
from pathlib import Path
from typing import Mapping

from device_agents.processes import LIBRARIES_VARIABLE
from device_agents.refusal import Refusal
from device_agents.runtimes.litert_api import LiteRtLibrary

PATH_VARIABLE = "HARNESS_LITERT_LIBRARY"
ANY_VERSION_VARIABLE = "HARNESS_LITERT_ANY_VERSION"
MODULE, DISTRIBUTION, FILE = "ai_edge_litert", "ai-edge-litert", "libLiteRt.so"
TRIED = ("2.1.6", "2.3.0")
# sha256 of the libraries in the packages of PyPI; those for aarch64 have the same functions and were never run.
DIGESTS = {
    "d46eca60880d6e28c1992d136459f06ab642e30eb423bdc14d56e928f398ce19": "2.1.6",  # x86-64 Linux
    "eec47eb35e2924b3166015887e652a58edc9af823ae38e02bf83bef2548300bb": "2.3.0",
    "c3e365e05249ea97d8dd6d0590df7f9bc817ff61e9610a355ff3937b72864d11": "2.1.6",  # aarch64 Linux
    "b57687dc234d2b8b0598aef5a9c961ed24263df8f8b3f56adbee1cff618e544b": "2.3.0",
}
UNKNOWN = "unknown"
OWN_PROGRAM = Path("/proc/self/exe")
# e_machine of an ELF file: elf.h
MACHINES = {3: "x86", 8: "MIPS", 21: "PowerPC", 40: "arm", 62: "x86-64", 183: "aarch64", 243: "RISC-V"}
CLASSES = {1: "32-bit", 2: "64-bit"}
ELF_HEADER_BYTES = 64


@lru_cache(maxsize=None)
def open_library() -> tuple[str, str, LiteRtLibrary]:
    """Return (package, version, library); the package is the file's name where the library is not in one.

    Raises: ModuleNotFoundError where there is none, Refusal for one that cannot be used.
    """
    package, version, path = locate(os.environ)
    check_file(path)
    if version not in TRIED and not os.environ.get(ANY_VERSION_VARIABLE):
        message = "%s is LiteRT of version %s, and harness was tried with %s alone: install one of these, or allow others with "
        message += "litert_any_version = true in devices.toml"
        raise Refusal("runtime-missing", message % (path, version, " and ".join(TRIED)))
    return package, version, LiteRtLibrary(path)


def locate(environment: Mapping[str, str]) -> tuple[str, str, Path]:
    """Return (package, version, path) of the library. Raises: ModuleNotFoundError, and Refusal for a path without a file."""
    named = environment.get(PATH_VARIABLE)
    carried = Path(environment.get(LIBRARIES_VARIABLE, "")) / FILE
    if named or (environment.get(LIBRARIES_VARIABLE) and carried.is_file()):
        path = Path(named).expanduser() if named else carried
        if not path.is_file():
            raise Refusal(
                "runtime-missing",
                "there is no file %s, which litert_library in devices.toml names; name %s there"
                % (path, FILE),
            )
        return path.name, version_of(path), path
    # It is not imported: that would load another library of the same functions.
    found = util.find_spec(MODULE)
    for folder in (found.submodule_search_locations or ()) if found else ():
        path = Path(folder) / FILE
        if path.is_file():
            return MODULE, version_of(path), path
    raise ModuleNotFoundError("no %s, and no package %s that has it" % (FILE, DISTRIBUTION), name=MODULE)


def version_of(path: Path) -> str:
    """Return the version of a library: by its digest, else that of the package it lies in, else that it is not known."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest in DIGESTS or path.parent.name != MODULE:
        return DIGESTS.get(digest, UNKNOWN)
    from importlib import metadata  # late: it takes as long as all other imports of the agent

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:  # a package of another name, such as one built each night
        return UNKNOWN


def check_file(path: Path) -> None:
    """Refuse a file that is no library of this machine, or was cut off. Raises: Refusal."""
    header = read_header(path)
    if header is None:
        raise Refusal("runtime-missing", "%s is no library: it has no ELF header; copy it there anew" % path)
    kind, end_bytes = header
    own = read_header(OWN_PROGRAM)
    if own is not None and own[0] != kind:
        message = "%s is for %s, and this Python runs on %s: take LiteRT's library for that"
        raise Refusal("runtime-missing", message % (path, kind, own[0]))
    size_bytes = path.stat().st_size
    if end_bytes > size_bytes:
        message = "%s is cut off: %d bytes of at least %d; copy it there anew"
        raise Refusal("runtime-missing", message % (path, size_bytes, end_bytes))


def read_header(path: Path) -> tuple[str, int] | None:
    """Return (machine, the least size of the file in bytes) from an ELF header; None where there is none.

    The table of sections stands at a library's end, so a file that ends before it lacks something.
    """
    try:
        with path.open("rb") as file:
            header = file.read(ELF_HEADER_BYTES)
    except OSError:
        return None
    if len(header) < ELF_HEADER_BYTES or header[:4] != b"\x7fELF":
        return None
    order = "<" if header[5] == 1 else ">"
    is_64 = header[4] == 2
    (machine,) = struct.unpack_from(order + "H", header, 18)
    (offset,) = struct.unpack_from(order + ("Q" if is_64 else "I"), header, 40 if is_64 else 32)
    size, count = struct.unpack_from(order + "HH", header, 58 if is_64 else 46)
    name = MACHINES.get(machine, "machine %d" % machine)
    return "%s %s" % (CLASSES.get(header[4], "?"), name), offset + size * count
