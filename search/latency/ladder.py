"""Choose the predictor for one configuration by cross-validation and predict with honest intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from harness.errors import ConfigError
from search.latency.features import FloatArray, IndexArray
from search.latency.intervals import COVERAGE, cv_plus, folds
from search.latency.judging import Errors, check_ratios, judge, relative_errors
from search.latency.rungs import FEWEST, RUNGS, Known, Predictor, Rung, Training
from space import BLOX, SpaceConfig

CHUNK = 8192  # networks predicted at once: at 400 measured ones, 26 MB an array


@dataclass(frozen=True, slots=True, kw_only=True)
class RungReport:
    """How a rung did on networks held out, or why it was skipped (then `errors` is None)."""

    name: str
    errors: Errors | None
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Ratios with the interval that a measurement falls into with 90 %, each of shape (n,)."""

    ratios: FloatArray
    low: FloatArray
    high: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ladder:
    """All rungs judged, and the chosen one fitted on all measured networks and without each fold.

    `fold_of` (n,): the fold of each measured network; `scores` (n,): |measured - predicted| / predicted by the predictor that did
    not see it.
    """

    reports: tuple[RungReport, ...]
    chosen: str
    known: Known
    indices: IndexArray
    ratios: FloatArray
    point: Predictor
    fold_points: tuple[Predictor, ...]
    fold_of: IndexArray
    scores: FloatArray

    @property
    def errors(self) -> Errors:
        """The cross-validated errors of the chosen rung."""
        return next(r.errors for r in self.reports if r.name == self.chosen and r.errors is not None)

    def predict(self, indices: ArrayLike, coverage: float = COVERAGE) -> Prediction:
        """Predict networks, indices of shape (n,), with intervals by CV+.

        See `intervals.cv_plus`; too few networks for the coverage give 0 and infinity. Where the point lies outside, the interval
        is widened to it.

        Raises:
            ConfigError: an index is not in the space, or the coverage not between 0 and 1.
        """
        places = check_indices(indices, self.known.config)
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage {coverage}; give a share between 0 and 1, such as {COVERAGE}")
        ratios, low, high = (np.empty(len(places)) for _ in range(3))
        for start in range(0, len(places), CHUNK):
            part = slice(start, start + CHUNK)
            ratios[part] = self.point(places[part])
            low[part], high[part] = cv_plus(
                self.fold_predictions(places[part]), self.fold_of, self.scores, coverage
            )
        return Prediction(ratios=ratios, low=np.minimum(low, ratios), high=np.maximum(high, ratios))

    def fold_predictions(self, indices: IndexArray) -> FloatArray:
        """Return what the predictor without each fold says of networks (n,), shape (folds, n)."""
        return np.stack([point(indices) for point in self.fold_points])


def fit_ladder(
    indices: ArrayLike,
    ratios: ArrayLike,
    *,
    config: SpaceConfig = BLOX,
    parts_sum: ArrayLike | None = None,
    prior: ArrayLike | None = None,
    seed: int = 0,
    rungs: Sequence[Rung] | None = None,
) -> Ladder:
    """Judge every rung on the same folds, choose one, fit it on all measured networks.

    `indices` and `ratios` (n,): measured networks and their latency over the reference network's. `parts_sum` and `prior`
    (len(config),): see `Known`; rungs that need one are skipped without it. Chosen is the rung with the least mean absolute
    percentage error, or the simplest that is worse by no more than the standard error of that mean (Breiman et al. 1984,
    Classification and Regression Trees, section 3.4.3).

    Raises:
        ConfigError: too few networks, a network twice or not in the space, a ratio not finite and above 0,
            or a known value that is not finite.
    """
    from threadpoolctl import threadpool_limits

    places, measured = check_indices(indices, config), np.asarray(ratios, dtype=np.float64)
    _check_measured(places, measured, config)
    known = Known(
        config=config,
        parts_sum=_whole("parts_sum", parts_sum, config),
        prior=_whole("prior", prior, config),
    )
    ladder = {rung.name: rung for rung in (RUNGS if rungs is None else rungs)}
    with threadpool_limits(
        limits=1
    ):  # matrices this small gain nothing: on a busy machine threads wait for each other
        return _climb(ladder, Training(known=known, indices=places, ratios=measured, seed=seed))


