"""A packed job on a device that no harness can reach: `python3 job.zip` measures, and writes `job-results.zip` beside it.

It asks the agent what the harness asks over SSH, in the same order, and writes each answer down as it came: at home
`harness import` reads them as if they came over a link. Decided here is only what cannot wait until then: which runtimes and
cores there are, when the device is fit, which session was disturbed and is measured again. docs/interfaces.md, "Packed jobs".
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import hmac
import json
import os
import platform
import select
import signal
import subprocess
import sys
import time
import zipfile
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any, Callable, Dict, Iterator, Tuple

from device_agents import PROTOCOL
from device_agents.block_plans import BlockPlan, energy_plan, sustained_plan
from device_agents.clean_runs import CleanRuns
from device_agents.frames import PREAMBLE, FrameError, FrameReader, FrameWriter
from device_agents.pacing import Durations, Pace, nearest

FORMAT = 1
SILENCE_S = 30.0  # the agent's heart beats every 2 s while it runs a job
ANSWER_S = 60.0
HELLO_S = 150.0  # importing a large runtime on a small board takes long
SENSOR_S = 120.0  # it is watched for up to a minute
SENSOR_TRIES = 2
END_S = 10.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
CHUNK_BYTES = 4 << 20
LINE_LIMIT_BYTES = 2 << 20  # a frame's header has 1 MiB at most

Answer = Dict[str, Any]
Unit = Tuple[int, int, int]  # round, batch, network


class Stop(Exception):
    """The job cannot go on; the message says why and what helps."""


class Lost(Exception):
    """The agent ended, or fell silent."""


class Ended(BaseException):
    """A signal asked the job to end."""


class Journal:
    """What was asked and answered since this start of the job, a line of JSON each, on the disk before the next step."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab")

    def write(self, **entry: Any) -> None:
        """Add a line, with the monotonic time in s behind it."""
        entry["at"] = round(time.monotonic(), 6)
        line = json.dumps(entry, separators=(",", ":"), ensure_ascii=False)
        self._file.write(line.encode("utf-8", "replace") + b"\n")
        self._file.flush()

    def sync(self) -> None:
        """Have all lines on the disk, also where the power fails."""
        with suppress(OSError):  # of a file system without
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """Close the file."""
        self.sync()
        self._file.close()


class Agent:
    """The agent, in a process of its own, as over SSH."""

    def __init__(self, agent_path: Path, root: Path) -> None:
        # Without site-packages, which take a quarter of its start: what it starts to import runtimes has them.
        command = [sys.executable, "-I", "-S", str(agent_path), "serve", "--root", str(root)]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, start_new_session=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._writer = FrameWriter(self._process.stdin.fileno())
        self._reader = FrameReader(self._process.stdout.fileno())
        self._last_id = 0
        begin = b""
        while len(begin) < len(PREAMBLE):
            self._await(ANSWER_S)
            piece = os.read(self._reader.fd, len(PREAMBLE) - len(begin))
            if not piece:
                raise Lost("the agent ended at once")
            begin += piece

    def ask(
        self,
        verb: str,
        timeout_s: float = ANSWER_S,
        on_event: Callable[[Answer], None] = lambda event: None,
        payload: bytes = b"",
        **fields: Any,
    ) -> Answer:
        """Return the answer to a request, a result or an error, handing on the events before it. Raises: Lost."""
        self._last_id += 1
        try:
            self._writer.write(dict(fields, id=self._last_id, verb=verb), payload)
            while True:
                header = self._read(timeout_s)
                if header.get("type") != "event":
                    return header
                on_event(header)
        except (OSError, FrameError) as error:
            raise Lost("the agent is gone: %s" % error) from error

    def close(self) -> None:
        """End the agent, which ends its worker."""
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read(self, timeout_s: float) -> Answer:
        while True:
            frame = self._reader.take()
            if frame is not None:
                return frame[0]
            if self._reader.ended:
                raise Lost("the agent ended")
            self._await(timeout_s)
            self._reader.fill()

    def _await(self, timeout_s: float) -> None:
        if not select.select([self._reader.fd], [], [], timeout_s)[0]:
            raise Lost("no sign of life from the agent for %g s" % timeout_s)


