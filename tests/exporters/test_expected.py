"""Expected outputs: those of torch, on the agent's input, kept for the next one who asks."""

from __future__ import annotations

import gc
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from device_agents.runtimes import loaded
from device_agents.runtimes.loaded import (
    array_outputs,
    fixed_input,
    image_groups,
    judged_values,
    output_sums,
)
from exporters import ConversionError, ExpectedOutputs, Weights, expected, expected_worker, processes
from exporters.expected import OUTPUT_VALUES, fixed_image, judged_parts, read_values
from exporters.networks import torch_network
from exporters.processes import kept_processes, offer_to_kernel
from harness.estimates.outputs import OUTPUT_LIMITS, WIDEST_LIMIT, error_of
from space import BLOX, MINI, TINY, Architecture, SpaceConfig
from space.segments import Segment

pytestmark = pytest.mark.converter


def outputs(folder: Path, config: SpaceConfig = BLOX, seed: int = 0) -> ExpectedOutputs:
    return ExpectedOutputs(cache_dir=folder, config=config, weights=Weights.seeded(seed))


def test_the_fixed_input_is_the_agents_in_both_layouts() -> None:
    image = fixed_image((1, 3, 32, 32))
    assert image.dtype == np.float32
    assert np.array_equal(image, fixed_input((1, 3, 32, 32), "float32", "NCHW"))
    assert np.array_equal(image.transpose(0, 2, 3, 1), fixed_input((1, 32, 32, 3), "float32", "NHWC"))
    assert np.array_equal(fixed_image((1, 20)), fixed_input((1, 20), "float32", "NCHW"))
    assert np.array_equal(fixed_image((2, 3, 4, 5), 6), fixed_input((8, 3, 4, 5), "float32", "NCHW")[6:])
    assert np.array_equal(fixed_image(()), fixed_input((1,), "float32", "NCHW")[0]), "of a scalar"


@pytest.mark.parametrize("shape", [(1, 3), (1, 100), (4, 61), (5, 7, 9, 11)])
@pytest.mark.parametrize("most", [1 << 20, 50])
def test_what_judges_an_output_is_what_the_agent_tells_of_it(
    monkeypatch: pytest.MonkeyPatch, shape: tuple[int, ...], most: int
) -> None:
    for module in (expected, loaded):
        monkeypatch.setattr(module, "MOST_VALUES", most)
    output = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    for batch in (1, shape[0]):
        told = judged_values(array_outputs([output]), batch)
        right = [expected.output_sums(part) for part in judged_parts(output, batch)]
        assert np.concatenate(right) == pytest.approx(told, rel=1e-12)
        assert sum(part.size for part in judged_parts(output, batch)) <= most + len(right)


@pytest.mark.parametrize("batch", [2, 3, 8, 11, 64, 100])
@pytest.mark.parametrize("how", ["zeros", "its neighbor", "the first"])
def test_one_false_image_anywhere_in_a_batch_is_seen(batch: int, how: str) -> None:
    right = np.random.default_rng(batch).standard_normal((batch, 10)).astype(np.float32)
    told = judged_values(array_outputs([right]), batch)
    for place in range(how == "the first", batch):
        false = right.copy()
        false[place] = 0 if how == "zeros" else right[place - 1 if how == "its neighbor" else 0]
        error = error_of(judged_values(array_outputs([false]), batch), told)
        assert error is not None
        assert error > 2 * OUTPUT_LIMITS["fp32", "reduced"]
        if batch <= 64:  # each is a group
            assert error > WIDEST_LIMIT


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lets a process be the first to end")
def test_the_process_that_computes_is_the_first_to_end_when_memory_runs_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offered: list[int] = []

    def offer(pid: int) -> None:
        offer_to_kernel(pid)
        offered.append(int(Path(f"/proc/{pid}/oom_score_adj").read_text()))

    monkeypatch.setattr(processes, "offer_to_kernel", offer)
    # Ends at once.
    monkeypatch.setattr(processes, "converter_environment", lambda: {"PYTHONHOME": "/nowhere"})
    with pytest.raises(ConversionError):
        outputs(tmp_path).of("conv/conv/conv", "onnx")
    assert offered == [1000]


@pytest.mark.parametrize(("config", "seed"), [(BLOX, 0), (MINI, 3)])
def test_a_networks_output_is_that_of_the_whole_network_in_torch(
    tmp_path: Path, config: SpaceConfig, seed: int
) -> None:
    found = outputs(tmp_path, config, seed)
    image = torch.from_numpy(fixed_image((1, config.in_channels, config.image_size, config.image_size)))
    for index in (0, 1000, 1001, 2024):
        architecture = Architecture.from_index(index, config)
        whole = torch_network(architecture, Weights.seeded(seed))(image).numpy()
        right = np.array(judged_values(array_outputs([whole])))
        for model_format in ("onnx", "tflite"):
            values = found.of(str(architecture), model_format)
            assert np.abs(np.array(values) - right).max() <= 1e-5 * np.abs(right).max()


