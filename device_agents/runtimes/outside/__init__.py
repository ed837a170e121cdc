"""Runtimes that other packages add: their modules lie here in the archive that goes to a device, and only there."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import SimpleNamespace
from typing import Any


def runtimes() -> dict[str, Any]:
    """Return the modules that lie here by their NAME; in place of one that cannot be imported, one that says why."""
    modules = [_imported(found.name) for found in pkgutil.iter_modules(__path__)]
    return {module.NAME: module for module in modules}


def _imported(file: str) -> Any:
    """Return a module; `file` is its runtime's name with underscores for dashes."""
    name = file.replace("_", "-")
    try:
        module = import_module("%s.%s" % (__name__, file))
        if module.NAME != name:
            raise ValueError("its NAME is %r, its entry point's name %r" % (module.NAME, name))
        return module
    except Exception as error:  # noqa: BLE001 - it is not ours: it must not end the agent
        reason = error

    def find() -> Any:
        raise reason

    return SimpleNamespace(NAME=name, FORMATS=(), PACKAGES=(), OPTIONS={}, find=find)
