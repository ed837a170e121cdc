"""Candidate latency predictors, simplest first.

To add one, add a function and a line of `CANDIDATES`, or an entry point in another package.

All minimize relative errors. A candidate never sees the latencies that it is judged on, but may use facts on every network that
need no measurement of it: its blocks, its MACs, the sum of its parts, another configuration's prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np

from search.latency.block_features import stage_effects
from search.latency.ridge import FittedLatency, Guess, fit_corrected, fit_line, fit_parts
from space import SpaceConfig
from space.costs import all_macs
from space.indexing import FloatArray, IndexArray, block_indices
from space.plugins import LATENCY_PREDICTORS, bad_plugin, load_plugin, plugins

FEWEST = 10  # networks; CV+ intervals at 90 % need 9
NO_REST = 1e-9  # of a guess: below, it is a sum over stages but for rounding


def enough_models(config: SpaceConfig) -> str:
    """Return a selection for `--models` with enough networks for a predictor and 95 % intervals, or all networks."""
    return "design:1" if config.chain is None else f"sample:{min(40, len(config))}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceFacts:
    """Facts on every network of a space that need no measurement of it; arrays have shape (len(config),).

    `parts_sum`: the measured ratios of stem, cells, reductions and head, added up. `prior`: another configuration's prediction.
    """

    config: SpaceConfig
    parts_sum: FloatArray | None = None
    prior: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    """Measured networks, indices and ratios of shape (n,), and facts on the space.

    `weights` (n,), of mean 1: the weight of each network's relative error.
    """

    known: SpaceFacts
    indices: IndexArray
    ratios: FloatArray
    weights: FloatArray
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePredictor:
    """A candidate predictor: `needs` names the field of `SpaceFacts` that it requires, `min_networks` the number to measure.

    `knows_ops`: whether it knows the cost of each op from another source than measured networks, as one that `needs` a field.
    """

    name: str
    meaning: str
    fit: Callable[[Training], FittedLatency]
    needs: str | None = None
    min_networks: int = FEWEST
    knows_ops: bool = False


def fit_macs(training: Training) -> FittedLatency:
    """Fit a line through MACs: neither slope nor intercept is below 0."""
    macs = all_macs(training.known.config).astype(np.float64)
    return line(training, partial(np.take, macs))


def fit_sum(training: Training) -> FittedLatency:
    """Take the sum of the measured parts as it is."""
    parts_sum = _present(training.known.parts_sum)
    return FittedLatency(point=partial(np.take, parts_sum))


def fit_affine(training: Training) -> FittedLatency:
    """Fit a line through the sum of the measured parts: see `origin_of` for how low it may begin."""
    parts_sum = _present(training.known.parts_sum)
    return line(training, partial(np.take, parts_sum), origin_of(float(parts_sum.min())))


def fit_structured(training: Training) -> FittedLatency:
    """Fit the cost of each op by slot and stage, and of the wiring."""
    return fit_parts(training.known.config, training.indices, training.ratios, training.weights)


def fit_pairs(training: Training) -> FittedLatency:
    """Fit the features of `fit_structured` and their products in pairs within each stage."""
    return fit_parts(
        training.known.config, training.indices, training.ratios, training.weights, with_pairs=True
    )


def fit_borders(training: Training) -> FittedLatency:
    """Fit the features of `fit_pairs` and the products of ops on either side of each reduction."""
    return fit_parts(
        training.known.config, training.indices, training.ratios, training.weights, with_borders=True
    )


def fit_sum_corrected(training: Training) -> FittedLatency:
    """Fit a line through the sum of parts, corrected by a shrunk ridge."""
    return _corrected(training, "parts_sum")


def fit_transfer(training: Training) -> FittedLatency:
    """Fit a line through another configuration's prediction, corrected by a shrunk ridge."""
    return _corrected(training, "prior")