def test_a_segments_output_has_the_order_of_its_formats_axes(tmp_path: Path) -> None:
    found, stem = outputs(tmp_path), Segment(kind="stem")
    network = torch_network(Architecture.from_index(0), Weights.seeded(0))
    right = network.get_submodule("stem")(torch.from_numpy(fixed_image((1, *stem.input_shape)))).numpy()
    assert found.of(str(stem), "onnx") == pytest.approx(judged_values(array_outputs([right])), abs=1e-2)
    last = judged_values(array_outputs([right.transpose(0, 2, 3, 1)]))
    assert found.of(str(stem), "tflite") == pytest.approx(last, abs=1e-2)
    assert found.of(str(stem), "onnx") != found.of(str(stem), "tflite")


def test_what_was_computed_is_kept_and_a_damaged_line_is_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = "segment:stem", "segment:head"
    values = [outputs(tmp_path).of(name, "onnx") for name in (first, second)]
    (file,) = (tmp_path / "expected").iterdir()
    lines = file.read_bytes().splitlines(keepends=True)
    digit = lines[0].rindex(b"0.") + 3
    file.write_bytes(lines[0][:digit] + b"9" + lines[0][digit + 1 :] + lines[1])
    assert outputs(tmp_path).of(first, "onnx") == values[0]
    monkeypatch.setattr(expected, "take", None)  # nobody is asked any more
    kept = outputs(tmp_path)
    assert [kept.of(name, "onnx") for name in (first, second)] == values
    with pytest.raises(TypeError):
        outputs(tmp_path, seed=1).of(first, "onnx")  # other weights, other outputs


def test_a_kept_process_is_given_back_with_each_answer_and_another_with_its_last_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Answering:
        def ask(self, request: dict[str, Any]) -> Iterator[dict[str, list[float]]]:
            yield {"onnx": [0.5], "tflite": [0.5]}

    taken, given_back = list[str](), list[Answering]()
    monkeypatch.setattr(processes, "_keepers", 0)
    # Else those of other tests end here, which have loaded TensorFlow.
    monkeypatch.setattr(processes, "_waiting", {})
    monkeypatch.setattr(expected, "take", lambda module: taken.append(module) or Answering())
    monkeypatch.setattr(expected, "give_back", given_back.append)
    found = outputs(tmp_path)
    for name in ("segment:stem", "segment:head"):
        found.of(name, "onnx")
    assert (len(taken), len(given_back)) == (1, 0)
    del found
    gc.collect()
    assert len(given_back) == 1
    with kept_processes():
        found = outputs(tmp_path, seed=1)
        for number, name in enumerate(("segment:stem", "segment:head"), 2):
            found.of(name, "onnx")
            assert (len(taken), len(given_back)) == (number, number)


def test_a_whole_line_of_anything_else_counts_as_absent(tmp_path: Path) -> None:
    right = {"name": "a", "onnx": [0.5, -1]}
    bad: list[Any] = [
        [],
        1,
        None,
        {},
        {"name": 1},
        right | {"onnx": 0.5},
        right | {"onnx": ["0.5"]},
        right | {"onnx": [None]},
    ]
    texts = [json.dumps(one).encode() for one in (*bad, right | {"onnx": [float("nan")]})]
    texts += [b"{", b"[" * 100_000, json.dumps(right).encode()]
    path = tmp_path / "kept.jsonl"
    path.write_bytes(b"".join(b"%08x %s\n" % (zlib.crc32(text), text) for text in texts))
    assert read_values(path) == {"a": {"onnx": [0.5, -1]}}


def test_the_images_of_a_batch_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made = list[int]()

    def image(shape: tuple[int, ...], begin: int = 0) -> np.ndarray:
        made.append(shape[0])
        return fixed_image(shape, begin)

    monkeypatch.setattr(expected_worker, "fixed_image", image)
    expected_worker.expected_sums("conv/conv", TINY, Weights.seeded(0), 100)
    assert sum(made) == 100


def test_a_name_of_nothing_and_a_process_that_dies_are_errors_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outputs(tmp_path)
    with pytest.raises(ConversionError, match="nonsense"):
        found.of("segment:nonsense", "onnx")
    assert len(found.of("segment:stem", "onnx")) == OUTPUT_VALUES, "it goes on after a name that is none"
    monkeypatch.setattr(processes, "converter_environment", lambda: {"PYTHONHOME": "/nowhere"})
    with pytest.raises(ConversionError, match=r"expected outputs: .*no Python frame"):
        outputs(tmp_path / "other").of("segment:stem", "onnx")


def test_of_a_batch_every_image_is_expected(tmp_path: Path) -> None:
    architecture = Architecture.from_index(1000)
    images = torch.from_numpy(fixed_image((17, BLOX.in_channels, BLOX.image_size, BLOX.image_size)))
    whole = torch_network(architecture, Weights.seeded(0))(images).numpy()
    groups = [whole[begin:end] for begin, end in image_groups(17)]
    right = np.concatenate([output_sums(group.reshape(-1).tolist()) for group in groups])
    found = outputs(tmp_path)
    for _ in range(2):  # computed, and kept
        values = np.array(found.of(str(architecture), "onnx", 17))
        assert np.abs(values - right).max() <= 1e-5 * np.abs(right).max()
    alone = np.array(output_sums(whole[0].tolist()))
    assert np.abs(found.of(str(architecture), "onnx") - alone).max() <= 1e-4 * np.abs(alone).max()
