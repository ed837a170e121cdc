"""Verdict on a store after campaigns of made-up models: each session that was asked for, once, with the times that were due."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from factories.records import graph_hash
from factories.sent_models import assembly_of, made_model

from harness.measurement.workload import Model
from harness.records import SessionRecord
from harness.store import Store
from harness.store.maintenance import check_store
from rigs.made_up_runtime import REFERENCE, output_of, run_ns
from space.assembly import Assembly

SESSIONS_EACH = 2
NETWORKS_A_WINDOW = 2  # that are asked for together, and share a part of their own
COMMON_BYTES, WINDOW_BYTES = 200_000, 1_000_000


@dataclass(frozen=True)
class MadeUpModels:
    """Networks 1 to `count` of random bytes; number 0 is the reference."""

    seed: int
    count: int

    def models(self, model_format: str, precision: str) -> Sequence[Model]:
        """Return the networks."""
        return [self.model(number) for number in range(1, self.count + 1)]

    def reference(self, model_format: str, precision: str) -> Model:
        """Return the reference."""
        return self.model(0)

    def model(self, number: int) -> Model:
        """Return one of them."""
        name = f"network {number}" if number else "reference"
        return made_model(name, lambda: assembly(self.seed, number), graph_hash=graph_hash(number))


@lru_cache(8)
def _bytes(seed: int, name: str, size: int) -> bytes:
    return random.Random(f"{seed} {name}").randbytes(size)


@lru_cache(8)
def assembly(seed: int, number: int) -> Assembly:
    """Return a model: its skeleton, a part that all share, and one that those of its window share."""
    parts = [_bytes(seed, "common", COMMON_BYTES)]
    if number:
        parts.append(_bytes(seed, f"window {(number - 1) // NETWORKS_A_WINDOW}", WINDOW_BYTES))
    head = f"network {number} ".encode() if number else REFERENCE
    skeleton = head + _bytes(seed, "common", COMMON_BYTES)[-8000:] + _bytes(seed, f"skeleton {number}", 500)
    return assembly_of(skeleton, *parts, dictionary=parts[0])


@dataclass(slots=True)
class Verdict:
    """What is wrong with a store or a device, as sentences; empty where nothing is."""

    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    sessions: int = 0
    failures: int = 0

    def judge(self, store: Store, models: MadeUpModels, acknowledged: Iterable[str]) -> None:
        """Judge a store by what was asked for and what a campaign was told to be stored: ids, and marks of failures."""
        sessions = _sessions(store)
        failures = [failure_mark(failure) for failure in store.failures()]
        self.sessions, self.failures = len(sessions), len(failures)
        self._count(sessions, models)
        for session in sessions:
            if reason := times_fault(session, models):
                self.wrong.append(f"session {session.session_id} of {session.architecture}: {reason}")
        there = {session.session_id for session in sessions} | set(failures)
        self.lost += [f"{mark} was reported as stored" for mark in acknowledged if mark not in there]
        numbers = Counter(session.output[0] for session in sessions)
        self.doubled += [
            f"session number {number:.0f} of the device" for number, n in numbers.items() if n > 1
        ]
        self.doubled += [f"failure {mark}" for mark, count in Counter(failures).items() if count > 1]
        report = check_store(store)
        self.wrong += [f"{one.table} {one.id}: {one.problem}" for one in report.troubles]
        self.wrong += [f"{what}: {why}" for what, why in store.unreadable.items()]
        if report.waiting:
            self.lost.append(f"{report.waiting} sessions still wait for the store")

    def _count(self, sessions: Sequence[SessionRecord], models: MadeUpModels) -> None:
        counts = Counter(s.graph_hash for s in sessions if s.purpose == "network")
        for model in models.models("onnx", "fp32"):
            count = counts.pop(model.graph_hash, 0)
            too = self.lost if count < SESSIONS_EACH else self.doubled
            if count != SESSIONS_EACH:
                too.append(f"{model.architecture}: {count} sessions, {SESSIONS_EACH} were asked for")
        self.wrong += [f"{count} sessions of {key}, which nobody asked for" for key, count in counts.items()]

    def judge_device(self, root: Path) -> None:
        """Judge what a device keeps: whole parts under their digests, and nothing half-written."""
        for path in (root / "parts").rglob("*"):
            if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
                self.wrong.append(f"{path.relative_to(root)} on the device is not what its name says")
        self.wrong += [f"{path.name} is left on the device" for path in root.glob("agent-*.pyz.*")]


def _sessions(store: Store) -> list[SessionRecord]:
    purposes = ("network", "calibration", "throttled", "contended")
    configurations = store.configurations()
    return [s for c in configurations for p in purposes for s in store.sessions(c, purpose=p)]


def failure_mark(failure: Any) -> str:
    """Return what tells a failure from others."""
    return f"failure {failure.kind} of {failure.graph_hash} at {failure.time_utc}"


def times_fault(session: SessionRecord, models: MadeUpModels) -> str:
    """Return what is wrong with a session's model or raw times; empty where all is as the device says."""
    number = int(session.graph_hash, 16)
    model, reference = assembly(models.seed, number), assembly(models.seed, 0)
    if session.architecture != models.model(number).architecture or session.model_digest != model.digest:
        return "it is of another model than its key"
    seed = int(session.output[0])
    if list(session.output) != output_of(model.digest, seed):
        return "the device ran another model"
    told = [session.first_run_ns, *session.warmup_network_ns]
    told += [ns for piece in session.slices for ns in (piece.after_switch_ns, *piece.network_ns)]
    if told != [run_ns(model.digest, seed if number else 0, k) for k in range(len(told))]:
        return "its times are not those of the device"
    told = [session.reference_first_run_ns, *session.warmup_reference_ns]
    skipped = session.plan["reference_runs"]  # before the first slice
    fault = "the reference's times are not those of the device"
    if told != [run_ns(reference.digest, 0, k) for k in range(len(told))]:
        return fault
    count, paces = len(told) + skipped, 0
    for piece in session.slices:
        runs = [*piece.reference_before_ns, *piece.reference_after_ns]
        for extra in (0, 1):  # beside each pace the reference runs once more, unrecorded
            if runs == [run_ns(reference.digest, 0, count + extra + k) for k in range(len(runs))]:
                break
        else:
            return fault
        count, paces = count + extra + len(runs), paces + extra
    return "" if paces == len(session.scheduling.get("pace_ns") or ()) else fault
