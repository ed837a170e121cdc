"""A packed job on a device that no harness can reach: `python3 job.zip` measures, and writes `job-results.zip` beside it.

It asks the agent what the harness asks over SSH, in the same order, and writes each answer down as it came: at home
`harness import` reads them as if they came over a link. Decided here, by the rules of a campaign, is only what cannot wait until
then: which runtimes and cores there are, when the device is fit, which session was disturbed and is measured again.
docs/protocol.md, "Packed jobs".
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import io
import json
import os
import platform
import shlex
import signal
import sys
import time
import zipfile
import zlib
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Iterator, Sequence, Tuple

from device_agents.attempts import (
    DISK_FULL,
    FAILURES_IN_A_ROW,
    LOST,
    NO_MEMORY,
    REDO_AFTER_S,
    Attempts,
    Fault,
    Judge,
)
from device_agents.block_plans import BlockPlan, energy_plan, sustained_plan, why_no_energy
from device_agents.choices import fitting_cores
from device_agents.core_gate import CoreGate, Hopeless, QuietCores, verified_request
from device_agents.names import job_digest, may_use_gpu
from device_agents.pacing import Durations, nearest
from device_agents.packed_agent import (
    AgentProcess,
    AgentRefusal,
    Answer,
    Journal,
    Lost,
    Stop,
    parse_entry,
    result,
    whole_entries,
)
from device_agents.packed_signs import SessionEvents
from device_agents.packed_uses import Use, choose_uses, greet
from device_agents.throttling import Gate
from device_agents.whole_files import file_digest, replacing

FORMAT = 1
SILENCE_S = 30.0  # the agent's heart beats every 2 s while it runs a job
SENSOR_S = 120.0  # it is watched for up to a minute
SENSOR_TRIES = 2
NO_SENSOR = "no-sensor"  # of energy, that will do
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHUNK_BYTES = 4 << 20

Unit = Tuple[int, int, int]  # round, batch, network


class Interrupted(BaseException):
    """A signal asked the job to end."""


class JobDriver:
    """Drive the agent through one start of a job. `log` shows a line."""

    def __init__(self, archive: zipfile.ZipFile, work: Path, log: Callable[[str], None]) -> None:
        self._archive, self._work, self._log = archive, work, log
        self._job_bytes = archive.read("job.json")
        self.job: dict[str, Any] = json.loads(self._job_bytes.decode("utf-8"))
        self._key = archive.read("key")
        self._agent_path = work / "agent.pyz"
        self._journal: Journal | None = None
        self._agent: AgentProcess | None = None
        self._there: set[str] = set()
        self._attempts = Attempts[int]()
        self._cores: tuple[int, ...] = ()
        self._gate = Gate({}, time.monotonic)
        remedy = "stop that program, and run the job again"
        self._core_gate = CoreGate(log, lambda: log("waiting for a free core"), time.monotonic, remedy)
        self._request = ""  # how cores are asked for
        self._done: set[tuple[str, Unit]] = set()
        self._chosen: dict[str, Durations] = {}  # by use, as an earlier start chose
        self._total = self._ended = self.failures = 0
        self._run_id = ""

    def open(self) -> None:
        """Prepare the folder, or go on in it. Raises: Stop, OSError."""
        self._work.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = (self._work / "lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Stop("this job runs already in %s; wait for it" % self._work) from None
        self._run_id = self._mark_folder()
        with replacing(self._agent_path) as partial:
            partial.write_bytes(self._archive.read("agent.pyz"))
        begun: dict[str, Durations] = {}  # by use, the latest
        for path in self._visits():
            for entry in whole_entries(path):
                if "done" in entry and not entry["failed"]:  # what failed is tried again
                    self._done.add((entry["use"], tuple(entry["done"])))
                    if entry["use"] in begun:
                        self._chosen[entry["use"]] = begun[entry["use"]]
                begin = entry.get("begin", {})
                if "beside" in begin:
                    key = json.dumps(begin["use"], sort_keys=True)
                    begun[key] = Durations(**begin["beside"])
                    if begun[key].network_ns:  # a trial that failed is made again where no session came of it
                        self._chosen[key] = begun[key]

    def _mark_folder(self) -> str:
        """Return the id of this run, noted in the folder by the first start. Raises: Stop for another job's, OSError."""
        mark = self._work / "run.json"
        told = parse_entry(mark.read_bytes() + b"\n") if mark.exists() else None
        if told is not None and told["job"] != self.job["job"]:
            raise Stop(
                "%s belongs to another job, %s; name another with --folder" % (self._work, told["job"])
            )
        if told is not None:
            return str(told["run"])
        if self._visits():
            raise Stop(
                "%s is damaged or gone, so whose records lie beside it is not known; name another folder with --folder"
                % mark
            )
        told = {"job": self.job["job"], "run": os.urandom(16).hex()}
        with replacing(mark) as partial, partial.open("wb") as file:
            file.write(json.dumps(told).encode())
            file.flush()
            with suppress(OSError):  # of a file system without
                os.fsync(file.fileno())
        return str(told["run"])

    def measure(self) -> None:
        """Measure what is left. Raises: Stop, Hopeless, Lost, OSError, Interrupted."""
        hello, locked = self._start_agent()
        self._open_journal(hello, locked)
        uses = choose_uses(self.job, hello)
        try:
            self._cores = fitting_cores(hello, self.job["cores"], self.job["threads"])
        except ValueError as error:
            raise Stop("%s, and pack the job again" % error) from None
        self._ask_start()
        total = sum(1 for use in uses for _ in self._units_left(use))
        self._log(
            "%d sessions to measure in %s" % (total, ", ".join(dict.fromkeys(use.title for use in uses)))
        )
        self._total, self._ended = total, 0
        while any(use.left for use in uses):  # in turns, so that each soon has a session of every network
            for use in uses:
                if use.left:
                    self._measure_round(use, use.left.pop(0))

    def close(self) -> None:
        """End the agent, if it runs."""
        if self._agent is not None:
            self._agent.close()
            self._agent = None
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def collect(self, path: Path) -> int:
        """Write the results so far in one file, whole or not at all; return how many sessions it holds. Raises: OSError.

        The job is closed by then, so that its record ends with a whole line.
        """
        visits = self._visits()
        manifest = {
            "format": FORMAT,
            "job": self.job["job"],
            "job_digest": hashlib.sha256(self._job_bytes).hexdigest(),
            "run": self._run_id,
            "written_utc": now_utc(),
            "files": {one.name: file_digest(one) for one in visits},
        }
        text = json.dumps(manifest, sort_keys=True).encode("utf-8")
        code = hmac.new(self._key, text, "sha256").hexdigest().encode("ascii")
        own = {"manifest.json": text, "manifest.mac": code, "job.json": self._job_bytes}
        # A board without a clock is in 1970, and the format's times begin in 1980.
        with replacing(path) as partial, zipfile.ZipFile(str(partial), "w", strict_timestamps=False) as file:
            for name, data in own.items():
                file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
            for one in visits:
                file.write(str(one), one.name, zipfile.ZIP_DEFLATED)
        return len(self._done)

    def _visits(self) -> list[Path]:
        return sorted(self._work.glob("visit-[0-9][0-9][0-9][0-9].jsonl"))

    def _next_visit(self) -> int:
        """Return the number of the next start; no record of before is written on, whichever are gone."""
        visits = self._visits()
        return int(visits[-1].stem[-4:]) + 1 if visits else 1

    @property
    def _running(self) -> AgentProcess:
        assert self._agent is not None
        return self._agent

    def _write(self, **entry: Any) -> None:
        assert self._journal is not None
        self._journal.write(**entry)

    def _ask(self, verb: str, **fields: Any) -> Answer:
        """Ask the agent and note its answer. Raises: Lost, AgentRefusal."""
        answer = self._running.ask(verb, **fields)
        self._write(answer=verb, said=answer)
        return result(answer)

    def _start_agent(self) -> tuple[Answer, Answer]:
        """Start the agent, also after it was lost, greet it and lock the device; return both answers. Raises: Lost, Stop.

        An agent that is not greeted knows nothing of the variables that its workers are to have.
        """
        if self._agent is not None:
            self._agent.close()
        self._agent = AgentProcess(self._agent_path, self._work / "agent")
        self._there.clear()
        return result(greet(self._agent, self.job)), result(self._agent.ask("lock", owner=self._owner()))

    def _open_journal(self, hello: Answer, locked: Answer) -> None:
        """Begin the journal of this start: only once the device is locked."""
        self._journal = Journal(self._work / ("visit-%04d.jsonl" % self._next_visit()))
        self._write(visit={"utc": now_utc(), "python": platform.python_version()})
        self._write(answer="hello", said=hello)
        self._write(answer="lock", said=locked)

    def _owner(self) -> str:
        return "packed job %s, process %d" % (self.job["job"], os.getpid())

    def _ask_start(self) -> None:
        """Learn the conditions that the job starts with, and how to ask for the cores."""
        self._gate = Gate(self._ask("probe")["conditions"], time.monotonic)
        self._log("asking for the cores %s" % ", ".join(map(str, self._cores)))
        threads = self.job["threads"]
        asked = self._ask("permissions", owner=self._owner(), cores=self._cores, threads=threads)
        self._request = verified_request(asked)

    def _units_left(self, use: Use) -> Iterator[Unit]:
        key = json.dumps(use.key, sort_keys=True)
        for number, one in enumerate(use.group["rounds"]):
            for batch, networks in enumerate(one["batches"]):
                for network in networks:
                    if (key, (number, batch, network)) not in self._done:
                        yield number, batch, network

    def _measure_round(self, use: Use, number: int) -> None:
        """Measure what is left of a round: sessions, or in each batch a network by itself, in a fresh worker."""
        of = use.group["rounds"][number].get("of")
        left = [unit for unit in self._units_left(use) if unit[0] == number]
        for batch in sorted({batch for _, batch, _ in left}):
            networks = [network for _, place, network in left if place == batch]
            self._begin(use, number, batch, networks)
            if of is None:
                self._measure_sessions(use, number, batch, networks)
            else:
                kind, message = self._attempt(self._measure_beside, use, of, networks[0])
                if kind in (*NO_MEMORY, NO_SENSOR):
                    self._log("%s is not measured in %s: %s" % (of, use.title, message))
                    return
                self._end(use, (number, batch, networks[0]), message)
            self._end_batch()
            if use.failed_in_a_row >= FAILURES_IN_A_ROW:
                told = (FAILURES_IN_A_ROW, use.title)
                self._log("%d networks failed in a row in %s: it is given up" % told)
                use.left = []
                return

    def _measure_sessions(self, use: Use, number: int, batch: int, networks: list[int]) -> None:
        """Measure networks in one worker; see `Attempts.measure`."""

        def run(units: Sequence[int], attempt: int, cure: str, judge: Judge[int]) -> Fault:
            return self._attempt(self._run_worker, use, number, batch, units, cure, judge)

        def fail(network: int, kind: str, message: str) -> None:
            self._end(use, (number, batch, network), message)

        self._attempts.measure(networks, run, fail, self._repeat)
        if not self._gate.is_told:  # the last worker broke off: how it left the device, home wants to know
            self._attempt(lambda: self._gate.note(self._ask("probe")["conditions"]))

    def _repeat(self, networks: Sequence[int], is_throttled: bool) -> None:
        """Note and tell that networks are measured again, after a rest where the device throttled."""
        self._write(again=networks)
        self._log("%d disturbed, to be measured again" % len(networks))
        if is_throttled:
            self._log("the device throttled; it rests for %g s" % REDO_AFTER_S)
            time.sleep(REDO_AFTER_S)
            self._gate.note({})

    def _end_batch(self) -> None:
        """Note that a batch is over, and have it on the disk."""
        self._write(end=True)
        assert self._journal is not None
        self._journal.sync()

    def _begin(self, use: Use, number: int, batch: int, networks: list[int]) -> None:
        """Note which networks come next, and beside what. Raises: Lost, Stop."""
        if use.is_open:
            use.choose(self._chosen.get(json.dumps(use.key, sort_keys=True)) or self._find_nearest(use))
        begin = {"use": use.key, "round": number, "batch": batch, "networks": networks}
        self._write(begin=dict(begin, **use.beside))

    def _find_nearest(self, use: Use) -> Durations:
        """Return the reference of a file that runs about as long; the first where the file does not run."""
        self._log("trying %s %s" % (use.title, use.group["models"][0]["architecture"]))
        found = nearest(use.references, lambda reference: self._try(use, reference))
        return found or Durations(0.0, 0.0, use.references[0]["graph_hash"])

    def _try(self, use: Use, reference: dict[str, Any]) -> Durations | None:
        """Run a file a few times beside a reference; None where it does not run: its sessions tell why."""
        job = dict(
            self._job_of(use),
            networks=[use.group["models"][0]["recipe"]],
            reference=reference["recipe"],
            cores=self._cores,
            plan=self.job["trial_plan"],
        )
        warm: Answer = {}

        def on_event(event: Answer) -> None:
            if event.get("event") == "warm":
                warm.update(event)

        try:
            self._send_parts([job["reference"]] + job["networks"])
            result(self._running.ask("run", SILENCE_S, on_event, job=job))
        except AgentRefusal:
            return None
        except Lost:
            self._start_agent()
            return None
        return Durations.of_warm_up(warm, reference["graph_hash"])

    def _measure_beside(self, use: Use, of: str, network: int) -> None:
        """Measure the memory or energy of a network, or keep the device busy with it. Raises: Lost, Stop."""
        recipe = use.group["models"][network]["recipe"]
        job = dict(self._job_of(use), network=recipe)
        if of == "memory":
            self._send_parts([recipe])
            self._ask_worker("memory", dict(job, cores=self._cores))
            return
        plan = self._plan_energy(use) if of == "energy" else sustained_plan(self.job["sustained_s"])
        job.update(asdict(plan), reference=use.reference["recipe"])
        if of == "energy":
            job["energy_of"] = use.provider
        job["cores"] = self._await_fit(use, [job["reference"], recipe], "")  # no app asks for a core either
        self._ask_worker("blocks", job)

    def _plan_energy(self, use: Use) -> BlockPlan:
        """Return how to run blocks beside the device's sensor of energy. Raises: Lost, Stop, AgentRefusal where none will do."""
        if use.sensor is None:
            use.sensor = self._find_sensor(use.provider)
            self._write(answer="sensor", said=use.sensor)
        absent = use.sensor.get("message") or why_no_energy(use.sensor)
        plan = None if absent else energy_plan(use.sensor["update_s"])
        if plan is None:
            raise AgentRefusal({"kind": NO_SENSOR, "message": absent})
        return plan

    def _find_sensor(self, provider: str) -> Answer:
        """Look for a sensor, twice where the agent is lost over it, as the harness does; then an error is the answer.

        Raises: Lost, Stop.
        """
        trouble = ""
        for _ in range(SENSOR_TRIES):
            try:
                return self._running.ask("sensor", SENSOR_S, provider=provider)
            except Lost as error:
                trouble = str(error)
                self._log("%s, looking for a sensor of energy; starting it again" % error)
                self._start_agent()
        return {"type": "error", "kind": "agent-lost", "message": trouble}

    def _ask_worker(
        self, verb: str, job: dict[str, Any], on_event: Callable[[Answer], None] = lambda event: None
    ) -> None:
        """Have a worker do a job, and note what it tells. Raises: Lost, AgentRefusal."""

        def take(event: Answer) -> None:
            self._write(said=event)
            on_event(event)

        self._write(run=job_digest(job))
        self._gate.note({})
        answer = self._running.ask(verb, SILENCE_S, take, job=job)
        self._write(said=answer)
        result(answer)
        if verb == "run":
            self._gate.note(answer.get("conditions_after", {}))

    def _job_of(self, use: Use) -> dict[str, Any]:
        """Return the fields that every job of a worker has."""
        return {
            "runtime": use.name,
            "options": use.options,
            "threads": self.job["threads"],
            "silence_s": self.job["silence_s"],
        }

    def _attempt(self, work: Callable[..., object], *given: object) -> Fault:
        """Do some work; return what ended it, if anything did. The agent is there again by then. Raises: Stop, Lost."""
        try:
            work(*given)
        except Lost as error:
            self._write(lost=str(error))
            self._log("%s; starting it again" % error)
            self._gate.note({})
            self._start_agent()
            return LOST, str(error)
        except AgentRefusal as error:
            return error.kind, str(error)
        return "", ""

    def _run_worker(
        self, use: Use, number: int, batch: int, networks: Sequence[int], cure: str, judge: Judge[int]
    ) -> None:
        """Measure networks in a fresh worker, each judged as it ends. Raises: Lost, Stop, Hopeless."""
        if cure == DISK_FULL:
            self._ask("evict", max_bytes=0)
        if cure:
            self._there.clear()
        plan = use.plan(number)
        job = dict(
            self._job_of(use),
            networks=[use.group["models"][network]["recipe"] for network in networks],
            reference=use.reference["recipe"],
            plan=plan,
            request=self._request,
        )
        job["cores"] = self._await_fit(use, [job["reference"]] + job["networks"], self._request)
        told, count = SessionEvents(), 0

        def on_event(event: Answer) -> None:
            nonlocal told, count
            told.add(event)
            kind = event.get("event")
            if kind not in ("measured", "refused"):
                return
            network, before, told = networks[event["network"]], told, SessionEvents(told)
            count += 1
            is_measured = kind == "measured"
            if not judge(network, before.trouble(plan["min_slices"]) if is_measured else None):
                failure = "" if is_measured else str(event["failure"].get("message"))
                self._end(use, (number, batch, network), failure)

        self._ask_worker("run", job, on_event)
        if not count:
            raise Lost("the agent ended a job without a word of any network")

    def _end(self, use: Use, unit: Unit, failure: str) -> None:
        """Note that a session is over, measured or failed."""
        key = json.dumps(use.key, sort_keys=True)
        self._write(done=unit, use=key, failed=bool(failure))
        self._done.add((key, unit))
        self._ended += 1
        use.failed_in_a_row = use.failed_in_a_row + 1 if failure else 0
        self.failures += bool(failure)
        name = use.group["models"][unit[2]]["architecture"]
        text = "%d of %d: %s %s" % (self._ended, self._total, use.title, name)
        self._log("%s failed: %s" % (text, failure) if failure else text)

    def _send_parts(self, recipes: list[dict[str, Any]]) -> None:
        """Give the agent the parts of models that it lacks. Raises: Stop, Lost."""
        wanted = [part for one in recipes for part in one["parts"]]
        wanted += [one["inputs"] for one in recipes if one.get("inputs")]
        asked = [part for part in dict.fromkeys(wanted) if part not in self._there]
        answer: Answer = {"missing": ()}
        if asked:
            answer = result(self._running.ask("missing", digests=asked))
        for part in answer["missing"]:
            data = self._archive.read("parts/" + part)
            whole: Answer = {"digest": part, "encoding": "raw", "size_bytes": len(data)}
            begin = answer["received"].get(part, 0)  # of a start that was ended, or found the disk full
            for offset in range(begin, max(begin + 1, len(data)), CHUNK_BYTES):
                chunk = data[offset : offset + CHUNK_BYTES]
                piece = dict(whole, offset=offset, chunk_bytes=len(chunk))
                put = self._running.ask("put", payload=chunk, **piece)
                if put.get("type") != "result":
                    raise Stop("a part of the models cannot be stored: %s" % put.get("message"))
        self._there.update(asked)

    def _await_fit(self, use: Use, recipes: list[dict[str, Any]], request: str) -> list[int]:
        """Send models, and wait until the device is fit for a use and its cores are free; return the cores to take.

        request: how the worker asks for them. Raises: Stop, Lost; Hopeless where they never are free at the start.
        """
        self._send_parts(recipes)
        self._gate.wait(
            lambda: self._ask("probe")["conditions"],
            lambda closed: self._log("waiting for the device: %s" % "; ".join(closed.values())),
            time.sleep,
            may_use_gpu(use.provider),
        )
        asked = {"cores": self._cores, "threads": self.job["threads"], "request": request}

        def probe() -> QuietCores:
            return QuietCores.of(self._ask("quiet", **asked), self.job["threads"])

        return list(self._core_gate.wait(probe, request, time.sleep)[0].cores)


