"""Results of a blockwise search: finalists (before) and students (after fine-tuning)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from search.training.history import Figures
from space import Architecture

if TYPE_CHECKING:
    from search.training.trained import Trained

State = Mapping[str, Any]  # a state dict of `space.networks.build_network`


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A finalist: its prediction, in the predictor's unit, and its accuracy with the library's weights.

    `distance`: the least number of stages in which it differs from a finalist chosen before it.
    """

    architecture: Architecture
    predicted: float
    distance: int
    inherited: Figures  # images for re-scoring


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Student:
    """A finalist with test figures, fine-tuned where requested.

    Fine-tuning does not help every network, so the better weights of the two are kept, by top-1 and then loss on the images for
    re-scoring: on the images that chose the epoch, fine-tuned weights look better than they are. `tuned_rescored`: figures of
    the fine-tuned weights on the images for re-scoring.
    """

    candidate: Candidate
    inherited_weights: State
    inherited_test: Figures
    trained: Trained | None
    tuned_rescored: Figures | None

    @property
    def architecture(self) -> Architecture:
        """The network."""
        return self.candidate.architecture

    @property
    def is_tuned(self) -> bool:
        """Whether the weights kept are the fine-tuned ones."""
        return self.tuned_rescored is not None and quality(self.tuned_rescored) > quality(
            self.candidate.inherited
        )

    @property
    def weights(self) -> State:
        """The weights kept."""
        return self.trained.weights if self.trained is not None and self.is_tuned else self.inherited_weights

    @property
    def val(self) -> Figures:
        """Figures of the kept weights on the images for re-scoring, by which the answer is chosen."""
        tuned = self.tuned_rescored
        return tuned if tuned is not None and self.is_tuned else self.candidate.inherited

    @property
    def test(self) -> Figures:
        """Figures of the kept weights on the test images."""
        return self.trained.test if self.trained is not None and self.is_tuned else self.inherited_test


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """A search's candidates and students, each best first by the images for re-scoring.

    `allowed` networks were within the limits; None where nobody counted them.
    """

    allowed: int | None
    candidates: tuple[Candidate, ...]
    students: tuple[Student, ...]

    @property
    def best(self) -> Student:
        """The answer."""
        return self.students[0]


def quality(figures: Figures) -> tuple[float, float]:
    """Return the sort key of figures, higher is better: top-1, then a low loss."""
    return figures.top1, -figures.loss
