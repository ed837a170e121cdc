"""Model files of any origin, read as data: what they are, what is given of their inputs, and what is refused."""

from __future__ import annotations

import hashlib
import math
import os
import re
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from factories.model_files import dense, onnx_model, save, save_tflite, save_with_data, tokens
from rigs.no_plain_files import no_plain_file

from device_agents.runtimes.loaded import array_outputs, fixed_input, judged_values
from exporters.own_run_worker import read_descriptor
from harness.models import file_names, files
from harness.models.file_names import GivenInputs, find_files, is_file_name, split_names
from harness.models.files import FileModel, open_files
from space.errors import ConfigError


def opened(path: Path, *shapes: str, values: Path | None = None) -> FileModel:
    return open_files([path], GivenInputs.parse(shapes, values))[0]


def joined(file: FileModel) -> bytes:
    """Return a file's bytes as the device joins them."""
    model = file.assemble()
    return model.skeleton + b"".join(map(model.read_part, model.parts))


def refusal(path: Path, *shapes: str, values: Path | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        opened(path, *shapes, values=values)
    assert str(path) in str(caught.value) or (values is not None and str(values) in str(caught.value))
    return str(caught.value)


def external(model: Any, **told: str) -> Any:
    """Return a model whose first tensor says that its data lies elsewhere."""
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = tensor.EXTERNAL
    for key, value in told.items():
        entry = tensor.external_data.add()
        entry.key, entry.value = key, value
    return model


def test_a_file_travels_whole_in_parts_and_is_named_by_its_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 100)
    path = save(dense(width=200), tmp_path / "dense.onnx")
    file = opened(path)
    data = path.read_bytes()
    assert len(file.assemble().parts) > 1
    assert joined(file) == data
    assert file.digest == hashlib.sha256(data).hexdigest()
    assert (file.format, file.precision, str(file)) == ("onnx", "fp32", "dense.onnx")
    assert file.versions == "IR version 8, opset ai.onnx 17"


def test_a_large_file_has_no_more_parts_than_a_recipe_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "PART_BYTES", 1)
    monkeypatch.setattr(files, "SKELETON_BYTES", 7)
    file = opened(save(dense(), tmp_path / "dense.onnx"))
    assert 200 < len(file.assemble().recipe()["parts"]) <= 256
    assert joined(file) == file.path.read_bytes()


def test_external_data_is_folded_into_the_model(tmp_path: Path) -> None:
    import onnx

    whole, beside = dense(), save_with_data(dense(), tmp_path / "dense.onnx")
    assert (tmp_path / "weights.bin").stat().st_size > 0
    found = onnx.ModelProto.FromString(joined(opened(beside)))
    assert found.SerializeToString(deterministic=True) == whole.SerializeToString(deterministic=True)


def test_a_model_and_the_same_with_its_data_beside_it_are_one_model(tmp_path: Path) -> None:
    import onnx

    folded = opened(save_with_data(dense(), tmp_path / "beside.onnx"))
    model = onnx.ModelProto.FromString(joined(folded))
    assert opened(save(model, tmp_path / "whole.onnx")).inputs == folded.inputs


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("/etc/passwd", "outside its folder"),
        ("../secret.bin", "outside its folder"),
        ("deeper/../../secret.bin", "outside its folder"),
        ("", "outside its folder"),
        ("absent.bin", "is not there"),
        ("link.bin", "a link out of its folder"),
    ],
)
def test_external_data_lies_beside_the_model_or_is_refused(tmp_path: Path, location: str, said: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(1000))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    path = save(external(dense(), location=location), folder / "dense.onnx")
    assert said in refusal(path)


def test_external_data_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(10))
    path = save(external(dense(), location="weights.bin", offset="0", length="256"), tmp_path / "dense.onnx")
    assert "ends at byte 256 of weights.bin, which has 10" in refusal(path)


def test_a_sparse_file_of_external_data_is_refused_by_its_size_and_not_read(tmp_path: Path) -> None:
    with (tmp_path / "weights.bin").open("wb") as file:
        os.truncate(file.fileno(), 1 << 40)
    path = save(external(dense(), location="weights.bin"), tmp_path / "dense.onnx")
    assert "over the limit of 2 GiB" in refusal(path)


