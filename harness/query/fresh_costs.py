"""Costs that fresh processes of a device tell: peak memory, load and first run of networks alone, memory predicted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.models.exported import cache_folder
from harness.prediction.cache import SpaceLatencies, cache_latencies, cached_latencies, key_of
from harness.prediction.provenance import Provenance, provenance_of
from harness.prediction.space_prediction import space_of
from harness.query.latencies import LatencySource
from harness.records import Configuration, FreshRun
from harness.store import Store
from harness.store.configurations import measure_command
from search.latency.candidates import FEWEST
from search.latency.model_selection import SelectedPredictor, select_predictor
from search.table import Cost
from search.table.constraints import FRESH, split_subject
from search.table.table import NOT_MEASURED
from space import Architecture, SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

TITLES = {"memory": "peak memory", "load": "load time", "first-run": "first run", "energy": "energy"}
# Of 40 networks, predicted from 30 others, memory was off by 0.3 % (median) and 1.4 % at most; load times by 3 % and 30 %, first
# runs by 6 % and 16 %, and too few lay within their intervals.
PREDICTED = ("memory",)
MEDIAN_SD = (
    1.2533  # of a median over that of a mean: the square root of pi / 2, an upper bound for few values
)
LEAST_SD = 1e-4  # relative: one page of 4 KiB among 40 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Measured:
    """What networks took: `values` (n,), medians over their `counts` of runs (n,); `sd` of one run, relative; `freedom` of it.

    The standard deviation is pooled over all networks; NaN where none has two runs.
    """

    indices: IndexArray
    values: FloatArray
    counts: IndexArray
    sd: float
    freedom: int
    measured_utc: str

    @property
    def sds(self) -> FloatArray:
        """Return the relative standard deviation of each median, (n,)."""
        return MEDIAN_SD * self.sd / np.sqrt(self.counts)


def unpredicted(fresh: str) -> str:
    """Return why unmeasured networks have no such cost, in brackets."""
    return (
        f"(predicted from {FEWEST} measured networks on)"
        if fresh in PREDICTED
        else "(which is not predicted)"
    )


def fresh_cost(
    store: Store,
    name: str,
    configuration: Configuration,
    latencies: LatencySource,
    log: Callable[[str], None] = lambda text: None,
) -> tuple[Cost, Provenance]:
    """Return what networks take alone in fresh processes, one of `FRESH`, in bytes or ms: measured, or of memory predicted.

    What was predicted before of the same is taken from the cache folder. Raises: ConfigError where nothing is measured.
    """
    fresh, coverage = split_subject(name)[1], latencies.coverage
    runs = store.fresh_runs(configuration)
    if not runs:
        raise ConfigError(
            f"{name}: no {TITLES[fresh]} is measured on device {configuration.device!r} in {configuration.runtime}; measure it: "
            f"{measure_command(configuration)} --memory --models design:1"
        )
    config = space_of(configuration)
    facts = {
        "fresh": fresh,
        "space": configuration.space,
        "coverage": coverage,
        "measured only": latencies.measured_only,
        "runs": [[run.architecture, _value(run, fresh), run.started_utc] for run in runs],
    }
    folder, key = cache_folder().parent / "latencies", key_of(facts)
    found = cached_latencies(folder, key, len(config))
    if found is None:
        log(f"{name}: {TITLES[fresh]} of every network, measured or predicted")
        found = _everywhere(_measured(runs, fresh, config), config, fresh, latencies)
        try:
            cache_latencies(folder, key, found)
        except OSError as error:
            log(f"{folder}: cannot be written: {error.strerror or error}; the predictor is fitted each time")
    cost = Cost(
        name=name,
        unit=FRESH[fresh],
        title=f"{TITLES[fresh]} alone in a fresh process on {configuration.device} ({configuration.runtime})",
        values=found.values,
        low=found.low,
        high=found.high,
        coverage=coverage,
        measured=found.measured,
        supported=found.supported,
    )
    return cost, provenance_of(configuration, found.about)


def _value(run: FreshRun, fresh: str) -> float:
    return {"memory": run.memory_bytes, "load": run.load_ns / 1e6, "first-run": run.first_run_ns / 1e6}[fresh]


def _measured(runs: Sequence[FreshRun], fresh: str, config: SpaceConfig) -> _Measured:
    by_index: dict[int, list[float]] = {}
    for run in runs:
        value = _value(run, fresh)
        if value > 0:  # memory that an empty process freed meanwhile
            by_index.setdefault(Architecture.parse(run.architecture, config).index, []).append(value)
    groups = [np.log(values) for values in by_index.values()]
    freedom = sum(len(group) - 1 for group in groups)
    squares = sum(float(((group - group.mean()) ** 2).sum()) for group in groups)
    return _Measured(
        indices=np.array(list(by_index), dtype=np.int64),
        values=np.array([median(values) for values in by_index.values()]),
        counts=np.array([len(values) for values in by_index.values()]),
        sd=max(LEAST_SD, (squares / freedom) ** 0.5) if freedom else np.nan,
        freedom=freedom,
        measured_utc=max(run.started_utc for run in runs),
    )


def _everywhere(
    measured: _Measured, config: SpaceConfig, fresh: str, latencies: LatencySource
) -> SpaceLatencies:
    """Return the cost of every network: measured where it is, else the predictor's, NaN without one."""
    from scipy.special import stdtrit  # late: it is heavy

    count, coverage = len(config), latencies.coverage
    values, low, high = (np.full(count, np.nan) for _ in range(3))
    supported = np.ones(count, dtype=np.bool_)
    predictor = None
    if fresh in PREDICTED and not latencies.measured_only and len(measured.indices) >= FEWEST:
        predictor, unit = _fit(measured, config)
        prediction = predictor.predict(np.arange(count), coverage=coverage)
        supported = prediction.supported.copy()
        values, low, high = (unit * one for one in (prediction.ratios, prediction.low, prediction.high))
    reach = stdtrit(measured.freedom, (1 + coverage) / 2) * measured.sds if measured.freedom else np.nan
    values[measured.indices] = measured.values
    low[measured.indices], high[measured.indices] = (
        measured.values * np.exp(-reach),
        measured.values * np.exp(reach),
    )
    is_measured = np.zeros(count, dtype=np.bool_)
    is_measured[measured.indices] = True
    about = {
        "measured": len(measured.indices),
        "predicted": 0 if predictor is None else count - len(measured.indices),
        "grades": {},
        "predictor": None if predictor is None else predictor.chosen,
        "error": None if predictor is None else predictor.errors.mape,
        "conditions": {},
        "measured_utc": measured.measured_utc,
        "doubtful": Doubtful().to_json(),
        "repeatability": None,
    }
    return SpaceLatencies(
        values=values,
        low=low,
        high=high,
        measured=is_measured,
        supported=supported | is_measured,
        grades=np.full(count, NOT_MEASURED, dtype="<U1"),
        about=about,
    )


def _fit(measured: _Measured, config: SpaceConfig) -> tuple[SelectedPredictor, float]:
    """Return the best of the latency predictors, fitted to the cost over its median, and that median."""
    unit = float(np.median(measured.values))
    sds = None if np.isnan(measured.sd) else measured.sds
    return select_predictor(measured.indices, measured.values / unit, sds=sds, config=config), unit
