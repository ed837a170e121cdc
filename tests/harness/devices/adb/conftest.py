"""A scripted adb server with a phone, to which this process's adb client goes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.adb_server import AdbServer, Phone, need_adb, start_adb_server


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    need_adb()
    return Phone(tmp_path / "phone")


@pytest.fixture
def server(phone: Phone, monkeypatch: pytest.MonkeyPatch) -> Iterator[AdbServer]:
    with start_adb_server(phone) as server:
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        yield server
