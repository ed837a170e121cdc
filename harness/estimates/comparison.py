"""Which of two networks is faster, and when that cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from math import exp, hypot, log
from typing import Literal

from harness.estimates.estimate import RatioEstimate
from harness.records import Configuration

Verdict = Literal["faster", "slower", "tie"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a network compares with another: `ratio` of their latencies with its 95 % interval, and why they tie if they do.

    `interval` is None where either has none.
    """

    verdict: Verdict
    ratio: float
    interval: tuple[float, float] | None
    reason: str


def compare(a: RatioEstimate, b: RatioEstimate, configurations: Sequence[Configuration] = ()) -> Comparison:
    """Say whether network a is faster or slower than b, at a level of 5 %: unless the interval of their ratio holds 1.

    An estimate does not know what it was measured on: give the `configurations` where they might differ. The interval of the
    ratio is the difference of logarithms by recovered variances (Zou & Donner 2008); of two that were measured in the same
    processes, what these share is in neither.
    Raises: ValueError when the configurations differ.
    """
    if len(set(configurations)) > 1:
        raise ValueError(
            f"ratios of different configurations are not compared ({_differences(configurations)}); compare latencies"
        )
    ratio = a.ratio / b.ratio
    reaches = [_reaches(one, is_same=bool(a.named) and a.named == b.named) for one in (a, b)]
    if reaches[0] is None or reaches[1] is None:
        return Comparison(verdict="tie", ratio=ratio, interval=None, reason="too few slices for an interval")
    (a_below, a_above), (b_below, b_above) = reaches[0], reaches[1]
    low, high = ratio * exp(-hypot(a_below, b_above)), ratio * exp(hypot(a_above, b_below))
    if low <= 1 <= high:
        reason = "the 95 % interval of their ratio holds 1"
        return Comparison(verdict="tie", ratio=ratio, interval=(low, high), reason=reason)
    return Comparison(
        verdict="faster" if high < 1 else "slower", ratio=ratio, interval=(low, high), reason=""
    )


def _reaches(one: RatioEstimate, *, is_same: bool) -> tuple[float, float] | None:
    """Return how far an estimate's interval reaches below and above, in logarithms; None where it has none."""
    interval = one.apart if is_same else one.interval
    if interval is None:
        return None
    return log(one.ratio / interval[0]), log(interval[1] / one.ratio)


def _differences(configurations: Sequence[Configuration]) -> str:
    """Return the fields in which configurations differ, with their values."""
    values = {
        field.name: list(dict.fromkeys(repr(getattr(one, field.name)) for one in configurations))
        for field in fields(Configuration)
    }
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1)
