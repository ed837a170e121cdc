"""Networks of given weights: judged on a task's images, written for others to read. Imports torch."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import torch

from search.blockwise.candidates import State
from search.training.epochs import judge
from search.training.history import Figures
from search.training.images import Task
from search.training.sealed import content_digest
from space import Architecture
from space.atomic_files import write_file
from space.networks import build_network
from space.state_notes import with_note


def judge_on(task: Task, device: str = "cpu") -> Callable[[Architecture, State, str], Figures]:
    """Return what builds a network with given weights and classes a split of the task, "val" or "test", with it."""
    splits = {"val": task.val, "test": task.test}

    def judge_network(architecture: Architecture, weights: State, split: str) -> Figures:
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn before these replace them
            network = build_network(architecture)
        network.load_state_dict(dict(weights))
        return judge(network, splits[split], task, device=device)

    return judge_network


def write_weights(path: Path, weights: State, architecture: Architecture) -> str:
    """Write a state dict that `harness export --checkpoint` reads, and return the content digest of the weights.

    Raises:
        ConfigError: the file cannot be written.
    """
    buffer = io.BytesIO()
    state = {name: tensor.cpu() for name, tensor in weights.items()}
    torch.save(with_note(state, architecture), buffer)
    write_file(path, buffer.getvalue())
    return content_digest(dict(weights))
