"""The contract of linked models, the same for both formats: torch's numbers, the whole conversion's graph."""

from __future__ import annotations

import random
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from ai_edge_litert import schema_py_generated as schema
from rigs.model_runs import operators, random_image, run_model
from rigs.whole_networks import convert_networks

from device_agents.runtimes import load
from device_agents.runtimes.loaded import Inputs
from exporters import ConversionError, Format, FragmentLibrary, Weights, networks
from exporters.formats import Precision
from exporters.networks import torch_network
from space import BLOX, MINI, TINY, Architecture
from space.segments import Segment

pytestmark = pytest.mark.converter

TOLERANCE = 1e-4  # of the largest logit
MAX_SENT_BYTES = 2048
MAX_WEIGHT_BYTES = 30_000_000

# Block k of stage s is in row (k - 7 s) % 45: every block in every stage, and 45 different neighborhoods.
LATIN_SQUARE = [
    Architecture(blocks=tuple(BLOX.blocks[(row + 7 * s) % 45] for s in range(BLOX.stages)))
    for row in range(45)
]
RANDOM = [Architecture.from_index(i) for i in random.Random(0).sample(range(len(BLOX)), 20)]
WHOLE = [
    Architecture.parse("conv-mbconv+in+out/bconv/conv+mbconv"),
    Architecture.parse("bconv-bconv+in/mbconv-conv+out/bconv-mbconv"),
]


def linked(library: FragmentLibrary, architecture: Architecture) -> bytes:
    return library.assembly(architecture).whole()


@pytest.fixture(scope="module", autouse=True)
def weights_drawn_once() -> Iterator[None]:
    """Draw the weights of each fragment once for all networks, and none of torch's own before them.

    Both take longer than all else here.
    """
    with pytest.MonkeyPatch.context() as patch:
        for layer in (torch.nn.Conv2d, torch.nn.Linear):
            patch.setattr(layer, "reset_parameters", lambda _: None)
        patch.setattr(networks, "fragment_module", cache(networks.fragment_module))
        yield


@cache
def torch_logits(architecture: Architecture, weights: Weights) -> npt.NDArray[np.float32]:
    """Compute the logits of `random_image` with BatchNorm as in training, not folded."""
    network = torch_network(architecture, weights, folded=False)
    return np.asarray(network(torch.from_numpy(random_image(architecture.config))))


def assert_equals_torch(library: FragmentLibrary, architecture: Architecture) -> None:
    expected = torch_logits(architecture, library.weights)
    logits = run_model(library.format, linked(library, architecture), random_image(architecture.config))
    assert np.abs(logits - expected).max() <= TOLERANCE * np.abs(expected).max()


def sent_bytes(library: FragmentLibrary, architecture: Architecture) -> int:
    """Count what a device is sent for a network: its skeleton, compressed, and the digests of its parts."""
    recipe = library.assembly(architecture)
    if recipe.dictionary is None:
        compressor = zlib.compressobj(9)
    else:
        compressor = zlib.compressobj(9, zdict=library.part(recipe.dictionary)[-(32 << 10) :])
    return len(compressor.compress(recipe.skeleton) + compressor.flush()) + sum(map(len, recipe.parts))


def stage_scales(network: torch.nn.Module, image: torch.Tensor) -> list[float]:
    """Return the standard deviation of every stage's output and of the logits."""
    scales: list[float] = []
    for stage in network.stages:  # type: ignore[union-attr]
        stage.register_forward_hook(lambda _module, _inputs, output: scales.append(float(output.std())))
    return [float(network(image).std()), *scales]


def test_the_latin_square_holds_every_block_in_every_stage() -> None:
    for s in range(BLOX.stages):
        assert {architecture.blocks[s] for architecture in LATIN_SQUARE} == set(BLOX.blocks)


@pytest.mark.parametrize("architecture", LATIN_SQUARE, ids=str)
def test_every_block_in_every_stage_gives_the_logits_of_torch(
    library: FragmentLibrary, architecture: Architecture
) -> None:
    assert_equals_torch(library, architecture)


@pytest.mark.parametrize("architecture", RANDOM[:6], ids=str)
def test_random_networks_give_the_logits_of_torch(
    library: FragmentLibrary, architecture: Architecture
) -> None:
    assert_equals_torch(library, architecture)


def test_linking_equals_converting_the_whole_network(library: FragmentLibrary) -> None:
    image = random_image(BLOX)
    for architecture, whole in zip(WHOLE, convert_networks(WHOLE, library.format), strict=True):
        model = linked(library, architecture)
        assert operators(library.format, model) == operators(library.format, whole.model), architecture
        ours, theirs = (run_model(library.format, m, image) for m in (model, whole.model))
        assert ours.tobytes() == theirs.tobytes(), architecture


def test_a_model_runs_equally_from_memory_and_from_a_file(library: FragmentLibrary) -> None:
    image, model = random_image(BLOX), linked(library, RANDOM[0])
    from_memory = run_model(library.format, model, image)
    assert from_memory.tobytes() == run_model(library.format, model, image, from_file=True).tobytes()


def test_operators_stand_in_topological_order_in_every_network(library: FragmentLibrary) -> None:
    for architecture in LATIN_SQUARE[::15]:
        operators(library.format, linked(library, architecture))  # fails on a value read before it is written


