"""The spaces that go by a name, as commands and files give it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from space.architecture import BLOX, DEEP, MINI, TINY, Space
from space.errors import ArchitectureError, did_you_mean, shown

SPACES: Mapping[str, Space] = MappingProxyType({config.name: config for config in (BLOX, MINI, TINY, DEEP)})


def find_space(name: str) -> Space:
    """Return the space of a name.

    Raises:
        ArchitectureError: there is none; the message suggests the nearest.
    """
    if name not in SPACES:
        raise ArchitectureError(
            f"space {shown(name)} is not known{did_you_mean(name, SPACES)} (known: {', '.join(SPACES)})"
        )
    return SPACES[name]
