"""Outputs against the expected ones, and the limits that fit what a device computes with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from factories.records import CONFIGURATION, make_session

from harness.estimates.estimate import estimate
from harness.estimates.findings import check_network, grade
from harness.estimates.outputs import is_wrong, output_error
from harness.records import SessionRecord

RIGHT = (0.5, -1.0, 2.0, 0.25)


def session_of(
    output: tuple[float, ...], *, expected: tuple[float, ...] = RIGHT, **changes: Any
) -> SessionRecord:
    configuration = replace(
        CONFIGURATION, **{k: changes.pop(k) for k in ("provider", "precision") if k in changes}
    )
    return make_session(configuration=configuration, output=output, expected=expected, **changes)


def off_by(error: float) -> tuple[float, ...]:
    """Return outputs that are off the right ones by this much of their norm."""
    return tuple(value * (1 + error) for value in RIGHT)


def test_the_error_is_relative_to_the_expected_output() -> None:
    assert output_error(session_of(RIGHT)) == 0
    assert output_error(session_of(off_by(0.02))) == pytest.approx(0.02)
    assert output_error(session_of((0.0,) * 4)) == 1
    assert output_error(session_of(())) == 1, "an output of nothing is no output"
    assert output_error(session_of((1.7e308,) * 4)) == 1e9, "a number that JSON can hold"


@pytest.mark.parametrize(
    ("provider", "precision", "fits", "wrong"),
    [
        ("CPUExecutionProvider", "fp32", 1e-5, 2e-3),
        ("XNNPACK", "fp32", 1e-5, 2e-3),
        ("CUDAExecutionProvider", "fp32", 1e-2, 0.05),
        ("some outside provider", "fp32", 1e-2, 0.05),
        ("CPUExecutionProvider", "fp16", 1e-2, 0.05),
        ("CPUExecutionProvider", "int8", 0.3, 0.7),
    ],
)
def test_limits_fit_the_precision_of_model_and_arithmetic(
    provider: str, precision: str, fits: float, wrong: float
) -> None:
    assert not is_wrong(session_of(off_by(fits), provider=provider, precision=precision))
    assert is_wrong(session_of(off_by(wrong), provider=provider, precision=precision))


def test_zeros_are_wrong_at_once_in_any_precision_and_without_an_expected_output() -> None:
    zeros = (0.0,) * 4
    assert is_wrong(session_of(zeros, precision="int8"))
    assert is_wrong(session_of(zeros, expected=()))
    assert is_wrong(session_of(zeros, expected=(), purpose="trained"))
    assert not is_wrong(session_of(zeros, expected=(), purpose="segment")), (
        "a ReLU's first values may be zeros"
    )
    assert not is_wrong(session_of(zeros, expected=zeros, purpose="segment"))


def test_what_nobody_knows_the_right_output_of_is_not_judged_and_nothing_is_said_of_it() -> None:
    session = session_of((1e9, 7.0), expected=())
    assert output_error(session) is None
    assert "wrong-output" not in {one.kind for one in check_network([session], estimate([session]), None)}


def test_one_false_session_among_right_ones_makes_grade_d() -> None:
    sessions = [session_of(RIGHT), session_of(RIGHT), session_of(off_by(0.5))]
    findings = check_network(sessions, estimate(sessions), None)
    assert "1 of 3 sessions" in next(one.message for one in findings if one.kind == "wrong-output")
    assert grade(0.001, findings) == "D"


@pytest.mark.parametrize("values", [(float("nan"),), (float("inf"), 1.0), ("0.5",)])
def test_a_record_holds_finite_outputs_alone(values: tuple[Any, ...]) -> None:
    for field in ("output", "expected"):
        with pytest.raises(ValueError, match=f"{field} holds finite numbers"):
            make_session(**{field: values})


def test_the_output_that_is_furthest_off_counts_however_small_it_is_beside_the_others() -> None:
    large, small = (1e3,) * 8, (1e-3, *(0.0,) * 7)
    right = session_of((*large, *small), expected=(*large, *small))
    assert output_error(right) == 0
    assert output_error(replace(right, output=(*large, 2e-3, *(0.0,) * 7))) == pytest.approx(1)
    assert output_error(replace(right, output=(*large, *(0.0,) * 8))) == 1
    assert output_error(replace(right, output=large)) == 1, "an output that is not told is judged, too"


def test_an_output_of_which_nothing_is_expected_is_not_judged_and_the_others_are() -> None:
    nothing = (0.0,) * 8
    session = session_of((*(5.0,) * 8, *(1.0,) * 8), expected=(*nothing, *(1.0,) * 8))
    assert output_error(session) == 0
    assert output_error(replace(session, expected=(*nothing, *nothing))) is None