def test_a_network_costs_at_most_2_kib_to_send(library: FragmentLibrary) -> None:
    largest = Architecture.parse("/".join(["bconv-bconv+in+out"] * 3))
    for architecture in (largest, *LATIN_SQUARE, *RANDOM):
        assert sent_bytes(library, architecture) <= MAX_SENT_BYTES, architecture


def test_the_weights_of_the_whole_space_cost_at_most_30_mb_to_send(library: FragmentLibrary) -> None:
    assert len(set(library.part_digests)) == len(library.part_digests)
    assert sum(len(library.part(digest)) for digest in library.part_digests) <= MAX_WEIGHT_BYTES


def test_recipes_name_parts_of_the_library_and_differ_between_networks(library: FragmentLibrary) -> None:
    recipes = [library.assembly(architecture) for architecture in LATIN_SQUARE]
    assert {digest for recipe in recipes for digest in recipe.parts} == set(library.part_digests)
    assert len({recipe.digest for recipe in recipes}) == len(recipes)


def test_an_architecture_of_another_space_is_refused(library: FragmentLibrary) -> None:
    with pytest.raises(ConversionError, match="is of space 'mini'; this library holds 'blox'"):
        library.assembly(Architecture.from_index(0, MINI))


def test_an_unknown_part_is_refused(library: FragmentLibrary) -> None:
    with pytest.raises(ConversionError, match="is not in this"):
        library.part("0" * 64)


@pytest.mark.parametrize("architecture", LATIN_SQUARE[::9], ids=str)
def test_linked_onnx_models_pass_the_full_check(
    onnx_library: FragmentLibrary, architecture: Architecture
) -> None:
    model = onnx.load_from_string(linked(onnx_library, architecture))
    onnx.checker.check_model(model, full_check=True)


def test_onnx_models_are_of_a_version_that_old_runtimes_load(onnx_library: FragmentLibrary) -> None:
    model = onnx.load_from_string(linked(onnx_library, RANDOM[0]))
    assert model.ir_version <= 9
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]


def test_tflite_models_pass_the_flatbuffer_verifier_of_the_runtime(tflite_library: FragmentLibrary) -> None:
    image = random_image(BLOX)
    for architecture in LATIN_SQUARE[::9]:
        run_model("tflite", linked(tflite_library, architecture), image)
    damaged = linked(tflite_library, RANDOM[0]).replace(b"harness\0", b"harness!", 1)
    with pytest.raises(ValueError, match="not a valid Flatbuffer"):
        run_model("tflite", damaged, image)  # so a verifier is at work


def test_tflite_weights_are_aligned_to_64_bytes(tflite_library: FragmentLibrary) -> None:
    data = linked(tflite_library, RANDOM[0])
    model = schema.Model.GetRootAsModel(data, 0)
    start = np.frombuffer(data, np.uint8).ctypes.data
    addresses = [
        buffer.DataAsNumpy().ctypes.data - start
        for buffer in map(model.Buffers, range(model.BuffersLength()))
        if buffer.DataLength()
    ]
    assert addresses and all(address % 64 == 0 for address in addresses)


def test_random_weights_are_neither_zero_nor_denormal_and_keep_activations_in_scale() -> None:
    image = torch.from_numpy(random_image(BLOX))
    extremes = (Architecture.parse("/".join([block] * 3)) for block in ("conv", "bconv-bconv+in+out"))
    for architecture in (*extremes, *RANDOM[:6]):
        network = torch_network(architecture, Weights.seeded(0))
        for name, tensor in network.named_parameters():
            assert tensor.abs().min() > 1e-9, name
        assert all(0.05 < scale < 50 for scale in stage_scales(network, image)), architecture


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.long), "int8"])
@pytest.mark.parametrize("model_format", ["onnx", "tflite"])
def test_a_model_of_a_batch_gives_each_image_its_own_output(
    model_format: Format, precision: Precision, harness_cache: Path
) -> None:
    # Up to eight judged values stand for themselves; the space has the ops of the network.
    config = replace(TINY, name="of-four-classes", ops=("conv", "mbconv"), classes=4)
    library = FragmentLibrary.open(
        model_format, cache_dir=harness_cache / "fragments", config=config, precision=precision
    )
    model, segment = (
        Architecture.parse("conv-mbconv/conv-conv", config),
        Segment.parse("segment:head", config),
    )
    for one, several in (
        (library.assembly(model), library.assembly(model, 3)),
        (library.assembly(segment), library.assembly(segment, 3)),
    ):
        assert several.parts == one.parts, "what is sent is shared"
        shapes = {name: list(shape) for name, shape in several.shapes.items()}
        runtime = {"onnx": "onnxruntime", "tflite": "tflite"}[model_format]
        runs = [
            load(runtime, recipe.whole(), 1, {}, inputs)
            for recipe, inputs in ((one, Inputs()), (several, Inputs(shapes, batch=3)))
        ]
        for run in runs:
            run.run()
        alone, batch = (run.output() for run in runs)
        images = [batch[place : place + 4] for place in range(0, 24, 8)]
        assert len(batch) == 24 and alone[4:] == [0.0] * 4
        assert images[0] == pytest.approx(alone[:4], rel=1e-3, abs=1e-5)
        is_coarse = precision == "int8"  # to 8 bits, means of alike images may be equal
        for other in images[1:]:
            assert is_coarse or other != pytest.approx(images[0], rel=1e-3), "each image is another"
