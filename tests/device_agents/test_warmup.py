"""Warm-up: how long until a series of run times counts as warm."""

from __future__ import annotations

import random

import pytest

from device_agents.pacing import Plan
from device_agents.run_delay import RunDelay
from device_agents.sampling import Stopwatch, sample_slice
from device_agents.warmup import Convergence, Warming, warm_up

MS = 1000000


def runs_until_warm(run_ms, plan=None):
    """Return after how many runs, and seconds, a series is warm. run_ms: index -> ms."""
    convergence = Convergence(plan or Plan())
    elapsed_ns = 0
    for index in range(100000):
        run_ns = int(run_ms(index) * MS)
        elapsed_ns += run_ns
        if convergence.add(run_ns, elapsed_ns / 1e9):
            return index + 1, elapsed_ns / 1e9
    raise AssertionError("never warm")


def test_a_steady_series_is_warm_after_40_runs_and_a_quarter_second():
    assert runs_until_warm(lambda index: 10) == (40, 0.4)
    assert runs_until_warm(lambda index: 2) == (125, 0.25)


def test_cold_first_runs_are_waited_out_but_not_for_hundreds_of_runs():
    runs, _ = runs_until_warm(lambda index: 20 if index < 10 else 10)
    assert 60 <= runs <= 120


def test_a_clock_that_rises_is_waited_out():
    runs, _ = runs_until_warm(lambda index: max(5.0, 10.0 - 0.05 * index))
    assert 100 <= runs <= 200


def test_single_disturbed_runs_are_no_drift():
    chosen = random.Random(3)
    runs, _ = runs_until_warm(lambda index: 10 * (3 if chosen.random() < 0.1 else 1) + chosen.gauss(0, 0.1))
    assert runs <= 60


def test_a_single_long_disturbance_does_not_make_a_quick_network_a_slow_one():
    runs, _ = runs_until_warm(lambda index: 300 if index == 7 else 10)
    assert runs >= 40


