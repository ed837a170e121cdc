"""Segments as models of their own: torch's numbers in both formats, from the parts that networks have."""

from __future__ import annotations

import hashlib
from functools import cache

import numpy as np
import onnx
import pytest
import torch
from factories.segments import segments_of
from rigs.model_runs import Array, operators, random_image, run_model
from torch import nn

from device_agents.runtimes import RUNTIMES
from device_agents.runtimes.loaded import array_outputs, fixed_input, judged_values
from exporters import ConversionError, FragmentLibrary, Weights
from exporters.conversion import converter_versions
from exporters.fragments import steps, value_shape
from exporters.networks import torch_network
from space import BLOX, MINI, Architecture, SpaceConfig
from space.segments import Segment, all_segments

pytestmark = pytest.mark.converter

TOLERANCE = 1e-4  # of the largest output, as for networks

# Each wiring in each stage and each op in each slot, in six networks.
NETWORKS = [
    Architecture.parse(text)
    for text in (
        "conv/mbconv-conv/bconv-mbconv+in",
        "mbconv-bconv/bconv/conv-conv+out",
        "conv-mbconv+in/bconv-bconv+out/mbconv",
        "bconv-conv+out/conv+mbconv/mbconv-bconv+in+out",
        "mbconv+bconv/conv-bconv+in+out/bconv-conv",
        "mbconv-mbconv+in+out/mbconv-conv+in/conv+bconv",
    )
]
SEGMENTS = list(dict.fromkeys(segment for network in NETWORKS for segment in segments_of(network)))

# The sha256 over the skeletons of every 1009th network, recorded before there were segments.
SKELETONS = {
    "onnx": "d038325845b385ffc5f7d1ea20552255a69de752cac827280ccbdd502cd1acd0",
    "tflite": "a378879a4e81589017b272fe039790335a54b4ea5b7d05095f6c6ea30f5a01c2",
}
RECORDED_WITH = {
    "onnx": {"torch": "2.13.0+cpu", "onnx": "1.23.2"},
    "tflite": {"torch": "2.13.0+cpu", "tensorflow": "2.21.0", "ai-edge-litert": "2.3.0"},
}


@cache
def trained_form(architecture: Architecture) -> nn.Module:
    return torch_network(architecture, Weights.seeded(0), folded=False)


def torch_segment(segment: Segment) -> nn.Module:
    """Return a segment of the torch network that holds it, BatchNorm as in training."""
    network = next(n for n in NETWORKS if segment in segments_of(n))
    path = segment.kind if segment.stage is None else f"stages.{segment.stage}.{segment.kind}"
    return trained_form(network).get_submodule(path)


def linked(library: FragmentLibrary, segment: Segment) -> bytes:
    return library.assembly(segment).whole()


def run_segment(library: FragmentLibrary, segment: Segment, x: Array) -> Array:
    """Run a segment on (1, C, H, W); return (1, C, H, W), or the head's (1, classes)."""
    y = run_model(library.format, linked(library, segment), x)
    return y.transpose(0, 3, 1, 2) if library.format == "tflite" and y.ndim == 4 else y


def assert_close(found: Array, expected: Array) -> None:
    assert found.shape == expected.shape
    assert np.abs(found - expected).max() <= TOLERANCE * np.abs(expected).max()


def test_the_handful_holds_every_wiring_in_every_stage_and_every_op_in_every_slot() -> None:
    blocks = {stage: [n.blocks[stage] for n in NETWORKS] for stage in range(BLOX.stages)}
    assert all(len({block.wiring for block in found}) == 6 for found in blocks.values())
    assert {(b.op0, b.op1) for found in blocks.values() for b in found} >= {(None, op) for op in BLOX.ops}
    assert len(SEGMENTS) == 18 + 5


@pytest.mark.parametrize("segment", SEGMENTS, ids=str)
def test_a_segment_gives_the_output_of_torch(library: FragmentLibrary, segment: Segment) -> None:
    shape = (1, *segment.input_shape)
    x = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    expected = np.asarray(torch_segment(segment)(torch.from_numpy(x)))
    assert_close(run_segment(library, segment, x), expected)


