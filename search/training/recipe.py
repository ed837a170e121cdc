"""The recipe of a training: everything that decides its result beside the network, the images and the machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field
from typing import Any

from search.training.augment import Augmentation
from space.errors import ConfigError, did_you_mean


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Say how a network is trained from scratch; the defaults are those of the published accuracies (arXiv:2210.07271).

    SGD on the cross-entropy; `batch` images a step, the last smaller batch of an epoch kept; `weight_decay` on every
    parameter, biases and BatchNorms too; the learning rate falls to 0 along half a cosine, one step an epoch, without
    warm-up. `augmentation` is applied to training images only. `mixed_precision` computes in bfloat16 where autocast
    allows it, which needs no scaling of losses, and `channels_last` lays images out with channels last: both change the
    numbers, and the published trainings have neither. `seed` decides the initial weights, the order of images and the
    augmentation.

    Raises:
        ConfigError: a value is out of its range.
    """

    epochs: int = 200
    batch: int = 256
    learning_rate: float = 0.01
    momentum: float = 0.9
    nesterov: bool = False
    weight_decay: float = 5e-4
    label_smoothing: float = 0.0
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixed_precision: bool = False
    channels_last: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**63:
                self._refuse(name, f"give a whole number of at least {least}")
        for name in ("nesterov", "mixed_precision", "channels_last"):
            if type(getattr(self, name)) is not bool:
                self._refuse(name, "give true or false")
        for name in ("learning_rate", "momentum", "weight_decay", "label_smoothing"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not math.isfinite(value):
                self._refuse(name, "give a finite number")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one recipe, with one digest
        if self.learning_rate <= 0:
            self._refuse("learning_rate", "give a rate above 0")
        if not 0 <= self.momentum < 1:
            self._refuse("momentum", "give a number from 0 to below 1")
        if self.nesterov and not self.momentum:
            self._refuse("nesterov", "it needs a momentum above 0")
        if self.weight_decay < 0:
            self._refuse("weight_decay", "give 0 or more")
        if not 0 <= self.label_smoothing < 1:
            self._refuse("label_smoothing", "give a share from 0 to below 1")
        if not isinstance(self.augmentation, Augmentation):
            self._refuse("augmentation", "give an Augmentation")

    def rate_at(self, epoch: int) -> float:
        """Return the learning rate of an epoch, the first being 1: half a cosine that would reach 0 after the last one.

        SGDR without restarts (Loshchilov and Hutter 2017, arXiv:1608.03983, equation 5), stepped by epoch.
        """
        return self.learning_rate * (1 + math.cos(math.pi * (epoch - 1) / self.epochs)) / 2

    def to_json(self) -> str:
        """Return the recipe as JSON text, keys sorted, so that equal recipes have equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read a recipe; what the text does not name has its default.

        Raises:
            ConfigError: the text is no JSON object, a key is unknown, or a value is out of its range.
        """
        return cls(**recipe_fields(cls, text, "recipe"))

    @property
    def digest(self) -> str:
        """The SHA-256 of the recipe as JSON text, 64 hexadecimal characters: its name."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def _refuse(self, name: str, remedy: str) -> None:
        raise ConfigError(f"recipe: {name} = {getattr(self, name)!r}; {remedy}")


def recipe_fields(cls: type[Any], text: str, what: str) -> dict[str, Any]:
    """Return the fields that a recipe's JSON text names, its augmentation made; `what` names the recipe in messages.

    Raises:
        ConfigError: the text is no JSON object, a key is unknown, or the augmentation cannot be used.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as e:
        raise ConfigError(f"{what}: the text is not JSON: {e}; write an object such as {{}}") from e
    values = known_fields(cls, found, what)
    if "augmentation" in values:
        values["augmentation"] = augmentation_from(values["augmentation"], what)
    return values


def augmentation_from(found: object, what: str) -> Augmentation:
    """Return the augmentation of a recipe's JSON; `what` names the recipe in messages.

    Raises:
        ConfigError: it is no object of its fields, or a value is out of its range.
    """
    chosen = known_fields(Augmentation, found, f"{what}: augmentation")
    try:
        return Augmentation(**chosen)
    except TypeError as e:  # such as a number where a list belongs
        raise ConfigError(f"{what}: augmentation {chosen} cannot be used: {e}; give its fields' types") from e


def known_fields(cls: type[Any], found: object, what: str) -> dict[str, Any]:
    """Return the fields of a class that JSON names, lists as tuples.

    Raises:
        ConfigError: it is no object, or names a field that the class lacks.
    """
    if not isinstance(found, dict):
        raise ConfigError(f"{what} is {type(found).__name__}; write an object of its fields")
    names = [item.name for item in dataclasses.fields(cls)]
    for key in found:
        if key not in names:
            raise ConfigError(
                f"{what} has no {key!r}{did_you_mean(key, names)} (there are: {', '.join(names)})"
            )
    return {key: tuple(value) if isinstance(value, list) else value for key, value in found.items()}