def choose(errors: dict[str, FloatArray]) -> str:
    """Return the simplest rung within one standard error of the best; `errors` (n,) of each, simplest first."""
    best = min(errors.values(), key=lambda each: float(each.mean()))
    limit = best.mean() + best.std(ddof=1) / np.sqrt(len(best))
    return next(name for name, each in errors.items() if each.mean() <= limit)


def check_indices(indices: ArrayLike, config: SpaceConfig) -> IndexArray:
    """Return indices as an int64 array of shape (n,).

    Raises:
        ConfigError: they are no whole numbers in one row, or one is not in the space.
    """
    places = np.asarray(indices)
    if places.ndim != 1 or (places.dtype.kind not in "iu" and len(places)):
        raise ConfigError(
            f"indices of shape {places.shape} and type {places.dtype}; give one row of whole numbers"
        )
    if bad := places[(places < 0) | (places >= len(config))].tolist():
        raise ConfigError(
            f"index {bad[0]}: space {config.name!r} has {len(config)} networks; give 0 to {len(config) - 1}"
        )
    return places.astype(np.int64)


def _climb(ladder: dict[str, Rung], everything: Training) -> Ladder:
    known, places, measured = everything.known, everything.indices, everything.ratios
    fold_of = folds(len(places), everything.seed)
    reports, errors, fitted = [], {}, {}
    for name, rung in ladder.items():
        if reason := _reason_to_skip(rung, known, len(places)):
            reports.append(RungReport(name=name, errors=None, skipped=reason))
            continue
        fitted[name] = _fit_folds(rung, everything, fold_of)
        held_out = _held_out(fitted[name], places, fold_of)
        reports.append(RungReport(name=name, errors=judge(held_out, measured)))
        errors[name] = relative_errors(held_out, measured)
    if not errors:
        reasons = "; ".join(f"{report.name}: {report.skipped}" for report in reports) or "none was named"
        raise ConfigError(f"no predictor can be fitted ({reasons}); measure what one of them needs")
    chosen = choose(errors)
    held_out = _held_out(fitted[chosen], places, fold_of)
    return Ladder(
        reports=tuple(reports),
        chosen=chosen,
        known=known,
        indices=places,
        ratios=measured,
        point=ladder[chosen].fit(everything),
        fold_points=fitted[chosen],
        fold_of=fold_of,
        scores=np.abs(measured - held_out) / np.abs(held_out),
    )


def _check_measured(indices: IndexArray, ratios: FloatArray, config: SpaceConfig) -> None:
    if ratios.shape != indices.shape:
        raise ConfigError(f"{len(indices)} networks with ratios of shape {ratios.shape}; give one for each")
    check_ratios("measured ratio", ratios)
    values, counts = np.unique(indices, return_counts=True)
    if twice := values[counts > 1].tolist():
        raise ConfigError(
            f"network {twice[0]} of space {config.name!r} is given more than once; "
            "combine its sessions into one estimate first"
        )
    if len(indices) < FEWEST:
        raise ConfigError(
            f"{len(indices)} measured networks are too few to fit a predictor, which needs {FEWEST}; "
            "run `harness measure --models design:1` first"
        )


def _whole(name: str, values: ArrayLike | None, config: SpaceConfig) -> FloatArray | None:
    if values is None:
        return None
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (len(config),):
        raise ConfigError(
            f"{name} has shape {array.shape}; give one value for each of {len(config)} networks"
        )
    if bad := np.flatnonzero(~np.isfinite(array)).tolist():
        raise ConfigError(
            f"{name} of network {bad[0]} is {array[bad[0]]}; give a finite number for every network"
        )
    return array


def _reason_to_skip(rung: Rung, known: Known, count: int) -> str:
    if rung.needs is not None and getattr(known, rung.needs) is None:
        return f"needs {rung.needs}, which is not given"
    if count < rung.min_networks:
        return f"needs {rung.min_networks} measured networks, and there are {count}"
    return ""


def _fit_folds(rung: Rung, everything: Training, fold_of: IndexArray) -> tuple[Predictor, ...]:
    fitted = []
    for fold in range(fold_of.max() + 1):
        seen = fold_of != fold
        part = replace(everything, indices=everything.indices[seen], ratios=everything.ratios[seen])
        fitted.append(rung.fit(part))
    return tuple(fitted)


def _held_out(fitted: tuple[Predictor, ...], indices: IndexArray, fold_of: IndexArray) -> FloatArray:
    predicted: FloatArray = np.empty(len(indices))
    for fold, point in enumerate(fitted):
        predicted[fold_of == fold] = point(indices[fold_of == fold])
    return predicted
