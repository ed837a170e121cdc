"""Timing of a model of any duration: its reference, and its runs in a slice.

The harness asks this over SSH, a packed job on the device, and `harness import` once more, with the durations that the job told:
so it is one rule, in one place, for Python 3.8.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log
from typing import Any, Callable, Iterable, Mapping, NamedTuple

LONG_SLICE_S = 0.6  # of the network's runs; the machine's speed hardly changes within it
REFERENCE_SHARE = 0.05  # of a long slice that the reference's runs take on either side
MOST_REFERENCE_RUNS = 64
LONG_SLICES = 10  # of a model that runs for seconds: six carry an interval
FEW_SLICES = LONG_SLICES - 2  # the fewest that are asked for
LONGEST_SESSION_S = 150.0  # level final's own
NETWORK_RUNS = 6  # of a slice where nothing is known of the duration
MIN_SAMPLE_NS = 1_000_000  # shorter runs are looped


@dataclass(frozen=True)
class Plan:
    """Plan of warm-up and timing; the constants' origins stand beside their defaults."""

    reference_runs: int = 2  # before and after the network in each slice
    network_runs: int = NETWORK_RUNS  # the first finds cold caches and is kept apart
    warmup_min_runs: int = 30  # androidx.benchmark
    warmup_min_s: float = 0.25
    warmup_max_s: float = 8.0
    warmup_stable_runs: int = 40
    min_slices: int = 12
    max_s: float = 15.0  # screening; 150 for finalists
    half_width: float = 0.005
    min_sample_ns: int = MIN_SAMPLE_NS  # pyperf: shorter runs are looped
    settled_runs: int = 0  # of the network alone after the slices; 0 for none


class Durations(NamedTuple):
    """Durations of a model and a reference on a device, in ns, and the graph hash or key of that reference."""

    network_ns: float
    reference_ns: float
    reference: str

    @classmethod
    def of_warm_up(cls, warm: Mapping[str, Any], reference: str) -> Durations | None:
        """Return the durations in a worker's event of a warm-up, the fastest of each; None where it ran none."""
        if not warm.get("network_ns") or not warm.get("reference_ns"):
            return None
        network_ns, reference_ns = (
            min(warm[which + "_ns"]) / warm[which + "_loops"] for which in ("network", "reference")
        )
        return cls(network_ns, reference_ns, reference)


def nearest(references: Iterable[Any], measured: Callable[[Any], Durations | None]) -> Durations | None:
    """Return the durations of a model beside the reference of the nearest duration, None where the model does not run.

    references: each shorter than the one before; `measured` runs the model beside one.
    """
    best: Durations | None = None
    for reference in references:
        found = measured(reference)
        if found is None or (best is not None and _apart(found) > _apart(best)):
            return best
        best = found
        if found.network_ns >= found.reference_ns:  # the others are shorter still
            break
    return best


def _apart(durations: Durations) -> float:
    return abs(log(durations.network_ns / durations.reference_ns))


@dataclass(frozen=True)
class Pace:
    """Changes to a session's plan by a model's duration: None where the plan's own numbers fit.

    `network_runs` and `reference_runs` of a slice, `slice_s` its length.
    """

    network_runs: int | None = None
    reference_runs: int | None = None
    slice_s: float = 0.0

    @classmethod
    def of(cls, network_ns: float, reference_ns: float) -> Pace:
        """Return the pace of a model that runs so long beside a reference that runs so long.

        A model of up to 100 ms keeps the plan: short ones are looped by the worker. Longer ones run less often in a slice, and
        the reference more often, so that its part of the slice is long enough to be timed as well.
        """
        network_s, reference_s = network_ns / 1e9, max(reference_ns, MIN_SAMPLE_NS) / 1e9
        if network_s * NETWORK_RUNS <= LONG_SLICE_S:
            return cls()
        runs = max(2, round(LONG_SLICE_S / network_s))
        beside = min(MOST_REFERENCE_RUNS, max(2, ceil(REFERENCE_SHARE * runs * network_s / reference_s)))
        # To the next power of two: models of like duration share a plan.
        beside = 1 << (beside - 1).bit_length()
        return cls(
            network_runs=runs, reference_runs=beside, slice_s=runs * network_s + 2 * beside * reference_s
        )

    def applied(self, plan: Mapping[str, Any]) -> dict[str, Any]:
        """Return a session's plan at this pace: enough time for the slices of an interval, within `LONGEST_SESSION_S`."""
        if self.network_runs is None or self.reference_runs is None:
            return dict(plan)
        enough_s = min(LONG_SLICES * self.slice_s, LONGEST_SESSION_S)
        return dict(
            plan,
            network_runs=self.network_runs,
            reference_runs=max(plan["reference_runs"], self.reference_runs),
            min_slices=min(plan["min_slices"], FEW_SLICES),
            max_s=max(plan["max_s"], enough_s),
        )
