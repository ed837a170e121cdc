"""Which of two networks is faster, and when that cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import exp, hypot, log
from typing import Literal

from harness.estimates.estimate import Estimate
from harness.records import Configuration

Verdict = Literal["faster", "slower", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a network compares with another: `ratio` of their latencies with its 95 % interval, and why they tie if they do.

    `interval` is None where either has none. It may exclude 1 in a tie: two intervals that overlap a little leave less doubt
    of the difference than they seem to, and the order is held back all the same.
    """

    verdict: Verdict
    ratio: float
    interval: tuple[float, float] | None
    reason: str


def compare(a: Estimate, b: Estimate, configurations: Sequence[Configuration] = ()) -> Comparison:
    """Say whether network a is faster or slower than b: only when their intervals are disjoint, else they tie.

    An estimate does not know what it was measured on: give the `configurations` where they might differ. The interval of the
    ratio is the difference of logarithms by recovered variances (Zou & Donner 2008).
    Raises: ValueError when the configurations differ.
    """
    if len(set(configurations)) > 1:
        raise ValueError(
            f"ratios of different configurations are not compared ({_differences(configurations)}); compare latencies"
        )
    ratio = a.ratio / b.ratio
    if a.interval is None or b.interval is None:
        return Comparison(verdict="tie", ratio=ratio, interval=None, reason="too few slices for an interval")
    centre = log(ratio)
    interval = (
        exp(centre - hypot(log(a.ratio / a.interval[0]), log(b.interval[1] / b.ratio))),
        exp(centre + hypot(log(a.interval[1] / a.ratio), log(b.ratio / b.interval[0]))),
    )
    if a.interval[1] < b.interval[0]:
        return Comparison(verdict="faster", ratio=ratio, interval=interval, reason="")
    if a.interval[0] > b.interval[1]:
        return Comparison(verdict="slower", ratio=ratio, interval=interval, reason="")
    return Comparison(verdict="tie", ratio=ratio, interval=interval, reason="their 95 % intervals overlap")


def _differences(configurations: Sequence[Configuration]) -> str:
    """Return the fields in which configurations differ, with their values."""
    values = {
        field.name: list(dict.fromkeys(repr(getattr(one, field.name)) for one in configurations))
        for field in fields(Configuration)
    }
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1)
