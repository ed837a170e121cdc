"""External delegates of TFLite by a library of the tests' own, which takes what its options say and computes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from factories.edgetpu import compile_library, edgetpu_model
from factories.model_files import save_two_signatures

from device_agents.outputs import Outputs, OutputUnmoved
from device_agents.refusal import Refusal
from device_agents.runtimes import tflite
from device_agents.runtimes.loaded import Inputs

RELU = "19"  # tflite::BuiltinOperator_RELU
TWO = edgetpu_model("relu", "relu")


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
