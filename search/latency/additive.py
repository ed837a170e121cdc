"""Latency predictors that are sums over blocks, for spaces too large to predict network by network.

All of `search.latency.candidates` but `transfer` and `borders` are such sums, and need no array over the space. They are judged
and chosen as by `search.latency.model_selection`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.latency.block_features import pair_features
from search.latency.candidates import CANDIDATES, CandidatePredictor
from search.latency.evaluation import Errors
from search.latency.model_selection import SelectedPredictor
from search.latency.ridge import Linear
from search.statistics import conformal_margin
from space import SpaceConfig
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


def additive_candidates(config: SpaceConfig) -> tuple[CandidatePredictor, ...]:
    """Return the candidates that are sums, simplest first."""
    left_out = ("transfer", "borders") if pair_features(config).size else ("transfer", "borders", "pairs")
    return tuple(candidate for candidate in CANDIDATES if candidate.name not in left_out)
