"""A search's answer as text and plain values; synthetic values are always marked so, in keys, too."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.output.campaigns import print_outcome
from harness.output.layout import PrintedTable
from harness.output.tables import ms_text, print_json, print_table, write_csv
from harness.output.terminal import echo
from harness.prediction.provenance import provenance_document
from harness.query.rows import front_document, limit_row, network_row, source_of
from search.table.answers import accuracy_reach, by_estimate_alone, ties
from search.table.constraints import allowed, amount_text, split_subject
from space import Architecture
from space.text import agreeing, counted

if TYPE_CHECKING:
    from harness.query.answer import ParetoFront, SearchAnswer
    from harness.query.run import SearchResult
    from search.table import Cost, NetworkTable
    from search.table.answers import Answer
    from search.table.pareto import Front
    from space.accuracies import Accuracies
    from space.indexing import FloatArray, IndexArray


def print_search(found: SearchResult, *, top: int, json_output: bool, output: Path | None) -> None:
    """Print a search's answer, its `top` networks, and a front; write all networks within the limits to a CSV file."""
    answer, table = found.answer, found.answer.table.table
    for outcome in found.outcomes:
        print_outcome(outcome)
    if json_output:
        print_json(answer_document(answer, found.front, top))
    else:
        _print_answer(answer, top)
        if found.front is not None:
            print_front(table, found.front.front)
    if output is not None:
        rows = [network_row(table, index) for index in answer.answer.ranked.tolist()]
        write_csv(output, rows, list(rows[0]))
        echo(f"{output}: {counted(len(rows), 'network')}", err=True)


def answer_document(found: SearchAnswer, front: ParetoFront | None, top: int) -> dict[str, object]:
    """Return the answer as plain values; accuracies in percent, latencies in ms, sizes in bytes."""
    table, accuracy = found.table.table, found.table.table.accuracy
    answer, trace, verified = found.answer, found.trace, found.verified
    tied = ties(accuracy, found.indices)
    return {
        "accuracy": accuracy_document(accuracy),
        "costs": {name: {"unit": cost.unit, "title": cost.title} for name, cost in table.costs.items()},
        **provenance_document(found.table.provenance),
        "notes": list(found.table.notes),
        "constraints": [
            limit_row(standing.constraint, confident=answer.confident)
            | {
                "met": standing.met,
                "broken": standing.broken,
                "unknown": standing.unknown,
                "doubtful": standing.doubtful,
            }
            for standing in answer.standings
        ],
        "networks_within_limits": int(allowed(table, answer.constraints, confident=answer.confident).sum()),
        "method": None
        if trace is None
        else {
            "name": trace.method,
            "seed": trace.seed,
            "look_ups": len(trace.indices),
            "seconds": trace.seconds,
        },
        "verified": None if verified is None else sorted(verified),
        "first_by_estimate_alone": [
            str(one)
            for place in found.indices[:1].tolist()
            for one in by_estimate_alone(table, answer, place)
        ],
        "networks": [
            row | {"ties_with_best": one} for row, one in zip(found[:top], tied[:top].tolist(), strict=True)
        ],
        "front": None if front is None else front_document(front.table.table, front.front),
    }


def accuracy_document(accuracy: Accuracies) -> dict[str, object]:
    """Return the kind and origin of accuracies as plain values."""
    return {
        "label": accuracy.label,
        "synthetic": accuracy.synthetic,
        "metric": accuracy.metric,
        "epoch": accuracy.epoch,
        "seeds": list(accuracy.seeds),
        "seed_sd": accuracy.seed_sd,
        "origin": list(accuracy.origin),
    }


def _print_answer(found: SearchAnswer, top: int) -> None:
    """Print the table's sources, how many networks meet each limit, the most accurate ones, and the ties with the first."""
    joined, answer, trace, verified = found.table, found.answer, found.trace, found.verified
    table, accuracy = joined.table, joined.table.accuracy
    echo(f"accuracy: {accuracy.label}, {_provenance(accuracy)}")
    for name, provenance in joined.provenance.items():
        echo(f"{name}: {provenance}")
    for note in joined.notes:
        echo(f"note: {note}")
    for standing in answer.standings:
        parts = [f"{counted(standing.met, 'network meets', 'networks meet')} it"]
        if standing.doubtful:
            way = "not counted" if answer.confident else "counted by the estimate"
            parts.append(f"the limit is in the interval of {standing.doubtful:,} ({way})")
        if standing.unknown:
            parts.append(f"{counted(standing.unknown, 'is', 'are')} not known")
        echo(
            f"{standing.constraint}{_manner(table, standing.constraint.subject, answer)}: {', '.join(parts)}"
        )
    if trace is None:
        echo(f"{counted(len(answer.ranked), 'network is', 'networks are')} within all limits")
    else:
        echo(
            f"{trace.method}: evaluated {counted(len(trace.indices), 'network')} within all limits, seed {trace.seed}"
        )
    ranked = found.indices
    if verified is not None:
        echo(_verdict(answer, accuracy.values, verified, ranked))
    print_table(_networks("most accurate first", table, ranked[:top].tolist(), verified))
    _print_doubted(table, answer, ranked)
    _print_ties(table, ranked)


