"""The study's results as text."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.plots.pictures import write_picture
from harness.output.plots.study import correlations_picture, study_regret_picture
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo
from space.atomic_files import write_file
from space.text import size_text

if TYPE_CHECKING:
    from search.study.study import Study

FILES = ("study.md", "study.json", "study-regret.png", "study-correlations.png")


def print_study(
    found: Study,
    folder: Path,
    *,
    json_output: bool,
    figure: Path | None = None,
    correlations: Path | None = None,
) -> None:
    """Write a study's files to a folder and its figures to further files, and print its tables or its document."""
    from search.study.report import to_document

    _write(folder, found, figure, correlations)
    if json_output:
        print_json(to_document(found))
    else:
        _print_tables(found)


def _write(folder: Path, found: Study, figure: Path | None, correlations: Path | None) -> None:
    """Write the report, the document and the figures, each whole; the numbers before the pictures."""
    from search.study.report import to_document, to_markdown

    report, document, *figures = FILES
    files: dict[str, Callable[[], bytes]] = {
        report: lambda: to_markdown(found, figures).encode(),
        document: lambda: json.dumps(to_document(found), indent=1, allow_nan=False).encode() + b"\n",
    }
    for name, make in files.items():
        data = make()
        write_file(folder / name, data)
        echo(f"{folder / name}: {size_text(len(data))}", err=True)
    for path in filter(None, (folder / figures[0], figure)):
        write_picture(path, study_regret_picture(found))
    for path in filter(None, (folder / figures[1], correlations)):
        write_picture(path, correlations_picture(found))


def _print_tables(found: Study) -> None:
    """Print the study's tables, which methods beat random search, the answers to the questions, and notes."""
    from search.study.tables import all_tables, verdicts

    for table in all_tables(found):
        texts = [number for number, title in enumerate(table.columns) if title == "what it is"]
        marks = [title for title in table.columns if title.startswith(("at ", "after "))]
        print_table(
            PrintedTable(
                title=table.title,
                columns=table.columns,
                rows=table.rows,
                right=[number for number in range(1, len(table.columns)) if number not in texts],
                folds=texts,
                spare=["runs", "what it is", *marks[:-1], "seconds"],  # not the numbers at the last mark
            ),
        )
        echo("")
    for line in verdicts(found):
        echo(line)
    for answer in found.answers:
        echo(f"question {answer.number}: {answer.question} {answer.sentence} - {found.truth.label}")
    for note in found.notes:
        echo(f"note: {note}")
