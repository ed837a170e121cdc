"""Parts that other installed packages add: entry points, found by group and name and loaded when they are asked for."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path

from space.errors import ConfigError

TRANSPORTS = "harness.transports"
RUNTIMES = "harness.runtimes"
SEARCH_METHODS = "harness.search_methods"
LATENCY_PREDICTORS = "harness.latency_predictors"
SPACES = "harness.spaces"


@cache
def plugins(group: str) -> Mapping[str, EntryPoint]:
    """Return the entry points of a group by name. Raises: ConfigError when two packages give the same name."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=group):
        other = found.setdefault(point.name, point)
        if (other.value, _package(other)) != (point.value, _package(point)):
            raise ConfigError(
                f"{group}: packages {_package(other)} and {_package(point)} both add {point.name!r}; uninstall one"
            )
    return found


def load_plugin(group: str, name: str) -> object:
    """Return the object of the entry point `name` of a group.

    Raises: ConfigError when it cannot be loaded; KeyError when no package adds it.
    """
    point = plugins(group)[name]
    try:
        return point.load()
    except (Exception, SystemExit) as error:  # importing another's package may raise anything at all
        raise bad_plugin(group, name, f"cannot be loaded: {type(error).__name__}: {error}") from error


def bad_plugin(group: str, name: str, problem: str) -> ConfigError:
    """Return an error that names an entry point, its package and what is wrong with it."""
    point = plugins(group)[name]
    return ConfigError(
        f"{group}: {name} = {point.value!r} of package {_package(point)} {problem}; repair or uninstall the package"
    )


def plugin_source(group: str, name: str) -> bytes:
    """Return the source text of an entry point's module. Raises: ConfigError when it has none."""
    module = plugins(group)[name].module
    try:
        # Imports the packages that the module is in, which may raise anything at all.
        spec = find_spec(module)
        if spec is None or not str(spec.origin).endswith(".py"):
            raise FileNotFoundError(f"module {module!r} is {spec and spec.origin}")
        return Path(str(spec.origin)).read_bytes()
    except (Exception, SystemExit) as error:
        raise bad_plugin(group, name, f"has no source file: {type(error).__name__}: {error}") from error


def plugin_digests(group: str) -> dict[str, str]:
    """Return the identities of a group's parts, by name: package, version, and the digest of the module's source."""
    return {
        name: f"{_package(point)} {point.value} {hashlib.sha256(plugin_source(group, name)).hexdigest()}"
        for name, point in sorted(plugins(group).items())
    }


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "?"
