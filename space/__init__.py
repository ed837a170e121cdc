"""Macro search spaces: architectures as values, their identity, their costs, their networks.

Importing this package loads neither torch nor any data file.
"""

from space.architecture import Architecture
from space.block import Block
from space.config import BLOX, MINI, SpaceConfig
from space.errors import ArchitectureError

__all__ = ["BLOX", "MINI", "Architecture", "ArchitectureError", "Block", "SpaceConfig"]
