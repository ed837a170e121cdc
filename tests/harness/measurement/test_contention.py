"""A real busy program on the measured core beside real sessions: never a wrong ratio, and the core where it is asked for."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import log
from pathlib import Path

import pytest
from rigs.short_campaigns import models
from rigs.watcher import Watcher

from device_agents import core_gate
from device_agents.core_probe import probe_each
from harness.devices.client import AgentClient
from harness.devices.config import LocalDevice
from harness.errors import DeviceError
from harness.estimates.clean_runs import clean_slices, is_contended
from harness.estimates.latency import Latency
from harness.measurement.campaign import Outcome, run_campaign
from harness.measurement.plan import Level, Options, SessionPlan
from harness.records import SessionRecord
from harness.store import Store
from harness.store.latencies import latencies

CORES = sorted(os.sched_getaffinity(0))
CORE = CORES[-1]
# Beside a busy program this network fits into the scheduler's turns and the reference does not: the ratio of plain minima is
# about half of the true one.
NETWORK = "bconv/bconv/bconv"
PLAN = SessionPlan(min_slices=8, max_s=1.2, half_width=0.01, warmup_min_s=0.05, warmup_max_s=0.4)
TOLERANCE = 0.03
TRIES = 5  # of what another program of this machine may spoil meanwhile

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(len(CORES) < 2, reason="a busy program on the only core starves the test itself"),
]


@dataclass(frozen=True)
class Measured:
    """What a campaign of one network found: its session, those that were set apart, and the row that a user sees, if any."""

    session: SessionRecord
    set_apart: list[SessionRecord]
    row: Latency | None

    @property
    def ratio(self) -> float:
        assert self.row is not None
        return self.row.estimate.ratio

    @property
    def half_width(self) -> float:
        """Half the width of the interval, as a logarithm; nothing where there is none."""
        interval = self.row.estimate.interval if self.row is not None else None
        return log(interval[1] / interval[0]) / 2 if interval else 0.0


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("device"))


def campaign(root: str, store: Store) -> Outcome:
    level = Level(name="short", sessions=1, plan=PLAN)
    return run_campaign(
        LocalDevice(name="board", root=root),
        models((NETWORK,)),
        Options(runtimes=("onnxruntime",), level=level, cores=(CORE,), silence_s=20.0),
        store,
        Watcher(),
        rng=random.Random(0),
        cancel=threading.Event(),
    )


def measure(root: str, method: str) -> Measured:
    """Measure in a fresh store on the core, whoever else holds it. method: how it is asked for, or empty."""
    grants = [{"method": method, "granted": True, "verified": True, "reason": ""}] if method else []
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_gate, "FREE_SHARE", 1.0)
        patch.setattr(AgentClient, "permissions", lambda *_: {"grants": grants})
        store = Store(f"{folder}/store.sqlite")
        try:
            outcome = campaign(root, store)
            assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
            configuration = outcome.uses[0].configuration
            (session,) = store.sessions(configuration)
            rows = latencies(store, configuration)
            set_apart = store.sessions(configuration, purpose="contended")
            return Measured(session, set_apart, rows[0] if rows else None)
        finally:
            store.close()


@contextmanager
def busy(core: int) -> Iterator[None]:
    """Keep a core busy with a program in a session of its own."""
    code = (
        "import os, sys\n"
        f"os.sched_setaffinity(0, {{{core}}})\n"
        "print('busy', flush=True)\n"
        f"while os.getppid() == {os.getpid()}:\n"
        "    pass\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) as program:
        assert program.stdout is not None
        try:
            assert program.stdout.readline() == b"busy\n"
            yield
        finally:
            program.kill()


@pytest.fixture(scope="module")
def method() -> str:
    """Return a way of asking for the core that helps beside a busy program here, or nothing."""
    with busy(CORE):
        for name in ("realtime", "autogroup"):
            share, refusal, _ = probe_each([CORE], name)[CORE]
            if not refusal and share is not None and share < 0.1:
                return name
    return ""


def clean_share(session: SessionRecord) -> float:
    return len(clean_slices(session)) / len(session.slices)


def assert_agree(found: Measured, truth: Measured) -> None:
    """Check that two ratios differ by no more than a little, or than their intervals say."""
    off = abs(log(found.ratio / truth.ratio))
    assert off < TOLERANCE or off < found.half_width + truth.half_width


@pytest.fixture(scope="module")
def truth(root: str, method: str) -> Measured:
    """Return what is true: measured while no program of this machine is in the way."""
    for _ in range(TRIES):
        found = measure(root, method)
        if not is_contended(found.session) and clean_share(found.session) > 0.8:
            return found
    pytest.skip(
        "other programs of this machine never leave the core alone, and asking for it is not permitted"
    )


@pytest.fixture(scope="module")
def beside(root: str, truth: Measured) -> Measured:
    """Return what is measured beside a busy program, the core not asked for."""
    with busy(CORE):
        return measure(root, "")


def test_beside_a_busy_program_a_ratio_is_right_or_set_apart_and_never_wrong(
    beside: Measured, truth: Measured
) -> None:
    if is_contended(beside.session):
        assert beside.set_apart, "it was measured again"
        assert beside.row is None or beside.row.grade == "D"
    elif beside.row is not None and beside.row.grade != "D":
        assert_agree(beside, truth)


def test_runs_beside_a_busy_program_know_what_they_waited(beside: Measured, truth: Measured) -> None:
    for session in (beside.session, *beside.set_apart):
        waits_ns = [wait_ns for piece in session.slices for wait_ns in piece.delays_ns]
        runs_ns = [run_ns for piece in session.slices for run_ns in piece.runs_ns]
        assert sum(waits_ns) > 0.2 * sum(runs_ns), "it is a half where nothing else runs"
        assert clean_share(session) < clean_share(truth.session)


def test_a_core_that_was_asked_for_is_had_beside_a_busy_program(
    root: str, truth: Measured, method: str
) -> None:
    if not method:
        pytest.skip("this system permits no way of asking for the core that helps")
    with busy(CORE):
        found = measure(root, method)
    assert found.set_apart == []
    assert clean_share(found.session) > 0.8
    assert found.session.scheduling["request"] == {"method": method, "granted": True}
    assert_agree(found, truth)


def test_what_the_campaign_is_permitted_is_found_out_and_used(
    root: str, tmp_path: Path, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_gate, "FREE_SHARE", 1.0)
    store = Store(str(tmp_path / "store.sqlite"))
    outcome = campaign(root, store)
    (session,) = store.sessions(outcome.uses[0].configuration)
    store.close()
    assert session.scheduling.get("request", {}).get("granted", False) == bool(method)


def test_a_campaign_on_a_busy_core_that_nobody_may_ask_for_is_refused_and_says_by_how_much(
    root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AgentClient, "permissions", lambda *_: {"grants": []})
    monkeypatch.setattr(core_gate, "PATIENCE_S", 1.0)
    store = Store(str(tmp_path / "store.sqlite"))
    with busy(CORE), busy(CORE):
        outcome = campaign(root, store)
    assert isinstance(outcome.error, DeviceError)
    assert f"core {CORE} is busy: another program takes " in str(outcome.error)
    assert outcome.measured == 0 and store.sessions(outcome.uses[0].configuration) == []
    store.close()


def test_a_busy_core_is_told_from_a_free_one_and_the_free_one_is_taken(root: str) -> None:
    from device_agents.core_gate import QuietCores
    from harness.devices.connection import Connection
    from harness.devices.transports.local import LocalTransport

    link = Connection(LocalDevice(name="board", root=root), LocalTransport(), owner="a test")
    link.open()
    try:
        with busy(CORE), busy(CORE), busy(CORE):
            for _ in range(TRIES):  # other programs of this machine may be busy on the others
                quiet = QuietCores.of(link.client.quiet(CORES, 1, ""), 1)
                if quiet.cores != (CORE,):
                    break
            assert quiet.cores != (CORE,)
            named = QuietCores.of(link.client.quiet([CORE], 1, ""), 1)
        assert named.cores == (CORE,) and (named.taken or 0.0) > 0.25
    finally:
        link.close()
