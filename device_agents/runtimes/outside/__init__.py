"""Runtimes of other packages: their modules lie here in the archive that goes to a device."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import SimpleNamespace
from typing import Any


def runtimes() -> dict[str, Any]:
    """Return the modules that lie here by NAME; in place of one that cannot be used, one that says why."""
    return {module.NAME: module for module in map(_imported, pkgutil.iter_modules(__path__))}


def _imported(found: Any) -> Any:
    name = found.name.replace("_", "-")
    try:
        module = import_module("%s.%s" % (__name__, found.name))
        if module.NAME != name:
            raise ValueError("its NAME is %r" % module.NAME)
        return module
    except (Exception, SystemExit) as error:  # noqa: BLE001 - not ours
        reason = ImportError("%s: %s" % (type(error).__name__, error))

    def find() -> Any:
        raise reason

    return SimpleNamespace(NAME=name, FORMATS=(), PACKAGES=(), OPTIONS={}, find=find)
