"""What TFLite's operators compute in, by the types of what they read and write."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from factories.model_files import save_half_supported_tflite, save_tflite

from device_agents.runtimes import tflite
from device_agents.runtimes.tflite import arithmetic_of, shares_of

TYPES = {0: np.float32, 1: np.float16, 2: np.int8, 3: np.int32, 4: np.int16, 5: np.uint8}
FLOAT, HALF, BYTE, INDEX, SHORT, UNSIGNED = TYPES


def interpreter(*operators: tuple[str, list[int], list[int]]) -> SimpleNamespace:
    return SimpleNamespace(
        get_tensor_details=lambda: [{"index": index, "dtype": dtype} for index, dtype in TYPES.items()],
        _get_ops_details=lambda: [
            {"op_name": name, "inputs": np.array(inputs), "outputs": np.array(outputs)}
            for name, inputs, outputs in operators
        ],
    )


@pytest.mark.parametrize(
    ("operators", "arithmetic"),
    [
        ([("CONV_2D", [FLOAT, FLOAT, -1], [FLOAT]), ("PAD", [FLOAT, INDEX], [FLOAT])], "fp32"),
        ([("DEQUANTIZE", [HALF], [FLOAT]), ("CONV_2D", [FLOAT, FLOAT], [FLOAT])], "fp32"),
        ([("CONV_2D", [HALF, HALF], [HALF])], "fp16"),
        (
            [
                ("QUANTIZE", [FLOAT], [BYTE]),
                ("CONV_2D", [BYTE, BYTE, INDEX], [BYTE]),
                ("DEQUANTIZE", [BYTE], [FLOAT]),
                ("DELEGATE", [FLOAT], [FLOAT]),
            ],
            "int8",
        ),
        ([("CONV_2D", [UNSIGNED, UNSIGNED, INDEX], [UNSIGNED])], "int8"),
        ([("FULLY_CONNECTED", [FLOAT, BYTE], [FLOAT])], "mixed"),
        ([("CONV_2D", [SHORT, BYTE], [SHORT])], "mixed"),
        ([("CONV_2D", [BYTE, BYTE], [BYTE]), ("SOFTMAX", [FLOAT], [FLOAT])], "mixed"),
        ([("GATHER", [INDEX], [INDEX])], ""),
    ],
)
def test_operators_compute_in_the_types_of_their_tensors_and_conversions_in_none(
    operators: list[tuple[str, list[int], list[int]]], arithmetic: str
) -> None:
    assert arithmetic_of(interpreter(*operators)) == arithmetic


def test_a_package_that_lists_no_operators_does_not_tell() -> None:
    assert arithmetic_of(SimpleNamespace()) == ""


@pytest.mark.parametrize(
    ("operators", "shares"),
    [
        ([("CONV_2D", [1], [2]), ("PAD", [2], [3])], {"builtin": 1.0}),
        ([("CONV_2D", [1], [2]), ("PAD", [2], [3]), ("DELEGATE", [1], [3])], {"XNNPACK": 1.0}),
        (
            [
                *(("CONV_2D", [1], [2]), ("FLOOR_MOD", [2], [3]), ("ADD", [3, 2], [4]), ("MUL", [4], [5])),
                *(("DELEGATE", [1], [2]), ("DELEGATE", [3, 2], [5])),
            ],
            {"XNNPACK": 0.75, "builtin": 0.25},
        ),
        ([], {}),
    ],
)
def test_a_delegate_runs_what_lies_between_its_outputs_and_its_inputs(
    operators: list[tuple[str, list[int], list[int]]], shares: dict[str, float]
) -> None:
    assert shares_of(interpreter(*operators), "XNNPACK") == shares


def test_shares_are_those_of_the_real_package_and_told_where_it_lists_operators(tmp_path: Path) -> None:
    whole, half = save_tflite(tmp_path / "a.tflite"), save_half_supported_tflite(tmp_path / "half.tflite")
    assert tflite.load(whole.read_bytes(), 1, {}).shares == {"XNNPACK": 1.0}
    assert tflite.load(half.read_bytes(), 1, {}).shares == {"XNNPACK": 0.5, "builtin": 0.5}
    assert tflite.load(half.read_bytes(), 1, {"provider": "builtin"}).shares == {"builtin": 1.0}
    assert shares_of(SimpleNamespace(), "XNNPACK") == {}


@pytest.mark.parametrize(
    ("package", "size", "first"),
    [
        ("tflite_runtime", 2**31 - 1, "builtin"),
        ("tflite_runtime", 2**63 - 1, "XNNPACK"),
        ("tensorflow", 2**31 - 1, "XNNPACK"),
    ],
)
def test_the_wheels_for_32_bit_arm_compute_with_kernels_of_tflites_own(
    package: str, size: int, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "find", lambda: (package, "2.14.0", None))
    monkeypatch.setattr(sys, "maxsize", size)
    assert tflite.providers()[0] == first and {"XNNPACK", "builtin"} <= set(tflite.providers())


def test_a_model_of_operators_that_xnnpack_has_not_is_the_models_fault() -> None:
    refused = [tflite.without_xnnpack(one) for one in ({"WHILE"}, {"WHILE", "CONV_2D"})]
    assert [one.kind for one in refused] == ["worker-error", "runtime-missing"]
    assert "none of the model's operators (WHILE)" in refused[0].message
