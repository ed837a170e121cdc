"""Opening a store: to measure into it, made if it is not there, or to read what is there."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import sqlalchemy as sa

from harness.errors import StoreError
from harness.store import Store, default_url, spool_for
from harness.store.database import hide, parse_url, sqlite_path
from space.errors import ConfigError
from space.user_paths import expand_user

STORE_VARIABLE = "HARNESS_STORE"


def open_store(url: str | Path = "") -> Store:
    """Open the store of `url`, a file or a SQLAlchemy URL, else of $HARNESS_STORE, else the user's own; a missing file is made.

    Raises: StoreError when it cannot be opened, is no store of harness, or was written by a newer version.

    >>> store = open_store("sqlite://")  # in memory
    >>> store.configurations()
    []
    >>> store.close()
    """
    return Store(str(url or "") or os.environ.get(STORE_VARIABLE, "") or default_url())


def check_store(store: object) -> None:
    """Refuse what is no open store, such as its file's name, before anything is done with it. Raises: ConfigError."""
    if not isinstance(store, Store):
        shown = repr(store) if isinstance(store, str | Path) else type(store).__name__
        raise ConfigError(f"store = {shown}: no open store; give harness.open_store(FILE), e.g. 'lab.sqlite'")


def open_existing(url: str, log: Callable[[str], None], *, writes: bool = False) -> Store:
    """Open a store to read what is there, and to add to it where it `writes`; unlike `open_store` this makes no file.

    While the user's own store, or that of $HARNESS_STORE, is not there yet, an empty one in memory is returned in its place;
    for the latter `log` is given a sentence that says so.
    Raises: ConfigError when there is no file of the name that was given; StoreError as `open_store`.
    """
    path = _sqlite_file(url or default_url())
    if path is None or _exists(path, url):
        return Store(url or default_url()) if writes else _read(url or default_url(), log)
    if not url:
        return Store("sqlite://")
    base, mark, query = url.partition("?")
    shown = base + mark + re.sub(r"=[^&]*", "=***", query)  # a password may stand there
    if url != os.environ.get(STORE_VARIABLE):
        raise ConfigError(
            f"there is no such store ({shown}); measure first: harness measure --store FILE, or name another with --store"
        )
    log(f"${STORE_VARIABLE}: {shown} is not there yet")
    return Store("sqlite://")


def open_to_change(url: str) -> Store:
    """Open a store that is there, to change what it holds. Raises: ConfigError when there is none; StoreError as `open_store`."""
    path = _sqlite_file(url or default_url())
    if path is not None and not _exists(path, url):
        raise ConfigError(f"there is no such store ({hide(url) or path}); name another with --store")
    return Store(url or default_url())


def _read(url: str, log: Callable[[str], None]) -> Store:
    """Open a store to read, after writing its waiting records if it takes them."""
    try:
        spool = spool_for(parse_url(url))
        if spool is not None and not spool.is_empty:
            with Store(url) as store:
                if left := store.settle():
                    log(f"note: {left}")
    except (StoreError, sa.exc.ArgumentError, ValueError) as error:
        if isinstance(error, StoreError):
            log(f"note: what waits for the store is not in what follows: {error}")
    return Store(url, read_only=True, log=log)


def _exists(path: Path, url: str) -> bool:
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StoreError(
            f"store {hide(url) or path}: cannot be reached: {error.strerror}; may this account enter every folder on the way?"
        ) from error
    return True


def _sqlite_file(url: str) -> Path | None:
    """Return the file of a SQLite URL; None where there is none, and for what `Store` will refuse."""
    if "://" not in url:
        return expand_user(url)
    try:
        return sqlite_path(parse_url(url))
    except (sa.exc.ArgumentError, ValueError):
        return None
