"""Evaluation of networks with inherited weights on a task's images. Imports torch."""

from __future__ import annotations

from collections.abc import Callable

import torch

from search.blockwise.candidates import State
from search.training.epochs import judge
from search.training.history import Figures
from search.training.images import Task
from space import Architecture
from space.networks import build_network


def inherited_judge(task: Task, device: str = "cpu") -> Callable[[Architecture, State, str], Figures]:
    """Return a function that builds a network with given weights and evaluates it on images, "rescore" or "test"."""
    parts = {"rescore": task.rescore, "test": task.test}

    def judge_network(architecture: Architecture, weights: State, part: str) -> Figures:
        with torch.random.fork_rng(devices=[]):  # fresh weights are drawn before these replace them
            network = build_network(architecture)
        network.load_state_dict(dict(weights))
        return judge(network, parts[part], task, device=device)

    return judge_network
