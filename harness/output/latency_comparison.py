"""The comparison of two networks' latencies, or of two precisions, in words and tables."""

from __future__ import annotations

from collections.abc import Iterator
from math import isnan
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import interval_text, ms_text, print_json, print_table, ratio_text
from harness.output.terminal import echo
from harness.query.compare_precisions import (
    FEWEST,
    PrecisionComparison,
    PrecisionComparisons,
    measure_both_command,
)
from harness.records import FILE_SPACE, Configuration
from harness.store.configurations import configuration_id, describe, measure_command
from space.text import counted

if TYPE_CHECKING:
    from harness.estimates.doubtful import Doubtful
    from harness.query.compare import NetworkComparison, NetworkComparisons
    from search.statistics import Estimate


def print_compared(found: NetworkComparisons | PrecisionComparisons, *, json_output: bool) -> None:
    """Print comparisons of two networks, or of two precisions."""
    if isinstance(found, PrecisionComparisons):
        print_precisions(found, json_output=json_output)
    else:
        print_pairs(found, json_output=json_output)


def print_precisions(found: PrecisionComparisons, *, json_output: bool) -> None:
    """Print each comparison of precisions, and on standard error where too few networks are measured in both."""
    for one in found:
        for configuration, doubtful in zip(one.configurations, one.doubtful, strict=True):
            _print_doubt(configuration, doubtful)
    if json_output:
        print_json([one.to_json() for one in found])
    else:
        for one in found:
            _print_precision(one)
    for configuration, count in found.too_few.items():
        echo(
            f"{describe(configuration)}: {counted(count, 'network')} measured well in both, of at least {FEWEST}: "
            f"{measure_both_command(configuration, *found.precisions)}",
            err=True,
        )


def _print_doubt(configuration: Configuration, doubtful: Doubtful) -> None:
    if doubtful:
        line = f"{measure_command(configuration)} --fresh --models ..."
        echo(f"note: {configuration.precision}: {doubtful}; measure again ({line})", err=True)


def _print_precision(one: PrecisionComparison) -> None:
    """Print how one precision's latencies compare with the other's, and the mean time of each op in both."""
    a, b = one.configurations
    echo(describe(a))
    echo(
        f"{b.precision} [{configuration_id(b)}] against {a.precision}: {counted(one.ratio.count, 'network')} measured in both"
    )
    ratio = f"{b.precision} / {a.precision}"
    rows = [["latency, median", *_estimated(one.ratio)]]
    for name, network in (("least", one.networks[0]), ("most", one.networks[-1])):
        low, high = network.interval or (None, None)
        rows.append([f"{name}: {network.a.architecture}", ms_text(network.ratio), interval_text(low, high)])
    print_table(PrintedTable(title="", columns=["network", ratio, "95 % interval"], rows=rows))
    echo(f"both reference latencies are uncertain by {one.common:.1%} together, which is in these intervals")
    rank = one.spearman
    ends = (
        "no interval of so few networks"
        if isnan(rank.low)
        else f"{rank.low:.2f} to {rank.high:.2f} (95 % interval)"
    )
    echo(
        f"rank correlation of latencies (Spearman): {'none' if isnan(rank.value) else f'{rank.value:.2f}'}, {ends}"
    )
    cells = [
        [op.op or "stem, reductions, head", ms_text(op.a_ms), ms_text(op.b_ms), *_estimated(op.ratio)]
        for op in one.ops
    ]
    columns = ["op, mean of stages", f"ms in {a.precision}", f"ms in {b.precision}", ratio, "95 % interval"]
    if cells:
        print_table(PrintedTable(title="", columns=columns, rows=cells, spare=("95 % interval",)))
    else:
        echo(
            "no op has a time of its own: each of these networks runs as many ops, and only their differences can be told"
        )
    echo(
        f"latencies fitted as sums of ops, median error {one.fit_error[0]:.0%} in {a.precision} and {one.fit_error[1]:.0%} in "
        f"{b.precision}"
    )


def _estimated(found: Estimate) -> list[str]:
    """Return a ratio and its interval for people."""
    if isnan(found.value):
        return ["none", ""]
    ends = "unknown" if isnan(found.low) else interval_text(found.low, found.high)
    return [ms_text(found.value), ends]


def print_pairs(found: NetworkComparisons, *, json_output: bool) -> None:
    """Print each configuration's comparison, and on standard error where a network is not measured."""
    if json_output:
        print_json([pair.to_json() for pair in found])
    else:
        for pair in found:
            _print_pair(pair)
    for line in dict.fromkeys(_wrong_outputs(found)):
        echo(line, err=True)
    for configuration, missing in found.not_measured.items():
        echo(f"{describe(configuration)}: not measured: {', '.join(missing)}", err=True)


def _wrong_outputs(found: NetworkComparisons) -> Iterator[str]:
    """Yield a note for each network whose output, or reference, is wrong, which makes its latency meaningless."""
    for pair in found:
        # The reference of two files has the other's findings.
        rows = (pair.first,) if pair.configuration.space == FILE_SPACE else (pair.first, pair.second)
        for row in rows:
            for finding in (one for one in row.findings if one.kind in ("wrong-output", "wrong-reference")):
                yield f"note: {row.architecture}: {finding.message}; {finding.remedy}"


def _print_pair(pair: NetworkComparison) -> None:
    """Print two networks' latencies on a configuration and which is faster; of a tie, what would decide it."""
    a, b, result = pair.first, pair.second, pair.result
    cells = [
        [
            f"{letter}: {row.architecture}",
            ms_text(row.latency_ms),
            interval_text(*(row.interval_ms or (None, None))),
            row.grade,
            str(row.estimate.sessions),
        ]
        for letter, row in (("A", a), ("B", b))
    ]
    columns = ["network", "latency ms", "95 % interval", "grade", "sessions"]
    spare = ("sessions", "95 % interval")
    print_table(PrintedTable(title=describe(a.configuration), columns=columns, rows=cells, spare=spare))
    if result.verdict == "tie" or result.interval is None:
        ends = (
            ""
            if result.interval is None
            else f", {ratio_text(result.interval[0])} to {ratio_text(result.interval[1])} (95 % interval)"
        )
        echo(f"tie: {result.reason}; A / B is {ratio_text(result.ratio)}{ends}")
        is_doubted = result.interval is not None and not result.interval[0] <= 1 <= result.interval[1]
        option = "--fresh" if is_doubted else "--level final"
        # What is stored of level final counts; a comparison of files adds to it.
        fresh = "" if is_doubted else "--fresh "
        line = (
            f"{measure_command(a.configuration)} {fresh}{option} --models {a.architecture},{b.architecture}"
        )
        if a.configuration.space == FILE_SPACE:
            line = f"the same command with {option}"
        what = (
            "mend what speaks against them, and measure again"
            if is_doubted
            else "more sessions narrow the intervals"
        )
        echo(f"{what}: {line}", err=True)
        return
    low, high = sorted(abs(1 - end) for end in result.interval)
    echo(
        f"A is {result.verdict} than B: A / B is {ratio_text(result.ratio)}; it takes {low:.1%} to {high:.1%} "
        f"{'less' if result.verdict == 'faster' else 'more'} time (95 % interval)"
    )
