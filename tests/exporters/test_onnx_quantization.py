"""Pairs of a quantized model that belong to who writes its inputs."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from exporters.onnx_quantization import without_input_pairs


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
