"""A name for all that a device's latencies depend on: equal names, equal latencies to the last bit.

They are a pure function of what is stored of a configuration, of what is asked for, of this program and of the libraries it
computes with. Nothing here has to be raised by hand when code changes: the source itself is part of the name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import sys
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path

from harness.records import Configuration
from harness.store import Store

PURPOSES = ("network", "segment")  # of the sessions that latencies are computed from
LIBRARIES = ("numpy", "scipy", "scikit-learn")
# All packages of ours, whole: a list of the modules that matter would have to follow every import.
PACKAGES = ("device_agents", "exporters", "harness", "search", "space")
ROOT = Path(__file__).resolve().parents[2]


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
    facts = {
        "configuration": asdict(configuration),
        "sessions": store.sessions_digest(configuration, PURPOSES),
        "reference": None if reference is None else asdict(reference),
        "coverage": coverage,
        "measured only": measured_only,
        "doubtful": doubtful,
        "source": source_digest(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "machine": arithmetic(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


@cache
def source_digest(root: Path = ROOT) -> str:
    """Return the SHA-256 of this program's source: in it stand the predictors, how one is chosen, and its seed."""
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
    """Return what the last bits of sums depend on beside the libraries: the processor's vectors and the BLAS kernels for it."""
    import numpy as np
    from threadpoolctl import threadpool_info

    kernels = {str(one.get("architecture")) for one in threadpool_info() if one["user_api"] == "blas"}
    return {
        "python": sys.version,
        "machine": platform.machine(),
        "vectors": np.show_config(mode="dicts")["SIMD Extensions"],
        "blas": sorted(kernels),  # its version is that of the libraries' wheels
    }
