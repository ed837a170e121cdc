"""Ridge regression of latency over stages and blocks: costs are not negative, relative errors are minimized.

Columns are raw features, 0 or 1 in each stage, so that a coefficient is the time of a part: an op in a slot, a sum of feature
maps, the block's input kept until a later op reads it. No part saves time on its own, so these coefficients are not negative,
nor is the constant (stem, reductions and head). Two parts together may save time, as when a runtime fuses an op with the sum
after it: products of features have either sign.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from math import prod

import numpy as np

from search.latency.block_features import (
    block_features,
    border_features,
    last_op,
    pair_features,
    read_only,
    rows_of,
    standardized,
)
from space import SpaceConfig
from space.indexing import BoolArray, FloatArray, IndexArray, available, block_indices

PENALTIES = np.logspace(-4, 3, 15)
# How far costs are expected to differ, all as shares of a typical network's latency, up to one factor that is fitted. The same op
# in both slots of a stage does the same work; in all stages it has the same number of multiply-accumulates (a reduction
# doubles the channels and halves both sides), but not the same memory traffic; a sum of feature maps costs far less than an op.
# In a chain the same candidate does the same work at sites of the same shapes, as the two slots do.
SLOTS, STAGES, WIRING, OPS = 0.1, 1.0, 0.3, 30.0
PAIRS = 0.1  # second-order effects are expected to be a tenth of first-order ones
TINY = 1e-12  # of a squared relative error: an exact fit is no better than this
LEAST = 1e-4  # of a typical latency: what all networks share takes some time, also where a fit has none left for it
# Of the equations of a fit; it mostly takes one or two, and more than these take longer than an active set.
MOST_SOLUTIONS = 30
MOST_EXCHANGES = 3  # of all wrong places at once that make none of them right
JITTER = 1e-9  # of the mean diagonal: equal features may share an effect in any way


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Linear:
    """Linear model of a ratio: `constant`, an effect of the block of each stage, and `slope` times a guess, at least `floor`.

    `blocks` has shape (stages, B), `guess` (len(config),); without a guess it is None. `borders` (stages - 1, B, B): what the
    blocks of a stage and of the next add together, if anything.
    """

    config: SpaceConfig
    constant: float
    blocks: FloatArray
    slope: float = 0.0
    guess: FloatArray | None = None
    floor: float = 0.0
    borders: FloatArray | None = None

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return the prediction for each network, shape (n,)."""
        total: FloatArray = np.full(np.shape(indices), self.constant)
        choices = block_indices(self.config, indices)
        for stage, choice in enumerate(choices.T):
            total += self.blocks[stage, choice]
        if self.borders is not None:
            for stage, together in enumerate(self.borders):
                total += together[choices[:, stage], choices[:, stage + 1]]
        if self.guess is not None:
            total += self.slope * self.guess[indices]
        return np.maximum(total, self.floor)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedLatency:
    """A fitted latency predictor with its own uncertainty.

    `point` predicts ratios; `columns` returns the regressors of networks, (n, k), and `covariance` (k, k) is that of their
    coefficients in units of the relative noise of a measured ratio. Both are None where nothing was fitted.
    """

    point: Callable[[IndexArray], FloatArray]
    columns: Callable[[IndexArray], FloatArray] | None = None
    covariance: FloatArray | None = None

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return the predicted ratio of each network, shape (n,)."""
        return self.point(indices)

    def leverage(self, indices: IndexArray) -> FloatArray:
        """Return the relative variance of each prediction, shape (n,), in units of that of a measurement's noise.

        It grows with the distance from what was measured; 0 where nothing was fitted.
        """
        if self.columns is None or self.covariance is None:
            return np.zeros(len(indices))
        rows = self.columns(indices) / self.point(indices)[:, None]
        leverage: FloatArray = np.einsum("ij,ij->i", rows @ self.covariance, rows)
        return leverage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Guess:
    """Prior guess of every network's ratio, up to a constant: block effects `blocks` (stages, B), and the rest.

    `rest` (len(config),) is the part that is no sum over stages; None where there is none.
    """

    blocks: FloatArray
    rest: FloatArray | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Solved:
    """A regression's coefficients `theta` (k,), their `covariance` (k, k) for noise of 1, and those of its random effects
    (m,)."""

    theta: FloatArray
    covariance: FloatArray
    effects: FloatArray


def feature_rows(config: SpaceConfig, indices: IndexArray) -> FloatArray:
    """Return a constant and the features of each network's blocks, shape (n, 1 + stages * F)."""
    rows = rows_of(block_features(config), block_indices(config, indices))
    return np.hstack([np.ones((len(rows), 1)), rows])


