"""Networks in fp16 and int8, linked from shared parts: the whole conversion's graph and outputs, near torch's numbers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from rigs.model_runs import Array, operators, random_image, run_model
from rigs.whole_networks import convert_networks

from device_agents.runtimes import RUNTIMES
from device_agents.runtimes.loaded import array_outputs, fixed_input, judged_values
from exporters import (
    FORMATS,
    PRECISIONS,
    ConversionError,
    Format,
    FragmentLibrary,
    Precision,
    Weights,
    standalone,
)
from exporters.calibration import Calibration, calibrate
from exporters.fragments import GLUE, all_fragments, all_values, possible_steps
from exporters.networks import torch_network
from space import TINY, Architecture, SpaceConfig
from space.segments import all_segments

pytestmark = pytest.mark.converter

# Both sums, each op in each slot, and an op1 that reads each of its three values.
NETWORKS = [
    Architecture.parse(text, TINY)
    for text in (
        "conv-mbconv+in+out/bconv-conv+out",
        "bconv+mbconv/mbconv-bconv+in",
        "mbconv-conv/conv-mbconv+in+out",
        "conv/bconv",
    )
]
# Every op, both sums, and an op1 of each that it may read.
WITH_BOTH_SUMS = Architecture.parse("conv-mbconv+in+out/bconv+mbconv", TINY)
LOGISTIC = schema.BuiltinOperator.LOGISTIC
ERROR = {"fp16": 2e-3, "int8": 0.1}  # |y - y'| / |y| of the logits
PART_BYTES = {  # of those in fp32; on so small a space int8's scales count, and TFLite's tables
    "onnx": {"fp16": 0.55, "int8": 0.45},
    "tflite": {"fp16": 0.7, "int8": 0.6},
}


@pytest.fixture(scope="module", params=FORMATS)
def libraries(request: pytest.FixtureRequest, harness_cache: Path) -> dict[Precision, FragmentLibrary]:
    folder = harness_cache / "fragments"
    return {
        precision: FragmentLibrary.open(request.param, cache_dir=folder, config=TINY, precision=precision)
        for precision in PRECISIONS
    }


@pytest.fixture(params=["fp16", "int8"])
def library(request: pytest.FixtureRequest, libraries: dict[Precision, FragmentLibrary]) -> FragmentLibrary:
    return libraries[request.param]


@pytest.fixture
def onnx_int8(harness_cache: Path) -> FragmentLibrary:
    return FragmentLibrary.open("onnx", cache_dir=harness_cache / "fragments", config=TINY, precision="int8")


@pytest.fixture
def tflite_int8(harness_cache: Path) -> FragmentLibrary:
    return FragmentLibrary.open(
        "tflite", cache_dir=harness_cache / "fragments", config=TINY, precision="int8"
    )


def linked(library: FragmentLibrary, architecture: Architecture) -> bytes:
    return library.assembly(architecture).whole()


def torch_logits(architecture: Architecture, image: Array) -> Array:
    return np.asarray(torch_network(architecture, Weights.seeded(0))(torch.from_numpy(image)))


def error(found: Array, expected: Array) -> float:
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


@pytest.mark.parametrize("library", [pytest.param("fp16", marks=pytest.mark.long), "int8"], indirect=True)
def test_linking_equals_converting_the_whole_network(library: FragmentLibrary) -> None:
    network = WITH_BOTH_SUMS if library.precision == "fp16" else NETWORKS[0]
    (whole,) = convert_networks([network], library.format, precision=library.precision)
    model, image = linked(library, network), random_image(TINY)
    assert operators(library.format, model) == operators(library.format, whole.model)
    ours, theirs = (run_model(library.format, one, image) for one in (model, whole.model))
    assert ours.tobytes() == theirs.tobytes()


def test_logits_are_near_those_of_torch_and_not_the_same(library: FragmentLibrary) -> None:
    image = np.clip(random_image(TINY), -1, 1)  # the range that seeded weights are calibrated for
    for architecture in NETWORKS:
        found = run_model(library.format, linked(library, architecture), image)
        assert 0 < error(found, torch_logits(architecture, image)) < ERROR[library.precision], architecture


def test_parts_are_smaller_and_shared_as_in_fp32(
    library: FragmentLibrary, libraries: dict[Precision, FragmentLibrary]
) -> None:
    whole, ours = libraries["fp32"], library
    assert len(set(ours.part_digests)) == len(whole.part_digests)
    sizes = [sum(len(one.part(digest)) for digest in one.part_digests) for one in (ours, whole)]
    assert sizes[0] < PART_BYTES[ours.format][ours.precision] * sizes[1]
    for architecture in NETWORKS:
        assert len(ours.assembly(architecture).parts) == len(whole.assembly(architecture).parts)


def test_a_segment_is_near_that_of_fp32(
    library: FragmentLibrary, libraries: dict[Precision, FragmentLibrary]
) -> None:
    ranges = calibrate(TINY, Weights.seeded(0)).ranges
    highest = max(high for _, high in ranges.values())
    for segment in all_segments(TINY)[::9]:
        x = np.abs(np.random.default_rng(0).normal(size=(1, *segment.input_shape))).astype(np.float32)
        x *= 0.1 * highest / x.max()
        found, expected = (
            run_model(one.format, one.assembly(segment).whole(), x) for one in (library, libraries["fp32"])
        )
        assert found.shape == expected.shape
        assert error(found, expected) < 2 * ERROR[library.precision], segment


def test_onnxruntime_runs_every_layer_of_an_int8_network_in_integers(
    onnx_int8: FragmentLibrary, tmp_path: Path
) -> None:
    for architecture in NETWORKS:
        options = onnxruntime.SessionOptions()
        options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
        model = linked(onnx_int8, architecture)
        onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimized.onnx").graph.node)
        assert kinds["QLinearConv"] >= 8, kinds
        assert not kinds.keys() & {
            "Conv",
            "FusedConv",
            "Gemm",
            "Add",
            "Mul",
            "Relu",
            "Sigmoid",
            "GlobalAveragePool",
        }, kinds


def test_tflite_runs_an_int8_network_in_integers_from_end_to_end(tflite_int8: FragmentLibrary) -> None:
    for architecture in NETWORKS:
        model = linked(tflite_int8, architecture)
        read = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
        (graph,) = read.subgraphs
        written = [graph.tensors[number] for op in graph.operators for number in op.outputs]
        assert {one.type for one in (*written, graph.tensors[graph.inputs[0]])} == {schema.TensorType.INT8}
        assert all(len(one.quantization.scale) == 1 for one in written)
        interpreter = Interpreter(model_content=model)
        interpreter.allocate_tensors()
        run = [details for details in interpreter._get_ops_details() if details["op_name"] == "DELEGATE"]
        assert len(run) == 1 and [*run[0]["outputs"]] == [*graph.outputs]  # XNNPACK takes all of it


def test_large_weights_which_the_quantizer_puts_behind_the_flatbuffer_stand_within_linked_models(
    harness_cache: Path,
) -> None:
    wide = SpaceConfig(name="wide", ops=("conv",), widths=(96,), image_size=4, classes=10)
    architecture, folder = Architecture.parse("conv-conv+in", wide), harness_cache / "fragments"
    library = FragmentLibrary.open("tflite", cache_dir=folder, config=wide, precision="int8")
    (whole,) = convert_networks([architecture], "tflite", precision="int8")
    model = linked(library, architecture)
    assert operators("tflite", model) == operators("tflite", whole.model)
    behind = [
        [one.offset for one in schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0)).buffers]
        for data in (model, whole.model)
    ]
    assert max(behind[0]) == 0 < max(behind[1])  # of which old runtimes know nothing
    ours, theirs = (run_model("tflite", one, random_image(wide)) for one in (model, whole.model))
    assert ours.tobytes() == theirs.tobytes()


def test_weights_of_int8_have_a_scale_for_each_channel_and_biases_that_of_input_times_weight(
    tflite_int8: FragmentLibrary,
) -> None:
    read = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(linked(tflite_int8, NETWORKS[0]), 0))
    (graph,) = read.subgraphs
    layers = [op for op in graph.operators if len(op.inputs) == 3]
    for op in layers:
        given, weights, bias = (graph.tensors[number].quantization for number in op.inputs)
        channels = graph.tensors[op.inputs[2]].shape[0]
        assert len(weights.scale) == len(bias.scale) == channels
        assert np.allclose(bias.scale, given.scale * weights.scale, rtol=1e-6)
    assert len(layers) > 20
    sigmoids = [op for op in graph.operators if read.operatorCodes[op.opcodeIndex].builtinCode == LOGISTIC]
    (form,) = {
        (float(one.scale[0]), int(one.zeroPoint[0]))
        for one in (graph.tensors[op.outputs[0]].quantization for op in sigmoids)
    }
    assert form == (1 / 256, -128)


def test_the_agent_runs_int8_networks_on_the_input_that_it_gives_others(
    tflite_int8: FragmentLibrary,
) -> None:
    image = fixed_input((1, TINY.in_channels, TINY.image_size, TINY.image_size), "float32", "NCHW")
    for architecture in NETWORKS:
        loaded = RUNTIMES["tflite"].load(linked(tflite_int8, architecture), 1, {})
        loaded.run()
        expected = torch_logits(architecture, image).reshape(-1)
        right = judged_values(array_outputs([np.asarray(expected)]))
        assert np.linalg.norm(np.subtract(loaded.output(), right)) < 0.15 * np.linalg.norm(right)


def test_a_stand_alone_int8_model_is_the_same_graph_and_says_what_its_input_is(
    tflite_int8: FragmentLibrary, harness_cache: Path
) -> None:
    folder = harness_cache / "fragments"
    model = standalone(NETWORKS[0], "tflite", cache_dir=folder, precision="int8")
    assert operators("tflite", model) == operators("tflite", linked(tflite_int8, NETWORKS[0]))
    read = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    notes = {note.name.decode(): bytes(read.buffers[note.buffer].data).decode() for note in read.metadata}
    assert notes["harness.precision"] == "int8, seeded" and notes["harness.image"].endswith("int8")


def test_values_that_one_fragment_may_read_have_one_range_and_all_have_some() -> None:
    found: Calibration = calibrate(TINY, Weights.seeded(0))
    assert set(found.ranges) == set(all_values(TINY))
    for fragment in all_fragments(TINY):
        if fragment != GLUE:
            read = {found.ranges[step.inputs[0]] for step in possible_steps(fragment, TINY)}
            assert len(read) == 1, fragment
            assert len(found.inputs[fragment]) >= 8
    assert all(low <= 0 < high for low, high in found.ranges.values())


@pytest.mark.long
@pytest.mark.parametrize("format", FORMATS)
def test_a_checkpoint_is_calibrated_by_its_own_network_alone(format: Format, tmp_path: Path) -> None:
    architecture = NETWORKS[1]
    path = tmp_path / "weights.pt"
    torch.save(torch_network(architecture, Weights.seeded(3), folded=False).state_dict(), path)
    weights = Weights.from_checkpoint(path, architecture)
    ranges = calibrate(TINY, weights).ranges
    assert "s0.h" not in ranges and ranges["s1.x"] != ranges["s1.h"]
    library = FragmentLibrary.open(format, cache_dir=tmp_path, config=TINY, weights=weights, precision="int8")
    (whole,) = convert_networks([architecture], format, weights, precision="int8")
    assert operators(format, linked(library, architecture)) == operators(format, whole.model)


def test_an_unknown_precision_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match="precision 'int4' is unknown; choose from fp32, fp16, int8"):
        FragmentLibrary.open("onnx", cache_dir=tmp_path, precision="int4")  # type: ignore[arg-type]
