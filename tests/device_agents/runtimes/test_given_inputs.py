"""Models of any origin in a runtime: given shapes and values, and the outputs of the runtime's own script."""

from __future__ import annotations

import io
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.model_files import dense, onnx_model, save_tflite, tokens

from device_agents.refusal import Refusal
from device_agents.runtimes import load, onnxruntime_cpu, outside, tflite
from device_agents.runtimes import loaded as loaded_module
from device_agents.runtimes.loaded import (
    OUTPUT_VALUES,
    Inputs,
    array_outputs,
    fixed_input,
    judged_values,
    output_sums,
    read_arrays,
)


def own(model: Any, inputs: dict[str, Any]) -> Any:
    """Return the first output as onnxruntime's own script has it."""
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]


def loaded(model: Any, inputs: Inputs) -> Any:
    one = onnxruntime_cpu.load_with_inputs(model.SerializeToString(), 1, {}, inputs)
    one.run()
    return one


def test_a_free_shape_runs_as_given_and_its_output_is_the_scripts() -> None:
    model, shape = dense(("n", "rows", 8)), [2, 5, 8]
    expected = own(model, {"x": fixed_input(shape, "float32", "NCHW")})
    assert loaded(model, Inputs({"x": shape})).output() == pytest.approx(
        output_sums(expected.reshape(-1).tolist()), rel=1e-5
    )


@pytest.mark.parametrize(("batch", "together"), [(14, 1), (64, 1), (126, 2)])
def test_of_a_batch_every_image_is_told_in_groups(batch: int, together: int) -> None:
    model, shape = dense(("n", 8)), [batch, 8]
    expected = own(model, {"x": fixed_input(shape, "float32", "NCHW")})
    told = loaded(model, Inputs({"x": shape}, batch=batch)).output()
    between = (expected[begin : begin + together] for begin in range(1, batch - 1, together))
    groups = [expected[:1], *between, expected[batch - 1 :]]
    right = [value for group in groups for value in output_sums(group.reshape(-1).tolist())]
    assert told == pytest.approx(right, rel=1e-5)


def test_an_output_of_another_number_of_images_is_no_run_of_the_batch() -> None:
    model = dense(("n", 8))
    with pytest.raises(ValueError, match=r"the outputs are \[1, .*\] for a batch of 5 images"):
        loaded(model, Inputs({"x": [1, 8]}, batch=5)).output()
    labels = array_outputs([np.arange(5.0)])
    assert judged_values(labels, 5) == [value for image in range(5) for value in (image, *[0.0] * 7)]


def test_given_tokens_and_truth_values_run_as_in_the_script() -> None:
    ids = np.array([[150, 3, 199], [7, 8, 9]], np.int64)
    arrays = {"ids": ids, "mask": np.array([[1, 0, 1], [0, 0, 1]], bool)}
    expected = own(tokens(), arrays)
    assert loaded(tokens(), Inputs({}, arrays)).output() == pytest.approx(
        output_sums(expected.reshape(-1).tolist()), rel=1e-5
    )


def test_half_precision_and_integers_without_values_get_the_fixed_ones() -> None:
    assert len(loaded(dense(dtype=np.float16), Inputs()).output()) == 8
    fixed = Inputs({"ids": [1, 4], "mask": [1, 4]})
    arrays = {"ids": fixed_input([1, 4], "int64", "NCHW"), "mask": fixed_input([1, 4], "bool", "NCHW")}
    assert arrays["mask"].any()
    assert not arrays["mask"].all()
    expected = own(tokens(), arrays)
    right = output_sums(expected.reshape(-1).tolist())
    assert loaded(tokens(), fixed).output() == pytest.approx(right, rel=1e-5)


def test_an_output_whose_size_depends_on_the_values_runs_again_and_again() -> None:
    from onnx import TensorProto, helper

    model = onnx_model(
        [helper.make_node("NonZero", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, [1, 6])],
        [("y", TensorProto.INT64, [2, "found"])],
    )
    arrays = {"x": np.array([[0, 1, 0, 2, 3, 0]], np.float32)}
    one = loaded(model, Inputs({}, arrays))
    one.run()
    assert one.output() == output_sums(own(model, arrays).reshape(-1).tolist())


def test_an_output_that_is_no_tensor_leaves_no_values() -> None:
    from onnx import TensorProto, helper

    model = onnx_model(
        [helper.make_node("SequenceConstruct", ["x", "x"], ["y"])], [("x", TensorProto.FLOAT, [1, 2])], []
    )
    model.graph.output.append(helper.make_tensor_sequence_value_info("y", TensorProto.FLOAT, None))
    one = loaded(model, Inputs())
    one.run()
    assert one.output() == []


def test_values_of_another_type_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="input 'x' is given as float64; the model wants float32"):
        loaded(dense(), Inputs({}, {"x": np.zeros((1, 8))}))


