"""Clean runs: those during and before which no other program had the core.

The estimate on the other side is made by the same rule (harness/estimates/clean_runs.py); here it decides when a session has
enough.
"""

from __future__ import annotations

from typing import Any, Sequence

DISTURBED_SHARE = 0.01  # of a run's time: a longer wait shows in the ratio
# After a switch of models caches fill over several runs: the first and second take 8 to 15 % longer than the fastest (TFLite) or
# 3 to 8 % (ONNX Runtime). In whole slices they are never the fastest; where a disturbance leaves no others, ratios are too low.
COLD_RUNS = 2
# A wait between two runs, after which the caches are another program's: a kernel thread is done within some microseconds, and in
# 20 us a program reads some 200 KB, a small part of the second-level cache.
COLD_GAP_NS = 20000
# Runs that no turn of a scheduler (3 to 30 ms) holds: among busy programs none stays clean, so they are corrected.
LONG_RUN_NS = 50000000
# Of a run: a pool that waits for more than that on a free machine is not free of others.
BASELINE_SHARE = 0.02


class CleanRuns:
    """Ratios of the network to the reference, slice by slice, from clean, warm runs alone.

    A run is disturbed when it waited more than 1 % of its time beyond the baseline; the run after one finds cold caches.
    """

    def __init__(
        self, network_loops: int, reference_loops: int, network_baseline_ns: int, reference_baseline_ns: int
    ) -> None:
        self.network_loops, self.reference_loops = network_loops, reference_loops
        self._loops = {"network": network_loops, "reference": reference_loops}
        self._baseline_ns = {"network": network_baseline_ns, "reference": reference_baseline_ns}
        self._is_cold = False  # the warm-up went before
        self._pending: Runs | None = None

    def add(self, times: dict[str, Any]) -> float | None:
        """Take the next slice and return the ratio of the one before it: the reference's runs after its network begin this one.

        None of the first slice, and where the slice before lacks a clean run of either model.
        """
        runs, pending = self._runs(times), self._pending
        self._pending = runs
        if pending is None:
            return None
        if pending.ends_cold and runs.ends_cold:
            pending.reference.extend(runs.reference[:1])
        return pending.ratio

    @property
    def last(self) -> float | None:
        """The ratio of the last slice, which has no runs of the reference after it; None where it lacks a clean run."""
        return None if self._pending is None else self._pending.ratio

    def _runs(self, times: dict[str, Any]) -> Runs:
        """Return the runs of a slice that may be samples, in ns a loop."""
        before_ns, network_ns = times["reference_before_ns"], times["network_ns"]
        after_ns = times["reference_after_ns"]
        first = len(before_ns)
        last = first + 1 + len(network_ns)
        network, reference = warm_places(before_ns, network_ns, after_ns)
        runs_ns = [*before_ns, times["after_switch_ns"], *network_ns, *after_ns]
        nothing = [0] * len(runs_ns)
        delays_ns, gaps_ns = times.get("delays_ns") or nothing, times.get("gaps_ns") or nothing
        which = ["network" if first <= place < last else "reference" for place in range(len(runs_ns))]
        waits_ns = [max(0, delays_ns[place] - self._baseline_ns[of]) for place, of in enumerate(which)]
        undisturbed, self._is_cold = find_undisturbed(runs_ns, waits_ns, gaps_ns, self._is_cold)
        clean: dict[int, float] = {}
        corrected: dict[int, float] = {}
        for place, of in enumerate(which):
            own_ns = runs_ns[place] - waits_ns[place]
            if undisturbed[place]:
                clean[place] = runs_ns[place] / self._loops[of]
            elif own_ns >= LONG_RUN_NS:
                corrected[place] = own_ns / self._loops[of]
        is_cold = ends_cold(before_ns, after_ns)
        return Runs(pick(network, clean, corrected), pick(reference, clean, corrected), is_cold)


def find_undisturbed(
    times_ns: Sequence[float], waits_ns: Sequence[float], gaps_ns: Sequence[int], is_cold: bool
) -> tuple[list[bool], bool]:
    """Return which of some runs in a row nobody disturbed, and whether the run after them is cold. is_cold: the first one is."""
    if not (is_cold or any(waits_ns) or max(gaps_ns) > COLD_GAP_NS):
        return [True] * len(times_ns), False
    found = []
    for place, time_ns in enumerate(times_ns):
        is_disturbed = waits_ns[place] > DISTURBED_SHARE * time_ns
        found.append(not (is_disturbed or is_cold or gaps_ns[place] > COLD_GAP_NS))
        is_cold = is_disturbed
    return found, is_cold


class Runs:
    """The runs of a slice that are samples, in ns a loop: the network's in two halves, the reference's on each side of it."""

    def __init__(self, network: list[list[float]], reference: list[list[float]], ends_cold: bool) -> None:
        self.network, self.reference, self.ends_cold = network, reference, ends_cold

    @property
    def ratio(self) -> float | None:
        """The ratio of the network to the reference; None without a run of either."""
        network, reference = mean_fastest(self.network), mean_fastest(self.reference)
        return network / reference if network and reference else None


def pick(
    groups: tuple[range, range], clean: dict[int, float], corrected: dict[int, float]
) -> list[list[float]]:
    """Return the runs at the places of each group: the clean ones, or where no group has any, those that were corrected."""
    found = [
        [runs[place] for place in places if place in runs] for runs in (clean, corrected) for places in groups
    ]
    return found[:2] if any(found[:2]) else found[2:]


def mean_fastest(groups: list[list[float]]) -> float:
    """Return the mean over groups of the fastest run in each; 0 without a run."""
    fastest = [min(group) for group in groups if group]
    return sum(fastest) / len(fastest) if fastest else 0.0


def ends_cold(before_ns: Sequence[int], after_ns: Sequence[int]) -> bool:
    """Return whether only the reference's runs before the network are warm in a slice: those after it follow the switch."""
    return bool(before_ns) and len(before_ns) + len(after_ns) > COLD_RUNS and min(before_ns) < LONG_RUN_NS


def warm_places(
    before_ns: Sequence[int], network_ns: Sequence[int], after_ns: Sequence[int]
) -> tuple[tuple[range, range], tuple[range, range]]:
    """Return the places of a slice's runs at which a model has its own caches again, from the third run after a switch on.

    Of the network in two halves, and of the reference before and after it. The reference's first runs of a slice follow the last
    ones of the slice before. Slices too short for any, and long runs, which fill the caches at their beginning, have all places
    but that of the switch. network_ns: without the run right after the switch.
    """
    begin = len(before_ns)
    end = begin + 1 + len(network_ns)
    is_cut = end - begin > COLD_RUNS and min(network_ns) < LONG_RUN_NS
    network = range(begin + (COLD_RUNS if is_cut else 1), end)
    half = len(network) // 2
    after = range(end, end + (0 if ends_cold(before_ns, after_ns) else len(after_ns)))
    return (network[:half], network[half:]), (range(begin), after)


def baseline_ns(delays_ns: list[int], run_ns: int) -> int:
    """Return the wait of a pool's threads in one run on a free machine, from warm-up runs of which some were undisturbed.

    The least tenth of them tells, and no more than 2 % of a run is ever taken for it.
    """
    if not delays_ns:
        return 0
    return min(sorted(delays_ns)[len(delays_ns) // 10], int(BASELINE_SHARE * run_ns))
