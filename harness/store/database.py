"""The database below a store: opened to write, made or migrated as needed, or opened to read without a change to it.

To read, a database whose schema is older, or that SQLite cannot read where it lies (a write-ahead log in a folder that may not
be written), is copied to a temporary file, and the copy is migrated and read.
"""

from __future__ import annotations

import contextlib
import os
import random
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa

from harness.devices.transports.tcp import resolve_within
from harness.errors import StoreError
from space.system_errors import remedy_for
from space.user_paths import expand_user

VERSION = "0014"  # of the schema: the newest of migrations/versions
BUSY_TIMEOUT_S = 10.0
MIGRATION_S = 60.0  # for another harness that makes or migrates the store, on a busy machine
CONNECT_TIMEOUT_S = 5
OPENING_WAITS_S = (0.5, 1.0, 2.0, 3.0)  # while a server that is just starting refuses connections
_SCHEMA_LOCK = 0x6861726E  # "harn": any number that all harnesses share
_COPY_ATTEMPTS = 5
_ROWS_AT_ONCE = 200
# What SQLite says where memory cannot be shared, which write-ahead logs need (https://sqlite.org/rescode.html).
_NO_WAL = ("SQLITE_PROTOCOL", "SQLITE_IOERR", "SQLITE_CANTOPEN")
# Kinds of file systems whose hosts share a folder and no memory, and some that have none to share: https://sqlite.org/wal.html.
_SHARED_KINDS = (
    *("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "lustre", "gpfs", "beegfs", "glusterfs"),
    *("ocfs2", "gfs2", "vboxsf", "vmhgfs", "prl_fs", "virtiofs"),
)
_MOUNTS = Path("/proc/self/mountinfo")
# Of a connection that is refused for good, whatever the server's state.
_FINAL = re.compile(
    r"authentication|password|does not exist|no pg_hba|resolve|Name or service|role .* not|permission denied"
)
# What helps against what databases refuse, the first that fits; what systems refuse is in `space.system_errors`.
_REMEDIES = (
    ("locked|busy", "another program is holding it: try again when that has ended"),
    (
        "not a database",
        "it is no store, or its beginning is damaged: name another with --store, or restore a backup",
    ),
    (
        "malformed|corrupt",
        "its file is damaged: see 'harness store check', or restore a backup",
    ),
    (
        "authentication failed|no password supplied|password required",
        "check the user and the password in its URL, PGPASSWORD or ~/.pgpass",
    ),
    ("role .* does not exist", "there is no such user in the database: check the URL, or have it made"),
    (
        "database .* does not exist",
        "the server runs and has no such database: check the URL, or make it (createdb)",
    ),
    ("no pg_hba.conf entry", "the server lets nobody in from here: have an entry made in its pg_hba.conf"),
    (
        "too many (clients|connections)|connection slots",
        "the server has too many connections: end some, or try later",
    ),
    (
        "translate host name|name or service not known|could not resolve",
        "its host's name is unknown: check the URL",
    ),
    (
        "readonly|read-only transaction|permission denied for|may not",
        "this account may not write it: name another with --store",
    ),
)


@dataclass(frozen=True, slots=True)
class Database:
    """An open database: its engine, its URL, and the function that closes it."""

    engine: sa.Engine
    url: sa.URL
    release: Callable[[], None]


def open_to_write(text: str) -> Database:
    """Open the database at a URL or path, making or migrating it as needed. Raises: StoreError."""
    with _translated(text):
        url = parse_url(text)
        path = _plain_file(url, text)
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        engine = _engine_of(url)
        if url.get_backend_name() == "sqlite":
            sa.event.listen(engine, "connect", _writer_of(path))
        try:
            _patiently(lambda: migrate(engine, name_of(url)))
        except sa.exc.OperationalError as error:
            if path is not None and "unable to open" in str(error):
                _try_to_write(path.parent)
            raise
        return Database(engine, url, engine.dispose)


def open_to_read(text: str) -> Database:
    """Open the database at a URL or path so that nothing in it can be changed. Raises: StoreError, also when it is absent."""
    with _translated(text):
        url = parse_url(text)
        path = _plain_file(url, text)
        if path is None:
            return _read_in_place(url, url)
        if not path.exists():
            raise FileNotFoundError(2, "no such file", str(path))
        if not os.access(path, os.R_OK):
            raise PermissionError(13, "this account may not read it", str(path))
        if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK):
            return _read_in_place(url, url)
        try:  # with the log of a writer of another account, if there is one
            return _read_in_place(url, _read_only(url, path))
        except sa.exc.OperationalError as error:
            if not re.search("readonly|unable to open", str(error)):
                raise
        return _of_copy(url, lambda folder: copy_at_rest(path, folder))


