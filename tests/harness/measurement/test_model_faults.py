"""What a runtime says of a model that it does not load or run comes with what helps."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from factories.model_files import custom_op, dense, onnx_model, tokens

from device_agents.runtimes import onnxruntime_cpu
from device_agents.runtimes.loaded import Inputs
from harness.measurement.model_faults import with_remedy


def newer(**changes: int) -> Any:
    """Return a model of versions that no runtime has."""
    model = dense()
    model.ir_version = changes.get("ir_version", model.ir_version)
    model.opset_import[0].version = changes.get("opset", model.opset_import[0].version)
    return model


def hungry() -> Any:
    """Return a small file of a model that takes 4 TB."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["large"]),
        helper.make_node("ReduceSum", ["large"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    value = (TensorProto.FLOAT, [1])
    return onnx_model(nodes, [("x", *value)], [("y", *value)], {"sizes": np.array([1 << 40], np.int64)})


@pytest.mark.parametrize(
    ("model", "shapes", "remedy"),
    [
        (newer(ir_version=99), {}, "save the file with an older ir_version"),
        (newer(opset=99), {}, "convert the file to an older opset"),
        (custom_op(), {}, "harness loads no custom operators"),
        (tokens(50), {"ids": [1, 20], "mask": [1, 20]}, "give true ones with --inputs"),
        (hungry(), {}, "the device lacks the memory"),
    ],
    ids=["IR version", "opset", "custom operator", "no tokens", "memory"],
)
def test_what_onnxruntime_refuses_comes_with_a_remedy(
    model: Any, shapes: dict[str, list[int]], remedy: str
) -> None:
    with pytest.raises(Exception, match=r"\w") as caught:
        onnxruntime_cpu.load_with_inputs(model.SerializeToString(), 1, {}, Inputs(shapes)).run()
    message = with_remedy(str(caught.value))
    assert message.endswith(message[message.index(remedy) :])
    assert "\n;" not in message


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "RuntimeError: Select TensorFlow op(s), included in the given model, is(are) not supported by this interpreter. Make "
            "sure you apply/link the Flex delegate before inference.",
            "SELECT_TF_OPS",
        ),
        ("RuntimeError: Encountered unresolved custom op: Warp.", "no custom operators"),
        ("ValueError: Didn't find op for builtin opcode 'CONV_2D' version '99'.", "a newer ai-edge-litert"),
    ],
)
def test_what_tflite_refuses_comes_with_a_remedy(said: str, remedy: str) -> None:
    assert remedy in with_remedy(said)


def test_what_is_not_known_stays_as_it_is() -> None:
    assert with_remedy("device 'pixel': the worker was silent for 60 s") == (
        "device 'pixel': the worker was silent for 60 s"
    )
