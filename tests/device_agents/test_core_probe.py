"""How busy a core is: real processes that compete for real cores, and children that always end."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rigs.agent_client import process_exists

from device_agents.agent import Agent
from device_agents.core_probe import (
    Probe,
    compete,
    like_core,
    lost_shares,
    others_waited,
    probe_cores,
    probe_each,
    slowed,
)
from device_agents.fields import Fields
from device_agents.forked_child import READY, REFUSED, Forked

pytestmark = pytest.mark.device

CORE = max(os.sched_getaffinity(0))
NO_CORE = 4000
PATIENCE_S = 20.0


def children() -> list[int]:
    """Return the processes, dead ones too, whose parent this is."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:  # it has ended meanwhile
            continue
        if parent == os.getpid():
            found.append(int(stat.parent.name))
    return found


@pytest.fixture(autouse=True)
def all_reaped():
    """Fail a test that leaves a child, a zombie included."""
    before = set(children())
    yield
    assert not set(children()) - before


def await_end(pid):
    deadline = time.monotonic() + PATIENCE_S
    while process_exists(pid):
        assert time.monotonic() < deadline, "it lives on"
        time.sleep(0.02)


def test_a_core_that_another_program_keeps_busy_is_waited_for():
    competitor = compete(CORE)
    try:
        assert probe_cores([CORE], None)[CORE] > 0.25  # a half where nothing else runs
    finally:
        competitor.end()


@pytest.mark.alone
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
def test_a_program_that_is_busy_on_one_core_makes_only_that_one_waited_for():
    other = min(os.sched_getaffinity(0))

    def waited_beside_competitors(core):
        competitors = [compete(core), compete(core)]
        try:
            return probe_cores([CORE, other], None)[CORE]
        finally:
            for competitor in competitors:
                competitor.end()

    for _ in range(20):  # other programs of the machine may be busy too, for a while
        if waited_beside_competitors(CORE) > waited_beside_competitors(other) + 0.15:
            return
        time.sleep(0.3)
    pytest.fail("the competitors do not show, or show on the other core")


def test_of_a_core_that_is_not_there_nothing_is_known_and_why_is_told():
    found = probe_each([CORE, NO_CORE], None, 0.01)
    assert found[CORE][0] is not None and found[CORE][1] == ""
    assert found[NO_CORE][:2] == (None, "Invalid argument")


def test_a_probe_leaves_the_agent_where_and_what_it_was():
    def state():
        return os.sched_getaffinity(0), os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0)

    before = state(), os.getsid(0), len(list(Path("/proc/self/fd").iterdir()))
    for request in (None, "realtime", "autogroup", "nice"):
        probe_cores([CORE], request, 0.01)
    assert (state(), os.getsid(0), len(list(Path("/proc/self/fd").iterdir()))) == before


def test_a_child_that_gets_no_turn_is_the_busiest_of_all(monkeypatch):
    monkeypatch.setattr("device_agents.core_probe.SLACK_S", 0.05)
    monkeypatch.setattr("device_agents.core_probe.spin", lambda core, seconds: time.sleep(60) or "0")
    monkeypatch.setattr(signal, "setitimer", lambda which, seconds: None)
    assert probe_cores([CORE], None, 0.01) == {CORE: 1.0}


def test_a_child_answers_or_refuses_or_is_told_to_have_ended():
    def refuse():
        raise PermissionError(1, "not for you")

    def fail():
        raise RuntimeError("a fault of the code")

    for prepare, said, answer in (
        (lambda: None, READY, "42"),
        (refuse, REFUSED + "not for you", ""),
        (fail, "", ""),
    ):
        child = Forked(prepare, lambda: "42", PATIENCE_S)
        try:
            assert child.await_word() == said
            child.go()
            assert child.await_word() == answer
        finally:
            child.end()


def test_a_child_is_in_a_session_of_its_own_and_ends_at_its_deadline():
    child = Forked(lambda: None, lambda: time.sleep(60) or "", 1.0)
    try:
        assert child.await_word() == READY
        assert os.getsid(child.pid) == child.pid
        child.go()
        assert child.await_word() in (None, "")
        await_end(child.pid)
    finally:
        child.end()


def test_a_signal_ends_a_child_without_the_handlers_of_its_parent(tmp_path):
    def handle(number, frame):
        (tmp_path / str(os.getpid())).touch()

    before = signal.signal(signal.SIGTERM, handle)
    child = Forked(lambda: None, lambda: time.sleep(60) or "", PATIENCE_S)
    try:
        assert child.await_word() == READY
        child.go()
        os.kill(child.pid, signal.SIGTERM)
        assert child.await_word() == ""
    finally:
        child.end()
        signal.signal(signal.SIGTERM, before)
    assert list(tmp_path.iterdir()) == []


def test_a_child_holds_none_of_its_parents_files():
    reading, writing = os.pipe()
    child = Forked(lambda: None, lambda: "", PATIENCE_S)
    try:
        assert child.await_word() == READY
        os.close(writing)
        assert select.select([reading], [], [], PATIENCE_S / 4)[0], "the child has it open"
    finally:
        child.end()
        os.close(reading)


