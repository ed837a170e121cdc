"""Search a space of any size for the networks with the largest sums within limits, by an integer program over blocks.

No network is listed and no accuracies are needed: objective and costs are sums over blocks, latencies by an additive predictor.
Measured networks keep their measured latency.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.prediction.provenance import Provenance
from harness.query.join import query_space
from harness.query.objective import Objective, load_objective
from harness.query.query import Query
from harness.query.rows import NetworkRows, Row
from harness.query.sums import LatencySums, cost_sums, unseen_blocks
from harness.store import Store
from search.blockwise.by_integer_program import MOST_LOOKED_AT, WIDER, choose, within
from search.blockwise.finalists import Finalists
from search.blockwise.sum_front import sum_front
from search.statistics import finite
from search.table import CostEstimate
from search.table.constraints import Constraint
from search.table.costs import AdditiveCosts, meets
from search.table.table import no_cost
from space import Architecture, SpaceConfig
from space.errors import ConfigError
from space.hash_table import network_key
from space.indexing import BoolArray, FloatArray, available, blocks_of
from space.text import agreeing, counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ObjectiveAnswer(NetworkRows):
    """Networks with the largest sums within the limits, best first, each a row: latencies in ms, sizes in bytes.

    `within`: their canonical indices, one index a network. `far`: those unlike any measured network, which only a search that
    measures its finalists returns. `verified`: those measured after the search.
    """

    config: SpaceConfig
    objective: Objective
    costs: Mapping[str, AdditiveCosts]
    constraints: tuple[Constraint, ...]
    confident: bool
    provenance: Mapping[str, Provenance]
    notes: tuple[str, ...]
    within: tuple[int, ...]
    far: frozenset[int]
    program: _Program
    verified: frozenset[int] | None = None

    @property
    def indices(self) -> tuple[int, ...]:
        """The networks to show, best first. Verified: measured ones, if any is within the limits, else near ones, if any."""
        if self.verified is None:
            return self.within
        measured = sorted(filter(self.is_within, self.verified), key=lambda one: (-self.score(one), one))
        return tuple(measured or (one for one in self.within if one not in self.far)) or self.within

    @property
    def best(self) -> Architecture:
        """The best network within the limits."""
        return Architecture.from_index(self.indices[0], self.config)

    @property
    def columns(self) -> list[str]:
        return list(self.row(self.within[0]))

    def row(self, index: int) -> Row:
        return self.row_beside(index, self.far)

    def row_beside(self, index: int, far: frozenset[int]) -> Row:
        """Return a network, with its objective and costs, as plain values; `far`: the networks unlike any measured one."""
        architecture = Architecture.from_index(index, self.config)
        row: Row = {
            "architecture": str(architecture),
            "graph_hash": architecture.graph_hash,
            "index": index,
            "objective": self.score(index),
        }
        for name, amount in self.costs_at(index).items():
            cost = self.costs[name]
            row[f"{name}_{cost.unit}" if cost.unit else name] = finite(amount.value)
            if cost.is_latency:
                row[f"{name}_low_{cost.unit}"] = finite(amount.low)
                row[f"{name}_high_{cost.unit}"] = finite(amount.high)
                row[f"{name}_source"] = source_text(index, amount, far)
                row[f"{name}_grade"] = amount.grade or "-"
        return row

    def score(self, index: int) -> float:
        """Return a network's objective."""
        return self.objective.sums.of(blocks_of(self.config, index))

    def costs_at(self, index: int) -> dict[str, CostEstimate]:
        """Return a network's costs by name."""
        return {name: cost.at(index) for name, cost in self.costs.items()}

    def is_within(self, index: int) -> bool:
        """Return whether a network is within the limits."""
        return all(
            meets(self.costs[one.subject].at(index), one, confident=self.confident)
            for one in self.constraints
        )

    def front(self, cost: str) -> ObjectiveFront:
        """Return the front over the objective, to be high, and a cost, to be low, within the limits: see `sum_front`.

        Raises: ConfigError when the answer has no such cost.
        """
        if cost not in self.costs:
            raise ConfigError(no_cost(cost, self.costs))
        passed_over = False

        def best(
            scores: FloatArray, extra: Mapping[str, AdditiveCosts], limits: tuple[Constraint, ...]
        ) -> int | None:
            nonlocal passed_over
            with_far = self.program.with_far and self.verified is None  # nobody measures a front
            program = replace(self.program, costs={**self.costs, **extra}, with_far=with_far)
            near, looked_at, _ = program.best(scores, (*self.constraints, *limits), 1, within)
            passed_over |= bool(looked_at) and not near
            return near[0] if near else None

        found = sum_front(self.objective.sums, self.costs[cost], self.within[0], best)
        far = _far(found, self.program.latencies)
        return ObjectiveFront(answer=self, cost=cost, indices=found, far=far, passed_over=passed_over)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ObjectiveFront(NetworkRows):
    """Points of a Pareto front, `FRONT_POINTS` at most: networks with the largest objective at their cost.

    They are rows as in an `ObjectiveAnswer`, cheapest first; other points may lie between them. `indices`: canonical ones. `far`:
    those unlike any measured network. `passed_over`: whether of those that a program found all were, and none was taken.
    """

    answer: ObjectiveAnswer
    cost: str
    indices: tuple[int, ...]
    far: frozenset[int]
    passed_over: bool = False

    def row(self, index: int) -> Row:
        return self.answer.row_beside(index, self.far)

    @property
    def columns(self) -> list[str]:
        return self.answer.columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Program:
    """A space with its costs as sums: `is_open` (stages, B) are the blocks that may be chosen.

    `with_far`: networks unlike any measured one may be chosen, too.
    """

    config: SpaceConfig
    costs: Mapping[str, AdditiveCosts]
    latencies: Mapping[str, LatencySums]
    is_open: BoolArray
    confident: bool
    with_far: bool

    def best(
        self,
        scores: FloatArray,
        constraints: Sequence[Constraint],
        count: int,
        choose: Callable[..., Finalists],
    ) -> tuple[list[int], list[int], bool]:
        """Return up to `count` networks of the largest sums of scores (stages, B) within limits, each once, best first.

        With all names that were looked at for them, and whether there were more. `choose`: by `within`, or `choose` itself.
        """
        looked_at = count
        while True:
            found = choose(
                self.config,
                np.where(self.is_open, scores, np.nan),
                self.costs,
                constraints,
                looked_at,
                distance=1,
                confident=self.confident,
            ).indices(self.config)
            far = frozenset() if self.with_far else _far(found, self.latencies)
            near = _distinct(self.config, [index for index in found if index not in far])[:count]
            is_cut = len(found) == looked_at
            if len(near) == count or not is_cut or looked_at >= MOST_LOOKED_AT:
                return near, found, is_cut
            looked_at = min(WIDER * looked_at, MOST_LOOKED_AT)


