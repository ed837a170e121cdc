"""Costs of networks besides time: memory, load and first run in fresh processes, energy of an inference; predicted elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.estimates.energy import Energy, newest_energy, sensor_of
from harness.estimates.estimate import COVERAGE
from harness.estimates.findings import may_not_run
from harness.prediction.cache import key_of, known_latencies
from harness.prediction.failed_networks import failed_networks, failed_since
from harness.prediction.provenance import Provenance
from harness.prediction.space_latencies import (
    Intervals,
    SpaceLatencies,
    indices_of,
    predicted_by,
    space_latencies,
)
from harness.records import BlockRun, Configuration, FreshRun, of_last_model
from harness.store import Store
from harness.store.latencies import latencies
from search.latency.candidates import FEWEST
from search.latency.model_selection import SelectedPredictor, select_predictor
from search.table.constraints import FRESH
from search.table.table import NOT_MEASURED
from space import SpaceConfig
from space.hash_table import are_among
from space.indexing import FloatArray, IndexArray
from space.statistics import student
from space.text import counted

# Of the 95 % interval of a measured energy, relative, the median over networks: beyond, a sensor tells networks apart too poorly.
MOST_ENERGY_REACH = 0.1
# The standard deviation of a median over that of a mean: the square root of pi / 2, an upper bound for few values.
MEDIAN_SD = 1.2533
LEAST_SD = 1e-4  # relative: one page of 4 KiB among 40 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredCosts:
    """Measured costs of networks, each (n,): `values` in bytes, ms or mJ, NaN in `low` and `high` where there is no interval.

    `sds`: relative standard deviations of the values to fit by, None where nothing tells them. `fitted`, bool (n,): those that a
    predictor may be fitted to; none where the sensor tells too little. `what`: what was measured, for a title. `sensor`: of
    energies, what measured them all. `notes`: what is left out, and why. `failed`: networks that the device does not run, by
    name, with the kind of failure; they have no cost.
    """

    indices: IndexArray
    values: FloatArray
    low: FloatArray
    high: FloatArray
    sds: FloatArray | None
    fitted: np.ndarray[tuple[int], np.dtype[np.bool_]]
    measured_utc: str
    what: str
    sensor: str = ""
    notes: tuple[str, ...] = ()
    failed: Mapping[str, str] = field(default_factory=dict)

    def without(
        self, failed: Mapping[str, str], since: Mapping[str, str], config: SpaceConfig
    ) -> MeasuredCosts:
        """Return the costs without networks that `failed`, or failed `since` they ran and are not measured here."""
        kept = ~are_among(config, self.indices, indices_of(failed, config))
        known = are_among(config, indices_of(since, config), self.indices)
        gone = {
            name: kind for (name, kind), is_known in zip(since.items(), known, strict=True) if not is_known
        }
        columns: dict[str, Any] = {
            name: column[kept]
            for name in ("indices", "values", "low", "high", "sds", "fitted")
            if (column := getattr(self, name)) is not None
        }
        return replace(self, **columns, failed={**gone, **failed})

    def facts(self) -> dict[str, object]:
        """Return all that predictions depend on, as plain values."""
        columns = (self.indices, self.values, self.low, self.high, self.fitted)
        sds = None if self.sds is None else self.sds.tolist()
        told = {"sds": sds, "measured_utc": self.measured_utc, "failed": dict(self.failed)}
        return {"columns": [one.tolist() for one in columns], **told}


def unpredicted(fresh: str) -> str:
    """Return why unmeasured networks have no such cost, in brackets."""
    if not FRESH[fresh].is_predicted:
        return "(which is not predicted)"
    if fresh == "energy":
        return f"(predicted from {FEWEST} measured networks on whose sensor tells them to {MOST_ENERGY_REACH:.0%})"
    return f"(predicted from {FEWEST} measured networks on)"


def measured_costs(
    store: Store,
    configuration: Configuration,
    fresh: str,
    config: SpaceConfig,
    *,
    coverage: float,
    doubtful: bool = False,
) -> MeasuredCosts | None:
    """Return a configuration's measured costs of one of `search.table.constraints.FRESH`; None where none is measured.

    Intervals hold with this coverage. `doubtful`: with energies that are in part another program's.
    """
    if fresh == "energy":
        found = _energies(stored_energies(store, configuration, doubtful=doubtful), config, coverage)
    else:
        found = _of_processes(store.fresh_runs(configuration), fresh, config, coverage)
    if found is None:
        return None
    suspects = [
        network
        for network in store.session_counts(configuration)
        if any(map(may_not_run, store.sessions(configuration, [network])))
    ]
    rows = latencies(store, configuration, suspects)
    failed = failed_networks(store, configuration, config, rows, doubtful=doubtful)
    return found.without(failed, failed_since(store, configuration, config), config)


def all_measured_costs(
    store: Store,
    configuration: Configuration,
    config: SpaceConfig,
    *,
    coverage: float,
    doubtful: bool,
    failed: Mapping[str, str],
) -> dict[str, MeasuredCosts]:
    """Return `measured_costs` of each of `FRESH` of which any is measured; `failed` are known."""
    runs = store.fresh_runs(configuration)
    found = {fresh: _of_processes(runs, fresh, config, coverage) for fresh in FRESH if fresh != "energy"}
    found["energy"] = _energies(stored_energies(store, configuration, doubtful=doubtful), config, coverage)
    since = failed_since(store, configuration, config)
    return {fresh: one.without(failed, since, config) for fresh, one in found.items() if one is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEnergies:
    """Energies by the text of their network, all by one `sensor`: that of the newest.

    `busy`: the number of networks whose energy is left out because it includes another program's; `others`: by sensor, the number
    of networks that only other sensors measured, whose energies do not compare.
    """

    by_network: dict[str, Energy]
    sensor: str
    busy: int
    others: Mapping[str, int]


def stored_energies(store: Store, configuration: Configuration, *, doubtful: bool) -> StoredEnergies:
    """Return the newest energy of each network by one sensor; `doubtful`: with those that are in part another program's."""
    runs: dict[tuple[str, str], list[BlockRun]] = {}
    names: dict[str, str] = {}  # the first that each network was measured by
    for run in store.block_runs(configuration, "energy"):
        name = names.setdefault(run.graph_hash, run.architecture)
        runs.setdefault((name, sensor_of(run)), []).append(run)
    told = {key: energy for key, some in runs.items() if (energy := newest_energy(some))}
    kept = {key: energy for key, energy in told.items() if doubtful or not energy.is_doubtful}
    _, sensor = max(kept or told, key=lambda key: told[key].measured_utc, default=("", ""))
    networks = {name for name, by in told if by == sensor}
    elsewhere = {name: by for name, by in kept if name not in networks}
    energies = {name: energy for (name, by), energy in kept.items() if by == sensor}
    return StoredEnergies(
        by_network=energies,
        sensor=sensor,
        busy=len(networks) - len(energies),
        others=Counter(elsewhere.values()),
    )


