"""Additivity audit of a stored configuration: networks against the sums of their segments."""

from __future__ import annotations

from harness.estimates.doubtful import Doubtful
from harness.prediction.space_prediction import check_enough, doubt_text, graded_segments, load_measured
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import measure_command
from search.latency.audit import Audit, audit
from space.errors import ConfigError
from space.segments import all_segments


def audit_configuration(
    store: Store, configuration: Configuration, *, doubtful: bool = False
) -> tuple[Audit, Doubtful]:
    """Compare a configuration's networks with the sums of their segments; return the audit, and what has grade D.

    `doubtful`: with networks and segments of grade D.
    Raises: ConfigError when too few networks, or not all segments, are measured.
    """
    measured = load_measured(store, configuration, doubtful=doubtful)
    check_enough(measured)
    segments, apart = graded_segments(store, configuration, doubtful=doubtful)
    wanted = [str(segment) for segment in all_segments(measured.config)]
    missing = [text for text in wanted if text not in segments]
    if missing:
        well = f" well enough ({doubt_text(apart, configuration)})" if apart else ""
        raise ConfigError(
            f"device {configuration.device!r}: {len(missing)} of {len(wanted)} segments are not measured{well}, "
            f"e.g. {missing[0]}; measure them: {measure_command(configuration)} --models segments --level quick"
        )
    ceiling = measured.ceiling()
    found = audit(
        segments,
        measured.indices,
        measured.ratios,
        config=measured.config,
        ceiling=None if ceiling is None else ceiling.mape,
    )
    return found, measured.doubtful + apart
