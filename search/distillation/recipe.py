"""The recipe of a distillation: everything that decides its result beside the teacher, the images and the machine."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass, field

from search.training.augment import NONE, Augmentation
from search.training.recipe import recipe_fields
from space.errors import ConfigError

LOSSES = ("nsr", "mse")


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilRecipe:
    """Say how every block of a stage learns to answer as the teacher's stage does.

    `loss` is the mean squared error ("mse"), or that of each channel over the variance of the teacher's channel, mean over
    channels ("nsr", noise to signal; DONNA, arXiv:2012.08859). Adam (arXiv:1412.6980) takes a step for each `batch` of
    images at a `learning_rate` that falls to 0 along half a cosine over all steps. The teacher's features are those of `views`
    passes over the training images, each with `augmentation`; an epoch is one of them, in turn. `keep_own` takes the teacher's
    own block with the teacher's weights, which no other block of the stage can match. `shared`: equal ops in equal places of
    a stage's blocks have one set of weights, and a step trains one random block (module `shared`). `seed` decides the
    initial weights, the order of images, the paths taken and the augmentation.

    Raises:
        ConfigError: a value is out of its range.
    """

    epochs: int = 20
    batch: int = 64
    learning_rate: float = 0.01
    weight_decay: float = 0.0
    loss: str = "nsr"
    views: int = 1
    augmentation: Augmentation = field(default_factory=lambda: NONE)
    keep_own: bool = False
    shared: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        for name, least in (("epochs", 1), ("batch", 2), ("views", 1), ("seed", 0)):
            value = getattr(self, name)
            if type(value) is not int or not least <= value < 2**63:
                self._refuse(name, f"give a whole number of at least {least}")
        for name in ("learning_rate", "weight_decay"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not math.isfinite(value):
                self._refuse(name, "give a finite number")
            object.__setattr__(self, name, float(value))  # 1 and 1.0 are one recipe, with one digest
        if self.learning_rate <= 0:
            self._refuse("learning_rate", "give a rate above 0")
        if self.weight_decay < 0:
            self._refuse("weight_decay", "give 0 or more")
        if self.loss not in LOSSES:
            self._refuse("loss", f"choose one of {', '.join(LOSSES)}")
        for name in ("keep_own", "shared"):
            if type(getattr(self, name)) is not bool:
                self._refuse(name, "give true or false")
        if not isinstance(self.augmentation, Augmentation):
            self._refuse("augmentation", "give an Augmentation")
        if self.views > self.epochs:
            self._refuse("views", f"{self.epochs} epochs do not see so many; give fewer")

    def rate_at(self, share: float) -> float:
        """Return the learning rate once this share of all steps was taken, 0 to 1."""
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2

    def to_json(self) -> str:
        """Return the recipe as JSON text, keys sorted, so that equal recipes have equal texts."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> DistilRecipe:
        """Read a recipe; what the text does not name has its default.

        Raises:
            ConfigError: the text is no JSON object, a key is unknown, or a value is out of its range.
        """
        return cls(**recipe_fields(cls, text, "distil recipe"))

    @property
    def digest(self) -> str:
        """The SHA-256 of the recipe as JSON text, 64 hexadecimal characters: its name."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def _refuse(self, name: str, remedy: str) -> None:
        raise ConfigError(f"distil recipe: {name} = {getattr(self, name)!r}; {remedy}")
