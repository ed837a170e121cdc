"""Latencies of every network on a device, as a column of the search table: measured where they are, predicted elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.estimates.latency import Latency
from harness.prediction.cache import known_latencies, latency_key
from harness.prediction.provenance import Provenance
from harness.prediction.space_latencies import Intervals, SpaceLatencies, predicted_by, space_latencies
from harness.prediction.space_prediction import (
    MeasuredNetworks,
    SpaceTable,
    fit,
    graded_segments,
    load_measured,
    space_of,
    stored_provenance,
)
from harness.query.cost_names import check_confidence
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import ANY, ConfigurationChoice, title_of
from search.latency.candidates import FEWEST
from search.latency.model_selection import SelectedPredictor
from search.table import Cost, CostEstimate
from search.table.constraints import split_subject, unit_of
from space import find_space

SHOWN_COVERAGE = 0.95  # of intervals, where no confidence was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySource:
    """Where latencies come from: `files`, blox-bench-DEVICE, and for all other devices the store.

    `choice` narrows every stored device's configurations (its batch is 1 unless it is named); a file that is of another runtime,
    precision or batch, or of other threads, is refused. `coverage` is what intervals are to hold with; `doubtful` takes
    measurements of grade D in; `allow_pickle` reads .pickle files, too. `space`: the text that named the space of the choice.
    """

    choice: ConfigurationChoice = ANY
    measured_only: bool = False
    doubtful: bool = False
    coverage: float = SHOWN_COVERAGE
    files: tuple[Path, ...] = ()
    space: str = ""
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        check_confidence(self.coverage)
        if self.choice.space:
            find_space(self.choice.space)


def stored_latency(
    store: Store,
    name: str,
    configuration: Configuration,
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Cost, Provenance]:
    """Return the latencies of all networks: measured where they are, predicted elsewhere if enough are measured.

    Results computed before are read from the cache folder, see `harness.prediction.cache`; `log` is told if that cannot be
    written.
    """
    key = partial(
        latency_key,
        store,
        configuration,
        coverage=latencies.coverage,
        measured_only=latencies.measured_only,
        doubtful=latencies.doubtful,
    )
    compute = partial(computed_latencies, store, configuration, latencies)
    found = known_latencies(key, len(space_of(configuration)), compute, log)
    return measured_column(name, "latency", configuration, found, latencies.coverage)


def predicted_latency(table: SpaceTable, name: str) -> tuple[Cost, Provenance]:
    """Return the latencies of a table of predictions, with 95 % intervals; measurement conditions are unknown."""
    about = table.measured.provenance(table.doubtful)
    found = _everywhere(table.measured, table.predictor, SHOWN_COVERAGE, about)
    cost, provenance = measured_column(name, "latency", table.measured.configuration, found, SHOWN_COVERAGE)
    return cost, replace(provenance, prior=table.prior)


def measured_estimate(row: Latency) -> CostEstimate:
    """Return a measured latency as the cost of its network, in ms."""
    low, high = row.interval_ms or (np.nan, np.nan)
    return CostEstimate(value=row.latency_ms, low=low, high=high, grade=row.grade, is_measured=True)


def computed_latencies(
    store: Store, configuration: Configuration, latencies: LatencySource
) -> SpaceLatencies:
    """Return a configuration's latencies from its sessions, without the cache.

    Raises: ConfigError when no network is measured.
    """
    measured = load_measured(store, configuration, coverage=latencies.coverage, doubtful=latencies.doubtful)
    predictor: SelectedPredictor | None = None
    apart_segments = Doubtful()
    if not latencies.measured_only and len(measured.indices) >= FEWEST:
        segments, apart_segments = graded_segments(store, configuration, doubtful=latencies.doubtful)
        predictor = fit(measured, segments=segments)
    about = stored_provenance(store, measured, apart_segments)
    return _everywhere(measured, predictor, latencies.coverage, about)


def _everywhere(
    measured: MeasuredNetworks, predictor: SelectedPredictor | None, coverage: float, about: Provenance
) -> SpaceLatencies:
    """Return the latency of every network, measured where it is, else the predictor's, NaN without one."""
    config, rows = measured.config, measured.rows
    predicted, supported = None, None
    if predictor is not None:
        found = predictor.predict(np.arange(len(config)), coverage=coverage)
        values, low, high = measured.milliseconds(found, coverage)
        predicted, supported = Intervals(values=values, low=low, high=high), found.supported
    ends = np.array([row.interval_ms or (np.nan, np.nan) for row in rows])
    given = Intervals(values=np.array([row.latency_ms for row in rows]), low=ends[:, 0], high=ends[:, 1])
    return space_latencies(
        config,
        measured.indices,
        given,
        predicted,
        supported,
        failed=measured.failed,
        grades=[row.grade for row in rows],
        about=predicted_by(predictor, config, len(rows) + len(measured.failed), about),
    )


def measured_column(
    name: str, what: str, configuration: Configuration, found: SpaceLatencies, coverage: float
) -> tuple[Cost, Provenance]:
    """Return a configuration's latencies, or another cost that is measured, as a column of that name; `what` it is for people."""
    cost = Cost(
        name=name,
        unit=unit_of(name),
        title=f"{what} on {title_of(configuration)}",
        values=found.values,
        low=found.low,
        high=found.high,
        coverage=coverage,
        measured=found.measured,
        supported=found.supported,
        grades=None if split_subject(name)[1] else found.grades,
    )
    return cost, found.about.of(configuration)