def fit_parts(
    config: SpaceConfig,
    indices: IndexArray,
    ratios: FloatArray,
    weights: FloatArray,
    *,
    with_pairs: bool = False,
    with_borders: bool = False,
) -> FittedLatency:
    """Fit the cost of each part to ratios (n,): not negative, and shrunk toward one cost an op.

    One penalty sets how far the costs may differ from that prior, see `solve`. Interactions are random effects (Henderson 1975,
    Biometrics 31): `with_pairs` those of two features of a block, `with_borders` also those of the ops on either side of a
    reduction.
    """
    level = float(np.exp(np.log(ratios).mean()))
    scale, choices = (level / ratios)[:, None], block_indices(config, indices)
    penalty, features = op_penalty(config), feature_rows(config, indices)
    count, stages = features.shape[1], config.stages
    columns = np.hstack([features, np.zeros((len(features), penalty.shape[1] - count))])
    products = []
    if with_pairs or with_borders:
        pairs = PAIRS * standardized(pair_features(config))
        products.append(rows_of(pairs, choices))
    if with_borders:
        borders = PAIRS * border_features(config)
        products += [borders[choices[:, stage], choices[:, stage + 1]] for stage in range(stages - 1)]
    solved = solve(scale * columns, weights, penalty, scale * np.hstack(products) if products else None)
    constant, slopes = level * max(solved.theta[0], LEAST), level * solved.theta[1:count]
    blocks = slopes.reshape(stages, -1) @ block_features(config).T  # (stages, B)
    together = None
    if products:
        inside, across = np.split(level * solved.effects, [stages * pairs.shape[1]])
        # A block's ops together, too, cost time.
        blocks = np.maximum(blocks + inside.reshape(stages, -1) @ pairs.T, 0.0)
        if with_borders:
            together = np.stack([borders @ part for part in across.reshape(stages - 1, -1)])
    return FittedLatency(
        point=Linear(
            config=config, constant=float(constant), blocks=blocks, floor=float(constant), borders=together
        ),
        columns=partial(feature_rows, config),
        covariance=level**2 * solved.covariance[:count, :count],
    )


def fit_corrected(
    config: SpaceConfig, indices: IndexArray, ratios: FloatArray, weights: FloatArray, guess: Guess
) -> FittedLatency:
    """Fit a line through a guess, and by a shrunk ridge the differences of parts from it; no part costs less than 0.

    The cost of an op differs between two configurations by some share of it. So a feature may differ by as much as its effect
    within the guess, but at least by the typical effect: an op that is free on one device may be expensive on another.
    """
    table = block_features(config)
    is_there = available(config)  # (stages, B)
    sizes = feature_sizes(table, guess.blocks, is_there)  # (stages, F)
    # (stages, B): the part of the guess that features do not explain.
    leftover = guess.blocks - sizes @ table.T
    leftover = leftover - leftover.mean(axis=1, keepdims=True, where=is_there)

    columns = partial(_corrected_columns, Guess(blocks=leftover, rest=guess.rest), config)
    level = float(np.exp(np.log(ratios).mean()))
    solved = solve((level / ratios)[:, None] * columns(indices), weights, guess_penalty(config, table, sizes))
    constant, slope = level * max(solved.theta[0], LEAST), level * solved.theta[-1]
    slopes = level * solved.theta[1:-1].reshape(config.stages, -1)
    point = Linear(
        config=config,
        constant=float(constant),
        blocks=np.maximum(slopes @ table.T + slope * leftover, 0.0),
        slope=float(slope),
        guess=guess.rest,
        floor=float(constant),
    )
    return FittedLatency(point=point, columns=columns, covariance=level**2 * solved.covariance)


def _corrected_columns(beyond: Guess, config: SpaceConfig, indices: IndexArray) -> FloatArray:
    """Return the features of networks (n,), then the part of a guess that they do not explain, (n, 1 + stages * F + 1)."""
    beside = beyond.blocks[np.arange(config.stages), block_indices(config, indices)].sum(axis=1)
    if beyond.rest is not None:
        beside = beside + beyond.rest[indices]
    return np.hstack([feature_rows(config, indices), beside[:, None]])


