"""TFLite models on LiteRT's GPU, in software, against the CPU: networks of the spaces, and files of other converters."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from factories.model_files import CONVERTED, INT8_OF_CONVERTED
from rigs.litert_outputs import litert_outputs
from rigs.software_gpu import software_gpu

from exporters import FragmentLibrary, Precision, link
from space import TINY, Architecture
from space.selection import select_models

pytestmark = pytest.mark.converter

NEAR = 1e-3
STEPS = 2  # of an int8 output


def step_of(model: Path) -> float:
    """Return the step of a model's first output, 0 where it is no integer."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(model))
    return float(interpreter.get_output_details()[0]["quantization"][0])


def assert_equal_on_cpu_and_gpu(models: Sequence[Path], steps: Sequence[bool]) -> None:
    """Assert that a GPU in software computes what the CPU does, in fp32 or, where `steps` says so, in int8."""
    gpu = software_gpu()
    here, there = litert_outputs("CPU", models), litert_outputs("GPU-fp32", models, gpu)
    for model, is_int8, cpu, found in zip(models, steps, here, there, strict=True):
        assert (cpu["shares"], found["shares"]) == ({"CPU": 1.0}, {"GPU-fp32": 1.0}), model
        step = step_of(model)
        assert (step > 0) == is_int8
        assert len(set(cpu["output"])) > 4, "an output that says something"
        limit = STEPS * step if is_int8 else NEAR
        assert found["output"] == pytest.approx(cpu["output"], rel=0, abs=1.001 * limit), model


def linked(library: FragmentLibrary, chosen: Sequence[Architecture], folder: Path) -> list[Path]:
    """Write networks as files."""
    paths = [folder / f"{library.precision}-{one.index}.tflite" for one in chosen]
    for path, one in zip(paths, chosen, strict=True):
        path.write_bytes(link(library.recipe(one), library.part))
    return paths


@pytest.mark.parametrize("networks", ["sample:4@7", pytest.param("sample:20@7", marks=pytest.mark.long)])
def test_networks_of_the_space_compute_on_a_gpu_what_they_do_on_the_cpu(
    networks: str, tflite_library: FragmentLibrary, tmp_path: Path
) -> None:
    models = linked(tflite_library, select_models(networks), tmp_path)
    assert_equal_on_cpu_and_gpu(models, [False] * len(models))


@pytest.mark.parametrize("precision", [pytest.param("fp16", marks=pytest.mark.long), "int8"])
def test_networks_of_less_precision_do_so_too(
    precision: Precision, harness_cache: Path, tmp_path: Path
) -> None:
    folder = harness_cache / "fragments"
    library = FragmentLibrary.open("tflite", cache_dir=folder, config=TINY, precision=precision)
    models = linked(library, select_models("sample:2@7", TINY), tmp_path)
    assert_equal_on_cpu_and_gpu(models, [precision == "int8"] * len(models))


def test_files_of_other_converters_compute_on_a_gpu_what_they_do_on_the_cpu() -> None:
    assert_equal_on_cpu_and_gpu(
        [CONVERTED / name for name in INT8_OF_CONVERTED], list(INT8_OF_CONVERTED.values())
    )