CANDIDATES: tuple[CandidatePredictor, ...] = (
    CandidatePredictor(name="macs", meaning="a line through MACs", fit=fit_macs),
    CandidatePredictor(name="sum", meaning="the sum of the measured parts", fit=fit_sum, needs="parts_sum"),
    CandidatePredictor(
        name="affine", meaning="a line through the sum of parts", fit=fit_affine, needs="parts_sum"
    ),
    CandidatePredictor(name="ridge", meaning="cost of each op and of wiring, by stage", fit=fit_structured),
    CandidatePredictor(
        name="corrected",
        meaning="affine, corrected by a shrunk ridge",
        fit=fit_sum_corrected,
        needs="parts_sum",
    ),
    CandidatePredictor(
        name="transfer",
        meaning="a line through the prior, corrected by a shrunk ridge",
        fit=fit_transfer,
        needs="prior",
    ),
    CandidatePredictor(
        name="pairs", meaning="the same with products within each stage", fit=fit_pairs, min_networks=45
    ),
    CandidatePredictor(
        name="borders", meaning="the same with products across stages", fit=fit_borders, min_networks=45
    ),
)


def all_candidates() -> tuple[CandidatePredictor, ...]:
    """Return `CANDIDATES`, then those of the entry points of the group `harness.latency_predictors`, by name.

    Raises: ConfigError when another package's cannot be used.
    """
    return (*CANDIDATES, *(_outside(name) for name in sorted(plugins(LATENCY_PREDICTORS))))


def _outside(name: str) -> CandidatePredictor:
    candidate = load_plugin(LATENCY_PREDICTORS, name)
    if (
        not isinstance(candidate, CandidatePredictor)
        or candidate.name != name
        or name in {own.name for own in CANDIDATES}
    ):
        raise bad_plugin(
            LATENCY_PREDICTORS,
            name,
            f"is no search.latency.candidates.CandidatePredictor of a new name {name!r}",
        )
    return candidate


def line(training: Training, x: Callable[[IndexArray], FloatArray], origin: float = 0.0) -> FittedLatency:
    """Fit a line in `x` (len(config),) whose slope, and whose value at `origin`, are not below 0."""
    seen, ratios = x(training.indices) - origin, training.ratios
    slope, intercept = fit_line(seen, ratios, training.weights, from_zero=True)
    rows = np.column_stack([seen, np.ones(len(seen))]) * (np.sqrt(training.weights) / ratios)[:, None]
    covariance = np.asarray(np.linalg.pinv(rows.T @ rows), dtype=np.float64)
    return FittedLatency(
        point=partial(_on_line, x, origin, slope, intercept),
        columns=partial(_line_columns, x, origin),
        covariance=covariance,
    )


def _on_line(
    x: Callable[[IndexArray], FloatArray], origin: float, slope: float, intercept: float, places: IndexArray
) -> FloatArray:
    return intercept + slope * (x(places) - origin)


def _line_columns(x: Callable[[IndexArray], FloatArray], origin: float, places: IndexArray) -> FloatArray:
    return np.column_stack([x(places) - origin, np.ones(len(places))])


def origin_of(least_sum: float) -> float:
    """Return the largest sum of parts that may be predicted to take no time: half the smallest sum of the space.

    A part takes longer as a model of its own than within a network, so the line may reach 0 at a positive sum, below all
    networks'.
    """
    return least_sum / 2


def _corrected(training: Training, name: str) -> FittedLatency:
    """Fit a correction of a guess of every network, the field of `SpaceFacts` of this name."""
    return fit_corrected(
        training.known.config,
        training.indices,
        training.ratios,
        training.weights,
        _guess(training.known, name),
    )


@lru_cache(maxsize=2)  # the two guesses that all folds of a selection share
def _guess(known: SpaceFacts, name: str) -> Guess:
    config, values = known.config, _present(getattr(known, name))
    blocks = stage_effects(config, values)
    rest = values - values.mean()
    for stage, choice in enumerate(block_indices(config, np.arange(len(config))).T):
        rest = rest - blocks[stage, choice]
    is_sum = np.abs(rest).max() <= NO_REST * np.abs(values).max()
    return Guess(blocks=blocks, rest=None if is_sum else rest)


def _present(array: FloatArray | None) -> FloatArray:
    assert array is not None, "a predictor was fitted without the facts that it needs"
    return array