def space_costs(
    measured: MeasuredCosts,
    fresh: str,
    config: SpaceConfig,
    *,
    coverage: float,
    measured_only: bool = False,
    log: Callable[[str], None] = lambda text: None,
) -> SpaceLatencies:
    """Return a cost of every network: measured where it is, predicted elsewhere if it adds up and enough is measured.

    What was predicted before of the same is taken from the cache folder; `log` is told where that cannot be written, and what is
    left out.
    """
    facts = {
        "fresh": fresh,
        "space": config.name,
        "coverage": coverage,
        "measured only": measured_only,
        "measured": measured.facts(),
    }
    key = key_of(facts)
    for note in measured.notes:
        log(note)
    is_enough = not measured_only and int(measured.fitted.sum()) >= FEWEST
    is_predicted = is_enough and FRESH[fresh].is_predicted
    found = known_latencies(
        lambda: key, len(config), lambda: _everywhere(measured, config, coverage, is_predicted), log
    )
    return replace(found, sensor=measured.sensor)


def _value(run: FreshRun, fresh: str) -> float | None:
    return {"memory": run.memory_bytes, "load": run.load_ns / 1e6, "first-run": run.first_run_ns / 1e6}[fresh]


def _of_processes(
    runs: Sequence[FreshRun], fresh: str, config: SpaceConfig, coverage: float
) -> MeasuredCosts | None:
    """Return medians over the processes of each network's last model, whose standard deviation is pooled over all networks.

    None where no process tells the cost.
    """
    stored: dict[str, list[FreshRun]] = {}
    for run in runs:
        stored.setdefault(run.graph_hash, []).append(run)
    names = {key: some[0].architecture for key, some in stored.items()}  # the first that each was measured by
    told = {key: [_value(run, fresh) for run in of_last_model(some)] for key, some in stored.items()}
    # No more than 0: memory that an empty process freed meanwhile.
    by_hash = {
        key: kept for key, some in told.items() if (kept := [value for value in some if value and value > 0])
    }
    if not by_hash:
        return None
    values = np.array([median(values) for values in by_hash.values()])
    counts = np.array([len(values) for values in by_hash.values()])
    groups = [np.log(values) for values in by_hash.values()]
    freedom = sum(len(group) - 1 for group in groups)
    sds, reach = None, np.full(len(values), np.nan)
    if freedom:
        squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
        sds = MEDIAN_SD * max(LEAST_SD, (squares / freedom) ** 0.5) / np.sqrt(counts)
        reach = student(freedom, coverage) * sds
    return MeasuredCosts(
        indices=indices_of([names[one] for one in by_hash], config),
        values=values,
        low=values * np.exp(-reach),
        high=values * np.exp(reach),
        sds=sds,
        fitted=np.ones(len(values), dtype=np.bool_),
        measured_utc=max(run.started_utc for run in runs),
        what="alone in a fresh process",
    )