def test_tensors_that_share_one_large_file_count_each_for_themselves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LIMIT_BYTES", 2000)
    (tmp_path / "weights.bin").write_bytes(bytes(900))
    model = external(dense(), location="weights.bin")
    for number in range(2):
        more = model.graph.initializer.add()
        more.CopyFrom(model.graph.initializer[0])
        more.name = f"again {number}"
    assert "over the limit" in refusal(save(model, tmp_path / "dense.onnx"))


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("a.onnx", b"", "an empty file"),
        ("a.onnx", b"\x00" * 100, "no ONNX model"),
        ("a.onnx", b"<html>not found</html>", "no ONNX model"),
        ("a.onnx", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
        ("a.onnx", b"\x1c\0\0\0TFL3" + bytes(50), "rename it to a.tflite"),
        ("a.tflite", b"PK\3\4" + bytes(50), "lacks the mark TFL3"),
        ("a.tflite", b"\xff\xff\xff\x7fTFL3" + bytes(50), "a damaged TFLite model"),
        ("a.tflite", b"\x1c\0\0\0TFL3", "a damaged TFLite model"),
    ],
)
def test_what_is_no_model_is_refused_in_one_line_with_a_remedy(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    message = refusal(path)
    assert said in message
    assert "\n" not in message


@pytest.mark.parametrize("location", ["loop.bin", "x" * 300, "weights\xffbin", "folder"])
def test_external_data_at_a_place_that_cannot_be_read_is_refused(tmp_path: Path, location: str) -> None:
    path = save_with_data(dense(), tmp_path / "a.onnx")
    (tmp_path / "loop.bin").symlink_to("loop.bin")
    (tmp_path / "folder").mkdir()
    model = onnx.load(str(path), load_external_data=False)
    for tensor in model.graph.initializer:
        next(entry for entry in tensor.external_data if entry.key == "location").value = location.replace(
            "\xff", "?"
        )
    # No UTF-8, which comes as bytes.
    named = model.SerializeToString().replace(b"weights?bin", b"weights\xffbin")
    path.write_bytes(named)
    assert str(path) in refusal(path)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("~no-such-user/a.onnx", "there is no user 'no-such-user'"),
        ("x" * 300 + ".onnx", "give it a shorter name"),
    ],
)
def test_a_path_that_no_system_takes_is_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        find_files([name])


def test_a_name_that_is_no_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    for name, size in (("x?", 8), ("x", "n?")):
        model = onnx_model(
            [onnx.helper.make_node("Relu", [name], ["y"])], [(name, 1, [1, size])], [("y", 1, [1, size])]
        )
        path.write_bytes(model.SerializeToString().replace(b"?", b"\xff"))
        assert "is no UTF-8" in refusal(path)


@pytest.mark.parametrize(
    "text", ["x", "=1", "=1,2", "x=", "x=0", "x=1,-1", "x=1,-2", "x=1,a", "x=1,\u0661", f"x={'9' * 5000}"]
)
def test_a_shape_that_is_none_is_refused_however_long(text: str) -> None:
    with pytest.raises(ConfigError, match=r"no shape of an input; write e\.g\. --shape input=1,3,224,224"):
        GivenInputs.parse([text])


def test_what_is_no_plain_file_and_a_link_to_nothing_are_refused_at_once(tmp_path: Path) -> None:
    for name, kind in (("a.onnx", "a FIFO"), ("b.tflite", "a FIFO")):
        assert "no plain file" in refusal(no_plain_file(kind, tmp_path / name))
    (tmp_path / "device.onnx").symlink_to("/dev/zero")
    assert "no plain file" in refusal(tmp_path / "device.onnx")
    for target in ("gone.onnx", "loop.onnx"):
        link = tmp_path / "loop.onnx"
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        with pytest.raises(ConfigError, match="a link to what is not there"):
            find_files([str(link)])