def _print_doubted(table: NetworkTable, answer: Answer, ranked: IndexArray) -> None:
    """Print which limits the first network may be beyond: its intervals reach across them, or it was picked by predictions.

    Of many networks a search picks those predicted too fast, so that limits met with a confidence hold less often for them.
    """
    if not len(ranked):
        return
    first = int(ranked[0])
    limits = answer.constraints if answer.confident else by_estimate_alone(table, answer, first)
    costs = [table.costs[one.subject] for one in limits]
    is_predicted = any(source_of(cost, first) in ("predicted", "predicted, far") for cost in costs)
    if answer.confident and is_predicted:
        echo(
            "the first is predicted, and picked among many: its limits may hold less often than with the confidence asked "
            "for; --verify 1 measures it"
        )
    elif limits and not answer.confident:
        remedy = "--verify 1 measures it" if is_predicted else "more sessions narrow it"
        echo(
            f"the first is within {' and '.join(map(str, limits))} by its estimate, and its interval reaches beyond: {remedy}, "
            f"--confidence {costs[0].coverage:g} leaves such networks out"
        )


def _verdict(answer: Answer, accuracy: FloatArray, verified: frozenset[int], ranked: IndexArray) -> str:
    """Return the verdict of the finalists' measurements on the answer."""
    if not verified.intersection(answer.ranked.tolist()):
        return none_within_text(len(verified))
    above = int((accuracy[answer.ranked] > accuracy[ranked[0]]).sum())
    text = within_text(len(ranked), len(verified))
    if above:
        text += (
            f"; {counted(above, 'more accurate one, not measured, is', 'more accurate ones, not measured, are')} predicted to "
            "be within them: run the same command again to continue"
        )
    return text


def within_text(inside: int, count: int) -> str:
    """Return how many of the networks measured now are within the limits."""
    return f"{inside} of {counted(count, 'network')} measured now {agreeing(inside, 'is', 'are')} within the limits"


def none_within_text(count: int) -> str:
    """Return that none of the networks measured now is within the limits, or that none was measured well enough to tell."""
    none = f"none of {counted(count, 'network')} measured now is within the limits"
    what = none if count else "no finalist was measured well enough"
    return f"{what}: run the same command again to continue; unverified ones:"


def part_of_front(count: int, cost: str) -> str:
    """Return the remark on a front that integer programs found."""
    return (
        f"{counted(count, 'network')} of the front, by integer programs with one limit on {cost} after another; there may be "
        "others between them"
    )


def print_front(table: NetworkTable, front: Front, *, is_part: bool = False) -> None:
    """Print a Pareto front, cheapest first, and its hypervolume; of a part of a front, how it was found."""
    names = " and ".join(front.costs)
    title = f"Pareto front over {table.accuracy.label} and {names}"
    print_table(_networks(title, table, front.indices.tolist(), None))
    if is_part:
        echo(part_of_front(len(front.indices), names))
    elif len(front.indices):
        worst = [f"{front.reference[0]:.2f} %"] + [
            _amount(cost := table.costs[name], value) + " ms" * (cost.unit == "ms")
            for name, value in zip(front.costs, front.reference[1:], strict=True)
        ]
        word = "synthetic " if table.accuracy.synthetic else ""
        echo(
            f"hypervolume ({word}accuracy): {front.hypervolume:.4f} of the box from the worst of the networks allowed "
            f"({', '.join(worst)}) to the best"
        )


def _manner(table: NetworkTable, subject: str, answer: Answer) -> str:
    cost = table.costs[subject]
    if cost.coverage is None:
        return ""
    return f" for {cost.coverage:.0%} intervals" if answer.confident else " by the estimate"


