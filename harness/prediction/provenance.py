"""Provenance of latencies: where they are from, how many are measured with which grade, how many predicted and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.estimates.doubtful import Doubtful, doubtful_from_json
from harness.prediction.space_prediction import MeasuredNetworks, doubt_text
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import configuration_id, short_description


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Provenance:
    """Provenance of a device's latencies: source, number measured per grade, number predicted.

    `predictor` is the chosen one and `error` its cross-validated mean error, a share; None where nothing is predicted.
    `conditions` are those before the last session of the fastest measured network. `doubtful` has grade D or failed, and is not
    counted among the measured, unless it was taken in. `repeatability`: the mean difference, a share, between two sessions of the
    networks that have two, and how many these are; None of fewer than ten. `precision`: the models', empty where a file does not
    tell it. `prior`: the configuration whose prediction helped, if any. A file has no configuration, and without a sidecar no
    `grades`: all of its networks are then in `measured`.
    """

    origin: str
    configuration: Configuration | None
    measured: int
    predicted: int
    grades: Mapping[str, int]
    predictor: str | None = None
    error: float | None = None
    conditions: Mapping[str, object] = field(default_factory=dict)
    measured_utc: str = ""
    doubtful: Doubtful = field(default_factory=Doubtful)
    repeatability: tuple[float, int] | None = None
    precision: str = ""
    prior: Configuration | None = None

    @property
    def doubt_note(self) -> str:
        """A note on latencies of grade D and networks that failed, with remedies for what is left out; empty without any."""
        if not self.doubtful:
            return ""
        if self.configuration is not None:
            return doubt_text(self.doubtful, self.configuration)
        graded = self.doubtful.graded_text
        remedy = "" if self.doubtful.taken or not graded else "; take them in with --doubtful"
        return "; ".join(filter(None, (graded + remedy, self.doubtful.failed_text)))

    @property
    def is_untold(self) -> bool:
        """Whether nothing tells which of a file's latencies are measured, which predicted."""
        return self.configuration is None and not self.grades

    def __str__(self) -> str:
        if self.is_untold:
            return f"{self.origin}: {untold_text(self)}"
        grades = ", ".join(f"{count} {grade}" for grade, count in self.grades.items() if count)
        text = f"{self.origin}: {self.measured:,} measured" + (f" ({grades})" if grades else "")
        if self.predicted:
            text += f", {self.predicted:,} predicted"
        if self.predictor is not None and self.error is not None:
            text += f" by {self.predictor}, mean error {self.error:.1%}"
        return text


def untold_text(provenance: Provenance) -> str:
    """Return how many latencies a file has that does not tell the measured from the predicted."""
    return (
        f"{provenance.measured:,} latencies, measured or predicted: the file does not tell (no sidecar .json)"
    )


def provenance_document(provenance: Mapping[str, Provenance]) -> dict[str, object]:
    """Return the `latencies` of an answer's document, each in words, and what of them is `doubtful`; by name."""
    return {
        "latencies": {name: str(one) for name, one in provenance.items()},
        "doubtful": {name: one.doubtful.to_json() for name, one in provenance.items()},
    }


def provenance_of(configuration: Configuration, about: Mapping[str, Any]) -> Provenance:
    """Return the provenance of a configuration's latencies; `about` holds the fields of `cache.ABOUT`."""
    origin = f"{configuration.device}, {short_description(configuration)} [{configuration_id(configuration)}]"
    agreement = about["repeatability"]
    plain = {
        "doubtful": doubtful_from_json(about["doubtful"]),
        "repeatability": None if agreement is None else (float(agreement[0]), int(agreement[1])),
        "precision": configuration.precision,
    }
    return Provenance(origin=origin, configuration=configuration, **{**about, **plain})


def facts_of(
    store: Store, configuration: Configuration, measured: MeasuredNetworks, segments: Doubtful
) -> dict[str, Any]:
    """Return `measured_facts`, and the conditions in which a session of the fastest measured network began.

    `segments`: those of grade D, counted with the networks.
    """
    last = store.sessions(configuration, [measured.rows[0].graph_hash])[-1]
    return measured_facts(measured, measured.doubtful + segments) | {"conditions": last.conditions_before}


def measured_facts(measured: MeasuredNetworks, doubtful: Doubtful) -> dict[str, Any]:
    """Return the numbers measured by grade, the last date, the agreement of two sessions, and what has grade D."""
    given = [row.grade for row in measured.rows]
    ceiling = measured.ceiling()
    return {
        "measured": len(given),
        "grades": {grade: given.count(grade) for grade in "ABCD"},
        "conditions": {},
        "measured_utc": max(row.measured_utc for row in measured.rows),
        "doubtful": doubtful.to_json(),
        "repeatability": None if ceiling is None else [ceiling.mape, ceiling.count],
    }