@pytest.mark.parametrize("make", ["onnx", "tflite"])
def test_a_file_cut_off_or_damaged_anywhere_is_refused_or_read_but_never_raises_otherwise(
    tmp_path: Path, make: str
) -> None:
    path = tmp_path / f"a.{make}"
    whole = (save(tokens(), path) if make == "onnx" else save_tflite(path)).read_bytes()
    rng = np.random.default_rng(0)
    for number in range(150):
        data = bytearray(whole[: rng.integers(8, len(whole))] if number % 3 == 0 else whole)
        for place in rng.integers(8, min(len(data), 3000), 4):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            opened(path)
        except ConfigError as error:
            assert str(path) in str(error)


def test_a_file_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    path = tmp_path / "huge.onnx"
    with path.open("wb") as file:
        os.truncate(file.fileno(), 30 << 30)
    assert "up to 2 GiB" in refusal(path)


def test_a_file_that_changes_while_it_is_measured_is_refused(tmp_path: Path) -> None:
    path = save(dense(), tmp_path / "dense.onnx")
    file = opened(path)
    save(dense(width=9), path)
    with pytest.raises(ConfigError, match="changed while it was measured"):
        joined(file)


def test_free_sizes_are_named_by_the_person_and_fixed_ones_are_not(tmp_path: Path) -> None:
    path = save(dense(("n", "rows", 8)), tmp_path / "dense.onnx")
    assert "--shape 'x=1,1,8'" in refusal(path)
    file = opened(path, "x=4,5,8")
    assert file.assemble().recipe()["shapes"] == {"x": [4, 5, 8]}
    assert str(file) == "dense.onnx x=4,5,8"
    assert "does not fit the input x [n,rows,8]" in refusal(path, "x=4,5,9")
    assert "does not fit" in refusal(path, "x=4,5")
    with pytest.raises(ConfigError, match="no input of that name; did you mean 'x'"):
        opened(path, "x=4,5,8", "xx=1")


