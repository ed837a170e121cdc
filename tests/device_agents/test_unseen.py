"""What holds a worker up and shows in no run's wait: of real processes that are moved or traced, and of quotas."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import pytest
from rigs.agent_client import Client
from rigs.agent_jobs import QUICK_PLAN, measured, named, send_job

from device_agents.clean_runs import CleanRuns
from device_agents.control_groups import find_groups
from device_agents.unseen import Unseen, is_traced

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells it")
SLOW_PLAN = {**QUICK_PLAN, "max_s": 2.0, "min_slices": 100000, "half_width": 0}
CORES = sorted(os.sched_getaffinity(0))
FROZEN_S = 0.5
# Attaches to every thread of a process, as strace does, and lets them run on: PTRACE_SEIZE and PTRACE_CONT of ptrace(2).
TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
for task in os.listdir("/proc/%s/task" % sys.argv[1]):
    if libc.ptrace(0x4206, int(task), None, None):
        sys.exit(os.strerror(ctypes.get_errno()))
print("attached", flush=True)
while True:
    try:
        task, status = os.waitpid(-1, 0x40000000)
    except ChildProcessError:
        break
    if os.WIFSTOPPED(status):
        libc.ptrace(7, task, None, os.WSTOPSIG(status))
"""


@pytest.fixture
def client(one_agent):
    """Return the client of one agent: each test sends what it needs anew."""
    return one_agent


def begin(client, models, **changes):
    """Send a job; return its worker's process once it times slices."""
    client.send("run", job=send_job(client, models, "sleeping", plan=SLOW_PLAN, **changes))
    pid = client.await_event("started")["pid"]
    client.await_event("slice")
    return pid


@pytest.mark.skipif(len(CORES) < 2, reason="of one core nothing can be moved")
def test_a_worker_that_somebody_moves_tells_the_cores_that_it_may_run_on(client, models):
    pid = begin(client, models, cores=CORES[:1])
    os.sched_setaffinity(pid, CORES[:2])
    events, _ = client.finish()
    assert (measured(events)["cores"], measured(events)["pinned"]) == (CORES[:2], False)


def test_a_worker_that_stays_tells_its_cores_and_no_trouble(client, models):
    client.send("run", job=send_job(client, models, "sleeping", cores=CORES[:1], threads=1))
    events, _ = client.finish()
    assert (measured(events)["cores"], measured(events)["pinned"]) == (CORES[:1], True)
    assert measured(events)["unseen"] == {}


