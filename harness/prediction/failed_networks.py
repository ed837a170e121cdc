"""Networks that a device does not run: no latency is predicted of them from those that it runs."""

from __future__ import annotations

from collections.abc import Iterable

from harness.estimates.doubtful import DOUBTFUL
from harness.estimates.latency import Latency
from harness.records import Configuration, Failure
from harness.store import Store
from space import Architecture, ArchitectureError, SpaceConfig

# Findings of a network that ran all the same: its outputs are false, or the accelerator left a part of it out.
NOT_RUN = ("wrong-output", "fell-back")


def failed_networks(store: Store, configuration: Configuration, config: SpaceConfig) -> dict[str, str]:
    """Return the networks of a space that failed on a configuration and never ran there, by name, with the last failure's kind.

    Others that share their parts may run well, so it is these alone. The reference ran beside all that is measured.
    """
    ran = {*store.session_counts(configuration), configuration.reference}
    last = {
        one.graph_hash: one
        for one in store.failures(configuration.device)
        if one.configuration == configuration
    }
    return {
        one.architecture: one.kind for key, one in last.items() if key not in ran and _is_network(one, config)
    }


def not_run(rows: Iterable[Latency]) -> dict[str, str]:
    """Return the measured networks that are known not to run as they should, by name, with the finding's kind."""
    return {
        row.architecture: one.kind
        for row in rows
        for one in row.findings
        if one.cap == DOUBTFUL and one.kind in NOT_RUN
    }


def _is_network(failure: Failure, config: SpaceConfig) -> bool:
    """Return whether a failure is of a network of the space, not of a segment, nor of trained weights."""
    try:
        return Architecture.parse(failure.architecture, config).graph_hash == failure.graph_hash
    except ArchitectureError:
        return False
