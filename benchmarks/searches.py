"""Exhaustive answers against a plain loop, search methods' own time, and the integer program against listing every network.

    python benchmarks/searches.py [--gcn]

(a) Milliseconds of an exhaustive answer, a Pareto front and the nearest network over the loaded table of 91,125 networks, with
two latencies and parameters limited, against the loop over rows that people write; answers are compared. All is synthetic.
(b) Seconds a method takes without its evaluations for 100 of them, over all networks of Blox: the median over seeds after one run
that is not counted, for it loads libraries. The accuracies are synthetic, and their regret says nothing of real ones.
(c) The best networks within a MACs limit by sums of random scores: the list computes all 91,125 sums with numpy and sorts
them, and both answers are compared. A space of 8 stages cannot be listed; what its list would take is not extrapolated.
The graph convolutional networks take minutes and need torch: they are measured with --gcn only.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import numpy as np
from machine import describe_machine
from timing import least_s, seconds_of

from search.integer_program.solve import Limit, solve
from search.methods import METHODS, Problem, run
from search.table import Cost, NetworkTable
from search.table.answers import answer, nearest
from search.table.constraints import allowed, parse_constraint
from search.table.pareto import pareto_front
from search.table.synthetic import synthetic_accuracies
from space import BLOX, SpaceConfig
from space.costs import all_macs, all_params, block_costs, fixed_cost
from space.indexing import block_indices, index_of

BUDGET = 100
SEEDS = range(5)
GRAPHS = ("gcn", "gcn-binary")
EIGHT = SpaceConfig(
    name="eight",
    ops=BLOX.ops,
    widths=(8, 16, 32, 64, 128, 256, 512, 1024),
    image_size=256,
    classes=100,
)


def answers() -> None:
    """Print what answers over the whole table take, and what a loop over rows takes for the same ones."""
    table = made_table()
    limits = [parse_constraint(text) for text in ("pixel<4.5ms", "pi4<30ms", "params<3M")]
    impossible = [parse_constraint(text) for text in ("pixel<1ms", "pi4<10ms")]
    rows = [  # what a plain script holds
        {"accuracy": a, "pixel": x, "pixel_high": h, "pi4": y, "pi4_high": k, "params": p}
        for a, x, h, y, k, p in zip(
            table.accuracy.values.tolist(),
            *(
                getattr(table.costs[n], part).tolist()
                for n in ("pixel", "pi4")
                for part in ("values", "high")
            ),
            table.costs["params"].values.tolist(),
            strict=True,
        )
    ]

    def loop() -> list[int]:
        found = [
            (-row["accuracy"], row["pixel"], index)
            for index, row in enumerate(rows)
            if row["pixel_high"] < 4.5 and row["pi4_high"] < 30 and row["params"] < 3e6
        ]
        return [index for _, _, index in sorted(found)]

    def front_by_loop() -> set[int]:
        best, members = -1.0, set()
        for index in sorted(range(len(rows)), key=lambda i: (rows[i]["pixel"], -rows[i]["accuracy"])):
            if rows[index]["accuracy"] > best:
                best = rows[index]["accuracy"]
                members.add(index)
        return members

    everything = np.ones(len(BLOX), dtype=np.bool_)
    if answer(table, limits, confident=True).ranked.tolist() != loop():
        raise SystemExit("the answer and the plain loop's disagree")
    if set(pareto_front(table, ["pixel"], everything).indices.tolist()) != front_by_loop():
        raise SystemExit("the front and the plain loop's disagree")
    measures: list[tuple[str, Callable[[], object], Callable[[], object] | None]] = [
        (
            "answer within three limits, at 90 % confidence",
            lambda: answer(table, limits, confident=True),
            loop,
        ),
        ("which networks are allowed", lambda: allowed(table, limits, confident=True), None),
        ("nearest network where none is within the limits", lambda: nearest(table, impossible), None),
        (
            "Pareto front, accuracy and one latency",
            lambda: pareto_front(table, ["pixel"], everything),
            front_by_loop,
        ),
        (
            "Pareto front, accuracy, two latencies, params",
            lambda: pareto_front(table, list(table.costs), everything),
            None,
        ),
    ]
    print(f"{'over 91,125 networks, best of 7':50} {'ms':>8} {'plain loop ms':>14} {'ratio':>8}")
    for name, ours, peer in measures:
        ours_ms = 1e3 * least_s(ours, 7)
        peer_ms = 1e3 * least_s(peer, 7) if peer else None
        rest = "" if peer_ms is None else f"{peer_ms:14.1f} {peer_ms / ours_ms:6.0f} x"
        print(f"{name:50} {ours_ms:8.2f} {rest}")
    print("target: an exhaustive constrained answer over the loaded table <= 50 ms")


def made_table() -> NetworkTable:
    """Return a table with two made-up devices, latencies by MACs and a wiggle; all of it synthetic."""
    rng = np.random.default_rng(0)
    costs = {}
    for name, speed in (("pixel", 5e7), ("pi4", 8e6)):
        values = all_macs(BLOX) / speed * np.exp(rng.normal(0, 0.05, len(BLOX)))
        costs[name] = Cost(
            name=name,
            unit="ms",
            title="synthetic latency",
            values=values,
            low=values * 0.98,
            high=values * 1.02,
            coverage=0.9,
            synthetic=True,
        )
    costs["params"] = Cost(name="params", unit="", title="parameters", values=all_params(BLOX).astype(float))
    return NetworkTable(config=BLOX, accuracy=synthetic_accuracies(BLOX, seed=0), costs=costs)


def methods(names: list[str]) -> None:
    """Print each method's time for `BUDGET` evaluations."""
    truth = synthetic_accuracies(BLOX, seed=0).values
    allowed = np.ones(len(BLOX), dtype=np.bool_)
    print(f"{'method':12} {f's per {BUDGET} evaluations':>20} {'least .. most':>20} {'synthetic regret':>18}")
    for name in names:
        seconds, regrets = [], []
        for seed in (SEEDS[0], *SEEDS):
            problem = Problem(config=BLOX, allowed=allowed, budget=BUDGET, seed=seed)
            trace = run(name, problem, lambda indices: truth[indices])
            seconds.append(trace.seconds)
            regrets.append(truth.max() - trace.best_so_far[-1])
        seconds, regrets = seconds[1:], regrets[1:]
        spread = f"{min(seconds):.4f} .. {max(seconds):.4f}"
        print(f"{name:12} {statistics.median(seconds):20.4f} {spread:>20} {statistics.mean(regrets):18.2f}")