def test_what_never_settles_ends_at_the_cap():
    _, elapsed_s = runs_until_warm(lambda index: 10 + 5 * (index // 20 % 2))
    assert 8 <= elapsed_s < 8.1


@pytest.mark.parametrize("run_ms", [200, 1000, 5000])
def test_slow_networks_take_five_runs(run_ms):
    assert runs_until_warm(lambda index: run_ms)[0] == 5


class Clockwork:
    """Networks whose runs take a stated time on one clock of their own."""

    def __init__(self, monkeypatch):
        from device_agents import sampling

        self.now_ns = 0
        self.order = []
        monkeypatch.setattr(sampling, "perf_counter_ns", self.clock_ns)

    def clock_ns(self):
        return self.now_ns

    def network(self, name, run_ns):
        """run_ns: the time of a run, or a function of the time that gives it."""

        def run():
            self.now_ns += run_ns(self.now_ns) if callable(run_ns) else run_ns
            self.order.append(name)

        return run

    def warming(self, name, run_ns, plan):
        return Warming(self.network(name, run_ns), plan, uninformed())

    def warm_up(self, reference_ns, network_ns, plan=None):
        plan = plan or Plan()
        reference, network = self.warming("r", reference_ns, plan), self.warming("n", network_ns, plan)
        warm_up(reference, network, plan, self.clock_ns, lambda now_ns: None)
        return reference, network


def uninformed():
    """Return a stopwatch of a system that tells nothing of waits."""
    return Stopwatch(RunDelay(is_one_thread=False, task_dir="/no such folder"))


@pytest.fixture
def clockwork(monkeypatch):
    return Clockwork(monkeypatch)


@pytest.mark.parametrize(("run_ns", "loops"), [(3 * MS, (1, 1)), (100000, (11, 14)), (700, (1429, 1800))])
def test_short_runs_are_looped_to_a_millisecond(run_ns, loops, clockwork):
    for warm in clockwork.warm_up(run_ns, run_ns):
        assert loops[0] <= warm.loops <= loops[1]
        assert set(warm.samples_ns) == {warm.loops * run_ns} and min(warm.samples_ns) >= MS


def test_a_network_that_grows_faster_is_looped_anew_and_its_short_samples_are_not_kept(clockwork):
    reference, network = clockwork.warm_up(10 * MS, lambda now_ns: MS // 2 if now_ns > 200 * MS else MS)
    assert network.loops == 3 and set(network.samples_ns) == {3 * MS // 2}
    assert reference.loops == 1 and set(reference.samples_ns) == {10 * MS}


def test_reference_and_network_warm_up_in_turns_as_long_as_in_a_slice(clockwork):
    reference, network = clockwork.warm_up(10 * MS, 10 * MS)
    assert (len(reference.samples_ns), len(network.samples_ns)) == (40, 40)
    assert "".join(clockwork.order).startswith("rrrrnnnnnnrrrrnnnnnn")
    assert "".join(clockwork.order).endswith("n" + 12 * "r")  # the network was warm and waited


def test_two_quick_networks_share_the_quarter_second(clockwork):
    clockwork.warm_up(2 * MS, 2 * MS)
    assert 0.25 <= clockwork.now_ns / 1e9 < 0.27


def test_two_that_never_settle_share_the_cap(clockwork):
    def uneasy_ns(now_ns):
        return (10 + 5 * (now_ns // (200 * MS) % 2)) * MS

    clockwork.warm_up(uneasy_ns, uneasy_ns)
    assert 8 <= clockwork.now_ns / 1e9 < 8.2


def test_slow_ones_end_within_a_turn(clockwork):
    reference, network = clockwork.warm_up(400 * MS, 500 * MS)
    assert (len(reference.samples_ns), len(network.samples_ns)) == (5, 5)


def test_a_reference_that_is_warm_from_the_network_before_runs_no_more(clockwork):
    plan = Plan()
    reference, _ = clockwork.warm_up(10 * MS, 10 * MS, plan)
    samples_ns, loops = list(reference.samples_ns), reference.loops
    clockwork.order.clear()
    network = clockwork.warming("m", 20 * MS, plan)
    warm_up(reference, network, plan, clockwork.clock_ns, lambda now_ns: None)
    assert set(clockwork.order) == {"m"} and len(network.samples_ns) == 40
    assert (reference.samples_ns, reference.loops) == (samples_ns, loops)


def test_a_quick_plan_warms_a_network_up_in_a_dozen_runs(clockwork):
    plan = Plan(warmup_min_runs=10, warmup_min_s=0.03, warmup_max_s=1.0, warmup_stable_runs=8)
    _, network = clockwork.warm_up(10 * MS, 10 * MS, plan)
    assert len(network.samples_ns) == 10


def test_what_warm_up_runs_waited_is_kept_beside_them_and_forgotten_with_them(clockwork):
    class Waits:
        source = "schedstat"

        def __init__(self):
            self.waited_ns = 0

        def read(self):
            self.waited_ns += 500
            return self.waited_ns, 0

    grows_faster = clockwork.network("n", lambda now_ns: MS // 2 if now_ns > 50 * MS else MS)
    warming = Warming(grows_faster, Plan(), Stopwatch(Waits()))
    warm_up(warming, warming, Plan(), clockwork.clock_ns, lambda now_ns: None)
    assert warming.loops == 3 and len(warming.samples_ns) == len(warming.delays_ns)
    assert set(warming.delays_ns) == {500}


@pytest.mark.parametrize("is_informed", [True, False])
def test_a_slice_alternates_and_keeps_the_first_run_after_the_switch_apart(monkeypatch, is_informed):
    from device_agents import sampling

    order = []
    clock = iter(range(0, 10**9, 1000))
    monkeypatch.setattr(sampling, "perf_counter_ns", lambda: next(clock))
    pulses = []
    stopwatch = uninformed()
    if is_informed:
        stopwatch = Stopwatch(RunDelay(is_one_thread=True))
    times = sample_slice(
        lambda: order.append("n"), lambda: order.append("r"), Plan(), 1, 2, pulses.append, stopwatch
    )
    assert "".join(order) == "rrrr" + "nnnnnn" + "rrrr"
    assert len(times["network_ns"]) == 5 and times["after_switch_ns"] == 1000
    assert len(times["reference_before_ns"]) == len(times["reference_after_ns"]) == 2
    assert len(pulses) == 10
    if is_informed:
        assert len(times["delays_ns"]) == len(times["gaps_ns"]) == 10
    else:
        assert "delays_ns" not in times and "gaps_ns" not in times


@pytest.mark.parametrize("is_informed", [True, False])
def test_settled_runs_are_of_the_network_alone(monkeypatch, is_informed):
    from device_agents import sampling

    clock = iter(range(5000, 10**9, 1000))
    monkeypatch.setattr(sampling, "perf_counter_ns", lambda: next(clock))
    runs, pulses = [], []
    stopwatch = Stopwatch(RunDelay(is_one_thread=True)) if is_informed else uninformed()
    times = sampling.sample_settled(lambda: runs.append("n"), 7, 3, pulses.append, stopwatch)
    assert len(runs) == 7 * 3 and len(pulses) == 7
    assert (times["at_ns"], times["network_ns"]) == (5000, [1000] * 7)
    waits = {key: len(value) for key, value in times.items() if key in ("delays_ns", "gaps_ns")}
    assert waits == ({"delays_ns": 7, "gaps_ns": 7} if is_informed else {})
