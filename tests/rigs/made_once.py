"""What is made once in a process: a store's schema; usable sessions, latencies, scatters and predictors of equal measurements."""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Generic, TypeVar

import numpy as np
import sqlalchemy as sa

from harness.estimates.clean_runs import usable_sessions
from harness.estimates.estimate import Scatter, scatter_of
from harness.estimates.latency import Latency, latency_of
from harness.records import SessionRecord, Slice
from harness.store import database
from search.latency import model_selection
from search.latency.additive import Additive, fit_additive
from search.latency.candidates import all_candidates
from search.latency.model_selection import SelectedPredictor, select_predictor

_upgrade = database._upgrade
_statements: list[str] = []


def upgrade_once(connection: sa.Connection, version: str) -> None:
    """Make the schema of an empty SQLite file as the migrations made it the first time."""
    objects = sa.text(
        "SELECT sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND sql IS NOT NULL ORDER BY rowid"
    )
    is_new = connection.dialect.name == "sqlite" and not connection.execute(objects).first()
    if not (is_new and version == "head" and _statements):
        _upgrade(connection, version)
        if is_new and version == "head":
            _statements[:] = connection.execute(objects).scalars()
        return
    for statement in _statements:
        connection.exec_driver_sql(statement)
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (database.VERSION,))


T = TypeVar("T")


class _Made(Generic[T]):
    """What was made last, by what it was made of, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, T] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            self._made[key] = make()
        self._made.move_to_end(key)
        while len(self._made) > self._most:
            self._made.popitem(last=False)
        return self._made[key]


_selected, _estimated, _pooled = _Made[SelectedPredictor](40), _Made[Latency](2000), _Made[Scatter](100)
_usable, _summed = _Made[list[str]](2000), _Made[Additive](40)


def select_once(*given: Any, **named: Any) -> SelectedPredictor:
    """Select a predictor, or return the one that was selected of the same values from the same candidates."""
    values = (*map(_plain, given), *((name, _plain(value)) for name, value in sorted(named.items())))
    key = (*values, model_selection.REPEATS, all_candidates())
    return _selected.get(key, lambda: select_predictor(*given, **named))


def fit_additive_once(*given: Any, parts: Mapping[str, float] | None = None, **named: Any) -> Additive:
    """Fit a sum over blocks, or return the one that was fitted to the same values."""
    values = (*map(_plain, given), *((name, _plain(value)) for name, value in sorted(named.items())))
    key = (*values, model_selection.REPEATS, parts and frozenset(parts.items()))
    return _summed.get(key, lambda: fit_additive(*given, parts=parts, **named))


def estimate_once(*given: Any) -> Latency:
    """Return the latency of a network, or the one that was estimated from the same sessions and the same reference."""
    return _estimated.get(_digest(given), lambda: latency_of(*given))


def usable_once(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions that make an estimate, or those that were found among equal ones."""
    found = _usable.get(_digest(sessions), lambda: [one.session_id for one in usable_sessions(sessions)])
    return [one for one in sessions if one.session_id in found]


def pool_once(groups: Iterable[Sequence[SessionRecord]]) -> Scatter:
    """Return the scatter of sessions, or the one that was pooled from the same."""
    every = list(groups)
    return _pooled.get(_digest(every), lambda: scatter_of(every))


_values_of = attrgetter(*(one.name for one in fields(Slice)))


class _Pickler(pickle.Pickler):
    """Writes slices as their values alone: how dataclasses say theirs takes most of the time."""

    dispatch_table = copyreg.dispatch_table | {Slice: lambda one: (Slice, _values_of(one))}


def _digest(values: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(values)
    return hashlib.sha256(buffer.getbuffer()).digest()


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
