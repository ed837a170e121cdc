"""While the database is away sessions wait in a file, and are put into the store in order, each once."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from factories.records import (
    CAMPAIGN,
    CONFIGURATION,
    SESSIONS,
    make_block_run,
    make_failure,
    make_fresh_run,
    make_session,
)
from factories.stores import new_store
from hypothesis import given, settings
from rigs.commands import run
from rigs.postgres import Postgres, start_postgres
from rigs.scripted_link import Run, ScriptedLink, ScriptedSource, run_scripted

from harness import store as store_module
from harness.errors import StoreError, Unstorable
from harness.records import SessionRecord
from harness.store import Store, database, documents
from harness.store.documents import document_of, session_of
from harness.store.maintenance import list_sessions, quarantine
from harness.store.selection import Selection
from harness.store.spool import Spool


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    monkeypatch.setattr(store_module, "REPLAY_EVERY_S", 0.0)
    return tmp_path / "store.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with new_store(path) as store:
        yield store


class Holder:
    """Another program that holds a SQLite store."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)

    def take(self) -> None:
        self._connection.execute("begin immediate")

    def leave(self) -> None:
        self._connection.execute("rollback")

    def close(self) -> None:
        self._connection.close()


def ids(store: Store) -> list[str]:
    return [session.session_id for session in store.sessions(CONFIGURATION)]


def test_what_a_held_store_cannot_take_waits_and_is_stored_in_order(store: Store, path: Path) -> None:
    sessions = [make_session(number=number) for number in range(4)]
    holder = Holder(path)
    store.add_session(sessions[0])
    holder.take()
    store.add_session(sessions[1])
    store.add_session(sessions[2])
    store.add_failure(make_failure())
    weighed, under_load = make_fresh_run(), make_block_run()
    store.add_fresh_run(weighed)
    store.add_block_run(under_load)
    assert store.waiting == 2
    assert "2 sessions wait" in store.settle()
    holder.leave()
    store.add_session(sessions[3])
    assert (store.waiting, store.settle()) == (0, "")
    with sqlite3.connect(path) as connection:
        order = [row[0] for row in connection.execute("select id from sessions order by rowid")]
    assert order == [session.session_id for session in sessions]
    assert store.failures() == [make_failure()]
    assert store.fresh_runs(CONFIGURATION) == [weighed]
    assert store.block_runs(CONFIGURATION, "sustained") == [under_load]
    assert store.sessions(CONFIGURATION) == sessions


def test_the_next_command_puts_into_the_store_what_waits(store: Store, path: Path) -> None:
    holder = Holder(path)
    holder.take()
    store.add_session(make_session())
    store.close()
    held = run(path, "results")
    assert "1 session waits" in held.stderr
    holder.leave()
    done = run(path, "results", "--json")
    assert (done.status, len(done.json)) == (0, 1), done.stderr
    assert "wait" not in done.stderr


def test_what_is_there_already_is_not_stored_twice(store: Store) -> None:
    session, failure = make_session(), make_failure()
    store.add_session(session)
    store.add_failure(failure)
    assert store._spool is not None
    for kind, document in (
        ("session", document_of(session)),
        ("failure", asdict(failure)),
        ("campaign", {"id": CAMPAIGN, "device": "made-up", "started_utc": "2024", "request": "{}"}),
    ):
        store._spool.append({"kind": kind, "record": document})
    assert store.settle() == ""
    assert not store._spool.refused.exists()
    assert store.sessions(CONFIGURATION) == [session]
    assert store.failures() == [failure]


@pytest.mark.parametrize("is_held_before", [False, True])
def test_a_session_is_set_apart_also_while_the_store_is_away(
    path: Path, store: Store, is_held_before: bool
) -> None:
    session, holder = make_session(), Holder(path)
    if is_held_before:
        holder.take()
    store.add_session(session)
    if not is_held_before:
        holder.take()
    store.set_apart(session.session_id)
    holder.leave()
    assert store.settle() == ""
    assert store.sessions(CONFIGURATION) == []
    store.set_apart(session.session_id)  # once is enough
    assert [one.quarantined for one in list_sessions(store, Selection())] == [True]
    assert store.session_count(CAMPAIGN) == 0
    assert quarantine(store, Selection(sessions=[session.session_id]), undo=True) == [session.session_id]
    assert store.sessions(CONFIGURATION) == [session]
    assert store.session_count(CAMPAIGN) == 1


def test_a_torn_line_loses_no_other(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "deep" / "waiting.jsonl")
    spool.append({"kind": "a", "n": 1})
    whole = spool.path.read_bytes()
    spool.append({"kind": "a", "n": 2})
    spool.path.write_bytes(spool.path.read_bytes()[:-5])
    spool.append({"kind": "a", "n": 3})
    assert [entry["n"] for entry in spool.entries()] == [1, 3]
    assert spool.path.read_bytes().startswith(whole)


