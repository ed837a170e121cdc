"""A search query: accuracies, devices and limits, parsed from text."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from harness.estimates.sustained import Sustained, sustained
from harness.prediction.bench_files import latency_files
from harness.prediction.provenance import Provenance
from harness.query.accuracies import AccuracySource
from harness.query.cost_names import check_columns, meant_costs, stored_names
from harness.query.join import SearchTable, build_table, check_have_intervals, notes_on
from harness.query.latencies import LatencySource
from harness.store import Store
from search.table import Cost
from search.table.constraints import PROPERTIES, Constraint, check_contradictions, split_subject
from space.errors import ConfigError

MOST_UNDER_LOAD = 5  # of a configuration on a page
SHOWN_PROPERTIES = ("params", "macs", "memory")  # by arithmetic; sizes of files take an export


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """A search query: `costs` are the names of all columns to join, including those of the constraints.

    `confident`: the far end of each latency's interval must meet the limit. `with_far`: networks unlike any measured one count,
    for a search that measures its finalists.
    """

    accuracies: AccuracySource
    latencies: LatencySource
    costs: tuple[str, ...]
    constraints: tuple[Constraint, ...] = ()
    confident: bool = False
    with_far: bool = False

    @property
    def inputs(self) -> tuple[str | Path, ...]:
        """The files that are named to be read."""
        return (*self.accuracies.paths, *self.latencies.files)

    def meant(self, store: Store, name: str) -> list[str]:
        """Return the names of the columns that a cost means, see `meant_costs`. Raises: ConfigError, as that."""
        files = latency_files(self.latencies.files, allow_pickle=self.latencies.allow_pickle)
        return meant_costs(store, name, self.latencies.choice, files)

    def with_devices(self, store: Store) -> Query:
        """Return the query with the columns that its costs and limits mean, see `meant`. Raises: ConfigError, as that."""
        meant = {name: self.meant(store, name) for name in self.costs}
        limits = [replace(one, subject=name) for one in self.constraints for name in meant[one.subject]]
        check_contradictions(limits)
        costs = dict.fromkeys(name for names in meant.values() for name in names)
        check_columns(costs)
        return replace(
            self,
            costs=tuple(costs),
            constraints=tuple(dict.fromkeys(limits)),
        )

    def build_table(
        self,
        store: Store,
        log: Callable[[str], None] = lambda text: None,
        *,
        known: bool = False,
        spare: Collection[str] = (),
    ) -> SearchTable:
        """Join accuracies and costs; `log` takes messages on slow steps. `known`, `spare`: see `join.build_table`.

        Raises: ConfigError as `join.build_table`, or where a confidence is asked for that a latency's intervals do not have.
        """
        found = build_table(store, self.accuracies, self.costs, self.latencies, log, known=known, spare=spare)
        if self.confident:
            check_intervals(self, found.table.costs, found.provenance)
        if self.with_far:
            table = replace(found.table, with_far=True)
            found = replace(found, table=table, notes=tuple(notes_on(table, found.provenance)))
        return found

    def with_all_costs(self, store: Store) -> Query:
        """Return the query with `SHOWN_PROPERTIES` and, if it names no device, with all devices of the files and the store."""
        named = [name for name in self.costs if name not in PROPERTIES]
        if not named:
            named = list(latency_files(self.latencies.files, allow_pickle=self.latencies.allow_pickle))
            batch = self.latencies.choice.batch or 1
            stored = [
                name for name, c in stored_names(store, self.latencies.choice).items() if c.batch == batch
            ]
            named += [name for name in stored if name not in named]
        own = [name for name in self.costs if name in PROPERTIES]
        return replace(self, costs=tuple(dict.fromkeys([*named, *own, *SHOWN_PROPERTIES])))

    def build_page_table(
        self, store: Store, log: Callable[[str], None] = lambda text: None
    ) -> tuple[SearchTable, dict[str, float]]:
        """Join the table of a page, and return it with `upper_limits`.

        It has the costs that the query names, `SHOWN_PROPERTIES`, and all devices if it names none.
        Of a space too large to list it has the known networks only. A device that nobody named is left out with a note where
        nothing of it can be used. Raises: ConfigError as `build_table`, or for lower limits.
        """
        asked = self.with_devices(store)
        whole = asked.with_all_costs(store)
        limits = whole.upper_limits()
        found = whole.build_table(store, log, known=True, spare=frozenset(whole.costs) - set(asked.costs))
        return found, limits

    def upper_limits(self) -> dict[str, float]:
        """Return the upper limit of each cost, the tightest of several, as one that may be reached.

        Raises: ConfigError for a lower one.
        """
        limits: dict[str, float] = {}
        for limit in self.constraints:
            if not limit.is_upper:
                raise ConfigError(
                    f"--constraint {limit}: the page has upper limits only; leave it out here, or ask 'harness search'"
                )
            # Counts and bytes are whole numbers: below 3M is 2,999,999 at most.
            is_whole = limit.relation == "<" and limit.unit in ("", "bytes")
            most = ceil(limit.limit) - 1.0 if is_whole else limit.limit
            limits[limit.subject] = min(most, limits.get(limit.subject, most))
        return limits


def newest_runs(store: Store, provenance: Mapping[str, Provenance]) -> dict[str, tuple[Sustained, ...]]:
    """Return the newest runs under load of the configurations that latencies are of, oldest first, by the latency's name."""
    return {
        name: tuple(map(sustained, store.block_runs(one.configuration, "sustained")[-MOST_UNDER_LOAD:]))
        for name, one in provenance.items()
        if one.configuration is not None and not split_subject(name)[1]
    }


def check_intervals(query: Query, costs: Mapping[str, Cost], provenance: Mapping[str, Provenance]) -> None:
    """Raise ConfigError where a confidence is asked for that the intervals of a limited latency do not have."""
    check_have_intervals(query.constraints, costs, provenance)
    for constraint in query.constraints:
        cost = costs[constraint.subject]
        if cost.coverage is not None and cost.coverage < query.latencies.coverage:
            raise ConfigError(
                f"--confidence {query.latencies.coverage:g}: the intervals of {constraint.subject!r}, from a file, "
                f"hold with {cost.coverage:g}; give that, or search in the store"
            )
