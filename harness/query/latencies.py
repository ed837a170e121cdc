"""Latencies of every network on a device, as a column of the search table: measured where they are, predicted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.estimates.latency import Latency
from harness.prediction.cache import known_latencies, latency_key
from harness.prediction.provenance import Provenance, facts_of, measured_facts, provenance_of
from harness.prediction.space_latencies import Intervals, SpaceLatencies, fit_facts, space_latencies
from harness.prediction.space_prediction import (
    MeasuredNetworks,
    SpaceTable,
    fit,
    graded_segments,
    load_measured,
    space_of,
)
from harness.query.cost_names import check_confidence
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import ConfigurationChoice, title_of
from search.latency.candidates import FEWEST
from search.latency.model_selection import SelectedPredictor
from search.table import Cost, CostEstimate
from search.table.constraints import FRESH, LATENCY_UNIT, split_subject
from space import find_space
from space.registry import space_name

SHOWN_COVERAGE = 0.95  # of intervals, where no confidence was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencySource:
    """Where latencies come from: `files`, blox-bench-DEVICE, and for all other devices the store.

    `runtime`, `threads`, `precision`, `batch` (1 unless it is named) and the name of a `space` narrow every stored device's
    configurations; a file that is of another runtime, precision or batch, or of other threads, is refused. `coverage` is what
    intervals are to hold with; `doubtful` takes measurements of grade D in; `allow_pickle` reads .pickle files, too.
    """

    runtime: str = ""
    threads: int | None = None
    precision: str = ""
    batch: int | None = None
    measured_only: bool = False
    doubtful: bool = False
    coverage: float = SHOWN_COVERAGE
    files: tuple[Path, ...] = ()
    space: str = ""
    allow_pickle: bool = False

    def __post_init__(self) -> None:
        check_confidence(self.coverage)
        if self.space:
            find_space(self.space)

    @property
    def choice(self) -> ConfigurationChoice:
        """The choice of a stored device's configurations."""
        return ConfigurationChoice(
            runtime=self.runtime,
            threads=self.threads,
            precision=self.precision,
            batch=self.batch,
            space=space_name(self.space),
        )


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
    facts = measured_facts(table.measured, table.doubtful)
    found = _everywhere(table.measured, table.predictor, SHOWN_COVERAGE, facts)
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
    facts = facts_of(store, configuration, measured, apart_segments)
    return _everywhere(measured, predictor, latencies.coverage, facts)


def _everywhere(
    measured: MeasuredNetworks, predictor: SelectedPredictor | None, coverage: float, facts: Mapping[str, Any]
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
        about={**facts, **fit_facts(predictor, config, len(rows) + len(measured.failed))},
    )


def measured_column(
    name: str, what: str, configuration: Configuration, found: SpaceLatencies, coverage: float
) -> tuple[Cost, Provenance]:
    """Return a configuration's latencies, or another cost that is measured, as a column of that name; `what` it is for people."""
    fresh = split_subject(name)[1]
    cost = Cost(
        name=name,
        unit=FRESH[fresh] if fresh else LATENCY_UNIT,
        title=f"{what} on {title_of(configuration)}",
        values=found.values,
        low=found.low,
        high=found.high,
        coverage=coverage,
        measured=found.measured,
        supported=found.supported,
        grades=None if fresh else found.grades,
    )
    return cost, provenance_of(configuration, found.about)
