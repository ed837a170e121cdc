"""Weights as plain torch files, for other tools: the state dict alone, as `torch.save` writes it, with a note of its network."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import torch

from search.training.trained import Trained
from space.atomic_files import write_file
from space.state_notes import with_note


def write_state(path: Path, trained: Trained) -> None:
    """Write a network's state dict, its folder made where there is none; a file that holds just that is left as it is.

    Raises:
        ConfigError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(with_note(trained.weights, trained.architecture), buffer)
    with contextlib.suppress(OSError):  # what cannot be read is written again
        if path.is_file() and path.read_bytes() == buffer.getvalue():
            return
    write_file(path, buffer.getvalue(), make_folder=True)
