"""Measure from Python what `harness measure` measures from the shell, and look at the raw times.

    python examples/measure_from_python.py conv/conv/conv bconv/bconv/bconv

Two networks on this machine in ONNX Runtime, one session each, kept in a store of their own.
"""

from __future__ import annotations

import random
import sys
import tempfile
import threading
from pathlib import Path

from harness.campaign import Options, run_campaign
from harness.devices import LocalDevice
from harness.estimates.estimate import session_ratios
from harness.estimates.latency import latencies
from harness.levels import QUICK
from harness.models.exported import ExportedModels
from harness.store import Store
from harness.uses import Use
from space import Architecture


class Lines:
    """Print what a campaign does, a line each."""

    def state(self, device: str, text: str) -> None:
        """Print what it does now."""
        print(f"  {device}: {text}")

    def tell(self, device: str, text: str) -> None:
        """Print what a person is to know, such as that a core is busy."""
        print(f"  {device}: {text}")

    def begin(self, device: str, units: int) -> None:
        """Print how many sessions there are."""
        print(f"  {device}: {units} sessions")

    def advance(self, device: str, text: str) -> None:
        """Print how a session failed, if it did."""
        if text:
            print(f"  {device}: {text}")

    def refine(self, device: str, use: Use, left: int) -> None:
        """Print that every network of a runtime has a session more."""
        print(f"  {device}: {use.configuration.runtime}, {left} sessions left")


def main(texts: list[str]) -> None:
    """Measure the networks and print latencies and the spread of the slices' ratios."""
    networks = [Architecture.parse(text) for text in texts]
    models = ExportedModels(networks, progress=lambda model_format, done, total, name: None)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(str(Path(folder) / "example.sqlite"))
        outcome = run_campaign(
            LocalDevice(name="local"),
            models,
            Options(runtimes=("onnxruntime",), level=QUICK),
            store,
            Lines(),
            rng=random.Random(0),
            cancel=threading.Event(),
        )
        if outcome.error or outcome.failures:
            sys.exit(f"failed: {outcome.error or outcome.failures[0].message}")
        for use in outcome.uses:
            for row in latencies(store, use.configuration):
                (session,) = store.sessions(use.configuration, [row.graph_hash])
                ratios = session_ratios(session)
                interval = (
                    "{:.3f} .. {:.3f}".format(*row.interval_ms) if row.interval_ms else "too few slices"
                )
                print(f"{row.architecture}: {row.latency_ms:.3f} ms, {interval}")
                print(
                    f"  {len(ratios)} slices, ratios {min(ratios):.4f} .. {max(ratios):.4f}, wall {row.wall.median_ms:.3f} ms"
                )
        store.close()


if __name__ == "__main__":
    main(sys.argv[1:] or ["conv/conv/conv", "bconv/bconv/bconv"])
