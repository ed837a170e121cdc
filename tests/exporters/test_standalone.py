"""Stand-alone model files, held against linked ones and read by other tools."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from rigs.model_runs import operators, random_image, run_model

from exporters import FragmentLibrary, standalone
from space import BLOX, Architecture

pytestmark = pytest.mark.converter

ARCHITECTURE = Architecture.parse("conv-mbconv+in/bconv/conv+mbconv")


@pytest.fixture
def model(library: FragmentLibrary, harness_cache: Path) -> bytes:
    return standalone(ARCHITECTURE, library.format, cache_dir=harness_cache / "fragments")


def test_a_stand_alone_model_is_the_same_graph_with_the_same_output(
    library: FragmentLibrary, model: bytes
) -> None:
    linked, image = library.assembly(ARCHITECTURE).whole(), random_image(BLOX)
    assert operators(library.format, model) == operators(library.format, linked)
    outputs = [run_model(library.format, m, image) for m in (model, linked)]
    assert outputs[0].tobytes() == outputs[1].tobytes()


@pytest.mark.parametrize("library", ["onnx"], indirect=True)
def test_a_stand_alone_onnx_model_passes_the_full_check_and_names_its_nodes(model: bytes) -> None:
    read = onnx.load_from_string(model)
    onnx.checker.check_model(read, full_check=True)
    names = [node.name for node in read.graph.node]
    assert all(names) and len(set(names)) == len(names)
    assert read.SerializeToString() == model  # one message, not several that a parser would have to merge


@pytest.mark.parametrize("library", ["tflite"], indirect=True)
def test_a_stand_alone_tflite_model_holds_nothing_unused(model: bytes) -> None:
    read = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
    (graph,) = read.subgraphs
    used = {int(i) for op in graph.operators for i in (*op.inputs, *op.outputs)}
    assert used == set(range(len(graph.tensors)))
    assert {op.opcodeIndex for op in graph.operators} == set(range(len(read.operatorCodes)))
    notes = [note.buffer for note in read.metadata]
    assert sorted([t.buffer for t in graph.tensors if t.buffer] + notes) == list(range(1, len(read.buffers)))


@pytest.mark.parametrize("library", ["tflite"], indirect=True)
def test_a_stand_alone_tflite_model_has_a_signature_that_a_runtime_finds(model: bytes) -> None:
    interpreter = Interpreter(model_content=model)
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["image"], "outputs": ["logits"]}
    }
    image = random_image(BLOX)
    image = image if image.shape[-1] == 3 else image.transpose(0, 2, 3, 1)
    (found,) = interpreter.get_signature_runner()(image=image).values()
    assert found.tobytes() == run_model("tflite", model, random_image(BLOX)).tobytes()


def test_a_stand_alone_model_says_what_it_is(library: FragmentLibrary, model: bytes) -> None:
    if library.format == "onnx":
        found = {note.key: note.value for note in onnx.load_from_string(model).metadata_props}
    else:
        read = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(model, 0))
        found = {note.name.decode(): bytes(read.buffers[note.buffer].data).decode() for note in read.metadata}
    assert found["harness.architecture"] == str(ARCHITECTURE)
    assert (found["harness.space"], found["harness.weights"]) == ("blox", "seed 0")
    assert found["harness.layout"] == ("NCHW" if library.format == "onnx" else "NHWC")
    assert found["harness.normalization"].startswith("none")


@pytest.mark.parametrize("library", ["tflite"], indirect=True)
def test_a_stand_alone_tflite_model_runs_in_tensorflow(model: bytes) -> None:
    import tensorflow

    image = random_image(BLOX)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its interpreter is to go
        interpreter = tensorflow.lite.Interpreter(model_content=model)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image.transpose(0, 2, 3, 1))
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_allclose(found, run_model("tflite", model, image), rtol=1e-4, atol=1e-4)
