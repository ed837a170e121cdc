"""Latency predictors that are sums over blocks, for spaces too large to predict network by network.

All of `search.latency.candidates` but `transfer` and `borders` are such sums. They are fitted here with the same results but
without an array over the space, for means and deviations over the space are sums over stages, too. They are judged and chosen as
by `search.latency.model_selection`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from search.latency.candidates import CANDIDATES, CandidatePredictor, Training, line, origin_of
from search.latency.evaluation import Errors
from search.latency.model_selection import SelectedPredictor, select_predictor
from search.latency.parts import parts_by_block
from search.latency.ridge import FittedLatency, Guess, Linear, fit_corrected, fit_line
from search.statistics import conformal_margin
from space import SpaceConfig
from space.costs import block_costs, fixed_cost
from space.indexing import FloatArray, available, indices_of

SAMPLE = 2_000  # networks that represent all


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Additive:
    """A latency predictor that is a sum: `constant` and what the block of each stage adds, `blocks` (stages, B), in ratios.

    `scores` (measured,) are the relative cross-validated errors of `predictor`, scaled to a network of mean leverage among the
    networks whose blocks were all measured.
    """

    predictor: SelectedPredictor
    constant: float
    blocks: FloatArray
    scores: FloatArray

    @property
    def chosen(self) -> str:
        """The chosen candidate."""
        return self.predictor.chosen

    @property
    def errors(self) -> Errors:
        """Its cross-validated errors."""
        return self.predictor.errors

    def margin(self, coverage: float) -> float:
        """Return the share of a prediction by which its interval of this coverage reaches to either side; see `cv_plus`."""
        return conformal_margin(self.scores, coverage)


def fit_additive(
    indices: ArrayLike,
    ratios: ArrayLike,
    *,
    config: SpaceConfig,
    sds: ArrayLike | None = None,
    parts: Mapping[str, float] | None = None,
    seed: int = 0,
) -> Additive:
    """Judge the candidates that are sums on measured networks (n,) and their ratios (n,), choose one, fit it on all.

    `sds` (n,): as for `select_predictor`. `parts`: the ratio of every segment by its text, as in `search.latency.parts`; without
    it candidates that need it are left out.

    Raises:
        ConfigError: as `select_predictor` and `parts_by_block`.
    """
    return as_additive(
        select_predictor(
            indices, ratios, sds=sds, config=config, seed=seed, candidates=additive_candidates(config, parts)
        ),
        seed,
    )


def as_additive(predictor: SelectedPredictor, seed: int = 0) -> Additive:
    """Return a predictor that was selected from `additive_candidates` as the sum that it is."""
    config, point = predictor.known.config, predictor.point.point
    assert isinstance(point, Linear) and point.guess is None  # each candidate below returns such a sum
    # For the mean leverage: networks whose blocks were all measured.
    random, seen = np.random.default_rng(seed), available(config) & ~predictor.unseen_blocks()
    choices = np.stack([random.choice(np.flatnonzero(row), SAMPLE) for row in seen], axis=1)
    return Additive(
        predictor=predictor,
        constant=point.constant,
        blocks=point.blocks,
        scores=predictor.scores * np.sqrt(1 + predictor.point.leverage(indices_of(config, choices)).mean()),
    )


def additive_candidates(
    config: SpaceConfig, parts: Mapping[str, float] | None = None
) -> tuple[CandidatePredictor, ...]:
    """Return the candidates that are sums, simplest first; those that need the parts are skipped without them."""
    by_name = {candidate.name: candidate for candidate in CANDIDATES}
    fits: dict[str, Callable[[Training], FittedLatency]] = {"macs": lambda t: _line(t, _macs(config), 0.0)}
    if parts is not None:
        blocks, constant = parts_by_block(parts, config)
        total = Linear(config=config, constant=constant, blocks=blocks)
        least = blocks.min(axis=1, where=available(config), initial=np.inf)
        origin = origin_of(constant + float(least.sum()))
        fits["sum"] = lambda training: FittedLatency(point=total)
        fits["affine"] = lambda training: _line(training, total, origin)
        fits["corrected"] = lambda t: fit_corrected(
            config, t.indices, t.ratios, t.weights, Guess(blocks=blocks)
        )
    # A chain's blocks are of one op, and have no pairs.
    for name in ("ridge", "pairs") if config.chain is None else ("ridge",):
        fits[name] = by_name[name].fit
    return tuple(
        replace(
            candidate,
            fit=fits[candidate.name],
            needs=None,
            knows_ops=candidate.needs is not None,
        )
        if candidate.name in fits
        else candidate
        for candidate in CANDIDATES
        if candidate.name in fits or candidate.needs == "parts_sum"
    )


def _macs(config: SpaceConfig) -> Linear:
    blocks = np.array([[cost.macs for cost in row] for row in block_costs(config)], dtype=np.float64)
    return Linear(config=config, constant=float(fixed_cost(config).macs), blocks=blocks)


def _line(training: Training, x: Linear, origin: float) -> FittedLatency:
    """Fit a line through a sum, which is again a sum."""
    slope, intercept = fit_line(
        x(training.indices) - origin, training.ratios, training.weights, from_zero=True
    )
    point = Linear(
        config=x.config, constant=intercept + slope * (x.constant - origin), blocks=slope * x.blocks
    )
    return replace(line(training, x, origin), point=point)
