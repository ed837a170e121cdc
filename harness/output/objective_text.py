"""The answer of a search by --objective as text, JSON and CSV."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.campaigns import print_outcome
from harness.output.layout import PrintedTable
from harness.output.search_text import none_within_text, part_of_front, within_text
from harness.output.tables import interval_text, ms_text, print_json, print_table, write_csv
from harness.output.terminal import echo
from harness.prediction.provenance import provenance_document
from harness.query.by_objective import source_text
from harness.query.rows import limit_row
from search.blockwise.sum_front import BY_PROGRAMS, FRONT_POINTS
from search.table.constraints import amount_text
from space import Architecture
from space.text import counted

if TYPE_CHECKING:
    from harness.query.by_objective import ObjectiveAnswer, ObjectiveFront
    from harness.query.run import ObjectiveResult


def print_objective(found: ObjectiveResult, *, top: int, json_output: bool, output: Path | None) -> None:
    """Print the `top` networks of an answer; write them to a CSV file."""
    answer = found.answer
    for outcome in found.outcomes:
        print_outcome(outcome)
    rows = answer[:top]
    if json_output:
        print_json(_document(answer, rows) | {"fronts": [_front_document(one) for one in found.fronts]})
    else:
        _print_answer(answer, top)
        for front in found.fronts:
            _print_front(answer, front)
    if output is not None:
        write_csv(output, rows, list(rows[0]))
        echo(f"{output}: {counted(len(rows), 'network')}", err=True)


def _verdict(answer: ObjectiveAnswer, verified: frozenset[int]) -> str:
    """Return the verdict of the finalists' measurements on the answer."""
    inside = sum(map(answer.is_within, verified))
    text = within_text(inside, len(verified))
    if not inside:
        return none_within_text(len(verified))
    best = answer.score(answer.indices[0])
    if above := sum(answer.score(index) > best for index in answer.within):
        return (
            f"{text}; {above:,} or more of larger sums, not measured, are predicted to be within them: run the same command "
            "again to continue"
        )
    return text


def _document(answer: ObjectiveAnswer, rows: list[dict[str, object]]) -> dict[str, object]:
    """Return the answer as plain values; latencies in ms, sizes in bytes."""
    return {
        "objective": {"name": answer.objective.name, "origin": answer.objective.origin},
        "space": {"name": answer.config.name, "networks": answer.config.count},
        "costs": {name: {"unit": cost.unit, "title": cost.title} for name, cost in answer.costs.items()},
        **provenance_document(answer.provenance),
        "notes": list(answer.notes),
        "constraints": [limit_row(one, confident=answer.confident) for one in answer.constraints],
        "verified": None if answer.verified is None else sorted(answer.verified),
        "networks": rows,
    }


def _front_document(front: ObjectiveFront) -> dict[str, object]:
    """Return a front as plain values, a row a network, cheapest first."""
    return {
        "cost": front.cost,
        "by": BY_PROGRAMS,
        "most_points": FRONT_POINTS,
        "passed_over": front.passed_over,
        "networks": front[:],
    }


def _print_answer(answer: ObjectiveAnswer, top: int) -> None:
    echo(f"objective: {answer.objective.name}, {answer.objective.origin}")
    for name, provenance in answer.provenance.items():
        echo(f"{name}: {provenance}")
    for note in answer.notes:
        echo(f"note: {note}")
    limits = ", ".join(map(str, answer.constraints)) or "no limit"
    manner = " for the far ends of intervals" if answer.confident else ""
    echo(
        f"{answer.config.count:,} networks: an integer program found those of the largest sums within {limits}{manner}"
    )
    if answer.verified is not None:
        echo(_verdict(answer, answer.verified))
    elif any(cost.is_latency for cost in answer.costs.values()):
        echo("a search picks what is predicted too fast: measure the best before you rely on it (--verify 3)")
    print_table(_networks("largest first", answer, answer.indices[:top], answer.far))


def _print_front(answer: ObjectiveAnswer, front: ObjectiveFront) -> None:
    title = f"Pareto front over {answer.objective.name} and {front.cost}"
    print_table(_networks(title, answer, front.indices, front.far))
    echo(part_of_front(len(front.indices), front.cost))
    if front.passed_over:
        echo("some of less cost were passed over, unlike any that was measured: measure more of the space")


def _networks(
    title: str, answer: ObjectiveAnswer, indices: Sequence[int], far: frozenset[int]
) -> PrintedTable:
    columns = ["network", answer.objective.name]
    spare: list[str] = []
    for name, cost in answer.costs.items():
        if name != answer.objective.name:
            columns.append(f"{name} ms" if cost.is_latency else name)
        if cost.is_latency:
            # A narrow terminal leaves out intervals; whether a network is measured, near or far is always shown.
            spare = [f"{cost.coverage:.0%} interval"]
            columns += [*spare, "source"]
    rows = []
    for index in indices:
        is_count = answer.objective.name in ("params", "macs")
        score = answer.score(index)
        cells = [
            str(Architecture.from_index(index, answer.config)),
            amount_text(score, "", digits=4) if is_count else f"{score:.6g}",
        ]
        for name, amount in answer.costs_at(index).items():
            cost = answer.costs[name]
            if cost.is_latency:
                ends = "none" if amount.low != amount.low else interval_text(amount.low, amount.high)
                grade = f", grade {amount.grade}" if amount.grade else ""
                cells += [ms_text(amount.value), ends, source_text(index, amount, far) + grade]
            elif name != answer.objective.name:
                cells.append(amount_text(amount.value, cost.unit, digits=4))
        rows.append(cells)
    return PrintedTable(title=title, columns=columns, rows=rows, spare=spare)
