"""Models of a blockwise search's answer: which formats and precisions it has, by what was searched."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import MANY

from exporters import ConversionError, conversion
from harness.blockwise.folder import searched_models
from harness.blockwise.request import check_output
from harness.prediction.provenance import Provenance
from harness.records import Configuration
from space.errors import ConfigError

FP32 = ["model.onnx", "model.tflite"]


def found(precision: str, configuration: Configuration | None = None) -> Provenance:
    return Provenance(
        origin="made up",
        configuration=configuration,
        measured=1,
        predicted=0,
        grades={},
        precision=precision,
    )


def stored(runtime: str, precision: str) -> Provenance:
    return found(precision, replace(MANY, runtime=runtime, precision=precision))


def names(*searched: Provenance, precision: str = "") -> list[str]:
    by_name = {str(number): one for number, one in enumerate(searched)}
    return [one.file_name for one in searched_models(by_name, precision)]


def test_an_answer_has_models_in_the_precisions_searched_and_in_the_formats_that_run_there() -> None:
    assert names(stored("onnxruntime", "fp32")) == FP32
    assert names(stored("tflite", "int8")) == [*FP32, "model-int8.tflite"]
    assert names(stored("tflite", "int8"), stored("onnxruntime", "fp16")) == [
        *FP32,
        "model-fp16.onnx",
        "model-int8.tflite",
    ]
    assert names(stored("tflite", "int8"), stored("onnxruntime", "int8"), precision="int8") == [
        *FP32,
        "model-int8.onnx",
        "model-int8.tflite",
    ]


def test_where_no_runtime_is_known_all_formats_are_written() -> None:
    both = [*FP32, "model-int8.onnx", "model-int8.tflite"]
    assert names(found("int8")) == both, "a file of latencies in int8"
    assert names(stored("tflite", "int8"), found("int8")) == both
    assert names(precision="int8") == both, "limits on sizes alone"
    assert names(found("")) == FP32, "a file that names no precision"


def test_a_converter_that_is_absent_is_told_before_anything_is_trained(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = conversion.installed_version
    monkeypatch.setattr(
        conversion, "installed_version", lambda name: None if name == "litert-quantizer" else known(name)
    )
    assert names(stored("onnxruntime", "int8")) == [*FP32, "model-int8.onnx"]
    with pytest.raises(ConversionError, match="exporting to tflite in int8 needs litert-quantizer"):
        names(stored("tflite", "int8"))


def test_a_folder_that_cannot_be_made_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    check_output(tmp_path / "answer")
    check_output(tmp_path / "new" / "answer")
    with pytest.raises(ConfigError, match="Not a directory"):
        check_output(tmp_path / "file" / "answer")
    monkeypatch.setattr(os, "access", lambda place, mode: False)  # as for others than root
    with pytest.raises(ConfigError, match=r"answer: cannot be written: Permission denied"):
        check_output(tmp_path / "answer")
