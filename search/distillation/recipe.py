"""Recipe of a distillation: everything that determines its result besides the teacher, the images and the machine."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

from search.checked import Checked, Range
from search.training.augment import NONE, Augmentation
from space.errors import ConfigError, did_you_mean
from space.text import counted

RANDOM, FAIR = "random", "fair"
PATHS = (RANDOM, FAIR)  # of a supernet's steps: search.distillation.paths

# What methods publish of how blocks are distilled; the rest of a recipe is free.
FORMS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "donna": {"loss": "nsr", "shared": False},  # arXiv:2012.08859
        "lana": {"loss": "mse", "shared": False, "epochs": 1},  # arXiv:2107.10624
        "dna": {"loss": "mse", "shared": True, "paths": FAIR},  # arXiv:1911.13053
    }
)


def parse_form(name: str) -> Mapping[str, Any]:
    """Return the recipe's fields in a method's published form, none for an empty name. Raises: ConfigError for an unknown one."""
    if name and name not in FORMS:
        raise ConfigError(f"form {name!r} is unknown{did_you_mean(name, FORMS)} (known: {', '.join(FORMS)})")
    return FORMS[name] if name else {}


@dataclass(frozen=True, slots=True, kw_only=True)
class DistilRecipe(Checked):
    """Recipe by which the blocks of a stage are distilled from the teacher's stage.

    `loss` is the mean squared error ("mse"), or that of each channel over the variance of the teacher's channel, mean over
    channels ("nsr", noise to signal; DONNA, arXiv:2012.08859). Adam (arXiv:1412.6980) takes a step for each `batch` of
    images at a `learning_rate` that falls to 0 along half a cosine over all steps. The teacher's features are those of `views`
    passes over the training images, each with `augmentation`; epochs take these in turn. `keep_own` gives the teacher's own
    block the teacher's weights instead of training it. `shared`: equal ops in equal places of
    a stage's blocks have one set of weights (module `supernet`), and a step trains the blocks that `paths` draws: a random
    one, or as many as there are ops, each op equally often (module `paths`). `seed` decides the initial weights, the order of
    images, the paths taken and the augmentation.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "distillation recipe"

    loss: Annotated[str, ("nsr", "mse"), "nsr (each channel's error over its variance) or mse."] = "nsr"
    epochs: Annotated[int, Range(least=1), "Passes over the features."] = 20
    batch: Annotated[int, Range(least=2), "Images a step."] = 64
    learning_rate: Annotated[float, Range(above=0), "Adam's, of the first step."] = 0.01
    weight_decay: Annotated[float, Range(least=0)] = 0.0
    views: Annotated[
        int,
        Range(least=1),
        "Passes of the teacher, each with its own augmentation; epochs alternate between them.",
    ] = 1
    augmentation: Annotated[Augmentation, "published, mild, none, or FILE.json of its fields."] = NONE
    keep_own: Annotated[bool, "Take the teacher's own blocks with the teacher's weights."] = False
    shared: Annotated[
        bool,
        "Equal ops in equal places of a stage's blocks share weights (a supernet a stage): a step trains one random block, a "
        "fraction of the work; give it more epochs.",
    ] = False
    paths: Annotated[
        str,
        PATHS,
        "Blocks that a step of a supernet trains: random (one of them) or fair (each op once, strictly equally often).",
    ] = RANDOM
    seed: Annotated[int, Range(least=0), "Seed of weights and of the order of images."] = 0

    def check(self) -> None:
        """Refuse fields that do not go together. Raises: ConfigError."""
        if self.views > self.epochs:
            raise self.refusal("views", f"{self.epochs} epochs cannot use that many; give fewer")
        if self.paths == FAIR and not self.shared:
            raise self.refusal(
                "paths",
                "blocks with separate weights have no paths; share their weights (shared = true, --shared)",
            )

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in JSON's types; random paths are left out, as keys stored before other paths existed have none."""
        plain = Checked.to_plain(self)
        return {name: value for name, value in plain.items() if (name, value) != ("paths", RANDOM)}

    @property
    def form(self) -> str:
        """Description of the distilling of blocks, in words, with the method of `FORMS` that publishes it so."""
        way = f"a supernet a stage, {self.paths} paths" if self.shared else "blocks apart"
        method = [
            f", as {name.upper()} does"
            for name, fields in FORMS.items()
            if all(getattr(self, field) == value for field, value in fields.items())
        ]
        return f"{way}, {self.loss}, {counted(self.epochs, 'epoch')}{''.join(method)}"

    def rate_at(self, share: float) -> float:
        """Return the learning rate once this share of all steps was taken, 0 to 1."""
        return self.learning_rate * (1 + math.cos(math.pi * share)) / 2
