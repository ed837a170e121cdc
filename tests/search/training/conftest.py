"""A folder on a disk that is soon full, and trainings in one thread."""

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


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Train in one thread: small networks are slower on many, and a sum over threads may differ in its last bits."""
    import torch  # late: other tests of this folder do without

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