def parse_url(text: str) -> sa.URL:
    """Parse a URL or a file path; `~` is the home folder in both. Raises: ValueError, sqlalchemy's ArgumentError."""
    if "://" not in text:
        return sa.URL.create("sqlite", database=str(expand_user(text)))
    parsed = sa.make_url(text)
    if sqlite_path(parsed) is not None and parsed.database:
        return parsed.set(database=str(expand_user(parsed.database)))
    return parsed


def sqlite_path(url: sa.URL) -> Path | None:
    """Return the file of a SQLite database; None of one in memory, of a `file:` URI, and of other databases."""
    database = url.database or ""
    if url.get_backend_name() != "sqlite" or not database or database.startswith((":memory:", "file:")):
        return None
    return Path(database)


def _plain_file(url: sa.URL, text: str) -> Path | None:
    """Return the path as `sqlite_path` does. Raises: StoreError for a folder, a device or a FIFO, which SQLite misreads."""
    path = sqlite_path(url)
    if path is not None and path.exists() and not path.is_file():
        what = "a folder" if path.is_dir() else "no plain file"
        raise StoreError(f"store {hide(text)}: cannot be opened: it is {what}; name a file with --store")
    return path


def name_of(url: sa.URL) -> str:
    """Return the name of a database for people: a file's path, else the URL without its password."""
    path = sqlite_path(url)
    return str(path) if path is not None and not url.query else hide(url.render_as_string())


def hide(text: str) -> str:
    """Return a URL without its password."""
    return re.sub(r"(password=)[^&]*", r"\1***", re.sub(r"(://[^:/]*:).*@", r"\1***@", text))


def first_line(error: BaseException) -> str:
    """Return an error's message, on one line."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def remedy_of(error: BaseException) -> str:
    """Return the remedy for an error of a database."""
    text = str(error).lower()
    if "unable to open database file" in text:  # SQLite does not say why
        text += _reason_to_open_none()
    for words, remedy in _REMEDIES:
        if re.search(words, text):
            return remedy
    if found := remedy_for(text):
        return found
    if re.search("connect|server|closed|terminat", text):
        return "is the database's server running, and reached from here?"
    return "is its disk full, or another program holding it?"


def _try_to_write(folder: Path) -> None:
    """Make a nameless file in a folder, as SQLite does beside its own without saying why it fails. Raises: OSError."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(folder)) from error


def _reason_to_open_none() -> str:
    """Return why this process can open no file at all; empty where it can."""
    try:
        with open(os.devnull, "rb"):  # noqa: PTH123 - no more than that
            return ""
    except OSError as error:
        return f": {error}".lower()


def is_away(error: BaseException) -> bool:
    """Return whether a database did not answer or could take nothing at the moment, rather than refused something for good."""
    if isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated:
        return True
    return isinstance(error, sa.exc.OperationalError | sa.exc.InterfaceError | sa.exc.InternalError | OSError)


def migrate(engine: sa.Engine, name: str) -> None:
    """Bring the schema to the present version; refuse a newer one and a database that is not ours."""
    with engine.begin() as connection:
        if version_of(connection) == VERSION:
            return
    with engine.begin() as connection:
        _lock_schema(connection)  # two harnesses that open a new store at once migrate it one after the other
        present = version_of(connection)
        check_ours(connection, present, name)
        if present != VERSION:
            _upgrade(connection, "head")


