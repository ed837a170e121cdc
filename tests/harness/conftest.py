"""Let every test of the harness find the fragments that are exported once in a test session, and leave the user's home alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
from rigs.adb_server import AdbServer, Phone, start_adb_server
from rigs.compiled_agent import build_compiled, packed_compiled
from rigs.converters_here import converted_here, expected_here
from rigs.made_once import computed_once, copy_new, engine_once

from harness.output.terminal import Console, console
from harness.store import Store


@pytest.fixture(scope="session", autouse=True)
def own_folders(harness_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Point $HARNESS_CACHE at the session's folder, and $HOME, where agents without a root live, at one of this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HARNESS_CACHE", str(harness_cache))
        patch.setenv("HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(autouse=True)
def console_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let each test find the console that a command finds, whatever commands ran in this process before."""
    for field in fields(Console):
        monkeypatch.setattr(console, field.name, field.default)


@pytest.fixture(scope="session", autouse=True)
def agents_compiled_once() -> Iterator[None]:
    """Send agents and jobs whose modules are compiled: tests/device_agents/test_archive.py is about those that users send."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.devices.client.build_archive", build_compiled)
        patch.setattr("harness.devices.job_files.build_archive", build_compiled)
        patch.setattr("harness.devices.job_files.packed_program", packed_compiled)
        yield


@pytest.fixture(scope="session", autouse=True)
def torch_here() -> Iterator[None]:
    """Convert to ONNX, and compute what networks should give, in this process, which has mostly imported torch."""
    with converted_here("onnx"), expected_here():
        yield


@pytest.fixture(scope="module", autouse=True)
def latencies_computed_once() -> Iterator[None]:
    """Compute what equal sessions tell once."""
    with computed_once():
        yield


@pytest.fixture(scope="session", autouse=True)
def new_stores_copied() -> Iterator[None]:
    """Make the first new store by the migrations, and copy it for all others, which compile no statement again."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.store.database._engine_of", engine_once)
        patch.setattr("harness.store.database.migrate", copy_new)
        yield


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Return an empty store; files whose tests need another have a fixture of this name."""
    with Store(str(tmp_path / "store.sqlite")) as store:
        yield store


@pytest.fixture
def server(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    """Run a scripted adb server with the test's phone, to which this process's adb client goes."""
    with start_adb_server(phone) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
