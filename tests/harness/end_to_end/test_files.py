"""Model files from their names to stored latencies, by the real agent on this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import (
    cannot_run,
    custom_op,
    dense,
    save,
    save_int8_tflite,
    save_tflite,
    save_two_signatures,
    save_with_data,
    tokens,
)
from factories.programs import convolution, save_program
from rigs.short_campaigns import any_core, same_pace, short_levels

import harness
from device_agents.pacing import Pace
from device_agents.runtimes.loaded import fixed_input, output_sums
from exporters import pt2_worker
from harness.measurement.durations import DeviceProbe
from harness.measurement.plan import SessionPlan
from harness.models import files
from harness.models.file_names import GivenInputs
from harness.output.latency_comparison import print_compared
from harness.prediction.request import MeasureRequest
from harness.records import FILE_SPACE
from harness.store import Store
from space.errors import ConfigError

pytestmark = pytest.mark.device

QUICK: dict[str, Any] = {"level": "quick", "sessions": 1}


@pytest.fixture(autouse=True)
def short_sessions_on_any_core() -> Iterator[None]:
    with any_core(), short_levels():
        yield


@pytest.fixture
def files_as_long_as_the_reference() -> Iterator[None]:
    with same_pace():
        yield


paced_alike = pytest.mark.usefixtures("files_as_long_as_the_reference")


def outputs(store: Store) -> dict[str, tuple[float, ...]]:
    """Return the output of each stored file by its name."""
    found = (session for one in store.configurations() for session in store.sessions(one))
    return {session.architecture: session.output for session in found}


def own(path: Path, inputs: dict[str, Any]) -> Any:
    """Return the output values of a file as onnxruntime's own script has them."""
    import onnxruntime

    return onnxruntime.InferenceSession(str(path)).run(None, inputs)[0].reshape(-1).tolist()


@paced_alike
def test_files_of_several_kinds_are_measured_in_one_campaign_and_failures_say_what_helps(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 300)
    plain, free = (
        save(dense(), tmp_path / "dense.onnx"),
        save(dense(("n", "rows", 8)), tmp_path / "free.onnx"),
    )
    (tmp_path / "beside").mkdir()
    beside = save_with_data(dense(width=9), tmp_path / "beside" / "data.onnx")
    half, warp = (
        save(dense(dtype=np.float16), tmp_path / "half.onnx"),
        save(custom_op(), tmp_path / "warp.onnx"),
    )
    named = [plain, free, beside, half, warp]
    with pytest.raises(ConfigError, match="free sizes"):
        harness.measure("local", named, store=store, reference=plain, **QUICK)
    assert not store.configurations()
    named.remove(free)
    table = harness.measure("local", named, store=store, reference=plain, **QUICK)
    assert {row.architecture for row in table} == {"dense.onnx", "data.onnx", "half.onnx"}
    assert {row.configuration.space for row in table} == {FILE_SPACE}
    precisions = {row.architecture: row.configuration.precision for row in table}
    assert precisions == {"dense.onnx": "fp32", "data.onnx": "fp32", "half.onnx": "fp16"}
    (failure,) = table.failures
    assert failure.architecture == "warp.onnx"
    assert "harness loads no custom operators" in failure.message
    found = outputs(store)
    assert found["dense.onnx"] == pytest.approx(
        output_sums(own(plain, {"x": fixed_input([1, 8], "float32", "NCHW")})), rel=1e-6
    )
    assert found["data.onnx"] == pytest.approx(
        output_sums(own(beside, {"x": fixed_input([1, 8], "float32", "NCHW")})), rel=1e-5
    )
    # Each is judged by its own run on this machine.
    errors = {row.architecture: row.output_error for row in table}
    assert all(error is not None and error < 1e-2 for error in errors.values())
    assert errors["dense.onnx"] is not None
    assert errors["dense.onnx"] < 1e-5
    # What is stored is not measured again, and is found by name.
    again = harness.measure("local", [plain, half], store=store, reference=plain, **QUICK)
    assert {(row.architecture, row.estimate.sessions) for row in again} == {
        ("dense.onnx", 1),
        ("half.onnx", 1),
    }
    assert [row.architecture for row in harness.results(store, models="half.onnx")] == ["half.onnx"]
    assert {row.architecture for row in harness.results(store, models="*a*.onnx")} == {
        "data.onnx",
        "half.onnx",
    }
    assert not harness.results(store, models="conv/conv/conv")
    with pytest.raises(ConfigError, match="nothing is stored that fits"):
        harness.predict(store, device="local")
    with pytest.raises(ConfigError, match="of which nothing can be predicted"):
        harness.predict(store, configuration=table[0].configuration.digest[:8])