def version_of(connection: sa.Connection) -> str | None:
    """Return the version of a store's schema as alembic wrote it, without the half second that importing alembic takes."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar()


def check_ours(connection: sa.Connection, present: str | None, name: str) -> None:
    """Raise StoreError of a schema that this version does not know, and of a database that holds something else."""
    if (present is not None and not re.fullmatch("[0-9]{4}", present)) or (present or "") > VERSION:
        raise StoreError(
            f"store {name}: written by a newer version of harness (schema {present}, this one knows up to "
            f"{VERSION}); upgrade harness, or name another store with --store"
        )
    tables = set(sa.inspect(connection).get_table_names())
    if present is None and tables:
        raise StoreError(
            f"store {name}: holds tables ({', '.join(sorted(tables)[:3])}) but is no store of harness; name "
            "another with --store"
        )


def copy_at_rest(path: Path, folder: Path) -> Path:
    """Copy a SQLite file that nobody has open, with the log that a killed writer left; return the copy.

    Raises: OSError when the file cannot be read, or is written again and again meanwhile.
    """
    copy = folder / "copy.sqlite"
    log = path.with_name(path.name + "-wal")
    for attempt in range(_COPY_ATTEMPTS):
        before = _state(path), _state(log)
        shutil.copyfile(path, copy)
        copied_log = copy.with_name(copy.name + "-wal")
        copied_log.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(log, copied_log)
        if before == (_state(path), _state(log)):
            return copy
        time.sleep(0.1 * attempt)
    raise OSError(f"{path}: is being written, and this account cannot read it meanwhile; try again later")


def _state(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _read_in_place(asked: sa.URL, url: sa.URL) -> Database:
    """Open a database for reading; an older schema's rows are read from a copy of it, an empty database is an empty store."""
    is_sqlite = url.get_backend_name() == "sqlite"
    engine = _engine_of(url)
    if is_sqlite:
        sa.event.listen(engine, "connect", _prepare_reader)
    elif url.get_backend_name() == "postgresql":
        engine = engine.execution_options(postgresql_readonly=True)
    with contextlib.ExitStack() as closing:
        closing.callback(engine.dispose)
        with _patiently(engine.connect) as connection:
            present = version_of(connection)
            check_ours(connection, present, name_of(asked))
            if present == VERSION:
                closing.pop_all()
                return Database(engine, asked, engine.dispose)
            return _of_copy(asked, lambda folder: _copy_rows(connection, present, folder))


def _of_copy(asked: sa.URL, make: Callable[[Path], Path]) -> Database:
    """Open the copy that is made in a temporary folder, migrated; the folder goes when it is released."""
    folder = tempfile.TemporaryDirectory(prefix="harness-store-")
    with contextlib.ExitStack() as closing:
        closing.callback(folder.cleanup)
        engine = _engine_on(make(Path(folder.name)))
        closing.callback(engine.dispose)
        migrate(engine, name_of(asked))
        return Database(engine, asked, closing.pop_all().close)


def _engine_on(path: Path) -> sa.Engine:
    return sa.create_engine(sa.URL.create("sqlite", database=str(path)))


def _copy_rows(source: sa.Connection, version: str | None, folder: Path) -> Path:
    """Copy a store's rows to a new SQLite file of the same schema, those of an empty database to a file that is not there yet."""
    copy = folder / "copy.sqlite"
    if version is None:
        return copy
    engine = _engine_on(copy)
    with engine.begin() as target:
        _upgrade(target, version)
        found = sa.MetaData()
        found.reflect(target)
        for table in found.sorted_tables:
            if table.name == "alembic_version":  # has its row already
                continue
            rows = source.execution_options(yield_per=_ROWS_AT_ONCE).execute(sa.select(table))
            for batch in rows.mappings().partitions():
                target.execute(table.insert(), [dict(row) for row in batch])
    engine.dispose()
    return copy


def _upgrade(connection: sa.Connection, version: str) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, version)


def _lock_schema(connection: sa.Connection) -> None:
    if connection.dialect.name == "sqlite":
        _while_busy(lambda: connection.exec_driver_sql("BEGIN IMMEDIATE"), MIGRATION_S)
    elif connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_SCHEMA_LOCK)))


def _patiently(connect: Callable[[], Any]) -> Any:
    """Connect, again after waits while a server refuses connections for the moment."""
    for wait_s in OPENING_WAITS_S:
        try:
            return connect()
        except sa.exc.OperationalError as error:
            if isinstance(error.orig, sqlite3.Error) or _FINAL.search(str(error)):
                raise
        time.sleep(wait_s)
    return connect()


def _engine_of(url: sa.URL) -> sa.Engine:
    engine = sa.create_engine(url, **_engine_options(url))
    if url.host and not url.host.startswith("/"):
        host, port = url.host, url.port or 0

        def resolve(*_: object) -> None:  # libpq waits for as long as the resolver does
            try:
                resolve_within(host, port, CONNECT_TIMEOUT_S)
            except TimeoutError as error:
                raise sa.exc.OperationalError("connect", None, error) from error
            except (OSError, UnicodeError):
                return  # who connects says so

        sa.event.listen(engine, "do_connect", resolve)
    return engine


