"""What all tests share: Ctrl-C that works, and the folder of exported fragments, filled once in a test session."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest


def pytest_configure() -> None:
    """Let other test processes, and campaigns, of this machine be; and heed Ctrl-C.

    A shell starts what it runs in the background deaf to Ctrl-C, and programs that tests start inherit that.
    """
    os.environ["HARNESS_LOCK_NAME"] = f"tests-{os.getpid()}"  # agents that tests start inherit it
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that all processes of this run of pytest share."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@pytest.fixture(scope="session")
def harness_cache(shared_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for $HARNESS_CACHE; its `fragments` are those of the exporters' tests.

    HARNESS_TEST_CACHE names a folder of fragments that outlives the session; without it they are exported once a session.
    """
    named = os.environ.get("HARNESS_TEST_CACHE")
    if not named:
        return shared_folder
    folder = tmp_path_factory.getbasetemp() / "cache"
    folder.mkdir(exist_ok=True)
    target = Path(named).resolve()
    target.mkdir(parents=True, exist_ok=True)
    (folder / "fragments").unlink(missing_ok=True)
    (folder / "fragments").symlink_to(target)
    return folder
