"""Which spaces can be enumerated: every network an element of an array, as answers about a whole space need it."""

from __future__ import annotations

from space.config import SpaceConfig
from space.errors import ArchitectureError

# Networks. A search holds some twenty numbers of each: a third of a gigabyte, and seconds to compute. Three stages of 45
# blocks are 91,125 networks and fit; four are 4.1 million and would need a minute and most of a small machine's memory, where
# a sum over blocks answers in milliseconds.
MOST = 2_000_000


def is_enumerable(config: SpaceConfig) -> bool:
    """Tell whether arrays may have an element for each network of a space."""
    return len(config) <= MOST


def check_enumerable(config: SpaceConfig, what: str, remedy: str) -> None:
    """Refuse to do `what` with every network of a space that is too large; `remedy` says what to do instead.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    if not is_enumerable(config):
        raise ArchitectureError(
            f"{what}: the {len(config):,} networks of space {config.name!r} are too many to list; {remedy}"
        )
