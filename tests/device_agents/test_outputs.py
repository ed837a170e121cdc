"""Outputs of a model before and after it is timed, on an accelerator that a test can have fail in any way."""

from __future__ import annotations

from collections.abc import Callable
from math import inf, nan

import pytest

from device_agents.outputs import OutputChanged, Outputs
from device_agents.runtimes.loaded import Loaded

FIRST, REVERSED = [3.0, -20.0, 0.0], [4.0, 1.0, 2.0]


class Model:
    """A model whose outputs a test sets."""

    def __init__(self, first: list[float] = FIRST, other: list[float] = REVERSED) -> None:
        self.first, self.other = first, other

    def loaded(self, is_accelerated: bool = True) -> Loaded:
        other: Callable[[], list[float]] | None = (lambda: self.other) if is_accelerated else None
        runtime = {"name": "litert", "provider": "GPU"}
        return Loaded(lambda: None, lambda: self.first, runtime, reversed_output=other)


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