class Use:
    """A runtime of this device with a group of the job's models."""

    def __init__(
        self,
        runtime: Answer,
        provider: str,
        group_number: int,
        group: dict[str, Any],
        provider_options: dict[str, dict[str, str]],
    ) -> None:
        self.name = str(runtime["name"])
        self.provider = provider
        self.options: dict[str, Any] = {"provider": provider} if provider else {}
        given = provider_options.get(short_provider(provider).partition("+")[0])
        if given and self.name == "onnxruntime":
            self.options["provider_options"] = given
        self.group = group
        self.key = {
            "runtime": self.name,
            "version": "%s %s" % (runtime["package"], runtime["version"]),
            "provider": provider,
            "group": group_number,
        }
        self.title = self.name if group["precision"] == "fp32" else "%s %s" % (self.name, group["precision"])
        self.title += " batch %d" % group["batch"] if group["batch"] > 1 else ""
        self.left = [number for number, one in enumerate(group["rounds"]) if "of" not in one]
        self.sensor: Answer | None = None  # of energy, once it was looked for
        self.failed_in_a_row = 0
        self.references: list[dict[str, Any]] = [group["reference"], *group.get("shorter", [])]
        self.reference = self.references[0]
        self.durations: Durations | None = None

    @property
    def is_open(self) -> bool:
        """Return whether the reference of a file is still to be chosen."""
        return "shorter" in self.group and self.durations is None

    @property
    def beside(self) -> dict[str, Any]:
        """Return what was chosen, as records hold it; nothing of networks, whose reference the job names."""
        return {} if self.durations is None else {"beside": self.durations._asdict()}

    def choose(self, durations: Durations) -> None:
        """Have the model timed as its durations say."""
        self.durations = durations
        self.reference = next(one for one in self.references if one["graph_hash"] == durations.reference)

    def plan(self, number: int) -> dict[str, Any]:
        """Return how sessions of a round are timed."""
        found = Pace() if self.durations is None else Pace.of(*self.durations[:2])
        return found.applied(self.group["rounds"][number]["plan"])


