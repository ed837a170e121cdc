"""Macro search spaces: architectures as values, their identity, their costs, their networks.

Importing this package loads neither torch nor any data file.
"""

from space.architecture import BLOX, DEEP, MINI, SPACES, TINY, Architecture, Space
from space.block import Block
from space.config import SpaceConfig, check_enumerable, is_enumerable
from space.definition import define, load_space
from space.errors import ArchitectureError
from space.registry import find_space

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
    "define",
    "find_space",
    "is_enumerable",
    "load_space",
]
