"""A packed job on a device that no harness can reach: `python3 job.zip` measures, and writes `job-results.zip` beside it.

It asks the agent what the harness asks over SSH, in the same order, and writes each answer down as it came: at home
`harness import` reads them as if they came over a link. Decided here is only what cannot wait until then: which runtimes and
cores there are, when the device is fit, which session was disturbed and is measured again. docs/protocol.md, "Packed jobs".
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
from typing import Any, Callable, Iterator, Mapping, Tuple

from device_agents.block_plans import BlockPlan, energy_plan, sustained_plan
from device_agents.names import job_digest
from device_agents.pacing import Durations, nearest
from device_agents.packed_agent import AgentProcess, Answer, Journal, Lost, parse_entry, whole_entries
from device_agents.packed_signs import SessionEvents
from device_agents.packed_uses import Stop, Use, allowed_cores, choose_uses, greet
from device_agents.throttling import Gate
from device_agents.whole_files import file_digest, replacing

FORMAT = 1
SILENCE_S = 30.0  # the agent's heart beats every 2 s while it runs a job
SENSOR_S = 120.0  # it is watched for up to a minute
SENSOR_TRIES = 2
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
        self._conditions: Answer = {}  # the latest known, empty when they are too old to trust
        self._limits: dict[str, Any] = self.job["limits"]  # the harness's own numbers
        self._core_patience_s = self._limits["core_patience_s"]
        self._is_begun = False
        self._redos = self._limits["redos"]
        self._cores: list[int] = []
        self._gate = Gate({})
        self._method = ""
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
        """Measure what is left. Raises: Stop, Lost, OSError, Ended."""
        self._start_agent()
        hello = self._greet(self._next_visit())
        uses = choose_uses(self.job, hello)
        self._cores = allowed_cores(self.job, hello)
        self._ask_start()
        total = sum(1 for use in uses for _ in self._units_left(use))
        self._log(
            "%d sessions to measure in %s" % (total, ", ".join(dict.fromkeys(use.title for use in uses)))
        )
        self._total, self._ended = total, 0
        for use in uses:
            self._measure_next(use)
        while any(use.left for use in uses):
            for use in uses:
                self._measure_next(use)
        for of, measure in (
            ("memory", self._weigh),
            ("energy", self._measure_energy),
            ("sustained", self._sustain),
        ):
            for use in uses:
                self._measure_further(use, of, measure)

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
        """Ask the agent and note its answer. Raises: Lost; Stop where it refuses."""
        answer = self._running.ask(verb, **fields)
        self._write(answer=verb, said=answer)
        return result(answer)

    def _start_agent(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = AgentProcess(self._agent_path, self._work / "agent")
        self._there.clear()

    def _lock_device(self) -> Answer:
        return result(self._running.ask("lock", owner=self._owner()))

    def _greet(self, number: int) -> Answer:
        """Greet the agent and lock the device; only then this start has a journal."""
        hello, locked = result(greet(self._running, self.job)), self._lock_device()
        self._journal = Journal(self._work / ("visit-%04d.jsonl" % number))
        self._write(visit={"utc": now_utc(), "python": platform.python_version()})
        self._write(answer="hello", said=hello)
        self._write(answer="lock", said=locked)
        return hello

    def _owner(self) -> str:
        return "packed job %s, process %d" % (self.job["job"], os.getpid())

    def _ask_start(self) -> None:
        """Learn the conditions that the job starts with, and how to ask for the cores."""
        self._gate = Gate(self._ask("probe")["conditions"])
        self._log("asking for the cores %s" % ", ".join(map(str, self._cores)))
        asked = self._ask("permissions", owner=self._owner(), cores=self._cores, threads=self.job["threads"])
        granted = [grant["method"] for grant in asked["grants"] if grant["verified"]]
        self._method = granted[0] if granted else ""

    def _units_left(self, use: Use) -> Iterator[Unit]:
        key = json.dumps(use.key, sort_keys=True)
        for number, one in enumerate(use.group["rounds"]):
            for batch, networks in enumerate(one["batches"]):
                for network in networks:
                    if (key, (number, batch, network)) not in self._done:
                        yield number, batch, network

    def _measure_next(self, use: Use) -> None:
        """Measure the next round of a use, where one is left."""
        if not use.left:
            return
        number = use.left.pop(0)
        left = [unit for unit in self._units_left(use) if unit[0] == number]
        for batch in range(len(use.group["rounds"][number]["batches"])):
            networks = [network for _, place, network in left if place == batch]
            if networks:
                self._measure_batch(use, number, batch, networks)
            if use.failed_in_a_row >= self._limits["failures_in_a_row"]:
                self._log(
                    "%d networks failed in a row in %s: it is given up"
                    % (self._limits["failures_in_a_row"], use.title)
                )
                use.left = []
                return

    def _measure_batch(self, use: Use, number: int, batch: int, networks: list[int]) -> None:
        """Measure networks in one worker; those that were disturbed again, twice at most."""
        self._begin(use, number, batch, networks)
        attempt, units = 0, networks
        while units:
            again, is_hot = self._attempt(use, number, batch, units, attempt)
            if again:
                self._write(again=again)
                self._log("%d disturbed, to be measured again" % len(again))
            if is_hot:
                self._log("the device throttled; it rests for %g s" % self._limits["redo_after_s"])
                time.sleep(self._limits["redo_after_s"])
                self._conditions = {}
            attempt, units = attempt + 1, again
        self._end_batch()

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
            answer = self._running.ask("run", SILENCE_S, on_event, job=job)
        except Lost:
            self._restart()
            return None
        return Durations.of_warm_up(warm, reference["graph_hash"]) if answer.get("type") == "result" else None

    def _measure_further(self, use: Use, of: str, measure: Callable[[Use, Answer], Answer | None]) -> None:
        """Measure what is no session, each in a fresh worker; `measure` returns None where that cannot be had here."""
        for number, batch, network in list(self._units_left(use)):
            if use.group["rounds"][number].get("of") != of:
                continue
            if use.failed_in_a_row >= self._limits["failures_in_a_row"]:
                return
            self._begin(use, number, batch, [network])
            answer = measure(use, use.group["models"][network]["recipe"])
            if answer is None or answer.get("kind") in self._limits["no_memory"]:
                told = answer or use.sensor or {}
                why = told.get("message") or "; ".join(told.get("reasons", ()))
                if told.get("sensor"):
                    why = "its sensor measures too seldom, or showed no change within a minute"
                self._log("%s is not measured in %s: %s" % (of, use.title, why))
                return
            failure = "" if answer.get("type") == "result" else str(answer.get("message"))
            self._end(use, (number, batch, network), failure)
            self._end_batch()

    def _weigh(self, use: Use, recipe: Answer) -> Answer:
        """Load and run a network alone. Raises: Lost, Stop."""
        self._send_parts([recipe])
        return self._ask_worker("memory", dict(self._job_of(use), network=recipe, cores=self._cores))

    def _measure_energy(self, use: Use, recipe: Answer) -> Answer | None:
        """Run blocks beside the device's sensor of energy, None where it has none that will do. Raises: Lost, Stop."""
        if use.sensor is None:
            use.sensor = self._find_sensor(use.provider)
            self._write(answer="sensor", said=use.sensor)
        update_s = use.sensor.get("update_s")
        plan = None if update_s is None else energy_plan(update_s)
        return None if plan is None else self._run_blocks(use, recipe, plan, energy_of=use.provider)

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
                self._restart()
        return {"type": "error", "kind": "agent-lost", "message": trouble}

    def _sustain(self, use: Use, recipe: Answer) -> Answer:
        """Keep the device busy with a network. Raises: Lost, Stop."""
        return self._run_blocks(use, recipe, sustained_plan(self.job["sustained_s"]))

    def _run_blocks(self, use: Use, recipe: Answer, plan: BlockPlan, **sensor: str) -> Answer:
        job = dict(
            self._job_of(use), network=recipe, reference=use.reference["recipe"], **asdict(plan), **sensor
        )
        self._send_parts([job["reference"], recipe])
        self._pass_gate(use)
        job["cores"] = self._await_cores("")  # nobody is asked for a core: an app asks for none either
        answer = self._ask_worker("blocks", job)
        self._conditions = {}
        return answer

    def _ask_worker(self, verb: str, job: dict[str, Any]) -> Answer:
        """Ask for a job of a worker and note what it tells; an agent that is lost answers with an error. Raises: Lost, Stop."""
        self._write(run=job_digest(job))
        try:
            answer = self._running.ask(verb, SILENCE_S, lambda event: self._write(said=event), job=job)
        except Lost as error:
            self._write(lost=str(error))
            self._restart()
            return {"type": "error", "message": str(error)}
        self._write(said=answer)
        return answer

    def _job_of(self, use: Use) -> dict[str, Any]:
        """Return the fields that every job of a worker has."""
        return {
            "runtime": use.name,
            "options": use.options,
            "threads": self.job["threads"],
            "silence_s": self.job["silence_s"],
        }

    def _attempt(
        self, use: Use, number: int, batch: int, units: list[int], attempt: int
    ) -> tuple[list[int], bool]:
        """Measure units once, through workers that die; return those to measure again, and whether for heat."""
        left = list(units)
        again: list[int] = []
        is_hot = False
        losses = resends = 0

        def end(network: int, failure: str) -> None:
            nonlocal losses, resends
            left.remove(network)
            losses = resends = 0
            self._end(use, (number, batch, network), failure)

        def judge(network: int, told: SessionEvents) -> None:
            nonlocal losses, resends, is_hot
            trouble = told.trouble(use.plan(number), self._limits)
            if trouble and attempt < self._redos:
                left.remove(network)
                losses = resends = 0
                again.append(network)
                is_hot = is_hot or trouble == "throttled"
                return
            self._redos = 0 if trouble else self._limits["redos"]
            end(network, "")

        while left:
            try:
                answer = self._run_worker(use, number, list(left), judge, end)
            except Lost as error:
                losses += 1
                self._write(lost=str(error))
                self._log("%s; starting it again" % error)
                self._conditions = {}
                self._restart()
                if losses >= self._limits["losses"]:
                    end(left[0], str(error))
                continue
            if answer.get("type") == "result" or not left:
                continue
            if answer.get("kind") in self._limits["resent"] and resends < self._limits["resends"]:
                resends += 1
                self._there.clear()
            else:
                end(left[0], str(answer.get("message")))
        return again, is_hot

    def _restart(self) -> None:
        """Start the agent again after it was lost, and lock the device. Raises: Stop, Lost."""
        self._start_agent()
        self._lock_device()

    def _run_worker(
        self,
        use: Use,
        number: int,
        networks: list[int],
        judge: Callable[[int, SessionEvents], None],
        end: Callable[[int, str], None],
    ) -> Answer:
        """Measure networks in a fresh worker, each handed on as it ends, and return the job's answer. Raises: Lost, Stop."""
        job = dict(
            self._job_of(use),
            networks=[use.group["models"][network]["recipe"] for network in networks],
            reference=use.reference["recipe"],
            plan=use.plan(number),
            request=self._method,
        )
        self._send_parts([job["reference"]] + job["networks"])
        self._pass_gate(use)
        job["cores"] = self._await_cores(self._method)
        self._write(run=job_digest(job))
        told, count = SessionEvents(), 0

        def on_event(event: Answer) -> None:
            nonlocal told, count
            self._write(said=event)
            kind = event.get("event")
            told.add(event)
            if kind in ("measured", "refused"):
                network, before, told = networks[event["network"]], told, SessionEvents(told)
                count += 1
                if kind == "measured":
                    judge(network, before)
                else:
                    end(network, str(event["failure"].get("message")))

        answer = self._running.ask("run", SILENCE_S, on_event, job=job)
        self._write(said=answer)
        self._conditions = answer.get("conditions_after", {})
        if answer.get("type") == "result" and not count:
            raise Lost("the agent ended a job without a word of any network")
        return answer

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
        answer: Answer = self._running.ask("missing", digests=asked) if asked else {"missing": ()}
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

    def _pass_gate(self, use: Use) -> None:
        """Wait until the device is neither throttled nor hot, for as long as the harness would."""
        has_gpu = any(name in use.provider.lower() for name in self._limits["gpu_providers"])

        def heeded(conditions: Answer) -> Answer:
            return {key: value for key, value in conditions.items() if key != "gpus" or has_gpu}

        def probe() -> Answer:
            return heeded(self._ask("probe")["conditions"])

        def tell(closed: Mapping[str, str]) -> None:
            self._log("waiting for the device: %s" % "; ".join(closed.values()))

        known = self._conditions
        is_known = known and ("gpus" in known or not has_gpu)
        self._gate.wait(heeded(known) if is_known else probe(), probe, tell, time.sleep)

    def _await_cores(self, method: str) -> list[int]:
        """Return the quietest cores to one who asks for them so, after a wait where all are busy.

        Raises: Stop where they never are free at the start; Lost.
        """
        begin_s = time.monotonic()
        while True:
            quiet = self._ask("quiet", cores=self._cores, threads=self.job["threads"], request=method)
            cores = quiet["cores"]
            shares = dict(quiet["waited"], **quiet.get("waited_asking", {}))
            busy = max((shares.get(str(core), 0.0) for core in cores), default=0.0)
            if quiet.get("quota_cores", len(cores)) < len(cores):
                busy = 0.0
            waited_s = time.monotonic() - begin_s
            if busy <= self._limits["busy_share"] or waited_s >= self._core_patience_s:
                break
            self._log("waiting for a free core: another program takes %.0f %% of the time" % (100 * busy))
            time.sleep(self._limits["core_poll_s"])
        if not self._is_begun and busy > self._limits["hopeless_share"]:
            raise Stop(
                "another program takes %.0f %% of the time of the cores %s; stop it, and run the job again"
                % (100 * busy, cores)
            )
        if self._is_begun:
            self._core_patience_s = max(0.0, self._core_patience_s - waited_s)
        self._is_begun = True
        return list(cores)


def result(answer: Answer) -> Answer:
    """Return the agent's answer where it is a result. Raises: Stop."""
    if answer.get("type") != "result":
        raise Stop("%s" % answer.get("message"))
    return answer


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
        except (Stop, Lost, OSError) as error:
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
