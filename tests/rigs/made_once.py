"""What is made once in a process: a new store; usable sessions, latencies, scatters and predictors of equal measurements."""

from __future__ import annotations

import copyreg
import functools
import hashlib
import io
import pickle
import shutil
import sqlite3
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import fields
from operator import attrgetter
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import sqlalchemy as sa

from harness.estimates.clean_runs import usable_sessions
from harness.estimates.estimate import Scatter, scatter_of
from harness.estimates.latency import Latency, latency_of
from harness.records import Configuration, ReferenceLatency, SessionRecord, Slice
from harness.store import Store, database
from harness.store import latencies as stored_latencies
from rigs.made_files import new_folder
from search.latency import model_selection
from search.latency.additive import Additive, fit_additive
from search.latency.candidates import all_candidates
from search.latency.model_selection import SelectedPredictor, select_predictor
from search.latency.ridge import Linear

migrate = database.migrate


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


@functools.cache
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


T = TypeVar("T")


class _Made(Generic[T]):
    """What was made last, by what it was made of, at most so many."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._made: OrderedDict[Hashable, T] = OrderedDict()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._made

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


_by_network, _reference_latency = stored_latencies._by_network, Store.reference_latency
_read = _Made[Any](40)


def read_once(store: Store, reference: ReferenceLatency, *given: Any) -> dict[str, list[SessionRecord]]:
    """Read the sessions of networks, or return those that were read from a store of the same content."""
    found = _of_content(store, (reference, *given), lambda: _by_network(store, reference, *given))
    return {key: list(sessions) for key, sessions in found.items()}


def pool_reference_once(store: Store, configuration: Configuration) -> ReferenceLatency | None:
    """Return a configuration's reference latency, or the one that was pooled from a store of the same content."""
    return _of_content(store, configuration, lambda: _reference_latency(store, configuration))


def _of_content(store: Store, asked: object, read: Callable[[], T]) -> T:
    """Read from a store what another of the same content has told already; of damaged ones each tells for itself."""
    content = _content(store)
    key = content, _digest(asked)
    made: T = _read.get(key, read) if key in _read else read()
    if content and not store.unreadable and _content(store) == content:
        _read.get(key, lambda: made)
    return made


def _content(store: Store) -> bytes:
    """Return the digest of a store's file, with the log beside it; empty where it is none."""
    path = database.sqlite_path(store.engine.url)
    if path is None or not path.is_file():
        return b""
    log = path.with_name(f"{path.name}-wal")
    return hashlib.sha256(path.read_bytes() + (log.read_bytes() if log.exists() else b"")).digest()


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
    if isinstance(value, Linear):
        return value.constant, _plain(value.blocks)
    if not isinstance(value, np.ndarray):
        return value
    return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
