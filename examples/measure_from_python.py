"""Measure from Python what `harness measure` measures from the shell, and look at the raw times.

    python examples/measure_from_python.py conv/conv/conv bconv/bconv/bconv

Two networks on this machine in ONNX Runtime, one session each, kept in a store of their own.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import harness
from harness.estimates.estimate import session_ratios


def main(networks: list[str]) -> None:
    """Measure the networks and print latencies and the spread of the slices' ratios."""
    device = harness.load_devices()["local"]
    with (
        tempfile.TemporaryDirectory() as folder,
        harness.open_store(str(Path(folder) / "example.sqlite")) as store,
    ):
        table = harness.measure(
            device, networks, store=store, runtimes=["onnxruntime"], level="quick", log=print
        )
        if table.failures:
            sys.exit(f"failed: {table.failures[0].message}")
        for row in table:
            interval = "{:.3f} .. {:.3f}".format(*row.interval_ms) if row.interval_ms else "too few slices"
            print(f"{row.architecture}: {row.latency_ms:.3f} ms, {interval}, grade {row.grade}")
            (session,) = store.sessions(row.configuration, [row.graph_hash])
            ratios = session_ratios(session)
            print(
                f"  {len(ratios)} slices, ratios {min(ratios):.4f} .. {max(ratios):.4f}, wall {row.wall.median_ms:.3f} ms"
            )


if __name__ == "__main__":
    main(sys.argv[1:] or ["conv/conv/conv", "bconv/bconv/bconv"])
