"""Programs of torch.export: converted to ONNX with torch's outputs, and nothing of a hostile file run."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import onnx_model
from factories.programs import convolution, rewritten, save_program, saying

from exporters import pt2_file, pt2_worker
from exporters.pt2_file import pt2_to_onnx
from exporters.torch_programs import save_program as save_module
from space.errors import ConfigError

pytestmark = pytest.mark.converter
LIMIT_BYTES = 1 << 31


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_program(tmp_path_factory.mktemp("programs") / "net.pt2", free_batch=True)


def converted(path: Path) -> bytes:
    return pt2_to_onnx(path, path.read_bytes(), LIMIT_BYTES)


@pytest.fixture
def convert(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], bytes]:
    """Convert a program in this process, as the converter's own does, whose start takes seconds."""
    import torch

    monkeypatch.setattr(torch, "load", torch.load)  # replaced by the conversion for its process's life
    return lambda path: pt2_worker.convert(path.read_bytes())


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        converted(path)
    assert str(caught.value).startswith(str(path))
    return str(caught.value)


@pytest.mark.long
def test_a_program_becomes_a_model_of_the_same_outputs_whose_batch_is_free(
    program: Path, convert: Callable[[Path], bytes]
) -> None:
    import onnxruntime
    import torch

    model = converted(program)
    assert convert(program) == model, "equal files are one model"
    images = torch.randn(5, 3, 16, 16)
    session = onnxruntime.InferenceSession(model)
    (node,) = session.get_inputs()
    assert node.shape[1:] == [3, 16, 16]
    assert not isinstance(node.shape[0], int)
    found = session.run(None, {node.name: images.numpy()})[0]
    assert found == pytest.approx(convolution()(images).detach().numpy(), abs=1e-5)


def test_attention_and_recurrent_layers_on_tokens_are_converted(
    tmp_path: Path, convert: Callable[[Path], bytes]
) -> None:
    import torch
    from torch import nn

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(100, 32)
            self.block = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
            self.layer = nn.LSTM(32, 16, batch_first=True)

        def forward(self, ids: Any) -> Any:
            return self.layer(self.block(self.table(ids)))[0][:, -1]

    path = save_program(tmp_path / "tokens.pt2", Tokens().eval(), torch.arange(12).reshape(1, 12))
    assert b"LSTM" in convert(path)


def test_what_is_no_tensor_and_what_is_given_back_are_no_hindrance(
    tmp_path: Path, convert: Callable[[Path], bytes]
) -> None:
    import onnxruntime
    import torch

    class Scaled(torch.nn.Module):
        def forward(self, x: Any, factor: float, mask: Any = None) -> tuple[Any, ...]:
            return x * factor, None, 3, x

    tensor = torch.randn(2, 3, requires_grad=True)
    values = save_module(Scaled(), (tensor, 2.5, None), tmp_path / "net.pt2")
    assert list(values) == ["x"]
    session = onnxruntime.InferenceSession(convert(tmp_path / "net.pt2"))
    found = session.run(None, {"x": tensor.detach().numpy()})
    assert [node.name for node in session.get_outputs()] == ["mul", "x_out"]
    assert (
        found[0] == pytest.approx(2.5 * tensor.detach().numpy())
        and (found[1] == values["x"].detach().numpy()).all()
    )


def test_an_operator_without_onnx_is_named_with_what_helps(
    tmp_path: Path, convert: Callable[[Path], bytes]
) -> None:
    import torch
    from torch import nn

    class Inverse(nn.Module):
        def forward(self, x: Any) -> Any:
            return torch.linalg.matrix_exp(x)

    path = save_program(tmp_path / "inverse.pt2", Inverse(), torch.eye(3))
    with pytest.raises(Exception, match="matrix_exp") as caught:
        convert(path)
    said = pt2_worker.message_of(caught.value)
    assert "matrix_exp" in said
    assert "dynamo=True" in said


def first_node(document: Any) -> Any:
    return document["graph_module"]["graph"]["nodes"][0]


def set_target(text: str) -> Callable[[Any], None]:
    return lambda document: first_node(document).update(target=text)


def set_size(text: str) -> Callable[[Any], None]:
    def change(document: Any) -> None:
        values = document["graph_module"]["graph"]["tensor_values"]
        sizes = next(iter(values.values()))["sizes"]
        sizes[0] = {"as_expr": {"expr_str": text, "hint": {"as_int": 2}}}

    return change


def rename_input(text: str) -> Callable[[Any], None]:
    return lambda document: document["graph_module"]["graph"]["inputs"][-1]["as_tensor"].update(name=text)


