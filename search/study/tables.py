"""Tables of the study's results, for text and Markdown; each table names its networks."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from search.statistics import Estimate, mean_of
from search.study.runs import MethodRuns, MethodStanding, MethodVerdict, StudyRun
from search.study.study import Study

NO_ANSWER = "-"  # a method has spent this much and has not trained a network yet


@dataclass(frozen=True, slots=True, kw_only=True)
class TextTable:
    """A title, the names of columns, and a text for each cell."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def all_tables(study: Study) -> list[TextTable]:
    """Return the tables of the comparison and of the answers that have one."""
    answers = [
        TextTable(
            title=f"question {one.number}: {one.question} - {study.truth.label}",
            columns=one.columns,
            rows=one.rows,
        )
        for one in study.answers
        if one.rows
    ]
    compared = [regret_table(study), networks_table(study), lucky_table(study), cost_table(study)]
    return [*compared, correlation_table(study), *answers]


def regret_table(study: Study) -> TextTable:
    """Return each method's regret at each cost, and whether it beats random search at the decisive one."""
    settings = study.settings
    by_mark = {mark: {one.method: one for one in found} for mark, found in study.standings.items()}
    rows = []
    for method in study.methods:
        decisive: MethodStanding = by_mark[settings.decisive][method.method]
        each = [_regret_text(by_mark[mark][method.method]) for mark in settings.marks]
        last = (_difference_text(decisive), str(decisive.verdict))
        rows.append((method.method, str(len(method.runs)), *each, *last))
    return TextTable(
        title=f"regret of the best by validation in points of {_accuracy(study)}, by cost in trainings' worth of operations "
        f"(one is {study.unit_flops:.3g}), mean over runs and 95 % interval - {study.truth.label}",
        columns=(
            "method",
            "runs",
            *(f"at {mark}" for mark in settings.marks),
            f"minus random's, at {settings.decisive}",
            f"against random, at {settings.decisive}",
        ),
        rows=tuple(rows),
    )


def networks_table(study: Study) -> TextTable:
    """Return each method's regret by number of networks trained or fine-tuned, all other costs ignored."""
    return _marked(
        study,
        f"regret of the best by validation in points of {_accuracy(study)}, by networks trained or fine-tuned",
        "after",
        StudyRun.at_networks,
    )


def lucky_table(study: Study) -> TextTable:
    """Return the regret of the best trained network on test images: chosen and judged by the same images, and so too low."""
    return _marked(
        study,
        f"regret of the best on test images, which no method can know, in points of {_accuracy(study)}, by cost in trainings' "
        "worth of operations",
        "at",
        lambda run, mark: run.lucky_at_flops(mark * study.unit_flops),
    )


def _marked(study: Study, title: str, word: str, regret: Callable[[StudyRun, int], float]) -> TextTable:
    """Return a table of each method's mean of its runs' `regret` at each mark."""
    marks = study.settings.marks

    def mean_at(method: MethodRuns, mark: int) -> str:
        return _mean_text(mean_of(np.array([regret(run, mark) for run in method.runs])))

    return TextTable(
        title=f"{title}, mean over runs and 95 % interval - {study.truth.label}",
        columns=("method", "runs", *(f"{word} {mark}" for mark in marks)),
        rows=tuple(
            (one.method, str(len(one.runs)), *(mean_at(one, mark) for mark in marks)) for one in study.methods
        ),
    )


def cost_table(study: Study) -> TextTable:
    """Return each method's cost until its first trained network, and its total cost."""
    rows = []
    for method in study.methods:
        first, whole = _at(method, 0), _at(method, -1)
        rows.append((method.method, method.meaning, *_cost_texts(study, first), *_cost_texts(study, whole)))
    return TextTable(
        title=f"costs until the first answer, and of whole runs, mean over runs - {study.truth.label}",
        columns=(
            "method",
            "what it is",
            "first: trainings' worth",
            "networks",
            "seconds",
            "whole",
            "networks",
            "seconds",
        ),
        rows=tuple(rows),
    )


def correlation_table(study: Study) -> TextTable:
    """Return the rank correlation of each predictor with trained accuracy, the highest first."""
    pairs = sorted(study.correlations.items(), key=lambda item: -np.nan_to_num(item[1][0].value, nan=-2.0))
    return TextTable(
        title=f"rank correlation with {_accuracy(study)}, 95 % interval over networks and runs - {study.truth.label}",
        columns=("predictor", "Kendall", "Spearman"),
        rows=tuple((name, str(tau), str(rho)) for name, (tau, rho) in pairs),
    )


def verdicts(study: Study) -> list[str]:
    """Return a sentence for each verdict at the decisive cost, with the methods that have it."""
    decisive = study.settings.decisive
    by: dict[MethodVerdict, list[str]] = {}
    for one in study.standings[decisive]:
        if one.verdict is not MethodVerdict.BASELINE:
            by.setdefault(one.verdict, []).append(one.method)
    return [
        f"at {decisive} trainings' worth: {verdict}: {', '.join(methods)}"
        for verdict, methods in sorted(by.items())
    ]


def _accuracy(study: Study) -> str:
    return f"{'synthetic ' if study.truth.synthetic else ''}test top-1"


def _regret_text(one: MethodStanding) -> str:
    text = _mean_text(one.regret)
    return text if one.answered in (0, one.runs) else f"{text}, {one.answered} of {one.runs} runs"


def _mean_text(one: Estimate) -> str:
    if math.isnan(one.value):
        return NO_ANSWER
    if math.isnan(one.low):
        return f"{one.value:.2f}"
    return f"{one.value:.2f} ({max(one.low, 0):.2f} to {one.high:.2f})"


def _difference_text(one: MethodStanding) -> str:
    difference = one.difference
    if math.isnan(difference.value):
        return ""
    if math.isnan(difference.low):
        return f"{difference.value:+.2f}"
    return f"{difference.value:+.2f} ({difference.low:+.2f} to {difference.high:+.2f})"


def _at(method: MethodRuns, place: int) -> tuple[float, float, float]:
    """Return the means over runs of operations, networks and seconds after the first training (0) or the last one (-1)."""
    flops, networks, seconds = (
        np.array([getattr(run, name)[place] for run in method.runs])
        for name in ("flops", "networks", "seconds")
    )
    return float(flops.mean()), float(networks.mean()), float(seconds.mean())


def _cost_texts(study: Study, cost: tuple[float, float, float]) -> tuple[str, str, str]:
    flops, networks, seconds = cost
    return (
        f"{flops / study.unit_flops:.1f}",
        f"{networks:.0f}",
        NO_ANSWER if math.isnan(seconds) else f"{seconds:.0f}",
    )
