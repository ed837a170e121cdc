"""Blockwise search: finalists by prediction, re-scored with their library's weights, the best fine-tuned.

    table = predicted_table(config, fitted.predict, costs, name="predicted val_top1", origin=("linear",))
    finalists, allowed = choose_listed(table, constraints, plan)    # not enumerated: `by_integer_program.choose`
    found = search_blockwise(config, finalists, library, plan, judge, fine_tune)
    found.best.architecture, found.best.val.top1, found.best.test.top1

In four steps, each with fewer networks at a higher cost each (LANA, Molchanov et al. 2021, arXiv:2107.10624; DONNA, Moons et
al. 2021, arXiv:2012.08859): a predictor ranks every network within the limits, K diverse finalists are judged with the
library's weights on the images for re-scoring (nothing is trained), the N best of those are fine-tuned, and the best of these,
re-scored, is the answer. The functions `judge` and `fine_tune` are arguments: nothing here trains, measures or writes. Figures
on test images are reported and choose nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import numpy as np

from search.blockwise.defaults import DISTANCE, FINALISTS, FINE_TUNE
from search.blockwise.finalists import Finalists, from_scores
from search.checked import Checked, Range
from search.table import Cost, NetworkTable
from search.table.answers import Nearest, nearest
from search.table.constraints import Constraint, allowed
from search.training.history import Figures
from space import Architecture, SpaceConfig, check_enumerable
from space.accuracies import Accuracies
from space.errors import ConfigError
from space.hash_table import first_equals, is_first
from space.indexing import BoolArray, FloatArray, IndexArray

if TYPE_CHECKING:
    from search.distillation.block_library import BlockLibrary
    from search.training.trained import Trained


State = Mapping[str, Any]  # a state dict of `space.networks.build_network`
Judge = Callable[[Architecture, State, str], Figures]  # a network with weights on images, "rescore" or "test"
# From their library's weights; in this order.
FineTune = Callable[[Sequence[Architecture]], "Sequence[Trained]"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan(Checked):
    """Sizes of a search: `finalists` are evaluated, the best `fine_tune` of them trained; `distance` as in finalists.

    Raises:
        ConfigError: a number is out of its range.
    """

    NAME: ClassVar[str] = "plan"

    finalists: Annotated[int, Range(least=1)] = FINALISTS
    fine_tune: Annotated[int, Range(least=0)] = FINE_TUNE
    distance: Annotated[int, Range(least=1)] = DISTANCE


def predicted_table(
    config: SpaceConfig,
    predict: Callable[[IndexArray], FloatArray],
    costs: Mapping[str, Cost],
    *,
    metric: str,
    origin: tuple[str, ...],
    synthetic: bool,
    indices: IndexArray | None = None,
) -> NetworkTable:
    """Return the table of predicted accuracies of every network, or of some by their canonical `indices` (n,), rising.

    `metric` names the predicted quantity, higher being better; `synthetic`: its images are made up, as its label will say.

    Raises:
        ConfigError: no network at all has a prediction.
    """
    if indices is None:
        check_enumerable(config, metric, "choose by integer programs: search.blockwise.by_integer_program")
    values = np.asarray(predict(np.arange(len(config)) if indices is None else indices), dtype=np.float64)
    if np.isnan(values).all():
        raise ConfigError(
            f"{metric}: no network of space {config.name!r} has a prediction, as each has a block whose signature is unknown; "
            "distill and score all blocks"
        )
    accuracy = Accuracies(
        metric=metric,
        epoch="",
        seeds=(),
        values=values,
        seed_counts=np.zeros(len(values), dtype=np.int64),
        seed_sd=None,
        origin=origin,
        synthetic=synthetic,
        config=config,
        indices=indices,
    )
    return NetworkTable(config=config, accuracy=accuracy, costs=costs, indices=indices)


def choose_listed(
    table: NetworkTable, constraints: Sequence[Constraint], plan: SearchPlan, *, confident: bool = False
) -> tuple[Finalists, int]:
    """Return the finalists of a table, and the number of networks within the limits, each counted once.

    Raises:
        ConfigError: no network is within the limits; the message names the nearest one and its costs.
    """
    mask = allowed_once(table, constraints, confident=confident)
    if not mask.any():
        closest = nearest(table, constraints, confident=confident)
        raise ConfigError(none_within(table.config, constraints, closest, confident=confident))
    found = from_scores(table.config, table.accuracy.values, mask, plan.finalists, distance=plan.distance)
    return found, int(mask.sum())


def allowed_once(
    table: NetworkTable, constraints: Sequence[Constraint], *, confident: bool = False
) -> BoolArray:
    """Return which networks meet the constraints, (len(config),), each by its best predicted name alone.

    Blocks are distilled in their stage, so that predictions differ between the names of one network.
    """
    mask = allowed(table, constraints, confident=confident)
    if is_first(table.config).all():
        return mask
    places = np.flatnonzero(mask)
    order = places[np.argsort(-table.accuracy.values[places], kind="stable")]
    _, best = np.unique(first_equals(table.config)[order], return_index=True)
    found = np.zeros_like(mask)
    found[order[best]] = True
    return found


def rescore(
    config: SpaceConfig,
    finalists: Finalists,
    library: BlockLibrary,
    judge: Judge,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
) -> list[Candidate]:
    """Judge each finalist on the images for re-scoring with the library's weights; best first, of equals the better predicted."""
    found = []
    for choices, score, distance in zip(
        finalists.choices.tolist(), finalists.scores.tolist(), finalists.distances.tolist(), strict=True
    ):
        architecture = Architecture(blocks=tuple(config.blocks[choice] for choice in choices), config=config)
        found.append(
            Candidate(
                architecture=architecture,
                predicted=score,
                distance=distance,
                inherited=judge(architecture, library.assemble(architecture), "rescore"),
            )
        )
        on_candidate(found[-1])
    return sorted(found, key=lambda one: quality(one.inherited), reverse=True)  # stable


