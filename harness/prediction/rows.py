"""One row a network: its latency on a configuration, measured or predicted, with interval and grade."""

from __future__ import annotations

from dataclasses import dataclass

MEASURED_COVERAGE = 0.95  # of a measurement's own interval
NOT_GRADED = "-"
FAR = "predicted, far"  # from all that was measured


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceRow:
    """One network's latency: `source` is measured, predicted or failed, the interval holds the latency with `coverage`.

    One that failed, as the device does not run it, has no latency, and nothing is predicted of it.
    A predicted one's interval is meant for a measurement. No interval: measured in too few slices. `supported`: measured
    itself, or predicted from networks like it.

    Its costs alone in a fresh process, and the energy of an inference, are None where they are neither measured nor predicted on
    the configuration. The intervals of `memory` and `energy` hold with 90 %, and their sources are measured, predicted, or `FAR`
    from all that was measured. All energies are by one `energy_sensor`: those of two do not compare.
    """

    architecture: str
    graph_hash: str
    index: int
    latency_ms: float | None
    low_ms: float | None
    high_ms: float | None
    coverage: float
    source: str
    grade: str
    sessions: int
    supported: bool
    memory_bytes: float | None = None
    memory_low_bytes: float | None = None
    memory_high_bytes: float | None = None
    memory_source: str | None = None
    load_ms: float | None = None
    fresh_first_run_ms: float | None = None
    energy_mj: float | None = None
    energy_low_mj: float | None = None
    energy_high_mj: float | None = None
    energy_source: str | None = None
    energy_sensor: str | None = None

    @property
    def interval_ms(self) -> tuple[float, float] | None:
        """The interval in ms; None where too few slices were measured to tell."""
        return None if self.low_ms is None or self.high_ms is None else (self.low_ms, self.high_ms)

    def to_json(self) -> dict[str, object]:
        """Return the row as plain values."""
        return {name: getattr(self, name) for name in self.__slots__}


COLUMNS = tuple(SpaceRow.__slots__)
