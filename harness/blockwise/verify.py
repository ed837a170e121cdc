"""Verify a blockwise search: measure the finished networks with their own weights, and correct the answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from pathlib import Path

from exporters.calibration_images import named_images
from exporters.conversion import check_installed
from harness.devices.config import Device, parse_precision, runtime_format
from harness.estimates.doubtful import set_apart
from harness.estimates.latency import Latency
from harness.measurement.campaign import Outcome
from harness.measurement.campaigns import measure_finalists
from harness.models.accuracy import write_calibration
from harness.models.exported import ExportObserver
from harness.models.trained import PURPOSE, Finished, FinishedModels
from harness.prediction.provenance import Provenance
from harness.query.latencies import LatencySource, measured_estimate
from harness.query.verify import other_configuration, searched_configurations, searched_devices
from harness.store import Store
from harness.store.latencies import latencies
from search.blockwise.search import Student
from search.blockwise.setting import Setting
from search.table.costs import meets
from search.training.trained_files import write_weights
from space.text import counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdict:
    """The best student that is within the limits as measured, or the best of all where no student is.

    `measured` are latencies by device and network's text, without networks that could not be measured and, unless they were asked
    for, those of grade D; `outcomes` are those of the campaigns.
    """

    student: Student
    measured: dict[str, dict[str, Latency]]
    within: bool
    outcomes: tuple[Outcome, ...]


def devices_to_verify(
    provenance: Mapping[str, Provenance], devices_file: str | Path | None
) -> dict[str, Device]:
    """Return the devices on which finished networks will be measured, by name, before anything is trained.

    Raises: ConfigError when no device of the store is searched, or one is not in devices.toml; ConversionError when a package
    that makes its models is absent.
    """
    configurations = searched_configurations(provenance).values()
    for one in configurations:
        check_installed(runtime_format(one.runtime), parse_precision(one.precision))
    return searched_devices(configurations, devices_file)


def verify_students(
    students: Sequence[Student],
    setting: Setting,
    provenance: Mapping[str, Provenance],
    source: LatencySource,
    store: Store,
    devices: Mapping[str, Device],
    observer: ExportObserver,
    *,
    folder: Path,
    wait_s: float = 0.0,
) -> Verdict:
    """Measure students, best first, with their own weights on every device of the store that is searched, at level final.

    Models in int8 are calibrated on training images of the task. `source` has the coverage of intervals, and whether grade D
    counts; `devices` are those of `devices_to_verify`; `folder` takes weights and fragments; `wait_s`: the time to wait for a
    device in use.
    """
    configurations = searched_configurations(provenance)
    calibration = None
    if any(one.precision == "int8" for one in configurations.values()):
        images = write_calibration(folder / "images.npz", setting.task)
        calibration = named_images(images, students[0].architecture.config)
    finished = []
    for number, student in enumerate(students):
        path = folder / f"student-{number}.pt"
        digest = write_weights(path, student.weights, student.architecture)
        finished.append(
            Finished(architecture=student.architecture, path=path, digest=digest, calibration=calibration)
        )
    setting.log(f"measuring {counted(len(finished), 'finished network')} on {', '.join(configurations)}")
    models = FinishedModels(
        finished, students[0].architecture.config, folder / "fragments", on_progress=observer.export
    )
    outcomes = measure_finalists(configurations.values(), devices, models, store, observer, wait_s=wait_s)
    if moved := other_configuration(outcomes, configurations.values()):
        setting.log(moved)  # the networks are trained, and their answer is worth having
    measured = {}
    for name, configuration in configurations.items():
        networks = {one.key(configuration.precision): str(one.architecture) for one in finished}
        rows = latencies(store, configuration, [*networks], purpose=PURPOSE, coverage=source.coverage)
        kept, apart = set_apart(rows, take=source.doubtful)
        if apart:
            setting.log(f"{name}: {apart}")
        measured[name] = {networks[row.graph_hash]: row for row in kept}
    for student in students:
        _report(student, measured, setting)
    best = next((one for one in students if is_within(one, measured, setting)), None)
    return Verdict(
        student=best or students[0], measured=measured, within=best is not None, outcomes=tuple(outcomes)
    )


def is_within(student: Student, measured: dict[str, dict[str, Latency]], setting: Setting) -> bool:
    """Return whether a student's measured latencies meet every limit on latencies; a missing one meets no limit."""
    for constraint in setting.constraints:
        if constraint.subject not in measured:
            continue  # not of a device of the store: it was within the limit before
        row = measured[constraint.subject].get(str(student.architecture))
        if row is None or not meets(measured_estimate(row), constraint, confident=setting.confident):
            return False
    return True


def _report(student: Student, measured: dict[str, dict[str, Latency]], setting: Setting) -> None:
    parts, is_known = [], True
    for name, rows in measured.items():
        row = rows.get(str(student.architecture))
        if row is None:
            parts.append(f"{name} not measured well enough")
            is_known &= all(one.subject != name for one in setting.constraints)
            continue
        before = setting.costs.costs[name].at(student.architecture.index).value
        change = f"{before:.3f} before ({row.latency_ms / before - 1:+.1%})"
        parts.append(f"{name} {row.latency_ms:.3f} ms, {'not known before' if isnan(before) else change}")
    verdict = "within the limits" if is_within(student, measured, setting) else "not within the limits"
    setting.log(
        f"{student.architecture}: {', '.join(parts)}: {verdict if is_known else 'not known to be within the limits'}"
    )
