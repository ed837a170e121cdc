"""Kinds of file systems: SQLite's write-ahead log needs memory that all its users share."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

# Hosts that share a folder share no memory, and some have none to share at all: https://sqlite.org/wal.html.
SHARED_KINDS = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("ocfs2", "gfs2", "vboxsf", "vmhgfs", "prl_fs", "virtiofs"),
)
_MOUNTS = Path("/proc/self/mountinfo")


def is_shared_between_hosts(path: Path) -> bool:
    """Return whether other hosts may write to a file, as over NFS; False where the system does not tell."""
    try:
        kind = kind_of(path.resolve(), _MOUNTS.read_text("utf-8", "surrogateescape").splitlines())
    except (OSError, RuntimeError):  # RuntimeError: symlinks in a circle
        return False
    return kind in SHARED_KINDS or kind.startswith("fuse.")


def kind_of(path: Path, mounts: Iterable[str]) -> str:
    """Return the file system's kind of an absolute path by lines of /proc/self/mountinfo (proc(5)); empty where none fits."""
    kind, longest = "", -1
    for line in mounts:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # A later mount lies over an earlier one.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = after.split(" ")[0], len(point.parts)
    return kind