@pytest.mark.parametrize("sizes", [(1, 0, 8), (0, 8)])
def test_a_size_of_0_is_not_free_and_leaves_nothing_to_run_on(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    path = save(dense(sizes), tmp_path / "dense.onnx")
    assert "has a size of 0, and so no values" in refusal(path)
    shape = ",".join(map(str, sizes)).replace("0", "4")
    assert "does not fit the input x" in refusal(path, f"x={shape}")


def test_a_free_batch_size_is_one(tmp_path: Path) -> None:
    assert opened(save(dense(("n", 8)), tmp_path / "dense.onnx")).shapes == {}


def test_a_free_batch_size_takes_a_batch_and_the_file_keeps_its_name_and_key(tmp_path: Path) -> None:
    one = opened(save(dense(("n", 3, 8)), tmp_path / "dense.onnx"))
    eight = one.at_batch(8)
    assert (eight.key, str(eight), eight.shapes) == (one.key, str(one), {})
    assert (eight.model().batch, eight.assemble().recipe()["shapes"], eight.assemble().recipe()["batch"]) == (
        *(8, {"x": [8, 3, 8]}, 8),
    )
    assert "batch" not in one.assemble().recipe()
    rows = opened(save(dense(("n", "rows", 8)), tmp_path / "rows.onnx"), "x=1,5,8")
    assert rows.at_batch(4).run_shapes == {"x": (4, 5, 8)}


def test_a_file_of_a_fixed_batch_or_given_values_is_refused_a_batch(tmp_path: Path) -> None:
    for path in (save(dense((1, 8)), tmp_path / "fixed.onnx"), save_tflite(tmp_path / "fixed.tflite")):
        assert opened(path).at_batch(1).batch == 1
        with pytest.raises(
            ConfigError, match=r"fixed.*--batch 8: no input leaves its first size free .*dynamic axes"
        ):
            opened(path).at_batch(8)
    values = tmp_path / "values.npz"
    np.savez(values, x=np.ones((1, 8), np.float32))
    given = opened(save(dense(("n", 8)), tmp_path / "free.onnx"), values=values)
    with pytest.raises(ConfigError, match="leave --inputs and --expect out"):
        given.at_batch(8)


def test_the_right_output_of_a_batch_is_of_every_image(tmp_path: Path) -> None:
    one = opened(save(dense(("n", 8)), tmp_path / "dense.onnx"))
    images = fixed_input([8, 8], "float32", "NCHW")
    (right,) = onnxruntime.InferenceSession(str(one.path)).run(None, {"x": images})
    for batch in (1, 8):
        told = judged_values(array_outputs([right[:batch]]), batch)
        assert one.at_batch(batch).expected() == pytest.approx(told, rel=1e-5)
    assert judged_values(array_outputs([right]), 8) != pytest.approx(judged_values(array_outputs([right])))


def test_given_values_are_checked_by_name_type_and_shape(tmp_path: Path) -> None:
    path, values = save(tokens(), tmp_path / "tokens.onnx"), tmp_path / "v.npz"
    ids, mask = np.zeros((2, 5), np.int64), np.ones((2, 5), bool)
    np.savez(values, ids=ids, mask=mask)
    file = opened(path, values=values)
    model = file.assemble()
    assert model.inputs is not None
    assert model.inputs in model.shared
    assert model.recipe()["inputs"] == hashlib.sha256(model.read_part(model.inputs)).hexdigest()
    np.savez(values, ids=ids)
    assert "no array for the input mask [batch,length] bool" in refusal(path, values=values)
    np.savez(values, ids=ids.astype(np.int32), mask=mask)
    assert "array 'ids' is [2,5] int32" in refusal(path, values=values)
    np.savez(values, ids=ids[0], mask=mask)
    assert "array 'ids' is [5] int64" in refusal(path, values=values)
    np.savez(values, ids=ids, maks=mask)
    assert "'maks' is no input of tokens.onnx; did you mean 'mask'" in refusal(path, values=values)
    np.savez(values, ids=np.array([object()]), mask=mask)
    assert "no .npz of plain arrays" in refusal(path, values=values)
    values.write_bytes(b"none")
    assert "no .npz of plain arrays" in refusal(path, values=values)


def test_values_that_unpack_to_more_than_the_limit_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "INPUTS_LIMIT_BYTES", 1 << 20)
    values = tmp_path / "v.npz"
    np.savez_compressed(values, x=np.zeros(1 << 21, np.uint8))
    assert values.stat().st_size < 1 << 15
    assert "bytes of arrays, more than" in refusal(save(dense(), tmp_path / "dense.onnx"), values=values)


def test_the_key_is_of_bytes_shapes_and_values_whatever_the_name(tmp_path: Path) -> None:
    path, values = save(tokens(), tmp_path / "a.onnx"), tmp_path / "v.npz"
    np.savez(values, ids=np.zeros((2, 5), np.int64), mask=np.ones((2, 5), bool))
    shapes = ("ids=1,9", "mask=1,9")
    keys = [
        opened(path, *shapes).key,
        opened(path, "ids=1,8", "mask=1,8").key,
        opened(path, values=values).key,
        opened(save(tokens(201), tmp_path / "b.onnx"), *shapes).key,
    ]
    np.savez(values, ids=np.ones((2, 5), np.int64), mask=np.ones((2, 5), bool))
    keys.append(opened(path, values=values).key)
    assert len(set(keys)) == 5
    assert all(len(key) == 32 for key in keys)
    assert opened(save(tokens(), tmp_path / "c.onnx"), *shapes).key == keys[0]


def test_a_tflite_file_tells_inputs_and_precision(tmp_path: Path) -> None:
    file = opened(save_tflite(tmp_path / "a.tflite"))
    assert [str(one) for one in file.inputs] == ["image [1,16,16,3] float32"]
    assert file.precision == "fp32"
    assert joined(file) == file.path.read_bytes()


