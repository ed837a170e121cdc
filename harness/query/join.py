"""The table that a search reads: accuracies, properties and latencies of every network of a space, joined."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence, Sized
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.dataframe import Tabular
from harness.models.names import listed
from harness.prediction.bench_files import file_latency, latency_files
from harness.prediction.fresh_costs import unpredicted
from harness.prediction.provenance import Provenance
from harness.prediction.space_prediction import SpaceTable, predict_space, space_of
from harness.query.accuracies import (
    SYNTHETIC_SOURCE,
    AccuracySource,
    architectures_in,
    is_unpublished,
    load,
    precision_text,
    source_of_table,
)
from harness.query.cost_names import check_columns
from harness.query.costs import cost_columns, joined_columns, stored_cost, table_cost, unusable
from harness.query.known_networks import known_table
from harness.query.latencies import SHOWN_COVERAGE, LatencySource, predicted_latency
from harness.query.rows import Row, network_columns, network_row
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration, measure_command, other_spaces_told, short_names
from search.latency.candidates import FEWEST, enough_models
from search.table import Cost, NetworkTable
from search.table.constraints import FRESH, PROPERTIES, Constraint, split_subject
from space import BLOX, SPACES, Architecture, Space, SpaceConfig, check_enumerable, find_space, is_enumerable
from space.accuracies import Accuracies
from space.accuracies.epochs import BEST
from space.accuracies.load import fitting_spaces
from space.errors import ConfigError, did_you_mean, shown
from space.hash_table import is_first
from space.indexing import BoolArray
from space.lookup import Named
from space.text import agreeing, counted

TABLE = "a table of accuracies and costs"
WITHOUT_TABLE = "harness search --objective and --method blockwise find networks in it without a table"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class SearchTable(Tabular):
    """Accuracy and costs of every network, the provenance of each latency by its name, and what is missing or doubtful."""

    table: NetworkTable
    provenance: Mapping[str, Provenance]
    notes: tuple[str, ...]

    def to_records(self) -> tuple[list[Row], Sequence[str]]:
        """Return all networks in canonical order, rows as in a `SearchAnswer`, and the columns."""
        return [network_row(self.table, place) for place in range(len(self.table))], network_columns(
            self.table
        )

    def head(self, count: int) -> tuple[list[Row], int]:
        every = range(len(self.table))
        return [network_row(self.table, place) for place in every[:count]], len(every)


# Accuracies as a caller from Python has them: files, loaded ones, percent by network, or a table.
GivenAccuracies = str | Path | Sequence[str | Path] | Accuracies | Mapping[Named, float] | Sized


def join(
    accuracies: GivenAccuracies,
    latencies: SpaceTable
    | str
    | Path
    | Mapping[str, SpaceTable | str | Path]
    | Iterable[SpaceTable | str | Path] = (),
    *,
    costs: str | Iterable[str] = ("params", "macs", "memory"),
    metric: str = "",
    epoch: str = "best",
    space: str | Path | Space = "blox",
) -> SearchTable:
    """Join accuracies with latencies and other costs of every network of a space, to search in.

    - `accuracies`: "synthetic", or files that `harness search --accuracies` takes; percent by network, as a mapping or a
      pandas Series; a table of pandas, Polars or Arrow with the columns of such a file; or what
      `space.accuracies.load_accuracies` returned.
    - `latencies`: tables of `predict`, or blox-bench files, one or several; a mapping gives them the names that limits use,
      else these are their devices' names.
    - `costs`: "params", "macs", "memory", "onnx-size", "tflite-size"; and what a table of `predict` has besides latencies,
      such as "pixel:memory" or "pixel:energy", with 90 % intervals.
    - `metric` and `epoch`: which of the accuracies, as for `harness search`; `load_accuracies` has chosen already.
    - `space`: that of accuracies where no table of `predict` names it.

    Raises: ConfigError, naming what is missing or is of another space, and what to do about it.

    >>> table = join("synthetic", costs=["params"])
    >>> list(table.table.costs), len(table.table.config)
    (['params'], 91125)
    """
    if (
        isinstance(latencies, SpaceTable | str)
        or not isinstance(latencies, Iterable)
        or hasattr(latencies, "columns")
    ):
        latencies = [latencies]  # type: ignore[list-item]  # a data frame, say, which is refused below
    several = latencies if isinstance(latencies, Mapping) else dict(enumerate(latencies))
    for one in several.values():
        if not isinstance(one, SpaceTable | str | Path):
            raise ConfigError(
                f"latencies: {type(one).__name__} is no latencies of every network; give tables of harness.predict, or "
                "blox-bench files"
            )
        if isinstance(one, str) and one == Path(one).stem and not Path(one).exists():
            raise ConfigError(
                f"latencies: there is no file {one!r}; of a device give harness.predict(store, device={one!r})"
            )
    named = latencies if isinstance(latencies, Mapping) else _by_device([*several.values()])
    costs = [costs] if isinstance(costs, str) else list(costs or ())
    tables = {name: one for name, one in named.items() if isinstance(one, SpaceTable)}
    fresh = {f"{name}:{cost}": table for name, table in tables.items() for cost in table.costs}
    for name in costs:
        if name not in PROPERTIES and name not in fresh:
            known = [*PROPERTIES, *fresh]
            raise ConfigError(
                f"costs: {name!r} is unknown{did_you_mean(name, known)} (known: {', '.join(known)})"
            )
    if taken := [
        name
        for name in named
        if not isinstance(name, str) or not name or name in PROPERTIES or split_subject(name)[1]
    ]:
        raise ConfigError(
            f"latencies: {taken[0]!r} is a property of networks, or no name; name the device's latencies otherwise"
        )
    check_columns(named)
    predicted = {table.measured.configuration for table in tables.values()}
    own = accuracies.config if isinstance(accuracies, Accuracies) else find_space(space)
    config = _space(list(predicted)) if predicted else own
    check_enumerable(config, TABLE, WITHOUT_TABLE)
    found = load(accuracies_of(accuracies, metric, epoch, config), config)
    measured = {
        name: predicted_latency(one, name)
        if isinstance(one, SpaceTable)
        else file_latency(Path(one), name, config)
        for name, one in named.items()
    }
    measured |= {name: table_cost(fresh[name], name) for name in costs if name in fresh}
    return _joined(config, found, *joined_columns(config, [*named, *costs], measured))


def accuracies_of(
    accuracies: Any, metric: str, epoch: str, space: str | Path | SpaceConfig
) -> AccuracySource:
    """Return the source of the accuracies that a caller from Python gives, see `join`. Raises: ConfigError."""
    if isinstance(accuracies, Accuracies):
        if metric not in ("", accuracies.metric) or epoch not in (BEST, accuracies.epoch):
            raise ConfigError(
                f"metric {metric or accuracies.metric!r}, epoch {epoch!r}: the accuracies are loaded, as {accuracies.label}; "
                "choose both in load_accuracies"
            )
        return AccuracySource(paths=(), loaded=accuracies)
    if isinstance(space, SpaceConfig):
        listed(architectures_in(accuracies), space)
    held = source_of_table(accuracies, metric)
    if held is None:
        if not isinstance(accuracies, Path | Iterable):
            raise ConfigError(
                f"accuracies = {shown(accuracies)}: give files, percent by network, a table, or 'synthetic'"
            )
        paths = [accuracies] if isinstance(accuracies, str | Path) else list(accuracies)
        return AccuracySource(paths=tuple(map(str, paths)), metric=metric, epoch=epoch)
    if epoch != BEST:
        raise ConfigError(f"epoch {epoch!r}: a table has one value a row; leave the epoch out")
    return held


def build_table(
    store: Store,
    accuracies: AccuracySource,
    costs: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
    *,
    known: bool = False,
    spare: Collection[str] = (),
) -> SearchTable:
    """Join accuracies with costs: names of `search.table.constraints.PROPERTIES`, else devices of the store.

    A device is `pixel`, `pixel:tflite`, a configuration's id, or the device that a file of latencies names; with `:memory`,
    `:load` or `:first-run` behind it, what fresh processes there took, with `:energy` the energy of an inference. `log` takes
    notes on slow steps. `known`: of a space too large to list the table is of the networks that `known_table` has. `spare`:
    devices without which the table is made where nothing of them can be used; a note says why.
    Raises: ConfigError, naming what is missing and what to type.
    """
    files = latency_files(latencies.files, allow_pickle=latencies.allow_pickle)
    fitting, named = _fitting_spaces(accuracies, [*files.values()]), latencies.choice.space
    if len(fitting) == 1 and not named:
        latencies = replace(latencies, choice=replace(latencies.choice, space=fitting[0].name))
    stored = [name for name in costs if name not in files]
    config = query_space(store, stored, latencies, fitting)
    left_out = unusable(store, config, [name for name in stored if name in spare], latencies)
    costs = [name for name in costs if name not in left_out]
    if known and not is_enumerable(config):
        if left_out and not accuracies.paths and set(costs) <= PROPERTIES.keys():
            raise ConfigError("; ".join(left_out.values()))  # why nothing is known
        table, provenance, notes = known_table(store, config, accuracies, costs, latencies, log)
        notes += _left_out(left_out)
        return SearchTable(table=table, provenance=provenance, notes=tuple(notes))
    check_enumerable(config, TABLE, WITHOUT_TABLE)
    with other_spaces_told(store, config.name, named):
        found = load(accuracies, config)
    joined = _joined(config, found, *cost_columns(store, config, costs, latencies, log))
    return replace(joined, notes=(*joined.notes, *_left_out(left_out)))


def _left_out(names: Mapping[str, str]) -> list[str]:
    return [f"left out: {why}" for why in names.values()]


def _too_few(one: Provenance) -> str:
    """Return why latencies of a store are not predicted where too few are measured, and the remedy."""
    if one.configuration is None or one.measured >= FEWEST:
        return ""
    return (
        f" (predicted from {FEWEST} measured networks on); measure more: {measure_command(one.configuration)} --models "
        f"{enough_models(space_of(one.configuration))}"
    )


def renewed(found: SearchTable, store: Store) -> SearchTable:
    """Return a table with what was measured, and what is predicted from it, as a store has it by now; all else stays."""
    table = found.table
    columns = {
        name: _anew(store, name, one, one.configuration, table.costs[name].coverage or SHOWN_COVERAGE)
        for name, one in found.provenance.items()
        if one.configuration is not None
    }
    costs, provenance = joined_columns(table.config, list(columns), columns)
    table, provenance = replace(table, costs={**table.costs, **costs}), {**found.provenance, **provenance}
    return SearchTable(table=table, provenance=provenance, notes=tuple(notes_on(table, provenance)))


def _anew(
    store: Store, name: str, before: Provenance, configuration: Configuration, coverage: float
) -> tuple[Cost, Provenance]:
    """Return a column of a configuration as the store has it by now, computed as `before`."""
    doubtful = before.doubtful.taken
    if before.prior is not None:
        return predicted_latency(predict_space(store, configuration, before.prior, doubtful=doubtful), name)
    only = before.predictor is None
    source = LatencySource(coverage=coverage, measured_only=only, doubtful=doubtful)
    return stored_cost(store, name, configuration, source)


def check_have_intervals(
    constraints: Sequence[Constraint], costs: Mapping[str, Cost], provenance: Mapping[str, Provenance]
) -> None:
    """Raise ConfigError where the far ends of intervals must meet a limit on latencies that have none."""
    for name in (one.subject for one in constraints):
        if name in provenance and name in costs and costs[name].low is None:
            raise ConfigError(
                f"--confidence: the latencies of {name!r} have no intervals: leave it out (confident=False in "
                "Python)"
            )


def notes_on(table: NetworkTable, provenance: Mapping[str, Provenance]) -> list[str]:
    """Return notes on everything that is missing or doubtful in a table."""
    accuracy, distinct = table.accuracy, is_first(table.config)
    count = int(distinct.sum())
    missing = int((np.isnan(accuracy.values) & distinct).sum())
    notes = []
    if again := int((~distinct).sum()):
        notes.append(
            f"{again:,} of {len(distinct):,} names {agreeing(again, 'is of a network that has', 'are of networks that have')} an "
            "earlier one, by which each is found"
        )
    if missing:
        notes.append(
            f"{missing:,} of {count:,} networks {agreeing(missing, 'has', 'have')} no {accuracy.label} and cannot be found"
        )
    notes += accuracy.notes
    for name, one in provenance.items():
        cost, fresh = table.costs[name], split_subject(name)[1]
        is_known = ~np.isnan(cost.values)  # of those that failed a note tells
        is_like = np.ones(len(table), dtype=np.bool_) if cost.supported is None else cost.supported
        of_cost = []
        if unknown := int((~is_known & is_like & distinct).sum()):
            what = FRESH[fresh].title if fresh else "latency"
            of_cost.append(
                f"{unknown:,} of {count:,} networks {agreeing(unknown, 'has', 'have')} no {what}, measured or predicted, and "
                f"{agreeing(unknown, 'meets', 'meet')} no constraint on it"
                + (
                    f" {unpredicted(fresh)}; measure more: harness measure {FRESH[fresh].option}"
                    if fresh
                    else _too_few(one)
                )
            )
        if far := np.flatnonzero(is_known & ~is_like & distinct).tolist():
            remedy = "--verify takes them in and measures the best"
            if one.configuration is None:
                remedy = "measure more of the space, and write the file again"
            way = "taken in" if table.with_far else f"left out; {remedy}"
            of_cost.append(
                f"{len(far):,} of {count:,} networks {agreeing(len(far), 'is', 'are')} unlike any that was measured, such as "
                f"{Architecture.from_index(far[0], table.config)}: {way}"
            )
        of_cost += [said for said in (precision_text(accuracy, one.precision), one.doubt_note) if said]
        of_cost += _interval_notes(cost, one, distinct, "processes" if fresh else "slices")
        notes += [f"{name}: {note}" for note in of_cost]
    return notes


def _interval_notes(cost: Cost, one: Provenance, distinct: BoolArray, too_few: str) -> list[str]:
    """Return notes on intervals that a cost has not, for want of a sidecar, of slices or processes, or of networks."""
    if cost.high is None:
        return [f"{one.origin} has no intervals (no sidecar .json)"]
    notes = []
    if bare := int((np.isnan(cost.high) & ~np.isnan(cost.values) & distinct).sum()):
        notes.append(
            f"{counted(bare, 'measured network has', 'measured networks have')} too few {too_few} for an interval"
        )
    if np.isinf(cost.high).any():
        notes.append(
            f"{counted(one.measured, 'measured network is', 'measured networks are')} too few for intervals of "
            f"{cost.coverage:.0%}: predicted latencies have no "
            "upper bound there; measure more, or ask for less"
        )
    return notes


def _space(configurations: Sequence[Configuration]) -> SpaceConfig:
    spaces = {configuration.space: configuration for configuration in configurations}
    if len(spaces) > 1:
        named = " and ".join(f"{c.device!r} of {space!r}" for space, c in spaces.items())
        raise ConfigError(
            f"devices of different spaces cannot be joined: {named}; name devices of one space, e.g. by --space "
            f"{next(iter(spaces))}"
        )
    return space_of(configurations[0]) if configurations else BLOX


def _fitting_spaces(accuracies: AccuracySource, latencies: Sequence[Path]) -> list[SpaceConfig]:
    """Return the spaces that the files of a query can be of; what has no header tells of none."""
    files = [
        path
        for path in accuracies.paths
        if accuracies.is_of_files and not SYNTHETIC_SOURCE.fullmatch(path) and not is_unpublished(path)
    ]
    return (
        fitting_spaces([*files, *latencies], allow_pickle=True)
        if files or latencies
        else list(SPACES.values())
    )


def query_space(
    store: Store, costs: Sequence[str], latencies: LatencySource, fitting: Sequence[SpaceConfig] = ()
) -> SpaceConfig:
    """Return the space of the stored devices among the costs, else the one that was named, else that of the files.

    Raises: ConfigError where devices are of different spaces, or the files of one other than Blox that has equals.
    """
    configurations = [
        find_configuration(store, split_subject(name)[0], latencies.choice)
        for name in dict.fromkeys(costs)
        if name not in PROPERTIES
    ]
    if configurations or latencies.choice.space:
        return _space(configurations) if configurations else find_space(latencies.choice.space)
    if BLOX in fitting or not fitting:  # what fits none is refused by its reader
        return BLOX
    if len(fitting) > 1:
        names = [config.name for config in fitting]
        raise ConfigError(
            f"the files can be of space {' or '.join(names)}, which they do not tell apart; name it: --space {names[-1]}"
        )
    return fitting[0]


def _joined(
    config: SpaceConfig,
    accuracies: Sequence[Accuracies],
    costs: Mapping[str, Cost],
    provenance: Mapping[str, Provenance],
) -> SearchTable:
    table = NetworkTable(config=config, accuracy=accuracies[0], costs=costs, shown=tuple(accuracies[1:]))
    distinct = is_first(config)
    if not distinct.all():  # a network of several names is found once, by the first
        first, *shown = (replace(one, values=np.where(distinct, one.values, np.nan)) for one in accuracies)
        table = replace(table, accuracy=first, shown=tuple(shown))
    return SearchTable(table=table, provenance=provenance, notes=tuple(notes_on(table, provenance)))


def _by_device(
    latencies: Sequence[SpaceTable | str | Path],
) -> dict[str, SpaceTable | str | Path]:
    """Return latencies by their devices' names, with runtime or precision where a device has several."""
    named: dict[str, SpaceTable | str | Path] = dict(
        latency_files([Path(one) for one in latencies if not isinstance(one, SpaceTable)])
    )
    tables = [one for one in latencies if isinstance(one, SpaceTable)]
    for one, name in zip(tables, short_names([t.measured.configuration for t in tables], named), strict=True):
        if name in named:
            device = one.measured.configuration.device
            raise ConfigError(f"several latencies of {device!r}; name them: latencies={{'NAME': table, ...}}")
        named[name] = one
    return named