def test_an_input_of_text_is_refused() -> None:
    from onnx import TensorProto, helper

    model = onnx_model(
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, [1])],
        [("y", TensorProto.STRING, [1])],
    )
    with pytest.raises(ValueError, match="input 'x' is a tensor\\(string\\)"):
        loaded(model, Inputs())


@pytest.mark.parametrize("dtype", ["float32", "int8"])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
def test_an_input_takes_little_memory_beside_its_own_while_it_is_made(dtype: str, layout: str) -> None:
    tracemalloc.start()
    try:
        made = fixed_input((16, 3, 200, 200), dtype, layout, 0.0078, -1)
        assert tracemalloc.get_traced_memory()[1] < made.nbytes + 5e6
    finally:
        tracemalloc.stop()


def test_a_free_shape_without_one_given_is_refused_with_the_option() -> None:
    with pytest.raises(ValueError, match="--shape"):
        loaded(dense(("n", "rows", 8)), Inputs())


def test_tflite_takes_a_larger_batch_and_given_values(tmp_path: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    images = np.random.default_rng(0).standard_normal((3, 16, 16, 3)).astype(np.float32)
    script = Interpreter(model_content=model)
    script.resize_tensor_input(script.get_input_details()[0]["index"], images.shape)
    script.allocate_tensors()
    script.set_tensor(script.get_input_details()[0]["index"], images)
    script.invoke()
    expected = script.get_tensor(script.get_output_details()[0]["index"])
    assert expected.shape[0] == 3
    one = tflite.load_with_inputs(model, 1, {}, Inputs({}, {"image": images}))
    one.run()
    assert one.output() == pytest.approx(output_sums(expected.reshape(-1).tolist()))
    batch = tflite.load_with_inputs(model, 1, {}, Inputs({"image": [3, 16, 16, 3]}))
    batch.run()
    assert len(batch.output()) == 8


def test_arrays_that_would_need_a_pickle_are_not_read() -> None:
    file = io.BytesIO()
    np.savez(file, x=np.array([object()]))
    with pytest.raises(ValueError, match="allow_pickle"):
        read_arrays(file.getvalue())


def test_a_runtime_that_takes_no_inputs_refuses_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from device_agents import runtimes

    monkeypatch.setitem(runtimes.RUNTIMES, "other", outside)  # type: ignore[arg-type]
    with pytest.raises(Refusal, match="other takes no shapes"):
        load("other", b"", 1, {}, Inputs({"x": [1]}))


def test_any_value_of_an_output_that_is_wrong_moves_what_it_is_judged_by() -> None:
    right = np.random.default_rng(0).standard_normal((1, 4, 50, 50)).astype(np.float32)
    told = np.array(judged_values(array_outputs([right])))
    for place in (8, 60, 61, 5000, 9999):
        wrong = right.copy()
        wrong.reshape(-1)[place] += 50
        assert np.linalg.norm(judged_values(array_outputs([wrong])) - told) == pytest.approx(50, rel=1e-3)
    shifted = judged_values(array_outputs([right + 1]))  # all of them a little, as by a wrong bias
    assert np.linalg.norm(shifted - told) > 0.1 * np.linalg.norm(told)
    wrong = right.copy()
    wrong[:, 2:] = 0
    off = np.linalg.norm(judged_values(array_outputs([wrong])) - told) / np.linalg.norm(told)
    assert 0.35 < off < 1.4, "about as far as the whole is off, which is 0.7"


def test_the_sums_are_of_values_as_they_are_and_not_of_their_type() -> None:
    values = np.full(20_000, 60_000, np.float16)
    assert all(np.isfinite(judged_values(array_outputs([values]))))
    assert judged_values(array_outputs([np.array([1.5, -2.0], np.float32)])) == [1.5, -2.0, *[0.0] * 6]
    assert any(np.isnan(judged_values(array_outputs([np.array([0.0] * 99 + [np.nan])]))))


def test_every_output_is_judged_and_classes_only_where_there_is_nothing_else() -> None:
    scores, classes, boxes = np.ones((1, 3), np.float32), np.array([7], np.int64), np.full((2, 2), 5.0)
    assert judged_values(array_outputs([classes, scores, boxes])) == [
        *[1.0] * 3,
        *[0.0] * 5,
        *[5.0] * 4,
        *[0.0] * 4,
    ]
    assert judged_values(array_outputs([classes]))[0] == 7
    many = array_outputs([np.full(1, float(number)) for number in range(12)])
    assert judged_values(many)[::OUTPUT_VALUES] == [float(number) for number in range(8)]


def test_of_a_very_large_output_a_part_that_is_spread_over_all_of_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loaded_module, "MOST_VALUES", 100)
    wrong = np.zeros(1000)
    wrong[990] = 3.0
    assert np.linalg.norm(judged_values(array_outputs([wrong]))) == 3