@pytest.mark.converter
@pytest.mark.filterwarnings("ignore:.*experimental_preserve_all_tensors")
@pytest.mark.parametrize(
    ("recipe", "precision"),
    [
        ("static_wi8_ai8", "int8"),
        ("static_wi8_ai16", "int16x8"),
        ("dynamic_wi4_afp32", "int4-weights"),
        ("weight_only_wi8_afp32", "int8-weights"),
    ],
)
def test_a_quantized_tflite_file_tells_the_bits_of_weights_and_of_values(
    tmp_path: Path, recipe: str, precision: str
) -> None:
    from litert_quantizer import quantizer
    from litert_quantizer import recipe as recipes

    from exporters.tflite_quantization import observed_ranges

    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    ranges = observed_ranges(model, [[np.ones((1, 16, 16, 3), np.float32)]]) | {"image": (-1, 1)}
    statistics = {
        name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
        for name, (low, high) in ranges.items()
    }
    made = quantizer.Quantizer(model, getattr(recipes, recipe)())
    quantized_model = made.quantize(
        statistics if "static" in recipe else None, enable_progress_report=False
    ).quantized_model
    (tmp_path / "b.tflite").write_bytes(quantized_model)
    assert opened(tmp_path / "b.tflite").precision == precision


def quantized() -> Any:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("DequantizeLinear", ["w", "s", "z"], ["dw"]),
        helper.make_node("MatMul", ["d", "dw"], ["y"]),
    ]
    weights = {
        "w": np.ones((8, 8), np.int8),
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
    }
    sizes = (TensorProto.FLOAT, [1, 8])
    return onnx_model(nodes, [("x", *sizes)], [("y", *sizes)], weights)


def test_precision_is_that_of_most_weights(tmp_path: Path) -> None:
    assert opened(save(dense(dtype=np.float16), tmp_path / "half.onnx")).precision == "fp16"
    assert opened(save(quantized(), tmp_path / "qdq.onnx")).precision == "int8"
    from onnx import TensorProto, helper

    of_16_bits = quantized()
    of_16_bits.graph.node[1].input[2] = of_16_bits.graph.node[0].input[2] = "z16"
    of_16_bits.graph.initializer.append(helper.make_tensor("z16", TensorProto.UINT16, (), [0]))
    assert opened(save(of_16_bits, tmp_path / "int16.onnx")).precision == "int16x8"
    of_4_bits = quantized()
    (weights,) = [one for one in of_4_bits.graph.initializer if one.name == "w"]
    weights.CopyFrom(helper.make_tensor("w", TensorProto.INT4, (8, 8), [1] * 64))
    assert opened(save(of_4_bits, tmp_path / "int4.onnx")).precision == "int4"
    del of_4_bits.graph.node[:2]
    of_4_bits.graph.node[-1].input[0] = "x"
    assert opened(save(of_4_bits, tmp_path / "weights.onnx")).precision == "int4-weights"


@pytest.mark.parametrize(("bits", "precision"), [(4, "int4-weights"), (8, "int8-weights")])
def test_weights_of_4_bits_that_lie_two_in_a_byte_are_known(
    tmp_path: Path, bits: int, precision: str
) -> None:
    from onnx import TensorProto, helper

    attributes = {"domain": "com.microsoft", "K": 32, "N": 8, "bits": bits, "block_size": 32}
    node = helper.make_node("MatMulNBits", ["x", "w", "s"], ["y"], **attributes)
    weights = {"w": np.ones((8, 1, 4 * bits), np.uint8), "s": np.ones(8, np.float32)}
    ends = [("x", TensorProto.FLOAT, [1, 32])], [("y", TensorProto.FLOAT, [1, 8])]
    model = onnx_model([node], *ends, weights, domains=["com.microsoft"])
    assert opened(save(model, tmp_path / "packed.onnx")).precision == precision


def quantized_when_loaded() -> Any:
    """Return a model whose weights, in single precision, go through a pair, as quantization-aware training writes them."""
    from onnx import helper, numpy_helper

    model = quantized()
    (place,) = (k for k, one in enumerate(model.graph.initializer) if one.name == "w")
    model.graph.initializer[place].CopyFrom(numpy_helper.from_array(np.ones((8, 8), np.float32), "w"))
    model.graph.node.insert(2, helper.make_node("QuantizeLinear", ["w", "s", "z"], ["qw"]))
    model.graph.node[3].input[0] = "qw"
    return model