@lru_cache(maxsize=64)
def op_penalty(config: SpaceConfig) -> FloatArray:
    """Return the penalty on coefficients, as rows that should be 0, shape (rows, 1 + stages * F + ops).

    After a constant and the features of each stage come the mean costs of the ops, on which no measurement depends directly.
    """
    ops, columns = len(config.ops), block_features(config).shape[1]
    mean = 1 + config.stages * columns  # the place of the first op's mean cost
    rows: list[dict[int, float]] = []
    if columns == ops:  # blocks of one op
        for op in range(ops):
            rows += _candidate_rows(config, op, mean + op)
    else:
        for stage in range(config.stages):
            rows += _stage_rows(ops, 1 + stage * columns, mean)
    rows += [{mean + op: 1 / OPS} for op in range(ops)]
    penalty = np.zeros((len(rows), mean + ops))
    for place, row in enumerate(rows):
        penalty[place, list(row)] = list(row.values())
    return read_only(penalty)


def _stage_rows(ops: int, start: int, mean: int) -> list[dict[int, float]]:
    """Return the rows of a stage, whose features begin at `start`: ops cost the same in both slots, and in all stages."""
    rows = []
    for op in range(ops):
        first, last = start + op, start + ops + op
        rows.append({first: 0.5 / SLOTS, last: -0.5 / SLOTS})
        rows.append({first: 0.5 / STAGES, last: 0.5 / STAGES, mean + op: -1 / STAGES})
    return rows + [{start + 2 * ops + flag: 1 / WIRING} for flag in range(3)]


def _candidate_rows(config: SpaceConfig, op: int, mean: int) -> list[dict[int, float]]:
    """Return the rows of a candidate, a block of one op: of the same shapes it costs the same, else in proportion to its work.

    That is its multiply-accumulates and the numbers that it puts out, which is all that pooling does.
    """
    name, ops = config.ops[op], len(config.ops)
    rows: list[dict[int, float]] = []
    alike: dict[tuple[str, ...], list[int]] = {}
    work: dict[tuple[str, ...], int] = {}
    for choice, places in enumerate(config.choices):
        column = 1 + choice * ops + op
        if name not in (config.blocks[place].op1 for place in places):
            rows.append({column: 1 / STAGES, mean: -1 / STAGES})  # no network has it there
            continue
        traced = [site.candidate(name).traced for _, site in config.layout.followers(choice)]
        shapes = tuple(each.digest for each in traced)
        alike.setdefault(shapes, []).append(column)
        work[shapes] = sum(each.macs + prod(each.output) for each in traced)
    for shapes, columns in alike.items():
        count, share = len(columns), len(work) * work[shapes] / sum(work.values())
        rows.append(dict.fromkeys(columns, 1 / (count * share * STAGES)) | {mean: -1 / STAGES})
        if count > 1:
            rows += [
                {other: ((other == column) - 1 / count) / (share * SLOTS) for other in columns}
                for column in columns
            ]
    return rows


def guess_penalty(config: SpaceConfig, table: FloatArray, sizes: FloatArray) -> FloatArray:
    """Return rows that are 0 where features cost the guess times its slope; (stages * F, 1 + stages * F + 1).

    `sizes` (stages, F): the costs in the guess. Of the last op, which every block has, only differences count: its mean is part
    of the constant.
    """
    count, ops = table.shape[1], len(config.ops)
    typical = np.sqrt(np.mean(sizes**2))
    widths = np.hypot(sizes / typical, 1.0) if typical > 0 else np.ones_like(sizes)
    differences = np.eye(count)
    last = last_op(config)
    differences[last, last] -= 1 / ops
    penalty = np.zeros((sizes.size, sizes.size + 2))
    for stage, (size, width) in enumerate(zip(sizes, widths, strict=True)):
        rows = (table.std(axis=0) / width)[:, None] * differences
        place = slice(stage * count, (stage + 1) * count)
        penalty[place, 1 + stage * count : 1 + (stage + 1) * count] = rows
        penalty[place, -1] = -rows @ size
    return penalty


def feature_sizes(table: FloatArray, effects: FloatArray, is_there: BoolArray) -> FloatArray:
    """Return the coefficients of features of blocks (B, F) for `effects` (stages, B) by least squares, (stages, F).

    `is_there` (stages, B): which blocks a stage has.
    """
    found = []
    for effect, there in zip(effects, is_there, strict=True):
        rows, values = table[there], effect[there]
        found.append(np.linalg.lstsq(rows - rows.mean(axis=0), values - values.mean(), rcond=None)[0])
    return np.stack(found)


