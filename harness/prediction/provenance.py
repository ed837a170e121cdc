"""Provenance of latencies: where they are from, how many are measured with which grade, how many predicted and how well."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from harness.estimates.doubtful import Doubtful, doubtful_from_json
from harness.records import Configuration
from harness.store.configurations import configuration_id, measure_command, short_description

_OWNERS = ("origin", "configuration", "precision", "prior")  # fields that tell whose latencies they are


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

    origin: str = ""
    configuration: Configuration | None = None
    measured: int
    predicted: int = 0
    grades: Mapping[str, int] = field(default_factory=dict)
    predictor: str | None = None
    error: float | None = None
    conditions: Mapping[str, object] = field(default_factory=dict)
    measured_utc: str = ""
    doubtful: Doubtful = field(default_factory=Doubtful)
    repeatability: tuple[float, int] | None = None
    precision: str = ""
    prior: Configuration | None = None

    def of(self, configuration: Configuration) -> Provenance:
        """Return it as that of a configuration's latencies."""
        origin = (
            f"{configuration.device}, {short_description(configuration)} [{configuration_id(configuration)}]"
        )
        return replace(self, origin=origin, configuration=configuration, precision=configuration.precision)

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain values, without those of the owner."""
        names = [one.name for one in fields(self) if one.name not in _OWNERS]
        return {name: getattr(self, name) for name in names} | {"doubtful": self.doubtful.to_json()}

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> Provenance:
        """Return that of a document of `to_json`. Raises: TypeError or KeyError for anything else."""
        agreement = found["repeatability"]
        return cls(
            **{
                **found,
                "doubtful": doubtful_from_json(found["doubtful"]),
                "repeatability": None if agreement is None else tuple(agreement),
            }
        )

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


def doubt_text(apart: Doubtful, configuration: Configuration) -> str:
    """Return a note on a configuration's measurements of grade D and its failures, with the remedies for what is left out."""
    command, notes = measure_command(configuration), []
    if graded := apart.graded_text:
        remedy = f"; measure again ({command} --fresh --models ...), or take them in with --doubtful"
        notes.append(graded if apart.taken else graded + remedy)
    if apart.failed:
        notes.append(
            f"{apart.failed_text}; see 'harness results --device {configuration.device} --failures', and measure them again: "
            f"{command} --fresh --models ..."
        )
    return "; ".join(notes)
