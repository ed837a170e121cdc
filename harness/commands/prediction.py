"""From a store to a table of every network of the space: what is measured, and what the best predictor says of the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.errors import ConfigError
from harness.latencies import Latency, latencies
from harness.records import Configuration
from harness.store import Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from search.latency.judging import Errors
    from search.latency.ladder import Ladder, Prediction
    from space import SpaceConfig

HOLD_OUT_SHARE = 0.2
HOLD_OUT_FROM = 40  # measured networks; of fewer, all are needed to fit
MEASURED_COVERAGE = 0.95  # of a measurement's own interval
NOT_GRADED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """One network's latency: `source` is measured or predicted, the interval holds the latency with `coverage`.

    A predicted one's interval is meant for a measurement. No interval: measured in too few slices.
    """

    architecture: str
    graph_hash: str
    index: int
    latency_ms: float
    low_ms: float | None
    high_ms: float | None
    coverage: float
    source: str
    grade: str
    sessions: int

    def to_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is stored of a configuration's networks, in the order of `indices`."""

    configuration: Configuration
    config: SpaceConfig
    reference_ms: float
    indices: NDArray[np.int64]
    ratios: NDArray[np.float64]
    rows: tuple[Latency, ...]

    def ceiling(self) -> Errors | None:
        """Return how well two sessions of a network agree, over the networks that have two; None without ten of them."""
        from search.latency.judging import repeatability

        twice = [row.session_medians[:2] for row in self.rows if len(row.session_medians) > 1]
        if len(twice) < 10:
            return None
        first, second = zip(*twice, strict=True)
        return repeatability(first, second)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldOut:
    """How the chosen predictor did on networks that it was fitted without: `coverage` is the share inside its 90 % intervals."""

    errors: Errors
    mape_interval: tuple[float, float]
    coverage: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceTable:
    """Latencies of all networks of a space on one configuration: `prediction` in ratios, `measured` where there is better."""

    measured: Measured
    ladder: Ladder
    prediction: Prediction
    held_out: HeldOut | None
    ceiling: Errors | None
    segments: int
    prior: Configuration | None


def load_measured(store: Store, configuration: Configuration) -> Measured:
    """Return the networks measured on a configuration.

    Raises: ConfigError when there is none, or the space is not known here.
    """
    import numpy as np

    config = _space(configuration)
    reference = store.reference_latency(configuration)
    rows = latencies(store, configuration)
    if reference is None or not rows:
        failures = [f for f in store.failures() if f.configuration == configuration]
        why = (
            f"only failures are stored ({len(failures)}, the last: {failures[-1].message}); "
            f"see 'harness results --device {configuration.device} --failures'"
            if failures
            else f"no network is measured; begin with: harness measure --device {configuration.device} --models design:1"
        )
        raise ConfigError(f"device {configuration.device!r}, {configuration.runtime}: {why}")
    from space import Architecture

    indices = np.array([Architecture.from_hash(row.graph_hash, config).index for row in rows], dtype=np.int64)
    return Measured(
        configuration=configuration,
        config=config,
        reference_ms=reference.latency_ns / 1e6,
        indices=indices,
        ratios=np.array([row.estimate.ratio for row in rows]),
        rows=tuple(rows),
    )


def load_segments(store: Store, configuration: Configuration) -> dict[str, float]:
    """Return the measured ratio of each segment of the space, by its text; empty when none is measured."""
    rows = latencies(store, configuration, purpose="segment")
    return {row.architecture: row.estimate.ratio for row in rows}