def _engine_options(url: sa.URL) -> dict[str, Any]:
    if url.get_backend_name() == "sqlite":
        return {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
    if url.get_backend_name() != "postgresql" or url.get_driver_name() not in ("psycopg", "psycopg2"):
        return {"pool_pre_ping": True}
    limits = {  # of libpq: a server that vanished is noticed within seconds
        "connect_timeout": CONNECT_TIMEOUT_S,
        "keepalives_idle": 5,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": 10_000,
    }
    return {
        "pool_pre_ping": True,
        "connect_args": {key: value for key, value in limits.items() if key not in url.query},
    }


def _writer_of(path: Path | None) -> Callable[[Any, Any], None]:
    """Return the set-up of a new SQLite connection for writing: a write-ahead log where it can work, else a rollback journal."""
    mode = "DELETE" if path is not None and is_shared_between_hosts(path.parent) else "WAL"

    def prepare(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            _while_busy(lambda: cursor.execute(f"PRAGMA journal_mode={mode}"), BUSY_TIMEOUT_S)
        except sqlite3.OperationalError as error:
            if not getattr(error, "sqlite_errorname", "").startswith(_NO_WAL):
                raise
            _while_busy(lambda: cursor.execute("PRAGMA journal_mode=DELETE"), BUSY_TIMEOUT_S)
        cursor.execute("PRAGMA synchronous=FULL")  # what was reported as stored survives a power cut
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.close()

    return prepare


def is_shared_between_hosts(path: Path) -> bool:
    """Return whether other hosts may write to a file, as over NFS; False where the system does not tell."""
    try:
        kind = kind_of(path.resolve(), _MOUNTS.read_text("utf-8", "surrogateescape").splitlines())
    except (OSError, RuntimeError):  # RuntimeError: symlinks in a circle
        return False
    return kind in _SHARED_KINDS or kind.startswith("fuse.")


def kind_of(path: Path, mounts: Iterable[str]) -> str:
    """Return the file system's kind of an absolute path by lines of /proc/self/mountinfo (proc(5)); empty where none fits."""
    kind, longest = "", -1
    for line in mounts:
        before, dash, after = line.partition(" - ")
        fields = before.split(" ")
        if not dash or len(fields) < 5:
            continue
        point = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), fields[4]))
        # A later mount lies over an earlier one.
        if path.is_relative_to(point) and len(point.parts) >= longest:
            kind, longest = after.split(" ")[0], len(point.parts)
    return kind


def _while_busy(ask: Callable[[], object], patience_s: float) -> None:
    """Do again what SQLite refuses because another connection is in the way.

    Its own timeout is not for all of it: who changes the journal's mode holds a lock already, and is refused at once where
    another does the same, for two that wait for each other would wait for ever (https://sqlite.org/c3ref/busy_handler.html).
    """
    deadline_s = time.monotonic() + patience_s
    while True:
        try:
            ask()
            return
        except (sqlite3.OperationalError, sa.exc.OperationalError) as error:
            refusal = getattr(error, "orig", error)
            is_busy = getattr(refusal, "sqlite_errorname", "").startswith("SQLITE_BUSY")
            if not is_busy or time.monotonic() > deadline_s:
                raise
        time.sleep(random.uniform(0.001, 0.05))  # those who were refused together come back one by one


def _prepare_reader(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    cursor.execute("PRAGMA query_only=ON")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.close()


def _read_only(url: sa.URL, path: Path) -> sa.URL:
    return url.set(database=f"file:{quote(str(path))}").update_query_dict({"mode": "ro", "uri": "true"})


@contextlib.contextmanager
def _translated(text: str) -> Iterator[None]:
    """Raise what goes wrong when a store is opened as a StoreError."""
    name = hide(text)
    try:
        yield
    except sa.exc.NoSuchModuleError as error:
        kind = text.partition("://")[0]
        raise StoreError(
            f"store {name}: SQLAlchemy has no database {kind!r}; write e.g. postgresql+psycopg://USER@HOST/DATABASE, or "
            "pip install its dialect"
        ) from error
    except ImportError as error:
        raise StoreError(f"store {name}: its database driver is missing: {error}; pip install it") from error
    except (sa.exc.ArgumentError, ValueError) as error:  # ValueError: a port that is no number
        raise StoreError(
            f"store {name}: not a URL; write e.g. sqlite:///lab.sqlite or a file path"
        ) from error
    except (sa.exc.SQLAlchemyError, OSError) as error:
        raise StoreError(
            f"store {name}: cannot be opened: {first_line(error)}; {remedy_of(error)}"
        ) from error