def test_what_no_store_takes_holds_up_nothing_and_is_put_beside(store: Store) -> None:
    assert store._spool is not None
    stray = make_session(campaign_id="no such campaign")
    store._spool.append({"kind": "session", "record": document_of(stray)})
    store._spool.append({"kind": "nonsense"})
    store._spool.append({"kind": "session", "record": document_of(make_session(number=2))})
    said = store.settle()
    assert "refused 2 records that waited for it" in said and str(store._spool.refused) in said
    assert store.settle() == "", "it is said once"
    assert [session.architecture for session in store.sessions(CONFIGURATION)] == ["network 2"]
    assert len(store._spool.refused.read_bytes().splitlines()) == 2


def test_what_waits_for_a_store_that_was_replaced_meanwhile_is_said_to_be_refused(
    store: Store, path: Path
) -> None:
    holder = Holder(path)
    holder.take()
    store.add_session(make_session())
    store.close()
    holder.close()
    path.unlink()
    Store(str(path.with_name("empty.sqlite"))).close()
    path.with_name("empty.sqlite").rename(path)
    said = run(path, "results")
    assert "refused 1 record that waited for it (" in said.stderr and ".jsonl.refused" in said.stderr
    assert "refused" not in run(path, "results").stderr


def test_where_nothing_can_wait_either_it_is_said(store: Store, path: Path) -> None:
    assert store._spool is not None
    store._spool.path.parent.parent.mkdir(parents=True, exist_ok=True)
    store._spool.path.parent.write_text("a file in the folder's place")
    holder = Holder(path)
    holder.take()
    with pytest.raises(StoreError, match="cannot keep what waits"):
        store.add_session(make_session())
    holder.leave()


@settings(deadline=None, max_examples=20)
@given(session=SESSIONS)
def test_a_session_comes_back_from_its_document(session: SessionRecord) -> None:
    assert session_of(json.loads(json.dumps(document_of(session)))) == session


def test_a_session_that_could_not_be_read_back_is_refused_at_the_door(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 2000)
    bad = [
        make_session(warmup_network_ns=(10**9,) * 500),
        make_session(elapsed_s=float("nan")),
        make_session(architecture="half a pair \ud800"),
        make_session(stop="cap", model_digest="a\0b"),
        make_session(conditions_before={"x": {1, 2}}),
    ]
    for session in bad:
        with pytest.raises(Unstorable, match=session.session_id):
            store.add_session(session)
    assert store.waiting == 0
    assert store.session_counts(CONFIGURATION) == {}


def test_a_network_whose_session_is_too_large_fails_alone(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "MAX_BYTES", 20_000)
    link = ScriptedLink([Run(), Run(measured={"output": [0.123456789] * 5000}), Run()])
    outcome = run_scripted(link, store, ScriptedSource([1, 2, 3]))
    assert (outcome.measured, outcome.error) == (2, None)
    assert [failure.kind for failure in outcome.failures] == ["bad-result"]


def test_a_campaign_goes_on_while_its_store_is_held_and_says_what_waits(store: Store, path: Path) -> None:
    holder = Holder(path)
    link = ScriptedLink([Run(), Run(before=holder.take), Run(), Run()])
    outcome = run_scripted(link, store, ScriptedSource([1, 2, 3, 4]))
    assert outcome.measured == 4
    assert isinstance(outcome.error, StoreError)
    assert "3 sessions wait in" in str(outcome.error)
    holder.leave()
    again = run_scripted(ScriptedLink(), store, ScriptedSource([1, 2, 3, 4]))
    assert (again.measured, again.reused, again.error) == (0, 4, None)


# A real server


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with start_postgres() as server:
        yield server


def test_a_server_that_goes_away_in_mid_campaign_loses_nothing(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(store_module, "REPLAY_EVERY_S", 0.0)
    with Store(server.url) as store:
        link = ScriptedLink([Run(), Run(before=server.stop), Run(), Run(before=server.start), Run()])
        outcome = run_scripted(link, store, ScriptedSource(range(1, 6)))
        assert (outcome.measured, outcome.failures, outcome.error) == (5, [], None)
        assert set(store.session_counts(outcome.uses[0].configuration).values()) == {1}
        assert len(store.sessions(outcome.uses[0].configuration)) == 5


def test_a_server_that_stays_away_is_answered_by_the_next_command(
    server: Postgres, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.setattr(store_module, "READ_WAITS_S", (0.01,))
    monkeypatch.setattr(database, "OPENING_WAITS_S", (0.01,))
    with Store(server.url) as store:
        link = ScriptedLink([Run(), Run(before=server.stop), Run()])
        outcome = run_scripted(link, store, ScriptedSource(range(11, 14)))
        assert outcome.measured == 3
        assert "2 sessions wait in" in str(outcome.error)
        with pytest.raises(
            StoreError, match=r"is the database.s server running.*sessions waiting for it: 2 in"
        ):
            store.configurations()
    away = run(server.url, "results")
    assert away.status == 2 and "Traceback" not in away.stderr
    server.start()
    done = run(server.url, "results", "--json")
    assert done.status == 0, done.stderr
    assert sum(row["architecture"] in ("network 11", "network 12", "network 13") for row in done.json) == 3
