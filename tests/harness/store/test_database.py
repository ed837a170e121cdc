"""Reading never writes: read-only folders, other accounts' stores, older schemas; and where SQLite's log cannot work."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
from pathlib import Path

import pytest
import sqlalchemy as sa
from factories.records import CAMPAIGN, CONFIGURATION, make_session
from factories.stores import new_store, stored
from rigs import made_once
from rigs.commands import refused, run
from rigs.no_plain_files import KINDS, no_plain_file
from rigs.open_files import few_open_files
from rigs.postgres import start_postgres
from rigs.read_only import read_only
from rigs.resolver import never_resolved

from harness.errors import StoreError
from harness.store import Store, database
from harness.store.database import is_shared_between_hosts, kind_of
from harness.store.opening import open_existing, open_to_change
from space import TINY
from space.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "lab").mkdir()
    return tmp_path / "lab" / "store?# 100%.sqlite"


def add(path: Path, number: int = 1) -> None:
    with new_store(path) as store:
        store.add_session(make_session(number=number))


def state(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


COMMANDS = {
    "results": ["results"],
    "report": ["report", "--accuracies", "synthetic", "--device", "made-up", "--output", "OUT/page.html"],
    "predict": ["predict", "--device", "made-up", "--threads", "2", "--space", "tiny"],
    "search": ["search", "--accuracies", "synthetic", "--device", "made-up:onnxruntime"],
    "dataset": ["dataset", "write", "--device", "made-up", "--space", "tiny", "--output", "OUT"],
    "compare": ["compare", "0", "1", "--device", "made-up"],
}


def test_the_schema_that_other_tests_make_once_is_that_of_the_migrations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schemas = []
    for migrate, url in (
        (made_once.migrate, str(tmp_path / "migrated.sqlite")),
        (made_once.copy_new, str(tmp_path / "copied.sqlite")),
        (made_once.copy_new, "sqlite://"),
    ):
        monkeypatch.setattr(database, "migrate", migrate)
        with Store(url) as store, store.begin() as connection:
            made = connection.exec_driver_sql(
                "SELECT type, name, tbl_name, sql FROM sqlite_master ORDER BY name"
            )
            version = connection.exec_driver_sql("SELECT * FROM alembic_version")
            schemas.append((made.fetchall(), version.fetchall()))
    assert schemas[0] == schemas[1] == schemas[2] and len(schemas[0][0]) > 10


@pytest.mark.parametrize(
    ("said", "words"),
    [
        (
            'connection to server at "lab" failed: FATAL:  password authentication failed for user "me"',
            "the password",
        ),
        ("connection to server failed: fe_sendauth: no password supplied", "the password"),
        ('connection to server failed: FATAL:  role "me" does not exist', "no such user"),
        ('connection to server failed: FATAL:  database "lab" does not exist', "no such database"),
        ('connection to server failed: FATAL:  no pg_hba.conf entry for host "::1"', "lets nobody in"),
        ("connection to server failed: FATAL:  sorry, too many clients already", "too many connections"),
        (
            "remaining connection slots are reserved for roles with the SUPERUSER attribute",
            "too many connections",
        ),
        ('could not translate host name "nowhere" to address', "host's name is unknown"),
        ("connection to server failed: Connection refused", "server running"),
        ("server closed the connection unexpectedly", "server running"),
        ("permission denied for table sessions", "may not write it"),
        ("attempt to write a readonly database", "may not write it"),
        ('could not extend file "base/1": No space left on device', "the disk is full"),
        ("database or disk is full", "the disk is full"),
        ("[Errno 30] Read-only file system: '/x'", "on that file system"),
        ("database is locked", "another program"),
        ("database disk image is malformed", "harness store check"),
    ],
)
def test_each_refusal_of_a_database_has_its_own_remedy(said: str, words: str) -> None:
    assert words in database.remedy_of(sa.exc.OperationalError("SELECT 1", None, Exception(said)))


def test_a_file_that_sqlite_cannot_open_for_too_many_others_is_told_so(path: Path) -> None:
    add(path)
    with few_open_files(), pytest.raises(StoreError, match="raise the limit of open files"):
        Store(str(path))


def test_a_resolver_that_never_answers_holds_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("psycopg")
    monkeypatch.setattr("harness.store.database.CONNECT_TIMEOUT_S", 0.05)
    monkeypatch.setattr("harness.store.database.OPENING_WAITS_S", ())
    with never_resolved(), pytest.raises(StoreError, match=r"the name is not resolved within 0\.05 s"):
        Store("postgresql+psycopg://me@lab.invalid/harness")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["results", "predict", "dataset"])
def test_commands_that_read_work_on_a_store_in_a_read_only_folder(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "lab"
    folder.mkdir()
    (folder / "store.sqlite").write_bytes(stored(14, 0, False, TINY))
    before = state(folder)
    with read_only(folder):
        words = [word.replace("OUT", str(tmp_path)) for word in COMMANDS[name]]
        done = run(folder / "store.sqlite", *words)
        assert done.status == 0, done.stderr
    assert state(folder) == before


def test_a_store_that_cannot_be_made_says_which_folder_refuses_it(tmp_path: Path) -> None:
    folder = tmp_path / "shelf"
    folder.mkdir()
    with read_only(folder), pytest.raises(StoreError, match=r"shelf'; (nothing can be|this account may)"):
        Store(str(folder / "s.sqlite"))


def test_a_log_that_a_killed_writer_left_in_a_read_only_folder_is_read(path: Path, tmp_path: Path) -> None:
    add(path)
    writer = new_writer(path)
    writer.add_session(make_session(number=2))
    killed = tmp_path / "killed"
    killed.mkdir()
    for end in ("", "-wal"):
        shutil.copy(f"{path}{end}", killed / f"s.sqlite{end}")
    writer.close()
    with read_only(killed), Store(str(killed / "s.sqlite"), read_only=True) as store:
        assert len(store.sessions(CONFIGURATION)) == 2


def new_writer(path: Path) -> Store:
    return Store(str(path))


def test_a_store_of_another_account_is_read_while_that_measures(path: Path) -> None:
    add(path)
    writer = new_writer(path)
    writer.add_session(make_session(number=2))
    before = state(path.parent)
    with read_only(path.parent), Store(str(path), read_only=True) as store:
        assert len(store.sessions(CONFIGURATION)) == 2
    shared_memory = f"{path.name}-shm"  # in which readers take their locks
    assert state(path.parent) | {shared_memory: b""} == before | {shared_memory: b""}
    writer.close()


def test_what_is_opened_to_read_takes_nothing(path: Path) -> None:
    add(path)
    with Store(str(path), read_only=True) as store:
        with pytest.raises(StoreError, match="opened to read"):
            store.add_session(make_session(number=2))
        with pytest.raises(StoreError, match="readonly"), store.begin() as connection:
            connection.execute(sa.text("delete from sessions"))
        assert len(store.sessions(CONFIGURATION)) == 1


def of_schema(url: str, version: str) -> None:
    """Make a store of an older schema that holds a campaign."""
    engine = sa.create_engine(database.parse_url(url))
    with engine.begin() as connection:
        database._upgrade(connection, version)
        connection.execute(
            sa.text(
                "insert into campaigns (id, device, started_utc, request) values (:id, 'made-up', '2024', '{}')"
            ),
            {"id": CAMPAIGN},
        )
    engine.dispose()


@pytest.mark.parametrize("version", ["0001", "0002", "0003", "0005"])
def test_a_store_of_an_older_schema_is_read_from_a_migrated_copy_and_stays_as_it_is(
    path: Path, version: str
) -> None:
    of_schema(str(path), version)
    before = state(path.parent)
    with Store(str(path), read_only=True) as store:
        assert store.configurations() == []
        with store.begin() as connection:
            assert connection.execute(sa.text("select id from campaigns")).scalar_one() == CAMPAIGN
    assert state(path.parent) == before
    with read_only(path.parent):
        assert run(path, "results").status == 0


def test_an_older_schema_in_postgresql_is_read_as_well() -> None:
    with start_postgres() as server:
        of_schema(server.url, "0002")
        with Store(server.url, read_only=True) as store, store.begin() as connection:
            assert connection.dialect.name == "sqlite"
            assert connection.execute(sa.text("select id from campaigns")).scalar_one() == CAMPAIGN
        engine = sa.create_engine(server.url)
        with engine.begin() as connection:
            assert database.version_of(connection) == "0002"
        engine.dispose()


def test_temporary_copies_do_not_stay(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_schema(str(path), "0003")
    (tmp_path / "temp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temp"))
    Store(str(path), read_only=True).close()
    assert list((tmp_path / "temp").iterdir()) == []


def test_an_empty_file_is_an_empty_store_to_readers_and_stays_empty(path: Path) -> None:
    path.write_bytes(b"")
    with Store(str(path), read_only=True) as store:
        assert store.configurations() == []
    assert path.read_bytes() == b""


def test_a_store_to_be_read_must_be_there(path: Path) -> None:
    with pytest.raises(StoreError, match="no such file"):
        Store(str(path), read_only=True)
    assert not path.exists()


@pytest.mark.parametrize("text", [":memory:", "file:typo.sqlite"])
def test_what_sqlite_takes_for_no_file_is_a_file_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="no such store"):
        open_existing(text, print)
    with pytest.raises(ConfigError, match="no such store"):
        open_to_change(text)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_no_plain_file_is_no_store(path: Path, kind: str) -> None:
    place = no_plain_file(kind, path)
    for to_read in (True, False):
        with pytest.raises(
            StoreError, match=r"cannot be opened: it is (a folder|no plain file); name a file"
        ):
            Store(str(place), read_only=to_read)


def test_a_folder_on_the_way_that_is_none_or_closed_is_named(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path.write_text("a file")
    refused(run(path / "below" / "s.sqlite", "results", "--store", str(path / "s.sqlite")), "no such store")

    def denied(self: Path, **_: object) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "stat", denied)
    refused(run(path, "results", "--store", "/closed/s.sqlite"), "/closed/s.sqlite", "enter every folder")


# Where a write-ahead log cannot work

MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
40 22 0:30 / /home rw - nfs4 server:/home rw
41 22 0:31 / /lab\040data rw shared:2 master:1 - fuse.sshfs me@host:/ rw
42 40 0:32 / /home/me/local rw - xfs /dev/sdb rw
43 22 0:33 / /twice rw - nfs server:/ rw
44 22 0:34 / /twice rw - tmpfs none rw
not a line of it
""".splitlines()


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("/tmp/s.sqlite", "ext4"),
        ("/home/me/s.sqlite", "nfs4"),
        ("/home/me/local/s.sqlite", "xfs"),
        ("/homes/s.sqlite", "ext4"),
        ("/lab data/s.sqlite", "fuse.sshfs"),
        ("/twice/s.sqlite", "tmpfs"),
    ],
)
def test_the_file_system_of_a_path_is_that_of_the_deepest_mount(place: str, kind: str) -> None:
    assert kind_of(Path(place), MOUNTS) == kind


