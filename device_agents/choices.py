"""Choice of runtimes and cores among those that a device has.

A campaign chooses so, and a packed job: so it is one rule, in one place, for Python 3.8.
"""

from __future__ import annotations

import re
from typing import Any, Iterable, Mapping, Sequence

# Measured where they are asked for, or where nothing else is: on a CPU litert takes the time that tflite takes.
ON_REQUEST = ("litert",)
# The first release that reads the models: ONNX opset 17, IR version 8 (exporters.onnx_export).
LEAST_VERSIONS = {"onnxruntime": (1, 12)}


def wanted_runtimes(asked: Iterable[str], found: Iterable[str]) -> list[str]:
    """Return the runtimes to measure in: those asked for, else the usual ones of those found, else all of these."""
    usual = [name for name in found if name not in ON_REQUEST]
    return list(dict.fromkeys(asked)) or usual or list(found)


def version_name(runtime: Mapping[str, Any]) -> str:
    """Return a runtime's version, after the package's name where that differs: several packages hold a TFLite."""
    name, package, version = (str(runtime.get(key, "")) for key in ("name", "package", "version"))
    return version if package == name else "%s %s" % (package, version)


def old_version(runtime: Mapping[str, Any]) -> str:
    """Describe a runtime that is too old to read the models; empty where it is not, or its version is no number."""
    least = LEAST_VERSIONS.get(str(runtime.get("name")))
    numbers = re.match(r"([0-9]+)[.]([0-9]+)", str(runtime.get("version")))
    if least is None or numbers is None or tuple(map(int, numbers.groups())) >= least:
        return ""
    return "%s of %s is too old, %d.%d is the first that reads the models" % (
        *(version_name(runtime), runtime["name"]),
        *least,
    )


def fitting_cores(hello: Mapping[str, Any], named: Sequence[int], threads: int) -> tuple[int, ...]:
    """Return the cores that a session may take: those named, or the fastest like ones.

    Which of them it takes is decided before each worker, by how busy they are.
    Raises: ValueError when the device has no such cores or too few of one kind; it says what helps.
    """
    usable, clusters = sorted(hello["cores"]), hello.get("clusters") or [hello["cores"]]
    allowed = tuple(sorted(named or clusters[0]))
    kinds = [listed(sorted(alike)) for alike in (set(one) & set(named) for one in clusters) if alike]
    absent = [core for core in named if core not in usable]
    if absent:
        trouble = "core %d is not usable (usable: %s); name others with --cores" % (absent[0], listed(usable))
    elif threads > len(allowed) and named:
        trouble = (
            "%d threads on %s %s; threads that share a core are noise: name more cores or fewer threads"
            % (threads, counted(len(named), "named core"), listed(named))
        )
    elif threads > len(allowed):
        trouble = (
            "%d threads, but its fastest cluster has %s %s; use fewer threads, or name cores with --cores"
            % (threads, counted(len(allowed), "core"), listed(clusters[0]))
        )
    elif threads < len(named) and len(kinds) > 1:
        trouble = (
            "cores %s are unlike, and a session of %s would take the quietest of all, now these, now those: name cores "
            "of one kind, or as many as threads" % (" and ".join(kinds), counted(threads, "thread"))
        )
    else:
        return allowed
    raise ValueError(trouble)


def listed(cores: Iterable[int]) -> str:
    """Return cores in words."""
    return ",".join(map(str, cores))


def counted(count: int, singular: str) -> str:
    """Return a number with what it counts."""
    return "%d %s%s" % (count, singular, "" if count == 1 else "s")
