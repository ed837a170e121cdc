"""Libraries that the harness carries to the device: parts of the cache, put under their names in a folder of their own."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from pathlib import Path

from device_agents.fields import Fields, refuse, show
from device_agents.models import missing_parts, part_path
from device_agents.whole_files import file_digest, replacing

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*\.so")
COUNT_LIMIT = 64


def parse_libraries(fields: Fields) -> dict[str, str]:
    """Read `libraries`, the digest of each by its name; empty where none are carried. Raises: Refusal."""
    given = fields.values.get("libraries")
    libraries = Fields(fields.name + ": libraries", {} if given is None else given)
    for name in libraries.values:
        if not NAME.fullmatch(name) or len(libraries.values) > COUNT_LIMIT:
            raise refuse(
                libraries.name,
                show(name),
                "at most %d names such as libLiteRt.so, without a folder" % COUNT_LIMIT,
            )
    return {name: libraries.digest(name) for name in libraries.values}


def place_libraries(root: Path, parts_dir: Path, libraries: dict[str, str]) -> Path:
    """Put libraries under their names below `root`, unless they are there unaltered, and return their folder.

    libraries: digests of parts that are in the cache, by name. Raises: Refusal when one is not, OSError.
    """
    named = "".join("%s %s\n" % pair for pair in sorted(libraries.items()))
    folder = root / "libraries" / hashlib.sha256(named.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, digest in libraries.items():
        path = folder / name
        if not (path.is_file() and file_digest(path) == digest):
            place(part_path(parts_dir, digest), path, digest)
    return folder


def place(part: Path, path: Path, digest: str) -> None:
    """Put a part under another name, without a second copy where the file system can. Raises: Refusal, OSError."""
    if not part.is_file() or file_digest(part) != digest:
        raise missing_parts([digest])
    with replacing(path) as partial:
        try:
            os.link(part, partial)
        except OSError:  # FAT, some phones
            shutil.copyfile(part, partial)
