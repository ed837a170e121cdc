"""What must not matter: the order in which things are stored, names of devices, units, and what else a store holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store
from factories.tables import made_accuracies, made_cost
from hypothesis import given, settings
from hypothesis import strategies as st

import harness
from harness.prediction.bench_files import write_bench_files
from harness.prediction.space_prediction import SpaceTable
from harness.query.join import SearchTable
from harness.query.search import search
from harness.records import SessionRecord, Slice
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from harness.store.documents import session_of
from harness.store.maintenance import delete, export_documents, quarantine
from harness.store.selection import Selection
from search.table import NetworkTable
from search.table.constraints import Constraint
from space import MINI, TINY

ON = replace(MANY, space=TINY.name)
LIMIT_MS = 4.0


@cache
def measured() -> tuple[SessionRecord, ...]:
    """Return sessions of 24 networks and of the reference."""
    with TemporaryDirectory() as folder, new_store(Path(folder) / "store.sqlite") as store:
        calibrate(store, ON)
        add_sessions(store, networks(24, TINY), ON, sessions=2)
        return (*store.sessions(ON, purpose="calibration"), *store.sessions(ON))


def stored(path: Path, sessions: Sequence[SessionRecord]) -> Store:
    store = new_store(path)
    for session in sessions:
        store.add_session(session, again=True)
    return store


def answer(store: Store, device: str = ON.device, limit_ms: float = LIMIT_MS) -> tuple[list[int], SpaceTable]:
    """Return the networks within a limit, best first, and all predictions."""
    table = harness.predict(store, device=device, threads=ON.threads)
    found = harness.search(harness.join("synthetic", table), f"{device}<{limit_ms}ms")
    return found.indices.tolist(), table


def times(session: SessionRecord, factor: int) -> SessionRecord:
    """Return a session in which everything took `factor` times as long."""

    def longer(piece: Slice) -> Slice:
        names = ("reference_before_ns", "network_ns", "reference_after_ns")
        whole = {name: tuple(factor * one for one in getattr(piece, name)) for name in names}
        return replace(piece, after_switch_ns=factor * piece.after_switch_ns, **whole)

    return replace(session, slices=tuple(map(longer, session.slices)))


def shuffled(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
    return [sessions[place] for place in np.random.default_rng(1).permutation(len(sessions)).tolist()]


CHANGES: dict[str, Callable[[Sequence[SessionRecord]], Sequence[SessionRecord]]] = {
    "stored in another order": shuffled,
    "stored twice": lambda sessions: [*sessions, *sessions],
    "with a device that computes otherwise": lambda sessions: [
        *(
            replace(one, configuration=replace(ON, device="other"), session_id=f"b{one.session_id}")
            for one in sessions[:30]
        ),
        *sessions,
    ],
    "with another configuration of the device": lambda sessions: [
        *(
            replace(
                times(one, 7),
                configuration=replace(ON, threads=4, cores=(0, 1, 2, 3)),
                session_id=f"b{one.session_id}",
            )
            for one in sessions[:30]
        ),
        *sessions,
    ],
}


@pytest.mark.parametrize("change", CHANGES)
def test_answers_are_the_same(change: str, tmp_path: Path) -> None:
    with stored(tmp_path / "one.sqlite", measured()) as store:
        expected, rows = answer(store)
    with stored(tmp_path / "other.sqlite", CHANGES[change](measured())) as store:
        found, others = answer(store)
    assert found == expected and 0 < len(found) < len(TINY)
    assert others.rows() == rows.rows()


def test_two_stores_put_together_are_the_one_that_was_parted(tmp_path: Path) -> None:
    with stored(tmp_path / "whole.sqlite", measured()) as store:
        expected, rows = answer(store)
    parts = []
    for number in range(2):
        with stored(tmp_path / f"{number}.sqlite", measured()[number::2]) as store:
            parts += [*store.sessions(ON, purpose="calibration"), *store.sessions(ON)]
    with stored(tmp_path / "again.sqlite", parts) as store:
        found, others = answer(store)
    assert found == expected and others.rows() == rows.rows()


def test_what_was_deleted_exported_or_set_apart_for_a_time_leaves_no_trace(tmp_path: Path) -> None:
    with stored(tmp_path / "one.sqlite", measured()) as store:
        expected, rows = answer(store)
        documents = list(export_documents(store, Selection()))
        other = networks(25, TINY)[-1]
        add_sessions(store, [other], ON, sessions=2, factor=3.0)
        assert answer(store)[1].rows() != rows.rows()
        delete(store, Selection(networks=(str(other),)))
        assert answer(store)[1].rows() == rows.rows()
        chosen = Selection(networks=(measured()[-1].architecture,))
        assert len(quarantine(store, chosen)) == len(quarantine(store, chosen, undo=True)) == 2
        assert answer(store)[1].rows() == rows.rows()
    read = json.loads(json.dumps(documents))
    with stored(tmp_path / "read.sqlite", list(map(session_of, read))) as store:
        found, others = answer(store)
    assert found == expected and others.rows() == rows.rows()


def test_a_file_of_latencies_answers_as_the_store_that_it_is_from(tmp_path: Path) -> None:
    with stored(tmp_path / "one.sqlite", measured()) as store:
        expected, rows = answer(store)
        write_bench_files(store, tmp_path, ConfigurationChoice(device=ON.device), formats=("csv",))
    joined = harness.join("synthetic", tmp_path / f"blox-bench-{ON.device}.csv", space=TINY)
    found = harness.search(joined, f"{ON.device}<{LIMIT_MS}ms")
    assert found.indices.tolist() == expected
    told = joined.table.costs[ON.device]
    assert told.values.tolist() == pytest.approx([row.latency_ms for row in rows.rows()], rel=1e-12)
    assert told.high is not None
    assert told.high.tolist() == pytest.approx([row.high_ms for row in rows.rows()], rel=1e-12)


def test_a_device_by_another_name_and_twice_as_slow_has_the_same_answers(tmp_path: Path) -> None:
    with stored(tmp_path / "one.sqlite", measured()) as store:
        expected, rows = answer(store)
    other = replace(ON, device="a-board")
    slower = [replace(times(one, 2), configuration=other) for one in measured()]
    with stored(tmp_path / "other.sqlite", slower) as store:
        found, others = answer(store, "a-board", 2 * LIMIT_MS)
    assert found == expected
    ratios = [two.latency_ms / one.latency_ms for one, two in zip(rows.rows(), others.rows(), strict=True)]
    assert ratios == pytest.approx([2.0] * len(TINY), rel=1e-6)


NUMBERS = st.lists(st.integers(1, 9).map(float) | st.just(float("nan")), min_size=8, max_size=8)


@settings(max_examples=60, deadline=None)
@given(
    NUMBERS,
    NUMBERS,
    NUMBERS,
    st.integers(1, 9),
    st.sampled_from(["<", "<=", ">", ">="]),
    st.floats(0.01, 100),
)
def test_what_is_found_is_what_a_look_at_each_finds_in_any_unit(
    accuracies: list[float], first: list[float], second: list[float], limit: int, relation: str, factor: float
) -> None:
    if all(one != one for one in accuracies):
        return
    costs = [made_cost("one", first), made_cost("two", second)]
    within = [
        i
        for i, (accuracy, cost) in enumerate(zip(accuracies, first, strict=True))
        if accuracy == accuracy and holds(cost, relation, limit)
    ]
    scaled = [made_cost("one", [factor * value for value in first]), costs[1]]
    for columns, most in ((costs, float(limit)), (scaled, factor * limit)):
        table = NetworkTable(
            config=MINI, accuracy=made_accuracies(accuracies), costs={one.name: one for one in columns}
        )
        asked = Constraint(subject="one", relation=relation, limit=most, unit="ms")
        if not within:
            with pytest.raises(harness.ConfigError, match=r"no network meets|of no network"):
                search(SearchTable(table=table, provenance={}, notes=()), asked)
            continue
        found = search(SearchTable(table=table, provenance={}, notes=()), asked)
        assert found.indices.tolist() == sorted(within, key=lambda i: (-accuracies[i], first[i], i))
        front = found.front(["one", "two"]).indices.tolist()
        points = {i: (-accuracies[i], first[i], second[i]) for i in within if second[i] == second[i]}
        best = {p for p in points.values() if not any(dominates(q, p) for q in points.values())}
        assert {points[i] for i in front} == best and len(front) == len(best)
        assert all(min(i for i, q in points.items() if q == points[one]) == one for one in front)


def dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))


def holds(value: float, relation: str, limit: float) -> bool:
    return {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[relation]
