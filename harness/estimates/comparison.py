"""Comparison of two networks: which is faster, and when that cannot be said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from math import exp, hypot, log
from statistics import median
from typing import TYPE_CHECKING, Literal

from harness.estimates.estimate import COVERAGE, RatioEstimate, combined_interval
from harness.estimates.exchanged import unlikeness
from harness.estimates.findings import Finding, wrong_by
from harness.estimates.reference import VISIT_GAP_S
from harness.records import Configuration
from space.statistics import normal

if TYPE_CHECKING:
    from harness.estimates.latency import Latency

Verdict = Literal["faster", "slower", "tie"]

# From one hour to another all ratios of a device move alike, as the reference gains or loses more than others: by a root mean
# square of 0.5 % (ONNX Runtime) and 0.6 % (TFLite) in 28 pairs of tables (docs/evidence/timing.md, "Two fresh stores").
HOURS_SD = 0.006


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Comparison of two networks: `ratio` of their latencies with its 95 % interval, and the reason of a tie.

    `interval` is None where either has none.
    """

    verdict: Verdict
    ratio: float
    interval: tuple[float, float] | None
    reason: str


def compare(
    a: RatioEstimate,
    b: RatioEstimate,
    configurations: Sequence[Configuration] = (),
    *,
    hours_apart: bool = False,
) -> Comparison:
    """Return whether network a is faster or slower than b, at a level of 5 %: neither where the interval of their ratio holds 1.

    An estimate does not know what it was measured on: give the `configurations` where they might differ. The interval of the
    ratio is the difference of logarithms by recovered variances (Zou & Donner 2008); of two that were measured in the same
    processes, what these share is in neither, and what programs on other cores may have done to both counts by how unlike
    the two are. Of two measured `hours_apart` it has how far all ratios of a device may move meanwhile, see `HOURS_SD`.
    Raises: ValueError when the configurations differ.
    """
    if len(set(configurations)) > 1:
        raise ValueError(
            f"ratios of different configurations are not compared ({_differences(configurations)}); compare latencies"
        )
    ratio = a.ratio / b.ratio
    is_same = bool(a.named) and a.named == b.named
    of_a, of_b = (one.apart if is_same else one.interval for one in (a, b))
    if of_a is None or of_b is None:
        return Comparison(verdict="tie", ratio=ratio, interval=None, reason="too few slices for an interval")
    low, high = _interval(ratio, _reach(a.ratio, of_a), _reach(b.ratio, of_b))
    if is_same:
        moved = abs(a.moved - b.moved) + unlikeness(ratio) * min(a.moved, b.moved)
        low, high = combined_interval(ratio, (low, high), moved)
    elif hours_apart:
        reach = normal(COVERAGE) * HOURS_SD
        low, high = combined_interval(ratio, (low, high), reach)
    if low <= 1 <= high:
        reason = "the 95 % interval of their ratio holds 1"
        return Comparison(verdict="tie", ratio=ratio, interval=(low, high), reason=reason)
    return Comparison(
        verdict="faster" if high < 1 else "slower", ratio=ratio, interval=(low, high), reason=""
    )


def are_hours_apart(one_utc: Sequence[str], other_utc: Sequence[str]) -> bool:
    """Return whether two measurements, by the times of their sessions, are of other visits of a device.

    They are half an hour apart or more at their beginning, in the middle or at their end; or a time is none.
    """
    try:
        one_s, other_s = (
            [datetime.fromisoformat(utc).timestamp() for utc in each] for each in (one_utc, other_utc)
        )
    except (ValueError, OverflowError):
        return True
    return any(abs(of(one_s) - of(other_s)) >= VISIT_GAP_S for of in (min, median, max))


def doubted(found: Comparison, findings: Sequence[Finding]) -> Comparison:
    """Return a comparison as findings about either network leave it: a tie, unless their doubts cannot turn it round."""
    if found.interval is None or found.verdict == "tie":
        return found
    (low, high), factor = found.interval, wrong_by(findings)
    if not low / factor <= 1 <= high * factor:
        return found
    kinds = ", ".join(dict.fromkeys(one.kind for one in findings if one.cap == "D"))
    reason = f"of grade D ({kinds}), so the ratio may be wrong by more than its interval"
    return replace(found, verdict="tie", reason=reason)


def latency_ratio(a: Latency, b: Latency) -> tuple[float, tuple[float, float] | None]:
    """Return the ratio of two latencies, of any configurations, and its 95 % interval; None where either has none.

    The uncertainty of both reference latencies is in the interval.
    """
    ratio = a.latency_ms / b.latency_ms
    if a.interval_ms is None or b.interval_ms is None:
        return ratio, None
    reaches = [_reach(one.latency_ms, interval) for one, interval in ((a, a.interval_ms), (b, b.interval_ms))]
    return ratio, _interval(ratio, *reaches)


def _interval(ratio: float, a: tuple[float, float], b: tuple[float, float]) -> tuple[float, float]:
    """Return the interval of a ratio of two estimates by how far theirs reach below and above, in logarithms."""
    return ratio * exp(-hypot(a[0], b[1])), ratio * exp(hypot(a[1], b[0]))


def _reach(value: float, interval: tuple[float, float]) -> tuple[float, float]:
    """Return how far an interval reaches below and above its value, in logarithms."""
    return log(value / interval[0]), log(interval[1] / value)


def _differences(configurations: Sequence[Configuration]) -> str:
    """Return the fields in which configurations differ, with their values."""
    values = {
        field.name: list(dict.fromkeys(repr(getattr(one, field.name)) for one in configurations))
        for field in fields(Configuration)
    }
    return ", ".join(f"{name} {' and '.join(found)}" for name, found in values.items() if len(found) > 1)
