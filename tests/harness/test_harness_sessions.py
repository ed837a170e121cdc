"""From events to a session: what the agent leaves out or garbles breaks the link, and nothing becomes a record."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_records import CONFIGURATION

from harness import sessions
from harness.errors import LinkError
from harness.records import SessionRecord
from harness.sessions import SessionBuilder

IDENTITY = {
    "session_id": "s",
    "campaign_id": "c",
    "configuration": CONFIGURATION,
    "architecture": "conv/conv/conv",
    "graph_hash": "0" * 32,
    "model_digest": "1" * 64,
    "agent_digest": "2" * 64,
    "plan": {"min_slices": 1},
}


def a_slice(index: int) -> dict[str, Any]:
    return {
        "type": "event",
        "event": "slice",
        "index": index,
        "at_ns": 1_000 + index,
        "reference_before_ns": [101, 102],
        "after_switch_ns": 250,
        "network_ns": [201, 202, 203, 204, 205],
        "reference_after_ns": [103, 104],
    }


EVENTS: list[dict[str, Any]] = [
    {"type": "event", "event": "started", "pid": 7},
    {"type": "event", "event": "loaded", "which": "reference", "load_ns": 11, "first_run_ns": 12},
    {"type": "event", "event": "loaded", "which": "network", "load_ns": 13, "first_run_ns": 14},
    {"type": "event", "event": "heartbeat", "elapsed_s": 2.0, "phase": "warm-up"},
    {
        "type": "event",
        "event": "warm",
        "network_ns": [31, 30],
        "reference_ns": [21],
        "network_loops": 2,
        "reference_loops": 3,
    },
    {"type": "event", "event": "sample", "id": 3, "at_ns": 999, "throttled": 0, "temps_c": {"cpu": 40.5}},
    a_slice(0),
    a_slice(1),
]
SUMMARY: dict[str, Any] = {
    "slices": 2,
    "stop": "cap",
    "loop_s": 1.5,
    "elapsed_s": 2.5,
    "conditions_before": {"load_1m": 0.25},
    "conditions_after": {"load_1m": 0.5},
    "output": [0.5, -1, 2.25],
}


def build(events: list[dict[str, Any]], summary: dict[str, Any]) -> SessionRecord:
    builder = SessionBuilder(started_utc="2024-05-01T00:00:00.000+00:00")
    for event in events:
        builder.add(event)
    return builder.build(summary, **IDENTITY)


def test_a_whole_run_becomes_a_record() -> None:
    record = build(EVENTS, SUMMARY)
    assert (record.load_ns, record.first_run_ns) == (13, 14)
    assert (record.reference_load_ns, record.reference_first_run_ns) == (11, 12)
    assert (record.network_loops, record.reference_loops) == (2, 3)
    assert (record.warmup_network_ns, record.warmup_reference_ns) == ((31, 30), (21,))
    assert len(record.slices) == 2
    assert record.slices[1].reference_before_ns == (101, 102)
    assert record.slices[1].after_switch_ns == 250
    assert record.slices[1].network_ns == (201, 202, 203, 204, 205)
    assert record.slices[1].reference_after_ns == (103, 104)
    assert (record.stop, record.loop_s, record.elapsed_s) == ("cap", 1.5, 2.5)
    assert (record.conditions_before, record.conditions_after) == ({"load_1m": 0.25}, {"load_1m": 0.5})
    assert record.output == (0.5, -1.0, 2.25)
    assert record.started_utc == "2024-05-01T00:00:00.000+00:00"
    assert record.agent_digest == "2" * 64
    assert [piece.at_ns for piece in record.slices] == [1_000, 1_001]
    assert record.samples == ({"at_ns": 999, "throttled": 0, "temps_c": {"cpu": 40.5}},)


@pytest.mark.parametrize("missing", [1, 2, 4, 6, 7])
def test_a_run_that_lacks_an_event_is_refused(missing: int) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build(EVENTS[:missing] + EVENTS[missing + 1 :], SUMMARY)


def test_a_run_without_slices_is_refused() -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build(EVENTS[:-2], SUMMARY | {"slices": 0})


@pytest.mark.parametrize("key", SUMMARY)
def test_a_summary_that_lacks_or_garbles_a_field_is_refused(key: str) -> None:
    lacking = {name: value for name, value in SUMMARY.items() if name != key}
    bad: list[Any] = [None, "x", object(), 3]
    if key in ("loop_s", "elapsed_s"):
        bad = [None, "x", [], float("nan"), float("inf"), -1.0]
    elif key == "slices":
        bad = [None, "x", 3, -1]
    elif key == "output":
        bad = [None, 3, ["x"], [None]]
    for garbled in (lacking, *(SUMMARY | {key: value} for value in bad)):
        with pytest.raises(LinkError, match="broke the protocol"):
            build(EVENTS, garbled)


HUGE = float("inf")
BAD_VALUES: dict[str, list[Any]] = {
    "load_ns": [None, "x", [], HUGE, float("nan"), 0, -5, 1.5],
    "first_run_ns": [None, "x", {}, HUGE, 0],
    "which": [None, "other", []],
    "network_ns": [None, 5, ["x"], [None], [0], [HUGE], [1.5], [True]],
    "reference_ns": [None, 5, ["x"], [HUGE], [-1]],
    "network_loops": [None, "x", 0, -1, HUGE, 1.5],
    "reference_loops": [None, "x", 0, HUGE],
    "reference_before_ns": [None, 5, ["x"], [0], [10**400]],
    "after_switch_ns": [None, "1", 0, 1.5, HUGE],
    "reference_after_ns": [None, [[]]],
    "index": [None, "0", 5, -1],
    "at_ns": [None, "1", 0, -1, 1.5, True, HUGE, 1 << 63],
}


@pytest.mark.parametrize(
    ("place", "key", "bad"),
    [
        (place, key, bad)
        for place, event in enumerate(EVENTS)
        for key in event
        for bad in BAD_VALUES.get(key, ())
    ],
)
def test_an_event_that_garbles_a_field_is_refused(place: int, key: str, bad: Any) -> None:
    events = copy.deepcopy(EVENTS)
    events[place][key] = bad
    with pytest.raises(LinkError, match="broke the protocol"):
        build(events, SUMMARY)


@pytest.mark.parametrize(
    ("place", "key"),
    [(place, key) for place, event in enumerate(EVENTS) for key in event if key in BAD_VALUES],
)
def test_an_event_that_lacks_a_field_is_refused(place: int, key: str) -> None:
    events = copy.deepcopy(EVENTS)
    del events[place][key]
    with pytest.raises(LinkError, match="broke the protocol"):
        build(events, SUMMARY)


def test_slices_come_in_order_and_none_twice() -> None:
    for order in ((1, 0), (0, 0), (0, 2)):
        with pytest.raises(LinkError, match="slice"):
            build(EVENTS[:-2] + [a_slice(index) for index in order], SUMMARY)


def test_slices_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SLICES", 3)
    builder = SessionBuilder(started_utc="")
    for index in range(3):
        builder.add(a_slice(index))
    with pytest.raises(LinkError, match="slice"):
        builder.add(a_slice(3))


def test_samples_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "MAX_SAMPLES", 3)
    builder = SessionBuilder(started_utc="")
    for at_ns in (1, 2, 3):
        builder.add({"event": "sample", "at_ns": at_ns})
    with pytest.raises(LinkError, match="sample"):
        builder.add({"event": "sample", "at_ns": 4})


def test_a_run_too_short_for_a_sample_is_a_record_without_any() -> None:
    assert build(EVENTS[:5] + EVENTS[6:], SUMMARY).samples == ()


def test_an_event_of_a_later_agent_is_let_pass() -> None:
    assert build([*EVENTS, {"event": "weather", "sky": "blue"}, {}], SUMMARY) == build(EVENTS, SUMMARY)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=4,
)


@given(place=st.integers(0, len(EVENTS)), key=st.sampled_from([*BAD_VALUES, *SUMMARY, "event"]), value=JSON)
def test_any_change_is_a_good_record_or_a_broken_link(place: int, key: str, value: Any) -> None:
    events, summary = copy.deepcopy(EVENTS), dict(SUMMARY)
    target = summary if place == len(EVENTS) else events[place]
    target[key] = value
    try:
        assert isinstance(build(events, summary), SessionRecord)
    except LinkError as error:
        assert "broke the protocol" in str(error)
