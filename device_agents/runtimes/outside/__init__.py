"""Runtimes that other packages add: their modules lie here in the archive that goes to a device, and only there."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import SimpleNamespace
from typing import Any


def runtimes() -> dict[str, Any]:
    """Return the modules that lie here by their NAME; in place of one that cannot be imported, one that says why."""
    names = [found.name for found in pkgutil.iter_modules(__path__)]
    modules = [(name, _imported(name)) for name in names]
    return {getattr(module, "NAME", name): module for name, module in modules}


def _imported(name: str) -> Any:
    try:
        return import_module("%s.%s" % (__name__, name))
    except Exception as error:  # noqa: BLE001 - it is not ours: it must not end the agent
        reason = error

    def find() -> Any:
        raise reason

    return SimpleNamespace(NAME=name, FORMATS=(), PACKAGES=(), OPTIONS={}, find=find)
