"""State dicts with a note of their network and its training images: weights of two spaces, or wirings, can have the same shapes.

The note is an attribute of the `OrderedDict` itself, as torch's own `_metadata` is: `torch.save` keeps it, `torch.load` gives it
back with `weights_only`, and to every other tool the file is a state dict as any other.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import TypeVar

from space.architecture import Architecture
from space.config import SpaceConfig
from space.errors import ArchitectureError

Value = TypeVar("Value")
_NAME = "harness_network"


def with_note(
    state: Mapping[str, Value], architecture: Architecture, task: str = ""
) -> OrderedDict[str, Value]:
    """Return a state dict with a note that it is of an architecture, and of a task's name where one is given."""
    noted = OrderedDict(state)
    note = {"space": architecture.config.to_plain(), "architecture": str(architecture)}
    setattr(noted, _NAME, note | ({"task": task} if task else {}))
    return noted


def noted_task(state: object) -> str:
    """Return the name of the task that a state dict says its network was trained on; empty where it says none."""
    note = getattr(state, _NAME, None)
    found = note.get("task", "") if isinstance(note, dict) else ""
    return found if isinstance(found, str) else ""


def noted_architecture(state: object) -> Architecture | None:
    """Return the architecture that a state dict says it is of; None where it says nothing, or nothing of this version."""
    note = getattr(state, _NAME, None)
    if not isinstance(note, dict):
        return None
    try:
        return Architecture.parse(note["architecture"], SpaceConfig(**note["space"]))
    except (ArchitectureError, KeyError, TypeError, ValueError):
        return None
