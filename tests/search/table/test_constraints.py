"""Constraints: what is typed is what is held, and what cannot be meant is refused with a remedy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from factories.tables import made_cost, made_table
from hypothesis import given, settings
from hypothesis import strategies as st

from search.table.constraints import (
    UNITS,
    Constraint,
    allowed,
    amount_text,
    check_contradictions,
    parse_amount,
    parse_constraint,
)
from space.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "subject", "relation", "limit"),
    [
        ("pixel<8ms", "pixel", "<", 8.0),
        (" pi4:tflite <= 0.04 s ", "pi4:tflite", "<=", 40.0),
        ("gpu:onnxruntime:cuda<800us", "gpu:onnxruntime:cuda", "<", 0.8),
        ("params<3M", "params", "<", 3e6),
        ("params>=2500000", "params", ">=", 2.5e6),
        ("params<0.5k", "params", "<", 500.0),
        ("macs<1.5e8", "macs", "<", 1.5e8),
        ("memory<16MiB", "memory", "<", 2.0**24),
        ("onnx-size>9MB", "onnx-size", ">", 9e6),
        ("pixel:tflite:memory<50MB", "pixel:tflite:memory", "<", 5e7),
        ("pixel:load<0.2s", "pixel:load", "<", 200.0),
        ("pixel:int8:first-run<9ms", "pixel:int8:first-run", "<", 9.0),
    ],
)
def test_a_constraint_is_read_in_the_unit_of_its_subject(
    text: str, subject: str, relation: str, limit: float
) -> None:
    found = parse_constraint(text)
    assert (found.subject, found.relation) == (subject, relation)
    assert math.isclose(found.limit, limit, rel_tol=1e-12)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("pixel<8", ["'8' has no unit", "8ms"]),
        (
            "pixel<8MB",
            [
                "constraint 'pixel<8MB': unit 'MB' does not fit; write e.g. 8ms (units: ns, us, ms, s); costs of this unit: "
            ],
        ),
        ("parms<3M", ["'parms' is no cost; did you mean 'params'? (as a device: unit 'M' does not fit"]),
        (
            "flops<3M",
            ["constraint 'flops<3M': unit 'M' does not fit; ", "; costs of this unit: params, macs"],
        ),
        ("pixel:memroy<1GB", ["'pixel:memroy' is no cost; did you mean 'pixel:memory'?"]),
        (
            "pixel:onnxruntime<1.2x",
            ["constraint 'pixel:onnxruntime<1.2x': unit 'x' does not fit; write e.g. 1.2ms"],
        ),
        ("memory<16", ["'16' has no unit", "16MB"]),
        ("params<3Mb", ["unit 'Mb' does not fit", "3M"]),
        ("params<3", ["no network has so few params", "did you mean 'params<3M'?"]),
        ("macs >= 90.5 ", ["no network has so few macs", "did you mean 'macs>=90.5M'?"]),
        ("pixel<0ms", ["not above 0"]),
        ("pixel<1e999ms", ["more than any network takes"]),
        ("pixel<-3ms", ["'-3ms' is no amount"]),
        ("pixel<fastms", ["no amount"]),
        ("pixel 8ms", ["cannot be read", "pixel<8ms"]),
        ("pixel<8ms<9ms", ["cannot be read"]),
        ("<8ms", ["cannot be read"]),
        ("", ["cannot be read"]),
        ("accuracy>75%", ["not a limit", "--pareto"]),
    ],
)
def test_what_cannot_be_meant_is_refused_with_a_remedy(text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as error:
        parse_constraint(text)
    for part in parts:
        assert part in str(error.value)


@given(st.integers(1, 10**8), st.sampled_from([("M", 6), ("k", 3), ("G", 9)]))
def test_an_amount_with_a_unit_is_the_whole_number_that_it_says(
    hundredths: int, unit: tuple[str, int]
) -> None:
    name, zeros = unit
    assert parse_amount(f"{hundredths // 100}.{hundredths % 100:02d}{name}", "") == hundredths * 10 ** (
        zeros - 2
    )


@given(st.floats(1e-3, 1e12), st.sampled_from(sorted(UNITS)))
def test_an_amount_written_for_people_reads_back(value: float, unit: str) -> None:
    assert math.isclose(parse_amount(amount_text(value, unit), unit), value, rel_tol=1e-14)


@pytest.mark.parametrize(
    ("first", "second", "contradict"),
    [
        ("pixel<8ms", "pixel>9ms", True),
        ("pixel<8ms", "pixel>8ms", True),
        ("pixel<=8ms", "pixel>=8ms", False),
        ("pixel<=8ms", "pixel>8ms", True),
        ("pixel<8ms", "pixel>7ms", False),
        ("pixel<8ms", "pi4>9ms", False),
        ("params<3M", "params>4M", True),
    ],
)
def test_limits_between_which_nothing_lies_contradict_each_other(
    first: str, second: str, contradict: bool
) -> None:
    constraints = [parse_constraint(first), parse_constraint(second)]
    if not contradict:
        check_contradictions(constraints)
        return
    with pytest.raises(ConfigError, match="contradict each other") as error:
        check_contradictions(constraints[::-1])
    assert str(constraints[0]) in str(error.value)
    assert str(constraints[1]) in str(error.value)


values = st.lists(st.floats(0.5, 20) | st.just(math.nan), min_size=1, max_size=40)


@settings(max_examples=200)
@given(
    accuracies=values,
    latencies=values,
    sizes=values,
    half=st.none() | st.floats(0, 0.5),
    limits=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["<", "<=", ">", ">="]), st.floats(0.5, 20)),
        max_size=4,
    ),
    confident=st.booleans(),
)
def test_no_network_allowed_ever_breaks_a_constraint_and_none_that_meets_all_is_left_out(
    accuracies: list[float],
    latencies: list[float],
    sizes: list[float],
    half: float | None,
    limits: list[tuple[str, str, float]],
    confident: bool,
) -> None:
    table = made_table(accuracies, made_cost("a", latencies, half), made_cost("b", sizes))
    constraints = [
        Constraint(subject=subject, relation=relation, limit=limit, unit="ms")
        for subject, relation, limit in limits
    ]
    mask = allowed(table, constraints, confident=confident)
    for index in range(45):
        expected = index < len(accuracies) and not math.isnan(accuracies[index])
        for subject, relation, limit in limits:
            cost = table.costs[subject]
            value = cost.values[index]
            if confident and subject == "a" and half is not None:
                value *= (1 + half) if relation.startswith("<") else (1 - half)
            expected = expected and bool(
                {"<": value < limit, "<=": value <= limit, ">": value > limit, ">=": value >= limit}[relation]
            )
        assert mask[index] == expected
    assert not mask[45:].any(), "networks of which nothing is known"


def test_a_cost_that_is_not_in_the_table_is_refused() -> None:
    with pytest.raises(ConfigError, match="no cost 'pixle'; did you mean 'pixel'"):
        allowed(made_table([1.0], made_cost("pixel", [1.0])), [parse_constraint("pixle<8ms")])


def test_an_unknown_interval_does_not_meet_a_limit_that_its_far_end_must_meet() -> None:
    cost = made_cost("pixel", [1.0, 1.0], 0.1)
    assert cost.high is not None
    cost.high[1] = np.nan
    table = made_table([50.0, 60.0], cost)
    constraint = parse_constraint("pixel<8ms")
    assert allowed(table, [constraint]).sum() == 2
    assert np.flatnonzero(allowed(table, [constraint], confident=True)).tolist() == [0]


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "s"},
        {"unit": "M"},
        {"relation": "=="},
        {"limit": math.nan},
        {"limit": math.inf},
        {"limit": "8"},
    ],
)
def test_a_limit_that_is_none_is_refused_by_all_that_it_is(changes: dict[str, Any]) -> None:
    fields = {"subject": "pixel", "relation": "<", "limit": 8.0, "unit": "ms"} | changes
    with pytest.raises(
        ConfigError, match=r"limit on 'pixel': .* give <, <=, > or >=, a number, and its unit"
    ):
        Constraint(**fields)
