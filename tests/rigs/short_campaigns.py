"""Campaigns that take a second or two: small networks, few slices, on a real device with a real agent."""

from __future__ import annotations

import functools
import json
import os
import random
import signal
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from device_agents import contention, core_gate
from device_agents.pacing import Durations
from exporters import own_run, own_run_worker
from exporters.own_run import OwnRun
from harness.devices.client import NOTHING, AgentClient
from harness.devices.config import Device
from harness.devices.transports import local
from harness.estimates import clean_runs
from harness.measurement import rounds, session_runner
from harness.measurement.campaign import Outcome, run_campaign
from harness.measurement.durations import DeviceProbe
from harness.measurement.plan import LEVELS, Level, Options, SessionPlan
from harness.measurement.workload import ModelSource
from harness.models.exported import ExportedModels
from harness.store import Store
from rigs import forked_agents
from rigs.converters_here import expected_here
from rigs.made_files import once_a_run
from rigs.watcher import Watcher
from space.selection import select_models

SHORT_PLAN = SessionPlan(
    reference_runs=1,
    network_runs=3,
    min_slices=3,
    max_s=0.5,
    half_width=0.5,
    warmup_min_runs=3,
    warmup_min_s=0.0,
    warmup_max_s=0.1,
    warmup_stable_runs=3,
)
LONG_PLAN = SessionPlan(min_slices=1000, max_s=60.0, warmup_min_runs=3, warmup_min_s=0.0, warmup_max_s=0.1)
SHORT = Level(name="short", sessions=1, plan=SHORT_PLAN)
LONG = Level(name="long", sessions=1, plan=LONG_PLAN)
ONNX = Options(runtimes=("onnxruntime",), level=SHORT, silence_s=20.0)
NETWORKS = ("bconv/bconv/bconv", "conv/bconv/bconv")


@functools.cache
def models(networks: tuple[str, ...]) -> ModelSource:
    """Return the exported models of some networks, from the fragments that all tests share."""
    return ExportedModels(select_models(networks), on_progress=lambda *_: None)


_permissions, _permitted = AgentClient.permissions, dict[tuple[int, ...], dict[str, Any]]()


def permissions_once(client: AgentClient, owner: str, cores: Sequence[int], threads: int) -> dict[str, Any]:
    """Ask the first agent of this run, and answer for all later ones on these cores."""
    key = (*cores, threads)

    def permissions(*_: int) -> bytes:
        return json.dumps(_permissions(client, owner, cores, threads)).encode()

    if key not in _permitted:
        _permitted[key] = json.loads(once_a_run(permissions)(*key))
    return _permitted[key]


_hello, _runtimes = AgentClient.hello, dict[str, dict[str, Any]]()


def hello_once(
    client: AgentClient,
    environment: Mapping[str, str] = NOTHING,
    libraries: Mapping[str, str] = NOTHING,
    runtimes: Sequence[str] = (),
) -> dict[str, Any]:
    """Greet an agent, and answer for it which runtimes it has as the first of its name and like did: it imports each to tell."""
    answer = _hello(client, environment, libraries, ("none",))
    alike = [answer.get(name) for name in ("agent", "python", "platform", "environment")]
    key = f"{client._who} {alike} {dict(environment)} {dict(libraries)} {tuple(runtimes)}"
    if key not in _runtimes:
        told = _hello(client, environment, libraries, runtimes)
        _runtimes[key] = {name: told[name] for name in ("runtimes", "broken")}
    return answer | _runtimes[key]


def quiet_untried(client: AgentClient, cores: Sequence[int], threads: int, request: str) -> dict[str, Any]:
    """Answer for the agent, which would try each core for a tenth of a second: processes of the tests begin with another."""
    among = sorted(cores or os.sched_getaffinity(0))
    first = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % len(among)
    return {"cores": [*among[first:], *among[:first]][:threads], "waited": {}}


def run_here(run: OwnRun, limit_bytes: int) -> dict[str, Any]:
    """Run a model file in this process, which imports its runtime once; test_own_run.py is about the other way."""
    with tempfile.TemporaryFile() as values:
        values.write(run.values or b"")
        values.flush()
        return own_run_worker.answer(run.request(values.fileno()))


