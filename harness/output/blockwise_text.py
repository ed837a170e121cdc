"""A blockwise search's answer as text; synthetic values are always marked so."""

from __future__ import annotations

from math import isnan
from pathlib import Path
from typing import TYPE_CHECKING

from harness.blockwise.answer import costs_document
from harness.output.campaigns import print_outcome
from harness.output.export_text import print_accuracy
from harness.output.layout import PrintedTable
from harness.output.search_text import print_front
from harness.output.tables import interval_text, print_json, print_table
from harness.output.terminal import echo
from search.blockwise.rounds import between_seeds
from search.table.constraints import amount_text
from search.training.images import uses_text
from search.training.task_source import MARK
from space import is_enumerable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from harness.blockwise.answer import BlockwiseAnswer
    from harness.blockwise.run import BlockwiseResult
    from search.blockwise.fit_networks import FitCost
    from search.blockwise.search import Student
    from search.statistics import Estimate

CANDIDATES = 10  # shown
_HOW = {"fine-tuned": "fine-tuned from the library", "scratch": "trained from scratch"}
_SOURCES = {
    "measured with the weights of this answer": "this model, measured",
    "measured with random weights": "random weights, measured",
}


def print_blockwise(found: BlockwiseResult, *, json_output: bool, output: Path | None) -> None:
    """Print a blockwise search's answer, and on standard error what was measured and where the network is."""
    for outcome in found.outcomes:
        print_outcome(outcome)
    if json_output:
        print_json(found.document)
    else:
        _print_answer(found.answer)
    for model in found.models:
        print_accuracy(model, only_remark=json_output)
    if output is not None:
        echo(f"{output}: {', '.join([*found.document['files'], 'answer.json'])}", err=True)
    else:
        echo(
            "the trained network is kept: the same command with --output FOLDER exports it, and trains nothing again",
            err=True,
        )
    if not found.answer.within and not any(outcome.exit_status for outcome in found.outcomes):
        echo(
            "none of the networks measured is within the limits; set a lower limit, or --confidence 0.95",
            err=True,
        )


def _print_answer(answer: BlockwiseAnswer) -> None:
    """Print what was searched, the finalists, the networks that were fine-tuned, and the answer."""
    setting, searched, found = answer.setting, answer.searched, answer.searched.found
    library = searched.library
    word = "synthetic " if setting.task.synthetic else ""
    echo(
        f"library {answer.library}, teacher {library.teacher.architecture}: {library.teacher.best.val.top1:.2f} % of "
        f"{word}validation images ({setting.task.name})"
    )
    echo(f"distilled: {library.form}")
    echo(f"{word}images: {uses_text(setting.task)}")
    if setting.task.held_out is None:
        echo(
            f"note: for images of their own for each use train the teacher with --task {setting.task.source}{MARK}0"
        )
    for name, provenance in answer.provenance.items():
        echo(f"{name}: {provenance}")
        if doubt := provenance.doubt_note:
            echo(f"note: {name}: {doubt}")
    echo(
        f"predictor {searched.fitted.name} of {', '.join(searched.fitted.features.columns)}: {_judged(answer)}"
    )
    if searched.known is not None:
        echo(_fit_costs(searched.fit_costs, searched.known.kind))
    echo(_chosen(answer))
    score = f"{word}predicted %" if searched.fitted.in_percent else f"{word}score"
    rows = [
        [str(one.architecture), f"{one.predicted:.3f}", f"{one.inherited.top1:.2f}", str(one.distance)]
        for one in found.candidates[:CANDIDATES]
    ]
    title = f"finalists with the library's weights, {len(rows)} of {len(found.candidates)}"
    columns = ["network", score, f"{word}val %", "stages apart"]
    print_table(PrintedTable(title=title, columns=columns, rows=rows, spare=("stages apart",)))
    print_table(_students(answer, word))
    for one in answer.fronts:
        print_front(one.table, one.front, is_part=one.is_part)
    kept = (
        "fine-tuned"
        if answer.student.is_tuned
        else "with the library's weights, which fine-tuning did not better"
    )
    if answer.student.trained is None:
        kept = "with the library's weights"
    verdict = "" if answer.within else ", NOT within the limits as measured"
    if len(answer.runs) > 1:
        print_table(_runs(answer, word))
    echo(f"answer: {answer.student.architecture}, {kept}{verdict}")
    _print_accuracies(answer, word)


def _print_accuracies(answer: BlockwiseAnswer, word: str) -> None:
    """Print the answer's accuracy on test images with its interval, that of the seeds with theirs, and what it was chosen by."""
    val, test = answer.student.val, answer.student.test
    echo(f"{word}test {_interval(test.top1_interval)} %, 95 % over images: which {test.images} were drawn")
    if len(answer.runs) > 1:
        mean = between_seeds(answer.runs)
        alike = ": all alike, which so few images allow" if isnan(mean.low) else ""
        echo(
            f"{word}test {_interval(mean)} %, mean and 95 % over {mean.count} seeds: distilling, choosing and fine-tuning{alike}"
        )
    chosen = "the answer was chosen by" if answer.setting.task.held_out else "epoch and answer were chosen by"
    echo(f"{word}val {val.top1:.2f} % of the {val.images} images that {chosen}: too high as a measure")


