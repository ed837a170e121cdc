"""Everything that decides the study's numbers, in one frozen config; the defaults are those of `harness study`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.training.augment import NONE
from search.training.recipe import Recipe
from space import SpaceConfig, find_space
from space.errors import ConfigError, did_you_mean

# Augmentations made for photographs of 32 pixels hide what images of 8 pixels show, and 12 epochs are few: none are used.
SCRATCH = Recipe(epochs=12, batch=64, learning_rate=0.05, augmentation=NONE, channels_last=True)
FINE_TUNING = Recipe(epochs=4, batch=64, learning_rate=0.01, augmentation=NONE, channels_last=True)
_LISTS = ("proxies", "tuned_epochs", "marks")


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings:
    """Say what the study does and how much of it.

    `recipe` trains teachers from scratch; its epochs and seed give way to those of the ground truth, whose recipe it is to be.
    `distil` and `supernet` are fields of `search.distillation.distill.DistilRecipe`; the first distils libraries, the second
    trains supernets. `tuning` fine-tunes, for as many epochs as `tuned_epochs` say one after another, each of these anew,
    `tuned` networks of the ground truth; `guide` are fields of `search.training.guide.Guide` but the teacher.

    A search has `seeds` runs, trains up to `budget` networks, and is judged at the costs `marks`, in trainings' worth: what
    training a network of the ground truth takes in the mean. At `decisive` it is said who beats random search. DONNA fits to
    `first` random networks. There are `libraries`, each of a teacher trained with another seed, and as many supernets; runs
    of further seeds take them in turn. `iterations` begin with random teachers and take `rounds` each. `proxies` score
    `proxy_images`.

    Raises:
        ConfigError: a value is out of its range.
    """

    space: str = "tiny"
    task: str = "synthetic:0:200/50/200"
    recipe: Recipe = SCRATCH
    distil: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 2, "batch": 64, "learning_rate": 0.01, "loss": "nsr"}
    )
    supernet: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 8, "batch": 64, "learning_rate": 0.005, "loss": "nsr"}
    )
    tuning: Recipe = FINE_TUNING
    guide: Mapping[str, Any] = field(default_factory=lambda: {"weight": 0.5, "temperature": 4.0})
    tuned: int = 12
    tuned_epochs: tuple[int, ...] = (1, 2, 4, 12)
    seeds: int = 10
    budget: int = 40
    first: int = 10
    libraries: int = 10
    iterations: int = 3
    rounds: int = 2
    rescored: int = 30
    proxies: tuple[str, ...] = ("grad_norm", "synflow")
    proxy_seeds: int = 3
    proxy_images: int = 64
    marks: tuple[int, ...] = (5, 10, 20, 40)
    decisive: int = 20

    def __post_init__(self) -> None:
        for name in _LISTS:
            object.__setattr__(self, name, tuple(getattr(self, name)))
        least = {
            "seeds": 1,
            "budget": 2,
            "first": 3,
            "libraries": 0,
            "iterations": 0,
            "rounds": 1,
            "tuned": 0,
        }
        for name, low in {**least, "rescored": 1, "proxy_images": 2, "proxy_seeds": 1, "decisive": 1}.items():
            value = getattr(self, name)
            if type(value) is not int or value < low:
                self._refuse(name, f"give a whole number of at least {low}")
        for name in ("tuned_epochs", "marks"):
            values = getattr(self, name)
            if any(type(value) is not int or value < 1 for value in values) or sorted(set(values)) != list(
                values
            ):
                self._refuse(name, "give whole numbers of at least 1, rising")
        if self.decisive not in self.marks:
            self._refuse("decisive", f"name one of the marks: {', '.join(map(str, self.marks))}")
        if self.first >= self.budget:
            self._refuse("first", f"it takes part of the budget of {self.budget}; give less")
        if 0 < self.tuned < 3:
            self._refuse("tuned", "two networks have no rank correlation; give 0 for none, or 3 or more")
        if self.tuned and not self.libraries:
            self._refuse("tuned", "networks are fine-tuned from a library; give libraries, or 0 for none")
        find_space(self.space)

    @property
    def config(self) -> SpaceConfig:
        """The space."""
        return find_space(self.space)

    @property
    def digest(self) -> str:
        """The SHA-256 of the settings as JSON text, 64 hexadecimal characters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def to_json(self) -> str:
        """Return the settings as JSON text, keys sorted."""
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> StudySettings:
        """Read settings; what the text does not name has its default, in `recipe` and `tuning` too.

        Raises:
            ConfigError: the text is no JSON object, a key is unknown, or a value is out of its range.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"study: the text is not JSON: {e}; write an object such as {{}}") from e
        if not isinstance(found, dict):
            raise ConfigError(f"study: the text is {type(found).__name__}; write an object of settings")
        names = [item.name for item in dataclasses.fields(cls)]
        for key in found:
            if key not in names:
                raise ConfigError(
                    f"study has no setting {key!r}{did_you_mean(key, names)} (there are: {', '.join(names)})"
                )
        for key, default in (("recipe", SCRATCH), ("tuning", FINE_TUNING)):
            if isinstance(found.get(key), dict):
                found[key] = {**dataclasses.asdict(default), **found[key]}
            if key in found:
                found[key] = Recipe.from_json(json.dumps(found[key]))
        for key in ("distil", "supernet", "guide"):
            if not isinstance(found.get(key, {}), dict):
                raise ConfigError(f"study: {key} = {found[key]!r}; write an object of its fields")
        for key in _LISTS:
            if not isinstance(found.get(key, []), list):
                raise ConfigError(f"study: {key} = {found[key]!r}; write a list")
        return cls(**found)

    def _refuse(self, name: str, remedy: str) -> None:
        raise ConfigError(f"study: {name} = {getattr(self, name)!r}; {remedy}")


# For trying, in some five minutes of one core: every part once, and intervals that decide nothing.
QUICK = StudySettings(
    distil={"epochs": 1, "batch": 64, "learning_rate": 0.01, "loss": "nsr"},
    supernet={"epochs": 1, "batch": 64, "learning_rate": 0.005, "loss": "nsr"},
    tuned=4,
    tuned_epochs=(1, 2),
    seeds=5,
    budget=20,
    first=8,
    libraries=1,
    iterations=1,
    rounds=1,
    proxies=("synflow",),
    proxy_seeds=1,
    marks=(5, 10, 20),
    decisive=10,
)
