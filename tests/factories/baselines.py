"""Baselines of `harness gate`, made up for tests."""

from __future__ import annotations

from pathlib import Path

from factories.records import CONFIGURATION
from harness.models.files import open_one
from harness.query.gate_baseline import FACTS, Baseline, KeptFile, KeptLatency, kept_file, save_baseline


def made_baseline(name: str) -> Baseline:
    """Return a baseline of one file that takes half the reference."""
    facts = {fact: getattr(CONFIGURATION, fact) for fact in FACTS}
    latency = KeptLatency(
        **facts, precision="fp32", ratio=0.5, low=0.49, high=0.51, sessions=5, slices=60, grade="B",
        latency_ms=2.5, measured_utc="2024-05-01T00:00:00+00:00",
    )  # fmt: skip
    file = KeptFile(name=name, path=name, sha256="0" * 64, size_bytes=1000, inputs="", latencies=(latency,))
    return Baseline(version=1, files=(file,))


def write_kept(path: Path, model: Path) -> None:
    """Write a baseline of a model file that was never measured."""
    save_baseline(path, Baseline(version=1, files=(kept_file(open_one(str(model)), path, []),)))
