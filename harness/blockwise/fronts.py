"""Pareto fronts of a blockwise search: predicted accuracy against one cost each, of every network within the limits.

One library and one predictor serve them all: another device or limit trains nothing (DONNA, Moons et al. 2021, arXiv:2012.08859).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from search.blockwise.rounds import Searched
from search.blockwise.search import allowed_once
from search.blockwise.setting import Setting
from search.table import Table
from search.table.pareto import Front, pareto_front
from space import SpaceConfig, check_enumerable


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostFront:
    """A Pareto front over predicted accuracy and the only cost of `table`."""

    table: Table
    front: Front


def check_fronts(config: SpaceConfig, costs: Sequence[str]) -> None:
    """Refuse fronts over a space too large to list. Raises: ConfigError."""
    if costs:
        check_enumerable(
            config, "--pareto", "search it within one limit after another: --max-latency 5ms, then 4ms"
        )


def cost_fronts(searched: Searched, setting: Setting, costs: Sequence[str]) -> tuple[CostFront, ...]:
    """Return the front over each cost, of the networks within the limits whose accuracy and cost are predicted."""
    table = searched.choice.table
    if table is None:
        return ()
    mask = allowed_once(table, setting.constraints, confident=setting.confident)
    return tuple(
        CostFront(
            table=replace(table, costs={name: table.cost(name)}), front=pareto_front(table, [name], mask)
        )
        for name in costs
    )
