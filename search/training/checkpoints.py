"""Checkpoints of a training: a sealed file after every epoch, written atomically and checked when read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from search.training.images import Task
from search.training.recipe import Recipe
from search.training.sealed import read_sealed, write_sealed
from search.training.sealed_head import CHECKPOINT
from space import Architecture
from space.atomic_files import partials
from space.errors import ConfigError
from space.system_errors import refused

KIND = "training checkpoint"
_KEYS = ("identity", "terms", "environment", "network", "optimizer", "best", "history", "test")
_REMEDY = "remove it to train from the start"

State = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checkpoint:
    """State of a training after an epoch, to resume from.

    `identity` names the training's inputs as texts: architecture, task, and every field of the recipe; `terms` are the same as
    plain values, for `Trained`, where one network is trained. `network` and `optimizer` are their state dicts, `best` is the
    network's at the best epoch so far. `history` holds the figures of each epoch as plain numbers, `test` those of the test run
    once it is done. The schedule and the random numbers follow from the recipe and the epoch's number and need not be kept.
    `environment` notes hardware and software and is not compared.
    """

    identity: Mapping[str, str]
    environment: Mapping[str, str]
    network: State
    optimizer: State
    best: State
    history: list[dict[str, Any]]
    test: dict[str, Any] | None
    terms: Mapping[str, Any] = field(default_factory=dict)


def identity_of(architecture: Architecture, task: Task, recipe: Recipe) -> dict[str, str]:
    """Return a training's identity: its inputs, each as text; equal identities mean equal results on one machine."""
    config = architecture.config
    fields = recipe.to_plain()
    return {
        "architecture": str(architecture),
        "space": f"{config.name}, ops {'/'.join(config.ops)}, widths {'/'.join(map(str, config.widths))}",
        "task": task.name,
        "classes": str(task.classes),
        "mean": str(tuple(map(float, task.mean))),
        "std": str(tuple(map(float, task.std))),
        "SHA-256 of the images": task.images_digest,
        **{f"recipe's {key}": json.dumps(value, sort_keys=True) for key, value in fields.items()},
    }


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Write the checkpoint of a folder in place of the former one; a crash leaves one of the two, whole.

    Raises:
        ConfigError: the file cannot be written, such as on a full disk; the former one stays as it was.
    """
    write_sealed(folder / CHECKPOINT, KIND, {key: getattr(checkpoint, key) for key in _KEYS})


def load_checkpoint(folder: Path, identity: Mapping[str, str], device: str) -> Checkpoint | None:
    """Read the checkpoint of a folder to resume from, its tensors on a device; None where there is none.

    Partial files of killed trainings are removed: one process at a time trains in a folder.

    Raises:
        ConfigError: the file is damaged, or is of another training; the message names what differs.
    """
    path = folder / CHECKPOINT
    with refused(f"{path}: cannot be read", "check the folder"):
        for partial in partials(path):
            partial.unlink(missing_ok=True)
    found = read_checkpoint(folder, device)
    if found:
        _check_same(path, found.identity, identity)
    return found


def read_checkpoint(folder: Path, device: str = "cpu") -> Checkpoint | None:
    """Read the checkpoint of a folder, whatever training it is of; None where there is none.

    Raises:
        ConfigError: the file is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    found = read_sealed(path, KIND, device, _REMEDY)
    if set(found) != set(_KEYS) or not isinstance(found["identity"], dict):
        raise ConfigError(f"{path}: lacks fields of a checkpoint of this version; {_REMEDY}")
    return Checkpoint(**found)


def _check_same(path: Path, found: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    differing = [key for key in {**wanted, **found} if found.get(key) != wanted.get(key)]
    if differing:
        what = "; ".join(
            f"{key} is {found.get(key, 'not there')} in it, and {wanted.get(key, 'not there')} now"
            for key in differing
        )
        raise ConfigError(
            f"{path}: is of another training: {what}. Name another folder, or remove it to train from the start"
        )
