"""How far apart two cores are: real processes on real cores, and a child that always ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rigs.agent_client import process_exists

from device_agents import core_to_core
from device_agents.core_to_core import CoreToCore, block_ns, is_guest, wait_for

CORES = sorted(os.sched_getaffinity(0))
NO_CORE = 4000
PATIENCE_S = 20.0

pytestmark = [pytest.mark.device, pytest.mark.skipif(len(CORES) < 2, reason="needs two cores")]


def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for a turn than a campaign would: the tests' own machine is busy."""
    monkeypatch.setattr(core_to_core, "MOST_NS", 60 * 10**9)
    monkeypatch.setattr(core_to_core, "ANSWER_S", 60.0)


def test_two_cores_tell_how_far_apart_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    patient(monkeypatch)
    found = CoreToCore(CORES[:2])
    child = found._child
    found.begin()
    found.take()
    told = found.told()
    assert os.sched_getaffinity(0) == set(CORES), "the worker's own threads run where they ran"
    assert len(told["ns"]) == 2 and all(1 < ns < 1e7 for ns in told["ns"]) and 1 < told["alone_ns"] < 1e6
    found.begin()
    assert len(found.told()["ns"]) == 1, "the next network's session has its own"
    found.end()
    assert found.told() == {} and not process_exists(child)


def test_the_farthest_core_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(memory: object, where: int) -> float:
        return next(alone) if where == core_to_core.THERE else next(trips)

    trips, alone = iter([300.0, 700.0, 500.0, 300.0, 700.0, 500.0]), iter([100.0, 174.0])
    monkeypatch.setattr(core_to_core, "block_ns", slow)
    monkeypatch.setattr(os, "sched_setaffinity", lambda pid, cores: None)
    found = CoreToCore([0, 1, 2, 3])
    found.begin()
    found.take()
    told = found.told()
    found.end()
    assert told["ns"] == [300.0, 300.0] and told["alone_ns"] == 100.0, "a disturbed time alone hides nothing"


def test_a_block_tells_the_time_alone_of_its_own_clock_and_a_session_the_least(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    times = [1.0]
    monkeypatch.setattr(
        core_to_core,
        "block_ns",
        lambda memory, place: times[0] * (100.0 if place == core_to_core.THERE else 300.0),
    )
    monkeypatch.setattr(core_to_core, "ANSWER_S", 60.0)
    monkeypatch.setattr(core_to_core, "MOST_NS", 10**6)  # nobody writes what the child waits for
    probe = CoreToCore(CORES[:2])
    found = []
    for times[0], is_block in ((1.0, True), (1.7, True), (1.7, False), (1.0, True), (1.7, False)):
        probe.begin(is_block)
        found.append((probe.told()["ns"][0], probe.told()["alone_ns"]))
    probe.end()
    assert found[:3] == [pytest.approx((100.0, 100.0)), *[pytest.approx((170.0, 170.0))] * 2]
    assert found[4] == pytest.approx((205.0, 100.0))


def test_a_value_is_waited_for_until_another_core_writes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = bytearray(1024)
    memory[core_to_core.THERE] = 7
    wait_for(memory, core_to_core.THERE, 7)  # type: ignore[arg-type]
    monkeypatch.setattr(core_to_core, "MOST_NS", 1000)
    with pytest.raises(TimeoutError):
        block_ns(memory, core_to_core.BACK)  # type: ignore[arg-type]


def test_one_core_tells_nothing() -> None:
    found = CoreToCore(CORES[:1])
    found.begin()
    assert found.told() == {} and not found._child


@pytest.mark.parametrize("how", ["no such core", "stopped", "killed"])
def test_a_core_that_does_not_answer_is_not_told_and_the_session_goes_on(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = CoreToCore([CORES[0], NO_CORE] if how == "no such core" else CORES[:2])
    child = found._child
    if how == "stopped":
        os.kill(child, signal.SIGSTOP)
    elif how == "killed":
        os.kill(child, signal.SIGKILL)
    begin_s = time.monotonic()
    found.begin()
    found.take()
    assert found.told() == {} and time.monotonic() - begin_s < PATIENCE_S
    assert os.sched_getaffinity(0) == set(CORES)
    assert not process_exists(child)


def test_the_child_ends_with_a_worker_that_is_killed() -> None:
    code = (
        "import sys, time; from device_agents.core_to_core import CoreToCore; "
        f"held = CoreToCore({CORES[:2]}); print(held._child, flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        assert worker.stdout is not None
        child = int(worker.stdout.readline())
        assert process_exists(child)
        worker.kill()
        assert worker.stdout.read() == "", "nothing holds the worker's pipes any more"
    end_s = time.monotonic() + PATIENCE_S
    while process_exists(child) and time.monotonic() < end_s:
        time.sleep(0.01)
    assert not process_exists(child)


@pytest.mark.parametrize(
    ("text", "guest"),
    [
        ("flags\t\t: fpu vme hypervisor lahf_lm\n", True),
        ("flags\t\t: fpu vme lahf_lm\n", False),
        ("", False),
        (None, False),
    ],
)
def test_a_guest_is_known_by_its_processor(tmp_path: Path, text: str | None, guest: bool) -> None:
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc/cpuinfo").write_text("model name\t: a hypervisor\n" + text)
    assert is_guest(tmp_path) == guest
