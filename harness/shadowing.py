"""Modules of the user's own that are found in place of ours, Python's, or a library's: a `search.py`, a `json.py`.

Needs nothing but the standard library, and as little of it as will do: any other import may be what is shadowed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, TracebackType

PACKAGES = ("space", "exporters", "search", "device_agents")  # beside `harness`, which is running


def foreign_package() -> str:
    """Return a foreign package in place of one of ours, with the remedy; empty where each is our own."""
    root = Path(__file__).resolve().parent.parent
    for name in PACKAGES:
        spec = find_spec(name)
        origin = spec.origin if spec is not None else None
        if origin is not None and Path(origin).resolve() != root / name / "__init__.py":
            return _shadowed(name, origin)
    return ""


def shadowing_file(error: BaseException) -> str:
    """Return which file of another place in Python's path an error comes of; empty where none is found.

    Only modules that the error speaks of count: many are found twice along a path, and are no cause of anything.
    """
    names = {Path(file).stem for file in _files(error.__traceback__)}
    if isinstance(error, ImportError) and error.name:
        names.add(error.name.partition(".")[0])
    if isinstance(error, AttributeError) and isinstance(error.obj, ModuleType):
        names.add(error.obj.__name__.partition(".")[0])
    for name in sorted(names - {"__main__", "harness", *PACKAGES}):  # ours: `foreign_package`
        found = list(_places(name))
        if len(found) > 1 and name not in sys.builtin_module_names:
            return _shadowed(name, found[0])
    return ""


def _places(name: str) -> Iterator[str]:
    """Yield the file of each module of that name along Python's path, the one that is imported first."""
    for folder in dict.fromkeys(sys.path):
        spec = PathFinder.find_spec(name, [folder])
        if spec is not None and spec.origin is not None:
            yield spec.origin


def _files(traceback: TracebackType | None) -> Iterator[str]:
    while traceback is not None:
        yield traceback.tb_frame.f_code.co_filename
        traceback = traceback.tb_next


def _shadowed(name: str, file: str) -> str:
    return (
        f"{file}: is imported in place of the module {name!r} that harness needs; rename that file, or start elsewhere "
        "or without its folder in $PYTHONPATH"
    )
