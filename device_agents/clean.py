"""Which runs count: those in which nobody else had the core, and before which nobody had.

The same rule makes the estimate on the other side (harness/estimates/clean.py); here it decides when a session has enough.
"""

from __future__ import annotations

from typing import Any

DISTURBED_SHARE = 0.01  # of a run's time: more waiting than that, and the run is no sample
COLD_RUNS = (
    2  # after a switch: TFLite's first two take 8 to 15 % longer than settled ones, ONNX Runtime's 3 to 8 %
)
COLD_GAP_NS = 20000  # another program that had the core for longer than a tick's work has had the caches, too
LONG_RUN_NS = 50000000  # hardly a run as long as that stays undisturbed on a busy core: it is corrected
BASELINE_SHARE = (
    0.02  # of a run: a pool that waits for more than that on a free machine is not free of others
)


class CleanRuns:
    """Tell slice by slice the ratio of the network to the reference by clean, warm runs alone.

    A run is disturbed when it waited more than 1 % of its time beyond the baseline; the run after one finds cold caches.
    """

    def __init__(
        self, network_loops: int, reference_loops: int, network_baseline_ns: int, reference_baseline_ns: int
    ) -> None:
        self.network_loops, self.reference_loops = network_loops, reference_loops
        self._loops = {"network": network_loops, "reference": reference_loops}
        self._baseline_ns = {"network": network_baseline_ns, "reference": reference_baseline_ns}
        self._was_disturbed = False

    def ratio(self, times: dict[str, Any]) -> float | None:
        """Return a slice's ratio; None without a clean run of both. Slices are given in the order in which they ran."""
        first = len(times["reference_before_ns"])
        last = first + 1 + len(times["network_ns"])
        places = warm_places(times)
        runs_ns = [
            *times["reference_before_ns"],
            times["after_switch_ns"],
            *times["network_ns"],
            *times["reference_after_ns"],
        ]
        nothing = [0] * len(runs_ns)
        delays_ns, gaps_ns = times.get("delays_ns") or nothing, times.get("gaps_ns") or nothing
        clean: dict[str, list[float]] = {"network": [], "reference": []}
        corrected: dict[str, list[float]] = {"network": [], "reference": []}
        for place, run_ns in enumerate(runs_ns):
            which = "network" if first <= place < last else "reference"
            delay_ns = max(0, delays_ns[place] - self._baseline_ns[which])
            is_disturbed = delay_ns > DISTURBED_SHARE * run_ns
            is_cold = self._was_disturbed or gaps_ns[place] > COLD_GAP_NS
            if place in places:
                if not is_disturbed and not is_cold:
                    clean[which].append(run_ns / self._loops[which])
                elif run_ns - delay_ns >= LONG_RUN_NS:
                    corrected[which].append((run_ns - delay_ns) / self._loops[which])
            self._was_disturbed = is_disturbed
        network = clean["network"] or corrected["network"]
        reference = clean["reference"] or corrected["reference"]
        return min(network) / min(reference) if network and reference else None


def warm_places(times: dict[str, Any]) -> set[int]:
    """Return the places of a slice's runs at which a model has its own caches again, from the third run after a switch on.

    The reference's first runs of a slice follow the last ones of the slice before. Slices too short for any, and long runs, which
    fill the caches at their beginning, have all places but that of the switch.
    """
    before_ns, network_ns = times["reference_before_ns"], times["network_ns"]
    begin = len(before_ns)
    end = begin + 1 + len(network_ns)
    count = end + len(times["reference_after_ns"])
    is_cut = end - begin > COLD_RUNS and min(network_ns) < LONG_RUN_NS
    places = {*range(begin), *range(begin + (COLD_RUNS if is_cut else 1), end)}
    if not before_ns or begin + count - end <= COLD_RUNS or min(before_ns) >= LONG_RUN_NS:
        places.update(range(end, count))
    return places


def baseline_ns(delays_ns: list[int], run_ns: int) -> int:
    """Return what threads of a pool wait in one run on a free machine, from warm-up runs of which some were undisturbed.

    The least tenth of them tells, and no more than 2 % of a run is ever taken for it.
    """
    if not delays_ns:
        return 0
    return min(sorted(delays_ns)[len(delays_ns) // 10], int(BASELINE_SHARE * run_ns))
