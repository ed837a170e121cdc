"""The study's report as Markdown, and as plain values."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from search.statistics import finite
from search.study.questions import plain_pair
from search.study.study import Study
from search.study.tables import all_tables, verdicts


def to_markdown(study: Study, figures: Sequence[str] = ()) -> str:
    """Return the study as Markdown: answers, tables, caveats and settings; `figures` are files next to it."""
    lines = [f"# Search methods compared on {study.truth.label}", ""]
    lines += [
        f"Ground truth: {study.truth.origin}, SHA-256 {study.truth.digest}.",
        f"Teacher: {study.teacher}.",
        "",
    ]
    lines += ["## Who beats random search", "", *(f"- {text}" for text in verdicts(study)), ""]
    lines += [f"## The six questions, on {study.truth.label}", ""]
    for answer in study.answers:
        lines += [f"{answer.number}. {answer.question} {answer.sentence}."]
    lines += ["", *(f"![{name}]({name})" for name in figures), ""]
    for table in all_tables(study):
        lines += [f"### {table.title}", "", _row(table.columns), _row(["---"] * len(table.columns))]
        lines += [*(_row(row) for row in table.rows), ""]
    lines += ["## What to mind", "", *(f"- {note}" for note in study.notes), ""]
    settings = json.dumps(study.settings.to_plain(), indent=1, sort_keys=True)
    lines += [f"## Settings, SHA-256 {study.settings.digest}", "", "```json", settings, "```", ""]
    return "\n".join(lines)


def to_document(study: Study) -> dict[str, Any]:
    """Return the study as plain values for JSON; the keys of synthetic values hold the word."""
    word = "synthetic_" if study.truth.synthetic else ""
    return {
        "networks": study.truth.label,
        "ground_truth": {
            "file": study.truth.origin,
            "sha256": study.truth.digest,
            "dataset": study.truth.dataset,
            "epochs": study.truth.epochs,
            f"{word}best_test_percent": float(study.truth.test.max()),
        },
        "teacher": study.teacher,
        "training_flops": study.unit_flops,
        "settings": study.settings.to_plain(),
        "settings_sha256": study.settings.digest,
        "methods": [
            {
                "method": method.method,
                "meaning": method.meaning,
                "runs": [
                    {
                        "seed": run.seed,
                        "flops": run.flops.tolist(),
                        "networks": run.networks.tolist(),
                        "seconds": [finite(value) for value in run.seconds.tolist()],
                        f"{word}regret_points": run.regret.tolist(),
                        f"{word}lucky_regret_points": run.lucky_regret.tolist(),
                    }
                    for run in method.runs
                ],
            }
            for method in study.methods
        ],
        f"{word}standings": {
            str(mark): [
                {
                    "method": one.method,
                    "regret_points": one.regret.to_plain(),
                    "minus_random_points": one.difference.to_plain(),
                    "against_random": str(one.verdict),
                    "answered": one.answered,
                    "runs": one.runs,
                }
                for one in found
            ]
            for mark, found in study.standings.items()
        },
        f"{word}rank_correlations": {name: plain_pair(*pair) for name, pair in study.correlations.items()},
        f"{word}answers": [answer.to_plain() for answer in study.answers],
        "notes": list(study.notes),
    }


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