def of_8_bit_floats() -> Any:
    from onnx import TensorProto, helper

    model = dense()
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT8E4M3FN, (8, 8), [1.0] * 64))
    return model


def in_a_branch() -> Any:
    """Return a model in half precision, but for a bias, all of whose large weights are of a branch."""
    from onnx import TensorProto, helper, numpy_helper

    branches = {}
    for name in ("then_branch", "else_branch"):
        weights = numpy_helper.from_array(np.ones((8, 8), np.float16), "w")
        half, single = TensorProto.FLOAT16, TensorProto.FLOAT
        nodes = [
            helper.make_node("Cast", ["x"], ["h"], to=half),
            helper.make_node("MatMul", ["h", "w"], ["p"]),
            helper.make_node("Cast", ["p"], [name], to=single),
        ]
        out = helper.make_tensor_value_info(name, single, [1, 8])
        branches[name] = helper.make_graph(nodes, name, [], [out], [weights])
    nodes = [
        helper.make_node("If", ["chosen"], ["b"], **branches),
        helper.make_node("Add", ["b", "bias"], ["y"]),
    ]
    sizes = (TensorProto.FLOAT, [1, 8])
    inputs = [("x", *sizes), ("chosen", TensorProto.BOOL, [])]
    return onnx_model(nodes, inputs, [("y", *sizes)], {"bias": np.ones(8, np.float32)})


def recurrent() -> Any:
    """Return what onnxruntime's dynamic quantization makes of an LSTM, one operator."""
    from onnx import TensorProto, helper

    names = ["x", "w", "r", "", "", "", "", "", "ws", "wz", "rs", "rz"]
    node = helper.make_node("DynamicQuantizeLSTM", names, ["y"], domain="com.microsoft", hidden_size=4)
    weights = {
        "w": np.ones((1, 8, 16), np.int8),
        "r": np.ones((1, 4, 16), np.int8),
        "ws": np.ones(1, np.float32),
        "wz": np.zeros(1, np.int8),
        "rs": np.ones(1, np.float32),
        "rz": np.zeros(1, np.int8),
    }
    ends = [("x", TensorProto.FLOAT, [3, 1, 8])], [("y", TensorProto.FLOAT, [3, 1, 1, 4])]
    return onnx_model([node], *ends, weights, domains=["com.microsoft"])


def quantizing_nothing() -> Any:
    from onnx import helper

    model = dense()
    model.graph.node.append(helper.make_node("QuantizeLinear", [], ["q"]))
    return model


@pytest.mark.parametrize(
    ("model", "precision"),
    [
        (quantized_when_loaded, "int8"),
        (quantizing_nothing, "fp32"),
        (of_8_bit_floats, "unknown"),
        (in_a_branch, "fp16"),
        (recurrent, "int8-dynamic"),
    ],
)
def test_precision_is_that_in_which_a_runtime_holds_the_weights_wherever_they_lie(
    tmp_path: Path, model: Any, precision: str
) -> None:
    assert opened(save(model(), tmp_path / "model.onnx")).precision == precision


def test_names_that_end_so_wildcards_and_folders_are_files_and_others_are_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("all").mkdir()
    save(dense(), Path("models/a.onnx"))
    save(dense(), Path("models/b,c.onnx"))
    texts = [
        "models",
        "models/*",
        "x.onnx",
        "all",
        "sample:3,models/a.onnx",
        "conv/conv/conv",
        "models/b,c.onnx",
        "[[0],[1]]",
    ]
    networks, named = split_names(texts)
    assert networks == ["all", "sample:3", "conv/conv/conv", "[[0],[1]]"]
    assert named == ["models", "models/*", "x.onnx", "models/a.onnx", "models/b,c.onnx"]
    assert [path.name for path in find_files(["models/*.onnx", "models", "models/a.onnx"])] == [
        "a.onnx",
        "b,c.onnx",
    ]
    assert not is_file_name("file:networks.txt")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("models/aa.onnx", "no such file; did you mean 'a.onnx'"),
        ("models/*.tflite", "no .onnx, .tflite or .pt2 file fits"),
        ("empty", "a folder without .onnx, .tflite or .pt2 files"),
        ("model.pb", "none of .onnx, .tflite and .pt2"),
    ],
)
def test_a_name_of_no_file_is_refused_with_what_helps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("empty").mkdir()
    Path("model.pb").write_bytes(b"x")
    save(dense(), Path("models/a.onnx"))
    assert is_file_name(text)
    with pytest.raises(ConfigError, match=said):
        find_files([text])