class Driver:
    """Drive the agent through one start of a job. `log` shows a line."""

    def __init__(self, archive: zipfile.ZipFile, work: Path, log: Callable[[str], None]) -> None:
        self._archive, self._work, self._log = archive, work, log
        self._job_bytes = archive.read("job.json")
        self.job: dict[str, Any] = json.loads(self._job_bytes.decode("utf-8"))
        self._key = archive.read("key")
        self._agent_path = work / "agent.pyz"
        self._journal: Journal | None = None
        self._agent: Agent | None = None
        self._there: set[str] = set()
        self._conditions: Answer = {}  # the latest known, empty when they are too old to trust
        self._limits: dict[str, Any] = self.job["limits"]  # the harness's own numbers
        self._core_patience_s = self._limits["core_patience_s"]
        self._gate_patience_s = self._limits["gate_patience_s"]
        self._is_begun = False
        self._redos = self._limits["redos"]
        self._cores: list[int] = []
        self._start_temps_c: dict[str, float] = {}
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
        mark = self._work / "run.json"
        if mark.exists():
            told = json.loads(mark.read_text())
            if told["job"] != self.job["job"]:
                raise Stop(
                    "%s belongs to another job, %s; name another with --folder" % (self._work, told["job"])
                )
            self._run_id = told["run"]
        else:
            self._run_id = os.urandom(16).hex()
            write_whole(mark, json.dumps({"job": self.job["job"], "run": self._run_id}).encode())
        write_whole(self._agent_path, self._archive.read("agent.pyz"))
        begun: dict[str, Durations] = {}  # by use, the latest
        for path in self._visits():
            cut_torn_line(path)
            for entry in read_lines(path):
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

    def measure(self) -> None:
        """Measure what is left. Raises: Stop, Lost, OSError, Ended."""
        number = len(self._visits()) + 1
        self._start_agent()
        hello = self._greet(number)
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
        """Write the results so far in one file, whole or not at all; return how many sessions it holds. Raises: OSError."""
        visits = self._visits()
        for one in visits[-1:]:
            cut_torn_line(one)
        manifest = {
            "format": FORMAT,
            "job": self.job["job"],
            "job_digest": hashlib.sha256(self._job_bytes).hexdigest(),
            "run": self._run_id,
            "written_utc": now_utc(),
            "files": {one.name: file_digest(one) for one in visits},
        }
        text = json.dumps(manifest, sort_keys=True).encode("utf-8")
        partial = path.with_name(".%s.%d.partial" % (path.name, os.getpid()))
        try:
            with zipfile.ZipFile(str(partial), "w", zipfile.ZIP_DEFLATED) as archive:
                archive.writestr("manifest.json", text)
                archive.writestr("manifest.mac", hmac.new(self._key, text, "sha256").hexdigest())
                archive.writestr("job.json", self._job_bytes)
                for one in visits:
                    archive.write(str(one), one.name)
            partial.replace(path)
        finally:
            with suppress(OSError):
                partial.unlink()
        return len(self._done)

    def _visits(self) -> list[Path]:
        return sorted(self._work.glob("visit-[0-9][0-9][0-9][0-9].jsonl"))

    def _write(self, **entry: Any) -> None:
        assert self._journal is not None
        self._journal.write(**entry)

    def _ask(self, verb: str, **fields: Any) -> Answer:
        """Ask the agent and note its answer. Raises: Lost; Stop where it refuses."""
        assert self._agent is not None
        answer = self._agent.ask(verb, **fields)
        self._write(answer=verb, said=answer)
        if answer.get("type") != "result":
            raise Stop("%s" % answer.get("message"))
        return answer

    def _start_agent(self) -> None:
        if self._agent is not None:
            self._agent.close()
        self._agent = Agent(self._agent_path, self._work / "agent")
        self._there.clear()

    def _greet(self, number: int) -> Answer:
        """Greet the agent and lock the device; only then this start has a journal."""
        assert self._agent is not None
        hello = greet(self._agent, self.job)
        if hello.get("type") != "result":
            raise Stop("%s" % hello.get("message"))
        locked = self._agent.ask("lock", owner=self._owner())
        if locked.get("type") != "result":
            raise Stop("%s" % locked.get("message"))
        self._journal = Journal(self._work / ("visit-%04d.jsonl" % number))
        self._write(visit={"utc": now_utc(), "python": platform.python_version()})
        self._write(answer="hello", said=hello)
        self._write(answer="lock", said=locked)
        return hello

    def _owner(self) -> str:
        return "packed job %s, process %d" % (self.job["job"], os.getpid())

    def _ask_start(self) -> None:
        """Learn the conditions that the job starts with, and how to ask for the cores."""
        self._start_temps_c = temperatures_c(self._ask("probe")["conditions"])
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
        assert self._agent is not None
        try:
            self._send_parts([job["reference"]] + job["networks"])
            answer = self._agent.ask(
                "run",
                SILENCE_S,
                lambda event: warm.update(event) if event.get("event") == "warm" else None,
                job=job,
            )
        except Lost:
            self._restart()
            return None
        if answer.get("type") != "result" or not warm.get("network_ns") or not warm.get("reference_ns"):
            return None
        return Durations(
            min(warm["network_ns"]) / warm["network_loops"],
            min(warm["reference_ns"]) / warm["reference_loops"],
            reference["graph_hash"],
        )

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
            assert self._agent is not None
            try:
                return self._agent.ask("sensor", SENSOR_S, provider=provider)
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
        assert self._agent is not None
        try:
            answer = self._agent.ask(verb, SILENCE_S, lambda event: self._write(said=event), job=job)
        except Lost as error:
            self._write(lost=str(error))
            self._restart()
            return {"type": "error", "message": str(error)}
        self._write(said=answer)
        return answer

    def _job_of(self, use: Use) -> dict[str, Any]:
        """Return what every job of a worker says."""
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
        assert self._agent is not None
        locked = self._agent.ask("lock", owner=self._owner())
        if locked.get("type") != "result":
            raise Stop("%s" % locked.get("message"))

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
                network, before, told = networks[event["network"]], told, SessionEvents()
                count += 1
                if kind == "measured":
                    judge(network, before)
                else:
                    end(network, str(event["failure"].get("message")))

        assert self._agent is not None
        answer = self._agent.ask("run", SILENCE_S, on_event, job=job)
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
        assert self._agent is not None
        if asked:
            for part in self._agent.ask("missing", digests=asked)["missing"]:
                data = self._archive.read("parts/" + part)
                for offset in range(0, max(1, len(data)), CHUNK_BYTES):
                    chunk = data[offset : offset + CHUNK_BYTES]
                    put = self._agent.ask(
                        "put",
                        payload=chunk,
                        digest=part,
                        encoding="raw",
                        size_bytes=len(data),
                        offset=offset,
                        chunk_bytes=len(chunk),
                    )
                    if put.get("type") != "result":
                        raise Stop("a part of the models cannot be stored: %s" % put.get("message"))
        self._there.update(asked)

    def _pass_gate(self, use: Use) -> None:
        """Wait until the device is neither throttled nor hot, for as long as the harness would."""
        has_gpu = any(name in use.provider.lower() for name in self._limits["gpu_providers"])
        waited_s, known = 0.0, self._conditions
        while True:
            if not known or (has_gpu and "gpus" not in known):
                known = self._ask("probe")["conditions"]
            seen = known if has_gpu else {key: value for key, value in known.items() if key != "gpus"}
            temps_c = temperatures_c(seen)
            is_throttled = throttles(seen, self._limits)
            is_hot = any(
                now_c > self._start_temps_c[name] + self._limits["hotter_c"]
                for name, now_c in temps_c.items()
                if name in self._start_temps_c
            )
            if not (is_throttled or is_hot):
                self._gate_patience_s = self._limits["gate_patience_s"]
                return
            if waited_s >= self._gate_patience_s:
                self._start_temps_c = temps_c
                self._gate_patience_s = 0.0 if is_throttled else self._limits["gate_patience_s"]
                return
            self._log("waiting for the device: it is %s" % ("throttled" if is_throttled else "hot"))
            time.sleep(self._limits["gate_poll_s"])
            waited_s += self._limits["gate_poll_s"]
            known = {}

    def _await_cores(self, method: str) -> list[int]:
        """Return the quietest cores to one who asks for them so, after a wait where all are busy.

        Raises: Stop where they never are free at the start; Lost.
        """
        begin_s = time.monotonic()
        while True:
            quiet = self._ask("quiet", cores=self._cores, threads=self.job["threads"], request=method)
            cores = quiet["cores"]
            shares = quiet["waited_asking"] if "waited_asking" in quiet else quiet["waited"]
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


