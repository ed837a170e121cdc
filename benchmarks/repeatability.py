"""Do two campaigns agree? The paired estimate beside what every tool prints, from the same runs.

    python benchmarks/repeatability.py [--networks 40] [--campaigns 3] [--level quick] [--sessions 1] [--format onnx]

Each campaign measures the same random networks, in another random order: one quick session each, what predictors are fitted to,
or with `--level screen --sessions 5` what `harness measure` prints by default; of several, each column is the median. Between
campaigns: Spearman's rank correlation (mean and worst of all pairs) and the coefficient of variation of each network's values
(median over networks). `--busy`: beside a program on each core. `--store FILE` keeps campaigns, and a second call goes on.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median

import numpy as np
from campaigns import run
from machine import describe_machine, option_parser
from scipy.stats import spearmanr
from surroundings import SPIN, programs

from harness.estimates.clean_runs import warm_network_ns
from harness.estimates.estimate import session_ratios
from harness.measurement.plan import LEVELS, Options
from harness.records import SessionRecord
from harness.store import Store

TARGETS = "targets for the paired ratio: Spearman >= 0.99, median CV <= 0.7 %"


def wall_ns(session: SessionRecord) -> float:
    """Return the median wall time of the network's warm runs in a session's slices, in ns."""
    return median(ns for piece in session.slices for ns in warm_network_ns(piece)) / session.network_loops


ESTIMATES: dict[str, Callable[[SessionRecord], float]] = {
    "paired ratio": lambda session: median(session_ratios(session)),
    "median wall time": wall_ns,
    "minimum wall time": lambda session: min(min(piece.network_ns) for piece in session.slices),
    "median over median of the reference": lambda session: (
        wall_ns(session)
        / median(
            ns / session.reference_loops
            for piece in session.slices
            for ns in piece.reference_before_ns + piece.reference_after_ns
        )
    ),
}


def main() -> None:
    """Measure the campaigns, busy programs beside them or not, and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=40)
    parser.add_argument("--campaigns", type=int, default=3)
    parser.add_argument("--format", choices=["onnx", "tflite"], action="append", dest="formats")
    parser.add_argument("--level", choices=list(LEVELS), default="quick")
    parser.add_argument("--sessions", type=int, default=1, help="of each network in a campaign")
    parser.add_argument("--busy", action="store_true", help="beside a busy program on each core")
    parser.add_argument("--store", help="keep the campaigns in this file")
    arguments = parser.parse_args()
    busy_cores = sorted(os.sched_getaffinity(0)) if arguments.busy else []
    with programs(busy_cores, SPIN):
        measure_campaigns(arguments)


def measure_campaigns(arguments: argparse.Namespace) -> None:
    """Measure the campaigns and print how they agree."""
    selection = [f"sample:{arguments.networks}@11"]
    print(describe_machine())
    with tempfile.TemporaryDirectory() as folder:
        store = Store(arguments.store or str(Path(folder) / "repeatability.sqlite"))
        for model_format in arguments.formats or ["onnx", "tflite"]:
            elapsed_s = 0.0
            for campaign in range(1, arguments.campaigns + 1):
                options = Options(
                    formats=(model_format,),
                    level=LEVELS[arguments.level],
                    sessions=campaign * arguments.sessions,
                )
                outcome = run(selection, store, options, seed=campaign)
                elapsed_s += outcome.elapsed_s
            (use,) = outcome.uses
            hashes = [model.graph_hash for model in use.models]
            by_network: dict[str, list[SessionRecord]] = {key: [] for key in hashes}
            for session in store.sessions(use.configuration, hashes):
                by_network[session.graph_hash].append(session)
            print(
                f"\n{use.configuration.runtime}: {len(hashes)} networks, {arguments.campaigns} campaigns, "
                f"{elapsed_s:.0f} s, slices a session {_slices(by_network)}"
            )
            print(f"{'between campaigns':<38}{'Spearman':>10}{'worst':>8}{'median CV':>11}{'worst CV':>10}")
            for name, value in ESTIMATES.items():
                table = np.array(
                    [
                        [
                            median(map(value, row[place : place + arguments.sessions]))
                            for place in range(
                                0, arguments.campaigns * arguments.sessions, arguments.sessions
                            )
                        ]
                        for row in by_network.values()
                    ]
                )
                print(f"{name:<38}{_line(table)}")
        store.close()
    print(f"\n{TARGETS}")


def _line(table: np.ndarray) -> str:
    """Return agreement between the columns of a table of networks by campaigns."""
    ranks = [
        float(spearmanr(table[:, a], table[:, b]).statistic)
        for a, b in combinations(range(table.shape[1]), 2)
    ]
    scatter = table.std(axis=1, ddof=1) / table.mean(axis=1)
    return f"{np.mean(ranks):10.3f}{min(ranks):8.3f}{np.median(scatter):11.2%}{scatter.max():10.2%}"


def _slices(by_network: dict[str, list[SessionRecord]]) -> str:
    counts = [len(session.slices) for row in by_network.values() for session in row]
    return f"{min(counts)} to {max(counts)}, median {median(counts):g}"


if __name__ == "__main__":
    main()
