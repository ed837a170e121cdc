"""The harness itself is killed: nothing measured is lost or measured twice, and nothing stays on the device."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rigs import with_tests
from rigs.short_campaigns import NETWORKS, await_no_process, await_processes
from rigs.sleeping_models import measure, sleeping_installed

from harness.devices.config import LocalDevice
from harness.store import Store

pytestmark = pytest.mark.device


def test_a_killed_campaign_goes_on_where_it_stood(tmp_path: Path) -> None:
    """On this machine; over SSH benchmarks/kills.py does it, in short in tests/benchmarks/test_kills.py."""
    root, path = str(tmp_path / "device"), tmp_path / "store.sqlite"
    device = LocalDevice(name="board", root=root)
    driver = [sys.executable, "-m", "rigs.killed_campaign", str(path)]
    command = [*driver, root, *NETWORKS]
    with subprocess.Popen(command, env=with_tests(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "the first is measured\n"
        before = await_sessions(path, 1)
        await_processes(root, "worker")
        process.kill()
        assert process.wait(10) == -signal.SIGKILL
    await_no_process(root, timeout_s=5)

    store = Store(str(path))
    with sleeping_installed():
        outcome = measure(device, store)
    configuration = outcome.uses[0].configuration
    after = {session.session_id for session in store.sessions(configuration)}
    assert before <= after, "what was stored is still there"
    hashes = [model.graph_hash for model in outcome.uses[0].models]
    counts = store.session_counts(configuration)
    assert {graph_hash: counts[graph_hash] for graph_hash in hashes} == dict.fromkeys(hashes, 1)
    assert (outcome.measured, outcome.reused) == (1, 1)
    assert (outcome.failures, outcome.error) == ([], None)
    store.close()
    await_no_process(root, timeout_s=5)


def await_sessions(path: Path, count: int, timeout_s: float = 60.0) -> set[str]:
    """Wait until a store holds so many sessions; return their ids."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        try:
            connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
            try:
                ids = {
                    row[0] for row in connection.execute("select id from sessions where purpose = 'network'")
                }
            finally:
                connection.close()
        except sqlite3.OperationalError:  # not made yet
            ids = set()
        if len(ids) >= count:
            return ids
        time.sleep(0.01)
    raise AssertionError(f"fewer than {count} sessions within {timeout_s:g} s")
