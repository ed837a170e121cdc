"""Settings that determine the study's numbers; the defaults are those of `harness study`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar

from search.checked import Checked, Range
from search.distillation.recipe import FORMS, DistilRecipe
from search.training.augment import NONE
from search.training.recipe import Recipe
from space import SpaceConfig, find_space
from space.errors import ConfigError
from space.stages import check_stages

# Without augmentation: those for photographs of 32 pixels hide the content of images of 8 pixels, and 12 epochs are few.
SCRATCH = Recipe(epochs=12, batch=64, learning_rate=0.05, augmentation=NONE, channels_last=True)
FINE_TUNING = Recipe(epochs=4, batch=64, learning_rate=0.01, augmentation=NONE, channels_last=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class StudySettings(Checked):
    """Settings of a study.

    `recipe` trains teachers from scratch, with the epochs and the seed of the ground truth; it should be the ground truth's own.
    `distil` and `supernet` are fields of `search.distillation.recipe.DistilRecipe`, for libraries and for supernets; `dna` and
    `lana` the same for these methods as published, empty to leave a method out. `tuning` fine-tunes `tuned` networks of the
    ground truth, once for each number of epochs in `tuned_epochs`; `guide` has the fields of
    `search.training.distillation_loss.Guide` except the teacher.

    A search has `seeds` runs, trains up to `budget` networks, and is judged at the costs `marks`, in units of the mean cost of
    training a network of the ground truth; verdicts against random search are those at `decisive`. DONNA fits to `first` random
    networks. There are `libraries`, each of a teacher trained with another seed, and as many supernets; runs of further seeds
    take them in turn. `iterations` begin with random teachers and take `rounds` each. `proxies` score on `proxy_images` images.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "study"

    space: str = "tiny"
    task: str = "synthetic:0:200/50/200"
    recipe: Recipe = SCRATCH
    distil: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 2, "batch": 64, "learning_rate": 0.01, "loss": "nsr"}
    )
    supernet: Mapping[str, Any] = field(
        default_factory=lambda: {"epochs": 8, "batch": 64, "learning_rate": 0.005, "loss": "nsr"}
    )
    # About the cost of `supernet`: a fair step is a path for each op.
    dna: Mapping[str, Any] = field(
        default_factory=lambda: {**FORMS["dna"], "epochs": 3, "batch": 64, "learning_rate": 0.005}
    )
    lana: Mapping[str, Any] = field(
        default_factory=lambda: {**FORMS["lana"], "batch": 64, "learning_rate": 0.01}
    )
    tuning: Recipe = FINE_TUNING
    guide: Mapping[str, Any] = field(default_factory=lambda: {"weight": 0.5, "temperature": 4.0})
    tuned: Annotated[int, Range(least=0)] = 12
    tuned_epochs: Annotated[tuple[int, ...], Range(least=1)] = (1, 2, 4, 12)
    seeds: Annotated[int, Range(least=1)] = 10
    budget: Annotated[int, Range(least=2)] = 40
    first: Annotated[int, Range(least=3)] = 10
    libraries: Annotated[int, Range(least=0)] = 10
    iterations: Annotated[int, Range(least=0)] = 3
    rounds: Annotated[int, Range(least=1)] = 2
    rescored: Annotated[int, Range(least=1)] = 30
    proxies: tuple[str, ...] = ("grad_norm", "synflow")
    proxy_seeds: Annotated[int, Range(least=1)] = 3
    proxy_images: Annotated[int, Range(least=2)] = 64
    marks: Annotated[tuple[int, ...], Range(least=1)] = (5, 10, 20, 40)
    decisive: Annotated[int, Range(least=1)] = 20

    def check(self) -> None:
        """Refuse fields that do not go together. Raises: ConfigError."""
        for name in ("tuned_epochs", "marks"):
            values = getattr(self, name)
            if sorted(set(values)) != list(values):
                raise self.refusal(name, "give whole numbers of at least 1, rising")
        if self.decisive not in self.marks:
            raise self.refusal("decisive", f"name one of the marks: {', '.join(map(str, self.marks))}")
        if self.first >= self.budget:
            raise self.refusal("first", f"it takes part of the budget of {self.budget}; give less")
        if 0 < self.tuned < 3:
            raise self.refusal(
                "tuned", "two networks have no rank correlation; give 0 for none, or 3 or more"
            )
        if self.tuned and not self.libraries:
            raise self.refusal(
                "tuned", "networks are fine-tuned from a library; give libraries, or 0 for none"
            )
        for name in ("distil", "supernet", "dna", "lana"):
            DistilRecipe.from_plain(getattr(self, name), f"{self.NAME}: {name}")
        check_stages(find_space(self.space), "a study")

    @property
    def config(self) -> SpaceConfig:
        """The space."""
        return find_space(self.space)

    @classmethod
    def completed(cls, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return settings from JSON, with defaults for fields missing from `recipe` and `tuning`."""
        parts = {"recipe": SCRATCH, "tuning": FINE_TUNING}
        full = {key: parts[key].to_plain() | found[key] for key in parts if isinstance(found.get(key), dict)}
        return {**found, **full}


# For trying, in some five minutes of one core: every part once, and intervals that decide nothing.
QUICK = StudySettings(
    distil={"epochs": 1, "batch": 64, "learning_rate": 0.01, "loss": "nsr"},
    supernet={"epochs": 1, "batch": 64, "learning_rate": 0.005, "loss": "nsr"},
    dna={**FORMS["dna"], "epochs": 1, "batch": 64, "learning_rate": 0.005},
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


def parse_settings(path: Path | None, quick: bool) -> StudySettings:
    """Return the settings of a JSON file, or without one `QUICK` or the defaults. Raises: ConfigError."""
    if path is None:
        return QUICK if quick else StudySettings()
    if quick:
        raise ConfigError("--quick has settings of its own; leave it or --settings out")
    return StudySettings.from_file(path, option="--settings")