def _energies(stored: StoredEnergies, config: SpaceConfig, coverage: float) -> MeasuredCosts | None:
    """Return the networks' energies, with errors to fit by pooled over them; None where there is none."""
    every = list(stored.by_network.values())
    if not every:
        return None
    newest = max(every, key=lambda energy: energy.measured_utc)
    values = np.array([one.total.value for one in every])
    reach = np.array([one.total.high - one.total.value for one in every])
    turns = np.array([one.cycles for one in every])
    errors = reach / student(turns - 1, COVERAGE)
    is_real = values > 0
    is_told = bool(is_real.any()) and np.median(reach[is_real] / values[is_real]) <= MOST_ENERGY_REACH
    pooled = float(np.sqrt(np.mean((errors[is_real] / values[is_real]) ** 2))) if is_told else np.nan
    at_coverage = errors * student(turns - 1, coverage)
    others = ", ".join(f"{counted(count, 'network')} by {name}" for name, count in stored.others.items())
    notes = []
    if others:
        notes.append(
            f"energy by {stored.sensor}; left out, for another sensor's does not compare: {others}; --energy --fresh "
            "measures anew"
        )
    if stored.busy:
        notes.append(
            f"energy of {counted(stored.busy, 'network')} left out, in part another program's: other cores were busy, or nothing "
            "tells whether they were; --energy --fresh measures anew, --doubtful takes them in"
        )
    return MeasuredCosts(
        indices=indices_of(stored.by_network, config),
        values=values,
        low=values - at_coverage,
        high=values + at_coverage,
        sds=np.full(len(every), max(LEAST_SD, pooled)) if is_told else None,
        fitted=is_real & is_told,
        measured_utc=newest.measured_utc,
        what=f"of an inference by {newest.sensor}; {newest.scope}",
        sensor=newest.sensor,
        notes=tuple(notes),
    )


def _everywhere(
    measured: MeasuredCosts, config: SpaceConfig, coverage: float, is_predicted: bool
) -> SpaceLatencies:
    """Return the cost of every network: measured where it is, else the predictor's, NaN without one."""
    predictor, predicted, supported = None, None, None
    if is_predicted:
        predictor, unit = _fit(measured, config)
        found = predictor.predict(np.arange(len(config)), coverage=coverage)
        predicted = Intervals(values=unit * found.ratios, low=unit * found.low, high=unit * found.high)
        supported = found.supported
    count = len(measured.indices)
    doubtful = Doubtful(failed=measured.failed)
    about = Provenance(measured=count, measured_utc=measured.measured_utc, doubtful=doubtful)
    given = Intervals(values=measured.values, low=measured.low, high=measured.high)
    return space_latencies(
        *(config, measured.indices, given, predicted, supported),
        failed=indices_of(measured.failed, config),
        grades=[NOT_MEASURED] * count,
        about=predicted_by(predictor, config, count + len(measured.failed), about),
    )


def _fit(measured: MeasuredCosts, config: SpaceConfig) -> tuple[SelectedPredictor, float]:
    """Return the best of the latency predictors, fitted to the cost over its median, and that median."""
    chosen = measured.fitted
    values = measured.values[chosen]
    unit = float(np.median(values))
    sds = None if measured.sds is None else measured.sds[chosen]
    return select_predictor(measured.indices[chosen], values / unit, sds=sds, config=config), unit
