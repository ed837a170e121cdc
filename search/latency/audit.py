"""Additivity audit: network latencies against the sums of their parts on one configuration, and where they differ.

Accelerators fuse and schedule across the borders of parts; there the sum fails, and no line through it helps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from search.latency.candidates import CANDIDATES
from search.latency.evaluation import Errors
from search.latency.model_selection import check_indices, select_predictor
from search.latency.parts import cell_excess, parts_sum
from search.latency.ridge import fit_line
from search.statistics import mean_interval
from space import Architecture, Block, SpaceConfig
from space.indexing import FloatArray

Verdict = Literal["additive", "ranks only", "not additive"]

CEILINGS = 1.5  # a line through the sum may be this much worse than two rounds of measurement agree
FLOOR = 0.02  # an error that is good enough whatever the ceiling
RANKING = 0.95  # Spearman

# What of a block may matter at the borders of its stage.
FACTORS: Mapping[str, Callable[[Block], str]] = {
    "wiring": lambda block: block.wiring,
    "entrance": lambda block: str(block) if block.wiring == "parallel" else block.op0 or block.op1,
    "before the reduction": lambda block: str(block) if block.wiring == "parallel" else block.op1,
}
# The last op of a stage and the first of the next, which no stage alone shows.
ACROSS = "across the reduction"
NEXT = "and the next choice"  # instead, where blocks are of one op and nothing else can matter


@dataclass(frozen=True, slots=True, kw_only=True)
class Effect:
    """The mean relative deviation of `count` networks or cells that have `level` of `factor` in `stage`.

    `interval`: the 95 % interval of the mean by Student's t; None for a single network or cell. Of many effects one in twenty
    excludes 0 by chance.
    """

    stage: int
    factor: str
    level: str
    count: int
    mean: float
    interval: tuple[float, float] | None

    @property
    def is_clear(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Audit:
    """Result of an additivity audit.

    `plain`: errors of the sum itself; `affine`: of `slope` * sum + `intercept`, cross-validated. `borders`: deviations of
    networks from that line, by the op in each stage. `cells`: deviations of cells of two ops from the sum of the same ops as
    cells of their own. `ceiling`: the mean absolute difference of two rounds of measurement, None if unknown.
    """

    plain: Errors
    affine: Errors
    slope: float
    intercept: float
    borders: tuple[Effect, ...]
    cells: tuple[Effect, ...]
    ceiling: float | None
    verdict: Verdict
    reason: str


def audit(
    parts: Mapping[str, float],
    indices: ArrayLike,
    ratios: ArrayLike,
    *,
    config: SpaceConfig,
    ceiling: float | None = None,
    seed: int = 0,
) -> Audit:
    """Compare measured networks, indices and ratios of shape (n,), with the sums of their measured parts, in any space.

    `ceiling`: the `mape` of `repeatability` between two rounds, if two were measured.

    Raises:
        ConfigError: a part is missing, or as `select_predictor` for the networks.
    """
    total = parts_sum(parts, config)
    candidates = [one for one in CANDIDATES if one.name in ("sum", "affine")]
    predictor = select_predictor(
        indices, ratios, config=config, parts_sum=total, seed=seed, candidates=candidates
    )
    plain, affine = (report.errors for report in predictor.reports)
    assert plain is not None and affine is not None, "both need parts alone"
    places = check_indices(indices, config)
    sums = total(places)
    slope, intercept = fit_line(sums, predictor.ratios)
    verdict, reason = judge_additivity(affine, ceiling)
    return Audit(
        plain=plain,
        affine=affine,
        slope=slope,
        intercept=intercept,
        borders=_borders(places.tolist(), predictor.ratios / (slope * sums + intercept) - 1, config),
        cells=_cells(cell_excess(parts, config)),
        ceiling=ceiling,
        verdict=verdict,
        reason=reason,
    )


def judge_additivity(affine: Errors, ceiling: float | None) -> tuple[Verdict, str]:
    """Return a verdict, as a word and a sentence, on the errors of the line through the sum."""
    limit = FLOOR if ceiling is None else max(FLOOR, CEILINGS * ceiling)
    origin = (
        f"{CEILINGS} times the difference of two rounds of measurement"
        if limit > FLOOR
        else "good enough anywhere"
    )
    off = f"a line through the sum of parts is off by {affine.mape:.2%} on networks held out"
    if affine.mape <= limit:
        return "additive", f"{off}, within {limit:.2%} ({origin})"
    if affine.spearman is not None and affine.spearman >= RANKING:
        return "ranks only", (
            f"{off}, more than {limit:.2%} ({origin}), but orders them at Spearman {affine.spearman:.3f}"
        )
    order = "none" if affine.spearman is None else f"{affine.spearman:.3f}"
    return "not additive", f"{off}, more than {limit:.2%} ({origin}); Spearman {order}"


def _borders(places: list[int], residuals: FloatArray, config: SpaceConfig) -> tuple[Effect, ...]:
    blocks = [Architecture.from_index(place, config).blocks for place in places]
    is_single = all(block.op0 is None for block in config.blocks)
    factors = {"candidate": str} if is_single else FACTORS
    kinds: list[tuple[int, str, list[str]]] = [
        (stage, factor, [level_of(row[stage]) for row in blocks])
        for stage in range(config.stages)
        for factor, level_of in factors.items()
    ]
    for stage in range(config.stages - 1):
        levels = [f"{row[stage].op1} | {row[stage + 1].op0 or row[stage + 1].op1}" for row in blocks]
        kinds.append((stage, NEXT if is_single else ACROSS, levels))
    return tuple(
        effect
        for stage, factor, levels in kinds
        for effect in _effects(stage, factor, zip(levels, residuals.tolist(), strict=True))
    )


def _cells(excess: Mapping[tuple[int, Block], float]) -> tuple[Effect, ...]:
    return tuple(
        effect
        for stage in sorted({stage for stage, _ in excess})
        for effect in _effects(
            stage, "wiring", ((block.wiring, share) for (at, block), share in excess.items() if at == stage)
        )
    )


def _effects(stage: int, factor: str, deviations: Iterable[tuple[str, float]]) -> list[Effect]:
    levels: dict[str, list[float]] = {}
    for level, deviation in deviations:
        levels.setdefault(level, []).append(deviation)
    effects = []
    for level, values in levels.items():
        mean, low, high = (float(one) for one in mean_interval(np.array(values)))
        count = len(values)
        interval = (low, high) if count > 1 else None
        effects.append(
            Effect(stage=stage, factor=factor, level=level, count=count, mean=mean, interval=interval)
        )
    return effects