def _provenance(accuracy: Accuracies) -> str:
    parts = [f"from {', '.join(accuracy.origin)}"]
    if accuracy.seeds:
        parts.append(
            f"training seed{'s' if len(accuracy.seeds) > 1 else ''} {', '.join(map(str, accuracy.seeds))}"
        )
    if accuracy.seed_sd is None:
        parts.append("one training each: how much another training would differ is unknown (--accuracy-sd)")
    else:
        parts.append(f"standard deviation between trainings {accuracy.seed_sd:.2f} points")
    return ", ".join(parts)


def _networks(
    title: str, table: NetworkTable, places: Sequence[int], verified: frozenset[int] | None
) -> PrintedTable:
    """Return some rows of a table of networks, with their accuracies and costs."""
    columns = ["network", *(f"{accuracies.label} %" for accuracies in (table.accuracy, *table.shown))]
    spare = [f"{accuracies.label} %" for accuracies in table.shown]
    for name, cost in table.costs.items():
        columns.append(f"{'synthetic ' if cost.synthetic else ''}{name}{' ms' if cost.unit == 'ms' else ''}")
        if cost.low is not None:
            columns += [f"{cost.coverage:.0%} interval", "grade"]
            spare = [columns[-2], *spare, "grade"]
    if verified is not None:
        columns.append("measured now")
    reach = accuracy_reach(table.accuracy)
    rows = []
    for place in places:
        cells = [str(table.network(place))]
        for number, accuracies in enumerate((table.accuracy, *table.shown)):
            sure = f" +- {reach[place]:.2f}" if not number and reach[place] else ""
            cells.append(f"{accuracies.values[place]:.2f}{sure}")
        for cost in table.costs.values():
            cells += _cost_cells(cost, place)
        if verified is not None:
            cells.append("yes" if place in verified else "no")
        rows.append(cells)
    return PrintedTable(title=title, columns=columns, rows=rows, spare=spare)


def _cost_cells(cost: Cost, index: int) -> list[str]:
    is_bare = cost.low is None or cost.high is None
    if np.isnan(cost.values[index]):
        return ["unknown"] if is_bare else ["unknown", "", ""]
    value = _amount(cost, float(cost.values[index]))
    if cost.low is None or cost.high is None:
        return [value]
    low, high = float(cost.low[index]), float(cost.high[index])
    ends = [_amount(cost, end) for end in (low, high)]
    grade = "" if cost.grades is None else str(cost.grades[index])
    return [value, "none" if low != low else " .. ".join(ends), grade or source_of(cost, index) or ""]


def _print_ties(table: NetworkTable, ranked: IndexArray) -> None:
    """Print how many networks are statistically tied with the most accurate one, and the fastest of them on each device."""
    tied = ranked[ties(table.accuracy, ranked)]
    if len(tied) < 2:
        return
    word = "synthetic " if table.accuracy.synthetic else ""
    is_known = table.accuracy.seed_sd is not None
    why = "their 95 % intervals over trainings overlap" if is_known else "theirs is the same"
    text = f"{counted(len(tied), 'network ties', 'networks tie')} in {word}accuracy with the first: {why}"
    for name, cost in table.costs.items():
        if cost.unit != "ms" or split_subject(name)[1]:
            continue
        known = tied[~np.isnan(cost.values[tied])]
        if not len(known):
            continue
        fastest = int(known[cost.values[known].argmin()])
        of = "them" if len(known) == len(tied) else f"the {len(known):,} whose latency is known"
        verdict = _faster(cost, fastest, int(ranked[0]))
        text += (
            f"; the fastest of {of} on {name} is {Architecture.from_index(fastest, table.config)}, {verdict}"
        )
    echo(text)


def _faster(cost: Cost, fastest: int, best: int) -> str:
    if fastest == best:
        return "the first itself"
    if np.isnan(cost.values[best]):
        return f"{ms_text(cost.values[fastest])} ms; the first's is unknown"
    took = f"{ms_text(cost.values[fastest])} ms against {ms_text(cost.values[best])}"
    if cost.low is None or cost.high is None or cost.high[fastest] < cost.low[best]:
        return took
    if np.isnan(cost.high[fastest]) or np.isnan(cost.low[best]):
        return f"{took} (no interval tells them apart)"
    return f"{took} (a tie: their intervals overlap)"


def _amount(cost: Cost, value: float) -> str:
    return ms_text(value) if cost.unit == "ms" else amount_text(value, cost.unit, digits=4)