def test_a_long_search_for_files_says_how_far_it_is_and_ends_at_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        (tmp_path / f"{number}.txt").touch()
        (tmp_path / f"{number}.onnx").touch()
    said = list[str]()
    assert len(find_files([str(tmp_path)], said.append)) == 5
    assert said == [], "a short one says nothing"
    monkeypatch.setattr(file_names, "SEARCH_WORD_S", (0.0, math.inf))
    for text in (str(tmp_path), str(tmp_path / "**/*")):
        found = find_files([text], said.append)
        assert [path.name for path in found] == [f"{number}.onnx" for number in range(5)]
        assert re.fullmatch(rf"{re.escape(text)}: [01] model files? among 1 names so far", said.pop())
        assert said == []
    monkeypatch.setattr(file_names, "MOST_FILES", 2)
    monkeypatch.setattr(file_names, "SEARCH_WORD_S", (0.0, 0.0))
    with pytest.raises(ConfigError, match="more than 2 model files; name fewer"):
        find_files([str(tmp_path)], said.append)
    assert said[-1].startswith(f"{tmp_path}: 2 model files among "), (
        "it looks at no more once there are too many"
    )
    with pytest.raises(ConfigError, match="more than 2 model files; name fewer"):
        find_files([str(tmp_path / f"{number}.onnx") for number in range(5)])


def test_files_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        save(dense(width=len(folder)), tmp_path / folder / "model.onnx")
    found = open_files([tmp_path / "one/model.onnx", tmp_path / "two/model.onnx"])
    assert [str(one) for one in found] == ["one/model.onnx", "two/model.onnx"]


def test_files_of_one_name_in_folders_of_one_name_are_told_apart_by_more_folders(tmp_path: Path) -> None:
    paths = [
        tmp_path / name
        for name in ("bert/onnx/model.onnx", "tiny/onnx/model.onnx", "tiny/model.onnx", "a.onnx")
    ]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        save(dense(), path)
    names = [str(one) for one in open_files(paths)]
    assert names == ["bert/onnx/model.onnx", "tiny/onnx/model.onnx", "tiny/model.onnx", "a.onnx"]
    assert [str(one) for one in open_files([paths[0], paths[0]])] == ["model.onnx", "model.onnx"]


def test_a_folded_model_is_run_for_several_devices_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "own_outputs", lambda run, cache: read_descriptor(run.descriptor))
    file = opened(save_with_data(dense(width=20_000), tmp_path / "dense.onnx"))
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: file.expected(), range(64))) == {joined(file)}


def test_external_data_of_a_function_is_looked_at_too(tmp_path: Path) -> None:
    from onnx import helper

    model = dense()
    constant = helper.make_node("Constant", [], ["c"], value=helper.make_tensor("v", 1, [2], [0.0, 1.0]))
    external_tensor = constant.attribute[0].t
    external_tensor.ClearField("float_data")
    external_tensor.data_location = external_tensor.EXTERNAL
    entry = external_tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "F", [], ["c"], [constant], opsets))
    assert "outside its folder" in refusal(save(model, tmp_path / "function.onnx"))


def test_inputs_that_no_memory_holds_are_refused_by_their_sizes(tmp_path: Path) -> None:
    path = save(dense(("n", 1 << 31, 8)), tmp_path / "huge.onnx")
    assert "has 17,179,869,184 values" in refusal(path)
    free = save(dense(("n", "rows", 8)), tmp_path / "free.onnx")
    assert "name smaller sizes with --shape" in refusal(free, f"x=1,{1 << 30},8")


