"""Campaigns that are killed, one after another, on one store: `python -m rigs.kill_lane SETTINGS`, JSON in and out.

Real are the harness, sshd, the agent, its workers and the database; the runtime's times are made up, so that each stored time is
known beforehand. Campaigns run in children of this process, which has imported everything and has no threads; each tells over a
pipe which phase it comes to and what it was told to be stored. A kill's phase, target and moment are drawn beforehand.
"""

from __future__ import annotations

import faulthandler
import json
import os
import random
import select
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from device_agents import core_gate, throttling
from harness.devices import client, connection
from harness.devices.client import AgentClient
from harness.devices.config import SshDevice
from harness.devices.sending import PartSender
from harness.measurement import campaign
from harness.measurement.plan import Level, Options
from harness.measurement.session_runner import SessionRunner
from harness.store import Store
from rigs.compiled_agent import build_compiled
from rigs.kill_verdict import NETWORKS_A_WINDOW, SESSIONS_EACH, MadeUpModels, Verdict, failure_mark
from rigs.postgres import Postgres, start_postgres
from rigs.short_campaigns import SHORT_PLAN, await_no_process, processes
from rigs.sshd import start_sshd
from space import plugins
from space.errors import HarnessError

PLAN = replace(SHORT_PLAN, reference_runs=2, network_runs=6, min_slices=8, max_s=2.0)
CALIBRATIONS = 2
AT_ONCE = (1, 4)  # networks in one worker: of windows in turns
PHASES_S = {  # how long a phase takes, about: a kill comes at a moment of it
    "connecting": 0.8,
    "uploading": 0.08,
    "calibrating": 0.6,
    "measuring": 0.6,
    "storing": 0.01,
    "closing": 0.04,
}
MOST_OF_A_PHASE = {
    "measuring": 3,
    "storing": 4,
    "calibrating": 2,
}  # in one run: which of them is hit is drawn
TARGETS = {
    "connecting": ("harness", "agent", "sshd", "database"),
    "uploading": ("harness", "agent", "sshd", "database"),
    "calibrating": ("harness", "agent", "worker", "sshd", "database"),
    "measuring": ("harness", "agent", "worker", "sshd", "database"),
    "storing": ("harness", "agent", "worker", "sshd", "database"),
    "closing": ("harness", "agent", "sshd", "database"),
}
PAUSE_S = 0.02  # before and after a connection is closed, which is too short to be hit
ONLY_AT_FIRST = (
    "connecting",
    "uploading",
    "calibrating",
)  # what a run that was hit once hardly comes to again
RUN_LIMIT_S = 90.0
TARGET_WAIT_S = 0.5
SERVER_DOWN_S = 1.2  # at most
ANOTHER_KILL = 0.85  # how likely a run that survived one kill meets another
FRESH_DEVICE = 0.3  # how likely a run that is killed while it connects has to send the agent


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a lane is told: its `number`, how many `kills`, sqlite or postgresql, and the time after which no kill begins."""

    seed: int
    number: int
    kills: int
    database: str
    limit_s: float


@dataclass(slots=True)
class Result:
    """What a lane found. `kills` by "TARGET PHASE"; `endings` of its runs; `faults`: hangs, tracebacks, processes left behind."""

    kills: dict[str, int] = field(default_factory=dict)
    runs: int = 0
    elapsed_s: float = 0.0
    verdict: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)
    endings: list[str] = field(default_factory=list)
    asked: int = 0


@dataclass(slots=True)
class Kill:
    """A kill to come: of what, in which occurrence of which phase of a run, and how long after it began."""

    target: str
    phase: str
    occurrence: int
    delay_s: float


def draw_kills(rng: random.Random, count: int) -> list[Kill]:
    """Draw kills, evenly over phases and targets, in random order."""
    pairs: list[tuple[str, str]] = []
    while len(pairs) < count:
        more = [(target, phase) for phase, targets in TARGETS.items() for target in targets]
        rng.shuffle(more)
        pairs += more
    return [
        Kill(
            target,
            phase,
            rng.randint(1, MOST_OF_A_PHASE.get(phase, 1)),
            rng.uniform(0, PHASES_S[phase]),
        )
        for target, phase in pairs[:count]
    ]


class Lane:
    """One store, one device, and the campaigns on them."""

    def __init__(
        self, settings: Settings, folder: Path, device: SshDevice, url: str, postgres: Postgres | None
    ) -> None:
        self._settings, self._folder, self._device, self._url = settings, folder, device, url
        self._postgres = postgres
        mine = _children([os.getpid()])
        self._sshd = [pid for pid in processes(str(folder / "sshd" / "sshd_config")) if pid in mine]
        self._rng = random.Random(f"{settings.seed} {settings.number}")
        self._window, self._marks = 1, list[str]()
        self.result = Result()

    def run(self) -> None:
        """Kill campaigns as drawn, then let one end, and judge."""
        started_s = time.monotonic()
        left = draw_kills(self._rng, self._settings.kills)
        while left and time.monotonic() - started_s < self._settings.limit_s:
            is_whole = self._run(left)
            self._window += is_whole
        for _ in range(5):
            if self._run([]):
                break
        else:
            self.result.faults.append("the last campaign does not end well")
        with suppress(AssertionError):
            await_no_process(self._device.root)
        self.result.faults += [f"process {pid} is left on the device" for pid in processes(self._device.root)]
        verdict = Verdict()
        with Store(self._url) as store:
            verdict.judge(store, self._models(), self._marks)
        verdict.judge_device(Path(self._device.root))
        self.result.verdict = asdict(verdict)
        self.result.asked = self._models().count * SESSIONS_EACH
        self.result.elapsed_s = time.monotonic() - started_s

    def _models(self) -> MadeUpModels:
        return MadeUpModels(self._settings.seed, self._window * NETWORKS_A_WINDOW)

    def _run(self, left: list[Kill]) -> bool:
        """Run one campaign, with the next kills on the way as long as it lives; return whether it ended well."""
        recalibrate = bool(left) and left[0].phase == "calibrating"
        if left and left[0].phase == "connecting" and self._rng.random() < FRESH_DEVICE:
            for path in Path(self._device.root).glob("agent-*.pyz"):
                path.unlink()
        self.result.runs += 1
        with self._child(recalibrate) as child:
            place: int | None = 0 if left else None
            while place is not None and self._hit(child, left, place) and child.is_alive:
                later = (i for i, kill in enumerate(left) if kill.phase not in ONLY_AT_FIRST)
                place = next(later, None) if self._rng.random() < ANOTHER_KILL else None
            child.follow(RUN_LIMIT_S)
            if child.is_alive:
                self.result.faults.append(f"run {self.result.runs} hangs: {child.stacks()}")
        self._marks += child.marks
        self.result.endings.append(child.ending)
        if child.fault:
            self.result.faults.append(f"run {self.result.runs}: {child.fault}")
        return child.ending == "well"

    def _hit(self, child: Child, left: list[Kill], place: int) -> bool:
        """Wait for the moment of a kill, and do it; return whether that came. Else it is for another run, and sooner."""
        kill = left.pop(place)
        if child.await_phase(kill.phase, kill.occurrence, RUN_LIMIT_S):
            child.follow(kill.delay_s)
            if getattr(self, f"_kill_{kill.target}")(child):
                key = f"{kill.target} {child.phase}"
                self.result.kills[key] = self.result.kills.get(key, 0) + 1
                return True
            kill.delay_s /= 2
        kill.occurrence = self._rng.randint(1, MOST_OF_A_PHASE.get(kill.phase, 1))
        left.append(kill)
        return False

    def _kill_harness(self, child: Child) -> bool:
        is_killed = child.kill()
        child.follow(5.0)
        return is_killed

    def _kill_agent(self, child: Child) -> bool:
        return self._kill_found(child, lambda: processes(self._device.root, "serve"))

    def _kill_worker(self, child: Child) -> bool:
        return self._kill_found(child, lambda: processes(self._device.root, "worker"))

    def _kill_sshd(self, child: Child) -> bool:
        return self._kill_found(child, lambda: _children(self._sshd))

    def _kill_found(self, child: Child, find: Callable[[], list[int]]) -> bool:
        """Kill processes as soon as there are some."""
        until_s = time.monotonic() + TARGET_WAIT_S
        while child.is_alive and time.monotonic() < until_s:
            if found := find():
                child.follow(0.0)
                return any([_kill(pid) for pid in found])
            child.follow(0.002)
        return False

    def _kill_database(self, child: Child) -> bool:
        """Kill the server, a connection of it, or, where there is none, another program that is writing to the same file."""
        if self._postgres is None:
            return self._kill_neighbor(child)
        server = self._postgres
        if self._rng.random() < 0.5:
            return self._kill_found(
                child, lambda: [pid for pid in server.pids() if b" lab " in _command(pid)]
            )
        server.kill()
        child.follow(self._rng.uniform(0, SERVER_DOWN_S))
        server.start()
        return True

    def _kill_neighbor(self, child: Child) -> bool:
        path = self._url.removeprefix("sqlite:///")
        pid = os.fork()
        if pid == 0:
            with suppress(sqlite3.Error):
                _write_for_ever(path)
            os._exit(0)
        child.follow(self._rng.uniform(0.02, 0.3))
        _kill(pid)
        os.waitpid(pid, 0)
        return True

    @contextmanager
    def _child(self, recalibrate: bool) -> Iterator[Child]:
        level = Level(
            name="made-up", sessions=SESSIONS_EACH, plan=PLAN, at_once=AT_ONCE[self._window % len(AT_ONCE)]
        )
        options = Options(
            runtimes=("made-up",), level=level, silence_s=20.0, cores=(0,), recalibrate=recalibrate
        )
        child = Child(
            lambda tell: _measure(self._device, self._models(), options, self._url, self._rng.random(), tell),
            self._folder / "stacks",
        )
        try:
            yield child
        finally:
            child.kill()
            child.follow(5.0)
            child.close()


class Child:
    """A campaign in a process of its own: where it is, what it was told to be stored, and how it ended."""

    def __init__(self, run: Callable[[Callable[[str], None]], None], stacks: Path) -> None:
        self._stacks = stacks
        self._read, write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            _be_child(run, write, stacks)
        os.close(write)
        self._rest = b""
        self._counts: dict[str, int] = {}
        self.is_alive = True
        self.phase, self.fault, self.ending = "", "", "killed"
        self.marks: list[str] = []

    def await_phase(self, phase: str, occurrence: int, limit_s: float) -> bool:
        """Follow the campaign until it comes to a phase so often; return whether it does."""
        due = self._counts.get(phase, 0) + occurrence
        until_s = time.monotonic() + limit_s
        while self.is_alive and self._counts.get(phase, 0) < due and time.monotonic() < until_s:
            self._take(until_s - time.monotonic())
        return self.is_alive and self._counts.get(phase, 0) >= due

    def follow(self, seconds: float) -> None:
        """Follow the campaign for a while, or to its end."""
        until_s = time.monotonic() + seconds
        while self.is_alive:
            left_s = until_s - time.monotonic()
            if not self._take(max(0.0, left_s)) and left_s <= 0:
                return

    def kill(self) -> bool:
        """Kill it, unless it has ended."""
        self.follow(0.0)
        return self.is_alive and _kill(self._pid)

    def stacks(self) -> str:
        """Return where its threads are."""
        os.kill(self._pid, signal.SIGUSR1)
        time.sleep(0.3)
        return self._stacks.read_text()

    def close(self) -> None:
        """Wait for its end."""
        os.waitpid(self._pid, 0)
        os.close(self._read)

    def _take(self, wait_s: float) -> bool:
        """Read what it tells within a time; return whether it told something."""
        if not select.select([self._read], [], [], wait_s)[0]:
            return False
        data = os.read(self._read, 1 << 16)
        self.is_alive = bool(data)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            self._note(*line.decode().split(" ", 1))
        return True

    def _note(self, what: str, text: str) -> None:
        if what == "begin":
            self._counts[text] = self._counts.get(text, 0) + 1
        if what in ("begin", "back"):
            self.phase = text
        elif what == "stored":
            self.marks.append(text)
        elif what == "end":
            self.ending = text
        elif what == "fault":
            self.fault = json.loads(text)


def _be_child(run: Callable[[Callable[[str], None]], None], write: int, stacks: Path) -> None:
    """Run a campaign, tell how it ends, and leave the process."""

    def tell(text: str) -> None:
        os.write(write, text.encode() + b"\n")

    with stacks.open("w") as file:
        faulthandler.register(signal.SIGUSR1, file)
        try:
            run(tell)
        except HarnessError as error:
            tell(f"end {type(error).__name__}: {str(error).splitlines()[0]}")
        except BaseException:  # noqa: BLE001 - a traceback is what is looked for
            tell("fault " + json.dumps(traceback.format_exc()[-3000:]))
    os._exit(0)


def _measure(
    device: SshDevice,
    models: MadeUpModels,
    options: Options,
    url: str,
    seed: float,
    tell: Callable[[str], None],
) -> None:
    """Run a campaign as the command does, and tell of its phases."""
    with suppress(ValueError):
        threading.excepthook = lambda args: tell(
            "fault " + json.dumps("".join(traceback.format_exception(args.exc_value)))
        )
    phases = ["preparing"]

    def phase(name: str | Callable[..., str], owner: Any, method: str) -> None:
        """Let a method tell that a phase begins and ends with it."""
        real = getattr(owner, method)

        def told(*arguments: Any, **fields: Any) -> Any:
            found = name if isinstance(name, str) else name(*arguments)
            if not found:
                return real(*arguments, **fields)
            phases.append(found)
            tell(f"begin {phases[-1]}")
            pause_s = PAUSE_S if found == "closing" else 0.0
            try:
                time.sleep(pause_s)
                return real(*arguments, **fields)
            finally:
                time.sleep(pause_s)
                phases.pop()
                tell(f"back {phases[-1]}")

        setattr(owner, method, told)

    phase("connecting", connection.Connection, "open")
    phase(lambda _, parts, *__: "uploading" if parts else "", PartSender, "send")
    phase("closing", connection.Connection, "close")
    phase("storing", Store, "_write")
    phase(
        lambda _, units, *__: "calibrating" if units[0].purpose == "calibration" else "measuring",
        SessionRunner,
        "_run_worker",
    )
    for method, mark in (("add_session", lambda s: s.session_id), ("add_failure", failure_mark)):
        _acknowledge(method, mark, tell)
    client.build_archive = build_compiled  # agents are started again and again
    core_gate.FREE_SHARE = 1.0  # however busy this machine is
    throttling.PATIENCE_S = 0.0
    connection.RECONNECT_WAITS_S = (0.05, 0.2, 0.5, 1.0)
    campaign.CALIBRATION = Level(name="calibration", sessions=CALIBRATIONS, plan=PLAN)
    AgentClient.permissions = lambda *_: {"grants": [], "waited": {}, "siblings": {}, "withheld": []}  # type: ignore[method-assign]
    with Store(url, log=lambda _: None) as store:
        outcome = campaign.run_campaign(
            device, models, options, store, _Observer(), rng=random.Random(seed), cancel=threading.Event()
        )
    tell(
        "end well"
        if outcome.exit_status == 0
        else f"end {outcome.error or outcome.failures[-1].message}"[:500]
    )


def _acknowledge(method: str, mark: Callable[[Any], str], tell: Callable[[str], None]) -> None:
    real = getattr(Store, method)

    def kept(store: Store, record: Any, **options: Any) -> None:
        real(store, record, **options)
        tell(f"stored {mark(record)}")

    setattr(Store, method, kept)


class _Observer:
    """An observer that shows nothing."""

    def event(self, *_: Any) -> None:
        """Show nothing."""


def _write_for_ever(path: str) -> None:
    """Be another program that writes to a SQLite file and comes to no end."""
    database = sqlite3.connect(path, timeout=1.0, isolation_level=None)
    database.execute("PRAGMA cache_size=1")  # what does not fit goes to the file before the end
    database.execute("BEGIN IMMEDIATE")
    for number in range(1_000_000):
        values = (f"half {number}", "half-written", "x" * 2000)
        database.execute("INSERT INTO campaigns (id, device, request) VALUES (?, ?, ?)", values)
        time.sleep(0.001)


def _children(parents: list[int]) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, IndexError):
                if int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1]) in parents:
                    found.append(int(folder.name))
    return found


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _kill(pid: int) -> bool:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return False
    return True


def main() -> None:
    """Run a lane in a folder of its own, and print what it found."""
    settings = Settings(**json.loads(sys.argv[1]))
    folder = Path(tempfile.mkdtemp(prefix="kills-"))
    os.environ |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder / "state")}
    point = EntryPoint(name="made-up", value="rigs.made_up_runtime", group=plugins.RUNTIMES)
    plugins.entry_points = lambda group: [point] if group == plugins.RUNTIMES else []  # type: ignore[assignment]
    build_compiled(client.runtime_sources())  # once for all children
    try:
        with start_sshd(folder / "sshd") as server:
            device = server.device(python=getattr(sys, "_base_executable", sys.executable))
            with _database(settings.database, folder) as (url, postgres):
                lane = Lane(settings, folder, device, url, postgres)
                lane.run()
        print(json.dumps(asdict(lane.result)))  # noqa: T201
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _database(kind: str, folder: Path) -> Iterator[tuple[str, Postgres | None]]:
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'store.sqlite'}", None
        return
    with start_postgres() as postgres:
        yield postgres.url, postgres


if __name__ == "__main__":
    main()
