"""Precisions in a campaign: each is a configuration of its own, with its own reference, and nothing stored of another counts."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories.stores import MANY
from rigs.scripted_link import Run, ScriptedLink, ScriptedSource, run_scripted
from rigs.watcher import Watcher

from harness.devices.config import LocalDevice, Precision
from harness.measurement.campaign import Outcome
from harness.measurement.campaigns import final_options
from harness.measurement.events import SessionsPlanned
from harness.prediction.request import MeasureRequest
from harness.store import Store
from space.errors import ConfigError

BOTH: tuple[Precision, ...] = ("fp32", "int8")


def precisions(outcome: Outcome) -> list[str]:
    return [use.configuration.precision for use in outcome.uses]


def test_each_precision_is_measured_apart_with_a_reference_of_its_own(store: Store) -> None:
    observer = Watcher()
    outcome = run_scripted(
        ScriptedLink(), store, ScriptedSource(networks=(1, 2)), precisions=BOTH, observer=observer
    )
    assert (outcome.measured, precisions(outcome)) == (4, ["fp32", "int8"])
    for use in outcome.uses:
        assert len(store.session_counts(use.configuration)) == 2
        assert store.reference_latency(use.configuration) is not None
        assert {model.precision for model in (*use.models, use.reference)} == {use.configuration.precision}
    assert [use.title for use in outcome.uses] == ["onnxruntime", "onnxruntime int8"]


def test_what_is_planned_says_what_has_sessions_that_are_not_counted_yet(store: Store) -> None:
    observer = Watcher()
    run_scripted(ScriptedLink(), store, precisions=BOTH, memory=True, energy=True, observer=observer)
    assert [(one.sessions, one.later) for one in observer.of(SessionsPlanned)] == [
        (1, ("onnxruntime", "memory", "energy")),
        (1, ("memory", "energy")),
        (3, ("memory", "energy")),
        (3, ("energy",)),
        (0, ("energy",)),
        (0, ()),
    ]


def test_sessions_of_one_precision_never_count_as_those_of_another(store: Store) -> None:
    for precision, measured, reused in (("fp32", 1, 0), ("int8", 1, 0), ("int8", 0, 1), ("fp32", 0, 1)):
        outcome = run_scripted(ScriptedLink(), store, precisions=(precision,))
        assert (outcome.measured, outcome.reused) == (measured, reused)


def test_a_device_s_own_precision_is_measured_where_none_is_asked_for(store: Store) -> None:
    assert precisions(run_scripted(ScriptedLink(), store, precision="int8")) == ["int8"]
    assert precisions(run_scripted(ScriptedLink(), store, precision="int8", precisions=("fp32",))) == ["fp32"]


def test_what_a_runtime_cannot_run_fails_with_its_reason_and_another_precision_as_remedy(
    store: Store,
) -> None:
    link = ScriptedLink([Run(refusal="NotImplemented: no kernel for ConvInteger")])
    (failure,) = run_scripted(link, store, precisions=("int8",)).failures
    assert failure.configuration.precision == "int8"
    assert "no kernel for ConvInteger; if onnxruntime " in failure.message
    assert failure.message.endswith("--precision fp32")
    (failure,) = run_scripted(link, store, precisions=("fp32",)).failures
    assert failure.message.endswith("ConvInteger"), "of fp32 there is nothing to add"


def test_finalists_are_measured_in_the_precision_that_was_searched() -> None:
    assert final_options(replace(MANY, precision="int8")).precisions == ("int8",)


def test_a_request_names_known_precisions_and_with_a_target_one_of_them() -> None:
    devices = (LocalDevice(name="local"),)
    asked = MeasureRequest(devices=devices, precisions=("int8", "fp16", "int8"))
    assert asked.options.precisions == ("int8", "fp16")
    with pytest.raises(ConfigError, match="no precision 'in8'; did you mean 'int8'"):
        MeasureRequest(devices=devices, precisions=("in8",))
    with pytest.raises(ConfigError, match="one precision at a time"):
        MeasureRequest(devices=devices, until="mape=2%", precisions=("int8", "fp32"))
