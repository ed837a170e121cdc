"""The study's results as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.tables import echo, print_table

if TYPE_CHECKING:
    from search.study.study import Study


def print_study(found: Study) -> None:
    """Print the study's tables, which methods beat random search, the answers to the questions, and notes."""
    from search.study.tables import all_tables, verdicts

    for table in all_tables(found):
        text = (0, 1) if "what it is" in table.columns else (0,)
        print_table(
            table.title,
            table.columns,
            table.rows,
            right=[number for number in range(len(table.columns)) if number not in text],
        )
        echo("")
    for line in verdicts(found):
        echo(line)
    for answer in found.answers:
        echo(f"question {answer.number}: {answer.question} {answer.sentence} - {found.truth.label}")
    for note in found.notes:
        echo(f"note: {note}")
