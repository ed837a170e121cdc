"""The agent's archive, and packed jobs, with the bytecode of this Python: they start in half of the time that compiling takes.

Any other Python finds the sources, as on a device.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import io
import marshal
import zipfile
from collections.abc import Mapping
from types import MappingProxyType

from device_agents.archive import build_archive, packed_program

# Of a file that is not held against its source (PEP 552): both are of one archive.
_UNCHECKED = importlib.util.MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8)


def build_compiled(runtimes: Mapping[str, bytes] = MappingProxyType({})) -> tuple[bytes, str]:
    """Return (the agent, its sha256 in hex) as `device_agents.archive.build_archive` does."""
    return _compiled(build_archive(runtimes)[0])


@functools.lru_cache(maxsize=4)
def _compiled(plain: bytes) -> tuple[bytes, str]:
    buffer = io.BytesIO(plain)
    with zipfile.ZipFile(buffer, "a") as archive:
        for entry in archive.infolist()[:]:
            if entry.filename != "__main__.py":
                compiled = zipfile.ZipInfo(f"{entry.filename}c", entry.date_time)
                archive.writestr(compiled, _bytecode(entry.filename, archive.read(entry)))
    data = buffer.getvalue()
    return data, hashlib.sha256(data).hexdigest()


@functools.cache
def packed_compiled() -> Mapping[str, bytes]:
    """Return the program of a packed job as `device_agents.archive.packed_program` does."""
    sources = packed_program()
    compiled = {f"{name}c": _bytecode(name, text) for name, text in sources.items() if name != "__main__.py"}
    return sources | compiled


def _bytecode(name: str, source: bytes) -> bytes:
    return _UNCHECKED + marshal.dumps(compile(source, name, "exec", dont_inherit=True))
