"""Choose the predictor for one configuration by cross-validation and predict with honest intervals."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike

from search.latency.block_features import block_features, rows_of, stage_means
from search.latency.candidates import (
    CANDIDATES,
    FEWEST,
    CandidatePredictor,
    SpaceFacts,
    Training,
    all_candidates,
    enough_models,
    fit_structured,
)
from search.latency.evaluation import Errors, check_ratios, judge, relative_errors
from search.latency.noise import check_sds, discounted, expected_sds, fit_weights, model_sd
from search.latency.ridge import FittedLatency, Linear
from search.statistics import conformal_interval
from space import SpaceConfig
from space.errors import ConfigError
from space.indexing import BoolArray, FloatArray, IndexArray, available, block_indices
from space.text import counted

FOLDS = 10
COVERAGE = 0.90
CHUNK = 8192  # networks predicted at once: at 400 measured ones, 26 MB an array
REPEATS = 4  # of the folds, each dealt independently: halves the effect of the deal on the difference of two candidates
CLEAR = 0.25  # standard errors: benchmarks/predictor_choice.py
# Times the width of intervals of nine in ten networks held out: beyond, nothing like it was measured.
FAR = 1.5
USUAL = 0.9  # the share of networks held out whose leverage is usual
SOFT = 0.01  # keeps weights finite where a feature was hardly measured
LEAST_WEIGHT = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidateReport:
    """Cross-validated errors of a candidate, or why it was skipped (then `errors` is None)."""

    name: str
    errors: Errors | None
    skipped: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """Ratios with the interval that a measurement of usual precision is meant to fall into, each of shape (n,).

    `supported`, bool (n,): whether networks like it were measured. If not, the interval is widened by the uncertainty of the fit,
    and no measurement tells whether that is enough.
    """

    ratios: FloatArray
    low: FloatArray
    high: FloatArray
    supported: BoolArray

    def at(self, places: IndexArray) -> Prediction:
        """Return the prediction of some of the networks, by their places (m,)."""
        columns = (self.ratios[places], self.low[places], self.high[places], self.supported[places])
        ratios, low, high, supported = columns
        return Prediction(ratios=ratios, low=low, high=high, supported=supported)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SelectedPredictor:
    """All candidates judged, and the chosen one fitted on all measured networks and without each fold.

    `fold_of` (n,): the fold of each measured network; `scores` (n,): |measured - predicted| / predicted by the predictor that did
    not see it, scaled to a network of leverage 0 measured with the usual precision. `usual_leverage`: the ninth decile of the
    leverage of networks held out. `knows_ops`: whether it knows the cost of each op from another source than measured networks
    as a candidate that `needs` facts does. `each_error`: relative errors of each measured network held out, (n,), by candidate.
    """

    reports: tuple[CandidateReport, ...]
    chosen: str
    known: SpaceFacts
    indices: IndexArray = field(repr=False)
    ratios: FloatArray = field(repr=False)
    point: FittedLatency = field(repr=False)
    fold_points: tuple[FittedLatency, ...] = field(repr=False)
    fold_of: IndexArray = field(repr=False)
    scores: FloatArray = field(repr=False)
    usual_leverage: float
    knows_ops: bool
    each_error: Mapping[str, FloatArray] = field(repr=False)

    @property
    def errors(self) -> Errors:
        """The cross-validated errors of the chosen candidate."""
        return next(r.errors for r in self.reports if r.name == self.chosen and r.errors is not None)

    def predict(self, indices: ArrayLike, coverage: float = COVERAGE) -> Prediction:
        """Predict networks, indices of shape (n,), with intervals by CV+.

        See `cv_plus`; too few networks for the coverage give 0 and infinity. Where the point lies outside, the interval
        is widened to it.

        Raises:
            ConfigError: an index is not in the space, or the coverage not between 0 and 1.
        """
        places = check_indices(indices, self.known.config)
        if not 0 < coverage < 1:
            raise ConfigError(f"coverage {coverage}; give a share between 0 and 1, such as {COVERAGE}")
        ratios, low, high, leverage = (np.empty(len(places)) for _ in range(4))
        for start in range(0, len(places), CHUNK):
            part = slice(start, start + CHUNK)
            ratios[part], leverage[part] = self.point(places[part]), self.point.leverage(places[part])
            low[part], high[part] = cv_plus(
                self.fold_predictions(places[part]),
                self.fold_of,
                self.scores,
                coverage,
                np.sqrt(1 + leverage[part]),
            )
        return Prediction(
            ratios=ratios,
            low=np.minimum(low, ratios),
            high=np.maximum(high, ratios),
            supported=self._supported(places, leverage),
        )

    def fold_predictions(self, indices: IndexArray) -> FloatArray:
        """Return the predictions of networks (n,) without each fold, shape (folds, n)."""
        return np.stack([point(indices) for point in self.fold_points])

    def unseen_blocks(self) -> BoolArray:
        """Return which blocks of a stage have an op there that no measured network has, (stages, B); none if it `knows_ops`."""
        config = self.known.config
        if self.knows_ops:
            return np.zeros((config.stages, len(config.blocks)), dtype=np.bool_)
        table = block_features(config)[:, : 2 * len(config.ops)]  # the ops in each slot
        seen = rows_of(table, block_indices(config, self.indices)).any(axis=0)
        unseen: BoolArray = np.where(seen, 0.0, 1.0).reshape(config.stages, -1) @ table.T > 0
        return unseen & available(config)

    def _supported(self, indices: IndexArray, leverage: FloatArray) -> BoolArray:
        config = self.known.config
        near: BoolArray = 1 + leverage <= FAR**2 * (1 + self.usual_leverage)
        unseen = self.unseen_blocks()[np.arange(config.stages), block_indices(config, indices)]
        return near & ~unseen.any(axis=1)


def select_predictor(
    indices: ArrayLike,
    ratios: ArrayLike,
    *,
    config: SpaceConfig,
    sds: ArrayLike | None = None,
    session_sd: float = 0.0,
    parts_sum: Linear | None = None,
    prior: ArrayLike | None = None,
    seed: int = 0,
    candidates: Sequence[CandidatePredictor] | None = None,
) -> SelectedPredictor:
    """Judge every candidate on the same folds, choose one, fit it on all measured networks.

    `indices` and `ratios` (n,): measured networks and their latency over the reference network's. `sds` (n,): the relative
    standard deviation of each ratio; see `noise` for what it changes. `session_sd`: that of measurements of one network from
    session to session, which intervals are never narrower than. `parts_sum` and `prior`: see `SpaceFacts`; candidates that need
    one are skipped without it. Chosen is the candidate of least mean absolute percentage error as expected
    of the whole space, or a simpler one where the difference between the two, on the same networks, is within its own noise:
    see `choose`.

    Raises:
        ConfigError: too few networks, a network twice or not in the space, a ratio not finite and above 0,
            a deviation that is none, or a prior that is not finite.
    """
    from threadpoolctl import threadpool_limits

    places, measured = check_indices(indices, config), np.asarray(ratios, dtype=np.float64)
    _check_measured(places, measured, config)
    known = SpaceFacts(config=config, parts_sum=parts_sum, prior=_checked(prior, config))
    by_name = {
        candidate.name: candidate for candidate in (all_candidates() if candidates is None else candidates)
    }
    training = Training(known=known, indices=places, ratios=measured, weights=np.ones(len(places)), seed=seed)
    deviations = check_sds(sds, len(places))
    # Matrices this small gain nothing by threads, which wait for each other on a busy machine.
    with threadpool_limits(limits=1):
        return _select(by_name, _weighed(training, deviations), deviations, session_sd)


def choose(errors: Mapping[str, FloatArray], weights: FloatArray) -> str:
    """Return the candidate of least weighted mean error, or the simplest not clearly worse; `errors` (n,), simplest first.

    Clearly worse: the mean of the paired differences exceeds `CLEAR` standard errors. The errors of two candidates on one network
    correlate, so that far smaller differences show than by the standard error of either mean.
    """
    shares = weights / weights.sum()
    best = min(errors.values(), key=lambda each: float(shares @ each))
    for name, each in errors.items():
        difference = each - best
        mean = float(shares @ difference)
        if mean <= CLEAR * float(np.sqrt((shares**2) @ (difference - mean) ** 2)):
            return name
    raise AssertionError("the best differs from itself by nothing")


def space_weights(config: SpaceConfig, indices: IndexArray) -> FloatArray:
    """Return weights (n,) with which measured networks represent the whole space, none negative, of mean 1.

    The calibration estimator (Deville & Sarndal 1992): the weights nearest to equal ones with which each feature is as frequent
    as in the space. Random samples and Latin squares need none; designs and acquired networks do.
    """
    rows = rows_of(block_features(config), block_indices(config, indices))
    goal = stage_means(config, block_features(config)).ravel()
    away = rows - goal
    square = away.T @ away + SOFT * len(rows) * np.eye(len(goal))
    weights = np.clip(1 - away @ np.linalg.solve(square, away.sum(axis=0)), LEAST_WEIGHT, None)
    found: FloatArray = weights / weights.mean()
    return found


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


def _weighed(training: Training, sds: FloatArray) -> Training:
    """Return the training data with weights, by the variances of the measurements and of the errors of `fit_structured`."""
    if not sds.any():
        return training
    fold_of = folds(len(training.indices), training.seed)
    candidate = next(candidate for candidate in CANDIDATES if candidate.fit is fit_structured)
    held_out = _by_fold(_fit_folds(candidate, training, fold_of), training.indices, fold_of)
    model = model_sd(training.ratios / held_out - 1, sds)
    return replace(training, weights=fit_weights(model, sds))


def _select(
    by_name: dict[str, CandidatePredictor], everything: Training, sds: FloatArray, session_sd: float
) -> SelectedPredictor:
    known, places, measured = everything.known, everything.indices, everything.ratios
    dealt = [folds(len(places), everything.seed * REPEATS + repeat) for repeat in range(REPEATS)]
    fold_of = dealt[0]
    reports, errors, fitted = [], {}, {}
    for name, candidate in by_name.items():
        if reason := _reason_to_skip(candidate, known, len(places)):
            reports.append(CandidateReport(name=name, errors=None, skipped=reason))
            continue
        fitted[name] = _fit_folds(candidate, everything, fold_of)
        predictions = [_by_fold(fitted[name], places, fold_of)]
        predictions += [
            _by_fold(_fit_folds(candidate, everything, other), places, other) for other in dealt[1:]
        ]
        seen = [discounted(one, measured, model_sd(measured / one - 1, sds), sds) for one in predictions]
        found = judge(np.concatenate(predictions), np.concatenate(seen))
        reports.append(CandidateReport(name=name, errors=replace(found, count=len(places))))
        errors[name] = np.mean(
            [relative_errors(p, s) for p, s in zip(predictions, seen, strict=True)], axis=0
        )
    if not errors:
        reasons = "; ".join(f"{report.name}: {report.skipped}" for report in reports) or "none was named"
        raise ConfigError(f"no predictor can be fitted ({reasons}); measure enough for one of them")
    chosen = choose(errors, space_weights(known.config, places))
    held_out = _by_fold(fitted[chosen], places, fold_of)
    leverage = _by_fold((point.leverage for point in fitted[chosen]), places, fold_of)
    return SelectedPredictor(
        reports=tuple(reports),
        chosen=chosen,
        known=known,
        indices=places,
        ratios=measured,
        point=by_name[chosen].fit(everything),
        fold_points=fitted[chosen],
        fold_of=fold_of,
        scores=_scores(held_out, measured, sds, leverage, session_sd),
        usual_leverage=float(np.quantile(leverage, USUAL)),
        knows_ops=by_name[chosen].needs is not None,
        each_error=errors,
    )


def _scores(
    held_out: FloatArray, measured: FloatArray, sds: FloatArray, leverage: FloatArray, session_sd: float
) -> FloatArray:
    """Return |measured - predicted| / predicted, scaled to a network of leverage 0 and usual precision.

    Networks of one campaign share its few processes and its minutes, and can lie closer about a fit than a session in another
    process does about the same fit: the scores' root mean square is no less than `session_sd`.
    """
    errors = measured / held_out - 1
    model = model_sd(errors, sds, leverage)
    expected = expected_sds(model, sds, leverage)
    usual = np.sqrt(model**2 + np.median(sds) ** 2)
    scores: FloatArray = np.abs(errors) * np.divide(
        usual, expected, out=np.ones_like(errors), where=expected > 0
    )
    spread = float(np.sqrt(np.square(scores).mean()))
    return scores * (session_sd / spread) if 0 < spread < session_sd else scores


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
            f"{counted(len(indices), 'measured network is', 'measured networks are')} too few to fit a predictor, "
            f"which needs {FEWEST}; run `harness measure --models {enough_models(config)}` first"
        )


def _checked(prior: ArrayLike | None, config: SpaceConfig) -> FloatArray | None:
    if prior is None:
        return None
    array = np.asarray(prior, dtype=np.float64)
    if array.shape != (len(config),):
        raise ConfigError(f"prior has shape {array.shape}; give one value for each of {len(config)} networks")
    if bad := np.flatnonzero(~np.isfinite(array)).tolist():
        raise ConfigError(
            f"prior of network {bad[0]} is {array[bad[0]]}; give a finite number for every network"
        )
    return array


def _reason_to_skip(candidate: CandidatePredictor, known: SpaceFacts, count: int) -> str:
    if candidate.needs is not None and getattr(known, candidate.needs) is None:
        return f"needs {candidate.needs}, which is not given"
    if count < candidate.min_networks:
        return f"needs {candidate.min_networks} measured networks, and there are {count}"
    return ""


def _fit_folds(
    candidate: CandidatePredictor, everything: Training, fold_of: IndexArray
) -> tuple[FittedLatency, ...]:
    fitted = []
    for fold in range(fold_of.max() + 1):
        seen = fold_of != fold
        part = replace(
            everything,
            indices=everything.indices[seen],
            ratios=everything.ratios[seen],
            weights=everything.weights[seen],
        )
        fitted.append(candidate.fit(part))
    return tuple(fitted)


def _by_fold(
    functions: Iterable[Callable[[IndexArray], FloatArray]], indices: IndexArray, fold_of: IndexArray
) -> FloatArray:
    """Return of each network what the function of its own fold gives, (n,)."""
    found: FloatArray = np.empty(len(indices))
    for fold, function in enumerate(functions):
        found[fold_of == fold] = function(indices[fold_of == fold])
    return found


# --- intervals by cross-validation, without assumptions on the errors' distribution ---------------


def folds(count: int, seed: int) -> IndexArray:
    """Assign `count` networks to 10 folds of nearly equal size, or to one each if fewer; shape (count,)."""
    dealt = np.arange(count, dtype=np.int64) % min(FOLDS, count)
    return np.random.default_rng(seed).permutation(dealt)


def cv_plus(
    predictions: FloatArray,
    fold_of: IndexArray,
    scores: FloatArray,
    coverage: float,
    widths: FloatArray | None = None,
) -> tuple[FloatArray, FloatArray]:
    """Return low and high of the CV+ interval, each (n,), from predictions (folds, n); scores (measured,).

    `search.statistics.conformal_interval` with residuals relative to the prediction and in units of how uncertain each is (Lei et
    al. 2018, "Distribution-free predictive inference for regression", section 5.2): the reach of measured network i at x is
    |f_k(x)| w(x) R_i, with k = `fold_of`[i], the fold of i, R_i its score and w(x) from `widths` (n,), 1 where they are left out.
    Too few networks for the coverage give 0 and infinity.
    """
    spread = predictions[fold_of]  # (measured, n)
    reach = np.abs(spread) * scores[:, None]
    if widths is not None:
        reach *= widths
    low, high = conformal_interval(spread, reach, coverage)
    return np.maximum(low, 0.0), high  # a latency is positive


def guaranteed(coverage: float) -> float:
    """Return the share of networks within CV+ intervals of this coverage whatever the errors are, 1 - 2 alpha.

    Theorem 4 of Barber et al. 2021, but for a term that vanishes with more networks a fold. It holds for networks drawn like the
    measured ones, which is not so where those are a design, or for the best networks of a search.
    """
    return max(0.0, 2 * coverage - 1)
