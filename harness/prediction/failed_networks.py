"""Networks that a device does not run: no latency is predicted of them from those that it runs."""

from __future__ import annotations

from collections.abc import Sequence

from harness.estimates.doubtful import DOUBTFUL
from harness.estimates.latency import Latency
from harness.records import Configuration, Failure
from harness.store import Store
from space import Architecture, ArchitectureError, SpaceConfig

# Findings of a network that ran all the same: its outputs are false, or the accelerator left a part of it out.
NOT_RUN = ("wrong-output", "fell-back")
# Kinds of failures that speak of a network. Of others, such as a full disk, a setting that somebody changed, or a system that
# tells no process's memory, it may run well.
OWN_FAILURES = (
    *("worker-error", "worker-killed", "worker-silent", "out-of-memory", "too-large"),
    *("wrong-output", "bad-result", "link-lost"),
)


def failed_networks(
    store: Store,
    configuration: Configuration,
    config: SpaceConfig,
    rows: Sequence[Latency],
    *,
    doubtful: bool,
) -> dict[str, str]:
    """Return the networks of a space that a configuration does not run, by name, with the kind of the failure or finding.

    They failed and never ran there, or, unless `doubtful`, its measured latencies, `rows`, say that they do not run as they
    should. Others that share their parts may run well, so it is these alone. The reference ran beside all that is measured.
    """
    ran = {*store.session_counts(configuration), configuration.reference}
    last = _last_failures(store, configuration)
    failed = {
        one.architecture: one.kind for key, one in last.items() if key not in ran and _is_network(one, config)
    }
    false = {
        row.architecture: one.kind
        for row in (() if doubtful else rows)
        for one in row.findings
        if one.cap == DOUBTFUL and one.kind in NOT_RUN
    }
    return failed | false


def failed_since(store: Store, configuration: Configuration, config: SpaceConfig) -> dict[str, str]:
    """Return the networks that ran on a configuration and failed since, such as alone in a process; as `failed_networks`."""
    last = _last_failures(store, configuration)
    ran = {key: sessions[-1] for key in last if (sessions := store.sessions(configuration, [key]))}
    return {
        one.architecture: one.kind
        for key, one in last.items()
        if key in ran and one.time_utc > ran[key].started_utc and _is_network(one, config)
    }


def _last_failures(store: Store, configuration: Configuration) -> dict[str, Failure]:
    """Return the last failure of each network on a configuration that speaks of it, by its hash."""
    return {one.graph_hash: one for one in store.failures(configuration) if one.kind in OWN_FAILURES}


def _is_network(failure: Failure, config: SpaceConfig) -> bool:
    """Return whether a failure is of a network of the space, not of a segment, nor of trained weights."""
    try:
        return Architecture.parse(failure.architecture, config).graph_hash == failure.graph_hash
    except ArchitectureError:
        return False
