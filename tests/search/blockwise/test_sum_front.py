"""Fronts by programs, which are looked up in a list of all networks here: their ends are those of the whole front."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from search.blockwise.sum_front import sum_front
from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts, BlockSums, meets
from search.table.table import CostEstimate
from space import MINI
from space.indexing import FloatArray, block_indices

CHOICES = block_indices(MINI, np.arange(len(MINI)))


def sums_of(blocks: FloatArray) -> FloatArray:
    found: FloatArray = blocks[np.arange(MINI.stages), CHOICES].sum(axis=1)
    return found


@pytest.mark.parametrize("sums", [1, 2, 3])
def test_a_front_reaches_from_the_cheapest_network_to_the_best(sums: int) -> None:
    for seed in range(6):
        random = np.random.default_rng(seed)
        scores, *costs = random.uniform(1, 9, (1 + sums, MINI.stages, len(MINI.blocks)))
        goal, cost = sums_of(scores), np.max([sums_of(blocks) for blocks in costs], axis=0)
        priced = AdditiveCosts(
            name="memory",
            unit="bytes",
            title="memory",
            config=MINI,
            totals=tuple(BlockSums(blocks=blocks, constant=0.0) for blocks in costs),
        )

        def best(
            wanted: FloatArray, extra: Mapping[str, AdditiveCosts], limits: tuple[Constraint, ...]
        ) -> int | None:
            order = np.argsort(-sums_of(wanted), kind="stable").tolist()
            within = (
                index
                for index in order
                if all(meets(extra[one.subject].at(index), one, confident=False) for one in limits)
            )
            return next(within, None)

        found = sum_front(BlockSums(blocks=scores, constant=0.0), priced, int(goal.argmax()), best)
        assert (found[0], found[-1]) == (cost.argmin(), goal.argmax())
        for index in found:
            assert not ((cost < cost[index] - 1e-9) & (goal > goal[index] - 1e-9)).any()
            assert not ((cost < cost[index] + 1e-9) & (goal > goal[index] + 1e-9)).any()


def test_a_network_that_failed_takes_no_further_programs() -> None:
    blocks = np.random.default_rng(0).uniform(1, 9, (MINI.stages, len(MINI.blocks)))
    goal, totals = BlockSums(blocks=blocks, constant=0.0), sums_of(blocks)

    def programs(known: Mapping[int, CostEstimate]) -> int:
        price = AdditiveCosts(name="ms", unit="ms", title="", config=MINI, totals=(goal,), known=known)
        run: list[int] = []

        def best(
            wanted: FloatArray, extra: Mapping[str, AdditiveCosts], limits: tuple[Constraint, ...]
        ) -> int | None:
            run.append(1)
            for index in np.argsort(-sums_of(wanted), kind="stable").tolist():
                if all(meets(extra[one.subject].at(index), one, confident=False) for one in limits):
                    return int(index)
            return None

        sum_front(goal, price, int(totals.argmax()), best)
        return len(run)

    failed = {int(totals.argsort()[50]): CostEstimate(value=np.nan, low=np.nan, high=np.nan)}
    assert programs(failed) == programs({})
