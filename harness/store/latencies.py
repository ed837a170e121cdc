"""Latencies of a stored configuration, computed from its sessions when they are asked for."""

from __future__ import annotations

from collections.abc import Sequence

from harness.estimates.clean_runs import usable_sessions
from harness.estimates.energy import newest_energy
from harness.estimates.estimate import COVERAGE, scatter_of
from harness.estimates.latency import Latency, latency_of
from harness.estimates.moved import near_sessions
from harness.records import (
    BlockRun,
    Configuration,
    FreshRun,
    ReferenceLatency,
    SessionRecord,
    of_last_model,
)
from harness.store import Store

UNKNOWN = "unknown"  # an arithmetic
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
    """Return a configuration's stored latencies, fastest first; none while its reference latency is missing.

    A network of which no slice is clean has no latency. `coverage`: the probability that the intervals are meant to hold with.
    """
    reference = store.reference_latency(configuration)
    if reference is None:
        return []
    stored = store.session_counts(configuration, purpose)
    hashes = [key for key in dict.fromkeys(stored if graph_hashes is None else graph_hashes) if key in stored]
    if not hashes:
        return []
    several = sorted(key for key, count in stored.items() if count > 1)[:SCATTER_NETWORKS]
    read = _by_network(store, reference, several, purpose)
    scatter = scatter_of(read.get(key, []) for key in several)
    fresh: dict[str, list[FreshRun]] = {}
    for run in store.fresh_runs(configuration, purpose):
        fresh.setdefault(run.graph_hash, []).append(run)
    energies: dict[str, list[BlockRun]] = {}
    for taken in store.block_runs(configuration, "energy", hashes):
        energies.setdefault(taken.graph_hash, []).append(taken)
    rows = []
    for start in range(0, len(hashes), NETWORKS_AT_ONCE):
        batch = hashes[start : start + NETWORKS_AT_ONCE]
        found = _by_network(store, reference, [key for key in batch if key not in read], purpose)
        networks = [sessions for key in batch if (sessions := read.get(key) or found.get(key))]
        networks.sort(key=lambda sessions: (sessions[0].started_utc, sessions[0].session_id))
        rows += [
            latency_of(
                *(one, reference, scatter, coverage),
                fresh.get(one[0].graph_hash, ()),
                newest_energy(energies.get(one[0].graph_hash, ())),
            )
            for one in networks
            if usable_sessions(one)
        ]
    return sorted(rows, key=lambda row: row.latency_ms)


def _by_network(
    store: Store, reference: ReferenceLatency, hashes: Sequence[str], purpose: str
) -> dict[str, list[SessionRecord]]:
    """Return the sessions of networks that may be merged, by network, of those with near cores if there are any.

    Sessions that cannot be read are left out.
    """
    by_network: dict[str, list[SessionRecord]] = {}
    for session in store.sessions(reference.configuration, hashes, purpose=purpose) if hashes else ():
        by_network.setdefault(session.graph_hash, []).append(session)
    return {key: near_sessions(mergeable(sessions), reference) for key, sessions in by_network.items()}


def mergeable(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions of a network, oldest first, that may be merged: of the model measured last, if it has changed under its
    name, and of the last known arithmetic or of none known.
    """
    same = of_last_model(sessions)
    known = [session.arithmetic for session in same if session.arithmetic != UNKNOWN]
    return [session for session in same if session.arithmetic in (UNKNOWN, *known[-1:])]
