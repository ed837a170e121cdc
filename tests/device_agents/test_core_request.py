"""Asking for the core: tried beside a real competitor, given back whatever happens."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from rigs.agent_client import process_exists

from device_agents import core_request
from device_agents.control_groups import find_groups
from device_agents.core_grants import judge, verify
from device_agents.core_probe import probe_each
from device_agents.core_request import GROUP, METHODS, ask, sweep_groups
from device_agents.forked_child import READY, Forked

pytestmark = pytest.mark.device

CORE = max(os.sched_getaffinity(0))
CPUS = os.cpu_count() or 1


def ask_in_child(method: str) -> Forked:
    """Return a child that has asked for the core and lives on; skip the test where that is refused."""
    child = Forked(lambda: ask(method), lambda: "", 20)
    said = child.await_word()
    if said != READY:
        child.end()
        pytest.skip(f"{method} is not permitted here: {said}")
    return child


def autogroup() -> str:
    path = Path("/proc/self/autogroup")
    return path.read_text() if path.exists() else ""


@pytest.mark.alone
def test_what_is_claimed_was_seen_to_end_the_waiting():
    for _ in range(10):  # another program of the machine may ask for the core too, for a while
        grants = verify([CORE])
        chosen = next((grant for grant in grants if grant.verified), None)
        if chosen is not None or not any(grant.granted for grant in grants):
            break
        time.sleep(0.5)
    assert [grant.method for grant in grants] == list(METHODS)
    assert all(grant.reason for grant in grants if not grant.verified)
    if not any(grant.granted for grant in grants):
        pytest.skip(f"nothing is permitted here: {grants}")
    if chosen is None:
        assert all(grant.method in ("autogroup", "nice") for grant in grants if grant.granted)
        return
    assert chosen.waited_before > 0.25 and chosen.waited_after <= 0.1


@pytest.mark.alone
def test_plain_nice_is_granted_without_effect_where_sessions_share_the_core():
    if not Path("/proc/self/autogroup").exists() or os.geteuid() != 0 or CPUS < 2:
        pytest.skip("needs autogroup, root, and two cores")
    if Path("/proc/sys/kernel/sched_autogroup_enabled").read_text().strip() != "1":
        pytest.skip("autogroup is turned off")
    nice = verify([CORE])[-1]
    assert (nice.method, nice.granted, nice.verified) == ("nice", True, False)
    assert nice.waited_after > 0.25, "the competitor's session gets its half still"


def test_a_realtime_class_is_not_tried_on_every_core_and_asking_leaves_the_agents_class_and_weight():
    def state():
        return os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), autogroup()

    before = state()
    grants = verify(sorted(os.sched_getaffinity(0) | set(range(CPUS))))
    assert state() == before
    assert grants[0].method == "realtime" and not grants[0].granted
    assert "every core" in grants[0].reason


def test_an_autogroup_that_others_share_is_left_alone():
    before = autogroup()
    if os.getsid(0) == os.getpid():
        pytest.skip("these tests are in a session of their own")
    with pytest.raises(OSError, match="others"):
        ask("autogroup")
    assert autogroup() == before


def test_an_autogroup_that_may_not_be_changed_just_now_is_asked_for_again(monkeypatch):
    tries = []

    def write(path, text):
        tries.append(text)
        if len(tries) < 3:
            raise BlockingIOError(11, "try again")

    monkeypatch.setattr(Path, "write_text", write)
    monkeypatch.setattr(os, "getsid", lambda pid: os.getpid())
    monkeypatch.setattr(core_request, "ask_nice", lambda: None)
    ask("autogroup")
    assert tries == ["-20"] * 3


@pytest.mark.alone
def test_the_group_of_a_process_that_was_killed_is_removed_and_that_of_a_live_one_kept():
    child = ask_in_child("cgroup")
    group = find_groups().mount / (GROUP % child.pid)
    try:
        assert (group / "cgroup.procs").read_text().split() == [str(child.pid)]
        sweep_groups()
        assert group.exists()
        os.kill(child.pid, signal.SIGKILL)
    finally:
        child.end()
    assert group.exists(), "the system leaves it"
    sweep_groups()
    assert not group.exists()


@pytest.mark.alone
def test_a_group_that_its_process_is_about_to_enter_is_kept():
    ask_in_child("cgroup").end()
    group = find_groups().mount / (GROUP % os.getpid())
    group.mkdir()
    sweep_groups()
    assert group.exists()
    group.rmdir()


@pytest.mark.alone
def test_a_probe_that_asked_for_a_group_leaves_none():
    ask_in_child("cgroup").end()
    assert probe_each([CORE], "cgroup", 0.01)[CORE][1] == ""
    groups = find_groups().mount.glob("harness-*")
    assert all(process_exists(int(group.name.split("-")[1])) for group in groups), "of other agents alone"


@pytest.mark.alone
def test_a_group_keeps_the_process_on_its_core():
    ask_in_child("cgroup").end()

    def enter():
        os.sched_setaffinity(0, {CORE})
        ask("cgroup")

    child = Forked(enter, lambda: "", 20)
    try:
        assert child.await_word() == READY
        assert os.sched_getaffinity(child.pid) == {CORE}
    finally:
        child.end()
        sweep_groups()


@pytest.mark.alone
def test_a_quota_is_not_evaded_by_leaving_its_group():
    if os.geteuid() != 0 or find_groups() is None or find_groups().version != 1:
        pytest.skip("needs root and version 1's cpu groups")
    outer = find_groups().own[0] / f"quota-{os.getpid()}"
    outer.mkdir()
    try:
        (outer / "cpu.cfs_quota_us").write_text("50000")

        def enter():
            (outer / "cgroup.procs").write_text(str(os.getpid()))
            ask("cgroup")

        child = Forked(enter, lambda: "", 20)
        try:
            assert "evade" in child.await_word()
        finally:
            child.end()
    finally:
        outer.rmdir()


def test_what_waiting_says_of_a_way_to_ask():
    def outcome(before, after, refusal="", narrow=""):
        grant = judge("nice", before, after, refusal, narrow)
        assert (grant.waited_before, grant.waited_after) == (before, after)
        return grant.granted, grant.verified, grant.reason

    assert outcome(0.5, 0.01) == (True, True, "")
    assert outcome(0.5, 0.5) == (True, False, "granted, without effect")
    assert outcome(0.5, 0.2)[:2] == (True, False)
    assert outcome(0.1, 0.01)[:2] == (True, False)
    assert outcome(None, 0.01)[:2] == (True, False)
    assert outcome(0.5, None, "Operation not permitted") == (False, False, "Operation not permitted")
    assert outcome(0.5, 0.01, narrow="helps against few") == (True, False, "helps against few")


def test_of_a_system_it_is_heeded_that_nothing_limits_a_realtime_class_and_that_a_control_group_limits_nice(
    tmp_path,
):
    group = tmp_path / "sys/fs/cgroup/user.slice/session.scope"
    group.mkdir(parents=True)
    (group / "cpu.weight").write_text("100\n")
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text("0::/user.slice/session.scope\n")
    (tmp_path / "proc/self/mountinfo").write_text("30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "sys/devices/system/cpu").mkdir(parents=True)
    (tmp_path / "sys/devices/system/cpu/online").write_text("0-63\n")
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/sched_rt_runtime_us").write_text("-1\n")
    grants = verify([CORE], tmp_path)
    assert not grants[0].granted and "sched_rt_runtime_us" in grants[0].reason
    for grant in grants:
        if grant.method in ("autogroup", "nice"):
            assert not grant.verified and grant.reason
