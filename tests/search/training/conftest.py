"""A folder on a disk that is soon full."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rigs.small_disk import small_disk


@pytest.fixture
def small_folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with room for 256 KiB."""
    with small_disk(tmp_path / "disk", 256 << 10) as disk:
        yield disk.folder