def test_links_that_lead_to_themselves_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    (tmp_path / "round").symlink_to(tmp_path)
    save(dense(), tmp_path / "dense.onnx")
    assert find_files([str(tmp_path)]) == [tmp_path / "dense.onnx"]
    assert find_files([str(tmp_path / "*.onnx")]) == [tmp_path / "dense.onnx"]
    with pytest.raises(ConfigError, match="a link to what is not there"):
        find_files([str(tmp_path / "loop.onnx")])
    path = save(external(dense(), location="loop.onnx"), tmp_path / "data.onnx")
    assert "loop.onnx" in refusal(path)


PEAK = """
import sys
from pathlib import Path
from harness.models.files import open_files
from harness.models.file_names import GivenInputs
from space.errors import ConfigError
open_files([Path(sys.argv[1])])  # what reading any model takes
def peak_bytes():
    return next(int(line.split()[1]) << 10 for line in open("/proc/self/status") if line.startswith("VmHWM:"))
before = peak_bytes()
for path in map(Path, sys.argv[2:]):
    values = path if path.suffix == ".npz" else None
    try:
        open_files([Path(sys.argv[1]) if values else path], GivenInputs(values=values))
    except ConfigError as error:
        print(error)
    else:
        sys.exit(f"{path} is taken")
print(peak_bytes() - before)
"""


@pytest.mark.slow
def test_hostile_files_take_no_memory(tmp_path: Path) -> None:
    """A sparse model of 30 GB, external data of 30 GB, a bomb of inputs, a tensor of 30 GB without data."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak is read from /proc")
    good = save(dense(), tmp_path / "good.onnx")
    (sparse := tmp_path / "sparse.onnx").touch()
    (data := tmp_path / "weights.bin").touch()
    for path in (sparse, data):
        os.truncate(path, 30 << 30)
    beside = save(external(dense(), location="weights.bin"), tmp_path / "beside.onnx")
    huge = save(dense(("n", 1 << 33, 8)), tmp_path / "huge.onnx")
    bomb = tmp_path / "bomb.npz"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("x.npy", "w") as entry:
        for _ in range(300):
            entry.write(bytes(1 << 20))
    hostile = [sparse, beside, huge, bomb]
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(good), *map(str, hostile)],
        check=True,
        capture_output=True,
        text=True,
    )
    *errors, peak = done.stdout.splitlines()
    assert len(errors) == len(hostile)
    assert int(peak) < 50 << 20


def test_given_outputs_judge_each_output_that_is_given_and_none_else(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Sin", ["x"], ["y"]),
        helper.make_node("Cos", ["x"], ["z"]),
        helper.make_node("ArgMax", ["x"], ["place"], axis=1, keepdims=0),
    ]
    ends = [(name, TensorProto.FLOAT, [1, 16]) for name in "yz"] + [("place", TensorProto.INT64, [1])]
    path = save(onnx_model(nodes, [("x", TensorProto.FLOAT, [1, 16])], ends), tmp_path / "three.onnx")
    z = np.arange(16, dtype=np.float32).reshape(1, 16)
    given = tmp_path / "given.npz"
    np.savez(given, z=z)
    assert open_files([path], GivenInputs(expect=given))[0].expected() == (
        *(0.0,) * 8,
        *judged_values(array_outputs([z])),
    )
    np.savez(given, y=z[:, :8])
    with pytest.raises(ConfigError, match=r"array 'y' is \[1,8\] float32, and three.onnx gives y \[1,16\]"):
        open_files([path], GivenInputs(expect=given))
    np.savez(given, place=np.array([3]))
    with pytest.raises(ConfigError, match=r"compares these outputs of three.onnx: y .*, z .*; add one"):
        open_files([path], GivenInputs(expect=given))


def test_an_input_of_no_known_number_of_sizes_is_not_taken_for_one_number(tmp_path: Path) -> None:
    model = dense()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    assert "input 'x' says no sizes" in refusal(save(model, tmp_path / "dense.onnx"))
