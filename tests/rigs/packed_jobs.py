"""Packed jobs of two small ONNX models, run as on a device: the program out of the zip file, in a process of its own."""

from __future__ import annotations

import functools
import hashlib
import hmac
import io
import json
import os
import random
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest
from factories.agent_models import CHANNELS, IMAGE, onnx_parts
from factories.sent_models import assembly_of, made_model

from device_agents import core_gate
from harness.devices.client import AgentClient
from harness.devices.config import Device
from harness.measurement import packed
from harness.measurement.campaign import Outcome
from harness.measurement.packed import import_campaign, pack_campaign
from harness.measurement.plan import Options
from harness.measurement.workload import FileSource, Model, ModelSource
from harness.store import Store
from rigs.short_campaigns import ONNX, any_core
from rigs.watcher import Watcher

NAMES = ("first", "second", "third")
DEVICE = Device(name="board", transport="packed")
UNTRIED = """
def verify(*_): return []
from device_agents.core_probe import Probe
def probe_each(cores, *_): return dict.fromkeys(cores, Probe(0.0))
def probe_cores(cores, *_): return dict.fromkeys(cores, 0.0)
"""
Change = Callable[[list[dict[str, Any]]], list[dict[str, Any]]]  # of a record's lines


@dataclass(frozen=True)
class SmallModels:
    """Source of some models, each beside the smallest; in TFLite they are the model of `rigs.other_pythons`."""

    count: int = 2
    wrong: tuple[float, ...] | None = None  # outputs that are expected
    batch: int = 1

    def at_batch(self, batch: int) -> SmallModels:
        return replace(self, batch=batch)

    def models(self, model_format: str, precision: str) -> Sequence[Model]:
        names = NAMES[: self.count]
        return [self.model(name, 4 + 2 * place, model_format) for place, name in enumerate(names)]

    def reference(self, model_format: str, precision: str) -> Model:
        return self.model("reference", 3, model_format)

    def model(self, name: str, width: int, model_format: str = "onnx") -> Model:
        skeleton, *weights = onnx_parts(width, images=self.batch) if model_format == "onnx" else [b"part"]
        more: dict[str, Any] = (
            {"shapes": {"image": (self.batch, CHANNELS, IMAGE, IMAGE)}} if self.batch > 1 else {}
        )
        wrong = self.wrong
        return made_model(
            name,
            lambda: assembly_of(skeleton, *weights, format=model_format, batch=self.batch, **more),
            format=model_format,
            batch=self.batch,
            expected=None if wrong is None else lambda: wrong,
        )


def pack(
    store: Store,
    path: Path,
    options: Options = ONNX,
    *,
    redos: int = 0,
    device: Device = DEVICE,
    source: ModelSource | FileSource | None = None,
    tries_cores: bool = False,
    **models: Any,
) -> str:
    """Write a job of some models and return its id; however busy this machine is, its cores count as free.

    How cores can be asked for is not tried out unless `tries_cores` says so: it takes as much of the processor as all else.
    models: what `SmallModels` takes, unless there is a `source`. Nothing is measured again, unless `redos` says how often; then
    everything is.
    """
    job = pack_campaign(
        device,
        source or SmallModels(**models),
        options,
        store,
        rng=random.Random(0),
        log=lambda text: None,
    )
    path.write_bytes(job.data)
    with_code(path, "core_gate", "FREE_SHARE = HOPELESS_SHARE = 1.0")
    with_code(path, "attempts", f"REDOS = {redos}")
    with_code(path, "contention", "STEAL_SHARE = -1.0")
    if not tries_cores:
        with_agent_code(path, "agent", UNTRIED)
    return job.job_id


def with_sensor(path: Path, plan: Mapping[str, float]) -> None:
    """Have a job's agent find a sensor of energy, of 20 mW, and its driver plan blocks by other constants."""
    with_code(path, "block_plans", "\n".join(f"{name} = {value}" for name, value in plan.items()))
    meter = 'Meter("rapl", "made up", {"package": lambda: perf_counter_ns() // 50_000}, {}, {})'
    with_agent_code(path, "energy", f"def find_meter(*_): return {meter}, []")


def with_code(path: Path, module: str, code: str) -> None:
    """Append code to a module of a job's driver."""
    files = contents(path)
    _append(files, module, code)
    write_zip(path, files)


def with_agent_code(path: Path, module: str, code: str) -> None:
    """Append code to a module of a job's agent."""
    files = contents(path)
    agent = contents(io.BytesIO(files["agent.pyz"]))
    _append(agent, module, code)
    files["agent.pyz"] = write_zip(path.with_name("agent.pyz"), agent).read_bytes()
    write_zip(path, files)


