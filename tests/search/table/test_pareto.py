"""Pareto fronts against plain loops, hypervolume against areas added by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from factories.tables import made_cost, made_table
from hypothesis import given, settings
from hypothesis import strategies as st

from search.table.pareto import pareto_front

small = st.integers(1, 5).map(float)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(small | st.just(math.nan), small, small | st.just(math.nan), st.booleans()),
        min_size=1,
        max_size=30,
    )
)
def test_the_front_is_what_no_other_network_dominates(
    rows: list[tuple[float, float, float, bool]],
) -> None:
    table = made_table(
        [r[0] for r in rows], made_cost("a", [r[1] for r in rows]), made_cost("b", [r[2] for r in rows])
    )
    mask = np.zeros(len(table.config), dtype=np.bool_)
    mask[: len(rows)] = [r[3] for r in rows]
    points = {i: (-r[0], r[1], r[2]) for i, r in enumerate(rows) if r[3] and not any(map(math.isnan, r[:3]))}
    expected = {
        i
        for i, p in points.items()
        if not any(
            (q != p or j < i) and all(x <= y for x, y in zip(q, p, strict=True))
            for j, q in points.items()
            if j != i
        )
    }
    front = pareto_front(table, ["a", "b"], mask)
    assert set(front.indices.tolist()) == expected
    assert len(front.indices) == len(expected)
    assert 0 <= front.hypervolume <= 1


def test_the_hypervolume_is_the_share_of_the_box_that_the_front_dominates() -> None:
    # box: accuracy 40 to 50, cost 2 to 6; the front (50, 4) and (45, 2), and a corner of the box (40, 6)
    table = made_table([50.0, 45.0, 40.0], made_cost("a", [4.0, 2.0, 6.0]))
    front = pareto_front(table, ["a"], np.ones(len(table.config), dtype=np.bool_))
    assert front.indices.tolist() == [1, 0], "cheapest first"
    assert (front.ideal, front.reference) == ((50.0, 2.0), (40.0, 6.0))
    assert front.hypervolume == pytest.approx((2 * 5 + 2 * 10) / (4 * 10))


def test_no_network_allowed_makes_an_empty_front() -> None:
    table = made_table([50.0], made_cost("a", [4.0]))
    front = pareto_front(table, ["a"], np.zeros(len(table.config), dtype=np.bool_))
    assert (len(front.indices), front.hypervolume) == (0, 0.0)
