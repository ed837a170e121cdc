"""What benchmarks/fidelity.py reads and does to processes; the figures themselves are for a quiet machine."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

from peers import single_stream_median_ns
from turns import is_alive, state, take_turns

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
