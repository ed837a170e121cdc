"""The real agent, from the archive, in a real subprocess."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from factories.agent_models import onnx_parts, tflite_parts
from rigs import sleeping_runtime
from rigs.agent_client import Client
from rigs.compiled_agent import build_compiled


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs the agent."""
    for item in items:
        if isinstance(item, pytest.Function) and "agent" in item.fixturenames:
            item.add_marker(pytest.mark.device)


@pytest.fixture(scope="session")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the agent's file, its modules compiled, with a runtime that sleeps: test_archive.py is about the one sent."""
    data, digest = build_compiled({"sleeping": Path(sleeping_runtime.__file__).read_bytes()})
    path = tmp_path_factory.mktemp("agent") / f"{digest}.pyz"
    path.write_bytes(data)
    return path


@pytest.fixture
def client(agent: Path, tmp_path: Path) -> Iterator[Client]:
    """Return a client of a fresh agent with a fresh root."""
    with Client(agent, tmp_path / "root") as running:
        yield running


@pytest.fixture(scope="module")
def one_agent(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return the client of an agent that serves all tests of a file that leave it as it was."""
    with Client(agent, tmp_path_factory.mktemp("agent") / "root") as running:
        yield running


@pytest.fixture(scope="module", autouse=True)
def forks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start agents, rather than fork them, for a file with `FORKS = False`: on starts, and on memory, which forks share."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Client, "forks", getattr(request.module, "FORKS", True))
        yield


@pytest.fixture(scope="session")
def models() -> dict[str, list[list[bytes]]]:
    """Return {runtime: [parts of a network, parts of a reference]}."""
    return {
        "onnxruntime": [onnx_parts(24), onnx_parts(8)],
        "tflite": [tflite_parts(24), tflite_parts(8)],
        "sleeping": [[b"400 ", b"of the large network"], [b"200 ", b"of the small network"]],
    }
