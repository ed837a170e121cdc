"""Identity of networks, against computing it: the canonical list, its hashes, look-up by architecture.

    python benchmarks/identity.py

The plain loop is written here without cleverness: one network at a time, one dictionary a round, OpenSSL's MD5.
It is timed on a random subset and its figure for the whole space is that time multiplied up, marked as such.
Ratios compare figures of this one run. "Fresh process" times exclude the interpreter's own start.
"""

from __future__ import annotations

import hashlib
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from machine import describe_machine

from space import BLOX, Architecture
from space.graphhash import all_hashes
from space.hash_table import TABLE_PATH
from space.selection import select_models

PLAIN_NETWORKS = 500
FRESH_RUNS = 5

FRESH_HASHES = """
import time
start = time.perf_counter()
from space import BLOX, hash_table
digests = hash_table.digests(len(BLOX.ops), BLOX.stages)
hashes = [digests[i : i + 16].hex() for i in range(0, len(digests), 16)]
print(time.perf_counter() - start)
"""

FRESH_LIST = """
import time
start = time.perf_counter()
from space.selection import select_models
networks = select_models("all")
hashes = [a.graph_hash for a in networks]
print(time.perf_counter() - start)
"""


def plain_hash(architecture: Architecture) -> str:
    """Compute the graph hash step by step, following the definition."""
    labels, edges, source = [-1], [], 0
    for stage, ((op0,), (op1, prev, inp, sc)) in enumerate(architecture.vector):
        second = len(labels)
        if prev or sc:
            labels.append(op0 + 4 * stage)
            edges.append((source, second))
            second += 1
        labels += [op1 + 4 * stage, 3 + 4 * stage]
        edges += [(second - 1, second)] * prev + [(source, second)] * inp + [(second - 1, second + 1)] * sc
        edges.append((second, second + 1))
        source = second + 1
    edges.append((source, len(labels)))
    labels.append(-2)
    ins = [[a for a, b in edges if b == v] for v in range(len(labels))]
    outs = [[b for a, b in edges if a == v] for v in range(len(labels))]
    h = [_md5(str((float(len(outs[v])), float(len(ins[v])), label))) for v, label in enumerate(labels)]
    for _ in labels:
        h = [
            _md5(
                "".join(sorted(h[u] for u in ins[v]))
                + "|"
                + "".join(sorted(h[u] for u in outs[v]))
                + "|"
                + h[v]
            )
            for v in range(len(labels))
        ]
    return _md5(str(sorted(h)))


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def fresh_s(program: str) -> float:
    """Return the median of the seconds that `program` prints, each time in a new process."""
    runs = []
    for _ in range(FRESH_RUNS):
        runs.append(
            subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
        )
    return statistics.median(float(run.stdout) for run in runs)


def each_s(function: Callable[[Architecture], object], networks: list[Architecture]) -> float:
    """Return the seconds a call takes, over all the networks once."""
    start = time.perf_counter()
    for architecture in networks:
        function(architecture)
    return (time.perf_counter() - start) / len(networks)


def main() -> None:
    """Measure and print one table."""
    subset = random.Random(0).sample(select_models("all"), PLAIN_NETWORKS)
    if any(plain_hash(a) != a.graph_hash for a in subset):
        raise SystemExit("the plain loop and the table disagree")
    plain_s = each_s(plain_hash, subset)
    plain_all_s = plain_s * len(BLOX)

    start = time.perf_counter()
    computed = all_hashes(3, 3)
    nothing_s = time.perf_counter() - start
    if computed != TABLE_PATH.read_bytes():
        raise SystemExit("the shipped table and the computed one disagree")

    hashes_s, list_s = fresh_s(FRESH_HASHES), fresh_s(FRESH_LIST)
    texts = [str(a) for a in subset]
    vectors = [a.vector for a in subset]
    digests = [a.graph_hash for a in subset]
    Architecture.from_hash(digests[0])  # the index of all hashes is made once
    places = range(PLAIN_NETWORKS)
    lookups = {
        "graph_hash of an architecture": each_s(lambda a: a.graph_hash, subset * 20),
        "index of an architecture": each_s(lambda a: a.index, subset * 20),
        "params and macs": each_s(lambda a: (a.params, a.macs), subset * 20),
        "from_index": each_s(lambda a: Architecture.from_index(a.index), subset * 20),
        "parse its text": _per(lambda i: Architecture.parse(texts[i]), places),
        "from_vector, then graph_hash": _per(
            lambda i: Architecture.from_vector(vectors[i]).graph_hash, places
        ),
        "from_hash": _per(lambda i: Architecture.from_hash(digests[i]), places),
    }

    print(describe_machine())
    print(f"{'all 91,125 networks':46} {'seconds':>12} {'against the plain loop':>24}")
    print(f"{f'plain loop (extrapolated from {PLAIN_NETWORKS})':46} {plain_all_s:12.2f} {'1.0 x':>24}")
    for name, seconds in (
        ("hashes from nothing", nothing_s),
        ("hashes from the table, fresh process", hashes_s),
        ("networks and their hashes, fresh process", list_s),
    ):
        print(f"{name:46} {seconds:12.3f} {plain_all_s / seconds:22.1f} x")
    print()
    print(f"{'one network':46} {'microseconds':>12} {'against the plain hash':>24}")
    print(f"{'plain hash':46} {plain_s * 1e6:12.1f} {'1.0 x':>24}")
    for name, seconds in lookups.items():
        print(f"{name:46} {seconds * 1e6:12.2f} {plain_s / seconds:22.1f} x")


def _per(function: Callable[[int], object], places: range) -> float:
    start = time.perf_counter()
    for _ in range(20):
        for i in places:
            function(i)
    return (time.perf_counter() - start) / (20 * len(places))


if __name__ == "__main__":
    main()
