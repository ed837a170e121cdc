"""A model file's own run on this machine: its values, what they are not told of, and the limits of the process."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import (
    custom_op,
    dense,
    onnx_model,
    save,
    save_tflite,
    save_two_outputs_tflite,
)

from device_agents.runtimes.loaded import array_outputs, judged_values
from device_agents.runtimes.loaded import fixed_input as agents_input
from exporters import own_run
from exporters.errors import ConversionError
from exporters.expected import SIGNS
from exporters.own_run import OwnRun, own_outputs
from exporters.own_run_worker import fixed_input

pytestmark = pytest.mark.slow


def outputs_of(path: Path, cache: Path, **given: Any) -> tuple[float, ...]:
    with path.open("rb") as file:
        run = OwnRun(
            format="tflite" if path.suffix == ".tflite" else "onnx",
            descriptor=file.fileno(),
            size_bytes=path.stat().st_size,
            digest=hashlib.sha256(path.read_bytes()).hexdigest(),
            **{"shapes": {}, "values": None} | given,
        )
        return own_outputs(run, cache)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point"),
    [
        ("float32", 0.0, 0),
        ("float16", 0.0, 0),
        ("int64", 0.0, 0),
        ("bool", 0.0, 0),
        ("int8", 0.05, -3),
        ("uint8", 0.01, 128),
    ],
)
@pytest.mark.parametrize("shape", [[1, 4, 5, 3], [2, 7], []])
def test_its_fixed_inputs_are_the_agents(shape: list[int], dtype: str, scale: float, zero_point: int) -> None:
    for layout in ("NCHW", "NHWC"):
        expected = agents_input(shape, dtype, layout, scale, zero_point)
        found = fixed_input(shape, dtype, scale, zero_point, is_channels_last=layout == "NHWC")
        assert type(found) is np.ndarray and found.dtype == expected.dtype
        assert np.array_equal(found, expected)


def test_the_values_are_those_of_the_runtimes_script_and_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    path = save(dense(("n", "rows", 8)), tmp_path / "dense.onnx")
    given = {"x": agents_input([2, 3, 8], "float32", "NCHW")}
    right = judged_values(array_outputs(onnxruntime.InferenceSession(str(path)).run(None, given)))
    found = outputs_of(path, tmp_path, shapes={"x": (2, 3, 8)})
    assert found == pytest.approx(right, rel=1e-5)
    monkeypatch.setattr(own_run, "_computed", lambda run: pytest.fail("it is kept"))
    assert outputs_of(path, tmp_path, shapes={"x": (2, 3, 8)}) == found


def test_a_tflite_file_runs_without_a_delegate(tmp_path: Path) -> None:
    from device_agents.runtimes import tflite

    path = save_tflite(tmp_path / "a.tflite")
    loaded = tflite.load(path.read_bytes(), 1, {"provider": "builtin"})
    loaded.run()
    assert outputs_of(path, tmp_path) == pytest.approx(loaded.output(), rel=1e-4)


def refusal(path: Path, cache: Path, **given: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        outputs_of(path, cache, **given)
    return str(caught.value)


def test_what_the_runtime_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    assert "com.acme" in refusal(save(custom_op(), tmp_path / "warp.onnx"), tmp_path)


def growing(bytes_: int) -> Any:
    """Return a model of some hundred bytes that makes a tensor of many."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Expand", ["x", "sizes"], ["large"]),
        helper.make_node("ReduceMax", ["large"], ["y"], keepdims=0),
    ]
    sizes = {"sizes": np.array([bytes_ // 4], np.int64)}
    return onnx_model(nodes, [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [])], sizes)


def test_a_run_that_wants_more_memory_than_is_free_is_ended_by_its_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit counts, not what the machine has: the same model runs where it may take as much as it wants."""
    path = save(growing(1 << 30), tmp_path / "growing.onnx")
    monkeypatch.setattr(own_run, "free_bytes", lambda: 1 << 30)
    said = refusal(path, tmp_path)
    assert "alloc" in said or "memory" in said
    small = save(growing(1 << 20), tmp_path / "small.onnx")
    assert any(outputs_of(small, tmp_path))


def test_a_file_too_large_for_this_machine_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = save(dense(), tmp_path / "dense.onnx")
    monkeypatch.setattr(own_run, "free_bytes", lambda: path.stat().st_size * 3)
    assert "--expect" in refusal(path, tmp_path)


def test_a_run_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_run, "TIME_LIMIT_S", 0.01)
    assert "took more than" in refusal(save(dense(), tmp_path / "dense.onnx"), tmp_path)


def test_values_that_rounding_moves_judge_nothing(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    sizes = (TensorProto.FLOAT, [1, 16])
    (x,) = agents_input([1, 16], "float32", "NCHW")
    signed = np.array(SIGNS[:16])
    cancelling = [*(1 / x[:8]), *(-signed[8:] / x[8:] * (1 + 1e-6))]  # each sum is of two values that cancel
    weights = {"w": np.array([cancelling], np.float32)}
    path = save(onnx_model(nodes, [("x", *sizes)], [("y", *sizes)], weights), tmp_path / "small.onnx")
    assert "rounding moves them" in refusal(path, tmp_path)


def test_an_output_that_is_not_finite_judges_nothing(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    sizes = (TensorProto.FLOAT, [1, 16])
    nodes = [helper.make_node("Log", ["x"], ["y"])]
    path = save(onnx_model(nodes, [("x", *sizes)], [("y", *sizes)]), tmp_path / "log.onnx")
    assert "not finite" in refusal(path, tmp_path)


def drawing(steady: bool) -> Any:
    """Return a model with an output that is drawn by lot, and one that is not if asked for."""
    from onnx import TensorProto, helper

    sizes = (TensorProto.FLOAT, [1, 16])
    nodes = [
        helper.make_node("RandomNormalLike", ["x"], ["r"]),
        helper.make_node("Add", ["x", "r"], ["y"]),
        helper.make_node("Sin", ["x"], ["z"]),
    ]
    ends = [("y", *sizes), ("z", *sizes)] if steady else [("y", *sizes)]
    return onnx_model(nodes if steady else nodes[:2], [("x", *sizes)], ends)


def test_an_output_that_is_drawn_by_lot_judges_nothing_and_those_beside_it_do(tmp_path: Path) -> None:
    """What a device draws is another lot, and no false output."""
    assert "differ from run to run" in refusal(save(drawing(False), tmp_path / "random.onnx"), tmp_path)
    found = outputs_of(save(drawing(True), tmp_path / "beside.onnx"), tmp_path)
    right = judged_values(array_outputs([np.sin(agents_input([1, 16], "float32", "NCHW"))]))
    assert found == pytest.approx([0.0] * 8 + right, rel=1e-5)


def two_outputs(first: str, second: str) -> Any:
    """Return a model with an output of each name: numbers, and the place of the largest of them."""
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("Sin", ["x"], [first]),
        helper.make_node("ArgMax", ["x"], [second], axis=1, keepdims=0),
    ]
    ends = [(first, TensorProto.FLOAT, [1, 16]), (second, TensorProto.INT64, [1])]
    return onnx_model(nodes, [("x", TensorProto.FLOAT, [1, 16])], ends)


def test_all_outputs_judge_but_places_beside_numbers(tmp_path: Path) -> None:
    from onnx import TensorProto, helper

    x = agents_input([1, 16], "float32", "NCHW")
    right = judged_values(array_outputs([np.sin(x)]))
    found = outputs_of(save(two_outputs("y", "place"), tmp_path / "two.onnx"), tmp_path)
    assert found == pytest.approx(right, rel=1e-5)
    nodes = [helper.make_node("Sin", ["x"], ["y"]), helper.make_node("Cos", ["x"], ["z"])]
    ends = [(name, TensorProto.FLOAT, [1, 16]) for name in "yz"]
    model = onnx_model(nodes, [("x", TensorProto.FLOAT, [1, 16])], ends)
    found = outputs_of(save(model, tmp_path / "both.onnx"), tmp_path)
    assert found == pytest.approx(judged_values(array_outputs([np.sin(x), np.cos(x)])), rel=1e-5)


def test_tflites_outputs_judge_in_the_order_in_which_each_runtime_tells_them(tmp_path: Path) -> None:
    from device_agents.runtimes import litert, tflite

    path = save_two_outputs_tflite(tmp_path / "two.tflite")
    found = outputs_of(path, tmp_path)
    assert len(found) == 16
    for runtime in (tflite, litert):
        loaded = runtime.load(path.read_bytes(), 1, {})
        loaded.run()
        assert loaded.output() == pytest.approx(found, rel=1e-3, abs=1e-3)
