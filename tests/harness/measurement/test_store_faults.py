"""The store fails: sessions wait for it in a file, nothing is half-written, and the campaign says so."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rigs.commands import refused, run
from rigs.sleeping_models import measure, sleeping_installed
from rigs.small_disk import small_disk
from rigs.watcher import Watcher

from harness.devices.config import LocalDevice
from harness.errors import StoreError
from harness.measurement.events import Event, Measuring, SessionDone
from harness.store import Store

pytestmark = pytest.mark.device


@dataclass(frozen=True)
class Ground:
    """A device that holds agent and weights, and a store that holds a session of it."""

    device: LocalDevice
    store: Path


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    with sleeping_installed():
        yield


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    folder = tmp_path_factory.mktemp("ground")
    device = LocalDevice(name="board", root=str(folder / "root"))
    store = Store(str(folder / "store.sqlite"))
    assert measure(device, store, ["bconv/bconv/conv"]).measured == 1
    store.close()
    return Ground(device, folder / "store.sqlite")


def before_second(action: Callable[[], object]) -> Watcher:
    """Return an observer that acts when the first network is stored and the second is being measured."""
    watcher = Watcher()

    def act(event: Event) -> None:
        if isinstance(event, Measuring) and watcher.done.count(SessionDone()) == 1:
            action()

    watcher.on_event = act
    return watcher


def assert_whole(path: Path, sessions: int) -> None:
    """Check that a store is sound and holds so many whole sessions."""
    connection = sqlite3.connect(path)
    try:
        assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
        assert connection.execute("select count(*) from sessions where raw is not null").fetchone() == (
            sessions,
        )
    finally:
        connection.close()


def test_a_store_that_another_program_holds_gets_its_sessions_later(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.store.database.BUSY_TIMEOUT_S", 0.3)
    path = Path(shutil.copy(ground.store, tmp_path / "store.sqlite"))
    store = Store(str(path))
    other = sqlite3.connect(path, isolation_level=None, timeout=10)
    outcome = measure(ground.device, store, observer=before_second(lambda: other.execute("begin immediate")))
    assert isinstance(outcome.error, StoreError)
    assert "another program" in str(outcome.error)
    assert "1 session waits" in str(outcome.error)
    assert (outcome.error.exit_status, outcome.measured) == (2, 2)
    assert_whole(path, 2)
    other.execute("rollback")
    other.close()
    store.close()
    Store(str(path)).close()
    assert_whole(path, 3)


def test_a_full_disk_loses_no_session_and_nothing_is_half_written(ground: Ground, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small disk", 4 << 20) as disk:
        path = Path(shutil.copy(ground.store, disk.folder / "store.sqlite"))
        store = Store(str(path))
        outcome = measure(ground.device, store, observer=before_second(lambda: disk.fill(leave_bytes=0)))
        assert isinstance(outcome.error, StoreError)
        assert "the disk is full" in str(outcome.error), outcome.error
        assert outcome.measured == 2
        disk.free()
        assert_whole(path, 2)
        outcome = measure(ground.device, store)
        assert (outcome.measured, outcome.reused, outcome.error) == (0, 2, None)
        assert_whole(path, 3)
        store.close()


def test_a_store_of_a_newer_version_is_refused_before_the_device_is_touched(
    ground: Ground, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = Path(shutil.copy(ground.store, tmp_path / "store.sqlite"))
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("update alembic_version set version_num = 'of-the-future'")
    connection.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        (tmp_path / "devices.toml").write_text(
            f'[devices.board]\ntransport = "ssh"\naddress = "127.0.0.1"\nport = {listener.getsockname()[1]}\n'
        )
        done = run("store.sqlite", "measure", "--device", "board", "--models", "conv/conv/conv")
        refused(done, "written by a newer version of harness", "store.sqlite")
        with pytest.raises(BlockingIOError):
            listener.accept()
