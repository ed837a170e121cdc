"""Macro search spaces: architectures as values, their identity, their costs, their networks.

Importing this package loads neither torch nor any data file.
"""

from space.architecture import BLOX, DEEP, MINI, SPACES, TINY, Architecture, Space, find_space
from space.block import Block
from space.config import SpaceConfig, check_enumerable, is_enumerable
from space.errors import ArchitectureError

__all__ = [
    "BLOX",
    "DEEP",
    "MINI",
    "SPACES",
    "TINY",
    "Architecture",
    "ArchitectureError",
    "Block",
    "Space",
    "SpaceConfig",
    "check_enumerable",
    "find_space",
    "is_enumerable",
]
