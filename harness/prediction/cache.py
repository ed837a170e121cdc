"""Cache of latencies of whole spaces, which spares fitting the predictor for each command.

A file is a line that names its kind, a line with the SHA-256 of the rest, a line of JSON, and arrays of known length: reading it
runs no code. What is damaged, cut off or another's counts as absent. Files appear whole under their name, so that several
processes may keep the same at once.

The name of a file is its key: equal keys guarantee bit-identical latencies. They are a pure function of what is stored of a
configuration, of what is asked for, of this program and of the libraries it computes with; nothing of a key has to be raised by
hand when code changes, since the source itself is part of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from harness.prediction.provenance import Provenance
from harness.prediction.space_latencies import SpaceLatencies
from harness.records import Configuration
from harness.store import Store
from space.atomic_files import write_whole
from space.plugins import LATENCY_PREDICTORS, plugin_digests
from space.user_paths import cache_folder

PURPOSES = ("network", "segment")  # of the sessions that latencies are computed from
LIBRARIES = ("numpy", "scipy", "scikit-learn")
# All packages of ours, whole: a list of the modules that matter would have to follow every import.
PACKAGES = ("device_agents", "exporters", "harness", "search", "space")
ROOT = Path(__file__).resolve().parents[2]
MOST_FILES = 64  # 2.4 MB each where the space is Blox; beyond, what was not used for longest goes
_KIND = b"harness latencies 2\n"
_DIGEST_CHARACTERS = 64
_HEAD_BYTES = 1 << 20  # of JSON at most
# Of each array in a file and in memory.
_FORMS: Mapping[str, tuple[str, str]] = {
    "values": ("<f8", "f8"),
    "low": ("<f8", "f8"),
    "high": ("<f8", "f8"),
    "measured": ("|b1", "?"),
    "supported": ("|b1", "?"),
    "grades": ("|S1", "<U1"),
}
_NETWORK_BYTES = 3 * 8 + 3
_SUFFIX = ".latencies"
_ABANDONED_S = 3600.0  # age at which a half-written file is that of a killed process


def latency_folder() -> Path:
    """Return the folder of the cache, next to that of exported fragments."""
    return cache_folder("latencies")


def known_latencies(
    key: Callable[[], str], count: int, compute: Callable[[], SpaceLatencies], log: Callable[[str], None]
) -> SpaceLatencies:
    """Return the cached latencies of `count` networks under a key; else compute and cache them.

    Those of a key that has changed meanwhile are not cached: a campaign has stored more, and it is not known what of it was read.
    `log` is told where the folder cannot be written.
    """
    folder, before = latency_folder(), key()
    found = cached_latencies(folder, before, count)
    if found is not None:
        return found
    found = compute()
    if key() == before:
        try:
            cache_latencies(folder, before, found)
        except OSError as error:
            log(f"{folder}: cannot be written: {error.strerror or error}; the predictor is fitted each time")
    return found


def cached_latencies(folder: Path, key: str, count: int) -> SpaceLatencies | None:
    """Return the cached latencies of `count` networks under a key; None where there is no complete file of this kind and key."""
    path = folder / f"{key}{_SUFFIX}"
    try:
        if path.stat().st_size > _HEAD_BYTES + count * _NETWORK_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    start = len(_KIND) + _DIGEST_CHARACTERS + 1
    payload = memoryview(data)[start:]
    if data[:start] != _KIND + _digest(payload):
        return None
    end = data.find(b"\n", start)
    arrays = memoryview(data)[end + 1 :]
    try:
        head = json.loads(data[start:end])
        if head["key"] != key or head["count"] != count or len(arrays) != count * _NETWORK_BYTES:
            return None
        about = Provenance.from_json(head["about"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used now: the last to go
    found, place = dict[str, Any](), 0
    for name, (form, kind) in _FORMS.items():
        size = count * np.dtype(form).itemsize
        found[name] = np.frombuffer(arrays[place : place + size], dtype=form).astype(kind)
        place += size
    return SpaceLatencies(**found, about=about)


def cache_latencies(folder: Path, key: str, known: SpaceLatencies) -> None:
    """Cache latencies under a key, replacing former ones; the least recently used files are removed beyond a maximum.

    Raises:
        OSError: the folder cannot be written.
    """
    head = {"key": key, "count": len(known.values), "about": known.about.to_json()}
    arrays = [getattr(known, name).astype(form).tobytes() for name, (form, _) in _FORMS.items()]
    payload = b"".join([json.dumps(head).encode(), b"\n", *arrays])
    write_whole(folder / f"{key}{_SUFFIX}", _KIND + _digest(payload) + payload)
    _clear(folder)


def latency_key(
    store: Store,
    configuration: Configuration,
    *,
    coverage: float,
    measured_only: bool,
    doubtful: bool = False,
) -> str:
    """Return the key of a configuration's latencies as they are stored now, 64 hexadecimal characters."""
    reference = store.reference_latency(configuration)
    facts: dict[str, object] = {
        "configuration": asdict(configuration),
        "sessions": store.sessions_digest(configuration, PURPOSES),
        "failures": [(one.graph_hash, one.architecture, one.kind) for one in store.failures(configuration)],
        "reference": None if reference is None else asdict(reference),
        "coverage": coverage,
        "measured only": measured_only,
        "doubtful": doubtful,
    }
    return key_of(facts)


def key_of(facts: Mapping[str, object]) -> str:
    """Return the key of what this program computes from facts, plain values: 64 hexadecimal characters."""
    program = {
        "source": source_digest(),
        "predictors of other packages": plugin_digests(LATENCY_PREDICTORS),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": arithmetic(),
    }
    return hashlib.sha256(json.dumps({**facts, **program}, sort_keys=True).encode()).hexdigest()


@cache
def source_digest(root: Path = ROOT) -> str:
    """Return the SHA-256 of this program's source, which defines the predictors, their selection and its seed."""
    hasher = hashlib.sha256()
    for path in source_files(root):
        content = path.read_bytes()
        hasher.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode() + content)
    return hasher.hexdigest()


def source_files(root: Path = ROOT) -> Iterator[Path]:
    """Yield the modules of `PACKAGES`, always in the same order."""
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


@cache
def arithmetic() -> dict[str, object]:
    """Return the facts that the last bits of sums depend on besides the libraries: the vector width and BLAS kernels."""
    kernels = {str(one.get("architecture")) for one in threadpool_info() if one["user_api"] == "blas"}
    return {
        "python": sys.version,
        "machine": platform.machine(),
        "vectors": np.show_config(mode="dicts")["SIMD Extensions"],
        "blas": sorted(kernels),  # its version is that of the libraries' wheels
    }


def _digest(payload: bytes | memoryview) -> bytes:
    return hashlib.sha256(payload).hexdigest().encode() + b"\n"


def _clear(folder: Path) -> None:
    """Remove the least recently used files beyond `MOST_FILES`, and partial files of killed processes."""
    aged = sorted(_ages(folder, f"*{_SUFFIX}"), key=lambda found: found[0])
    abandoned = [found for found in _ages(folder, f".*{_SUFFIX}.*.partial") if found[0] > _ABANDONED_S]
    for _, path in [*aged[MOST_FILES:], *abandoned]:
        with contextlib.suppress(OSError):  # another process was first, or the file is not ours to remove
            path.unlink()


def _ages(folder: Path, pattern: str) -> list[tuple[float, Path]]:
    """Return the files of a pattern with the seconds since each was used; not those that have just gone."""
    ages = []
    for path in folder.glob(pattern):
        with contextlib.suppress(OSError):
            ages.append((time.time() - path.stat().st_mtime, path))
    return ages
