"""TFLite models on LiteRT's GPU, in software, against the CPU: networks of the spaces, and files of other converters."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median

import pytest
from factories.model_files import CONVERTED, INT8_OF_CONVERTED
from rigs.litert_outputs import LiteRtProcess, litert_process
from rigs.software_gpu import software_gpu

from exporters import FragmentLibrary, Precision
from exporters.fragments import all_fragments, fragments_of
from space import BLOX, TINY, Architecture, SpaceConfig
from space.block import WIRINGS
from space.costs import all_macs, network_cost
from space.selection import select_models

pytestmark = pytest.mark.converter

NEAR = 1e-3
STEPS = 2  # of an int8 output
# Each below the median of Blox's MACs, which are what a GPU in software takes its time for; together with all that Blox has.
SMALL = (
    "bconv/conv-bconv+in+out/conv-bconv+in",
    "conv-mbconv+in/bconv/bconv-mbconv",
    "mbconv-conv/bconv/bconv",
    "conv+bconv/mbconv-mbconv+out/bconv-bconv",
    "mbconv/bconv-conv/mbconv-conv+in+out",
    "bconv/conv-bconv/mbconv+mbconv",
    "mbconv-bconv+in+out/bconv-mbconv+in/bconv",
    "bconv-conv+in+out/bconv/mbconv-conv+in",
    "bconv-conv+out/conv-conv+in/bconv",
    "mbconv-mbconv/conv+conv/bconv",
    "conv-conv+out/bconv/mbconv-mbconv+in+out",
    "conv+mbconv/bconv/conv-mbconv",
    "bconv-bconv+in+out/mbconv-mbconv+in/bconv",
    "bconv-mbconv+in+out/conv-conv/bconv",
    "conv-mbconv+in+out/bconv/mbconv-bconv+out",
    "bconv/conv-conv+in+out/mbconv-bconv+in",
    "bconv/mbconv-bconv/bconv+bconv",
    "mbconv+bconv/conv-bconv+out/bconv-mbconv+out",
    "bconv-bconv+out/conv-mbconv+out/conv",
    "mbconv-conv+out/bconv-bconv+in/bconv-conv+in",
)
SMALL_INT8 = SMALL[:5]  # with all parts and wirings of the space


@pytest.fixture(scope="module")
def process() -> Iterator[LiteRtProcess]:
    """Return the process in which all models of this file are computed."""
    with litert_process(software_gpu()) as one:
        yield one


def step_of(model: Path) -> float:
    """Return the step of a model's first output, 0 where it is no integer."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    return float(interpreter.get_output_details()[0]["quantization"][0])


def assert_equal_on_cpu_and_gpu(
    process: LiteRtProcess, models: Sequence[Path], steps: Sequence[bool]
) -> None:
    """Assert that a GPU in software computes what the CPU does, in fp32 or, where `steps` says so, in int8."""
    here, there = process.outputs("CPU", models), process.outputs("GPU-fp32", models)
    for model, is_int8, cpu, found in zip(models, steps, here, there, strict=True):
        assert (cpu["shares"], found["shares"]) == ({"CPU": 1.0}, {"GPU-fp32": 1.0}), model
        step = step_of(model)
        assert (step > 0) == is_int8
        assert len(set(cpu["output"])) > 4, "an output that says something"
        limit = STEPS * step if is_int8 else NEAR
        assert found["output"] == pytest.approx(cpu["output"], rel=0, abs=1.001 * limit), model


def linked(
    cache: Path, networks: Sequence[str], folder: Path, config: SpaceConfig, precision: Precision
) -> list[Path]:
    """Write networks as files."""
    fragments = cache / "fragments"
    library = FragmentLibrary.open("tflite", cache_dir=fragments, config=config, precision=precision)
    chosen = select_models(networks, config)
    paths = [folder / f"{precision}-{one.index}.tflite" for one in chosen]
    for path, one in zip(paths, chosen, strict=True):
        path.write_bytes(library.assembly(one).whole())
    return paths


def test_the_small_networks_have_all_that_the_space_has() -> None:
    networks = [Architecture.parse(text, BLOX) for text in SMALL]
    assert {block for one in networks for block in one.blocks} == set(BLOX.blocks)
    assert {(stage, block.wiring) for one in networks for stage, block in enumerate(one.blocks)} == {
        (stage, wiring) for stage in range(BLOX.stages) for wiring in WIRINGS
    }
    few = networks[: len(SMALL_INT8)]
    assert {fragment for one in few for fragment in fragments_of(one)} == set(all_fragments(BLOX))
    assert {block.wiring for one in few for block in one.blocks} == set(WIRINGS)
    half = median(all_macs(BLOX))
    assert all(network_cost(BLOX, one.index).macs < half for one in networks)


@pytest.mark.parametrize(
    "networks", [SMALL, pytest.param(["sample:6@7"], marks=pytest.mark.long)], ids=["small", "random"]
)
def test_networks_of_the_space_compute_on_a_gpu_what_they_do_on_the_cpu(
    process: LiteRtProcess, networks: Sequence[str], harness_cache: Path, tmp_path: Path
) -> None:
    models = linked(harness_cache, networks, tmp_path, BLOX, "fp32")
    assert_equal_on_cpu_and_gpu(process, models, [False] * len(models))


@pytest.mark.parametrize(
    ("config", "networks", "precision"),
    [
        pytest.param(TINY, ["sample:2@7"], "fp16", marks=pytest.mark.long, id="fp16"),
        pytest.param(BLOX, SMALL_INT8, "int8", id="int8"),
    ],
)
def test_networks_of_less_precision_do_so_too(
    process: LiteRtProcess,
    config: SpaceConfig,
    networks: Sequence[str],
    precision: Precision,
    harness_cache: Path,
    tmp_path: Path,
) -> None:
    models = linked(harness_cache, networks, tmp_path, config, precision)
    assert_equal_on_cpu_and_gpu(process, models, [precision == "int8"] * len(models))


def test_files_of_other_converters_compute_on_a_gpu_what_they_do_on_the_cpu(process: LiteRtProcess) -> None:
    assert_equal_on_cpu_and_gpu(
        process, [CONVERTED / name for name in INT8_OF_CONVERTED], list(INT8_OF_CONVERTED.values())
    )
