"""From a selection to stored latencies on this machine: real models, the real agent, real runtimes."""

from __future__ import annotations

import os
import random
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from rigs.short_campaigns import SHORT, SHORT_PLAN, any_core
from rigs.watcher import Watcher

from exporters import FragmentLibrary
from harness.devices import connection
from harness.devices.config import Device, Format, LocalDevice, Precision
from harness.devices.connection import Connection
from harness.devices.transports.local import LocalTransport
from harness.errors import Cancelled, DeviceError
from harness.estimates.estimate import session_ratios
from harness.estimates.latency import to_json
from harness.measurement import campaign, workload
from harness.measurement.campaign import Outcome, run_campaign
from harness.measurement.events import SessionDone
from harness.measurement.plan import Options
from harness.measurement.workload import Model
from harness.models.exported import ExportedModels, reference_of
from harness.models.names import select_models_and_segments
from harness.store import Store
from harness.store.latencies import latencies
from space import BLOX, TINY, SpaceConfig
from space.errors import ConfigError
from space.selection import select_models

pytestmark = pytest.mark.converter

BLOX_SMALL, BLOX_LARGE = "conv/conv/conv", "mbconv-mbconv+in/mbconv-mbconv+in/mbconv-mbconv+in"
SMALL, LARGE = "conv/conv", "mbconv-mbconv+in/mbconv-mbconv+in"  # of tiny, as all that is about no weights
RUNTIMES = ("onnxruntime", "tflite")


@pytest.fixture(autouse=True)
def any_core_is_free() -> Iterator[None]:
    with any_core():
        yield


@pytest.fixture(scope="module")
def libraries() -> dict[str, dict[tuple[str, str], object]]:
    """The opened fragment libraries of a space, by format and precision: opened once, not for each test."""
    return defaultdict(dict)