class SessionEvents:
    """What a worker told of one network, as far as it says whether the session was disturbed."""

    def __init__(self) -> None:
        self._samples: list[Answer] = []
        self._slices: list[Answer] = []
        self._warm: Answer = {}
        self._measured: Answer = {}

    def add(self, event: Answer) -> None:
        """Take an event."""
        kind = event.get("event")
        if kind == "sample":
            self._samples.append(event)
        elif kind == "slice":
            self._slices.append(event)
        elif kind == "warm":
            self._warm = event
        elif kind == "measured":
            self._measured = event

    def trouble(self, plan: dict[str, Any], limits: dict[str, Any]) -> str:
        """Return `throttled`, `contended`, or '' of a session that is as it should be."""
        if any(throttles(sample, limits) for sample in self._samples):
            return "throttled"
        told = self._measured
        steal_s = told.get("steal_s", 0.0)
        if told["stop"] == "contended" or steal_s > limits["steal_share"] * told["loop_s"]:
            return "contended"
        if not told.get("delay_source"):
            return ""
        base = told["baseline_ns"]
        clean = CleanRuns(
            self._warm["network_loops"], self._warm["reference_loops"], base["network"], base["reference"]
        )
        count = sum(clean.add(one) is not None for one in self._slices)
        enough = max(limits["fewest_slices"], min(plan["min_slices"], (len(self._slices) + 1) // 2))
        return "contended" if count + 1 < min(enough, len(self._slices)) else ""


def greet(agent: Agent, job: dict[str, Any]) -> Answer:
    """Return the agent's answer to `hello`, about the runtimes that the job names; about all where it names or has none."""
    named = sorted({text.partition(":")[0] for text in job["runtimes"]})
    told = {"protocol": PROTOCOL, "harness": job["harness"], "environment": job["environment"]}
    told["vendor_libraries"] = job.get("vendor_libraries")
    hello = agent.ask("hello", HELLO_S, **told, runtimes=named or None)
    if named and hello.get("runtimes") == []:
        hello = agent.ask("hello", HELLO_S, **told)
    return hello


def choose_uses(job: dict[str, Any], hello: Answer) -> list[Use]:
    """Return the runtimes to measure in, each with its models, in the order of the harness. Raises: Stop."""
    found = {runtime["name"]: runtime for runtime in hello["runtimes"]}
    broken = "".join("; %s is broken: %s" % (one["name"], one["message"]) for one in hello["broken"])
    wanted = job["runtimes"] or [name for name in found if name in job["formats"]]
    uses = []
    for text in wanted:
        name, _, provider = text.partition(":")
        if name not in found:
            raise Stop(
                "this Python (%s) has no runtime %s (found: %s)%s; install it there, or start the job with the Python that has it"
                % (sys.executable, name, ", ".join(found) or "none", broken)
            )
        providers = {short_provider(one): one for one in found[name].get("providers", [])}
        short = short_provider(provider) if provider else "cpu"
        if provider and short not in providers:
            raise Stop("%s has no provider %s (there: %s)" % (name, provider, ", ".join(providers) or "none"))
        chosen = providers.get(short, next(iter(providers.values()), ""))
        for number, group in enumerate(job["groups"]):
            if group["format"] == job["formats"][name]:
                uses.append(Use(found[name], chosen, number, group, job["provider_options"]))
    if not uses:
        raise Stop(
            "this Python (%s) has none of the runtimes %s%s; install one there, or start the job with the Python that has it"
            % (sys.executable, ", ".join(job["formats"]), broken)
        )
    run = {use.group["format"] for use in uses}
    for group in job["groups"]:
        if "shorter" in group and group["format"] not in run:
            raise Stop(
                "this Python (%s) has no runtime for %s, a .%s file%s; install one of %s there, or start the job with the Python "
                "that has it"
                % (
                    sys.executable,
                    group["models"][0]["architecture"],
                    group["format"],
                    broken,
                    ", ".join(name for name, one in job["formats"].items() if one == group["format"]),
                )
            )
    return uses


def allowed_cores(job: dict[str, Any], hello: Answer) -> list[int]:
    """Return the cores that sessions may take: those named, else the fastest like ones. Raises: Stop."""
    named, threads = job["cores"], job["threads"]
    absent = [core for core in named if core not in hello["cores"]]
    if absent:
        raise Stop("the job names the cores %s; here are %s" % (absent, hello["cores"]))
    cores = sorted(named or hello["clusters"][0])
    if threads > len(cores):
        raise Stop("the job needs %d cores; here are %s" % (threads, cores))
    return cores


def short_provider(provider: str) -> str:
    """Return a provider's short name: `cuda` of `CUDAExecutionProvider`."""
    name, plus, also = provider.lower().partition("+")
    end = "executionprovider"
    return (name[: -len(end)] if name.endswith(end) else name) + plus + also


def throttles(conditions: Answer, limits: dict[str, Any]) -> bool:
    """Tell whether conditions, or a sample of them, show that the device holds itself back."""
    gpus = conditions.get("gpus", [{"reasons": conditions.get("gpu_reasons", 0)}])
    reasons = any(gpu.get("reasons", 0) & limits["nvidia_mask"] for gpu in gpus)
    return bool(
        conditions.get("thermal_status", 0) > 0
        or conditions.get("throttled", 0) & limits["pi_mask"]
        or conditions.get("undervoltage", 0)
        or reasons
    )


def temperatures_c(conditions: Answer) -> dict[str, float]:
    """Return the temperatures in conditions by sensor."""
    found = dict(conditions.get("temps_c", {}))
    for gpu in conditions.get("gpus", []):
        if "temp_c" in gpu:
            found["GPU %s" % gpu.get("index", 0)] = gpu["temp_c"]
    return found


def job_digest(job: dict[str, Any]) -> str:
    """Return the sha256 of what is asked of a worker, but for the cores, which the device chose."""
    asked = {key: value for key, value in job.items() if key != "cores"}
    return hashlib.sha256(
        json.dumps(asked, sort_keys=True, separators=(",", ":")).encode("utf-8")
    ).hexdigest()


def now_utc() -> str:
    """Return the device's time in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the entries of a journal."""
    with path.open("rb") as file:
        for line in file:
            yield json.loads(line.decode("utf-8"))


def cut_torn_line(path: Path) -> None:
    """Remove a last line that was not written to its end, as where the power failed."""
    size_bytes = path.stat().st_size
    with path.open("rb") as file:
        begin = file.seek(max(0, size_bytes - LINE_LIMIT_BYTES))
        whole = begin + file.read().rfind(b"\n") + 1
    if whole < size_bytes:
        os.truncate(str(path), whole)


def file_digest(path: Path) -> str:
    """Return the sha256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is there whole or not at all. Raises: OSError."""
    partial = path.with_name("%s.%d.partial" % (path.name, os.getpid()))
    partial.write_bytes(data)
    partial.replace(path)


def end(number: int, frame: FrameType | None) -> None:
    """Leave the present work, as on Ctrl-C."""
    raise Ended()


def main(arguments: list[str] | None = None) -> int:
    """Measure what is left of the job, and write the results so far; return the exit status."""
    hold_standard_streams()
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
        driver = Driver(archive, folder / ("%s-work" % path.stem), say)
        say("job %s for device %s" % (driver.job["job"], driver.job["device"]))
        status, trouble = 0, ""
        try:
            driver.open()
        except Ended:
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
        except Ended:
            status, trouble = 130, "stopped; the same command goes on from here"
        except (Stop, Lost, OSError) as error:
            status, trouble = 3, str(error)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        return finish(driver, results, status, trouble)


def finish(driver: Driver, results: Path, status: int, trouble: str) -> int:
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
    say("%d sessions in %s; at home: harness import %s" % (count, results, results.name))
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
