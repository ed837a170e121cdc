"""When a session has enough slices: precision reached, no more to gain, the cap, or a core that others hold.

The interval of the median of the slices' ratios is by order statistics: with n independent values, the k-th
smallest and the k-th largest enclose the median unless fewer than k values fall on one side, which has the
probability 2 P(Binomial(n, 1/2) < k). It assumes no distribution, and needs no scipy.
"""

from __future__ import annotations

from bisect import insort
from math import sqrt

from device_agents.pacing import FEW_SLICES, LONGEST_SESSION_S, Plan

COVERAGE = 0.95
Z_95 = 1.959964
EXACT_COUNT = 200
PLATEAU_FACTOR = 4
PLATEAU_SHARE = 0.95
CONTENDED_SHARE = 0.25  # of the slices: when no more of them are clean, what is clean was picked by the other program's turns


class StopRule:
    """Take the ratios of slices one by one and tell when, and why, to stop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._ratios: list[float] = []
        self._taken = 0
        self._checkpoint = PLATEAU_FACTOR * plan.min_slices
        self._half_widths: dict[int, float] = {}

    def add(self, ratio: float | None, elapsed_s: float) -> str | None:
        """Return `precision`, `plateau`, `contended` or `cap` when the slice just taken was the last, else None.

        ratio: None of a slice without a clean run of both; such slices count only toward `contended`: after
        `min_slices` of any kind not even a quarter is clean.

        Precision: at least `min_slices`, and the interval's half-width is at most `half_width` of the median.
        Plateau: looked for at 4, 8, 16, ... times `min_slices`. Twice the slices should make the interval
        1.41 times as narrow; if it kept 95 % of its width, the slices are not independent (the machine's
        state moves) and another session tells more than a longer one.
        Cap: see `is_over`.
        """
        self._taken += 1
        if ratio is not None:
            insort(self._ratios, ratio)
        count = len(self._ratios)
        if self._taken >= self._plan.min_slices and count < CONTENDED_SHARE * self._taken:
            return "contended"
        half_width = relative_half_width(self._ratios)
        if half_width is not None:
            if count >= self._plan.min_slices and half_width <= self._plan.half_width:
                return "precision"
            if self._has_plateau(count, half_width):
                return "plateau"
        return "cap" if self.is_over(elapsed_s) else None

    def is_over(self, elapsed_s: float) -> bool:
        """Return whether `max_s` is over and there are slices enough for an interval, with the one whose ratio is not known yet.

        Slow models take longer for them, but no longer than `LONGEST_SESSION_S`: what they have by then has to do.
        """
        slices = self._taken + 1
        is_enough = slices >= min(self._plan.min_slices, FEW_SLICES)
        return elapsed_s >= self._plan.max_s and (
            is_enough or elapsed_s * (1 + 1 / slices) > LONGEST_SESSION_S
        )

    def _has_plateau(self, count: int, half_width: float) -> bool:
        if count == self._checkpoint // 2:
            self._half_widths[count] = half_width
        if count != self._checkpoint:
            return False
        before = self._half_widths.get(count // 2)
        self._half_widths[count] = half_width
        self._checkpoint *= 2
        return before is not None and half_width >= PLATEAU_SHARE * before


def relative_half_width(ordered: list[float]) -> float | None:
    """Return half the width of the median's 95 % interval as a share of the median; None below 6 values.

    ordered: the values in rising order.
    """
    rank = median_interval_rank(len(ordered))
    if rank is None:
        return None
    low, high = ordered[rank - 1], ordered[-rank]
    return (high - low) / 2 / median(ordered)


def median(ordered: list[float]) -> float:
    """Return the median of values in rising order."""
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def median_interval_rank(count: int) -> int | None:
    """Return k such that the k-th smallest and k-th largest of `count` values enclose the median at 95 %.

    None where no two of them do (below 6). Exact up to 200 values, by the normal approximation beyond.
    """
    if count > EXACT_COUNT:
        return int((count - Z_95 * sqrt(count)) / 2)
    outside = (1 - COVERAGE) / 2 * 2**count
    rank = cumulated = 0
    ways = 1  # to choose `rank` of `count`, each from the one before: this runs between slices
    while cumulated + ways <= outside:
        cumulated += ways
        ways = ways * (count - rank) // (rank + 1)
        rank += 1
    return rank or None