def set_tree(text: str) -> Callable[[Any], None]:
    return lambda document: document["graph_module"]["module_call_graph"][0]["signature"].update(in_spec=text)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (set_target("torch.os.system"), "is none of ATen's"),
        (set_target("torch.ops.aten.from_file.default"), "is none of ATen's"),
        (set_target("_operator.methodcaller"), "is none of ATen's"),
        (set_target("torch.ops.aten.conv2d.default.__class__"), "is none of ATen's"),
        (set_size("exec(chr(105))"), "no arithmetic of sizes"),
        (set_size("().__class__"), "no arithmetic of sizes"),
        (set_size("open('/tmp/x')"), "no arithmetic of sizes"),
        (rename_input("x=print(1)"), "no name of a value"),
        (
            set_tree('[1, {"type": "collections.defaultdict", "context": "{}", "children_spec": []}]'),
            "other than tuples",
        ),
        (
            set_tree(
                '[1, {"type": "builtins.dict", "context": "{\\"__enum__\\": true}", "children_spec": []}]'
            ),
            "other than",
        ),
    ],
)
def test_a_program_that_says_more_than_a_model_has_to_is_not_loaded(
    program: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Any], None], said: str
) -> None:
    monkeypatch.setattr(pt2_file, "answer_apart", lambda *_, **__: pytest.fail("it is loaded"))
    assert said in refusal(saying(program, tmp_path / "hostile.pt2", change))


class Writes:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> Any:
        return os.mkdir, (self.path,)


def test_example_inputs_are_not_unpickled(program: Path, tmp_path: Path) -> None:
    import torch

    mark, pickled = tmp_path / "was-run", tmp_path / "inputs.pt"
    torch.save(((Writes(mark),), {}), pickled)
    hostile = rewritten(
        program,
        tmp_path / "hostile.pt2",
        lambda name, data: pickled.read_bytes() if name == "data/sample_inputs/model.pt" else data,
    )
    assert "does not convert" in refusal(hostile)
    assert not mark.exists()
    with pytest.raises(Exception):  # noqa: B017 - the authority: torch itself runs it, then fails
        torch.export.load(hostile)
    assert mark.exists(), "the file is as hostile as it should be"


def test_weights_and_objects_that_are_pickled_are_refused(program: Path, tmp_path: Path) -> None:
    pickled = rewritten(
        program,
        tmp_path / "a.pt2",
        lambda name, data: data.replace(b'"use_pickle": false', b'"use_pickle": true'),
    )
    assert "unpickling could run anything" in refusal(pickled)
    legacy = rewritten(
        program, tmp_path / "b.pt2", lambda name, data: data, **{"data/weights/model.pt": pickle.dumps(1)}
    )
    assert "an object for unpickling" in refusal(legacy)
    code = rewritten(
        program, tmp_path / "c.pt2", lambda name, data: data, **{"data/aotinductor/model/a.so": b"\x7fELF"}
    )
    assert "compiled code" in refusal(code)


def test_a_bomb_and_what_is_no_archive_are_refused_unread(program: Path, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.pt2"
    with (
        zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
        archive.open("net/data/weights/weight_0", "w") as file,
    ):
        for _ in range(64):
            file.write(bytes(1 << 20))
    with pytest.raises(ConfigError, match="harness reads no such file"):
        pt2_to_onnx(bomb, bomb.read_bytes(), 1 << 20)
    (tmp_path / "text.pt2").write_text("no archive")
    assert "no file of torch.export" in refusal(tmp_path / "text.pt2")
    (tmp_path / "cut.pt2").write_bytes(program.read_bytes()[:-100])
    assert "save" in refusal(tmp_path / "cut.pt2")
    old = rewritten(
        program, tmp_path / "old.pt2", lambda name, data: None if name.startswith("models/") else data
    )
    assert "holds 0 programs of today's format" in refusal(old)


def test_a_program_too_large_for_this_machine_is_not_converted(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pt2_file, "free_bytes", lambda: program.stat().st_size)
    assert "convert it to ONNX elsewhere" in refusal(program)


def test_a_model_that_gives_no_number_where_the_program_gives_one_is_none_of_it() -> None:
    from onnx import TensorProto, helper

    ends = [[(name, TensorProto.FLOAT, [2])] for name in "xy"]
    model = onnx_model([helper.make_node("Log", ["x"], ["y"])], *ends).SerializeToString()
    given = {"x": np.array([1, -1], np.float32)}
    pt2_worker.check(model, given, [np.array([0, np.nan], np.float32)])
    for right in ([0, 1], [np.nan, np.nan], [0.1, np.nan]):
        with pytest.raises(ValueError, match="gives other outputs than the program"):
            pt2_worker.check(model, given, [np.array(right, np.float32)])
