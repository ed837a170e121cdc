"""What is made once in a process, since many tests ask for it: the schema of a store, a predictor of equal measurements."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from typing import Any

import numpy as np
import sqlalchemy as sa

from harness.store import database
from search.latency import model_selection
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


MOST = 40
_fitted: OrderedDict[tuple[Any, ...], SelectedPredictor] = OrderedDict()


def select_once(*given: Any, **named: Any) -> SelectedPredictor:
    """Select a predictor, or return the one that was selected of the same values from the same candidates."""
    values = (*map(_plain, given), *((name, _plain(value)) for name, value in sorted(named.items())))
    key = (*values, model_selection.REPEATS, all_candidates())
    if key not in _fitted:
        _fitted[key] = select_predictor(*given, **named)
    _fitted.move_to_end(key)
    while len(_fitted) > MOST:
        _fitted.popitem(last=False)
    return _fitted[key]


def _plain(value: Any) -> Any:
    if not isinstance(value, np.ndarray):
        return value
    return value.dtype.str, value.shape, hashlib.sha256(value.tobytes()).digest()
