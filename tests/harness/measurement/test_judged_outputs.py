"""Outputs of devices that compute something else, and say so over the wire: judged when measured, and in what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rigs.lying_device import LyingDevice, changed
from rigs.scripted_link import Load, Run, ScriptedLink, ScriptedSource, run_scripted
from rigs.tell_lies import OpenGate, profile, run
from rigs.watcher import Watcher

from harness.estimates.latency import Latency
from harness.measurement import campaign, session_builder
from harness.measurement.campaign import Outcome
from harness.measurement.workload import Model
from harness.store import Store
from harness.store.latencies import latencies
from space.errors import HarnessError

RIGHT = (0.5, -1.0, 2.0)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("harness.devices.connection.RECONNECT_WAITS_S", (0.0,))
    monkeypatch.setattr(campaign, "Gate", OpenGate)
    monkeypatch.setattr(session_builder, "CLOCKS_TOLERANCE_S", 100.0)  # the device's clock is made up
    with Store(f"sqlite:///{tmp_path / 'store.sqlite'}") as opened:
        yield opened


class ReferenceAlone(ScriptedSource):
    """Models of which the right output of the reference alone is known."""

    def models(self, model_format: str, precision: str) -> Sequence[Model]:
        return [replace(model, expected=None) for model in super().models(model_format, precision)]


def device_that_gives(output: Sequence[float], which: str = "output") -> LyingDevice:
    """Return a device whose networks all have this output, or whose reference has it."""

    def lie(name: str, message: dict[str, Any]) -> dict[str, Any]:
        if name != "event measured":
            return message
        return changed(message, ("reference_output",), list(RIGHT)) | {which: list(output)}

    return LyingDevice(lie)


def measured(
    output: Sequence[float], store: Store, expected: Callable[[], Sequence[float]] | None
) -> Outcome:
    return run("liar", device_that_gives(output), store, ScriptedSource(expected=expected))


def row_of(outcome: Outcome, store: Store) -> Latency:
    (row,) = latencies(store, outcome.uses[0].configuration)
    return row


@pytest.mark.parametrize(
    ("output", "error"),
    [((0.5, -1.0, 2.5), 0.218), ((0.0, 0.0, 0.0), 1.0), ((-0.5, 1.0, -2.0), 2.0), ((), 1.0)],
)
def test_a_false_output_makes_grade_d(store: Store, output: tuple[float, ...], error: float) -> None:
    row = row_of(measured(output, store, lambda: RIGHT), store)
    assert (row.grade, row.output_error) == ("D", pytest.approx(error, rel=1e-2))
    assert [one.cap for one in row.findings if one.kind == "wrong-output"] == ["D"]


def test_a_right_output_is_judged_and_nothing_is_said_of_it(store: Store) -> None:
    outcome = measured([value * (1 + 1e-6) for value in RIGHT], store, lambda: RIGHT)
    row = row_of(outcome, store)
    assert row.output_error == pytest.approx(1e-6, rel=1e-3)
    assert "wrong-output" not in {one.kind for one in row.findings}
    (session,) = store.sessions(outcome.uses[0].configuration)
    assert session.expected == RIGHT


@pytest.mark.parametrize(
    ("output", "expected", "says"),
    [
        (
            (0.5, 0.0),
            (0.5, 0.5),
            "the reference's output on the fixed input is false in 1 of 1 session: off by 70.7%",
        ),
        ((), (0.5, 0.5), "off by 100.0%"),
        ((0.0, 0.0), None, "off by 100.0%"),
        ((0.5, 0.5), (0.5, 0.5), None),
        ((0.0, 0.5), None, None),
    ],
)
def test_a_reference_that_is_computed_falsely_makes_grade_d(
    store: Store, output: tuple[float, ...], expected: tuple[float, ...] | None, says: str | None
) -> None:
    device = device_that_gives(output, "reference_output")
    right = None if expected is None else lambda: expected
    outcome = run("liar", device, store, ReferenceAlone(expected=right))
    row = row_of(outcome, store)
    found = [one for one in row.findings if one.kind == "wrong-reference"]
    assert [one.cap for one in found] == ["D"] * (says is not None)
    assert says is None or says in found[0].message
    assert row.output_error is None, "the network's own is not judged here"


@pytest.mark.parametrize("which", ["output", "profiled_output"])
@pytest.mark.parametrize(
    ("output", "says"),
    [(RIGHT, None), ((0.5, -1.0, 2.5), "off by 21.8% of the right one"), ((), "off by 100.0%")],
)
def test_a_profile_of_something_else_is_none(which: str, output: tuple[float, ...], says: str | None) -> None:
    def lie(name: str, message: dict[str, Any]) -> dict[str, Any]:
        return changed(message, (which,), list(output)) if name == "answer profile" else message

    outcome = profile("liar", LyingDevice(lie), lambda: RIGHT)
    told = "" if outcome.error is None else str(outcome.error)
    assert (
        told == "" if says is None else f"the output of network 0 on the fixed input is false: {says}" in told
    )


def test_zeros_are_false_whatever_is_expected(store: Store) -> None:
    assert row_of(measured((0.0, 0.0), store, None), store).grade == "D"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_is_never_a_measurement(store: Store, value: float) -> None:
    outcome = measured((0.5, value), store, lambda: RIGHT)
    assert outcome.measured == 0
    assert outcome.error is not None or outcome.failures
    assert not any(store.sessions(one) for one in store.configurations())


def test_people_are_told_of_the_first_false_output_of_a_campaign_once(store: Store) -> None:
    observer = Watcher()
    link = ScriptedLink([Run(measured={"output": [9.0]})])
    source = ScriptedSource(networks=(1, 2, 3), expected=lambda: (0.5,))
    run_scripted(link, store, source, observer=observer)
    (told,) = [text for text in observer.notes if "wrong-output" in text]
    assert told.startswith("onnxruntime gives a false output for network ")


def test_right_outputs_are_asked_for_before_anything_is_measured_and_once_a_network(store: Store) -> None:
    order: list[str] = []

    def expected() -> tuple[float, ...]:
        order.append("expected")
        return (0.5,)

    link = ScriptedLink([Run(before=lambda: order.append("measured"))])
    source = ScriptedSource(networks=(1, 2), segments=(3,), expected=expected)
    outcome = run_scripted(link, store, source, sessions=2)
    assert order == ["expected"] * 4 + ["measured"] * 6, "of the reference, too"
    for purpose, count in (("network", 4), ("segment", 2)):
        sessions = store.sessions(outcome.uses[0].configuration, purpose=purpose)
        assert [session.expected for session in sessions] == [(0.5,)] * count


def test_a_campaign_goes_on_without_a_judge_and_says_so(store: Store) -> None:
    def expected() -> tuple[float, ...]:
        raise HarnessError("torch is not installed here")

    observer = Watcher()
    outcome = run_scripted(ScriptedLink(), store, ScriptedSource(expected=expected), observer=observer)
    assert (outcome.measured, outcome.error) == (1, None)
    assert observer.notes == ["outputs of onnxruntime are not judged: torch is not installed here"]
    (session,) = store.sessions(outcome.uses[0].configuration)
    assert session.expected == ()
    assert row_of(outcome, store).output_error is None


@pytest.mark.parametrize(
    ("outputs", "expected", "wrong"),
    [
        ({"output": [0.5], "reference_output": [0.5]}, (0.5,), ""),
        ({}, (0.5,), ""),  # of an agent of before
        ({"output": [9.0], "reference_output": [0.5]}, (0.5,), "network 1"),
        ({"output": [0.5], "reference_output": [0.4]}, (0.5,), "network 0"),
        ({"output": [0.5], "reference_output": [0.0]}, None, "network 0"),
    ],
)
def test_what_is_computed_falsely_is_not_measured_under_load(
    store: Store, outputs: dict[str, Any], expected: tuple[float, ...] | None, wrong: str
) -> None:
    link = ScriptedLink()
    link.loads = [Load(outputs=outputs)]
    source = ScriptedSource(expected=None if expected is None else lambda: expected)
    outcome = run_scripted(link, store, source, sustained_s=1800.0)
    runs = store.block_runs(outcome.uses[0].configuration, "sustained")
    assert (len(runs), outcome.measured) == ((0, 0) if wrong else (1, 1))
    assert [one.kind for one in outcome.failures] == ["wrong-output"] * bool(wrong)
    assert all(
        f"the output of {wrong} on the fixed input is false" in one.message for one in outcome.failures
    )
