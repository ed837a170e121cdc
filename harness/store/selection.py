"""Selection of stored sessions: by device, runtime, network, configuration, id and time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sa

from harness.store.rows import QUARANTINED
from space.errors import ConfigError

_LEAST_ID = 4  # characters


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Stored sessions that fit all that is given; what is empty leaves the choice open.

    `devices`: names, patterns, groups of `devices_file`, or `all`. `batch`: the images of a run. `sessions`: ids or their
    beginnings; `networks`: architectures, or beginnings of graph hashes; `configuration`: the beginning of an id; `since` and
    `before`: times of their start, parts of ISO 8601 in UTC; `unreadable`: only what cannot be read.
    """

    sessions: Sequence[str] = ()
    devices: Sequence[str] = ()
    runtimes: Sequence[str] = ()
    precisions: Sequence[str] = ()
    batch: int | None = None
    networks: Sequence[str] = ()
    configuration: str = ""
    since: str = ""
    before: str = ""
    unreadable: bool = False
    devices_file: str | Path | None = None  # narrows nothing by itself

    def __post_init__(self) -> None:
        for text in self.sessions:
            if len(text) < _LEAST_ID:
                raise ConfigError(f"session {text!r}: write at least {_LEAST_ID} characters of its id")
        for name in ("since", "before"):
            _utc_text(getattr(self, name), f"--{name}")

    @property
    def is_everything(self) -> bool:
        """Return whether nothing narrows the choice."""
        return not any(getattr(self, field.name) for field in fields(self) if field.name != "devices_file")

    def conditions(self, configurations: Sequence[int] | None, of: sa.Table) -> list[sa.ColumnElement[bool]]:
        """Return the conditions on a row of a table, `unreadable` aside.

        `configurations`: the rows that fit, None where nothing narrows them.
        """
        found: list[sa.ColumnElement[bool]] = []
        if self.sessions:
            found.append(sa.or_(*(_begins(of.c.id, text) for text in self.sessions)))
        if configurations is not None:
            found.append(of.c.configuration_id.in_(configurations))
        if self.networks:
            texts = of.c.architecture.in_(self.networks)
            hashes = [_begins(of.c.graph_hash, text) for text in self.networks if len(text) >= _LEAST_ID]
            found.append(sa.or_(texts, *hashes))
        if self.since:
            found.append(of.c.started_utc >= _utc_text(self.since))
        if self.before:
            found.append(of.c.started_utc < _utc_text(self.before))
        return found


def is_quarantined(purpose: object) -> bool:
    """Return whether a session of this stored purpose is set apart."""
    return isinstance(purpose, str) and purpose.startswith(QUARANTINED)


def _begins(column: sa.Column[str], text: str) -> sa.ColumnElement[bool]:
    return column.startswith(text.lower(), autoescape=True)


def _utc_text(text: str, option: str = "") -> str:
    """Return a time, of UTC where it names no zone, as stored ones begin, which are compared as texts. Raises: ConfigError."""
    try:
        time = datetime.fromisoformat(text) if text else datetime.min
        if time.tzinfo is not None:
            time = time.astimezone(UTC).replace(tzinfo=None)
        return time.isoformat(timespec="milliseconds")
    except (ValueError, OverflowError) as error:
        raise ConfigError(
            f"{option} {text!r}: no time; write a day, such as 2026-11-27, or a time of it, 2026-11-27T14:30, in UTC"
        ) from error
