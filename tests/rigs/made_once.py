"""What is made once in a process: a new store; records of equal rows, and what is computed of equal records."""

from __future__ import annotations

import copyreg
import hashlib
import io
import pickle
import shutil
import sqlite3
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import fields
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pytest
import sqlalchemy as sa

from harness.estimates import clean_runs
from harness.estimates.estimate import Scatter, scatter_of
from harness.estimates.latency import Latency, latency_of
from harness.estimates.reference import PooledReference, ReferenceLevel, pool_reference
from harness.records import Configuration, SessionRecord, Slice
from harness.store import database
from harness.store.rows import read_session
from rigs.made_files import new_folder
from search.latency import model_selection
from search.latency.candidates import all_candidates
from search.latency.model_selection import SelectedPredictor, select_predictor
from search.latency.ridge import Linear

migrate, _engine_of = database.migrate, database._engine_of


def copy_new(engine: sa.Engine, name: str) -> None:
    """Have a new SQLite database be a copy of the first that the migrations made; nothing waits for the disk."""
    if engine.dialect.name != "sqlite":
        return migrate(engine, name)
    sa.event.listen(engine, "connect", _outlive_no_power_cut)
    path = database.sqlite_path(engine.url)
    if engine.url.database in (None, "", ":memory:"):
        with closing(sqlite3.connect(_migrated())) as source, engine.connect() as connection:
            source.backup(connection.connection.driver_connection)  # type: ignore[arg-type]
    elif path is not None and not (path.exists() and path.stat().st_size):
        with suppress(OSError):  # which the migrations meet in their own way
            shutil.copyfile(_migrated(), path)
    return migrate(engine, name)


@cache
def _migrated() -> Path:
    """Return the file of an empty store."""
    path = new_folder() / "empty.sqlite"
    engine = sa.create_engine(f"sqlite:///{path}")
    migrate(engine, "empty")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA journal_mode=WAL")
    engine.dispose()
    return path


def _outlive_no_power_cut(connection: sqlite3.Connection, _record: object) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def engine_once(url: sa.URL) -> sa.Engine:
    """Return an engine as the product makes it; those of SQLite have one dialect, for which each statement is compiled once."""
    engine = _engine_of(url)
    if engine.dialect.name == "sqlite":
        first = _first_engine()
        engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
    return engine


@cache
def _first_engine() -> sa.Engine:
    engine = sa.create_engine("sqlite://")
    engine.connect().close()
    return engine


T = TypeVar("T")


class _Made(Generic[T]):
    """What was made, by what it was made of; all of it is forgotten when it is too much."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: dict[Hashable, T] = {}

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        if key not in self._made:
            made = make()
            if len(self._made) >= self._most:
                self.forget()
            self._made[key] = made
        return self._made[key]

    def forget(self) -> None:
        self._made.clear()


class _Sessions(_Made[SessionRecord]):
    """Sessions by their rows. As long as one is kept, its place in memory stands for it."""

    def __init__(self, most: int, *computed: _Made[Any]) -> None:
        super().__init__(most)
        self._computed = computed
        self._places: set[int] = set()

    def __contains__(self, session: SessionRecord) -> bool:
        return id(session) in self._places

    def get(self, key: Hashable, make: Callable[[], SessionRecord]) -> SessionRecord:
        session = super().get(key, make)
        self._places.add(id(session))
        return session

    def forget(self) -> None:
        super().forget()
        self._places.clear()
        for computed in self._computed:
            computed.forget()


_selected, _references = _Made[SelectedPredictor](40), _Made[PooledReference](50)
_estimated, _pooled = _Made[Latency](4000), _Made[Scatter](100)
_sessions = _Sessions(5000, _estimated, _pooled)  # some 10 kB each
_find_undisturbed = vars(clean_runs)["find_undisturbed"]


@contextmanager
def computed_once() -> Iterator[None]:
    """Read equal sessions, and compute what is estimated and predicted from them, once, predictors on folds that are dealt once.

    How that is done: tests/harness/estimates, tests/search/latency.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("harness.store.read_session", session_once)
        patch.setattr("harness.estimates.reference.pool_reference", pool_reference_once)
        patch.setattr("harness.store.latencies.latency_of", estimate_once)
        patch.setattr("harness.store.latencies.scatter_of", pool_once)
        patch.setattr("search.latency.model_selection.REPEATS", 1)
        patch.setattr("harness.prediction.space_prediction.select_predictor", select_once)
        patch.setattr("harness.prediction.fresh_costs.select_predictor", select_once)
        yield


def select_once(*given: Any, **named: Any) -> SelectedPredictor:
    """Select a predictor, or return the one that was selected of the same values from the same candidates."""
    values = (*map(_plain, given), *((name, _plain(value)) for name, value in sorted(named.items())))
    key = (*values, model_selection.REPEATS, all_candidates())
    return _selected.get(key, lambda: select_predictor(*given, **named))


def session_once(row: sa.RowMapping, configuration: Configuration) -> SessionRecord:
    """Return the session of a row, the same record of equal rows: which of its runs are clean is then known."""
    as_usual = (
        vars(clean_runs)["find_undisturbed"] is _find_undisturbed
    )  # not within rigs.short_campaigns.any_core
    return _sessions.get((as_usual, configuration, *row.values()), lambda: read_session(row, configuration))


def pool_reference_once(levels: Sequence[ReferenceLevel]) -> PooledReference:
    """Pool the reference's levels, or return what equal ones were pooled to."""
    return _references.get(tuple(levels), lambda: pool_reference(levels))


def estimate_once(*given: Any) -> Latency:
    """Return the latency of a network, or the one that was estimated from the same sessions and the same reference."""
    return _estimated.get(_digest(given), lambda: latency_of(*given))


def pool_once(groups: Iterable[Sequence[SessionRecord]]) -> Scatter:
    """Return the scatter of sessions, or the one that was pooled from the same."""
    every = list(groups)
    return _pooled.get(_digest(every), lambda: scatter_of(every))


_values_of = attrgetter(*(one.name for one in fields(Slice)))


class _Pickler(pickle.Pickler):
    """Writes the places of sessions that are kept, and slices as their values alone: how dataclasses say theirs takes long."""

    dispatch_table = copyreg.dispatch_table | {Slice: lambda one: (Slice, _values_of(one))}

    def reducer_override(self, one: Any) -> Any:
        return (int, (id(one),)) if type(one) is SessionRecord and one in _sessions else NotImplemented


def _digest(values: Any) -> bytes:
    buffer = io.BytesIO()
    _Pickler(buffer).dump(values)
    return hashlib.sha256(buffer.getbuffer()).digest()


def _plain(value: Any) -> Any:
    if isinstance(value, Linear):
        return value.constant, _plain(value.blocks)
    if not isinstance(value, np.ndarray):
        return value
    return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
