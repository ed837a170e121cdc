"""What a network takes alone in a fresh process, and the energy of an inference, as columns of the search table."""

from __future__ import annotations

from collections.abc import Callable

from harness.prediction.fresh_costs import TITLES, measured_costs, space_costs, stored_energies
from harness.prediction.provenance import Provenance, provenance_of
from harness.prediction.space_prediction import space_of
from harness.query.latencies import LatencySource
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import measure_command
from search.table import Cost
from search.table.constraints import FRESH, split_subject
from space.errors import ConfigError


def fresh_cost(
    store: Store,
    name: str,
    configuration: Configuration,
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Cost, Provenance]:
    """Return one of `FRESH` of every network, in bytes, ms or mJ: measured, or of memory and energy predicted.

    Energy that is in part another program's counts with --doubtful alone. Raises: ConfigError where nothing is measured.
    """
    fresh, coverage = split_subject(name)[1], latencies.coverage
    config = space_of(configuration)
    measured = measured_costs(
        store, configuration, fresh, config, coverage=coverage, doubtful=latencies.doubtful
    )
    if measured is None:
        raise ConfigError(_nothing(store, name, fresh, configuration))
    log(f"{name}: {TITLES[fresh]} of every network, measured or predicted")
    found = space_costs(
        measured, fresh, config, coverage=coverage, measured_only=latencies.measured_only, log=log
    )
    cost = Cost(
        name=name,
        unit=FRESH[fresh],
        title=f"{TITLES[fresh]} {measured.what} on {configuration.device} ({configuration.runtime})",
        values=found.values,
        low=found.low,
        high=found.high,
        coverage=coverage,
        measured=found.measured,
        supported=found.supported,
    )
    return cost, provenance_of(configuration, found.about)


def _nothing(store: Store, name: str, fresh: str, configuration: Configuration) -> str:
    """Return what is said where none of such a cost is measured, with the command that measures it."""
    busy = stored_energies(store, configuration, doubtful=False).busy if fresh == "energy" else 0
    left_out = f" ({busy} measured while other cores were busy: --doubtful takes them in)" if busy else ""
    option = "--energy" if fresh == "energy" else "--memory"
    return (
        f"{name}: no {TITLES[fresh]} is measured on device {configuration.device!r} in {configuration.runtime}{left_out}; "
        f"measure it: {measure_command(configuration)} {option} --models design:1"
    )