def predict_space(
    store: Store, configuration: Configuration, prior: Configuration | None = None, *, seed: int = 0
) -> SpaceTable:
    """Fit the ladder on what is stored of a configuration and predict the whole space with the best rung.

    `prior`: another configuration whose own prediction serves as this one's prior. Raises: ConfigError when too little is stored.
    """
    import numpy as np

    from search.latency.audit import parts_sum
    from search.latency.ladder import fit_ladder
    from space.segments import all_segments

    measured = load_measured(store, configuration)
    if prior is not None and prior.space != configuration.space:
        raise ConfigError(
            f"prior {prior.device!r} is of space {prior.space!r}, not {configuration.space!r}; name another"
        )
    segments = load_segments(store, configuration)
    complete = len(segments) == len(all_segments(measured.config))
    whole = None if prior is None else predict_space(store, prior, seed=seed).prediction.ratios
    sums = parts_sum(segments, measured.config) if complete else None

    def fit(indices: NDArray[np.int64], ratios: NDArray[np.float64]) -> Ladder:
        return fit_ladder(indices, ratios, config=measured.config, parts_sum=sums, prior=whole, seed=seed)

    ladder = fit(measured.indices, measured.ratios)
    return SpaceTable(
        measured=measured,
        ladder=ladder,
        prediction=ladder.predict(np.arange(len(measured.config))),
        held_out=_hold_out(measured, fit, seed),
        ceiling=measured.ceiling(),
        segments=len(segments),
        prior=prior,
    )


def judge_on(ladder: Ladder, indices: NDArray[np.int64], ratios: NDArray[np.float64]) -> HeldOut:
    """Judge a ladder on networks that it was fitted without."""
    from search.latency.judging import judge, mape_interval

    found = ladder.predict(indices)
    inside = (found.low <= ratios) & (ratios <= found.high)
    return HeldOut(
        errors=judge(found.ratios, ratios),
        mape_interval=mape_interval(found.ratios, ratios),
        coverage=float(inside.mean()),
    )


def _hold_out(
    measured: Measured, fit: Callable[[NDArray[np.int64], NDArray[np.float64]], Ladder], seed: int
) -> HeldOut | None:
    """Judge the ladder on a fifth of the measured networks, fitted on the others; None where all are needed to fit."""
    import numpy as np

    count = len(measured.indices)
    if count < HOLD_OUT_FROM:
        return None
    order = np.random.default_rng(seed).permutation(count)
    apart, rest = np.split(order, [round(HOLD_OUT_SHARE * count)])
    ladder = fit(measured.indices[rest], measured.ratios[rest])
    return judge_on(ladder, measured.indices[apart], measured.ratios[apart])


def space_rows(table: SpaceTable, indices: Sequence[int] | None = None) -> list[SpaceRow]:
    """Return networks of a table, by default all in canonical order: measured where they are, predicted elsewhere."""
    measured, prediction = table.measured, table.prediction
    known = {row.index: row for row in measured_rows(measured)}
    latency_ms, low_ms, high_ms = (
        (values * measured.reference_ms).tolist()
        for values in (prediction.ratios, prediction.low, prediction.high)
    )
    return [
        known.get(index)
        or _predicted(measured.config, index, latency_ms[index], low_ms[index], high_ms[index])
        for index in (range(len(measured.config)) if indices is None else indices)
    ]


def measured_rows(measured: Measured) -> list[SpaceRow]:
    """Return the measured networks, in canonical order."""
    rows = [
        SpaceRow(
            architecture=row.architecture,
            graph_hash=row.graph_hash,
            index=index,
            latency_ms=row.latency_ms,
            low_ms=None if row.interval_ms is None else row.interval_ms[0],
            high_ms=None if row.interval_ms is None else row.interval_ms[1],
            coverage=MEASURED_COVERAGE,
            source="measured",
            grade=row.grade,
            sessions=row.estimate.sessions,
        )
        for index, row in zip(measured.indices.tolist(), measured.rows, strict=True)
    ]
    return sorted(rows, key=lambda row: row.index)


def _predicted(config: SpaceConfig, index: int, latency_ms: float, low_ms: float, high_ms: float) -> SpaceRow:
    from search.latency.intervals import COVERAGE
    from space import Architecture

    architecture = Architecture.from_index(index, config)
    return SpaceRow(
        architecture=str(architecture),
        graph_hash=architecture.graph_hash,
        index=index,
        latency_ms=latency_ms,
        low_ms=low_ms,
        high_ms=high_ms,
        coverage=COVERAGE,
        source="predicted",
        grade=NOT_GRADED,
        sessions=0,
    )


def _space(configuration: Configuration) -> SpaceConfig:
    from space import BLOX, MINI

    spaces = {config.name: config for config in (BLOX, MINI)}
    if configuration.space not in spaces:
        raise ConfigError(
            f"space {configuration.space!r} of device {configuration.device!r} is not known here (known: {', '.join(spaces)})"
        )
    return spaces[configuration.space]
