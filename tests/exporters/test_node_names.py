"""Which fragment a node belongs to, by the names that ONNX Runtime's profiler really prints."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import onnx
import onnxruntime
import pytest
from rigs.model_runs import random_image

from exporters import (
    ConversionError,
    FragmentLibrary,
    node_fragment,
    node_fragments,
    with_node_names,
)
from exporters.protobuf import bytes_field, number_field, split_fields
from space import BLOX, Architecture
from space.segments import Segment

pytestmark = pytest.mark.converter

NETWORK = Architecture.parse("conv-mbconv+in+out/bconv/conv+mbconv")
FRAGMENTS = {
    "stem",
    "stage 0 op 0 conv",
    "stage 0 op 1 mbconv",
    "stage 0 sum",
    "reduction 0",
    "stage 1 op 1 bconv",
    "reduction 1",
    "stage 2 op 0 mbconv",
    "stage 2 op 1 conv",
    "stage 2 sum",
    "reduction 2",
    "head",
}
LEVELS = {
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,  # no blocked layout: as on ARM
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
}


def profiled_nodes(model: bytes, folder: Path, level: str) -> list[dict[str, Any]]:
    """Return the profiler's events of the nodes of one run, in running order."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = LEVELS[level]
    options.enable_profiling, options.profile_file_prefix = True, str(folder / "profile")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    session.run(None, {session.get_inputs()[0].name: random_image(BLOX)})
    events = json.loads(Path(session.end_profiling()).read_text())
    return [event for event in events if event["cat"] == "Node"]


def named_model(library: FragmentLibrary) -> bytes:
    return with_node_names(library.assembly(NETWORK)).whole()


@pytest.mark.parametrize("level", LEVELS)
def test_every_node_that_runs_belongs_to_a_fragment_of_the_network(
    onnx_library: FragmentLibrary, tmp_path: Path, level: str
) -> None:
    names = [event["name"] for event in profiled_nodes(named_model(onnx_library), tmp_path, level)]
    fragments = node_fragments(names, NETWORK)
    assert set(fragments) == FRAGMENTS
    assert fragments.count("stage 0 sum") == 2 and fragments.count("stage 2 sum") == 1
    unnamed = [name for name in names if node_fragment(name, NETWORK) is None]
    assert all(name.startswith("Reorder") for name in unnamed)


@pytest.mark.parametrize("level", LEVELS)
def test_naming_nodes_does_not_change_what_onnx_runtime_makes_of_them(
    onnx_library: FragmentLibrary, tmp_path: Path, level: str
) -> None:
    plain = onnx_library.assembly(NETWORK).whole()
    before, after = (
        Counter(event["args"]["op_name"] for event in profiled_nodes(model, tmp_path, level))
        for model in (plain, named_model(onnx_library))
    )
    assert before == after


def test_a_named_model_is_the_plain_one_but_for_its_names(onnx_library: FragmentLibrary) -> None:
    recipe = onnx_library.assembly(NETWORK)
    named = with_node_names(recipe)
    assert named.digest != recipe.digest and named.parts == recipe.parts
    model = onnx.load_from_string(named.whole())
    names = [node.name for node in model.graph.node]
    assert names == [node.output[0] for node in model.graph.node] and len(set(names)) == len(names)
    for node in model.graph.node:
        node.ClearField("name")
    assert model == onnx.load_from_string(recipe.whole())
    assert with_node_names(named) == named


def test_a_segment_can_be_named_too(onnx_library: FragmentLibrary) -> None:
    recipe = with_node_names(onnx_library.assembly(Segment.parse("segment:cell1:bconv")))
    model = onnx.load_from_string(recipe.whole())
    assert {node_fragment(node.name) for node in model.graph.node} == {"stage 1 op 1"}


def test_a_tflite_recipe_cannot_be_named(tflite_library: FragmentLibrary) -> None:
    with pytest.raises(ConversionError, match="take a model of an onnx library"):
        with_node_names(tflite_library.assembly(NETWORK))


@pytest.mark.parametrize(
    ("name", "fragment"),
    [
        ("s0.x_nchwc_kernel_time", "stem"),
        ("stem.0_kernel_time", "stem"),
        ("s0.n1_nchwc_kernel_time", "stage 0 op 0 conv"),
        ("s0.op1.12_nchwc", "stage 0 op 1 mbconv"),
        ("s1.n2", "stage 1 op 1 bconv"),
        ("s1.op0.3", "stage 1 op 0"),  # a single block has none; the name is believed
        ("s0.h_kernel_time", "stage 0 sum"),
        ("s2.y", "stage 2 sum"),
        ("s1.x_kernel_time", "reduction 0"),
        ("s3.x", "reduction 2"),
        ("s2.reduction.4_kernel_time", "reduction 2"),
        ("head.0_nchwc_kernel_time", "head"),
        ("logits_kernel_time", "head"),
        ("InsertedPrecisionFreeCast_s0.op0.3", "stage 0 op 0 conv"),
        ("s0.op0.3/Relu", "stage 0 op 0 conv"),
        ("s12.op1.3", "stage 12 op 1"),
    ],
)
def test_a_name_tells_its_fragment(name: str, fragment: str) -> None:
    assert node_fragment(name, NETWORK) == fragment


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Add_10_kernel_time",
        "FusedConv_131",
        "ReorderOutput_token_131",
        "Memcpy",
        "xs0.op0.3",
        "s0.xy",
        "s0.op2.1",
    ],
)
def test_a_name_that_tells_nothing_has_no_fragment(name: str) -> None:
    assert node_fragment(name, NETWORK) is None


def test_a_conversion_of_layout_counts_to_the_node_before_it_and_other_unknown_nodes_to_none() -> None:
    names = [
        "ReorderInput",
        "s0.x",
        "ReorderOutput_token_3",
        "Memcpy_token_4",
        "ReorderInput_token_5",
        "s0.h",
    ]
    assert node_fragments(names) == ("stem", "stem", "stem", None, "stem", "stage 0 sum")
    assert node_fragments(["ReorderInput"]) == (None,)


def test_a_message_is_cut_into_its_fields_and_back() -> None:
    message = number_field(1, 300) + bytes_field(2, b"x" * 200) + b"\x1d1234" + b"\x2112345678"
    fields = list(split_fields(message))
    assert [field.number for field in fields] == [1, 2, 3, 4] and fields[1].content == b"x" * 200
    assert b"".join(field.raw for field in fields) == message


@pytest.mark.parametrize("message", [b"\x80", b"\x0a\x05abc", b"\x0b", b"\x08", b"\x0d123"])
def test_bytes_that_are_no_message_are_refused(message: bytes) -> None:
    with pytest.raises(ValueError, match="protobuf message"):
        list(split_fields(message))