@paced_alike
def test_given_shapes_and_values_reach_the_model_and_the_record(tmp_path: Path, store: Store) -> None:
    path, values = save(tokens(), tmp_path / "tokens.onnx"), tmp_path / "v.npz"
    arrays = {"ids": np.array([[150, 3, 199]]), "mask": np.array([[True, False, True]])}
    np.savez(values, **arrays)
    reference = save(dense(), tmp_path / "dense.onnx")
    harness.measure("local", path, store=store, inputs=values, reference=reference, **QUICK)
    shapes = {"ids": (1, 7), "mask": (1, 7)}
    harness.measure("local", path, store=store, shapes=shapes, reference=reference, **QUICK)
    sessions = {s.architecture: s for one in store.configurations() for s in store.sessions(one)}
    given = next(session for name, session in sessions.items() if " inputs " in name)
    assert given.output == pytest.approx(output_sums(own(path, arrays)), rel=1e-5)
    shaped = sessions["tokens.onnx ids=1,7 mask=1,7"]
    assert shaped.plan["inputs"] == {"ids": [1, 7], "mask": [1, 7]}
    assert shaped.graph_hash != given.graph_hash
    image = save_tflite(tmp_path / "image.tflite")
    (row,) = harness.measure(
        "local", image, store=store, shapes={"image": (2, 16, 16, 3)}, reference=image, **QUICK
    )
    assert (row.architecture, row.configuration.runtime) == ("image.tflite image=2,16,16,3", "tflite")
    assert row.estimate.ratio == pytest.approx(1, abs=0.5), "the reference has two images, too"


def test_two_files_are_compared_in_the_same_processes(tmp_path: Path, store: Store) -> None:
    small, large = (
        save(dense(), tmp_path / "small.onnx"),
        save(dense((1, 4096, 8), width=64), tmp_path / "large.onnx"),
    )
    (pair,) = harness.compare(store, str(large), str(small), device="local", level="quick", sessions=1)
    assert pair.result.verdict == "slower"
    assert pair.result.interval is not None
    assert pair.result.ratio == pytest.approx(pair.first.latency_ms / pair.second.latency_ms)
    assert (pair.first.architecture, pair.second.architecture) == ("large.onnx", "small.onnx")
    assert pair.to_json()["networks"]
    (same,) = harness.compare(store, str(small), str(small), device="local", level="quick", sessions=1)
    assert same.result.ratio == pytest.approx(1, abs=0.3)
    with pytest.raises(ConfigError, match="two model files"):
        harness.compare(store, str(small), "conv/conv/conv")
    with pytest.raises(
        ConfigError, match=r"small\.onnx is timed beside models of onnx alone, and this one is of tflite"
    ):
        harness.compare(store, str(small), str(save_tflite(tmp_path / "a.tflite")))


def test_a_file_that_cannot_run_is_not_the_fault_of_the_one_compared_with_it(
    tmp_path: Path, store: Store
) -> None:
    good, bad = save(dense(), tmp_path / "good.onnx"), save(cannot_run(), tmp_path / "bad.onnx")
    beside = "good.onnx: at the reference: RuntimeError"
    for one, other in ((good, bad), (bad, good)):
        with pytest.raises(ConfigError, match=f"^(bad.onnx: RuntimeError|{beside})"):
            harness.compare(store, str(one), str(other), device="local", level="quick", sessions=1)
    told = {f"{one.architecture}: {one.message.partition(': Error')[0]}" for one in store.failures()}
    assert told == {"bad.onnx: RuntimeError", beside}


