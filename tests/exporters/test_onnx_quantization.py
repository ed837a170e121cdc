"""ONNX models in int8: weights with which no processor's kernels saturate, and pairs that belong to who writes the inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from rigs.model_runs import run_model

from exporters.onnx_quantization import quantize, scale_of, without_input_pairs

KINDS: dict[str, tuple[int, ...]] = {"Conv": (8, 16, 3, 3), "Gemm": (8, 16)}  # shapes of weights


def test_an_inputs_pair_is_taken_out_whatever_other_nodes_read_or_have_no_input() -> None:
    constant = onnx.numpy_helper.from_array(np.ones(2, np.float32))
    nodes = [
        helper.make_node("Constant", [], ["c"], value=constant),
        helper.make_node("QuantizeLinear", ["a", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Add", ["d", "c"], ["s"]),
        helper.make_node("Add", ["s", "r"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2]) for name in ("a", "y")]
    scale, zero = np.array(0.5, np.float32), np.array(0, np.uint8)
    constants = [onnx.numpy_helper.from_array(one, name) for name, one in (("scale", scale), ("zero", zero))]
    graph = helper.make_graph(nodes, "graph", ends[:1], ends[1:], constants)
    stripped = without_input_pairs(helper.make_model(graph), ["a"]).graph
    assert [(node.op_type, list(node.input)) for node in stripped.node] == [
        ("Constant", []),
        ("Relu", ["a"]),
        ("Add", ["a", "c"]),
        ("Add", ["s", "r"]),
    ]
    assert not stripped.initializer


@pytest.mark.converter
@pytest.mark.parametrize("kind", KINDS)
def test_integer_kernels_do_not_saturate_where_all_weights_are_the_largest(kind: str) -> None:
    shape = KINDS[kind]
    weights = numpy_helper.from_array(np.full(shape, 0.01, np.float32), "w")
    image = np.full((1, *shape[1:]), 1, np.float32)
    attributes: dict[str, Any] = {"transB": 1} if kind == "Gemm" else {}
    node = helper.make_node(kind, ["a", "w"], ["y"], **attributes)
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, one)
        for name, one in (("a", image.shape), ("y", (1, 8, *(1 for _ in shape[2:]))))
    ]
    graph = helper.make_graph([node], "graph", ends[:1], ends[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    total = 0.01 * image.size
    quantized = quantize(model, {"a": scale_of(0, 1), "y": scale_of(0, 2 * total)}, [{"a": image}])
    (kept,) = (numpy_helper.to_array(one) for one in quantized.graph.initializer if tuple(one.dims) == shape)
    assert kept.dtype == np.int8
    # On whatever processor the file will run: the kernels of some sum pairs of products in 16 bits.
    assert 2 * 255 * np.abs(kept.astype(int)).max() < 1 << 15
    for optimized in (False, True):  # in floats and in integers
        found = run_model("onnx", quantized.SerializeToString(), image, optimized=optimized)
        np.testing.assert_allclose(found, total, rtol=0.01)


@pytest.mark.parametrize(
    ("low", "high"), [(0.0, 1e-45), (-1e-44, 0.0), (-1e-30, 2e-30), (0.0, 0.0), (-3.0, 1.0)]
)
def test_any_range_has_a_positive_scale_and_a_zero_point_of_8_bits(low: float, high: float) -> None:
    scale, zero_point = scale_of(low, high)
    assert np.float32(scale) > 0
    assert 0 <= zero_point <= 255
