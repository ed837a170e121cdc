"""Checkpoints of a distillation: finished block groups, and the current group after its last epoch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from search.training.sealed import read_sealed, write_sealed
from space.errors import ConfigError

NAME = "distilling.harness"  # in a folder
KIND = "unfinished distillation"


class DistilProgress:
    """Checkpoint file of a distillation, if a folder is given; `done` are finished groups by their first block's place.

    Raises:
        ConfigError: the file is damaged, or of another distillation; the message names what differs.
    """

    def __init__(self, folder: Path | None, identity: Mapping[str, str]) -> None:
        self._path = folder / NAME if folder else None
        self._identity = dict(identity)
        self.done: dict[int, dict[str, Any]] = {}
        self._state: dict[str, Any] | None = None
        if self._path is None or not self._path.exists():
            return
        remedy = "remove it to distill from the start"
        found = read_sealed(self._path, KIND, remedy=remedy)
        differing = [key for key in self._identity if found["identity"].get(key) != self._identity[key]]
        if differing:
            key = differing[0]
            raise ConfigError(
                f"{self._path}: is of another distillation: {key} is {found['identity'].get(key)} in it, and "
                f"{self._identity[key]} now; name another folder, or {remedy}"
            )
        self.done, self._state = found["done"], found["state"]

    def resume(self, network: nn.Module, optimizer: torch.optim.Adam) -> list[list[float]]:
        """Load what is kept of the unfinished group and return its history, (epochs, blocks); empty where nothing is kept."""
        if self._state is None:
            return []
        network.load_state_dict(self._state["network"])
        optimizer.load_state_dict(self._state["optimizer"])
        history: list[list[float]] = self._state["history"]
        return history

    def keep(self, network: nn.Module, optimizer: torch.optim.Adam, history: list[list[float]]) -> None:
        """Store the state of the unfinished group after a whole epoch."""
        self._write(
            {"network": network.state_dict(), "optimizer": optimizer.state_dict(), "history": history}
        )

    def finish(self, first: int, result: dict[str, Any]) -> None:
        """Store a finished group."""
        self.done[first] = result
        self._state = None
        self._write(None)

    def remove(self) -> None:
        """Remove the file at the end."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self, state: dict[str, Any] | None) -> None:
        if self._path is not None:
            write_sealed(self._path, KIND, {"identity": self._identity, "done": self.done, "state": state})
