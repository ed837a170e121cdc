"""What benchmarks/fidelity.py reads and does to processes; the figures themselves are for a quiet machine."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from fidelity import SETTLED, SLICES, Pair, clean_runs, timed
from peers import single_stream_median_ns
from turns import is_alive, is_worker, state, take_turns, waited_ns

from device_agents.processes import end_group, start_agent

SUMMARY = """
90.0th percentile latency (ns) : 12203759
Mean latency (ns)               : 8298008
50.00 percentile latency (ns)   : 7449478
90.00 percentile latency (ns)   : 12203759
"""
BUSY = """
import time
begin = time.monotonic()
while time.process_time() < 0.6:
    pass
print(begin, time.monotonic())
"""


def test_the_median_of_a_single_stream_is_read_from_loadgens_summary(tmp_path: Path) -> None:
    (tmp_path / "mlperf_log_summary.txt").write_text(SUMMARY)
    assert single_stream_median_ns(tmp_path) == 7449478


def test_a_summary_without_a_median_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "mlperf_log_summary.txt").write_text("90.0th percentile latency (ns) : 12203759\n")
    with pytest.raises(ValueError, match="names no median"):
        single_stream_median_ns(tmp_path)


def piece(runs_ns: list[int], delays_ns: list[int]) -> dict[str, Any]:
    """Return a slice's event: 2 runs of the reference, those of the network, 2 of the reference."""
    return {
        "event": "slice",
        "reference_before_ns": [900, 900],
        "after_switch_ns": runs_ns[0],
        "network_ns": runs_ns[1:],
        "reference_after_ns": [900, 900],
        "delays_ns": [0, 0, *delays_ns, 0, 0],
    }


def test_runs_count_as_the_way_says_and_what_the_switch_adds_is_told_apart() -> None:
    cold_ns = [1300, 1200, 1100, 1010, 1010, 1010]
    settled = {"event": "settled", "network_ns": [*cold_ns, 1000, 1000], "delays_ns": [0] * 8}
    events = [{"event": "warm", "network_loops": 10}, piece(cold_ns, [0] * 6), settled]
    agent = timed(events, SETTLED)
    assert agent.runs_ns == (100.0, 100.0)
    assert agent.shares == (1.3, 1.2, 1.1, 1.01, 1.01, 1.01, 1.0, 1.0)
    assert Pair(agent=agent, peer_ns=80.0).ratio == 1.25
    assert timed(events, SLICES).runs_ns == (110.0, 101.0, 101.0, 101.0)


def test_each_of_many_sessions_has_loops_of_its_own() -> None:
    settled = {"event": "settled", "network_ns": [1000] * 7, "delays_ns": [0] * 7}
    events = [{"event": "warm", "network_loops": 10}, settled, {"event": "warm", "network_loops": 5}, settled]
    assert timed(events, SETTLED).runs_ns == (100.0, 200.0)


def test_a_run_that_was_stopped_is_no_sample_nor_is_the_one_after() -> None:
    runs_ns, delays_ns = [1000, 1001, 9002, 1303, 1004, 1005], [0, 10, 8000, 0, 0, 11]
    assert clean_runs(piece(runs_ns, delays_ns)) == [(0, 1000), (1, 1001), (4, 1004)]


def test_where_the_system_does_not_tell_of_waits_every_run_is_a_sample() -> None:
    event = piece([1000, 9000, 1000], [0, 0, 0])
    del event["delays_ns"]
    assert clean_runs(event) == [(0, 1000), (1, 9000), (2, 1000)]


@pytest.mark.alone
def test_processes_that_take_turns_run_in_the_same_seconds_and_both_end() -> None:
    command = [sys.executable, "-c", BUSY]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as second,
    ):
        take_turns(first.pid, second.pid, 0.1)
        assert not (is_alive(first.pid) and is_alive(second.pid))
        times = [list(map(float, process.communicate()[0].split())) for process in (first, second)]
    assert max(begin for begin, _ in times) < min(end for _, end in times)
    assert (first.returncode, second.returncode) == (0, 0)


def test_a_process_that_is_gone_has_a_state_too() -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    assert state(done.pid) == "X" and not is_alive(done.pid)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel keeps no account of waits")
@pytest.mark.alone
def test_what_a_process_waited_for_a_core_is_known_also_when_it_has_ended() -> None:
    core = min(os.sched_getaffinity(0))
    with (
        subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as first,
        subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as second,
    ):
        for process in (first, second):
            os.sched_setaffinity(process.pid, {core})
        while state(first.pid) != "Z":
            time.sleep(0.02)
        assert waited_ns(first.pid) > 1e8  # of 0.6 s on the core, beside another that wants as much


@pytest.mark.parametrize(("role", "expected"), [("worker", True), ("serve", False)])
def test_a_worker_is_known_as_the_agent_starts_it(role: str, expected: bool, tmp_path: Path) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text("import sys; sys.stdin.read()")
    process = start_agent(agent, [role], {})
    try:
        while not Path(f"/proc/{process.pid}/cmdline").read_bytes():  # the system is still starting it
            time.sleep(0.001)
        assert is_worker(process.pid) is expected
    finally:
        end_group(process)
