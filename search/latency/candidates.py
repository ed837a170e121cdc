"""Candidate latency predictors, simplest first.

To add one, add a function and a line of `CANDIDATES`, or an entry point in another package.

All minimize relative errors. A candidate never sees the latencies that it is judged on, but may use facts on every network that
need no measurement of it: its blocks, its MACs, the sum of its parts, another configuration's prediction.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache, partial

import numpy as np

from search.latency.block_features import stage_effects
from search.latency.ridge import FittedLatency, Guess, Linear, fit_corrected, fit_line, fit_parts
from space import SpaceConfig
from space.costs import block_costs, fixed_cost
from space.indexing import FloatArray, IndexArray, available, block_indices
from space.plugins import LATENCY_PREDICTORS, bad_plugin, load_plugin, plugins

FEWEST = 10  # networks; CV+ intervals at 90 % need 9
ENOUGH = 40  # for intervals at 95 %
NO_REST = 1e-9  # of a guess: below, it is a sum over stages but for rounding


def enough_models(config: SpaceConfig) -> str:
    """Return a selection for `--models` with enough networks for a predictor and 95 % intervals, or all networks."""
    return "design:1" if max(config.radices) >= ENOUGH else f"sample:{min(ENOUGH, len(config))}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceFacts:
    """Facts on every network of a space that need no measurement of it.

    `parts_sum`: the measured ratios of stem, cells, reductions and head, added up, a function of indices (n,) as of
    `search.latency.parts`. `prior` (len(config),): another configuration's prediction.
    """

    config: SpaceConfig
    parts_sum: Linear | None = None
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
    """A candidate predictor: `needs` names the field of `SpaceFacts` that it requires, `min_networks` the number to measure."""

    name: str
    meaning: str
    fit: Callable[[Training], FittedLatency]
    needs: str | None = None
    min_networks: int = FEWEST


def fit_macs(training: Training) -> FittedLatency:
    """Fit a line through MACs: neither slope nor intercept is below 0."""
    config = training.known.config
    blocks = np.array([[cost.macs for cost in row] for row in block_costs(config)], dtype=np.float64)
    return _line_through(
        training, Linear(config=config, constant=float(fixed_cost(config).macs), blocks=blocks)
    )


def fit_sum(training: Training) -> FittedLatency:
    """Take the sum of the measured parts as it is."""
    return FittedLatency(point=_parts_sum(training))


def fit_affine(training: Training) -> FittedLatency:
    """Fit a line through the sum of the measured parts, which may reach 0 at half the smallest sum of the space.

    A part takes longer as a model of its own than within a network, so a line reaches 0 at a positive sum, below all networks'.
    """
    total = _parts_sum(training)
    least = total.constant + float(
        total.blocks.min(axis=1, where=available(total.config), initial=np.inf).sum()
    )
    return _line_through(training, replace(total, constant=total.constant - least / 2))


def fit_structured(
    training: Training, *, with_pairs: bool = False, with_borders: bool = False
) -> FittedLatency:
    """Fit the cost of each op by slot and stage, and of the wiring; with products of features as `fit_parts` has them."""
    known, networks, ratios, weights = training.known, training.indices, training.ratios, training.weights
    return fit_parts(
        known.config, networks, ratios, weights, with_pairs=with_pairs, with_borders=with_borders
    )


def fit_corrected_sum(training: Training) -> FittedLatency:
    """Fit a line through the sum of the measured parts, corrected by a shrunk ridge."""
    return _corrected(training, Guess(blocks=_parts_sum(training).blocks))


def fit_transfer(training: Training) -> FittedLatency:
    """Fit a line through another configuration's prediction, corrected by a shrunk ridge."""
    return _corrected(training, _prior_guess(training.known))


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
        fit=fit_corrected_sum,
        needs="parts_sum",
    ),
    CandidatePredictor(
        name="transfer",
        meaning="a line through the prior, corrected by a shrunk ridge",
        fit=fit_transfer,
        needs="prior",
    ),
    CandidatePredictor(
        name="pairs",
        meaning="the same with products within each stage",
        fit=partial(fit_structured, with_pairs=True),
        min_networks=45,
    ),
    CandidatePredictor(
        name="borders",
        meaning="the same with products across stages",
        fit=partial(fit_structured, with_borders=True),
        min_networks=45,
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


def line(training: Training, x: Callable[[IndexArray], FloatArray]) -> FittedLatency:
    """Fit a line in `x`, a function of indices (n,), whose slope and intercept are not below 0."""
    seen, ratios = x(training.indices), training.ratios
    slope, intercept = fit_line(seen, ratios, training.weights, from_zero=True)
    rows = _line_columns(x, training.indices) * (np.sqrt(training.weights) / ratios)[:, None]
    covariance = np.asarray(np.linalg.pinv(rows.T @ rows), dtype=np.float64)
    return FittedLatency(
        point=partial(_on_line, x, slope, intercept), columns=partial(_line_columns, x), covariance=covariance
    )


def _line_through(training: Training, total: Linear) -> FittedLatency:
    """Fit a line through a sum over blocks, which is such a sum again; see `line`."""
    slope, intercept = fit_line(total(training.indices), training.ratios, training.weights, from_zero=True)
    point = replace(total, constant=intercept + slope * total.constant, blocks=slope * total.blocks)
    return replace(line(training, total), point=point)


def _on_line(
    x: Callable[[IndexArray], FloatArray], slope: float, intercept: float, places: IndexArray
) -> FloatArray:
    return intercept + slope * x(places)


def _line_columns(x: Callable[[IndexArray], FloatArray], places: IndexArray) -> FloatArray:
    return np.column_stack([x(places), np.ones(len(places))])


def _parts_sum(training: Training) -> Linear:
    assert training.known.parts_sum is not None, "a predictor was fitted without the facts that it needs"
    return training.known.parts_sum


def _corrected(training: Training, guess: Guess) -> FittedLatency:
    return fit_corrected(training.known.config, training.indices, training.ratios, training.weights, guess)


@lru_cache(maxsize=1)  # all folds of a selection share it
def _prior_guess(known: SpaceFacts) -> Guess:
    config, values = known.config, known.prior
    assert values is not None, "a predictor was fitted without the facts that it needs"
    blocks = stage_effects(config, values)
    rest = values - values.mean()
    for stage, choice in enumerate(block_indices(config, np.arange(len(config))).T):
        rest = rest - blocks[stage, choice]
    is_sum = np.abs(rest).max() <= NO_REST * np.abs(values).max()
    return Guess(blocks=blocks, rest=None if is_sum else rest)