def fine_tune_best(
    candidates: Sequence[Candidate],
    library: BlockLibrary,
    plan: SearchPlan,
    judge: Judge,
    fine_tune: FineTune,
) -> list[Student]:
    """Fine-tune the best candidates, best first; with none to be fine-tuned the best one is a student unchanged."""
    chosen = candidates[: max(1, plan.fine_tune)]
    trained: Sequence[Trained | None] = [None] * len(chosen)
    if plan.fine_tune:
        trained = fine_tune([one.architecture for one in chosen])
    students = []
    for one, came in zip(chosen, trained, strict=True):
        if came is not None and came.architecture != one.architecture:
            raise ValueError(f"fine-tuning {one.architecture} gave another network, {came.architecture}")
        weights = library.assemble(one.architecture)
        students.append(
            Student(
                candidate=one,
                inherited_weights=weights,
                inherited_test=judge(one.architecture, weights, "test"),
                trained=came,
                tuned_rescored=None if came is None else judge(one.architecture, came.weights, "rescore"),
            )
        )
    return sorted(students, key=lambda student: quality(student.val), reverse=True)


def search_blockwise(
    config: SpaceConfig,
    finalists: Finalists,
    library: BlockLibrary,
    plan: SearchPlan,
    judge: Judge,
    fine_tune: FineTune,
    *,
    allowed: int | None = None,
    on_candidate: Callable[[Candidate], None] = lambda candidate: None,
) -> Found:
    """Return the candidates, students and answer of finalists; `allowed` networks are within the limits, None if not counted."""
    candidates = rescore(config, finalists, library, judge, on_candidate)
    students = fine_tune_best(candidates, library, plan, judge, fine_tune)
    return Found(allowed=allowed, candidates=tuple(candidates), students=tuple(students))


def none_within(
    config: SpaceConfig, constraints: Sequence[Constraint], closest: Nearest | None, *, confident: bool
) -> str:
    """Return the message that no network is within the limits, with the nearest one and its costs, where known."""
    limits = ", ".join(map(str, constraints))
    manner = ", with the far ends of intervals" if confident else ""
    if closest is None:
        return f"no network is within {limits}{manner}: of none is all of it known; measure more networks"
    return f"no network is within {limits}{manner}; {closest.text(config)}"