def test_a_store_that_hosts_share_has_a_rollback_journal(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not is_shared_between_hosts(path.parent)
    add(path)
    monkeypatch.setattr(database, "is_shared_between_hosts", lambda _: True)
    with new_writer(path) as store:
        store.add_session(make_session(number=2))
        assert not Path(f"{path}-wal").exists()
        assert len(store.sessions(CONFIGURATION)) == 2
    connection = sqlite3.connect(path)
    assert connection.execute("pragma journal_mode").fetchone() == ("delete",)
    connection.close()


def test_a_store_whose_journal_cannot_change_while_another_writes_waits_for_that(path: Path) -> None:
    """SQLite itself refuses at once there, however long its timeout: so two that made a store at once met each other."""
    add(path)
    writer = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    writer.execute("pragma journal_mode=delete")
    writer.execute("begin immediate")
    has_written = threading.Event()

    def end() -> None:
        has_written.set()
        writer.execute("commit")
        writer.close()

    ending = threading.Timer(0.3, end)
    ending.start()
    with Store(str(path)) as store:
        assert has_written.is_set(), "opened only then"
        assert len(store.sessions(CONFIGURATION)) == 1
    ending.join()
    connection = sqlite3.connect(path)
    assert connection.execute("pragma journal_mode").fetchone() == ("wal",)
    connection.close()


def test_where_sqlite_has_no_shared_memory_a_store_works_without_a_log(path: Path) -> None:
    url = f"sqlite:///file:{path.parent}/dotfile.sqlite?vfs=unix-dotfile&uri=true"
    with Store(url) as store:
        store.start_campaign(CAMPAIGN, "made-up", "2024", {})
        store.add_session(make_session())
        with store.begin() as connection:
            assert connection.execute(sa.text("pragma journal_mode")).scalar_one() == "delete"


@pytest.mark.parametrize("name", ["SQLITE_PROTOCOL", "SQLITE_IOERR_SHMMAP"])
def test_a_log_that_fails_for_want_of_shared_memory_gives_way_to_a_journal(name: str) -> None:
    class Cursor:
        ran: list[str] = []  # noqa: RUF012

        def execute(self, statement: str) -> None:
            self.ran.append(statement)
            if statement.endswith("WAL"):
                error = sqlite3.OperationalError("locking protocol")
                error.sqlite_errorname = name
                raise error

        def close(self) -> None: ...

    class Connection:
        def cursor(self) -> Cursor:
            return Cursor()

    database._writer_of(None)(Connection(), None)
    assert Cursor.ran[:2] == ["PRAGMA journal_mode=WAL", "PRAGMA journal_mode=DELETE"]
    Cursor.ran.clear()