@pytest.fixture
def networks(
    harness_cache: Path, libraries: dict[str, dict[tuple[str, str], object]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., ExportedModels]:
    monkeypatch.setenv("HARNESS_CACHE", str(harness_cache))

    def make(
        *texts: str, kind: type[ExportedModels] = ExportedModels, config: SpaceConfig = TINY
    ) -> ExportedModels:
        models = kind(select_models(texts, config), on_progress=lambda *_: None)
        models._libraries = libraries[config.name]  # type: ignore[assignment]
        return models

    return make


@pytest.fixture
def source(networks: Callable[..., ExportedModels]) -> ExportedModels:
    return networks(SMALL, LARGE)


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> LocalDevice:
    return LocalDevice(name="local", root=str(tmp_path_factory.mktemp("device")))


def measure(
    device: Device,
    source: ExportedModels,
    store: Store,
    *,
    notes: Watcher | None = None,
    cancel: threading.Event | None = None,
    **options: object,
) -> Outcome:
    request = Options(**({"level": SHORT} | options))  # type: ignore[arg-type]
    return run_campaign(
        device,
        source,
        request,
        store,
        notes or Watcher(),
        rng=random.Random(0),
        cancel=cancel or threading.Event(),
    )


def test_two_networks_in_two_runtimes_from_selection_to_latencies(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    notes = Watcher()
    source = networks(BLOX_SMALL, BLOX_LARGE, config=BLOX)
    outcome = measure(device, source, store, notes=notes, runtimes=RUNTIMES)
    assert outcome.error is None
    assert outcome.failures == []
    assert (outcome.measured, outcome.reused) == (4, 0)
    assert (notes.planned, len(notes.done)) == (4, 4)
    assert 0 < outcome.loop_s < outcome.elapsed_s
    assert [use.configuration.runtime for use in outcome.uses] == list(RUNTIMES)
    for use in outcome.uses:
        small, large = latencies(store, use.configuration)
        assert (small.architecture, large.architecture) == (BLOX_SMALL, BLOX_LARGE)
        assert (small.interval_ms is None) == (small.estimate.slices < 6)
        assert 1.5 < large.estimate.ratio / small.estimate.ratio < 50
        assert large.wall.median_ms < 100 * large.latency_ms
        assert small.configuration == use.configuration
        for row in (small, large):  # what torch computes
            assert row.output_error is not None and 0 < row.output_error < 1e-5
        for session in store.sessions(use.configuration):
            assert len(session.slices) >= 3
            assert all(ratio > 0 for ratio in session_ratios(session))
            assert session.campaign_id == outcome.campaign_id
            assert session.conditions_before
            assert session.conditions_after
            assert len(session.output) == len(session.expected) == 8
            assert session.first_run_ns > 0
    documents = to_json(row for use in outcome.uses for row in latencies(store, use.configuration))
    assert len(documents) == 4
    assert {document["format"] for document in documents} == {"onnx", "tflite"}

    # The same network says the same in both runtimes: the device ran what was meant.
    first, second = (
        {s.architecture: s.output for s in store.sessions(use.configuration)} for use in outcome.uses
    )
    for architecture in (BLOX_SMALL, BLOX_LARGE):
        assert first[architecture] == pytest.approx(second[architecture], rel=1e-3, abs=1e-4)
    assert first[BLOX_SMALL] != pytest.approx(first[BLOX_LARGE], rel=1e-3)


@pytest.mark.long
def test_what_is_stored_is_not_measured_again_and_not_sent_again(
    tmp_path: Path, networks: Callable[..., ExportedModels], store: Store
) -> None:
    of_blox = partial(networks, config=BLOX)
    source = of_blox(BLOX_SMALL, BLOX_LARGE)
    device = LocalDevice(name="local", root=str(tmp_path / "device"))  # which holds no part yet
    first = measure(device, source, store, runtimes=("onnxruntime",))
    assert (first.measured, first.reused) == (2, 0)
    assert first.sent_bytes > 100_000
    again = measure(device, source, store, runtimes=("onnxruntime",))
    assert (again.measured, again.reused, again.campaign_id, again.sent_bytes) == (0, 2, "", 0)
    more = measure(device, of_blox(BLOX_SMALL, "conv/conv/bconv"), store, runtimes=("onnxruntime",))
    assert (more.measured, more.reused) == (1, 1)
    assert 0 < more.sent_bytes < first.sent_bytes / 5
    second = measure(device, of_blox(BLOX_SMALL), store, runtimes=("onnxruntime",), sessions=2)
    assert (second.measured, second.reused, second.sent_bytes) == (1, 1, 0)
    fresh = measure(device, of_blox(BLOX_SMALL), store, runtimes=("onnxruntime",), fresh=True)
    assert (fresh.measured, fresh.reused, fresh.sent_bytes) == (1, 0, 0)
    (use,) = fresh.uses
    assert {row.architecture: row.estimate.sessions for row in latencies(store, use.configuration)} == {
        BLOX_SMALL: 3,
        BLOX_LARGE: 1,
        "conv/conv/bconv": 1,
    }


@pytest.mark.alone
def test_a_real_session_has_samples_and_slices_on_one_clock(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    plan = replace(SHORT_PLAN, max_s=2.5, min_slices=5, half_width=1e-9, settled_runs=8)
    outcome = measure(
        device, networks(SMALL), store, runtimes=("onnxruntime",), level=replace(SHORT, plan=plan)
    )
    (use,) = outcome.uses
    (session,) = store.sessions(use.configuration)
    sampled_ns = [sample["at_ns"] for sample in session.samples]
    # A sample a second; contended, it ends sooner.
    if len(os.sched_getaffinity(0)) > 1 and session.elapsed_s > 2:
        assert sampled_ns
    assert sampled_ns == sorted(set(sampled_ns))
    starts_ns = [piece.at_ns for piece in session.slices if piece.at_ns is not None]
    assert len(starts_ns) == len(session.slices)
    assert starts_ns == sorted(set(starts_ns))
    everything_ns = [*sampled_ns, *starts_ns]
    assert max(everything_ns) - min(everything_ns) < session.elapsed_s * 1e9
    for piece, next_ns in zip(session.slices, starts_ns[1:], strict=False):
        assert piece.at_ns is not None
        assert piece.at_ns + sum(piece.network_ns) < next_ns, "a slice ends before the next begins"
    if session.stop != "contended":
        assert session.settled is not None and len(session.settled.network_ns) == 8
        assert starts_ns[-1] + sum(session.slices[-1].runs_ns) < session.settled.at_ns
    assert set(session.gate) == {"waited_s", "closed", "attempt"}


def test_segments_are_measured_as_models_of_their_own_and_stay_out_of_the_table(
    device: LocalDevice, store: Store
) -> None:
    segments = [
        one for one in select_models_and_segments(["segments"], TINY) if str(one).endswith(("head", "stem"))
    ]
    assert len(segments) == 2
    source = ExportedModels(segments, on_progress=lambda *_: None)
    outcome = measure(device, source, store, runtimes=("onnxruntime",))
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    (use,) = outcome.uses
    assert latencies(store, use.configuration) == []
    rows = latencies(store, use.configuration, purpose="segment")
    assert {row.graph_hash for row in rows} == {segment.key for segment in segments}  # type: ignore[union-attr]


def test_the_reference_network_can_be_measured_like_any_other(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    outcome = measure(device, networks(str(reference_of(TINY))), store, runtimes=("onnxruntime",))
    assert outcome.measured == 1
    (use,) = outcome.uses
    (row,) = latencies(store, use.configuration)
    assert 0.4 < row.estimate.ratio < 2.5, "three slices on a busy machine are rough"


def test_models_that_are_put_together_otherwise_have_weights_of_another_name(
    source: ExportedModels, libraries: dict[str, dict[tuple[str, str], object]]
) -> None:
    of_space = libraries[TINY.name]
    for model_format in ("onnx", "tflite"):
        (first, _), reference = source.models(model_format), source.reference(model_format)
        assert first.weights == reference.weights
        library: FragmentLibrary = of_space[model_format, "fp32"]  # type: ignore[assignment]

        class Longer:
            def skeleton(self, *arguments: object) -> bytes:
                return library._skeletons.skeleton(*arguments) + b"\0"  # type: ignore[arg-type]  # noqa: B023

        of_space[model_format, "fp32"] = replace(library, _skeletons=Longer())  # type: ignore[arg-type]
        try:
            assert source.reference(model_format).weights != reference.weights
        finally:
            of_space[model_format, "fp32"] = library


class OneBadModel(ExportedModels):
    """Models of which one is nonsense to any runtime."""

    def models(self, model_format: Format, precision: Precision = "fp32") -> Sequence[Model]:
        good, bad = super().models(model_format, precision)
        assembly = bad.assemble()
        return [good, replace(bad, assemble=lambda: replace(assembly, skeleton=b"nonsense", digest="0" * 64))]


def test_a_network_that_the_runtime_refuses_is_a_failure_and_the_others_are_measured(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    bad = networks(SMALL, LARGE, kind=OneBadModel)
    outcome = measure(device, bad, store, runtimes=("onnxruntime",))
    assert outcome.error is None
    assert outcome.measured == 1
    (failure,) = outcome.failures
    assert (failure.kind, failure.architecture) == ("worker-error", LARGE)
    assert failure.message
    assert store.failures() == [failure]
    (use,) = outcome.uses
    assert [row.architecture for row in latencies(store, use.configuration)] == [SMALL]
    assert LARGE not in {session.architecture for session in store.sessions(use.configuration)}


class BadReference(ExportedModels):
    """Models whose ONNX reference is nonsense to any runtime."""

    def reference(self, model_format: Format, precision: Precision = "fp32") -> Model:
        good = super().reference(model_format, precision)
        if model_format != "onnx":
            return good
        assembly = good.assemble()
        return replace(good, assemble=lambda: replace(assembly, skeleton=b"nonsense", digest="0" * 64))


def test_a_runtime_that_refuses_the_reference_leaves_the_other_runtimes_alone(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    notes = Watcher()
    outcome = measure(device, networks(SMALL, kind=BadReference), store, notes=notes, runtimes=RUNTIMES)
    assert (outcome.measured, outcome.error) == (1, None)
    assert (notes.planned, len(notes.done)) == (2, 2)
    (failure,) = outcome.failures
    assert (failure.configuration.runtime, failure.kind) == ("onnxruntime", "worker-error")
    assert store.failures() == [failure]
    onnxruntime, tflite = (store.session_counts(use.configuration) for use in outcome.uses)
    assert (list(onnxruntime.values()), list(tflite.values())) == ([], [1])


def test_a_device_whose_every_network_fails_is_given_up_with_the_reason(
    device: LocalDevice,
    networks: Callable[..., ExportedModels],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(campaign, "FAILURES_IN_A_ROW", 2)
    bad = networks(SMALL, LARGE, kind=BadReference)
    outcome = measure(device, bad, store, runtimes=("onnxruntime",), sessions=2)
    assert (outcome.measured, len(outcome.failures)) == (0, 2)
    assert isinstance(outcome.error, DeviceError)
    for part in ("device 'local'", "2 networks failed in a row", "harness doctor --device local"):
        assert part in str(outcome.error)


def test_many_networks_of_one_worker_are_what_they_are_alone(
    device: LocalDevice, networks: Callable[..., ExportedModels], store: Store
) -> None:
    source = networks(SMALL, LARGE, str(reference_of(TINY)))
    outcome = measure(device, source, store, runtimes=RUNTIMES, level=replace(SHORT, at_once=40))
    assert (outcome.measured, outcome.failures, outcome.error) == (6, [], None)
    first, second = ({s.architecture: s for s in store.sessions(use.configuration)} for use in outcome.uses)
    assert len(first) == len(second) == 3
    for architecture, session in first.items():
        assert session.output == pytest.approx(second[architecture].output, rel=1e-3, abs=1e-4)
    for sessions in (first, second):
        assert len({session.output for session in sessions.values()}) == 3
        for session in sessions.values():
            assert session.scheduling["probe"]["cores"] == list(session.cores)
            assert set(session.cores) <= set(session.configuration.cores)
            assert session.scheduling["delay_source"] in ("schedstat", "cpu-time", "")
            assert session.scheduling["pace_ns"] and session.scheduling["paced_by"]
    for use in outcome.uses:
        assert all(level.pace_ns and level.paced_by for level in store.reference_levels(use.configuration))


def test_a_session_under_other_conditions_than_its_configuration_is_a_failure(
    device: LocalDevice,
    networks: Callable[..., ExportedModels],
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = networks(SMALL)
    measure(device, source, store, runtimes=("onnxruntime",))
    tiers = iter("C")  # when the campaign begins; a reboot later has set the clocks otherwise
    monkeypatch.setattr(workload, "clock_tier", lambda conditions, cores: next(tiers, "B"))
    outcome = measure(device, source, store, runtimes=("onnxruntime",), sessions=2)
    assert (outcome.measured, outcome.reused) == (0, 1)
    (failure,) = outcome.failures
    assert failure.kind == "conditions-changed"
    for part in ("clock tier 'B', not 'C'", "same command"):
        assert part in failure.message
    (use,) = outcome.uses
    assert sum(store.session_counts(use.configuration).values()) == 1


def test_a_campaign_that_is_cancelled_keeps_what_it_has(
    device: LocalDevice, source: ExportedModels, store: Store
) -> None:
    cancel = threading.Event()

    impatient = Watcher(lambda event: cancel.set() if isinstance(event, SessionDone) else None)
    started = time.monotonic()
    outcome = measure(
        device, source, store, notes=impatient, cancel=cancel, runtimes=("onnxruntime",), sessions=20
    )
    assert isinstance(outcome.error, Cancelled)
    assert outcome.error.exit_status == 130
    assert outcome.measured == 1
    assert time.monotonic() - started < 60
    (use,) = outcome.uses
    assert sum(store.session_counts(use.configuration).values()) == 1


def test_a_request_that_does_not_fit_the_device_stores_nothing(
    device: LocalDevice, source: ExportedModels, store: Store
) -> None:
    for options in ({"threads": 4000}, {"runtimes": ("onnxruntime:none",)}, {"cores": (4000,)}):
        with pytest.raises(ConfigError):
            measure(device, source, store, **options)
    assert store.configurations() == []


def test_a_device_is_locked_against_a_second_campaign(
    device: LocalDevice, source: ExportedModels, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = Connection(device, LocalTransport(), owner="the night run")
    holder.open()
    monkeypatch.setattr(connection, "_holders", set())  # those of this process: it stands for another one
    monkeypatch.setattr(connection, "GRACE_S", 0.1)
    try:
        with pytest.raises(DeviceError, match="the night run"):
            measure(device, source, store)
    finally:
        holder.close()
    assert store.configurations() == []