def test_a_competitor_ends_with_a_parent_that_is_killed():
    code = (
        "import os, time\n"
        "from device_agents.core_probe import compete\n"
        f"print(compete({CORE}).pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    pid = int(parent.stdout.readline())
    try:
        assert process_exists(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    started = time.monotonic()
    await_end(pid)
    assert time.monotonic() - started < 5  # half of the deadline that would end it as well


def test_of_cores_that_are_not_chosen_the_one_most_waited_on_counts_if_all_are_known(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert others_waited({0: 0.9, 1: 0.2, 2: 0.3}, [0]) == 0.3
    assert others_waited({0: 0.9, 1: 0.2, 2: 0.3}, [0, 1, 2]) == 0.0
    assert others_waited({0: 0.9, 1: None, 2: 0.3}, [0]) is None
    assert others_waited({0: None, 1: 0.2, 2: 0.3}, [0]) == 0.3
    assert others_waited({0: 0.9, 1: 0.2}, [0]) is None, "the system keeps the third from this program"


def test_where_the_system_hides_how_busy_cores_are_all_of_them_are_probed(tmp_path):
    def asked(filesystem):
        agent = Agent(tmp_path, None, Path("agent"), "", None, None, filesystem)
        return agent.quiet(Fields("quiet", {"cores": [CORE], "threads": 1, "request": ""}), b"", 1)

    others = os.sched_getaffinity(0) - {CORE}
    told, hidden = asked(Path("/")), asked(tmp_path)
    assert "others_waited" not in told and set(told["waited"]) == {str(CORE)}
    assert hidden["cores"] == [CORE] and 0 <= hidden["others_waited"] <= 1
    if others:
        competitor = compete(min(others))
        try:
            assert asked(tmp_path)["others_waited"] > 0.25
        finally:
            competitor.end()


def test_a_core_slower_than_a_like_one_is_shared_with_others():
    """What is on the other hardware thread of a core takes up to a half of it, and no wait shows it."""
    probes = {
        0: Probe(0.0, "", 60_000.0),
        1: Probe(0.01, "", 96_000.0),
        2: Probe(0.5, "", 96_000.0),
        3: Probe(0.0, "", 74_000.0),
        4: Probe(0.0, "", 200_000.0),
        5: Probe(1.0),
        6: Probe(None, "refused"),
    }
    lost = lost_shares(probes, [[0, 1, 2, 3, 5, 6, 7], [4]])
    assert lost == {0: 0.0, 1: pytest.approx(0.375), 2: 0.5, 3: 0.0, 4: 0.0, 5: 1.0, 6: None}


def test_of_two_quiet_cores_the_one_that_computes_faster_is_taken(tmp_path, monkeypatch):
    others = os.sched_getaffinity(0) - {CORE}
    if not others:
        pytest.skip("one core")
    agent = Agent(tmp_path, None, Path("agent"), "", None, None, tmp_path)
    for slow in (CORE, min(others)):
        paces = lambda slow=slow: 10**8 if os.sched_getaffinity(0) == {slow} else 10**5  # noqa: E731
        monkeypatch.setattr("device_agents.core_probe.pace_ns", paces)
        fields = Fields("quiet", {"cores": sorted({CORE, min(others)}), "threads": 1, "request": ""})
        assert agent.quiet(fields, b"", 1)["cores"] != [slow]


def test_a_probe_tells_how_long_the_fixed_piece_of_work_takes():
    assert 10**3 < probe_each([CORE], None, 0.01)[CORE].pace_ns < 10**8


def test_named_cores_that_compute_more_slowly_than_a_like_one_say_so(tmp_path, monkeypatch):
    """Where all that a session may take were slow since the first session, no other session tells it."""
    others = os.sched_getaffinity(0) - {CORE}
    if not others:
        pytest.skip("one core")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/stat").write_text(Path("/proc/stat").read_text())
    agent = Agent(tmp_path, None, Path("agent"), "", None, None, tmp_path)
    for slow, share in ((CORE, 9.0), (min(others), 0.0)):
        paces = lambda slow=slow: 10**6 if os.sched_getaffinity(0) == {slow} else 10**5  # noqa: E731
        monkeypatch.setattr("device_agents.core_probe.pace_ns", paces)
        named, free = (
            agent.quiet(Fields("quiet", {"cores": cores, "threads": 1, "request": ""}), b"", 1)
            for cores in ([CORE], None)
        )
        assert named["slowed"] == share and set(named["waited"]) == {str(CORE)}
        assert "slowed" not in free


def test_a_like_core_is_of_the_same_kind_and_another_physical_core():
    siblings = {0: (0, 1), 1: (0, 1), 2: (2, 3), 3: (2, 3)}
    assert like_core([0], [[0, 1, 2, 3]], siblings) == [2]
    assert like_core([0], [[0, 1], [2, 3]], siblings) == like_core([0, 2], [[0, 1, 2, 3]], siblings) == []
    assert like_core([0, 1], [[0, 1, 2, 3]], siblings) == [], "each slows the other in the probe"
    assert slowed(Probe(None), Probe(0.0, "", 1e5)) == slowed(Probe(0.0, "", 1e5), Probe(None)) == 0.0