@contextmanager
def same_pace() -> Iterator[None]:
    """Take every model file for as long as its reference: what tells how long it runs is a process of its own for each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            DeviceProbe, "measured", lambda probe, model, reference: Durations(1e6, 1e6, reference.graph_hash)
        )
        yield


@contextmanager
def any_core(*, forked: bool = True) -> Iterator[None]:
    """Let campaigns take any core, however busy, keep each session as it is, and take each of its runs for a sample: what
    they wait for and repeat takes longer than a session, and has tests of its own; among other tests none of a session's few
    runs may be left undisturbed.

    Few networks take one worker, not three with some in common. How a core may be asked for is tried out once a run, and which
    runtimes are here once a process; model files are judged in it, and what networks should give is computed in it. Agents and
    workers are forked, which pays for a process of several campaigns alone.
    """
    with expected_here(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_gate, "FREE_SHARE", 1.0)
        patch.setattr(rounds, "FEWEST_WORKERS", 1)
        if forked:
            patch.setattr(local, "subprocess", forked_agents.with_popen(forked_agents.ForkedThere))
        patch.setattr(AgentClient, "permissions", permissions_once)
        patch.setattr(AgentClient, "quiet", quiet_untried)
        patch.setattr(AgentClient, "hello", hello_once)
        patch.setattr(own_run, "run_apart", run_here)
        patch.setattr(session_runner, "is_contended", lambda session: False)
        patch.setattr(contention, "CONTENDED", "not heeded")
        patch.setattr(clean_runs, "find_undisturbed", lambda times_ns, *_: ([True] * len(times_ns), False))
        yield


@contextmanager
def short_levels() -> Iterator[None]:
    """Let the sessions of the product's levels end with their least slices, however well these tell the ratio, and a sample be of
    a tenth of a millisecond.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, level in LEVELS.items():
            plan = replace(level.plan, warmup_min_s=0.0, warmup_max_s=0.02, max_s=0.5, half_width=0.5)
            plan = replace(plan, min_sample_ns=100_000)
            patch.setitem(LEVELS, name, replace(level, plan=plan, shared=level.shared and plan))
        yield


def measure(
    device: Device,
    store: Store,
    networks: Sequence[str] = NETWORKS,
    *,
    options: Options = ONNX,
    observer: Watcher | None = None,
    source: ModelSource | None = None,
    forked: bool = True,
) -> Outcome:
    """Run a campaign of networks, or of a source, in an order that is always the same, on any core; see `any_core`."""
    with any_core(forked=forked):
        return run_campaign(
            device,
            source or models(tuple(networks)),
            options,
            store,
            observer or Watcher(),
            rng=random.Random(0),
            cancel=threading.Event(),
        )


def processes(*words: str) -> list[int]:
    """Return the ids of the processes on this machine whose command line holds every word."""
    found, sought = [], [word.encode() for word in words]
    for name in os.listdir("/proc"):  # noqa: PTH208 - asked every few ms
        if not name.isdigit() or int(name) == os.getpid():
            continue
        try:
            with open(f"/proc/{name}/cmdline", "rb", buffering=0) as file:  # noqa: PTH123
                command = file.read()
            if all(word in command for word in sought) and _state(Path("/proc", name)) != "Z":
                found.append(int(name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _state(folder: Path) -> str:
    return (folder / "stat").read_text().rsplit(")", 1)[1].split()[0]


def await_processes(*words: str, timeout_s: float = 20.0) -> list[int]:
    """Wait until a process with these words runs; return its id and those of its like."""
    deadline = time.monotonic() + timeout_s
    while not (found := processes(*words)):
        assert time.monotonic() < deadline, f"no process with {words} within {timeout_s:g} s"
        time.sleep(0.01)
    return found


def await_no_process(*words: str, timeout_s: float = 10.0) -> None:
    """Wait until no process with these words runs."""
    deadline = time.monotonic() + timeout_s
    while found := processes(*words):
        assert time.monotonic() < deadline, f"processes {found} with {words} still run after {timeout_s:g} s"
        time.sleep(0.02)


class Saboteur:
    """Send a signal to the process with some words as soon as one with the words `when` runs, from a thread."""

    def __init__(
        self, number: signal.Signals, *words: str, when: tuple[str, ...] = (), times: int = 1
    ) -> None:
        self._number, self._words, self._when, self._times = number, words, when or words, times
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._lurk)
        self.hit: list[int] = []

    def __enter__(self) -> Saboteur:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _lurk(self) -> None:
        while len(self.hit) < self._times and not self._over.wait(0.01):
            if not processes(*self._when):
                continue
            for pid in processes(*self._words):
                if pid not in self.hit and len(self.hit) < self._times:
                    os.kill(pid, self._number)
                    self.hit.append(pid)
