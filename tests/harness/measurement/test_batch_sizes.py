"""Batch sizes in a campaign: each is a configuration of its own, with its own reference, and nothing stored of another counts."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from factories.records import make_session
from factories.stores import MANY
from rigs.scripted_link import Run, ScriptedLink, ScriptedSource, run_scripted

from device_agents.pacing import Durations
from harness.devices.config import LocalDevice
from harness.devices.runtimes import RuntimeUse
from harness.measurement.campaigns import final_options
from harness.measurement.durations import DeviceProbe
from harness.measurement.plan import MOST_BATCH, Options, parse_batches
from harness.measurement.workload import Model, network_groups
from harness.prediction.request import MeasureRequest
from harness.records import FILE_SPACE
from harness.store import Store
from space.errors import ConfigError


def test_each_batch_is_measured_apart_with_a_reference_of_its_own(store: Store) -> None:
    outcome = run_scripted(ScriptedLink(), store, ScriptedSource(networks=(1, 2)), batches=(1, 8))
    assert (outcome.measured, [use.configuration.batch for use in outcome.uses]) == (4, [1, 8])
    for use in outcome.uses:
        assert len(store.session_counts(use.configuration)) == 2
        assert store.reference_latency(use.configuration) is not None
        recipes = [model.assemble().recipe() for model in (*use.models, use.reference)]
        assert [recipe.get("batch", 1) for recipe in recipes] == [use.configuration.batch] * 3
    assert [use.title for use in outcome.uses] == ["onnxruntime", "onnxruntime batch 8"]


def test_sessions_of_one_batch_never_count_as_those_of_another(store: Store) -> None:
    for batch, measured, reused in ((1, 1, 0), (8, 1, 0), (8, 0, 1), (1, 0, 1)):
        outcome = run_scripted(ScriptedLink(), store, batches=(batch,))
        assert (outcome.measured, outcome.reused) == (measured, reused)


class Durable:
    """A probe that says of every model that a run takes some seconds."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds

    def stored(self, model: Model) -> None:
        return None

    def measured(self, model: Model, reference: Model) -> Durations | None:
        if self._seconds is None:
            return None
        return Durations(
            network_ns=self._seconds * 1e9, reference_ns=self._seconds * 1e9, reference=reference.graph_hash
        )


@pytest.mark.parametrize(("seconds", "runs"), [(2.0, 2), (0.001, None), (None, None)])
def test_a_batch_that_takes_seconds_runs_less_often_in_a_slice(
    seconds: float | None, runs: int | None
) -> None:
    one, many = network_groups(ScriptedSource(), "onnx", ["fp32"], (1, 64), Durable(seconds))
    assert (one.pace.network_runs, many.pace.network_runs) == (None, runs)


def test_models_that_take_one_image_are_refused_a_batch() -> None:
    class Alone:
        models, reference = ScriptedSource.models, ScriptedSource.reference

    with pytest.raises(ConfigError, match="--batch 8: these models take one image a run"):
        list(network_groups(Alone(), "onnx", ["fp32"], (8,), Durable(None)))  # type: ignore[arg-type]


def test_the_right_output_is_that_of_the_batch(store: Store) -> None:
    class Source(ScriptedSource):
        def __init__(self) -> None:
            super().__init__(expected=lambda: (float(self._batch),))

        def at_batch(self, batch: int) -> ScriptedSource:
            found = Source()
            found._batch = batch
            return found

    outcome = run_scripted(ScriptedLink(), store, Source(), batches=(1, 8))
    sessions = [session for use in outcome.uses for session in store.sessions(use.configuration)]
    assert [session.expected for session in sessions] == [(1.0,), (8.0,)]


def test_what_fails_of_a_users_modules_at_several_images_alone_is_told_with_a_remedy(store: Store) -> None:
    class OfAUser(ScriptedSource):
        def _model(self, number: int, purpose: str, precision: str) -> Model:
            return replace(super()._model(number, purpose, precision), space="mine@0123456789ab")

    for source, batch, has_remedy in (
        (OfAUser(), 8, True),
        (OfAUser(), 1, False),
        (ScriptedSource(), 8, False),
    ):
        link = ScriptedLink([Run(refusal="no such shape")])
        (failure,) = run_scripted(link, store, source, batches=(batch,)).failures
        assert failure.message.startswith("no such shape")
        assert ("x.flatten(1), or measure without --batch" in failure.message) is has_remedy


def test_finalists_are_measured_at_the_batch_that_was_searched() -> None:
    assert final_options(replace(MANY, batch=8)).batches == (8,)


def test_a_request_names_batch_sizes_and_with_a_target_one_of_them() -> None:
    devices = (LocalDevice(name="local"),)
    assert MeasureRequest(devices=devices, batches=(8, 1, 8)).options.batches == (8, 1)
    with pytest.raises(ConfigError, match="one batch size at a time"):
        MeasureRequest(devices=devices, until="mape=2%", batches=(1, 8))


def test_batch_sizes_are_whole_numbers_of_images() -> None:
    assert parse_batches("1,8, 64,8") == (1, 8, 64)
    assert parse_batches("") == (1,)
    for text in ("0", "8,", "-1", "1e3", "x", "1.5"):
        with pytest.raises(
            ConfigError, match=r"--batch .*: .* is no number of images; write e\.g\. --batch 1,8,64"
        ):
            parse_batches(text)
    with pytest.raises(ConfigError, match=f"--batch {MOST_BATCH + 1}: give 1 to {MOST_BATCH}"):
        Options(batches=(MOST_BATCH + 1,))


def test_how_long_a_file_runs_at_one_batch_tells_nothing_of_another(store: Store) -> None:
    configuration = replace(MANY, space=FILE_SPACE, batch=8)
    session = make_session(configuration=configuration)
    store.start_campaign(session.campaign_id, "made-up", "2024", {})
    store.add_session(session)
    runtime = RuntimeUse(name=MANY.runtime, version="1.0", provider=MANY.provider, format="onnx")
    probe = DeviceProbe(
        "made-up", ScriptedLink(), store, runtime, ((), MANY.threads), Options(), print, threading.Event()
    )
    file = replace(ScriptedSource().reference("onnx", "fp32"), graph_hash=session.graph_hash)
    assert probe.stored(replace(file, batch=8)) is not None
    assert probe.stored(file) is None
