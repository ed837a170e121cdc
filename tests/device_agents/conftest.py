"""The real agent, from the archive, in a real subprocess."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_client import Client
from agent_models import onnx_parts, tflite_parts

from device_agents.archive import build_archive

QUICK_PLAN = {"warmup_min_s": 0.01, "warmup_max_s": 0.5, "min_slices": 12, "max_s": 0.4}


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent's file."""
    data, digest = build_archive()
    path = tmp_path_factory.mktemp("agent") / f"{digest}.pyz"
    path.write_bytes(data)
    return path


@pytest.fixture
def client(agent: Path, tmp_path: Path) -> Iterator[Client]:
    """Return a client of a fresh agent with a fresh root."""
    with Client(agent, tmp_path / "root") as running:
        yield running


@pytest.fixture(scope="session")
def models() -> dict[str, list[list[bytes]]]:
    """Return {runtime: [parts of a network, parts of a reference]}."""
    return {
        "onnxruntime": [onnx_parts(24), onnx_parts(16)],
        "tflite": [tflite_parts(24), tflite_parts(16)],
    }


def send_job(
    client: Client, models: dict[str, list[list[bytes]]], runtime: str, **changes: Any
) -> dict[str, Any]:
    """Put the parts of a job; return the job."""
    network, reference = ([client.put(part) for part in parts] for parts in models[runtime])
    shape = {"onnxruntime": ("onnx", 1), "tflite": ("tflite", 16)}[runtime]
    job = {
        "network": {"format": shape[0], "alignment": shape[1], "parts": network},
        "reference": {"format": shape[0], "alignment": shape[1], "parts": reference},
        "runtime": runtime,
        "options": {},
        "threads": 1,
        "cores": None,
        "plan": dict(QUICK_PLAN),
        "silence_s": 30,
    }
    return {**job, **changes}
