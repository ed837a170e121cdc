"""Pack the agent into one file, the same bytes on each machine, named by its digest."""

from __future__ import annotations

import functools
import hashlib
import io
import re
import zipfile
from pathlib import Path
from types import MappingProxyType
from typing import Mapping

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"import sys\n\nfrom device_agents.main import main\n\nsys.exit(main())\n"
PACKED_MAIN = b"""import sys

if sys.version_info < (3, 8):
    sys.exit("a packed job needs Python 3.8 or newer, this is %d.%d" % sys.version_info[:2])
from device_agents.packed_job import main

sys.exit(main())
"""
PACKED_ALONE = (
    "attempts.py",
    "block_plans.py",
    "choices.py",
    "contention.py",
    "core_gate.py",
    "packed_agent.py",
    "packed_job.py",
    "packed_signs.py",
    "packed_uses.py",
    "throttling.py",
)
PACKED_MODULES = (
    "__init__.py",
    "clean_runs.py",
    "facts.py",
    "frames.py",
    "names.py",
    "pacing.py",
    "whole_files.py",
    *PACKED_ALONE,
)
LEFT_OUT = ("archive.py", *PACKED_ALONE)
# Of comments behind code those without a quote, which no text of one line can hold.
COMMENT = re.compile(rb"^ *#[^\r\n]*|(?<=\S)  # [^\r\n\"']*(?=\r?$)", re.MULTILINE)
FIXED_TIME = (1980, 1, 1, 0, 0, 0)  # the zip format's earliest


def build_archive(runtimes: Mapping[str, bytes] = MappingProxyType({})) -> tuple[bytes, str]:
    """Return (the agent as a zipapp, its sha256 in hex), with the modules of further `runtimes` by name.

    Its own modules have next to no comments there: less to send, and a traceback's lines are those of the source. Further
    runtimes are sent as they are: a line of `#` may be in a text of theirs, such as a kernel's source.
    A process builds it once, so that all of its connections are to the same agent.
    """
    return _built(tuple(sorted(runtimes.items())))


@functools.lru_cache(maxsize=4)
def _built(runtimes: tuple[tuple[str, bytes], ...]) -> tuple[bytes, str]:
    package_dir = Path(__file__).resolve().parent
    sources = {
        "%s/%s" % (package_dir.name, path.relative_to(package_dir).as_posix()): COMMENT.sub(
            b"", path.read_bytes()
        )
        for path in package_dir.rglob("*.py")
        if path.name not in LEFT_OUT
    }
    outside = "%s/runtimes/outside/%s.py" % (package_dir.name, "%s")
    sources.update({outside % name.replace("-", "_"): text for name, text in runtimes})
    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:  # compressors differ: see `deploy`
        for name, text in sorted({**sources, "__main__.py": MAIN}.items()):
            entry = zipfile.ZipInfo(name, FIXED_TIME)
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, text.replace(b"\r\n", b"\n"))
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


def packed_program() -> dict[str, bytes]:
    """Return the program of a packed job by file name: it runs the agent that lies beside it as `agent.pyz`."""
    package_dir = Path(__file__).resolve().parent
    modules = {name: (package_dir / name).read_bytes() for name in PACKED_MODULES}
    return {
        "__main__.py": PACKED_MAIN,
        **{
            "%s/%s" % (package_dir.name, name): text.replace(b"\r\n", b"\n") for name, text in modules.items()
        },
    }
