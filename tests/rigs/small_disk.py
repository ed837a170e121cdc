"""A small file system of its own, to be filled up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    """A mounted folder; `fill` takes its room away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave_bytes: int) -> None:
        """Take up all room but so much."""
        stat = os.statvfs(self.folder)
        self._ballast.write_bytes(bytes(max(0, stat.f_bavail * stat.f_frsize - leave_bytes)))

    def free(self) -> None:
        """Give the room back."""
        self._ballast.unlink()


@contextmanager
def small_disk(folder: Path, size_bytes: int, *options: str) -> Iterator[SmallDisk]:
    """Mount a tmpfs until the block ends, or skip the test with the reason; `options` are further ones of mount."""
    folder.mkdir()
    mount = shutil.which("mount")
    command = [
        mount or "",
        "-t",
        "tmpfs",
        "-o",
        ",".join([f"size={size_bytes},mode=700", *options]),
        "none",
        str(folder),
    ]
    if os.geteuid() != 0 or mount is None or subprocess.run(command, capture_output=True).returncode != 0:
        pytest.skip("needs root and the right to mount a tmpfs")
    try:
        yield SmallDisk(folder)
    finally:
        # Lazy: where a test failed, somebody may still have a file open, and a mount left behind breaks later sessions.
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
