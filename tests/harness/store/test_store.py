"""The store: nothing is lost, nothing is misread, and what is no store of ours is left alone."""

from __future__ import annotations

import json
import os
import pickle
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import alembic.command
import pytest
import sqlalchemy as sa
from alembic.config import Config
from factories.records import (
    CAMPAIGN,
    CONFIGURATION,
    SESSIONS,
    graph_hash,
    make_block,
    make_block_run,
    make_failure,
    make_fresh_run,
    make_session,
    make_slice,
    without_waits,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from rigs import with_tests
from rigs.made_once import migrate
from rigs.postgres import start_postgres

import harness.store
from harness.errors import StoreError, Unstorable
from harness.estimates.reference import reference_level_ns
from harness.records import ReferenceLatency, SessionRecord
from harness.store import VERSION, Store, database, default_url, writing
from harness.store.documents import MAX_BYTES, pack_raw, raw_document, unpack_raw
from harness.store.latencies import latencies
from harness.store.maintenance import check_store, quarantine
from harness.store.selection import Selection
from harness.store.tables import METADATA
from harness.store.writing import WRITERS


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lab" / "store.sqlite"


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store that the migrations have just made, with a campaign."""
    path = tmp_path_factory.mktemp("new") / "store.sqlite"
    open_store(str(path)).close()
    return path.read_bytes()


@pytest.fixture
def store(path: Path, new: bytes) -> Iterator[Store]:
    path.parent.mkdir()
    path.write_bytes(new)
    store = Store(str(path))
    yield store
    store.close()


def open_store(url: str) -> Store:
    store = Store(url)
    store.start_campaign(CAMPAIGN, "made-up", "2024-05-01T00:00:00.000+00:00", {"sessions": 1})
    return store


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    connection = sqlite3.connect(path)
    try:
        return connection.execute(query).fetchall()
    finally:
        connection.close()


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement, values)
    connection.close()


def session_at(reference_ns: int, number: int = 1, minute: int = 0, **changes: Any) -> SessionRecord:
    """Return a session whose reference ran at a steady level and its network twice as long."""
    slices = [make_slice([2 * reference_ns], [reference_ns], [reference_ns])] * 6
    utc = f"2024-05-01T00:{minute:02d}:00.000+00:00"
    return make_session(slices, number=number, started_utc=utc, **changes)


@settings(deadline=None, max_examples=15)
@given(made=st.lists(SESSIONS, min_size=1, max_size=3))
def test_every_session_comes_back_as_it_was(new: bytes, made: list[SessionRecord]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "s.sqlite")
        path.write_bytes(new)
        store = Store(str(path))
        for session in made:
            store.add_session(session)
        for configuration in {session.configuration for session in made}:
            expected = [session for session in made if session.configuration == configuration]
            found = store.sessions(configuration)
            assert sorted(found, key=lambda s: s.session_id) == sorted(expected, key=lambda s: s.session_id)
            assert found == sorted(found, key=lambda s: (s.started_utc, s.session_id))
        assert set(store.configurations()) == {session.configuration for session in made}
        store.close()


def test_what_was_stored_is_there_after_opening_again(store: Store, path: Path) -> None:
    session, failure = make_session(number=1), make_failure(number=2)
    store.add_session(session)
    store.add_failure(failure)
    reference = store.reference_latency(CONFIGURATION)
    store.finish_campaign(CAMPAIGN, "2024-05-01T01:00:00.000+00:00", "complete with 1 failures")
    store.close()
    again = Store(str(path))
    assert again.sessions(CONFIGURATION, [graph_hash(1)]) == [session]
    assert again.failures() == [failure]
    assert reference is not None
    assert again.reference_latency(CONFIGURATION) == reference
    assert again.configurations() == [CONFIGURATION]
    again.close()
    assert rows(path, "select id, device, finished_utc, outcome, request from campaigns") == [
        (CAMPAIGN, "made-up", "2024-05-01T01:00:00.000+00:00", "complete with 1 failures", '{"sessions": 1}')
    ]


def test_sessions_are_counted_by_network_and_configuration(store: Store) -> None:
    other = replace(CONFIGURATION, threads=1)
    for number, count in ((1, 3), (2, 1)):
        for _ in range(count):
            store.add_session(make_session(number=number))
    store.add_session(make_session(number=1, configuration=other))
    assert store.session_counts(CONFIGURATION) == {graph_hash(1): 3, graph_hash(2): 1}
    assert store.session_counts(other) == {graph_hash(1): 1}
    assert store.session_counts(replace(CONFIGURATION, clock_tier="A")) == {}


def test_a_calibration_does_not_count_as_a_measurement_of_the_reference_network(store: Store) -> None:
    store.add_session(make_session(number=5, purpose="calibration"))
    assert store.session_counts(CONFIGURATION) == {}
    assert store.session_counts(CONFIGURATION, "calibration") == {graph_hash(5): 1}
    assert latencies(store, CONFIGURATION) == []
    store.add_session(make_session(number=5))
    assert store.session_counts(CONFIGURATION) == {graph_hash(5): 1}
    assert [row.graph_hash for row in latencies(store, CONFIGURATION)] == [graph_hash(5)]


def test_every_session_tells_the_level_of_the_reference_but_those_set_apart(store: Store) -> None:
    assert store.reference_levels(CONFIGURATION) == []
    assert store.reference_latency(CONFIGURATION) is None
    purposes = ("network", "segment", "trained", "calibration", "throttled", "contended")
    for minute, purpose in enumerate(purposes):
        store.add_session(
            session_at(1000 + minute, minute=minute, purpose=purpose, process=f"worker {minute}")
        )
    store.add_session(session_at(5, configuration=replace(CONFIGURATION, threads=1)))
    levels = store.reference_levels(CONFIGURATION)
    assert [(level.latency_ns, level.process) for level in levels] == [
        (1000 + minute, f"worker {minute}") for minute in range(4)
    ]
    assert [level.started_utc[14:16] for level in levels] == ["00", "01", "02", "03"]


def test_a_reference_that_was_computed_falsely_tells_no_latency_where_others_were_right(store: Store) -> None:
    for minute in range(3):
        store.add_session(
            session_at(300_000, minute=minute, number=1, conditions_after={"reference_error": 1.0})
        )
    for right in (False, True):
        if right:
            store.add_session(session_at(3_000_000, minute=50, number=2))
        reference = store.reference_latency(CONFIGURATION)
        assert reference is not None
        assert reference.latency_ns == pytest.approx(3_000_000 if right else 300_000)
        rows = {row.graph_hash: row for row in latencies(store, CONFIGURATION)}
        (doubt,) = [one for one in rows[graph_hash(1)].findings if one.kind == "wrong-reference"]
        assert "in 3 of 3 sessions" in doubt.message and rows[graph_hash(1)].grade == "D"
    assert not [one for one in rows[graph_hash(2)].findings if one.cap == "D" and one.kind != "few-slices"]
    assert check_store(store).troubles == ()


def test_a_record_that_another_process_stores_at_the_same_moment_is_there_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = make_session()

    def look(connection: sa.Connection, table: sa.Table, values: dict[str, Any]) -> bool:
        monkeypatch.undo()
        with Store(str(store.engine.url.database)) as other:
            other.add_session(session)
        return False  # as it was a moment before

    monkeypatch.setattr(writing, "_is_there", look)
    store.add_session(session, again=True)
    assert store.sessions(CONFIGURATION) == [session]
    with pytest.raises(StoreError, match=r"UNIQUE|unique"):
        store.add_session(session)


def test_the_reference_latency_is_pooled_and_knows_how_uncertain_it_is(store: Store) -> None:
    for minute in range(20):
        store.add_session(session_at(3_000_000 if minute % 2 else 3_300_000, minute=minute))
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None
    assert reference.latency_ns == pytest.approx(3_000_000)
    assert (reference.sessions, reference.measured_utc) == (20, "2024-05-01T00:19:00.000+00:00")
    assert reference.sd is not None
    assert 0.035 < reference.sd < 0.05, "of a visit at another hour"
    assert reference.visits == 1
    store.add_session(session_at(3_000_000, minute=59))
    again = store.reference_latency(CONFIGURATION)
    assert again is not None and again.visits == 2


def test_the_reference_knows_whether_other_cores_were_ever_idle(store: Store) -> None:
    def never_quiet() -> bool:
        reference = store.reference_latency(CONFIGURATION)
        assert reference is not None
        return reference.never_quiet

    for minute in range(3):
        store.add_session(session_at(1000, minute=minute, scheduling={"others_busy": 0.21 + minute / 4}))
    assert never_quiet()
    (row,) = [row for row in latencies(store, CONFIGURATION) if row.estimate.interval is not None]
    assert row.estimate.interval[1] / row.estimate.ratio - 1 > 0.04, "the interval is as wide as the doubt"
    store.add_session(session_at(1000, minute=4, scheduling={"others_busy": 0.2}))
    assert not never_quiet()


def test_the_reference_is_that_of_sessions_whose_core_was_as_fast_as_at_best(store: Store) -> None:
    def paced(
        minute: int, reference_ns: int, pace_ns: int, by: str = "CPython 3.11.7", **changed: Any
    ) -> None:
        session = session_at(
            reference_ns,
            minute=minute,
            scheduling={"pace_ns": [pace_ns] * 9, "paced_by": by, "others_busy": 0.0},
        )
        store.add_session(replace(session, configuration=replace(CONFIGURATION, **changed)))

    def found() -> tuple[float, float, bool]:
        reference = store.reference_latency(CONFIGURATION)
        assert reference is not None
        return reference.latency_ns, reference.slowed, reference.never_quiet

    paced(0, 1900, 100_000)
    paced(1, 2000, 110_000)
    assert found() == (pytest.approx(1910), 0.0, False), "nothing faster is known"
    paced(2, 1000, 50_000, hardware="another machine")
    paced(3, 1000, 50_000, cores=(7,))
    paced(4, 1000, 50_000, by="CPython 3.8.2", provider="another")
    assert found()[1:] == (0.0, False), "other cores and other interpreters say nothing"
    paced(5, 1000, 50_000, provider="another")
    assert found() == (pytest.approx(1910), 1.0, True)
    paced(6, 1100, 60_000)
    assert found() == (pytest.approx(1100), 0.0, False)
    store.add_session(session_at(1200, minute=7, scheduling={}))
    assert found()[0] == pytest.approx(1110), "of a session that does not tell nothing is said"
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None and (reference.sessions, reference.measured_utc[14:16]) == (2, "07")
    paced(8, 1900, 10_000)
    assert found()[1] == 0.0 and found()[0] == pytest.approx(1270), "a tenth of the way from 1200 to 1900"
    (odd,) = [
        one for one in store.sessions(CONFIGURATION) if one.scheduling.get("pace_ns", [])[:1] == [10_000]
    ]
    quarantine(store, Selection(sessions=[odd.session_id]))
    assert found()[0] == pytest.approx(1110), "what is set apart says nothing of what cores can do"


def test_cores_are_usually_as_far_apart_as_where_the_reference_is_quiet(store: Store) -> None:
    def found() -> float | None:
        reference = store.reference_latency(CONFIGURATION)
        assert reference is not None
        return reference.core_to_core_ns

    def told(minute: int, reference_ns: int, **known: Any) -> None:
        store.add_session(session_at(reference_ns, minute=minute, scheduling=known))

    told(0, 1000)
    assert found() is None
    for minute, (reference_ns, ns) in enumerate(
        ((1130, 230.0), (1000, 92.0), (1010, 96.0), (1140, 240.0)), 1
    ):
        told(minute, reference_ns, core_to_core={"ns": [ns / 2, ns], "alone_ns": 95.0, "guest": True})
    assert found() == 94.0
    told(5, 1000, core_to_core="near")
    assert found() == 94.0, "what is no number is not told"
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None and reference.sessions == 4, "of far cores no level counts"
    assert reference.sd is not None and reference.sd < 0.05, "nor does what they differ by widen milliseconds"


def test_the_reference_is_that_of_the_usual_clock_of_a_gpu(store: Store) -> None:
    configuration = replace(CONFIGURATION, provider="CUDAExecutionProvider+graph")
    for minute, (mhz, reference_ns) in enumerate(
        ((1980, 1000), (900, 2000), (1965, 1010), (None, 1005), (900, 2000))
    ):
        samples = () if mhz is None else ({"at_ns": 1, "gpu_clock_mhz": mhz},)
        session = session_at(reference_ns, minute=minute, samples=samples)
        store.add_session(replace(session, configuration=configuration))
    reference = store.reference_latency(configuration)
    assert reference is not None
    assert (reference.gpu_mhz, reference.sessions) == (1965.0, 3)
    assert reference.sd is not None and reference.sd < 0.05


def test_of_a_campaign_that_was_busy_but_for_a_few_sessions_these_tell_the_quiet_level(store: Store) -> None:
    def busy(minute: int, reference_ns: int, share: float | None) -> ReferenceLatency:
        known = {} if share is None else {"others_busy": share}
        store.add_session(session_at(reference_ns, minute=minute, scheduling=known))
        found = store.reference_latency(CONFIGURATION)
        assert found is not None
        return found

    for minute in range(30):
        busy(minute, 1080, 0.9)
    assert busy(30, 1000, None).latency_ns == 1080, "what was beside it is not known"
    assert busy(31, 1060, 0.1).latency_ns == 1080, "one process differs from another by so much"
    found = busy(32, 1000, 0.1)
    assert found.latency_ns == pytest.approx(1006)
    assert found.sd is not None and found.sd > 0.03, "of two sessions"
    (row,) = latencies(store, CONFIGURATION)
    assert row.estimate.interval is not None
    assert row.estimate.interval[1] / row.estimate.ratio - 1 > 0.03, (
        "beside others it may have been moved by as much"
    )


@pytest.mark.parametrize(
    ("provider", "slowed"),
    [
        ("XNNPACK", 1.0),
        ("CUDAExecutionProvider", 1.0),
        ("GPU-fp32", 1.0),
        ("CUDAExecutionProvider+graph", 0.0),
        ("TensorrtExecutionProvider+graph", 0.0),
        ("NPU", 0.0),
        ("EdgeTPU", 0.0),
    ],
)
def test_the_pace_of_a_core_says_nothing_of_what_it_hands_over_in_one_call(
    store: Store, provider: str, slowed: float
) -> None:
    configuration = replace(CONFIGURATION, provider=provider)
    for minute, (pace_ns, of) in enumerate(((50_000, CONFIGURATION), (100_000, configuration))):
        paced = {"pace_ns": [pace_ns] * 9, "paced_by": "CPython 3.11.7", "others_busy": 0.0}
        session = session_at(1000, minute=minute, scheduling=paced)
        store.add_session(replace(session, configuration=replace(of, cores=CONFIGURATION.cores)))
    reference = store.reference_latency(configuration)
    assert reference is not None
    assert (reference.slowed, reference.never_quiet) == (slowed, slowed > 0)
    assert bool(reference.best_paces_ns) == bool(slowed)


@pytest.mark.parametrize("name", ["nvpmodel", "locked_khz", "max_khz"])
def test_the_pace_of_cores_at_another_clock_that_was_set_says_nothing(store: Store, name: str) -> None:
    fast, slow, other = (
        replace(CONFIGURATION, environment=text)
        for text in (f"{name}#1", f"OMP_NUM_THREADS#1 {name}#2", f"{name}#2")
    )
    for minute, (pace_ns, of) in enumerate(((50_000, fast), (100_000, slow), (200_000, other))):
        paced = {"pace_ns": [pace_ns] * 9, "paced_by": "CPython 3.11.7", "others_busy": 0.0}
        store.add_session(replace(session_at(1000, minute=minute, scheduling=paced), configuration=of))
    references = [store.reference_latency(of) for of in (fast, slow, other)]
    assert [one and (one.slowed, one.never_quiet) for one in references] == [
        (0.0, False),
        (0.0, False),
        (1.0, True),
    ]


def test_cores_are_quiet_where_the_system_or_a_probe_says_so_and_not_where_nothing_is_known(
    store: Store,
) -> None:
    probe = {"probe": {"others_waited": 0.5}}
    for minute, known in enumerate(({"others_busy": 0.9}, {}, probe, probe | {"others_busy": 0.3})):
        store.add_session(session_at(1000, minute=minute, scheduling=known))
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None and reference.never_quiet
    store.add_session(session_at(1000, minute=9, scheduling={"probe": {"others_waited": 0.1}}))
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None and not reference.never_quiet


def test_a_session_without_a_clean_slice_tells_no_level(store: Store) -> None:
    whole = session_at(1000)
    waited = [replace(piece, delays_ns=(900,) * len(piece.runs_ns)) for piece in whole.slices]
    store.add_session(replace(whole, slices=tuple(waited)))
    assert store.reference_levels(CONFIGURATION) == []
    assert latencies(store, CONFIGURATION) == []


def test_after_a_recalibration_only_later_sessions_tell_the_reference_latency(store: Store) -> None:
    other = replace(CONFIGURATION, threads=1)
    for configuration in (CONFIGURATION, other):
        store.add_session(session_at(1000, minute=1, configuration=configuration))
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:02:00.000+00:00")
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [1000], (
        "none is later yet"
    )
    store.add_session(session_at(1100, minute=3, purpose="calibration"))
    store.add_session(session_at(1200, minute=4))
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [1100, 1200]
    assert [level.latency_ns for level in store.reference_levels(other)] == [1000]
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:05:00.000+00:00")
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [1100, 1200]
    assert len(store.sessions(CONFIGURATION)) == 2, "all are kept"


@pytest.mark.parametrize("minute", [1, 9], ids=["stepped back", "right"])
def test_a_clock_that_is_set_anew_moves_no_session_to_the_other_side_of_a_recalibration(
    store: Store, minute: int
) -> None:
    store.add_session(session_at(1000, minute=8))  # by a clock that was ahead
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:02:00.000+00:00")
    store.add_session(session_at(1100, minute=minute, purpose="calibration"))
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [1100]


def test_what_is_imported_after_a_recalibration_counts_by_its_date(store: Store) -> None:
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:02:00.000+00:00")
    store.add_session(session_at(1000, minute=1), again=True)
    store.add_session(session_at(1100, minute=3), again=True)
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [1100]


def test_latencies_are_ratios_times_the_reference_latency_fastest_first(store: Store) -> None:
    def timed(number: int, ratio: int) -> SessionRecord:
        return make_session([make_slice([ratio * 3_000_000], [3_000_000], [3_000_000])] * 6, number=number)

    for session in (timed(1, 4), timed(2, 2), timed(2, 2)):
        store.add_session(session)
    found = latencies(store, CONFIGURATION)
    assert [(row.architecture, row.estimate.sessions) for row in found] == [
        ("network 2", 2),
        ("network 1", 1),
    ]
    assert [row.latency_ms for row in found] == pytest.approx([6.0, 12.0])
    reaches = [(row.estimate.interval or (0, 0))[1] / row.estimate.ratio - 1 for row in found]
    assert 0 < reaches[0] < reaches[1] < 0.05, "two sessions know their ratio better than one"
    assert [row.architecture for row in latencies(store, CONFIGURATION, [graph_hash(1)])] == ["network 1"]


def test_latencies_are_read_in_batches_of_networks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.store.latencies.NETWORKS_AT_ONCE", 2)
    sizes = []
    read = store.sessions
    monkeypatch.setattr(
        store,
        "sessions",
        lambda configuration, hashes, purpose: sizes.append(len(hashes)) or read(configuration, hashes),
    )
    for number in (5, 1, 4, 2, 3):
        store.add_session(make_session([make_slice([number * 1000], [1000], [1000])] * 6, number=number))
    found = latencies(store, CONFIGURATION)
    assert [row.architecture for row in found] == [f"network {number}" for number in (1, 2, 3, 4, 5)]
    assert max(sizes) == 2 and sum(sizes) >= 5
    wanted = [graph_hash(3), graph_hash(3), graph_hash(1), graph_hash(77)]
    assert [row.architecture for row in latencies(store, CONFIGURATION, wanted)] == ["network 1", "network 3"]


def test_fresh_runs_come_back_as_they_were_and_a_bad_row_hides_no_other(store: Store, path: Path) -> None:
    runs = [make_fresh_run(number=number) for number in (1, 2)]
    segment = make_fresh_run(number=3, purpose="segment", is_reset=False)
    for run in (*runs, segment):
        store.add_fresh_run(run)
    assert store.fresh_runs(CONFIGURATION) == runs
    assert store.fresh_runs(CONFIGURATION, "segment") == [segment]
    assert store.fresh_runs(replace(CONFIGURATION, threads=1)) == []
    change(path, "update fresh_runs set peak_bytes = 7 where id = ?", runs[0].run_id)
    assert store.fresh_runs(CONFIGURATION) == runs[1:]
    (trouble,) = check_store(store).troubles
    assert (trouble.table, trouble.id) == ("fresh_runs", runs[0].run_id)
    assert "less than the 40000000 of an empty worker" in trouble.problem
    store.unreadable.clear()


def test_failures_are_found_by_configuration(store: Store) -> None:
    elsewhere = replace(CONFIGURATION, device="elsewhere")
    here, there = make_failure(number=1), make_failure(number=2, configuration=elsewhere)
    store.add_failure(here)
    store.add_failure(there)
    assert store.failures() == [here, there]
    assert store.failures(CONFIGURATION) == [here]
    assert store.failures(elsewhere) == [there]
    assert store.failures(replace(CONFIGURATION, threads=7)) == []


def test_sessions_of_more_networks_than_a_query_takes_are_found_oldest_first(store: Store) -> None:
    made = [
        make_session(number=number, started_utc=f"2024-05-01T{(number * 7) % 24:02d}:00:00.000+00:00")
        for number in range(1, 1101, 100)
    ]
    for session in made:
        store.add_session(session)
    wanted = [graph_hash(number) for number in range(1200)]
    found = store.sessions(CONFIGURATION, wanted + wanted)
    assert found == sorted(made, key=lambda s: (s.started_utc, s.session_id))
    assert store.sessions(CONFIGURATION, []) == []
    assert store.sessions(CONFIGURATION, [graph_hash(5000)]) == []


def test_a_session_of_no_campaign_is_refused_whole(store: Store, path: Path) -> None:
    with pytest.raises(StoreError):
        store.add_session(make_session(campaign_id="no-such-campaign"))
    assert rows(path, "select count(*) from sessions") == [(0,)]


def test_a_session_is_never_stored_twice(store: Store) -> None:
    session = make_session()
    store.add_session(session)
    with pytest.raises(StoreError):
        store.add_session(session)
    assert store.sessions(CONFIGURATION) == [session]


# What is opened


def test_a_store_is_made_with_its_folder_and_writes_ahead(path: Path) -> None:
    open_store(str(path)).close()
    assert rows(path, "pragma journal_mode") == [("wal",)]
    assert rows(path, "select version_num from alembic_version") == [(VERSION,)]


def test_a_store_of_the_present_version_opens_without_importing_alembic(store: Store, path: Path) -> None:
    script = f"import sys; from harness.store import Store; Store({str(path)!r}).close(); print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_the_migrations_make_the_tables_that_the_code_uses(store: Store, path: Path) -> None:
    engine = sa.create_engine(f"sqlite:///{path}")
    found = sa.MetaData()
    found.reflect(engine)
    engine.dispose()
    assert set(found.tables) - {"alembic_version"} == set(METADATA.tables)
    for name, table in METADATA.tables.items():
        assert shape(found.tables[name]) == shape(table)


def test_a_store_of_the_first_schema_is_migrated_with_its_calibrations_and_levels(tmp_path: Path) -> None:
    path = tmp_path / "first.sqlite"
    config = Config()
    config.set_main_option("script_location", str(Path(harness.store.__file__).parent / "migrations"))
    engine = sa.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        alembic.command.upgrade(config, "0001")
    engine.dispose()
    network, calibration, damaged = (without_waits(make_session(number=number)) for number in (1, 5, 6))
    change(
        path,
        "insert into campaigns (id, device, started_utc, request) values (?, 'made-up', '2024', '{}')",
        CAMPAIGN,
    )
    values = asdict(CONFIGURATION) | {"cores": "4,5", "digest": CONFIGURATION.digest, "id": 7}
    del values["batch"], values["provider_options"], values["environment"]
    insert(path, "configurations", values)
    for session in (network, calibration, damaged):
        document = json.loads(zlib.decompress(pack_raw(session)))
        for later in ("samples", "gate", "process", "scheduling", "expected", "settled"):
            del document[later]
        document |= {"version": 1, "slices": [piece[:4] for piece in document["slices"]]}
        names = (
            "graph_hash",
            "architecture",
            "model_digest",
            "started_utc",
            "elapsed_s",
            "loop_s",
            "stop",
            "agent_digest",
        )
        insert(
            path,
            "sessions",
            {name: getattr(session, name) for name in names}
            | {"id": session.session_id, "campaign_id": CAMPAIGN, "configuration_id": 7}
            | {"raw": b"" if session is damaged else zlib.compress(json.dumps(document).encode())},
        )
    old = {
        "configuration_id": 7,
        "latency_ns": 5e6,
        "session_id": calibration.session_id,
        "measured_utc": "2024",
    }
    insert(path, "reference_latencies", old)
    with Store(str(path), read_only=True, log=lambda _: None) as reader:
        of_reader = reader.reference_levels(CONFIGURATION), reader.reference_latency(CONFIGURATION)
    told = list[str]()
    store = Store(str(path), log=told.append)
    assert store.sessions(CONFIGURATION) == [network]
    assert store.sessions(CONFIGURATION, purpose="calibration") == [
        replace(calibration, purpose="calibration")
    ]
    levels_ns = [reference_level_ns(one) for one in (network, calibration)]
    assert None not in levels_ns and 5e6 not in levels_ns
    assert [one.latency_ns for one in store.reference_levels(CONFIGURATION)] == levels_ns
    latency = store.reference_latency(CONFIGURATION)
    assert latency is not None and latency.sessions == 2 and latency.sd is not None
    assert of_reader == (store.reference_levels(CONFIGURATION), latency)
    assert "reference_latencies" not in sa.inspect(store.engine).get_table_names()
    assert [one.id for one in check_store(store).troubles] == [damaged.session_id], (
        "the levels are those of the raw times"
    )
    store.close()
    assert damaged.session_id in told[0]


def insert(path: Path, table: str, values: dict[str, object]) -> None:
    marks = ", ".join("?" * len(values))
    change(path, f"insert into {table} ({', '.join(values)}) values ({marks})", *values.values())


def shape(table: sa.Table) -> dict[str, tuple[object, ...]]:
    return {
        column.name: (
            column.type.compile(sa.create_engine("sqlite://").dialect),
            column.primary_key,
            sorted(str(key.target_fullname) for key in column.foreign_keys),
        )
        for column in table.columns
    }


@pytest.mark.parametrize(
    "name", ["with space.sqlite", "100%.sqlite", "who?.sqlite", "a#b.sqlite", "ü:@.sqlite"]
)
def test_a_plain_path_is_the_file_of_that_very_name(tmp_path: Path, name: str) -> None:
    open_store(str(tmp_path / name)).close()
    assert [file.name for file in tmp_path.iterdir()] == [name]


def test_a_tilde_means_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    open_store("~/plain.sqlite").close()
    open_store("sqlite:///~/as-url.sqlite").close()
    assert {file.name for file in tmp_path.iterdir()} == {"plain.sqlite", "as-url.sqlite"}


def test_the_default_store_is_in_the_users_data_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert default_url() == f"sqlite:///{tmp_path}/harness/harness.sqlite"


def test_a_store_of_a_newer_version_is_refused_and_left_alone(store: Store, path: Path) -> None:
    store.close()
    change(path, "update alembic_version set version_num = '9999'")
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"newer version of harness \(schema 9999.*upgrade harness.*--store"):
        Store(str(path))
    assert path.read_bytes() == before


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "photos.db"
    change(path, "create table photos (id integer)")
    with pytest.raises(StoreError, match=r"holds tables \(photos\) but is no store of harness.*--store"):
        Store(str(path))
    assert rows(path, "select name from sqlite_master") == [("photos",)]


@pytest.mark.parametrize(
    "content", [b"not a database at all " * 100, b"\x00" * 5000, b"SQLite format 3\x00rest"]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "letter.txt"
    path.write_bytes(content)
    with pytest.raises(StoreError, match=r"letter\.txt.*cannot be opened"):
        Store(str(path))
    assert path.read_bytes() == content


def test_a_folder_and_a_place_below_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for bad in (tmp_path, tmp_path / "file" / "store.sqlite", Path("/proc/none/store.sqlite")):
        with pytest.raises(StoreError, match="cannot be opened"):
            Store(str(bad))


@pytest.mark.parametrize(
    "url",
    [
        "://",
        "nosuchdb://me:hunter2@host/lab",
        "post gres://me:hunter2@host/lab",
        "postgresql://me:hunter2@host:port/lab",
        "postgresql+nosuchdriver://me:hunter2@host/lab",
        "oracle://me:hunter2@host/lab",
        "mysql://me:hunter2@host/lab",
        "sqlite://me:hunter2@host/lab",
        "postgresql://me:hunter2@[::1/lab",
        "oracle://host/lab?user=me&password=hunter2",
    ],
)
def test_a_bad_url_is_refused_and_its_password_stays_hidden(url: str) -> None:
    with pytest.raises(StoreError) as caught:
        Store(url)
    assert "hunter2" not in str(caught.value)
    assert "store " in str(caught.value)
    assert caught.value.exit_status == 2


def test_a_store_names_itself_by_its_file_or_its_url(tmp_path: Path) -> None:
    path = tmp_path / "my results é.sqlite"
    for url, name in (
        (str(path), str(path)),
        (f"sqlite:///{path}", str(path)),
        (f"sqlite:///{tmp_path}/lab.sqlite?timeout=7", f"sqlite:///{tmp_path}/lab.sqlite?timeout=7"),
    ):
        with Store(url) as store:
            assert store.name == name
        with Store(url, read_only=True) as store:
            assert store.name == name


# Damage


DAMAGE = {
    "no bytes": b"",
    "no zlib": b"garbage",
    "cut off": zlib.compress(b'{"version": 3}' * 50)[:-8],
    "no JSON": zlib.compress(b"{"),
    "no text": zlib.compress(b"\xff\xfe"),
    "a list": zlib.compress(b"[]"),
    "a number": zlib.compress(b"1"),
    "another version": zlib.compress(
        json.dumps(json.loads(zlib.decompress(pack_raw(make_session()))) | {"version": 5}).encode()
    ),
    "no version": zlib.compress(b"{}"),
    "no fields": zlib.compress(b'{"version": 1}'),
    "nesting without end": zlib.compress(b"[" * 200_000),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_blob_hides_no_other_session_and_is_named_once_with_the_remedy(
    store: Store, path: Path, name: str
) -> None:
    session, other = make_session(), make_session(number=2)
    store.add_session(session)
    store.add_session(other)
    change(path, "update sessions set raw = ? where id = ?", DAMAGE[name], session.session_id)
    notes: list[str] = []
    with Store(str(path), read_only=True, log=notes.append) as reader:
        for _ in range(2):
            assert reader.sessions(CONFIGURATION) == [other]
    (note,) = notes
    assert f"1 row cannot be read and stayed out: session {session.session_id} of network 1: " in note
    assert note.endswith("see 'harness store check'")


def test_a_blob_that_lacks_a_field_or_garbles_it_is_refused(store: Store, path: Path) -> None:
    store.add_session(make_session())
    document = json.loads(zlib.decompress(pack_raw(make_session())))
    assert len(document) > 15
    carried = ("conditions", "plan", "gate", "load", "first_run", "reference_load", "reference_first", "scheduling")  # fmt: skip
    for field in document:
        lacking = {key: value for key, value in document.items() if key != field}
        bad = 7 if field == "settled" else None
        for damaged in (lacking,) if field.startswith(carried) else (lacking, document | {field: bad}):
            change(path, "update sessions set raw = ?", zlib.compress(json.dumps(damaged).encode()))
            assert store.sessions(CONFIGURATION) == [], field
            assert len(store.unreadable) == 1, field
            store.unreadable.clear()


@settings(deadline=None)
@given(place=st.integers(0, 10_000), value=st.integers(1, 255))
def test_a_flipped_byte_is_refused_or_harmless(place: int, value: int) -> None:
    session = make_session()
    blob = bytearray(pack_raw(session))
    blob[place % len(blob)] ^= value
    try:
        document = unpack_raw(bytes(blob))
    except ValueError:
        return
    assert document == unpack_raw(pack_raw(session))


@pytest.mark.parametrize("version", [2, 3])
def test_a_blob_of_before_settled_runs_is_read(version: int) -> None:
    session = make_session()
    document = raw_document(session)
    del document["settled"]
    if version == 2:
        del document["process"], document["scheduling"]
        document["slices"] = [piece[:5] for piece in document["slices"]]
    blob = zlib.compress(json.dumps(document | {"version": version}).encode())
    assert unpack_raw(blob) == unpack_raw(pack_raw(session if version == 3 else without_waits(session))) | {
        "settled": None
    }


def test_a_blob_that_would_fill_the_memory_is_cut_off() -> None:
    bomb = zlib.compress(b" " * (MAX_BYTES + 1000), 9)
    assert len(bomb) < 100_000
    with pytest.raises(ValueError, match="cut off or too large"):
        unpack_raw(bomb)


# Many writers

WRITER = """
import pickle, sys, uuid
from dataclasses import replace
from harness.store import Store
url, who, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
session, failure = pickle.loads(bytes.fromhex(sys.argv[4]))
print("ready", flush=True)
sys.stdin.readline()
store = Store(url)
store.start_campaign(f"campaign {who}", "made-up", "2024", {})
for number in range(count):
    own = {"campaign_id": f"campaign {who}", "graph_hash": f"{1000 * who + number:032x}"}
    store.add_session(replace(session, session_id=str(uuid.uuid4()), **own))
    store.add_failure(replace(failure, **own))
store.close()
"""  # what makes sessions takes as long to import as the store


LIKE = pickle.dumps((make_session(), make_failure()))


def start_writers(url: str, count: int, sessions: int) -> list[subprocess.Popen[str]]:
    return [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, url, str(who), str(sessions), LIKE.hex()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=with_tests(),
        )
        for who in range(1, count + 1)
    ]


def run_together(writers: list[subprocess.Popen[str]]) -> None:
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    for writer in writers:
        _, errors = writer.communicate(timeout=60)
        assert writer.returncode == 0, errors


@pytest.mark.long
@pytest.mark.slow
def test_processes_that_make_and_fill_a_store_at_once_lose_nothing(path: Path) -> None:
    run_together(start_writers(str(path), 3, 15))
    store = Store(str(path))
    expected = {graph_hash(1000 * who + number): 1 for who in (1, 2, 3) for number in range(15)}
    assert store.session_counts(CONFIGURATION) == expected
    assert len(store.failures()) == 45
    assert store.configurations() == [CONFIGURATION]
    store.close()


def test_a_store_that_another_is_just_making_is_waited_for(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade = alembic.command.upgrade
    under_way = threading.Event()
    # SQLite's own; on a busy machine it takes long to make one.
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)

    def slow_upgrade(*arguments: Any) -> None:
        under_way.set()
        time.sleep(0.5)
        upgrade(*arguments)

    monkeypatch.setattr(alembic.command, "upgrade", slow_upgrade)
    monkeypatch.setattr(database, "migrate", migrate)
    other = threading.Thread(target=lambda: Store(str(path)).close())
    other.start()
    assert under_way.wait(10)
    store = Store(str(path))
    assert store.configurations() == []
    store.close()
    other.join()


def test_threads_that_share_a_store_lose_nothing(store: Store) -> None:
    errors: list[BaseException] = []
    barrier = threading.Barrier(4)

    def write(who: int) -> None:
        try:
            barrier.wait()
            for number in range(10):
                store.add_session(
                    make_session(
                        number=100 * who + number, configuration=replace(CONFIGURATION, threads=number + 1)
                    )
                )
                store.session_counts(CONFIGURATION)
        except BaseException as error:  # noqa: BLE001 handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(store.configurations()) == 10
    for number in range(10):
        counts = store.session_counts(replace(CONFIGURATION, threads=number + 1))
        assert counts == {graph_hash(100 * who + number): 1 for who in range(4)}


@pytest.mark.slow
def test_a_writer_that_is_killed_leaves_whole_sessions(path: Path) -> None:
    (writer,) = start_writers(str(path), 1, 100_000)
    assert writer.stdin is not None
    writer.stdin.write("go\n")
    writer.stdin.flush()
    while not path.exists() or rows_or_none(path) < 5:
        assert writer.poll() is None
        time.sleep(0.02)
    writer.kill()
    writer.communicate()
    store = Store(str(path))
    found = store.sessions(CONFIGURATION)
    assert len(found) >= 5
    assert len(found) - len(store.failures()) in (0, 1)
    store.close()


def rows_or_none(path: Path) -> int:
    try:
        return int(str(rows(path, "select count(*) from sessions")[0][0]))
    except sqlite3.OperationalError:  # not made yet
        return 0


# PostgreSQL


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    """Return the URL of an empty database: HARNESS_TEST_POSTGRES, or a server of our own."""
    if url := os.environ.get("HARNESS_TEST_POSTGRES"):
        yield url
        return
    with start_postgres() as server:
        yield server.url


@pytest.mark.slow
def test_postgresql_keeps_what_sqlite_keeps(postgres_url: str) -> None:
    store = open_store(postgres_url)
    session, failure = make_session(number=1), make_failure(number=3)
    store.add_session(session)
    store.add_failure(failure)
    store.start_recalibration(CONFIGURATION, "2024-05-01T00:02:00.000+00:00")
    store.add_session(session_at(90, number=2, minute=3))
    assert store.sessions(CONFIGURATION, [graph_hash(1)]) == [session]
    assert store.session_counts(CONFIGURATION)[graph_hash(1)] == 1
    assert [level.latency_ns for level in store.reference_levels(CONFIGURATION)] == [90]
    assert store.failures() == [failure]
    run_together(start_writers(postgres_url, 2, 10))
    assert len(store.failures()) == 21
    store.close()
    again = Store(postgres_url, read_only=True)
    assert again.sessions(CONFIGURATION, [graph_hash(1)]) == [session]
    with pytest.raises(sa.exc.DBAPIError, match="read-only"), again.engine.begin() as connection:
        connection.execute(sa.text("delete from sessions"))
    again.close()


def test_runs_of_blocks_come_back_as_they_were_and_a_bad_row_hides_no_other(store: Store, path: Path) -> None:
    runs = [make_block_run(number=number) for number in (1, 2)]
    energy = make_block_run(
        number=2, purpose="energy", sensor={"kind": "rapl"}, readings=({"at_ns": 5, "uj": {"package-0": 7}},)
    )
    for run in (*runs, energy):
        store.add_block_run(run)
    assert store.block_runs(CONFIGURATION, "sustained") == runs
    assert store.block_runs(CONFIGURATION, "energy", [graph_hash(2)]) == [energy]
    assert store.block_runs(CONFIGURATION, "energy", [graph_hash(1)]) == []
    assert store.block_runs(replace(CONFIGURATION, threads=1), "energy") == []
    with store.begin() as connection:
        WRITERS["block-run"](connection, energy, True)  # what waited may be there already
    assert store.block_runs(CONFIGURATION, "energy") == [energy]
    with pytest.raises(Unstorable, match="raw times"):
        store.add_block_run(replace(runs[0], sensor={"odd": object()}))
    change(path, "update block_runs set raw = ? where id = ?", b"damaged", runs[0].run_id)
    assert store.block_runs(CONFIGURATION, "sustained") == runs[1:]
    (trouble,) = check_store(store).troubles
    assert (trouble.table, trouble.id) == ("block_runs", runs[0].run_id)
    store.unreadable.clear()


@pytest.mark.parametrize(
    "changes",
    [
        {"samples": (7,)},
        {"readings": ({"uj": {}},)},
        {"readings": ("now",)},
        {"sensor": {"counters": ["package-0"]}},
        {"sensor": {"counters": {"package-0": "much"}}},
        {"sensor": {"powers": [5]}},
        {"gate": []},
        {"first_run_ns": 0},
        {"purpose": "network"},
        {"blocks": (make_block("idle", 1.0, 1.0),)},
        {"blocks": (make_block("network", 2.0, 9.0, [4.0]), make_block("idle", 3.0, 1.0))},
    ],
)
def test_what_is_no_run_of_blocks_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        make_block_run(**changes)


def test_what_is_no_block_is_refused() -> None:
    block = make_block("network", 1.0, 2.0, [4.0, 5.0])
    for changes in (
        {"which": "both"},
        {"at_ns": (1,)},
        {"delays_ns": (0,)},
        {"delays_ns": (-1, 0)},
        {"runs_ns": (0, 5)},
        {"at_ns": (9, 3)},
        {"end_ns": 5},
        {"runs": 1},
        {"others_busy": "much"},
    ):
        with pytest.raises(ValueError):
            replace(block, **changes)