def macs_limit(config: SpaceConfig, share: float) -> Limit:
    """Return a limit at a share of the way from the least to the most MACs of a space."""
    costs = np.array([[cost.macs for cost in stage] for stage in block_costs(config)])
    fixed = fixed_cost(config).macs
    least, most = fixed + int(costs.min(axis=1).sum()), fixed + int(costs.max(axis=1).sum())
    return Limit(name="macs", costs=costs, constant=fixed, upper=least + int(share * (most - least)))


def list_best(
    scores: np.ndarray, limit: Limit, digits: np.ndarray, macs: np.ndarray, count: int
) -> list[int]:
    """Return the best networks of Blox within the limit from all their sums."""
    sums = scores[np.arange(BLOX.stages), digits].sum(axis=1)
    sums[macs > limit.upper] = -np.inf
    best: list[int] = np.argsort(-sums, kind="stable")[:count].tolist()
    return best


def integer_program() -> None:
    """Print the integer program's times and compare its answers over Blox with the list's."""
    macs, digits = all_macs(BLOX), block_indices(BLOX, np.arange(len(BLOX)))
    drawn = {c: [np.random.default_rng(s).normal(size=(c.stages, 45)) for s in SEEDS] for c in (BLOX, EIGHT)}
    solve(drawn[BLOX][0])  # loads scipy
    print(f"{'median of 5 draws of scores':34} {'best: s':>10} {'100 best: s':>12} {'slowest: s':>12}")
    limit = macs_limit(BLOX, 0.4)
    for count in (1, 100):
        for scores in drawn[BLOX]:
            found = [index_of(BLOX, solution.blocks) for solution in solve(scores, [limit], count)]
            if found != list_best(scores, limit, digits, macs, count):
                raise SystemExit(f"the integer program and the list disagree on the {count} best of Blox")
    rows = {
        "45^3 = 91,125, listed": [
            [seconds_of(lambda s=s, n=n: list_best(s, limit, digits, macs, n)) for s in drawn[BLOX]]
            for n in (1, 100)
        ],
        "45^3 = 91,125, integer program": [
            [seconds_of(lambda s=s, n=n: solve(s, [limit], n)) for s in drawn[BLOX]] for n in (1, 100)
        ],
        "45^8 = 1.7e13, integer program": [
            [seconds_of(lambda s=s, n=n: solve(s, [macs_limit(EIGHT, 0.4)], n)) for s in drawn[EIGHT]]
            for n in (1, 100)
        ],
    }
    for name, (one, hundred) in rows.items():
        print(
            f"{name:34} {statistics.median(one):10.4f} {statistics.median(hundred):12.4f} {max(one + hundred):12.4f}"
        )
    print("the 1 and 100 best of Blox by the integer program equal the list's in each of 5 draws")


def main(arguments: list[str]) -> None:
    """Measure and print."""
    if arguments not in ([], ["--gcn"]):
        raise SystemExit(__doc__)
    print(describe_machine())
    answers()
    print()
    without = ("exhaustive", "ranked", *(() if arguments else GRAPHS))
    methods([name for name in METHODS if name not in without])
    print()
    integer_program()


if __name__ == "__main__":
    main(sys.argv[1:])