@pytest.mark.skipif(len(CORES) < 2, reason="two threads take two cores")
def test_a_tracer_of_a_worker_is_told(client, models):
    pid = begin(client, models, threads=2)
    command = [sys.executable, "-c", TRACER, str(pid)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tracer:
        is_attached = tracer.stdout.readline() == b"attached\n"
        events, _ = client.finish()
        if not is_attached:
            pytest.skip(f"this system lets nobody trace: {tracer.stderr.read().decode()}")
    assert measured(events)["unseen"]["traced"] is True


@pytest.mark.skipif(len(CORES) < 2, reason="two threads take two cores")
def test_signals_that_stop_a_worker_and_let_it_go_on_are_counted(client, models):
    pid = begin(client, models, threads=2)
    os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    events, _ = client.finish()
    assert measured(events)["unseen"] == {"stops": 1}


@pytest.mark.skipif(len(CORES) < 2, reason="two threads take two cores")
def test_nothing_is_told_of_a_worker_that_nothing_holds_up(client, models):
    client.send("run", job=send_job(client, models, "sleeping", threads=2))
    events, _ = client.finish()
    assert measured(events)["unseen"] == {}


@pytest.fixture
def freeze():
    """Return a function that freezes a process for half a second by a control group."""
    groups = find_groups(controller="freezer")
    if groups is None:
        pytest.skip("no control groups here")
    folder = groups.mount / f"freezer-test-{os.getpid()}"
    name, frozen, thawed = {1: ("freezer.state", "FROZEN", "THAWED"), 2: ("cgroup.freeze", "1", "0")}[
        groups.version
    ]
    try:
        folder.mkdir()
        (folder / name).write_text(thawed)
    except OSError as error:
        pytest.skip(f"this system lets nobody make a control group: {error}")

    def for_a_while(pid):
        (folder / "cgroup.procs").write_text(str(pid))
        (folder / name).write_text(frozen)
        time.sleep(FROZEN_S)
        (folder / name).write_text(thawed)

    yield for_a_while
    folder.rmdir()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_frozen_run_of_one_thread_is_no_sample_and_of_several_moves_no_other_slice(
    agent, models, freeze, tmp_path, threads
):
    """One thread tells it as a wait. Of several it is the fastest of a slice only where others disturbed all other runs."""
    if threads > len(CORES):
        pytest.skip("two threads take two cores")
    with Client(agent, tmp_path / "root") as client:
        plan = {**SLOW_PLAN, "max_s": 4.0}
        client.send("run", job=send_job(client, models, "onnxruntime", plan=plan, threads=threads))
        pid, warm = client.await_event("started")["pid"], client.await_event("warm")
        slices = [client.await_event("slice")]
        freeze(pid)
        events, _ = client.finish()
    slices += named(events, "slice")
    held_ns = max(after["at_ns"] - before["at_ns"] for before, after in pairwise(slices))
    if held_ns < FROZEN_S * 1e9:
        pytest.skip("this machine is so busy that the worker was done before it was frozen")
    loops = [warm[f"{which}_loops"] for which in ("network", "reference")]
    clean = CleanRuns(*loops, *measured(events)["baseline_ns"].values())
    ratios = [ratio for piece in slices if (ratio := clean.add(piece)) is not None]
    middle = median(ratios or [1.0])  # beside busy programs perhaps no slice is clean
    odd = [ratio for ratio in ratios if not middle / 10 < ratio < middle * 10]
    assert len(odd) <= 2 * (threads - 1), "a frozen run takes a hundred times as long"


@pytest.fixture
def group():
    """Yield a control group of our own without a quota, as a folder, and what sets a quota less than a busy machine leaves."""
    groups = find_groups()
    if groups is None:
        pytest.skip("no control groups here")
    folder = groups.mount / f"quota-test-{os.getpid()}"
    name, text = {1: ("cpu.cfs_quota_us", "5000"), 2: ("cpu.max", "5000 100000")}[groups.version]
    try:
        folder.mkdir()
        (folder / name).write_text({1: "-1", 2: "max 100000"}[groups.version])
    except OSError as error:
        pytest.skip(f"this system lets nobody make a control group: {error}")
    yield folder, lambda: (folder / name).write_text(text)
    folder.rmdir()


@pytest.mark.skipif(len(CORES) < 2, reason="two threads take two cores")
def test_a_quota_that_is_set_while_a_session_runs_is_told(agent, models, group, tmp_path):
    folder, set_quota = group
    with Client(agent, tmp_path / "root") as client:
        (folder / "cgroup.procs").write_text(str(client.process.pid))
        client.send("run", job=send_job(client, models, "onnxruntime", plan=SLOW_PLAN, threads=2))
        client.await_event("slice")
        set_quota()
        events, _ = client.finish()
    assert measured(events)["unseen"]["throttled_s"] > 0.1


def test_a_quota_that_was_set_meanwhile_and_faults_are_told_since_the_beginning(tmp_path: Path, monkeypatch):
    group, own = tmp_path / "sys/fs/cgroup/job", tmp_path / "proc/self"
    for folder in (group, own / "task/7"):
        folder.mkdir(parents=True)
    (own / "cgroup").write_text("0::/job\n")
    (own / "mountinfo").write_text("30 1 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (own / "task/7/status").write_text("Name:\tpython\nTracerPid:\t0\n")
    (group / "cpu.stat").write_text("usage_usec 5\nthrottled_usec 4000\n")
    monkeypatch.setattr("device_agents.unseen.major_faults", lambda: 3)
    before, seen, alone = (
        Unseen(counts, is_one_thread, tmp_path)
        for counts, is_one_thread in ((True, False), (False, False), (True, True))
    )
    assert before.since() == alone.since() == {}
    (group / "cpu.stat").write_text("usage_usec 5\nthrottled_usec 254000\n")
    monkeypatch.setattr("device_agents.unseen.major_faults", lambda: 20)
    assert before.since() == {"throttled_s": 0.25, "major_faults": 17}
    assert seen.since() == {"major_faults": 17}, "each run's wait holds the quota already"
    (own / "task/7/status").write_text("Name:\tpython\nTracerPid:\t99\n")
    assert is_traced(tmp_path) and before.since()["traced"] is True
    assert alone.since() == {"major_faults": 17}, "one thread's time off the core holds the rest"


def test_a_system_that_tells_nothing_says_nothing(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("device_agents.unseen.major_faults", lambda: 3)
    assert Unseen(True, filesystem=tmp_path).since() == {}
