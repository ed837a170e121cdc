"""Devices of a campaign on a terminal where not all fit: which are shown, and a line that counts the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from space.text import counted

CHOICE_S = 2.0  # the same devices are shown for this time, where not all fit
MESSAGE_LINES = 4  # of a terminal are left to the latest output
NEWS_SHARE = 3  # one line in this many is for devices at work, however many are in trouble


@dataclass(slots=True, kw_only=True)
class DeviceRow:
    """State of a device's campaign: `done` of `total` sessions; `news` grows with each change of any device's state."""

    name: str
    news: int = 0
    in_trouble: bool = False
    has_ended: bool = False
    done: int = 0
    total: int = 0


class DeviceRows:
    """All devices of a campaign, and those that a terminal shows at the moment; safe in threads."""

    def __init__(self) -> None:
        self._rows: dict[str, DeviceRow] = {}
        self._lock = threading.Lock()
        self._news = 0
        self._shown: list[DeviceRow] = []
        self._chosen = (0.0, 0, 0)  # when, for how many lines, and with how many devices in trouble

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, name: object) -> bool:
        return name in self._rows

    def note(self, name: str, **state: bool | int) -> None:
        """Note an event of a device, with the changed fields of its `DeviceRow`."""
        with self._lock:
            self._news += 1
            row = self._rows.setdefault(name, DeviceRow(name=name))
            row.news = self._news
            for key, value in state.items():
                setattr(row, key, value)

    def fitting(self, lines: int, width: int, lines_each: int = 1) -> tuple[list[str], str]:
        """Return the devices to show in a number of lines, the same ones for `CHOICE_S`, and a text on the others."""
        rows = list(self._rows.values())
        if len(rows) > lines // lines_each:  # one line counts the rest, whatever a device takes
            lines = min(max(lines - 1, 0) // lines_each + 1, len(rows) - 1)
        now_s, troubled = time.monotonic(), sum(row.in_trouble for row in rows)
        if self._chosen[1:] != (lines, troubled) or now_s - self._chosen[0] >= CHOICE_S or len(rows) <= lines:
            self._shown, self._chosen = choose_rows(rows, lines), (now_s, lines, troubled)
        return [row.name for row in self._shown], rest_text(rows, self._shown, width)


def lines_for(others: int, height: int) -> int:
    """Return how many lines of a terminal are left for devices beside `others`, and beside what was told last."""
    return max(height - 1 - min(MESSAGE_LINES, height // 6) - others, 1)


def choose_rows(rows: Sequence[DeviceRow], lines: int) -> list[DeviceRow]:
    """Return the devices to show in a number of lines, of which one counts the others where not all are shown.

    Those in trouble come first, the latest of them if they are too many; then those with the latest news, and those that have
    ended last. Within either kind they stand in the order of `rows`, so that none jumps about.
    """
    if len(rows) <= lines:
        return list(rows)
    room = max(lines - 1, 0)
    troubled = _latest([row for row in rows if row.in_trouble])
    others = _latest([row for row in rows if not row.in_trouble])
    reserved = min(len(others), room // NEWS_SHARE)
    shown = troubled[: room - reserved]
    shown += others[: room - len(shown)]
    names = {row.name for row in shown}
    chosen = [row for row in rows if row.name in names]
    return [row for row in chosen if row.in_trouble] + [row for row in chosen if not row.in_trouble]


def rest_text(rows: Sequence[DeviceRow], shown: Sequence[DeviceRow], width: int) -> str:
    """Return the line that counts the devices that are not shown, and the sessions of all; empty where all are shown.

    What a narrow terminal does without: the sessions, those at work and done.
    """
    names = {row.name for row in shown}
    hidden = [row for row in rows if row.name not in names]
    if not hidden:
        return ""
    troubled = sum(row.in_trouble for row in hidden)
    ended = sum(row.has_ended and not row.in_trouble for row in hidden)
    counts = {"in trouble": troubled, "at work": len(hidden) - troubled - ended, "done": ended}
    kinds = [f"{count} {kind}" for kind, count in counts.items() if count]
    done, total = sum(row.done for row in rows), sum(row.total for row in rows)
    sessions = f"; of all {done:,} of {counted(total, 'session')}" if total else ""
    text = f"{len(hidden)} more: {', '.join(kinds)}"
    texts = (f"{text}{sessions}", text, f"{len(hidden)} more: {kinds[0]}")
    return next((one for one in texts if cell_len(one) <= width), f"{len(hidden)} more")


def _latest(rows: Sequence[DeviceRow]) -> list[DeviceRow]:
    """Return rows with the latest news first, those that have ended behind those that have not."""
    return sorted(rows, key=lambda row: (row.has_ended, -row.news))
