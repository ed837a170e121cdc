"""Coral's Edge TPU by TFLite's external delegate, with a library in its place; no Edge TPU was ever there."""

from __future__ import annotations

from pathlib import Path

import pytest
from factories.edgetpu import compile_library, edgetpu_model

from device_agents.outputs import Outputs, OutputUnmoved
from device_agents.refusal import Refusal
from device_agents.runtimes import tflite, uses_accelerator
from device_agents.runtimes.edgetpu import LIBRARY_VARIABLE, is_compiled

EDGETPU = {"provider": "EdgeTPU"}
COMPILED = edgetpu_model("edgetpu-custom-op")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_library(tmp_path_factory.mktemp("edgetpu"))


@pytest.fixture
def plugged(library: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(library))


@pytest.mark.usefixtures("plugged")
def test_a_compiled_model_runs_there_as_a_whole() -> None:
    assert "EdgeTPU" in tflite.providers()
    loaded = tflite.load(COMPILED, 1, EDGETPU)
    loaded.run()
    assert loaded.runtime["provider"] == "EdgeTPU" and uses_accelerator("EdgeTPU")
    assert (loaded.shares, loaded.arithmetic) == ({"EdgeTPU": 1.0}, "int8")
    assert len(loaded.output()) == 8


@pytest.mark.usefixtures("plugged")
def test_a_model_that_was_not_compiled_is_refused_with_the_compiler_and_never_run() -> None:
    with pytest.raises(
        Refusal, match=r"not compiled for the Edge TPU.*edgetpu_compiler model.tflite.*--reference FILE"
    ):
        tflite.load(edgetpu_model("relu"), 1, EDGETPU)


@pytest.mark.usefixtures("plugged")
def test_a_model_of_which_a_part_is_left_to_the_cpu_is_refused_with_what_is_left() -> None:
    with pytest.raises(Refusal, match=r"a part of the model runs on the CPU, 1 operators \(RELU\)"):
        tflite.load(edgetpu_model("edgetpu-custom-op", "relu"), 1, EDGETPU)


@pytest.mark.parametrize("provider", ["XNNPACK", "builtin"])
def test_a_compiled_model_is_refused_elsewhere_with_the_runtime_to_take(provider: str) -> None:
    assert is_compiled(COMPILED)
    with pytest.raises(Refusal, match=f"runs nowhere else, not on {provider}; take tflite:edgetpu"):
        tflite.load(COMPILED, 1, {"provider": provider})


@pytest.mark.usefixtures("plugged")
def test_an_edge_tpu_that_is_not_plugged_in_is_refused_with_what_to_look_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FAKE_EDGETPU_UNPLUGGED", "1")
    with pytest.raises(
        Refusal, match=r"the Edge TPU cannot be used: .*no device.* is it plugged in.*plugdev"
    ) as refused:
        tflite.load(COMPILED, 1, EDGETPU)
    assert refused.value.kind == "runtime-missing"


def test_a_library_that_is_named_and_absent_tells_its_path(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(LIBRARY_VARIABLE, str(tmp_path / "libedgetpu.so.1"))
    assert "EdgeTPU" in tflite.providers()
    with pytest.raises(
        Refusal, match=r"cannot be used: .*libedgetpu\.so\.1.*edgetpu_library in devices.toml"
    ):
        tflite.load(COMPILED, 1, EDGETPU)


def test_a_device_without_the_library_offers_no_edge_tpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LIBRARY_VARIABLE, raising=False)
    monkeypatch.setattr("device_agents.runtimes.edgetpu.LIBRARY", "libedgetpu-that-is-nowhere.so.1")
    assert tflite.providers() == ["XNNPACK", "builtin"]


@pytest.mark.usefixtures("plugged")
def test_a_package_that_lists_no_operators_cannot_prove_it_and_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, _, module = tflite.find()
    monkeypatch.delattr(module.Interpreter, "_get_ops_details")
    with pytest.raises(Refusal, match="does not list a model's operators"):
        tflite.load(COMPILED, 1, EDGETPU)


@pytest.mark.usefixtures("plugged")
def test_an_edge_tpu_that_computes_nothing_is_found_out_before_anything_is_timed() -> None:
    loaded = tflite.load(COMPILED, 1, EDGETPU)
    loaded.run()
    with pytest.raises(OutputUnmoved, match="the EdgeTPU gives one and the same output"):
        Outputs(loaded)
