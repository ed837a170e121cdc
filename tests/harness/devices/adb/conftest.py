"""A phone of a scripted adb server."""

from __future__ import annotations

from pathlib import Path

import pytest
from rigs.adb_server import Phone, need_adb


@pytest.fixture
def phone(tmp_path: Path) -> Phone:
    need_adb()
    return Phone(tmp_path / "phone")
