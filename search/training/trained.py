"""A finished training: its inputs, figures, and the weights of its best epoch."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from search.training.history import Epoch, Figures, best_epoch
from search.training.recipe import Recipe
from search.training.sealed import content_digest
from space import Architecture
from space.errors import ConfigError
from space.networks import AnyNetwork, build_network, network_shapes

_TOLD = 3  # tensors that a message names
_THEN = " then "  # between environments, where a training went on elsewhere


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """A finished training: the figures of each epoch, and the best epoch's weights and test figures.

    `task` is the task's name, `source` the text from which `search.training.tasks.load_task` loads it on the same machine, and
    `synthetic` whether its images are made up; `weights` is the state dict of `space.networks.build_network(architecture)`, on
    the CPU. `environment` is the hardware and software. `start` is the origin of the initial weights, empty for fresh ones, and
    `guide` the teacher's digest, weight and temperature, empty without one.
    """

    architecture: Architecture
    task: str
    synthetic: bool
    recipe: Recipe
    history: tuple[Epoch, ...]
    test: Figures
    weights: Mapping[str, Tensor] = field(repr=False)
    environment: Mapping[str, str]
    source: str = ""
    start: str = ""
    guide: Mapping[str, str] = field(default_factory=dict)

    @property
    def best(self) -> Epoch:
        """The epoch whose weights are kept: of the highest validation top-1, then the lowest validation loss."""
        return best_epoch(self.history)

    @property
    def train_ns(self) -> int:
        """The time of all epochs, learning and validation, in nanoseconds; without the test run."""
        return sum(epoch.train_ns + epoch.val_ns for epoch in self.history)


def trained_digest(trained: Trained) -> str:
    """Return the digest of a trained network, 64 hexadecimal characters: of its space, architecture and weights alone."""
    return content_digest(
        {
            "space": trained.architecture.config.to_plain(),
            "architecture": str(trained.architecture),
            "weights": trained.weights,
        }
    )


def plain_terms(
    architecture: Architecture,
    recipe: Recipe,
    *,
    task: str,
    source: str,
    synthetic: bool,
    start: str,
    guide: Mapping[str, str],
) -> dict[str, Any]:
    """Return the training's inputs as JSON-ready values: the part of `trained_content` that is known before it begins."""
    return {
        "space": architecture.config.name,
        "space_config": architecture.config.to_plain(),
        "architecture": str(architecture),
        "task": task,
        "source": source,
        "synthetic": synthetic,
        "recipe": recipe.to_json(),
        "start": start,
        "guide": dict(guide),
    }


def check_weights(weights: Mapping[str, Any], architecture: Architecture, what: str) -> None:
    """Refuse a state dict that is not one of the architecture's network; `what` names it in the message.

    Raises:
        ConfigError: tensors are missing, are of another shape, or do not belong to the network.
    """
    wanted = network_shapes(architecture).state_dict()
    faults = []
    for name, tensor in wanted.items():
        found = weights.get(name)
        if not isinstance(found, Tensor):
            faults.append(f"{name} is not there")
        elif found.shape != tensor.shape:
            faults.append(
                f"{name} is of shape {tuple(found.shape)}, and {tuple(tensor.shape)} in the network"
            )
    faults += [f"{name} is of no layer of the network" for name in weights if name not in wanted]
    if faults:
        more = f"; and {len(faults) - _TOLD} more" if len(faults) > _TOLD else ""
        raise ConfigError(
            f"{what}: the weights are not those of {architecture} of space {architecture.config.name!r}: "
            f"{'; '.join(faults[:_TOLD])}{more}; take weights of this architecture"
        )


def network_of(architecture: Architecture, weights: Mapping[str, Tensor]) -> AnyNetwork:
    """Return a network with these weights; torch's generator, which draws those that they replace, stays as it was."""
    with torch.random.fork_rng(devices=[]):
        network = build_network(architecture)
    network.load_state_dict(dict(weights))
    return network


# --- hardware and software -------------------------------------------------------------------------


def environment_of(device: torch.device) -> dict[str, str]:
    """Return the hardware and software of a device, noted because results are not bit-identical across machines."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "torch_version": str(torch.__version__),
    }


def both_environments(former: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with changes as `A then B`, where a training was resumed on another machine."""

    def joined(key: str) -> str:
        values = former.get(key, now[key]).split(_THEN)
        return _THEN.join(values if values[-1] == now[key] else [*values, now[key]])

    return {key: joined(key) for key in now}
