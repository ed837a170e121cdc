"""A search's answer: the networks within the limits, most accurate first, as rows of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from harness.prediction.provenance import Provenance
from harness.query.join import SearchTable
from harness.query.rows import NetworkRows, Row, network_columns, network_row
from search.methods.method import Trace
from search.table import Cost
from search.table.answers import Answer
from search.table.constraints import allowed
from search.table.pareto import Front, pareto_front
from space import Architecture, SpaceConfig
from space.indexing import IndexArray


class _TableRows(NetworkRows):
    """Some networks of a table with accuracies."""

    __slots__ = ()

    table: SearchTable

    def row(self, index: int) -> Row:
        return network_row(self.table.table, index)

    @property
    def columns(self) -> list[str]:
        return network_columns(self.table.table)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class ParetoFront(_TableRows):
    """Non-dominated networks within the limits, cheapest first, each a row as in a `SearchAnswer`."""

    table: SearchTable
    front: Front

    @property
    def hypervolume(self) -> float:
        """The dominated share of the box between the best and the worst values of all networks within the limits."""
        return self.front.hypervolume

    @property
    def indices(self) -> IndexArray:
        return self.front.indices


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SearchAnswer(_TableRows):
    """Networks within the limits, most accurate first, each a row: accuracies in percent, latencies in ms, sizes in bytes.

    `trace`: the evaluations of a method that evaluates only some networks. `verified`: canonical indices of the networks measured
    after the search; if any of these is within the limits, the rows are of these only, else not of networks unlike any measured
    one, where there are others.
    """

    table: SearchTable
    answer: Answer
    trace: Trace | None = None
    verified: frozenset[int] | None = None

    @property
    def indices(self) -> IndexArray:
        """The canonical index of each row's network."""
        ranked = self.answer.ranked
        if self.verified is None:
            return ranked
        measured = ranked[np.isin(ranked, list(self.verified))]
        if len(measured):
            return measured
        near = ranked[replace(self.table.table, with_far=False).supported[ranked]]
        return near if len(near) else ranked

    @property
    def config(self) -> SpaceConfig:
        """The space."""
        return self.table.table.config

    @property
    def provenance(self) -> Mapping[str, Provenance]:
        """The provenance of each latency by its name."""
        return self.table.provenance

    @property
    def costs(self) -> Mapping[str, Cost]:
        """The table's costs, network by network."""
        return self.table.table.costs

    @property
    def within(self) -> list[int]:
        """All networks within the limits, measured after the search or not, best first."""
        found: list[int] = self.answer.ranked.tolist()
        return found

    def is_within(self, index: int) -> bool:
        """Return whether a network is within the limits."""
        return bool((self.answer.ranked == index).any())

    @property
    def best(self) -> Architecture:
        """The most accurate network within the limits."""
        return Architecture.from_index(int(self.indices[0]), self.table.table.config)

    def front(self, costs: str | Sequence[str]) -> ParetoFront:
        """Return the Pareto front over accuracy and one or several of the table's costs, of all networks within the limits.

        Of a method that evaluates only some networks it is of these. Networks unlike any measured one are left out.
        Raises: ConfigError when the table has no such cost.
        """
        table = replace(self.table.table, with_far=False)
        mask = allowed(table, self.answer.constraints, confident=self.answer.confident)
        if self.trace is not None:
            mask &= np.isin(np.arange(len(mask)), self.trace.indices)
        named = [costs] if isinstance(costs, str) else costs
        return ParetoFront(table=self.table, front=pareto_front(table, named, mask))
