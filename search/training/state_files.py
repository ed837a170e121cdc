"""Weights as plain torch files, for other tools: the state dict alone, as `torch.save` writes it, with a note of its network."""

from __future__ import annotations

import io
from pathlib import Path

import torch

from harness.errors import ConfigError
from search.training.trained import Trained
from space.state_notes import with_note
from space.whole_files import write_whole


def write_state(path: Path, trained: Trained) -> None:
    """Write a network's state dict, its folder made where there is none; a file that holds just that is left as it is.

    Raises:
        ConfigError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(with_note(trained.weights, trained.architecture), buffer)
    try:
        if path.is_file() and path.read_bytes() == buffer.getvalue():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, buffer.getvalue())
    except OSError as e:
        raise ConfigError(
            f"{path}: cannot be written: {e.strerror or e}; check the folder and its disk"
        ) from e
