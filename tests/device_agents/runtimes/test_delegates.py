"""External delegates of TFLite, and Coral's Edge TPU by one, with a library of the tests' own in their places.

It takes what its options say and computes nothing; no Edge TPU was ever there.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories.edgetpu import compile_library, edgetpu_model
from factories.model_files import save_two_signatures

from device_agents.outputs import Outputs, OutputUnmoved
from device_agents.refusal import Refusal
from device_agents.runtimes import tflite, uses_accelerator
from device_agents.runtimes.delegates import CORALS_VARIABLE, is_compiled
from device_agents.runtimes.loaded import Inputs

RELU = "19"  # tflite::BuiltinOperator_RELU
TWO = edgetpu_model("relu", "relu")
EDGETPU = {"provider": "EdgeTPU"}
COMPILED = edgetpu_model("edgetpu-custom-op")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(compile_library(tmp_path_factory.mktemp("delegate")))


def options(library: str, provider: str = "npu", **given: str) -> dict[str, Any]:
    return {"provider": provider, "provider_options": {"library": library, **given}}


def test_a_delegate_that_runs_all_operators_runs_the_model(library: str) -> None:
    loaded = tflite.load(TWO, 1, options(library, builtin=RELU))
    loaded.run()
    assert (loaded.shares, loaded.runtime["provider"], loaded.arithmetic) == ({"npu": 1.0}, "npu", "")
    assert len(loaded.output()) == 8


def test_what_a_delegate_leaves_to_the_cpu_is_refused_unless_that_is_asked_for(library: str) -> None:
    with pytest.raises(Refusal, match=r"runs 50 % of the model's operators.*tflite:npu\+cpu") as refused:
        tflite.load(TWO, 1, options(library, builtin=RELU, most="1"))
    assert refused.value.kind == "worker-error"
    loaded = tflite.load(TWO, 1, options(library, "npu+CPU", builtin=RELU, most="1"))
    loaded.run()
    assert (loaded.shares, loaded.runtime["provider"]) == ({"npu": 0.5, "builtin": 0.5}, "npu+CPU")


def test_xnnpack_takes_nothing_that_a_delegate_leaves(library: str) -> None:
    model = edgetpu_model("relu", "relu", is_float=True)
    assert tflite.load(model, 1, {"provider": "XNNPACK"}).shares == {"XNNPACK": 1.0}
    loaded = tflite.load(model, 1, options(library, "npu+CPU", builtin=RELU, most="1"))
    assert loaded.shares == {"npu": 0.5, "builtin": 0.5}


@pytest.mark.parametrize("provider", ["npu", "npu+CPU"])
def test_a_delegate_that_takes_nothing_is_no_accelerator_and_refused(library: str, provider: str) -> None:
    with pytest.raises(Refusal, match="took no operator of the model"):
        tflite.load(TWO, 1, options(library, provider, builtin="1"))


def test_a_delegate_that_does_not_load_or_knows_no_such_option_is_refused_by_name(
    library: str, tmp_path: Path
) -> None:
    for given, words in (
        (options(library, speed="9"), r"no such option.*options \{'speed': '9'\}"),
        (options(str(tmp_path / "none.so")), r"none\.so.*cannot open shared object"),
    ):
        with pytest.raises(Refusal, match=r"the delegate npu cannot be used: .*" + words) as refused:
            tflite.load(TWO, 1, given)
        assert refused.value.kind == "runtime-missing"


def test_a_signature_on_a_delegate_is_refused_for_what_no_package_lists(library: str, tmp_path: Path) -> None:
    model = save_two_signatures(tmp_path / "two.tflite").read_bytes()
    with pytest.raises(
        Refusal, match="no tflite package lists the operators of a signature; leave --signature out"
    ):
        tflite.load_with_inputs(model, 1, options(library, "npu+CPU", builtin=RELU), Inputs(signature="wide"))


def test_options_that_nothing_reads_are_refused(library: str) -> None:
    for given in (
        {"provider": "XNNPACK", "provider_options": {"levl": "3"}},
        {"provider_options": {"levl": "3"}},
        options(library, "EdgeTPU"),
        options(library, "builtin"),
        {"provider": "npu", "provider_options": {"levl": "3"}},
    ):
        with pytest.raises(Refusal, match="takes no provider_options, but has") as refused:
            tflite.load(TWO, 1, given)
        assert refused.value.kind == "bad-request"


def test_a_delegate_that_computes_nothing_is_found_out_before_anything_is_timed(library: str) -> None:
    loaded = tflite.load(TWO, 1, options(library, builtin=RELU))
    loaded.run()
    with pytest.raises(OutputUnmoved, match="the npu gives one and the same output"):
        Outputs(loaded)


@pytest.fixture
def plugged(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CORALS_VARIABLE, library)


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
    monkeypatch.setenv(CORALS_VARIABLE, str(tmp_path / "libedgetpu.so.1"))
    assert "EdgeTPU" in tflite.providers()
    with pytest.raises(
        Refusal, match=r"cannot be used: .*libedgetpu\.so\.1.*edgetpu_library in devices.toml"
    ):
        tflite.load(COMPILED, 1, EDGETPU)


def test_a_device_without_the_library_offers_no_edge_tpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CORALS_VARIABLE, raising=False)
    monkeypatch.setattr("device_agents.runtimes.delegates.CORALS_LIBRARY", "libedgetpu-that-is-nowhere.so.1")
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
