"""The comparison of two networks' latencies in words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.layout import Table
from harness.output.tables import interval_text, print_json, print_table
from harness.output.terminal import echo
from harness.records import FILE_SPACE
from harness.store.configurations import describe, measure_command

if TYPE_CHECKING:
    from harness.query.compare import NetworkComparison, NetworkComparisons


def print_pairs(found: NetworkComparisons, *, json_output: bool, wide: bool = False) -> None:
    """Print each configuration's comparison, and on standard error where a network is not measured."""
    if json_output:
        print_json([pair.to_json() for pair in found])
    else:
        for pair in found:
            _print_pair(pair, wide)
    for configuration, missing in found.not_measured.items():
        echo(f"{describe(configuration)}: not measured: {', '.join(missing)}", err=True)


def _print_pair(pair: NetworkComparison, wide: bool) -> None:
    """Print two networks' latencies on a configuration and which is faster; of a tie, what would decide it."""
    a, b, result = pair.first, pair.second, pair.result
    cells = [
        [
            f"{letter}: {row.architecture}",
            f"{row.latency_ms:.3f}",
            interval_text(*(row.interval_ms or (None, None))),
            row.grade,
            str(row.estimate.sessions),
        ]
        for letter, row in (("A", a), ("B", b))
    ]
    columns = ["network", "latency ms", "95 % interval", "grade", "sessions"]
    spare = ("sessions", "95 % interval")
    print_table(Table(title=describe(a.configuration), columns=columns, rows=cells, spare=spare), wide=wide)
    if result.verdict == "tie" or result.interval is None:
        ends = (
            ""
            if result.interval is None
            else f", {result.interval[0]:.4f} to {result.interval[1]:.4f} with 95 %"
        )
        echo(f"tie: {result.reason}; A / B is {result.ratio:.4f}{ends}")
        line = f"{measure_command(a.configuration)} --level final --models {a.architecture},{b.architecture}"
        if a.configuration.space == FILE_SPACE:
            line = f"harness compare {a.architecture} {b.architecture} --level final"
        echo(f"more sessions narrow the intervals: {line}", err=True)
        return
    low, high = sorted(abs(1 - end) for end in result.interval)
    echo(
        f"A is {result.verdict} than B: A / B is {result.ratio:.4f}; it takes {low:.1%} to {high:.1%} "
        f"{'less' if result.verdict == 'faster' else 'more'} time, with 95 %"
    )