def search_by_objective(
    store: Store,
    query: Query,
    objective: str | Mapping[str, float],
    count: int,
    log: Callable[[str], None] = lambda text: None,
) -> ObjectiveAnswer:
    """Return up to `count` networks of the largest objective within a query's limits; its accuracies are not read.

    `objective`: see `load_objective`. Networks unlike any measured one are left out, unless the query is `with_far`.
    Raises: ConfigError when no network is within the limits, with the nearest one and what it would take; too little is measured,
    or a limit is on what is no sum.
    """
    config = query_space(store, query.costs, query.latencies)
    costs, latencies = cost_sums(store, config, query.costs, query.latencies, log)
    goal = load_objective(objective, config)
    is_open = available(config)
    if not query.with_far:
        is_open &= ~unseen_blocks(config, latencies)
    program = _Program(
        config=config,
        costs=costs,
        latencies=latencies,
        is_open=is_open,
        confident=query.confident,
        with_far=query.with_far,
    )
    near, found, is_cut = program.best(goal.sums.blocks, query.constraints, count, choose)
    if not near:
        best = len(_distinct(config, found))
        raise ConfigError(
            f"the {counted(best, 'best network')} within the limits {agreeing(best, 'is', 'are')} unlike any measured one, and "
            "predicted latencies may be far off there; measure some of them with --verify, or more of the space"
        )
    passed_over = len(_distinct(config, found[: found.index(near[-1]) + 1])) - len(near)
    notes = _notes(latencies, not query.with_far, passed_over)
    if len(near) < count and is_cut:
        notes.append(
            f"the {counted(len(found), 'name of the largest sum is', 'names of the largest sums are')} of no more such "
            "networks; smaller sums were not looked at"
        )
    return ObjectiveAnswer(
        config=config,
        objective=goal,
        costs=costs,
        constraints=query.constraints,
        confident=query.confident,
        program=program,
        provenance={name: one.provenance for name, one in latencies.items()},
        notes=tuple(notes),
        within=tuple(near),
        far=_far(near, latencies),
    )


def source_text(index: int, amount: CostEstimate, far: frozenset[int]) -> str:
    """Return whether a network's cost is measured, predicted, or predicted far from all that was measured."""
    if amount.is_measured:
        return "measured"
    return "predicted, far" if index in far else "predicted"


def _distinct(config: SpaceConfig, indices: Sequence[int]) -> list[int]:
    """Return each network once, by the first of its names."""
    first: dict[int | bytes, int] = {}
    for index in indices:
        first.setdefault(network_key(config, index), index)
    return list(first.values())


def _far(indices: Sequence[int], latencies: Mapping[str, LatencySums]) -> frozenset[int]:
    """Return the networks that are neither measured nor like any measured one, on some device."""
    places = np.array(indices, dtype=np.int64)
    found: set[int] = set()
    for one in latencies.values():
        supported = one.fitted.predictor.predict(places).supported
        found |= {index for index in places[~supported].tolist() if not one.cost.at(index).is_measured}
    return frozenset(found)


def _notes(latencies: Mapping[str, LatencySums], is_left_out: bool, passed_over: int) -> list[str]:
    """Return notes on what is left out or doubtful."""
    notes = []
    for name, one in latencies.items():
        if is_left_out and (unseen := one.unseen_text):
            notes.append(
                f"{name}: {unseen}: networks with them are left out; --models design:1 measures each once, --verify the best"
            )
        if doubt := one.provenance.doubt_note:
            notes.append(f"{name}: {doubt}")
    if passed_over:
        notes.append(
            f"{counted(passed_over, 'better network')} passed over, unlike any that was measured; --verify takes them in and "
            "measures the best"
        )
    return notes
