"""Recipes and their assembly, without any library."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from exporters import AssemblyRecipe, FragmentLibrary, link
from space import Architecture

PARTS = {hashlib.sha256(data).hexdigest(): data for data in (b"first", b"second part", b"3")}


def recipe(**changes: object) -> AssemblyRecipe:
    return replace(
        AssemblyRecipe(format="tflite", alignment=8, skeleton=b"skeleton+", parts=tuple(PARTS)), **changes
    )  # type: ignore[arg-type]


def test_each_part_starts_at_the_next_multiple_of_the_alignment() -> None:
    expected = b"skeleton+" + bytes(7) + b"first" + bytes(3) + b"second part" + bytes(5) + b"3"
    assert link(recipe(), PARTS.__getitem__) == expected


def test_alignment_of_one_byte_puts_nothing_between_the_parts() -> None:
    assert link(recipe(alignment=1), PARTS.__getitem__) == b"skeleton+firstsecond part3"


@pytest.mark.parametrize(
    "changes",
    [
        {"format": "onnx"},
        {"alignment": 16},
        {"skeleton": b"another"},
        {"parts": tuple(PARTS)[::-1]},
        {"parts": tuple(PARTS)[:2]},
    ],
)
def test_the_digest_names_everything_that_the_model_is_made_of(changes: dict[str, object]) -> None:
    assert recipe(**changes).digest != recipe().digest


def test_the_digest_does_not_depend_on_how_the_skeleton_is_compressed() -> None:
    assert recipe(dictionary="0" * 64).digest == recipe().digest


@pytest.mark.parametrize("changes", [{"format": "pt"}, {"alignment": 0}])
def test_a_recipe_that_cannot_be_followed_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="recipe: "):
        recipe(**changes)


HEAVY = ("torch", "tensorflow", "onnx", "onnxruntime", "flatbuffers", "ai_edge_litert")


def run_python(code: str) -> str:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return finished.stdout.strip()


def test_importing_the_package_loads_no_converter_and_no_runtime() -> None:
    loaded = f"print(sorted(set(sys.modules) & set({HEAVY})))"
    assert run_python(f"import sys, exporters\n{loaded}") == "[]"


@pytest.mark.converter
def test_linking_from_a_warm_cache_loads_no_converter_and_no_runtime(
    library: FragmentLibrary, harness_cache: Path
) -> None:
    root = str(harness_cache / "fragments")
    architecture = Architecture.from_index(54_321)
    code = (
        "import sys; from exporters import FragmentLibrary, link; from space import Architecture\n"
        f"library = FragmentLibrary.open({library.format!r}, cache_dir={root!r})\n"
        f"recipe = library.recipe(Architecture.parse({str(architecture)!r}))\n"
        "import hashlib; model = hashlib.sha256(link(recipe, library.part)).hexdigest()\n"
        f"print(model, sorted(set(sys.modules) & set({HEAVY})))"
    )
    model = link(library.recipe(architecture), library.part)
    assert run_python(code) == f"{hashlib.sha256(model).hexdigest()} []"