@pytest.mark.converter
def test_without_a_reference_a_built_in_one_of_like_duration_is_chosen_and_kept(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(dense(), tmp_path / "dense.onnx")
    (row,) = harness.measure("local", path, store=store, **QUICK)
    assert row.architecture == "dense.onnx"
    assert 1 / 30 < row.estimate.ratio < 30
    monkeypatch.setattr(DeviceProbe, "measured", lambda *_: pytest.fail("it is stored: nothing is tried"))
    (again,) = harness.measure("local", path, store=store, level="quick", sessions=2)
    assert again.configuration == row.configuration
    assert again.estimate.sessions == 2


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"inputs": GivenInputs.parse(["x=1"])}, "are for model files"),
        ({"reference": Path("a.onnx"), "models": ("sample:3",)}, "are for model files"),
        ({"models": ("a.onnx",), "precisions": ("int8",)}, "a model file has its own"),
        ({"models": ("a.onnx",), "until": "mape=2%"}, "picks the networks itself"),
    ],
)
def test_options_of_files_and_of_networks_are_not_mixed_up(asked: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        MeasureRequest(devices=(), **asked)


def test_long_models_have_fewer_runs_in_a_slice_and_the_reference_more() -> None:
    plan = SessionPlan(max_s=3.0)
    assert plan.at(Pace.of(20e3, 3e6)) == plan
    assert plan.at(Pace.of(90e6, 3e6)) == plan
    slow = plan.at(Pace.of(5e9, 3e6))
    assert slow.network_runs == 2
    assert slow.reference_runs == 64
    assert 6 * 2 * 5 <= slow.max_s <= 150
    middle = plan.at(Pace.of(200e6, 3e6))
    assert (middle.network_runs, middle.reference_runs) == (3, 16)
    assert middle.max_s > plan.max_s


def test_a_model_that_the_devices_cache_cannot_hold_is_refused_before_it_is_sent(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from harness.measurement import uploads

    path = save(dense(width=64), tmp_path / "dense.onnx")
    told: list[Mapping[str, Any]] = []

    def cache_bytes(hello: Mapping[str, Any]) -> int:
        told.append(hello)
        return 1000

    monkeypatch.setattr(uploads, "_cache_bytes", cache_bytes)
    table = harness.measure("local", path, store=store, reference=path, **QUICK)
    assert not table
    assert [found["name"] for found in told[0]["runtimes"]] == ["onnxruntime"], "no other runs such files"
    assert table.failures[0].kind == "too-large"
    assert "free some there" in table.failures[0].message


def test_a_broken_file_stops_the_command_before_anything_is_measured(tmp_path: Path, store: Store) -> None:
    good, bad = save(dense(), tmp_path / "good.onnx"), tmp_path / "bad.onnx"
    bad.write_bytes(b"no model")
    with pytest.raises(ConfigError, match="no ONNX model"):
        harness.measure("local", [good, bad], store=store, reference=good, **QUICK)
    assert not store.configurations()


def expected_file(path: Path, **outputs: Any) -> Path:
    np.savez(path, **outputs)
    return path


@paced_alike
def test_an_output_off_the_one_that_a_person_expects_has_grade_d_and_says_so(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    path = save(dense(), tmp_path / "dense.onnx")
    right = np.array([own(path, {"x": fixed_input([1, 8], "float32", "NCHW")})], np.float32)
    good, bad = (
        expected_file(tmp_path / "good.npz", y=right),
        expected_file(tmp_path / "bad.npz", y=right + 0.1),
    )
    lines = list[str]()
    (row,) = harness.measure("local", path, store=store, reference=path, expect=bad, **QUICK)
    assert row.grade == "D"
    # On a fast core runs of a microsecond are `short-runs`, too.
    assert "wrong-output" in [finding.kind for finding in row.findings if finding.cap == "D"]
    assert row.output_error is not None
    assert row.output_error > 1e-2
    given = GivenInputs(expect=bad)
    found = harness.compare(
        store, str(path), str(path), device="local", level="quick", sessions=1, inputs=given
    )
    assert found[0].first.grade == "D"
    print_compared(found, json_output=False)
    assert capsys.readouterr().err.count("the output on the fixed input is false") == 1
    harness.measure("local", path, store=store, reference=path, expect=good, log=lines.append, **QUICK)
    assert any("not judged by --expect; add --fresh" in line for line in lines)
    with pytest.raises(ConfigError, match="no array is called as an output of a file that is compared"):
        harness.measure(
            "local", path, store=store, expect=expected_file(tmp_path / "c.npz", z=right), **QUICK
        )


@paced_alike
def test_a_file_that_this_machine_cannot_run_is_not_judged_and_the_others_are(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exporters import own_run

    small, large = save(dense(), tmp_path / "small.onnx"), save(dense(width=4096), tmp_path / "large.onnx")
    monkeypatch.setattr(own_run, "free_bytes", lambda: 4 << 30)
    monkeypatch.setattr(own_run, "COPIES", (2 << 30) // large.stat().st_size + 1)
    lines = list[str]()
    judged = {
        row.architecture: row.output_error
        for row in harness.measure(
            "local", [large, small], store=store, reference=small, log=lines.append, **QUICK
        )
    }
    assert judged["large.onnx"] is None
    assert judged["small.onnx"] is not None
    assert any(
        "output of large.onnx is not judged: this machine would have to run it" in line for line in lines
    )


@paced_alike
def test_the_signature_that_is_named_is_run_and_kept_apart(tmp_path: Path, store: Store) -> None:
    path = save_two_signatures(tmp_path / "two.tflite")
    with pytest.raises(
        ConfigError, match=r"has 2 signatures.*--signature: plain \(picture\); wide \(picture\)"
    ):
        harness.measure("local", path, store=store, **QUICK)
    with pytest.raises(ConfigError, match="did you mean 'wide'"):
        harness.measure("local", path, store=store, signature="wyde", **QUICK)
    reference = save_tflite(tmp_path / "a.tflite")
    rows = [
        harness.measure("local", path, store=store, signature=name, reference=reference, **QUICK)[0]
        for name in ("plain", "wide")
    ]
    assert [row.architecture for row in rows] == ["two.tflite signature plain", "two.tflite signature wide"]
    assert all(row.output_error is not None and row.output_error < 1e-5 for row in rows)
    plain, wide = outputs(store).values()
    assert plain != wide


@pytest.mark.long
@pytest.mark.converter
@paced_alike
def test_a_program_and_a_module_are_measured_as_the_model_that_they_are(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    # Converted in this process: tests/exporters/test_pt2_file.py is about the one of its own, whose start takes seconds.
    monkeypatch.setattr(torch, "load", torch.load)  # replaced by the conversion for its process's life
    monkeypatch.setattr(files, "pt2_to_onnx", lambda path, data, limit_bytes: pt2_worker.convert(data))
    module, images = convolution(), torch.randn(2, 3, 16, 16)
    module.train()
    path, reference = save_program(tmp_path / "net.pt2"), save(dense(), tmp_path / "dense.onnx")
    (row,) = harness.measure("local", path, store=store, reference=reference, **QUICK)
    assert (row.architecture, row.configuration.runtime) == ("net.pt2", "onnxruntime")
    (own_row,) = harness.measure("local", module, inputs=(images,), store=store, reference=reference, **QUICK)
    assert own_row.architecture.startswith("Sequential.pt2 inputs ")
    assert own_row.output_error is not None
    assert own_row.output_error < 1e-5
    assert module.training, "a module is left as it was"
    (session,) = store.sessions(own_row.configuration, [own_row.graph_hash])
    right = convolution()(images).detach().reshape(-1).tolist()
    assert session.output == pytest.approx(output_sums(right), abs=1e-4)
    with pytest.raises(ConfigError, match="give them: inputs="):
        harness.measure("local", module, store=store)
    with pytest.raises(ConfigError, match="tensors are for torch modules"):
        harness.measure("local", path, inputs=(images,), store=store)
    with pytest.raises(ConfigError, match="litert_torch"):
        harness.measure("local", path, store=store, runtimes=["tflite"])


@paced_alike
def test_litert_measures_files_as_the_interpreter_does_and_proves_what_ran_them(
    tmp_path: Path, store: Store
) -> None:
    files = [save_tflite(tmp_path / "a.tflite"), save_int8_tflite(tmp_path / "b.tflite")]
    runtimes = ["litert", "tflite"]
    table = harness.measure("local", files, store=store, reference=files[0], runtimes=runtimes, **QUICK)
    assert {(row.configuration.runtime, row.architecture) for row in table} == {
        (runtime, path.name) for runtime in runtimes for path in files
    }
    sessions = {
        (one.runtime, session.architecture): session
        for one in store.configurations()
        for session in store.sessions(one)
    }
    for path in files:
        ours, theirs = (sessions[runtime, path.name] for runtime in runtimes)
        assert ours.output == theirs.output
        assert ours.conditions_after["shares"] == {"CPU": 1.0}
        assert theirs.conditions_after["shares"] == {"XNNPACK": 1.0}