def _append(files: dict[str, bytes], module: str, code: str) -> None:
    files[f"device_agents/{module}.py"] += f"\n{code}\n".encode()
    files.pop(f"device_agents/{module}.pyc", None)  # of rigs.compiled_agent


def start(path: Path, python: str = "", packages: str = "") -> subprocess.Popen[str]:
    """Start a job, with the system's Python where this one's packages are for it, too; it says what it does."""
    if not python:
        python, packages = system_python(), sysconfig.get_path("purelib")
    return subprocess.Popen(
        [python, path.name],
        cwd=path.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONPATH": packages},
    )


@contextmanager
def started(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a job, and end it with what it is started for."""
    with start(path) as process:
        try:
            yield process
        finally:
            process.kill()


@functools.cache
def system_python() -> str:
    """Return the system's Python if it is of this one's version, else this one."""
    python = shutil.which("python3", path="/usr/local/bin:/usr/bin:/bin") or sys.executable
    version = subprocess.run([python, "--version"], capture_output=True, text=True, check=True).stdout
    own = f"Python {sys.version_info.major}.{sys.version_info.minor}."
    return python if version.startswith(own) else sys.executable


def run(path: Path, python: str = "", packages: str = "") -> tuple[int, str]:
    """Run a job; return its status and what it said."""
    process = start(path, python, packages)
    said, _ = process.communicate(timeout=120)
    return process.returncode, said


def results_of(path: Path) -> Path:
    """Return the file of a job's results."""
    return path.with_name(f"{path.stem}-results.zip")


def take(path: Path, store: Store, redos: int = 0) -> Outcome:
    """Import results of a job that was packed so."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(core_gate, "FREE_SHARE", 1.0)
        patch.setattr(packed, "REDOS", redos)
        return import_campaign(path, store, Watcher())


@contextmanager
def any_core_of_a_job() -> Iterator[None]:
    """Let results be of any core, as `any_core` does, and of a job that says for itself how cores can be asked for."""
    own = AgentClient.permissions
    with any_core(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(AgentClient, "permissions", own)
        yield


@dataclass(frozen=True)
class Ran:
    """A job that was run: its store before any import, and its results."""

    folder: Path
    job_id: str

    def store(self, folder: Path) -> Store:
        """Return a copy of the store, which has imported nothing."""
        return Store(str(shutil.copy(self.folder / "store.sqlite", folder / "store.sqlite")))

    @property
    def results(self) -> Path:
        return self.folder / "job-results.zip"

    @property
    def key(self) -> bytes:
        return zipfile.ZipFile(self.folder / "job.zip").read("key")


def changed(ran: Ran, path: Path, change: Change, key: bytes = b"") -> Path:
    """Write results with another record to `path`, signed as the device does, or with another key."""
    files = contents(ran.results)
    lines = [json.loads(line) for line in files["visit-0001.jsonl"].splitlines()]
    record = b"".join(json.dumps(line).encode() + b"\n" for line in change(lines))
    return write_results(path, files | {"visit-0001.jsonl": record}, key or ran.key)


def write_without_sessions(folder: Path) -> None:
    """Write `packed.sqlite` and `job-results.zip` of a job that was never started."""
    with Store(str(folder / "packed.sqlite")) as store:
        job_id = pack(store, folder / "packed.zip")
    with zipfile.ZipFile(folder / "packed.zip") as archive:
        job, key = archive.read("job.json"), archive.read("key")
    manifest = {
        "format": 1,
        "job": job_id,
        "job_digest": hashlib.sha256(job).hexdigest(),
        "run": "0" * 32,
        "written_utc": "2026-01-01T00:00:00Z",
    }
    files = {"manifest.json": json.dumps(manifest).encode(), "job.json": job}
    write_results(folder / "job-results.zip", files, key)


def contents(file: Path | IO[bytes]) -> dict[str, bytes]:
    """Return the files of results, or of a job, by name."""
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def write_results(path: Path, files: dict[str, bytes], key: bytes) -> Path:
    """Write files as results, their manifest with the digests of all visits."""
    visits = {name: data for name, data in files.items() if name.startswith("visit-")}
    manifest = json.loads(files["manifest.json"]) | {
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in visits.items()}
    }
    text = json.dumps(manifest).encode()
    code = hmac.new(key, text, "sha256").hexdigest().encode()
    return write_zip(path, files | {"manifest.json": text, "manifest.mac": code})


def write_zip(path: Path, files: dict[str, bytes]) -> Path:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())
    return path
