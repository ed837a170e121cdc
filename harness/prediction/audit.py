"""Additivity audit of a stored configuration: networks against the sums of their segments."""

from __future__ import annotations

from dataclasses import dataclass

from harness.estimates.doubtful import Doubtful
from harness.prediction.provenance import doubt_text
from harness.prediction.space_prediction import (
    check_enough,
    graded_segments,
    measured_networks,
    space_of,
)
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import ConfigurationChoice, measure_command, one_configuration
from search.latency.audit import Audit, audit
from space.errors import ConfigError
from space.segments import all_segments
from space.text import agreeing


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigurationAudit:
    """The audit of a configuration, and what of its measurements has grade D."""

    configuration: Configuration
    audit: Audit
    doubtful: Doubtful


def audit_configuration(
    store: Store, choice: ConfigurationChoice, *, doubtful: bool = False
) -> ConfigurationAudit:
    """Compare the networks of the one configuration that fits with the sums of their segments.

    `doubtful`: with networks and segments of grade D.
    Raises: ConfigError when several configurations fit, too few networks, or not all segments, are measured.
    """
    chosen = one_configuration(store, choice)
    measured = measured_networks(store, chosen, space_of(chosen), doubtful=doubtful)
    check_enough(measured)
    segments, apart = graded_segments(store, chosen, doubtful=doubtful)
    wanted = [str(segment) for segment in all_segments(measured.config)]
    missing = [text for text in wanted if text not in segments]
    if missing:
        well = f" well enough ({doubt_text(apart, chosen)})" if apart else ""
        raise ConfigError(
            f"device {chosen.device!r}",
            f"{len(missing)} of {len(wanted)} segments {agreeing(len(missing), 'is', 'are')} not measured{well}, "
            f"e.g. {missing[0]}; measure them: {measure_command(chosen)} --models segments --level quick",
        )
    ceiling = measured.ceiling()
    found = audit(
        segments,
        measured.indices,
        measured.ratios,
        config=measured.config,
        ceiling=None if ceiling is None else ceiling.mape,
    )
    return ConfigurationAudit(configuration=chosen, audit=found, doubtful=measured.doubtful + apart)
