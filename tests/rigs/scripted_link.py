"""A device made of a script, for what no real device does on demand: throttling, heat, busy cores, links that break in time.

It answers as the agent does, event by event, so everything from the gate to the store is the product's own.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import pytest
from factories.records import graph_hash
from factories.sent_models import assembly_of, made_model

from harness.devices.config import LocalDevice, Precision
from harness.devices.link import OnConnecting
from harness.errors import Cancelled
from harness.measurement import campaign
from harness.measurement.campaign import Outcome
from harness.measurement.plan import Level, Options, SessionPlan
from harness.measurement.session_runner import Circumstances
from harness.measurement.workload import Model
from harness.store import Store
from rigs.watcher import Watcher
from space.assembly import Assembly

COOL: dict[str, Any] = {"cpu_model": "Made Up CPU", "temps_c": {"cpu": 40.0}}
HOT: dict[str, Any] = COOL | {"temps_c": {"cpu": 60.0}}
WEIGHED: dict[str, Any] = {
    "empty_bytes": 30_000_000,
    "peak_bytes": 42_000_000,
    "model_bytes": 2_000_000,
    "is_reset": True,
    "load_ns": 20_000_000,
    "first_run_ns": 3_000_000,
    "conditions_before": COOL,
}
SLICE_NS = 60_000_000
PLAN = SessionPlan(min_slices=8, settled_runs=8)
CALIBRATIONS = 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """What measuring one network is like; `before` is called when its first event is due.

    `refusal`: what the runtime says of it. `error`: what ends the whole job then. `is_contended`: every run waits, and the job
    ends after it, as the agent ends it. `after`: the conditions after the job that ends with it, the usual ones by default.
    `measured`: told last instead.
    """

    ratio: float = 2.0
    reference_ns: int = 10_000_000
    is_throttled: bool = False
    is_contended: bool = False
    after: Mapping[str, Any] | None = None
    refusal: str = ""
    error: Exception | None = None
    before: Callable[[], None] = lambda: None
    measured: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Load:
    """What a device under load is like, by functions of the seconds since it began.

    `network_ms` and `reference_ms` of a run, `temp_c`, `is_throttled`, `waits`: the share of a run that it waits; `watts`
    what the device takes, by what runs. `before`: called before each second. `error`: what ends the job at `error_s`. `outputs`:
    what the worker tells of them, by the event's fields. `after`: the conditions at its end.
    """

    network_ms: Callable[[float], float] = lambda at_s: 4.0
    reference_ms: Callable[[float], float] = lambda at_s: 8.0
    temp_c: Callable[[float], float] = lambda at_s: 50.0
    is_throttled: Callable[[float], bool] = lambda at_s: False
    waits: Callable[[float], float] = lambda at_s: 0.0
    watts: Mapping[str, float] = field(
        default_factory=lambda: {"idle": 2.0, "network": 8.0, "reference": 9.0}
    )
    before: Callable[[float], None] = lambda at_s: None
    error: Exception | None = None
    error_s: float = float("inf")
    runtime: Mapping[str, Any] = field(default_factory=dict)
    outputs: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=lambda: COOL)


class StubEvent(threading.Event):
    """A cancel whose waits are noted and take no time but that of a clock of its own; `on_wait` may set it."""

    def __init__(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        super().__init__()
        self._on_wait = on_wait
        self.waits_s: list[float] = []

    def clock_s(self) -> float:
        """Return for how long was waited so far."""
        return sum(self.waits_s)

    def wait(self, timeout: float | None = None) -> bool:
        """Do not wait."""
        assert timeout is not None
        self.waits_s.append(timeout)
        self._on_wait(timeout)
        return self.is_set()


class ScriptedLink:
    """A link and the client at its end; its device's clock moves as the runs say.

    `runs`: of networks, one after another, whichever job they are in; `quiets`: what the cores wait, as answers of the agent or
    as shares. A `probes`, `quiets` or `runs` that is used up goes on with its last. `grants`: what `permissions` answers.
    """

    def __init__(
        self,
        runs: Sequence[Run] = (),
        probes: Sequence[Mapping[str, Any] | Exception] = (),
        *,
        quiets: Sequence[float | Mapping[str, Any] | Exception] = (),
        grants: Sequence[Mapping[str, Any]] = (),
        provider: str = "CPUExecutionProvider",
    ) -> None:
        self._runs, self._probes, self._quiets = (
            list(runs) or [Run()],
            list(probes) or [COOL],
            list(quiets) or [0.0],
        )
        self._grants = list(grants)
        self.hello: dict[str, Any] = {
            "platform": {"machine": "made-up"},
            "cores": [0, 1],
            "runtimes": [self._runtime("onnxruntime", provider)],
        }
        self._provider = provider
        self.agent_digest, self.sent_bytes = "a" * 64, 0
        self.phone: Any = None
        self.conditions: Mapping[str, Any] = COOL  # before each worker
        self.ran: list[str] = []  # the networks' skeletons, in the order run
        self.jobs: list[dict[str, Any]] = []
        self.asked_quiet: list[tuple[tuple[int, ...], int, str]] = []  # cores, threads, request
        self.probed = self.reopened = self.evicted = self.asked_permissions = 0
        self.forgotten = 0
        self.clock_s = 0.0
        self.run_error: Exception | None = None  # what ends a job after all was told
        self.is_mute = False  # jobs end well and tell nothing
        self.order: list[int] | None = None  # the numbers that the next job's networks are given
        self.evict_errors: list[Exception] = []
        self.send_errors: list[Exception] = []
        self.on_reopen: Callable[[], None] = lambda: None
        self.weights: list[Mapping[str, Any] | Exception] = [{}]
        self.weighed: list[dict[str, Any]] = []
        self.loads: list[Load] = [Load()]
        self.sensor: Mapping[str, Any] = {"reasons": ["RAPL: none here", "battery: none either"]}
        self.block_jobs: list[dict[str, Any]] = []
        self.client: Any = self

    @staticmethod
    def _runtime(name: str, provider: str = "CPUExecutionProvider") -> dict[str, Any]:
        return {
            "name": name,
            "package": name,
            "version": "2.0",
            "formats": ["onnx"],
            "providers": [provider],
        }

    def open(self, **_: Any) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        """Count, and do what the script says."""
        self.reopened += 1
        self.on_reopen()
        if cancel.is_set():
            raise Cancelled()

    def probe(self) -> dict[str, Any]:
        """Return the next conditions of the script."""
        self.probed += 1
        answer = self._probes.pop(0) if len(self._probes) > 1 else self._probes[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def send_models(
        self, models: Sequence[Assembly], on_progress: Callable[[int, int], None] = lambda done, total: None
    ) -> int:
        """Send nothing."""
        if self.send_errors:
            raise self.send_errors.pop(0)
        return 0

    def forget_parts(self) -> None:
        """Count."""
        self.forgotten += 1

    def evict(self, max_bytes: int) -> dict[str, Any]:
        """Count, or fail as the script says."""
        self.evicted += 1
        if self.evict_errors:
            raise self.evict_errors.pop(0)
        return {}

    def permissions(self, owner: str, cores: Sequence[int], threads: int) -> dict[str, Any]:
        """Return the script's grants."""
        self.asked_permissions += 1
        return {"grants": list(self._grants), "waited": {}, "siblings": {}, "withheld": []}

    def quiet(self, cores: Sequence[int], threads: int, request: str) -> dict[str, Any]:
        """Return the next answer of the script; of a share alone, the last of the cores, that wait so."""
        self.asked_quiet.append((tuple(cores), threads, request))
        answer = self._quiets.pop(0) if len(self._quiets) > 1 else self._quiets[0]
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, Mapping):
            return dict(answer)
        chosen = list(cores)[-threads:]
        return {"cores": chosen, "waited": dict.fromkeys(map(str, chosen), answer)}

    def run(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Hand on the events of the script's next runs, one a network."""
        self.jobs.append(job)
        on_event({"event": "conditions", "conditions": dict(self.conditions)})
        on_event({"event": "started", "pid": 7})
        measured = 0
        run = Run()
        order, self.order = self.order or range(len(job["networks"])), None
        for number, network in [] if self.is_mute else zip(order, job["networks"], strict=False):
            run = self._runs.pop(0) if len(self._runs) > 1 else self._runs[0]
            self.ran.append(network["parts"][0])
            run.before()
            if run.error is not None:
                raise run.error
            if run.refusal:
                failure = {"type": "error", "kind": "worker-error", "message": run.refusal}
                on_event({"event": "refused", "network": number, "failure": failure})
                continue
            on_event({"event": "loaded", "which": "reference", "load_ns": 1, "first_run_ns": 1})
            for event in self._events(run, job, number):
                on_event(event)
            measured += 1
            if run.is_contended:
                break
        if self.run_error is not None:
            raise self.run_error
        return {
            "measured": measured,
            "cores": job["cores"],
            "conditions_after": dict(self.conditions if run.after is None else run.after),
        }

    def weigh(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return the next of `weights`, an answer of the agent's or what is raised."""
        self.weighed.append(job)
        said = self.weights.pop(0) if len(self.weights) > 1 else self.weights[0]
        if isinstance(said, Exception):
            raise said
        runtime = self._runtime(job["runtime"]) | {"provider": self._provider}
        return {"runtime": runtime, "threads": job["threads"], "cores": job["cores"]} | WEIGHED | dict(said)

    def run_blocks(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Hand on the events of the script's next load, second by second."""
        self.block_jobs.append(job)
        load = self.loads.pop(0) if len(self.loads) > 1 else self.loads[0]
        on_event({"event": "conditions", "conditions": dict(self.conditions)})
        for which in ("reference", "network"):
            on_event({"event": "loaded", "which": which, "load_ns": 5, "first_run_ns": 6})
        runtime = self._runtime(job["runtime"]) | {"provider": self._provider} | dict(load.runtime)
        began = {"event": "began", "runtime": runtime, "cores": job["cores"], "delay_source": "schedstat"}
        on_event(began | dict(load.outputs))
        at_s, joules = 1.0, 0.0
        for index, (which, seconds) in enumerate(job["blocks"]):
            at_s, joules = at_s + job["settle_s"], joules + job["settle_s"] * load.watts[which]
            start_s, end_s = at_s, at_s + seconds
            while at_s < end_s - 1e-6:
                load.before(at_s)
                if load.error is not None and at_s >= load.error_s:
                    raise load.error
                length_s = min(1.0, end_s - at_s)
                if which != "idle":
                    on_event(self._timed(load, which, index, at_s, length_s, job["timed_runs"] / seconds))
                sample = {"temps_c": {"cpu": load.temp_c(at_s), "case": 30.0}, "freq_khz": {"1": 2_000_000}}
                on_event(
                    {
                        "event": "sample",
                        "at_ns": round(at_s * 1e9),
                        "throttled": 4 * load.is_throttled(at_s),
                        **sample,
                    }
                )
                for _ in range(5 if "energy_of" in job else 0):
                    joules += load.watts[which] * length_s / 5
                    reading = {"uj": {"package-0": round(joules * 1e6) % (1 << 28)}, "uw": {}}
                    on_event({"event": "energy", "at_ns": round((at_s + length_s / 5) * 1e9), **reading})
                    at_s += length_s / 5
                at_s += 0.0 if "energy_of" in job else length_s
            block = {"which": which, "start_ns": round(start_s * 1e9), "end_ns": round(end_s * 1e9)}
            runs = 0 if which == "idle" else round(seconds * 1000)
            on_event({"event": "block", "index": index, "runs": runs, **block})
        self.clock_s += at_s
        return {"blocks": len(job["blocks"]), "conditions_after": dict(load.after)}

    def energy_sensor(self, provider: str) -> dict[str, Any]:
        """Return `sensor`."""
        return dict(self.sensor)

    @staticmethod
    def _timed(
        load: Load, which: str, index: int, at_s: float, length_s: float, a_second: float
    ) -> dict[str, Any]:
        """Return the timed runs of a second, or a part of one."""
        times_s = [at_s + number / a_second for number in range(max(1, round(length_s * a_second)))]
        run_ms = load.network_ms if which == "network" else load.reference_ms
        runs_ns = [round(run_ms(one) * 1e6) for one in times_s]
        return {
            "event": "runs",
            "index": index,
            "at_ns": [round(one * 1e9) for one in times_s],
            "runs_ns": runs_ns,
            "delays_ns": [round(load.waits(one) * run) for one, run in zip(times_s, runs_ns, strict=True)],
        }

    def _events(self, run: Run, job: Mapping[str, Any], number: int) -> list[dict[str, Any]]:
        """Return what is told of a network that is measured."""
        network_ns, reference_ns = round(run.ratio * run.reference_ns), run.reference_ns
        count = job["plan"]["min_slices"]
        at_ns = SLICE_NS + round(self.clock_s * 1e9)
        warm = {"network_ns": [1], "reference_ns": [1], "network_loops": 1, "reference_loops": 1}
        events: list[dict[str, Any]] = [
            {"event": "loaded", "which": "network", "load_ns": 1, "first_run_ns": 1},
            {"event": "warm", **warm},
            {"event": "sample", "at_ns": at_ns, "throttled": 4 if run.is_throttled else 0},
        ]
        for index in range(count):
            slice_: dict[str, Any] = {
                "event": "slice",
                "index": index,
                "at_ns": at_ns,
                "reference_before_ns": [reference_ns + index % 2],
                "after_switch_ns": network_ns,
                "network_ns": [network_ns + index % 3],
                "reference_after_ns": [reference_ns],
                "delays_ns": [reference_ns // 2 if run.is_contended else 0] * 4,
                "gaps_ns": [0] * 4,
            }
            events.append(slice_)
            at_ns += sum(slice_["reference_before_ns"] + slice_["network_ns"]) + network_ns + reference_ns
        alone = job["plan"].get("settled_runs", 0)
        if alone and not run.is_contended:
            waits = {"delays_ns": [0] * alone, "gaps_ns": [0] * alone}
            events.append({"event": "settled", "at_ns": at_ns, "network_ns": [network_ns] * alone} | waits)
            at_ns += alone * network_ns
        loop_s = at_ns / 1e9 - self.clock_s
        self.clock_s += loop_s + 1.0
        measured = {
            "event": "measured",
            "slices": count,
            "stop": "contended" if run.is_contended else "precision",
            "loop_s": loop_s,
            "elapsed_s": loop_s + 1.0,
            "output": [0.5],
            "cores": job["cores"],
            "runtime": self._runtime(job["runtime"]) | {"provider": self._provider},
            "delay_source": "schedstat",
            "baseline_ns": {"network": 0, "reference": 0},
        }
        events.append(measured | dict(run.measured))
        of_network = ("loaded", "warm", "slice", "settled", "measured")
        return [event | {"network": number} if event["event"] in of_network else event for event in events]


class ScriptedSource:
    """Made-up models; number 0 is the reference. `segments` of them are segments. `expected`: the right output of each."""

    def __init__(
        self,
        networks: Iterable[int] = (1,),
        segments: Iterable[int] = (),
        *,
        expected: Callable[[], Sequence[float]] | None = None,
    ) -> None:
        self._expected, self._batch = expected, 1
        self._numbers = [*((n, "network") for n in networks), *((n, "segment") for n in segments)]

    def at_batch(self, batch: int) -> ScriptedSource:
        """Return the same models for runs of some images."""
        found = copy(self)
        found._batch = batch
        return found

    def models(self, model_format: str, precision: str) -> Sequence[Model]:
        """Return the networks and segments."""
        return [self._model(number, purpose, precision) for number, purpose in self._numbers]

    def reference(self, model_format: str, precision: str) -> Model:
        """Return the reference."""
        return self._model(0, "network", precision)

    def _model(self, number: int, purpose: str, precision: str) -> Model:
        assembly = assembly_of(b"%d" % number, digest=f"{number:064x}", batch=self._batch)
        return made_model(
            f"{purpose} {number}",
            lambda: assembly,
            graph_hash=graph_hash(number),
            precision=precision,
            purpose=purpose,
            batch=self._batch,
            expected=self._expected,
        )


def run_scripted(
    link: ScriptedLink,
    store: Store,
    source: ScriptedSource | None = None,
    *,
    cancel: StubEvent | None = None,
    observer: Watcher | None = None,
    seed: int = 0,
    at_once: int = 1,
    has_shared: bool = False,
    precision: Precision = "fp32",
    **options: Any,
) -> Outcome:
    """Run a whole campaign over a scripted link, one session a network and one network a worker unless told otherwise."""
    level = Level(name="made-up", sessions=1, plan=PLAN, at_once=at_once, shared=PLAN if has_shared else None)
    waits = cancel = cancel or StubEvent()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign, "Connection", lambda *_, **__: link)
        patch.setitem(
            Circumstances.__init__.__kwdefaults__, "clock_s", lambda: waits.clock_s() + link.clock_s
        )
        patch.setattr(campaign, "CALIBRATION", Level(name="made-up", sessions=CALIBRATIONS, plan=PLAN))
        return campaign.run_campaign(
            LocalDevice(name="made-up", precision=precision),
            source or ScriptedSource(),
            Options(level=level, **options),
            store,
            observer or Watcher(),
            rng=random.Random(seed),
            cancel=cancel,
            connect=lambda _: None,  # type: ignore[arg-type, return-value]
        )
