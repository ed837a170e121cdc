"""One row a network: its latency on a configuration, measured or predicted, with interval and grade."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.prediction.space_prediction import Measured, SpaceTable
from search.latency.intervals import COVERAGE
from space import Architecture

MEASURED_COVERAGE = 0.95  # of a measurement's own interval
NOT_GRADED = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """One network's latency: `source` is measured or predicted, the interval holds the latency with `coverage`.

    A predicted one's interval is meant for a measurement. No interval: measured in too few slices. `supported`: measured
    itself, or predicted from networks like it.
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
    supported: bool

    def to_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


COLUMNS = tuple(SpaceRow.__slots__)


def space_rows(table: SpaceTable, indices: Sequence[int] | None = None) -> list[SpaceRow]:
    """Return networks of a table, by default all in canonical order: measured where they are, predicted elsewhere."""
    measured, prediction = table.measured, table.prediction
    known = {row.index: row for row in measured_rows(measured)}
    latency_ms, low_ms, high_ms = (values.tolist() for values in measured.milliseconds(prediction, COVERAGE))
    supported = prediction.supported.tolist()

    def row(index: int) -> SpaceRow:
        architecture = Architecture.from_index(index, measured.config)
        return SpaceRow(
            architecture=str(architecture),
            graph_hash=architecture.graph_hash,
            index=index,
            latency_ms=latency_ms[index],
            low_ms=low_ms[index],
            high_ms=high_ms[index],
            coverage=COVERAGE,
            source="predicted",
            grade=NOT_GRADED,
            sessions=0,
            supported=supported[index],
        )

    return [
        known.get(index) or row(index)
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
            supported=True,
        )
        for index, row in zip(measured.indices.tolist(), measured.rows, strict=True)
    ]
    return sorted(rows, key=lambda row: row.index)
