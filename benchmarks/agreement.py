"""How well two campaigns agree on the networks that both measured: the paired ratio against plain wall medians.

    harness measure --store first.sqlite; harness measure --store second.sqlite
    python benchmarks/agreement.py first.sqlite second.sqlite

Prints, for each runtime, Spearman's rank correlation and the median difference of either estimate between the stores.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from scipy.stats import spearmanr

from harness.estimates.latency import Latency, latencies
from harness.store import Store


def main() -> None:
    """Compare two stores and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("stores", nargs=2)
    first, second = (rows_by_network(url) for url in parser.parse_args().stores)
    runtimes = sorted({key[0] for key in first.keys() & second.keys()})
    if not runtimes:
        sys.exit("the stores have no network in common")
    print(f"{'runtime':<14}{'networks':>9}{'estimate':>14}{'Spearman':>10}{'median difference':>19}")
    for runtime in runtimes:
        keys = sorted(key for key in first.keys() & second.keys() if key[0] == runtime)
        pairs = [(first[key], second[key]) for key in keys]
        ratios = np.array([(a.estimate.ratio, b.estimate.ratio) for a, b in pairs])
        walls_ms = np.array([(a.wall.median_ms, b.wall.median_ms) for a, b in pairs])
        for name, values in (("paired ratio", ratios), ("wall median", walls_ms)):
            rank = spearmanr(values[:, 0], values[:, 1]).statistic
            difference = np.median(np.abs(values[:, 0] / values[:, 1] - 1))
            print(f"{runtime:<14}{len(keys):>9}{name:>14}{rank:>10.3f}{difference:>18.1%}")


def rows_by_network(url: str) -> dict[tuple[str, str], Latency]:
    """Return what a store holds, by runtime and graph hash."""
    store = Store(url)
    rows = [row for configuration in store.configurations() for row in latencies(store, configuration)]
    store.close()
    return {(row.configuration.runtime, row.graph_hash): row for row in rows}


if __name__ == "__main__":
    main()