def now_utc() -> str:
    """Return the device's time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def end(number: int, frame: FrameType | None) -> None:
    """Leave the present work, as on Ctrl-C."""
    raise Interrupted()


def main(arguments: list[str] | None = None) -> int:
    """Measure what is left of the job, and write the results so far; return the exit status."""
    hold_standard_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # of names that it has no characters for
    path = Path(sys.argv[0]).resolve()
    parser = argparse.ArgumentParser(prog="python3 %s" % path.name, description=main.__doc__)
    parser.add_argument(
        "--folder",
        type=Path,
        default=path.parent,
        help="where to work and to write (default: beside the job)",
    )
    folder = parser.parse_args(arguments).folder.resolve()
    results = folder / ("%s-results.zip" % path.stem)
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:  # as under nohup
            signal.signal(number, end)
    with zipfile.ZipFile(str(path)) as archive:
        status, trouble = 0, ""
        try:
            check_whole(archive)
            driver = JobDriver(archive, folder / ("%s-work" % path.stem), say)
            say("job %s for device %s" % (driver.job["job"], driver.job["device"]))
            driver.open()
        except Interrupted:
            return 130
        except Stop as error:
            say(str(error))
            return 3
        except OSError as error:
            say("%s; name a folder that can be written, and has room, with --folder" % error)
            return 3
        try:
            driver.measure()
            status = 3 if driver.failures else 0
        except Interrupted:
            status, trouble = 130, "stopped; the same command goes on from here"
        except (Stop, Hopeless, Lost, OSError) as error:
            status, trouble = 3, str(error)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        return finish(driver, results, status, trouble)


def check_whole(archive: zipfile.ZipFile) -> None:
    """Check that a job is as it was packed: in what is copied by hand a bit may have turned. Raises: Stop."""
    try:
        damage = archive.testzip()
    except (zlib.error, RuntimeError, ValueError, EOFError, OSError) as error:
        damage = str(error)
    if damage is not None:
        raise Stop("this job is damaged (%s): copy it here again" % damage)


def finish(driver: JobDriver, results: Path, status: int, trouble: str) -> int:
    """End the job's agent and write the results; return the exit status."""
    try:
        driver.close()
        if trouble:
            say(trouble)
        count = driver.collect(results)
    except OSError as error:
        say(
            "the results cannot be written: %s; free room there, then the same command goes on from here"
            % error
        )
        return 3
    say("%d sessions in %s; at home: harness import %s" % (count, results, shlex.quote(results.name)))
    return status


def hold_standard_streams() -> None:
    """Let a stream that is closed (`>&-`) lead nowhere: else a file that is opened gets its number."""
    number = os.open(os.devnull, os.O_RDWR)
    while number <= 2:
        os.set_inheritable(number, True)
        number = os.open(os.devnull, os.O_RDWR)
    os.close(number)


def say(text: str) -> None:
    """Print a line with the time."""
    if sys.stdout is None:  # closed
        return
    with suppress(OSError):  # whoever read it has gone: the job goes on
        sys.stdout.write("%s  %s\n" % (time.strftime("%H:%M:%S"), text))
        sys.stdout.flush()
