"""Pareto fronts of a blockwise search: predicted accuracy against one cost each, of the networks within the limits.

One library and one predictor serve all fronts: another device or limit needs no training (DONNA, Moons et al. 2021,
arXiv:2012.08859). In a space too large to list, integer programs find part of a front.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.query.rows import front_document
from search.blockwise.by_integer_program import within
from search.blockwise.choice import table_of
from search.blockwise.predictor_kinds import PREDICTORS
from search.blockwise.predictors import additive
from search.blockwise.rounds import Searched
from search.blockwise.search import allowed_once
from search.blockwise.setting import Setting
from search.blockwise.sum_front import BY_PROGRAMS, FRONT_POINTS, sum_front
from search.table import NetworkTable
from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts, BlockSums
from search.table.pareto import Front, pareto_front
from space import SpaceConfig, is_enumerable
from space.errors import ConfigError
from space.hash_table import network_key
from space.indexing import FloatArray, IndexArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CostFront:
    """A Pareto front over predicted accuracy and the only cost of `table`, or the part of it that integer programs found."""

    table: NetworkTable
    front: Front
    is_part: bool = False

    def document(self) -> dict[str, object]:
        """Return the front as plain values; a part of one has no hypervolume."""
        found = front_document(self.table, self.front)
        if not self.is_part:
            return found
        none = dict.fromkeys(("hypervolume", "reference", "ideal"))
        return found | none | {"by": BY_PROGRAMS, "most_points": FRONT_POINTS}


def check_fronts(config: SpaceConfig, costs: Sequence[str], predictor: str) -> None:
    """Refuse fronts over a space too large to list by predictions that are no sums. Raises: ConfigError."""
    if costs and not is_enumerable(config) and not PREDICTORS[predictor].is_sum:
        known = ", ".join(name for name, kind in PREDICTORS.items() if kind.is_sum and not kind.ranks)
        raise ConfigError(
            f"--pareto {costs[0]}: the {len(config):,} networks of space {config.name!r} are too many to list, and what "
            f"--predictor {predictor} predicts is no sum over blocks, which integer programs need; take one of {known}"
        )


def cost_fronts(searched: Searched, setting: Setting, costs: Sequence[str]) -> tuple[CostFront, ...]:
    """Return the front over each cost, of the networks within the limits whose accuracy and cost are predicted."""
    table = searched.choice.table
    if table is None:
        return tuple(_by_integer_programs(searched, setting, name) for name in costs)
    mask = allowed_once(table, setting.constraints, confident=setting.confident)
    return tuple(
        CostFront(
            table=replace(table, costs={name: table.cost(name)}), front=pareto_front(table, [name], mask)
        )
        for name in costs
    )


def _by_integer_programs(searched: Searched, setting: Setting, name: str) -> CostFront:
    """Return part of the front over a cost: see `sum_front`."""
    config, summed = searched.signatures.config, setting.costs.summed
    sums = additive(searched.fitted)
    assert sums is not None  # see `check_fronts`
    scores, constant = sums
    is_open = np.isfinite(setting.costs.known(scores))

    def best(
        scores: FloatArray, extra: Mapping[str, AdditiveCosts], limits: tuple[Constraint, ...]
    ) -> int | None:
        found = within(
            config,
            np.where(is_open, scores, np.nan),
            {**summed, **extra},
            (*setting.constraints, *limits),
            1,
            distance=1,
            confident=setting.confident,
        ).indices(config)
        return found[0] if found else None

    goal = BlockSums(blocks=np.where(is_open, scores, 0.0), constant=constant)
    found = sum_front(goal, summed[name], searched.choice.finalists.indices(config)[0], best)
    # The costliest of its names is the best predicted.
    once = {network_key(config, index): index for index in found}
    indices: IndexArray = np.array(sorted(once.values()), dtype=np.int64)
    column = {name: summed[name].column(indices)}
    table = table_of(searched.fitted, config, setting, column, indices)
    front = pareto_front(table, [name], np.ones(len(table), dtype=np.bool_))
    return CostFront(table=table, front=front, is_part=True)
