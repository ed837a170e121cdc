"""What has grade D is set apart, counted, named and explained; and taken in where that is asked for."""

from __future__ import annotations

import json

import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store

from harness.estimates.doubtful import Doubtful, doubtful_from_json, set_apart
from harness.estimates.latency import Latency
from harness.store.latencies import latencies
from space.segments import all_segments

HOT = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> list[Latency]:
    """Eight networks, the last five of which were measured on a hot device."""
    store = new_store(tmp_path_factory.mktemp("doubtful") / "store.sqlite")
    calibrate(store, MANY)
    add_sessions(store, networks(8)[:3], sessions=3)
    add_sessions(store, networks(8)[3:], sessions=3, **HOT)
    add_sessions(store, all_segments()[:1], sessions=3, **HOT)
    found = latencies(store, MANY) + latencies(store, MANY, purpose="segment")
    store.close()
    return found


def test_rows_of_grade_d_are_set_apart_in_their_order(rows: list[Latency]) -> None:
    kept, apart = set_apart(rows)
    assert [row.architecture for row in kept] == [row.architecture for row in rows if row.grade != "D"]
    assert {row.architecture for row in kept} == {str(one) for one in networks(8)[:3]}
    assert (apart.networks, apart.segments, apart.taken) == (5, 1, False)
    assert apart.names == tuple(row.architecture for row in rows if row.grade == "D")[:3]
    assert apart.why["hot"] == 6
    assert str(apart).startswith(
        f"5 networks and 1 segment of grade D left out: {', '.join(apart.names)} and 3 more (hot 6"
    )


def test_they_are_taken_in_where_that_is_asked_for(rows: list[Latency]) -> None:
    kept, apart = set_apart(rows, take=True)
    assert kept == rows
    assert (apart.networks, apart.segments, apart.taken) == (5, 1, True)
    assert "of grade D taken in: " in str(apart)
    good, none = set_apart([row for row in rows if row.grade != "D"], take=True)
    assert len(good) == 3 and not none and none == Doubtful(taken=True), (
        "what is asked for counts for later ones"
    )


def test_two_add_up_and_plain_values_come_back(rows: list[Latency]) -> None:
    _, segments = set_apart(rows[8:])
    _, some = set_apart(rows[:8])
    both = some + segments
    assert (both.networks, both.segments, len(both.names)) == (5, 1, 3)
    assert both.why["hot"] == 6
    assert doubtful_from_json(json.loads(json.dumps(both.to_json()))) == both
    with pytest.raises(TypeError):
        doubtful_from_json({**both.to_json(), "names": "abc"})
