"""Outputs of a model before and after it is timed, on an accelerator that a test can have fail in any way."""

from __future__ import annotations

import struct
from math import inf, nan

import pytest

from device_agents.outputs import OutputChanged, Outputs, OutputUnmoved, constant_values, reversed_values
from device_agents.runtimes.loaded import Change, Loaded

FIRST, REVERSED = [3.0, -20.0, 0.0], [4.0, 1.0, 2.0]


class Model:
    """A model whose outputs a test sets."""

    def __init__(
        self, first: list[float] = FIRST, other: list[float] = REVERSED, constant: list[float] = FIRST
    ) -> None:
        self.first, self.other, self.constant = first, other, constant

    def loaded(self, is_accelerated: bool = True) -> Loaded:
        runtime = {"name": "litert", "provider": "GPU"}
        other = self._output_on if is_accelerated else None
        return Loaded(lambda: None, lambda: self.first, runtime, other_output=other)

    def _output_on(self, change: Change) -> list[float]:
        return self.constant if change is constant_values else self.other


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (FIRST, FIRST),  # that of the run before
        ([0.0] * 3, REVERSED),
        (FIRST, [4.0, 2.1, 2.0]),
        (FIRST, [4.0, nan, 2.0]),
        ([3.0, -inf, 0.0], REVERSED),
    ],
)
def test_an_accelerator_that_gives_something_else_at_the_end_is_found_out(
    first: list[float], other: list[float]
) -> None:
    model = Model()
    outputs = Outputs(model.loaded())
    assert outputs.first == FIRST
    model.first, model.other = first, other
    with pytest.raises(OutputChanged, match=r"the GPU gave .* what was timed does not count"):
        outputs.check()


@pytest.mark.parametrize("scale", [1.0, 1.001, 0.97])
def test_what_an_accelerator_rounds_otherwise_is_no_change(scale: float) -> None:
    model = Model()
    outputs = Outputs(model.loaded())
    model.first, model.other = ([scale * value for value in one] for one in (FIRST, REVERSED))
    outputs.check()


def test_values_that_are_not_finite_are_no_change_where_they_were_so_before() -> None:
    model = Model([1.0, 2.0], [nan, 2.0])
    outputs = Outputs(model.loaded())
    model.other = [-inf, 2.0]
    outputs.check()
    model.other = [1.0, 2.0]
    with pytest.raises(OutputChanged):
        outputs.check()


def test_a_model_of_random_numbers_on_a_processor_is_let_be() -> None:
    model = Model()
    outputs = Outputs(model.loaded(is_accelerated=False))
    model.first = [7.0, 7.0, 7.0]
    outputs.check()


def test_an_accelerator_that_stops_after_its_first_run_is_found_out_before_anything_is_timed() -> None:
    with pytest.raises(OutputUnmoved, match=r"the GPU gives one and the same output .* --inputs FILE.npz"):
        Outputs(Model(FIRST, FIRST, FIRST).loaded())


def test_a_model_that_heeds_no_order_of_its_values_is_told_from_an_idle_accelerator() -> None:
    assert Outputs(Model(FIRST, FIRST, REVERSED).loaded()).first == FIRST


def test_a_small_output_that_changes_beside_a_large_one_is_found_out() -> None:
    large, small = [1e4] * 8, [0.5, -0.25, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]
    model = Model([*large, *small], [*large[::-1], *small[::-1]])
    outputs = Outputs(model.loaded())
    model.first = [*large, *([0.0] * 8)]
    with pytest.raises(OutputChanged):
        outputs.check()


def test_other_values_of_an_input_differ_from_its_own_and_are_of_its_type() -> None:
    own = struct.pack("=3h", 1, 2, -3)
    assert struct.unpack("=3h", reversed_values(own, "h")) == (-3, 2, 1)
    assert struct.unpack("=3h", constant_values(own, "h")) == (0, 0, 0)
    assert struct.unpack("=2f", constant_values(bytes(8), "f")) == (1.0, 1.0)