def solve(
    columns: FloatArray, weights: FloatArray, penalty: FloatArray, products: FloatArray | None = None
) -> Solved:
    """Fit theta >= 0 so that columns (n, k) @ theta come to 1, with a share of |penalty @ theta|**2 that the data call for.

    `weights` (n,); `products` (n, m): columns of coefficients of either sign, each with a penalty of 1. The share maximizes the
    restricted likelihood, with the penalty as the prior of theta (Patterson & Thompson 1971, Biometrika 58; MacKay 1992,
    "Bayesian interpolation"): for 10 to 45 networks its errors were smaller than with leave-one-out, which follows single bad
    measurements. The likelihood ignores that theta is not negative.
    """
    root = np.sqrt(weights)
    rows, targets, spectrum = root[:, None] * columns, root, np.zeros(len(root))
    if products is not None:
        effects = root[:, None] * products
        spectrum, turn = np.linalg.eigh(effects @ effects.T)
        spectrum, rows, targets = np.maximum(spectrum, 0.0), turn.T @ rows, turn.T @ targets
    square, expected = penalty.T @ penalty, int(np.linalg.matrix_rank(penalty))
    unexpected = columns.shape[1] - expected  # coefficients without a prior, such as the constant
    noise = 1 + spectrum / PENALTIES[:, None]  # (strengths, n)
    hessians = (
        np.stack([rows.T @ (rows / each[:, None]) for each in noise]) + PENALTIES[:, None, None] * square
    )
    diagonal, free = np.arange(len(square)), np.ones(len(square), dtype=np.bool_)
    hessians[:, diagonal, diagonal] += JITTER * hessians[:, diagonal, diagonal].mean(axis=1, keepdims=True)
    slopes = (targets / noise) @ rows
    thetas = np.stack([least_nonnegative(*each, free) for each in zip(hessians, slopes, strict=True)])
    residuals = targets - thetas @ rows.T  # (strengths, n)
    misfits = np.sum(residuals**2 / noise, axis=1) + PENALTIES * np.sum((thetas @ penalty.T) ** 2, axis=1)
    unlikely = (
        (len(rows) - unexpected) * np.log(misfits + TINY)
        + 2 * np.log(np.linalg.cholesky(hessians)[:, diagonal, diagonal]).sum(axis=1)
        + np.log(noise).sum(axis=1)
        - expected * np.log(PENALTIES)
    )
    best = np.argmin(unlikely)
    reasons = residuals[best] / noise[best] / PENALTIES[best]
    return Solved(
        theta=thetas[best],
        covariance=np.linalg.inv(hessians[best]),
        effects=np.zeros(0) if products is None else effects.T @ (turn @ reasons),
    )


def least_nonnegative(hessian: FloatArray, slope: FloatArray, free: BoolArray) -> FloatArray:
    """Return theta >= 0, (k,), of the least theta @ hessian @ theta / 2 - slope @ theta; the hessian is positive definite.

    `free` (k,): where theta is thought to be above 0, and changed to where it is. The nearer it is, the sooner is the end.

    By block principal pivoting (Kim & Park 2011, SIAM J. Sci. Comput. 33), which solves k equations a few times where most of
    theta is above 0. It ends, as each exchange of a single place is progress; should rounding prevent that, scipy's slower active
    set method continues.
    """
    fewest, left = len(slope) + 1, MOST_EXCHANGES
    tiny = JITTER * float(np.abs(slope).max())
    for _ in range(MOST_SOLUTIONS):
        theta = np.zeros(len(slope))
        theta[free] = np.linalg.solve(hessian[free][:, free], slope[free])
        gradient = hessian @ theta - slope
        wrong = np.flatnonzero(np.where(free, theta < 0, gradient < -tiny))
        if not len(wrong):
            return theta
        if len(wrong) < fewest:
            fewest, left = len(wrong), MOST_EXCHANGES
        else:
            left -= 1
        free[wrong if left >= 0 else wrong[-1:]] ^= True
    from scipy.optimize import nnls

    lower = np.linalg.cholesky(hessian)
    return np.asarray(nnls(lower.T, np.linalg.solve(lower, slope))[0])


def fit_line(
    x: FloatArray, ratios: FloatArray, weights: FloatArray | None = None, *, from_zero: bool = False
) -> tuple[float, float]:
    """Return slope and intercept of the line through (x, ratios), each (n,), with the least squared relative errors.

    The slope is not negative, and with `from_zero` nor is the intercept. `weights` (n,): of the relative errors. Where x is
    constant the slope is 0.
    """
    weights = ratios**-2.0 * (1.0 if weights is None else weights)
    center = np.average(x, weights=weights)
    level = np.average(ratios, weights=weights)
    spread = np.sum(weights * (x - center) ** 2)
    slope = np.sum(weights * (x - center) * (ratios - level)) / spread if np.ptp(x) > 0 else 0.0
    slope = max(float(slope), 0.0)
    if from_zero and level < slope * center:
        return float(np.sum(weights * x * ratios) / np.sum(weights * x**2)), 0.0
    return slope, float(level - slope * center)
