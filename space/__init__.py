"""Macro search spaces: architectures as values, their identity, their costs, their networks.

Importing this package loads neither torch nor any data file.
"""

from space.architecture import BLOX, DEEP, MINI, TINY, Architecture, Space
from space.block import Block
from space.config import SpaceConfig
from space.enumerable import check_enumerable, is_enumerable
from space.errors import ArchitectureError
from space.spaces import SPACES, find_space

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
