"""Recipes and their assembly, without any library."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exporters import FragmentLibrary
from space import Architecture
from space.assembly import Assembly

PARTS = {hashlib.sha256(data).hexdigest(): data for data in (b"first", b"second part", b"3")}


def assembly(**changes: Any) -> Assembly:
    fields: dict[str, Any] = {
        "format": "tflite",
        "alignment": 8,
        "skeleton": b"skeleton+",
        "parts": tuple(PARTS),
    }
    return Assembly(read_part=PARTS.__getitem__, **fields | changes)


def test_each_part_starts_at_the_next_multiple_of_the_alignment() -> None:
    expected = b"skeleton+" + bytes(7) + b"first" + bytes(3) + b"second part" + bytes(5) + b"3"
    assert assembly().whole() == expected


def test_alignment_of_one_byte_puts_nothing_between_the_parts() -> None:
    assert assembly(alignment=1).whole() == b"skeleton+firstsecond part3"


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
    assert assembly(**changes).digest != assembly().digest


def test_the_digest_does_not_depend_on_how_the_skeleton_is_compressed() -> None:
    assert assembly(dictionary="0" * 64).digest == assembly().digest


def test_an_alignment_that_cannot_be_followed_is_refused() -> None:
    with pytest.raises(ValueError, match="alignment 0 must be at least 1 byte"):
        assembly(alignment=0)


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
        "import sys; from exporters import FragmentLibrary; from space import Architecture\n"
        f"library = FragmentLibrary.open({library.format!r}, cache_dir={root!r})\n"
        f"recipe = library.assembly(Architecture.parse({str(architecture)!r}))\n"
        "import hashlib; model = hashlib.sha256(recipe.whole()).hexdigest()\n"
        f"print(model, sorted(set(sys.modules) & set({HEAVY})))"
    )
    model = library.assembly(architecture).whole()
    assert run_python(code) == f"{hashlib.sha256(model).hexdigest()} []"
