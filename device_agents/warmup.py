"""Warm-up until the run time stops moving.

The rule is androidx.benchmark's (its WarmupManager): a fast moving average (0.1) within 4 % of a slow one
(0.005) for 40 runs in a row, after at least 30 runs and 0.25 s, for at most 8 s. Two things are done so that it
ends as soon as it may: a single disturbed run is no drift, so the averages see the shortest of the last
three runs; and the slow average starts anew from the fast one whenever they part, for it would take hundreds of
runs to forget the cold ones.

Reference and network warm up together, in turns: then the minimum and the maximum time pass once for both, and
what disturbs one does not find the other unwarmed. A network that is warm waits for the other one without running.
"""

from __future__ import annotations

from typing import Callable

from device_agents.pacing import Plan
from device_agents.sampling import Stopwatch

FAST = 0.1
SLOW = 0.005
TOLERANCE = 0.04
SLOW_RUN_NS = 200000000
SLOW_RUNS = 5
FILTER_RUNS = 3
NS_PER_S = 1000000000


class Convergence:
    """Detection of a warm network from its run times, one by one."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._recent: list[int] = []
        self._fast = 0.0
        self._slow = 0.0
        self._stable_runs = 0
        self._runs = 0

    def add(self, run_ns: int, elapsed_s: float) -> bool:
        """Take one more run, `elapsed_s` after the warm-up began; return whether the network is warm."""
        self._recent = [*self._recent[1 - FILTER_RUNS :], run_ns]
        quiet_ns = float(min(self._recent))
        self._runs += 1
        if self._runs == 1:
            self._fast = self._slow = quiet_ns
        self._fast += FAST * (quiet_ns - self._fast)
        self._slow += SLOW * (quiet_ns - self._slow)
        if abs(self._fast - self._slow) <= TOLERANCE * self._slow:
            self._stable_runs += 1
        else:
            self._slow = self._fast
            self._stable_runs = 0
        if quiet_ns >= SLOW_RUN_NS:  # 40 runs would take more than the whole allowance
            return self._runs >= min(SLOW_RUNS, self._plan.warmup_min_runs)
        if elapsed_s >= self._plan.warmup_max_s:
            return self._runs >= SLOW_RUNS
        enough = self._runs >= self._plan.warmup_min_runs and elapsed_s >= self._plan.warmup_min_s
        return enough and self._stable_runs >= self._plan.warmup_stable_runs


class Warming:
    """One network on its way to be warm: its samples so far, and the loops of each.

    The loops rise until a sample is at least `min_sample_ns` long; the shorter ones before are not kept.
    """

    def __init__(self, run: Callable[[], object], plan: Plan, stopwatch: Stopwatch) -> None:
        self.samples_ns: list[int] = []
        self.delays_ns: list[int] = []
        self.loops = 1
        self.is_warm = False
        self._run = run
        self._plan = plan
        self._stopwatch = stopwatch
        self._convergence = Convergence(plan)

    def take_turn(
        self, count: int, start_ns: int, clock_ns: Callable[[], int], pulse: Callable[[int], None]
    ) -> None:
        """Take at most `count` samples, none once warm. start_ns: when the warm-up began."""
        for _ in range(count):
            if self.is_warm:
                return
            taken_ns, delay_ns, _ = self._stopwatch.sample(self._run, self.loops)
            now_ns = clock_ns()
            pulse(now_ns)
            shortest_ns = self._plan.min_sample_ns
            if taken_ns < shortest_ns:
                # a tenth over, so that a network that grows a little faster when warm still fills a sample
                self.loops = max(self.loops + 1, int(1.1 * self.loops * shortest_ns / max(taken_ns, 1)) + 1)
                self.samples_ns.clear()
                self.delays_ns.clear()
                self._convergence = Convergence(self._plan)
                continue
            self.samples_ns.append(taken_ns)
            self.delays_ns.append(delay_ns)
            self.is_warm = self._convergence.add(taken_ns, (now_ns - start_ns) / NS_PER_S)


def warm_up(
    reference: Warming,
    network: Warming,
    plan: Plan,
    clock_ns: Callable[[], int],
    pulse: Callable[[int], None],
) -> None:
    """Run both, in turns as long as in a slice, until both are warm; a reference that is warm already runs no more."""
    start_ns = clock_ns()
    while not (reference.is_warm and network.is_warm):
        reference.take_turn(2 * plan.reference_runs, start_ns, clock_ns, pulse)
        network.take_turn(plan.network_runs, start_ns, clock_ns, pulse)
