"""From events to sessions: what the agent leaves out or garbles breaks the link, times that cannot be are no result."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from factories.records import CONFIGURATION
from hypothesis import given
from hypothesis import strategies as st

from harness.devices.answers import BadAnswer, check_event
from harness.errors import BadResult, LinkError
from harness.measurement import session_builder
from harness.measurement.session_builder import Refused, SessionBuilder
from harness.records import STOP_REASONS, SessionRecord, SettledRuns

Event = dict[str, Any]
SLICE_NS = 1_900  # of a made-up slice: a little more than its runs take
PASSED_S = 10.0  # on this machine, by the end of a job


def identity(number: int) -> Mapping[str, Any]:
    return {
        "session_id": f"s{number}",
        "campaign_id": "c",
        "configuration": CONFIGURATION,
        "architecture": "conv/conv/conv",
        "graph_hash": "0" * 32,
        "model_digest": "1" * 64,
        "agent_digest": "2" * 64,
        "plan": {"min_slices": 1},
        "process": "p",
    }


def a_slice(index: int, network: int = 0) -> Event:
    return {
        "type": "event",
        "event": "slice",
        "network": network,
        "index": index,
        "at_ns": 1_000 + index * SLICE_NS,
        "reference_before_ns": [101, 102],
        "after_switch_ns": 250,
        "network_ns": [201, 202, 203, 204, 205],
        "reference_after_ns": [103, 104],
        "delays_ns": list(range(10)),
        "gaps_ns": [0] * 10,
    }


MEASURED: Event = {
    "type": "event",
    "event": "measured",
    "network": 0,
    "slices": 2,
    "stop": "cap",
    "loop_s": 1.5,
    "elapsed_s": 2.5,
    "output": [0.5, -1, 2.25],
    "cores": [4],
    "runtime": {"name": "onnxruntime", "package": "onnxruntime", "version": "1.2", "provider": "CPU"},
    "delay_source": "schedstat",
    "baseline_ns": {"network": 3, "reference": 4},
    "waited_s": 0.25,
    "shares": {"GPU": 0.75, "CPU": 0.25},
    "steal_s": 0.5,
    "pinned": True,
    "request": {"method": "realtime", "granted": True},
}
EVENTS: list[Event] = [
    {"type": "event", "event": "conditions", "conditions": {"load_1m": 0.25}},
    {"type": "event", "event": "started", "pid": 7},
    {
        "type": "event",
        "event": "loaded",
        "which": "reference",
        "load_ns": 11,
        "first_run_ns": 12,
        "model_bytes": 16,
    },
    {
        "type": "event",
        "event": "loaded",
        "network": 0,
        "which": "network",
        "load_ns": 13,
        "first_run_ns": 14,
        "model_bytes": 15,
    },
    {"type": "event", "event": "heartbeat", "elapsed_s": 2.0, "phase": "warm-up"},
    {
        "type": "event",
        "event": "warm",
        "network": 0,
        "network_ns": [31, 30],
        "reference_ns": [21],
        "network_loops": 2,
        "reference_loops": 3,
    },
    {"type": "event", "event": "sample", "id": 3, "at_ns": 999, "throttled": 0, "temps_c": {"cpu": 40.5}},
    a_slice(0),
    a_slice(1),
    MEASURED,
]
SETTLED: Event = {
    "type": "event",
    "event": "settled",
    "network": 0,
    "at_ns": 1_000 + 2 * SLICE_NS,
    "network_ns": [211, 212, 213],
    "delays_ns": [0, 1, 2],
    "gaps_ns": [3, 4, 5],
}
REFUSED: Event = {
    "type": "event",
    "event": "refused",
    "network": 1,
    "failure": {"type": "error", "kind": "worker-error", "message": "no such op"},
}


def of_network(number: int) -> list[Event]:
    """Return the events of a later network of a job: the reference, loaded anew, and its own."""
    return [EVENTS[2], *(event | {"network": number} for event in EVENTS if "network" in event)]


class Clock:
    """A clock of this machine by which the job began at 0 and is now at `now_s`."""

    def __init__(self, now_s: float = PASSED_S) -> None:
        self._times_s = [0.0]
        self.now_s = now_s

    def __call__(self) -> float:
        return self._times_s.pop() if self._times_s else self.now_s


class CheckedBuilder(SessionBuilder):
    """A builder behind the door through which a client hands on events."""

    def add(self, event: Mapping[str, Any]) -> SessionRecord | Refused | None:
        """Check the event first, as the client does."""
        try:
            known = check_event(event)
        except BadAnswer as error:
            raise LinkError(f"the agent broke the protocol in {error}") from error
        return None if known is None else super().add(known)


def builder(networks: int = 1, clock: Clock | None = None) -> SessionBuilder:
    return CheckedBuilder(
        networks,
        identity,
        lambda: "2024-05-01T00:00:00.000+00:00",
        scheduling={"probe": {"waited": 0.0}},
        clock_s=clock or Clock(),
    )


def results(events: Sequence[Event], networks: int = 1) -> list[SessionRecord | Refused]:
    """Return what came of each network."""
    under_way = builder(networks)
    found = [under_way.add(event) for event in events]
    return [result for result in found if result is not None]


def build(events: Sequence[Event]) -> SessionRecord:
    """Return the record of a job of one network. Raises: LinkError where the events make none."""
    (record,) = results(events) or [None]
    if not isinstance(record, SessionRecord):
        raise LinkError(f"broke the protocol: {record}")
    return record


def test_a_whole_run_becomes_a_record() -> None:
    record = build(EVENTS)
    assert (record.load_ns, record.first_run_ns) == (13, 14)
    assert (record.reference_load_ns, record.reference_first_run_ns) == (11, 12)
    assert (record.network_loops, record.reference_loops) == (2, 3)
    assert (record.warmup_network_ns, record.warmup_reference_ns) == ((31, 30), (21,))
    assert len(record.slices) == 2
    assert record.slices[1].reference_before_ns == (101, 102)
    assert record.slices[1].after_switch_ns == 250
    assert record.slices[1].network_ns == (201, 202, 203, 204, 205)
    assert record.slices[1].reference_after_ns == (103, 104)
    assert (record.slices[1].delays_ns, record.slices[1].gaps_ns) == (tuple(range(10)), (0,) * 10)
    assert (record.stop, record.loop_s, record.elapsed_s) == ("cap", 1.5, 2.5)
    assert record.conditions_before == {"load_1m": 0.25}
    assert record.conditions_after == {
        "pinned": True,
        "waited_s": 0.25,
        "shares": {"GPU": 0.75, "CPU": 0.25},
        "model_bytes": 15,
        "reference_bytes": 16,
    }
    assert record.output == (0.5, -1.0, 2.25)
    assert record.started_utc == "2024-05-01T00:00:00.000+00:00"
    assert (record.session_id, record.process) == ("s0", "p")
    assert [piece.at_ns for piece in record.slices] == [1_000, 2_900]
    assert record.samples == ({"at_ns": 999, "throttled": 0, "temps_c": {"cpu": 40.5}},)
    assert record.scheduling == {
        "probe": {"waited": 0.0},
        "delay_source": "schedstat",
        "baseline_ns": {"network": 3, "reference": 4},
        "steal_s": 0.5,
        "cores": [4],
        "request": {"method": "realtime", "granted": True},
    }
    assert record.cores == (4,)
    assert record.settled is None, "an agent that knows of none, and a plan without"


def test_the_arithmetic_is_what_the_runtime_says_and_unknown_where_it_says_nothing() -> None:
    assert build(EVENTS).arithmetic == "unknown"
    assert build([*EVENTS[:-1], {**MEASURED, "arithmetic": "fp16"}]).arithmetic == "fp16"


def test_settled_runs_are_of_the_network_that_they_follow() -> None:
    first, second = results([*EVENTS[:-1], SETTLED, MEASURED, *of_network(1)], networks=2)
    assert isinstance(first, SessionRecord) and isinstance(second, SessionRecord)
    assert first.settled == SettledRuns(
        at_ns=4_800, network_ns=(211, 212, 213), delays_ns=(0, 1, 2), gaps_ns=(3, 4, 5)
    )
    assert second.settled is None
    assert first.slices == build(EVENTS).slices


def test_settled_runs_where_waits_are_not_told_have_none() -> None:
    told = {key: value for key, value in SETTLED.items() if key not in OPTIONAL}
    assert build([*EVENTS[:-1], told, MEASURED]).settled == SettledRuns(
        at_ns=4_800, network_ns=(211, 212, 213)
    )


@pytest.mark.parametrize(
    "events",
    [
        [*EVENTS[:7], SETTLED, *EVENTS[7:]],
        [*EVENTS[:8], SETTLED, *EVENTS[8:]],
        [*EVENTS[:-1], SETTLED, SETTLED, MEASURED],
        [*EVENTS[:-1], SETTLED | {"network": 1}, MEASURED],
    ],
    ids=["before the slices", "between slices", "twice", "of another network"],
)
def test_settled_runs_come_once_after_the_slices(events: list[Event]) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build(events)


def test_each_network_becomes_a_record_as_soon_as_it_is_measured() -> None:
    under_way = builder(3)
    for event in EVENTS[:-1]:
        assert under_way.add(event) is None
    first = under_way.add(MEASURED)
    assert isinstance(first, SessionRecord) and first.session_id == "s0"
    assert under_way.add(REFUSED) == Refused(network=1, kind="worker-error", message="no such op")
    assert under_way.done == 2
    anew = EVENTS[2] | {"load_ns": 99}
    *before, last = (under_way.add(event) for event in [anew, *of_network(2)[1:]])
    assert before == [None] * len(before)
    assert isinstance(last, SessionRecord) and last.session_id == "s2"
    assert (first.reference_load_ns, last.reference_load_ns) == (11, 99), "the reference was loaded anew"
    assert last.samples == (), "the sample was taken beside the first network"
    assert len(last.slices) == 2 and under_way.done == 3


def test_a_network_that_is_refused_in_the_middle_leaves_nothing_to_the_next() -> None:
    begun = [*EVENTS[:-1], REFUSED | {"network": 0}]
    refused, record = results([*begun, *of_network(1)], networks=2)
    assert isinstance(refused, Refused) and isinstance(record, SessionRecord)
    assert len(record.slices) == 2 and record.samples == ()


def test_the_reference_of_the_network_before_is_none_of_the_next() -> None:
    under_way = builder(2)
    for event in [*EVENTS, *of_network(1)[1:-1]]:
        under_way.add(event)
    with pytest.raises(LinkError, match="before it and the reference are loaded"):
        under_way.add(MEASURED | {"network": 1})


@pytest.mark.parametrize("missing", [2, 3, 5, 7, 8])
def test_a_run_that_lacks_an_event_is_refused(missing: int) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build(EVENTS[:missing] + EVENTS[missing + 1 :])


def test_a_run_without_slices_is_refused() -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build([*EVENTS[:-3], MEASURED | {"slices": 0}])


@pytest.mark.parametrize("network", [1, -1, None, True, "0", 0.0, [0]])
@pytest.mark.parametrize("place", [3, 5, 7, 9])
def test_events_of_another_network_than_is_due_are_refused(place: int, network: Any) -> None:
    events = copy.deepcopy(EVENTS)
    events[place]["network"] = network
    for networks in (1, 2):
        under_way = builder(networks)
        with pytest.raises(LinkError, match="broke the protocol"):
            for event in events:
                under_way.add(event)


def test_a_network_is_told_once() -> None:
    for networks in (1, 2):
        under_way = builder(networks)
        for event in EVENTS:
            under_way.add(event)
        for again in (MEASURED, REFUSED | {"network": 0}, a_slice(2)):
            with pytest.raises(LinkError, match="network 0 where 1 of"):
                under_way.add(again)


@pytest.mark.parametrize("failure", [None, "x", {}, {"kind": "worker-error"}, {"message": "no"}])
def test_a_refusal_that_is_garbled_breaks_the_link(failure: Any) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        builder().add(REFUSED | {"network": 0, "failure": failure})


BAD_LAST: dict[str, list[Any]] = {
    "slices": [None, "x", 3, -1],
    "stop": [None, "x", object(), 3, []],
    "loop_s": [None, "x", [], float("nan"), float("inf"), -1.0],
    "elapsed_s": [None, "x", [], float("nan"), float("inf"), -1.0],
    "output": [None, 3, ["x"], [None]],
    "cores": [None, 4, "4", [4.0], ["4"], [-1], [1 << 20], [True]],
}


@pytest.mark.parametrize("key", BAD_LAST)
def test_an_end_that_lacks_or_garbles_a_field_is_refused(key: str) -> None:
    lacking = {name: value for name, value in MEASURED.items() if name != key}
    for garbled in (lacking, *(MEASURED | {key: value} for value in BAD_LAST[key])):
        with pytest.raises(LinkError, match="broke the protocol"):
            build([*EVENTS[:-1], garbled])


@pytest.mark.parametrize("stop", STOP_REASONS)
def test_every_reason_to_stop_makes_a_record(stop: str) -> None:
    assert build([*EVENTS[:-1], MEASURED | {"stop": stop}]).stop == stop


def test_a_system_that_tells_nothing_of_waits_makes_a_record_that_says_so() -> None:
    events = copy.deepcopy(EVENTS)
    for event in events:
        for key in (*OPTIONAL, "waited_s", "steal_s", "pinned", "shares", "request"):
            event.pop(key, None)
    events[-1]["delay_source"] = ""
    record = build(events)
    assert record.scheduling["delay_source"] == "" and "steal_s" not in record.scheduling
    assert {(piece.delays_ns, piece.gaps_ns) for piece in record.slices} == {((), ())}
    assert record.conditions_after == {}


ABSURD_NS = 10**15  # a million seconds
IMPOSSIBLE: dict[str, tuple[list[Event], str]] = {
    "a session of a second with slices of a million seconds": (
        [*EVENTS[:7], a_slice(0) | {"network_ns": [ABSURD_NS] * 5}, MEASURED | {"slices": 1, "loop_s": 1.0}],
        "its slices took 5e\\+06 s",
    ),
    "one run longer than the loop": (
        [*EVENTS[:7], a_slice(0) | {"after_switch_ns": 1_600_000_000}, MEASURED | {"slices": 1}],
        "its slices took 1.6 s, of 1.501 s",
    ),
    "a loop longer than the session": (
        [*EVENTS[:-1], MEASURED | {"loop_s": 2.6}],
        "its timing loop took 2.6 s, of 2.501 s",
    ),
    "a loop longer than what passed here": (
        [*EVENTS[:-1], MEASURED | {"loop_s": 13.0, "elapsed_s": 13.0}],
        "all timing loops took 13 s, of 12.5 s",
    ),
    "slices that overlap": (
        [
            *EVENTS[:7],
            a_slice(0) | {"after_switch_ns": 9_000_000},
            a_slice(1),
            MEASURED,
        ],
        "a slice ended at 9002425 ns, after the next one began at 2900 ns",
    ),
    "settled runs longer than the loop": (
        [*EVENTS[:-1], SETTLED | {"network_ns": [501_000_000] * 3}, MEASURED],
        "its slices took 1.503 s, of 1.501 s",
    ),
    "settled runs before a slice ended": (
        [*EVENTS[:8], a_slice(1) | {"at_ns": 5_000_000}, SETTLED, MEASURED],
        "a slice ended at 5001675 ns, after the next one began at 4800 ns",
    ),
    "slices in no order of time": (
        [*EVENTS[:7], a_slice(0) | {"at_ns": 5_000_000}, a_slice(1), MEASURED],
        "a slice ended at 5001675 ns, after the next one began at 2900 ns",
    ),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_times_that_do_not_fit_each_other_are_no_result(name: str) -> None:
    events, words = IMPOSSIBLE[name]
    under_way = builder()
    for event in events[:-1]:
        assert under_way.add(event) is None
    with pytest.raises(BadResult, match=words) as caught:
        under_way.add(events[-1])
    assert "its clock or its agent is broken" in str(caught.value)


def test_the_loops_of_all_networks_together_fit_into_what_passed_here() -> None:
    long = {"loop_s": 6.0, "elapsed_s": 6.5}
    clock = Clock(now_s=7.0)
    under_way = builder(2, clock)
    for event in [*EVENTS[:-1], MEASURED | long]:
        under_way.add(event)
    for event in of_network(1)[:-1]:
        under_way.add(event)
    with pytest.raises(BadResult, match=r"all timing loops took 12 s, of 9\.35 s"):
        under_way.add(MEASURED | long | {"network": 1})


def test_clocks_that_run_a_little_apart_and_events_in_bursts_are_let_pass() -> None:
    events = [*EVENTS[:-1], MEASURED | {"loop_s": 10.4, "elapsed_s": 10.5}]
    under_way = builder(1, Clock(now_s=10.0))  # 4 % apart
    assert isinstance([under_way.add(event) for event in events][-1], SessionRecord)


HUGE = float("inf")
BAD_VALUES: dict[str, list[Any]] = {
    "conditions": [None, 5, "x", [1]],
    "load_ns": [None, "x", [], HUGE, float("nan"), 0, -5, 1.5],
    "first_run_ns": [None, "x", {}, HUGE, 0],
    "model_bytes": [None, "x", -1, 1.5],
    "network_ns": [None, 5, ["x"], [None], [0], [HUGE], [1.5], [True]],
    "reference_ns": [None, 5, ["x"], [HUGE], [-1]],
    "network_loops": [None, "x", 0, -1, HUGE, 1.5],
    "reference_loops": [None, "x", 0, HUGE],
    "reference_before_ns": [None, 5, ["x"], [0], [10**400]],
    "after_switch_ns": [None, "1", 0, 1.5, HUGE],
    "reference_after_ns": [None, [[]]],
    "delays_ns": [None, 5, [0] * 9, [0] * 11, [-1] + [0] * 9, [0.5] * 10, ["0"] * 10],
    "gaps_ns": [None, 5, [0], [-1] * 10, [True] * 10, [1 << 63] * 10],
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
        build(events)


@pytest.mark.parametrize(
    ("key", "bad"),
    [
        *((key, bad) for key in ("at_ns", "delays_ns", "gaps_ns", "network_ns") for bad in BAD_VALUES[key]),
        *(("network_ns", bad) for bad in ([], [211] * 2, [211] * 4097)),
    ],
)
def test_settled_runs_that_garble_a_field_are_refused(key: str, bad: Any) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build([*EVENTS[:-1], SETTLED | {key: bad}, MEASURED])


OPTIONAL = ("delays_ns", "gaps_ns", "model_bytes")


@pytest.mark.parametrize(
    ("place", "key"),
    [
        (place, key)
        for place, event in enumerate(EVENTS)
        for key in event
        if key in BAD_VALUES and key not in OPTIONAL
    ],
)
def test_an_event_that_lacks_a_field_is_refused(place: int, key: str) -> None:
    events = copy.deepcopy(EVENTS)
    del events[place][key]
    with pytest.raises(LinkError, match="broke the protocol"):
        build(events)


@pytest.mark.parametrize("which", [None, "other", []])
def test_a_model_that_is_neither_network_nor_reference_is_refused(which: Any) -> None:
    with pytest.raises(LinkError, match="broke the protocol"):
        build([*EVENTS[:2], EVENTS[2] | {"which": which}, *EVENTS[3:]])


def test_slices_come_in_order_and_none_twice() -> None:
    for order in ((1, 0), (0, 0), (0, 2)):
        with pytest.raises(LinkError, match="slice"):
            build([*EVENTS[:7], *(a_slice(index) for index in order), MEASURED])


def test_slices_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_builder, "MAX_SLICES", 3)
    under_way = builder()
    for index in range(3):
        under_way.add(a_slice(index))
    with pytest.raises(LinkError, match="slice"):
        under_way.add(a_slice(3))


def test_samples_without_end_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_builder, "MAX_SAMPLES", 3)
    under_way = builder()
    for at_ns in (1, 2, 3):
        under_way.add({"event": "sample", "at_ns": at_ns})
    with pytest.raises(LinkError, match="sample"):
        under_way.add({"event": "sample", "at_ns": 4})


def test_a_run_too_short_for_a_sample_is_a_record_without_any() -> None:
    assert build(EVENTS[:6] + EVENTS[7:]).samples == ()


def test_an_event_of_a_later_agent_is_let_pass() -> None:
    assert build([{"event": "weather", "sky": "blue"}, {}, *EVENTS]) == build(EVENTS)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda children: (
        st.lists(children, max_size=3) | st.dictionaries(st.text(max_size=3), children, max_size=3)
    ),
    max_leaves=4,
)


@given(
    place=st.integers(0, len(EVENTS) - 1),
    key=st.sampled_from([*BAD_VALUES, *MEASURED, "failure", "which"]),
    value=JSON,
)
def test_any_change_is_a_good_record_or_a_broken_link_or_no_result(place: int, key: str, value: Any) -> None:
    events = copy.deepcopy(EVENTS)
    events[place][key] = value
    try:
        record = build(events)
    except LinkError as error:
        assert "broke the protocol" in str(error)
    except BadResult as error:
        assert "is broken" in str(error)
    else:
        assert isinstance(record.cores, tuple) and record.slices