def _students(answer: BlockwiseAnswer, word: str) -> PrintedTable:
    """Return the table of the finalists that were fine-tuned, `word` before accuracies."""
    before = [f"{word}val % before tuning", f"{word}test % before tuning"]
    columns = ["network", f"{word}val %", f"{word}test %", *before]
    spare, folds = list(before), []
    for name, cost in answer.setting.costs.costs.items():
        columns += [f"{name} ms", "interval", "source"] if cost.is_latency else [name]
        if cost.is_latency:
            folds.append(len(columns) - 1)
            spare = [*spare, "interval"]
    rows = [_student(answer, one) for one in answer.searched.found.students]
    right = [number for number in range(1, len(columns)) if number not in folds]
    title = "fine-tuned" if any(one.trained for one in answer.searched.found.students) else "answers"
    return PrintedTable(title=title, columns=columns, rows=rows, right=right, folds=folds, spare=spare)


def _runs(answer: BlockwiseAnswer, word: str) -> PrintedTable:
    """Return the table of the seeds' answers, the one chosen among them marked."""
    rows = [
        [
            str(run.answer.architecture),
            f"{run.added}{' (chosen)' if run is answer.run else ''}",
            f"{run.answer.val.top1:.2f}",
            f"{run.answer.test.top1:.2f}",
            _range(run.answer.test.top1_interval),
        ]
        for run in answer.runs
    ]
    return PrintedTable(
        title="answers of the seeds" + ("" if answer.measured is None else ", before any was measured"),
        columns=["network", "seed", f"{word}val %", f"{word}test %", "95 % over images"],
        rows=rows,
        spare=("95 % over images",),
    )


def _range(one: Estimate) -> str:
    return f"{one.low:.2f} .. {one.high:.2f}"


def _interval(one: Estimate) -> str:
    return f"{one.value:.2f}" if isnan(one.low) else f"{one.value:.2f} ({_range(one)})"


def _chosen(answer: BlockwiseAnswer) -> str:
    """Return the number of networks that the finalists were chosen from, and how."""
    searched, choice = answer.searched, answer.searched.choice
    networks = f"{len(searched.library.config):,} networks"
    limits = ", ".join(map(str, answer.setting.constraints)) or "no limit"
    rest = (
        f"; {choice.unknown:,} have a block that was not distilled, and cannot be found"
        if choice.unknown
        else ""
    )
    if choice.allowed is not None:
        return f"{choice.allowed:,} of {networks} are within {limits}{rest}"
    listed = "" if is_enumerable(searched.library.config) else ", too many to list"
    way = f"{networks}{listed}: an integer program chose the finalists within {limits}"
    if choice.pool:
        way = (
            f"{networks}{listed}: an integer program gave the {choice.pool} best within {limits} by the sum of "
            f"{choice.pool_by}; {searched.fitted.name} is no sum, and ranked these alone"
        )
    return way + rest


def _judged(answer: BlockwiseAnswer) -> str:
    report, known = answer.searched.report, answer.searched.known
    if report is None or known is None:
        return "fitted to no accuracy, it only ranks"
    ranks = "" if report.kendall is None else f", Kendall {report.kendall}"
    return f"fitted to {report.n} networks {_HOW[known.kind]}, mean error {report.mae}{ranks}, each left out"


def _fit_costs(costs: Mapping[str, FitCost], kind: str) -> str:
    """Return the cost of a fit's networks, and that of the same networks trained in the other way."""
    told = {one: f"{cost.images:,} images, {cost.flops:.2g} FLOPs" for one, cost in costs.items()}
    own, other = told.pop(kind, ""), "".join(f"the same {_HOW[one]} {text}" for one, text in told.items())
    paid = f"these took {own}" if own else "what these took is not known"
    return f"{paid}; {other}" if other else paid


def _student(answer: BlockwiseAnswer, student: Student) -> list[str]:
    trained, tuned = student.trained, student.tuned_rescored
    cells = [
        str(student.architecture),
        *([] if trained is None or tuned is None else [f"{tuned.top1:.2f}", f"{trained.test.top1:.2f}"]),
        f"{student.candidate.inherited.top1:.2f}",
        f"{student.inherited_test.top1:.2f}",
        *(["", ""] if trained is None else []),
    ]
    for name, one in costs_document(answer, student).items():
        value, low, high = one["value"], one.get("low"), one.get("high")
        if not answer.setting.costs.costs[name].is_latency:
            cells.append("unknown" if value is None else amount_text(value, one["unit"], digits=4))
            continue
        cells.append("unknown" if value is None else f"{value:.4g}")
        cells.append("" if low is None or high is None else interval_text(low, high))
        grade = f", grade {one['grade']}" if one.get("grade") else ""
        cells.append(f"{_SOURCES.get(one['source'], one['source'])}{grade}")
    return cells
