"""A device made of a script, for what no real device does on demand: throttling, heat, links that break at a chosen moment.

It answers as the agent does, event by event, so everything from the gate to the store is the product's own.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from made_records import graph_hash

from harness import campaign
from harness.campaign import Options, Outcome
from harness.devices import LocalDevice
from harness.levels import Level, Plan
from harness.models import Assembly, Model
from harness.store import Store

COOL: dict[str, Any] = {"cpu_model": "Made Up CPU", "temps_c": {"cpu": 40.0}}
HOT: dict[str, Any] = COOL | {"temps_c": {"cpu": 60.0}}
SLICE_NS = 60_000_000
PLAN = Plan(min_slices=8)
CALIBRATIONS = 3


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run of a job is like; `before` is called when its first event is due."""

    ratio: float = 2.0
    reference_ns: int = 10_000_000
    is_throttled: bool = False
    after: Mapping[str, Any] = field(default_factory=lambda: COOL)
    error: Exception | None = None
    before: Callable[[], None] = lambda: None


class StubEvent(threading.Event):
    """A cancel whose waits are noted and take no time; `on_wait` may set it."""

    def __init__(self, on_wait: Callable[[float], None] = lambda _: None) -> None:
        super().__init__()
        self._on_wait = on_wait
        self.waits_s: list[float] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Do not wait."""
        assert timeout is not None
        self.waits_s.append(timeout)
        self._on_wait(timeout)
        return self.is_set()


class ScriptedLink:
    """A link and the client at its end. A `probes` or `runs` that is used up goes on with its last."""

    def __init__(
        self,
        runs: Sequence[Run] = (),
        probes: Sequence[Mapping[str, Any] | Exception] = (),
        *,
        provider: str = "CPUExecutionProvider",
    ) -> None:
        self._runs, self._probes = list(runs) or [Run()], list(probes) or [COOL]
        self.hello: dict[str, Any] = {
            "platform": {"machine": "made-up"},
            "cores": [0, 1],
            "runtimes": [self._runtime("onnxruntime", provider)],
        }
        self._provider = provider
        self.agent_digest, self.sent_bytes = "a" * 64, 0
        self.ran: list[str] = []  # the networks' skeletons, in the order run
        self.probed = self.reopened = self.evicted = 0
        self.evict_errors: list[Exception] = []
        self.send_errors: list[Exception] = []
        self.on_reopen: Callable[[], None] = lambda: None
        self.client: Any = self

    @staticmethod
    def _runtime(name: str, provider: str = "CPUExecutionProvider") -> dict[str, Any]:
        return {
            "name": name,
            "package": name,
            "version": "1.0",
            "formats": ["onnx"],
            "providers": [provider],
        }

    def open(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def reopen(self, say: Callable[[str], None], cancel: threading.Event) -> None:
        """Count, and do what the script says."""
        self.reopened += 1
        self.on_reopen()

    def probe(self) -> dict[str, Any]:
        """Return the next conditions of the script."""
        self.probed += 1
        answer = self._probes.pop(0) if len(self._probes) > 1 else self._probes[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    def send_models(self, models: Sequence[Assembly]) -> int:
        """Send nothing."""
        if self.send_errors:
            raise self.send_errors.pop(0)
        return 0

    def forget_parts(self) -> None:
        """Do nothing."""

    def evict(self, max_bytes: int) -> dict[str, Any]:
        """Count, or fail as the script says."""
        self.evicted += 1
        if self.evict_errors:
            raise self.evict_errors.pop(0)
        return {}

    def run(self, job: dict[str, Any], on_event: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Hand on the events of the script's next run."""
        run = self._runs.pop(0) if len(self._runs) > 1 else self._runs[0]
        self.ran.append(job["network"]["parts"][0])
        run.before()
        if run.error is not None:
            raise run.error
        for event in _events(run, job["plan"]["min_slices"]):
            on_event(event)
        return {
            "slices": job["plan"]["min_slices"],
            "stop": "precision",
            "loop_s": 1.0,
            "elapsed_s": 2.0,
            "conditions_before": COOL,
            "conditions_after": dict(run.after),
            "output": [0.5],
            "cores": job["cores"],
            "runtime": self._runtime(job["runtime"]) | {"provider": self._provider},
        }


def _events(run: Run, slices: int) -> list[dict[str, Any]]:
    network_ns, reference_ns = round(run.ratio * run.reference_ns), run.reference_ns
    events: list[dict[str, Any]] = [
        {"event": "loaded", "which": "reference", "load_ns": 1, "first_run_ns": 1},
        {"event": "loaded", "which": "network", "load_ns": 1, "first_run_ns": 1},
        {"event": "warm", "network_ns": [1], "reference_ns": [1], "network_loops": 1, "reference_loops": 1},
        {"event": "sample", "at_ns": SLICE_NS, "throttled": 4 if run.is_throttled else 0},
    ]
    for index in range(slices):
        events.append(
            {
                "event": "slice",
                "index": index,
                "at_ns": (index + 1) * SLICE_NS,
                "reference_before_ns": [reference_ns + index % 2],
                "after_switch_ns": network_ns,
                "network_ns": [network_ns + index % 3],
                "reference_after_ns": [reference_ns],
            }
        )
    return events


class ScriptedSource:
    """Made-up models; number 0 is the reference. `segments` of them are segments."""

    def __init__(self, networks: Sequence[int] = (1,), segments: Sequence[int] = ()) -> None:
        self._numbers = [*((n, "network") for n in networks), *((n, "segment") for n in segments)]

    def models(self, model_format: str) -> Sequence[Model]:
        """Return the networks and segments."""
        return [self._model(number, purpose) for number, purpose in self._numbers]

    def reference(self, model_format: str) -> Model:
        """Return the reference."""
        return self._model(0, "network")

    @staticmethod
    def _model(number: int, purpose: str) -> Model:
        assembly = Assembly(
            format="onnx",
            alignment=1,
            skeleton=b"%d" % number,
            parts=(),
            dictionary=None,
            digest=f"{number:064x}",
            read_part=lambda digest: b"",
        )
        return Model(
            architecture=f"{purpose} {number}",
            graph_hash=graph_hash(number),
            format="onnx",
            precision="fp32",
            space="made-up",
            weights="none",
            purpose=purpose,
            assemble=lambda: assembly,
        )


class Silent:
    """An observer that keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def state(self, device: str, text: str) -> None:
        """Keep it."""
        self.said.append(text)

    def begin(self, device: str, units: int) -> None:
        """Do nothing."""

    def advance(self, device: str, text: str) -> None:
        """Do nothing."""


def run_scripted(
    link: ScriptedLink,
    store: Store,
    source: ScriptedSource | None = None,
    *,
    cancel: threading.Event | None = None,
    observer: Silent | None = None,
    seed: int = 0,
    **options: Any,
) -> Outcome:
    """Run a whole campaign over a scripted link, one session a network unless told otherwise."""
    level = Level(name="made-up", sessions=1, plan=PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(campaign, "Link", lambda *_, **__: link)
        patch.setattr(campaign, "CALIBRATION", Level(name="made-up", sessions=CALIBRATIONS, plan=PLAN))
        return campaign.run_campaign(
            LocalDevice(name="made-up"),
            source or ScriptedSource(),
            Options(level=level, **options),
            store,
            observer or Silent(),
            rng=random.Random(seed),
            cancel=cancel or StubEvent(),
            connect=lambda _: None,  # type: ignore[arg-type, return-value]
        )