@pytest.mark.parametrize("architecture", NETWORKS, ids=str)
def test_segments_run_one_after_the_other_give_the_logits_of_the_network(
    library: FragmentLibrary, architecture: Architecture
) -> None:
    image = x = random_image(BLOX)
    for segment in segments_of(architecture):
        x = run_segment(library, segment, np.ascontiguousarray(x))
    whole = run_model(library.format, library.assembly(architecture).whole(), image)
    assert_close(x, whole)


def test_segments_have_the_operators_of_the_network_and_no_others(library: FragmentLibrary) -> None:
    def kinds(model: bytes) -> list[str]:
        counted = operators(library.format, model)  # fails on a value that is read before it is written
        return sorted(kind for kind, _ in counted.elements() if kind != "output")

    architecture = NETWORKS[3]
    apart = [kind for segment in segments_of(architecture) for kind in kinds(linked(library, segment))]
    assert sorted(apart) == kinds(library.assembly(architecture).whole())


def test_all_140_recipes_differ_and_need_no_part_that_networks_do_not_need(library: FragmentLibrary) -> None:
    recipes = [library.assembly(segment) for segment in all_segments(BLOX)]
    assert len({recipe.digest for recipe in recipes}) == 140
    assert {digest for recipe in recipes for digest in recipe.parts} == set(library.part_digests)
    assert {(r.format, r.alignment, r.dictionary) for r in recipes} == {
        (library.format, library.alignment, library.dictionary)
    }
    assert max(len(recipe.parts) for recipe in recipes) <= 3  # two ops, and TFLite's glue


def test_the_skeletons_of_networks_are_those_of_the_time_before_segments(library: FragmentLibrary) -> None:
    if converter_versions(library.format) != RECORDED_WITH[library.format]:
        pytest.skip(f"recorded with {RECORDED_WITH[library.format]}; other converters write other nodes")
    found = hashlib.sha256()
    for index in range(0, len(BLOX), 1009):
        found.update(library.assembly(Architecture.from_index(index)).skeleton)
    assert found.hexdigest() == SKELETONS[library.format]


@pytest.mark.parametrize("segment", [SEGMENTS[0], SEGMENTS[1], SEGMENTS[2], SEGMENTS[7]], ids=str)
def test_the_agent_loads_a_segment_and_runs_it_on_its_fixed_input(
    library: FragmentLibrary, segment: Segment
) -> None:
    runtime = RUNTIMES["onnxruntime" if library.format == "onnx" else "tflite"]
    loaded = runtime.load(linked(library, segment), 1, {})
    loaded.run()
    x = torch.from_numpy(fixed_input((1, *segment.input_shape), "float32", "NCHW"))
    expected = np.asarray(torch_segment(segment)(x))
    if library.format == "tflite" and expected.ndim == 4:
        expected = expected.transpose(0, 2, 3, 1)
    right = judged_values(array_outputs([expected]))
    assert np.linalg.norm(np.subtract(loaded.output(), right)) <= TOLERANCE * np.linalg.norm(right)


def test_linked_onnx_segments_pass_the_full_check(onnx_library: FragmentLibrary) -> None:
    for segment in SEGMENTS:
        model = onnx.load_from_string(linked(onnx_library, segment))
        onnx.checker.check_model(model, full_check=True)
        assert model.ir_version <= 9
        assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


@pytest.mark.parametrize("config", [BLOX, MINI])
def test_a_segment_reads_the_shape_that_it_says_and_writes_what_the_next_one_reads(
    config: SpaceConfig,
) -> None:
    for index in (0, 1000, 2024):
        architecture = Architecture.from_index(index, config)
        segments = segments_of(architecture)
        for segment, following in zip(segments, (*segments[1:], None), strict=True):
            plan = steps(segment)
            assert value_shape(plan[0].inputs[0], segment.config) == (1, *segment.input_shape)
            written = value_shape(plan[-1].output, segment.config)
            assert written == (
                (1, segment.config.classes) if following is None else (1, *following.input_shape)
            )


def test_a_segment_of_another_space_is_refused(library: FragmentLibrary) -> None:
    with pytest.raises(ConversionError, match="segment:stem is of space 'mini'; this library holds 'blox'"):
        library.assembly(Segment(kind="stem", config=MINI))
