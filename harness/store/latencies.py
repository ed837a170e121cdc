"""Latencies of a stored configuration, computed from its sessions when they are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.estimates.clean_runs import usable_sessions
from harness.estimates.estimate import COVERAGE, Scatter, scatter_of
from harness.estimates.latency import Latency, latency_of
from harness.records import Configuration, SessionRecord
from harness.store import Store

NETWORKS_AT_ONCE = 200  # whose raw times are in memory
SCATTER_NETWORKS = 200  # are enough to tell how sessions of a configuration scatter


def latencies(
    store: Store,
    configuration: Configuration,
    graph_hashes: Sequence[str] | None = None,
    *,
    purpose: str = "network",
    coverage: float = COVERAGE,
) -> list[Latency]:
    """Return what is stored of a configuration, fastest first; nothing while its reference latency is missing.

    A network of which no slice is clean has no latency. `coverage`: the probability that the intervals are meant to hold with.
    """
    reference = store.reference_latency(configuration)
    if reference is None:
        return []
    stored = store.session_counts(configuration, purpose)
    hashes = [key for key in dict.fromkeys(stored if graph_hashes is None else graph_hashes) if key in stored]
    if not hashes:
        return []
    scatter = _scatter(store, configuration, stored, purpose)
    rows = []
    for start in range(0, len(hashes), NETWORKS_AT_ONCE):
        batch = hashes[start : start + NETWORKS_AT_ONCE]
        by_network: dict[str, list[SessionRecord]] = {}
        for session in store.sessions(configuration, batch, purpose=purpose):
            by_network.setdefault(session.graph_hash, []).append(session)
        rows += [
            latency_of(one, reference, scatter, coverage)
            for one in by_network.values()
            if usable_sessions(one)
        ]
    return sorted(rows, key=lambda row: row.latency_ms)


def _scatter(store: Store, configuration: Configuration, counts: Mapping[str, int], purpose: str) -> Scatter:
    """Return how sessions of one network scatter on a configuration, from the networks that have several."""
    several = sorted(key for key, count in counts.items() if count > 1)[:SCATTER_NETWORKS]
    by_network: dict[str, list[SessionRecord]] = {key: [] for key in several}
    for session in store.sessions(configuration, several, purpose=purpose) if several else ():
        by_network[session.graph_hash].append(session)
    return scatter_of(by_network.values())
