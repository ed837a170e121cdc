"""Costs of every network of a listed space, as columns of the search table: latencies, fresh processes, energy, properties."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from harness.prediction.bench_files import file_latency, latency_files
from harness.prediction.fresh_costs import measured_costs, space_costs, stored_energies
from harness.prediction.provenance import Provenance
from harness.prediction.space_latencies import of_equals
from harness.prediction.space_prediction import SpaceTable, check_enough, measured_networks, space_of
from harness.query.latencies import LatencySource, measured_column, stored_latency
from harness.query.properties import property_cost, size_precision
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration, measure_command
from search.latency.candidates import enough_models
from search.latency.model_selection import COVERAGE as PREDICTED_COVERAGE
from search.table import Cost
from search.table.constraints import FRESH, PROPERTIES, split_subject
from space import SpaceConfig, is_enumerable
from space.errors import ConfigError
from space.hash_table import first_equals


def cost_columns(
    store: Store,
    config: SpaceConfig,
    names: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Cost], dict[str, Provenance]]:
    """Return the costs of every network in the order of their names, and the provenance of those that are measured.

    A name is one of `search.table.constraints.PROPERTIES`, the device of a file of latencies, or a device of the store, see
    `find_configuration`; a device with one of `FRESH` behind it is that cost of a fresh process or an inference. `log` takes
    notes on slow steps.
    Raises: ConfigError, naming what is missing and what to type.
    """
    files = latency_files(latencies.files, allow_pickle=latencies.allow_pickle)
    found: dict[str, tuple[Cost, Provenance]] = {}
    for name in dict.fromkeys(name for name in names if name not in PROPERTIES):
        if name in files:
            found[name] = file_latency(
                files[name],
                name,
                config,
                choice=latencies.choice,
                measured_only=latencies.measured_only,
                doubtful=latencies.doubtful,
                allow_pickle=latencies.allow_pickle,
            )
        else:
            configuration = configuration_in(store, config, name, latencies)
            found[name] = stored_cost(store, name, configuration, latencies, log)
    return joined_columns(config, names, found, latencies.choice.precision, log)


def unusable(
    store: Store, config: SpaceConfig, names: Sequence[str], latencies: LatencySource
) -> dict[str, str]:
    """Return the stored devices among names of latencies of which nothing can be used, each with the reason.

    What can be used is computed here, and read from the cache afterwards. Of a space too large to list a predictor is needed.
    """
    found = {}
    for name in (name for name in names if name not in PROPERTIES):
        configuration = configuration_in(store, config, name, latencies)
        try:
            if is_enumerable(config):
                stored_latency(store, name, configuration, latencies)
            else:
                check_enough(measured_networks(store, configuration, config, doubtful=latencies.doubtful))
        except ConfigError as error:
            found[name] = str(error)
    return found


def joined_columns(
    config: SpaceConfig,
    names: Sequence[str],
    measured: Mapping[str, tuple[Cost, Provenance]],
    precision: str = "",
    log: Callable[[str], None] = lambda text: None,
) -> tuple[dict[str, Cost], dict[str, Provenance]]:
    """Return measured costs and properties in the order of their names, and the provenance of the measured ones.

    What was measured of a network counts for all its names; sizes are of files in the `precision` of the latencies.
    """
    provenance = {name: one for name, (_, one) in measured.items()}
    size = size_precision(names, precision, provenance.values())
    first = first_equals(config)
    columns = {
        name: of_equals(measured[name][0], first)
        if name in measured
        else property_cost(name, config, log, size)
        for name in dict.fromkeys(names)
    }
    return columns, provenance


def configuration_in(store: Store, config: SpaceConfig, name: str, latencies: LatencySource) -> Configuration:
    """Return the stored configuration that a cost's name means in a space. Raises: ConfigError as `find_configuration`."""
    choice = replace(latencies.choice, space=config.name)
    return find_configuration(store, split_subject(name)[0], choice)


def stored_cost(
    store: Store,
    name: str,
    configuration: Configuration,
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Cost, Provenance]:
    """Return the latencies of a stored configuration, or what the name has behind it, as `stored_latency` and `fresh_cost`."""
    if split_subject(name)[1]:
        return fresh_cost(store, name, configuration, latencies, log)
    return stored_latency(store, name, configuration, latencies, log)


def fresh_cost(
    store: Store,
    name: str,
    configuration: Configuration,
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Cost, Provenance]:
    """Return one of `FRESH` of every network, in bytes, ms or mJ: measured, or predicted for memory and energy.

    Energy that includes another program's counts only with --doubtful. Raises: ConfigError where nothing is measured.
    """
    fresh, coverage = split_subject(name)[1], latencies.coverage
    config = space_of(configuration)
    measured = measured_costs(
        store, configuration, fresh, config, coverage=coverage, doubtful=latencies.doubtful
    )
    if measured is None:
        raise ConfigError(_nothing(store, name, fresh, configuration))
    found = space_costs(
        measured, fresh, config, coverage=coverage, measured_only=latencies.measured_only, log=log
    )
    return measured_column(name, f"{FRESH[fresh].title} {measured.what}", configuration, found, coverage)


def table_cost(table: SpaceTable, name: str) -> tuple[Cost, Provenance]:
    """Return one of the `costs` of a table of predictions, DEVICE:COST by name, as `fresh_cost` does."""
    fresh = split_subject(name)[1]
    configuration = table.measured.configuration
    return measured_column(name, FRESH[fresh].title, configuration, table.costs[fresh], PREDICTED_COVERAGE)


def _nothing(store: Store, name: str, fresh: str, configuration: Configuration) -> str:
    """Return the message that no such cost is measured, with the command that measures it."""
    busy = stored_energies(store, configuration, doubtful=False).busy if fresh == "energy" else 0
    left_out = (
        f" ({busy} measured while other cores were busy, or may have been: --doubtful takes them in)"
        if busy
        else ""
    )
    if fresh == "memory" and store.fresh_runs(configuration):
        left_out = (
            " (its system lets no peak begin anew, which would hold what putting the model together took)"
        )
    models = enough_models(space_of(configuration))
    return (
        f"{name}: no {FRESH[fresh].title} is measured on device {configuration.device!r} in {configuration.runtime}{left_out}; "
        f"measure it: {measure_command(configuration)} {FRESH[fresh].option} --models {models}"
    )
