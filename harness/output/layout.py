"""Layout of tables in a width: names, numbers and words are never cut.

In a width that does not hold the whole table, columns are left out in a stated order; where the rest still does not fit, the
first column's cells, which are names, have lines of their own above the others; and at last each cell stands behind its
column's title.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any, TypeVar

from rich.cells import cell_len

from harness.output.terminal import words, wrap

T = TypeVar("T")

GAP = "  "
LEAST_TEXT = 24  # columns of a text that is folded


@dataclass(frozen=True, slots=True, kw_only=True)
class PrintedTable:
    """A table of texts: a title, the columns' titles, and cells (rows, columns).

    The columns numbered `right` (all but the first where it is None) are aligned to the right; those numbered `folds` hold
    sentences, which may be folded between words. `spare` are titles of columns that a narrow terminal does without, the first
    one first.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    right: Sequence[int] | None = None
    folds: Sequence[int] = ()
    spare: Sequence[str] = ()

    @classmethod
    def of(
        cls, title: str, things: Iterable[T], cells: Mapping[str, Callable[[T], str]], **others: Any
    ) -> PrintedTable:
        """Return a table with a row for each thing and a column for each of `cells`, by its title; `others` are fields."""
        rows = [[cell(thing) for cell in cells.values()] for thing in things]
        return cls(title=title, columns=list(cells), rows=rows, **others)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """A table as lines: its head, its body, and the titles of columns that were left out."""

    head: list[str]
    body: list[str]
    left_out: list[str]


def lay_out(table: PrintedTable, width: int | None) -> Layout:
    """Return a table in lines of at most `width` columns, but for single words that are wider; None takes all it needs."""
    every = range(len(table.columns))
    if width is None:
        heads, rows = _grid(table, every, [_widest(table, number) for number in every])
        return Layout(head=heads, body=[line for lines in rows for line in lines], left_out=[])
    filled = [n for n in every if n == 0 or not table.rows or any(row[n] for row in table.rows)]
    least = [n for n in filled if n == 0 or table.columns[n] not in table.spare]
    for way in (_in_rows, _below_names):
        for count in range(len(table.spare) + 1):
            shown = [n for n in filled if n == 0 or table.columns[n] not in table.spare[:count]]
            if found := way(table, shown, width):
                return _layout(table, filled, shown, found)
    return _layout(
        table, filled, least, ([], [_cell_by_cell(table, row, least, width) for row in table.rows])
    )


Lines = tuple[list[str], list[list[str]]]  # of the head, and of each row


def _layout(table: PrintedTable, filled: Sequence[int], shown: Sequence[int], lines: Lines) -> Layout:
    head, rows = lines
    left_out = dict.fromkeys(table.columns[n] for n in filled if n not in shown)
    return Layout(head=head, body=[line for row in rows for line in row], left_out=list(left_out))


def _in_rows(table: PrintedTable, shown: Sequence[int], width: int) -> Lines | None:
    """Return a row's cells beside each other, titles folded if need be; None where that does not fit."""
    for is_folded in (False, True):
        widths = [_narrowest(table, number, is_folded) for number in shown]
        room = width - sum(widths) - len(GAP) * (len(widths) - 1)
        if room < 0:
            continue
        for place, number in enumerate(shown):  # texts that are folded take what is left
            more = min(room, _widest(table, number) - widths[place]) if number in table.folds else 0
            widths[place] += more
            room -= more
        return _grid(table, shown, widths)
    return None


def _below_names(table: PrintedTable, shown: Sequence[int], width: int) -> Lines | None:
    """Return each row below its first cell; None where the others do not fit."""
    first, *others = shown
    found = _in_rows(table, others, width - len(GAP)) if others else None
    if found is None:
        return None
    head, rows = found
    below = [
        [*wrap(row[first], width), *(GAP + line for line in lines)]
        for row, lines in zip(table.rows, rows, strict=True)
    ]
    return [table.columns[first], *(GAP + line for line in head)], below


def _cell_by_cell(table: PrintedTable, row: Sequence[str], shown: Sequence[int], width: int) -> list[str]:
    """Return a row's first cell, and below it the others behind their columns' titles, as many in a line as fit."""
    lines, line = wrap(row[shown[0]], width), ""
    for cell in (f"{GAP}{table.columns[number]} {row[number]}" for number in shown[1:] if row[number]):
        if line and cell_len(line + cell) > width:
            lines += wrap(line, width)
            line = ""
        line += cell
    return lines + (wrap(line, width) if line else [])


def _grid(table: PrintedTable, shown: Sequence[int], widths: Sequence[int]) -> Lines:
    """Return the lines of the head and of each row, cells padded or folded to `widths`."""

    def lines(cells: Sequence[str]) -> list[str]:
        folded = [wrap(cells[number], width, "") for number, width in zip(shown, widths, strict=True)]
        return [
            GAP.join(_padded(table, *one) for one in zip(shown, parts, widths, strict=True)).rstrip()
            for parts in zip_longest(*folded, fillvalue="")
        ]

    return lines(table.columns), [lines(row) for row in table.rows]


def _padded(table: PrintedTable, number: int, text: str, width: int) -> str:
    padding = " " * (width - cell_len(text))
    is_right = number > 0 if table.right is None else number in table.right
    return padding + text if is_right else text + padding


def _widest(table: PrintedTable, number: int) -> int:
    return max(map(cell_len, (table.columns[number], *(row[number] for row in table.rows))))


def _narrowest(table: PrintedTable, number: int, is_folded: bool) -> int:
    """Return the least width of a column: of its cells, or of their longest words, and of its title or its longest word."""
    cells = [row[number] for row in table.rows]
    title = table.columns[number]
    least = max(map(cell_len, words(title) if is_folded else [title]), default=0)
    if number not in table.folds:
        return max([least, *map(cell_len, cells)])
    longest = max((cell_len(word) for cell in cells for word in words(cell)), default=0)
    return max(least, longest, min(LEAST_TEXT, _widest(table, number)))
