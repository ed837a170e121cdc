"""Known networks of a space too large to list: those with an accuracy, and those that were measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from harness.prediction.provenance import Provenance
from harness.query.accuracies import AccuracySource, load, precision_text
from harness.query.latencies import LatencySource
from harness.query.sums import LatencySums, cost_sums
from harness.store import Store
from search.table import Cost, NetworkTable
from search.table.constraints import split_subject
from search.table.costs import AdditiveCosts
from search.table.table import NOT_MEASURED
from space import SpaceConfig
from space.accuracies import Accuracies
from space.errors import ConfigError
from space.hash_table import first_names, network_key
from space.indexing import IndexArray, block_indices
from space.text import agreeing


def known_table(
    store: Store,
    config: SpaceConfig,
    accuracies: AccuracySource,
    costs: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None],
) -> tuple[NetworkTable, dict[str, Provenance], list[str]]:
    """Join accuracies, if any, and costs of the networks that have an accuracy or were measured, each once.

    Latencies of unmeasured ones are predicted. Returns the table, the provenance of each latency by its name, and what is missing
    or doubtful. Raises: ConfigError as `cost_sums`, for accuracies that cannot be read, or where no network has either.
    """
    if fresh := [name for name in costs if split_subject(name)[1]]:
        raise ConfigError(
            f"{fresh[0]}: of the {len(config):,} networks of space {config.name!r} a page has latencies and what is computed, "
            f"and neither energy nor what fresh processes take; show {split_subject(fresh[0])[0]!r}, or leave it out"
        )
    found = load(accuracies, config) if accuracies.paths else []
    sums, devices = cost_sums(store, config, costs, latencies, log)
    named = [one.indices for one in found if one.indices is not None]
    named += [np.array(list(one.cost.known), dtype=np.int64) for one in devices.values()]
    if not named:
        raise ConfigError(
            f"of the {len(config):,} networks of space {config.name!r} none is known: measure some, or name accuracies of some "
            "with --accuracies"
        )
    indices = np.unique(first_names(config, np.concatenate(named)))
    bare = Accuracies(
        metric="top1",
        epoch="",
        seeds=(),
        values=np.zeros(0),
        seed_counts=np.zeros(0, dtype=np.int64),
        seed_sd=None,
        origin=(),
        synthetic=False,
        config=config,
        indices=np.zeros(0, dtype=np.int64),
    )
    accuracy, *shown = [_of_networks(one, indices) for one in found or [bare]]
    table = NetworkTable(
        config=config,
        accuracy=accuracy,
        costs={name: _cost(cost, devices.get(name), indices) for name, cost in sums.items()},
        shown=tuple(shown),
        indices=indices,
    )
    provenance = {}
    for name, one in devices.items():
        cost = table.costs[name]
        predicted = np.count_nonzero((cost.grades == NOT_MEASURED) & ~np.isnan(cost.values))
        provenance[name] = replace(one.provenance, predicted=int(predicted))
    return table, provenance, _notes(table, devices)


def _of_networks(accuracies: Accuracies, indices: IndexArray) -> Accuracies:
    """Return the accuracies of these networks (n,), by whatever names they were read."""
    config = accuracies.config
    assert accuracies.indices is not None
    place = {network_key(config, index): at for at, index in enumerate(accuracies.indices.tolist())}
    places = np.array([place.get(network_key(config, index), -1) for index in indices.tolist()])
    return replace(
        accuracies,
        indices=indices,
        values=np.append(accuracies.values, np.nan)[places],
        seed_counts=np.append(accuracies.seed_counts, 0)[places],
    )


def _cost(cost: AdditiveCosts, latency: LatencySums | None, indices: IndexArray) -> Cost:
    """Return the costs of networks (n,) as a column; of a `latency` those without an unseen block are like measured ones."""
    column = cost.column(indices)
    if latency is None or column.measured is None:
        return column
    config = latency.cost.config
    unseen = latency.unseen[np.arange(config.stages), block_indices(config, indices)].any(axis=1)
    is_like = column.measured | (latency.fitted.predictor.predict(indices).supported & ~unseen)
    return replace(column, supported=is_like & ~np.isnan(column.values))


def _notes(table: NetworkTable, devices: Mapping[str, LatencySums]) -> list[str]:
    config = table.config
    notes = [
        f"{len(table):,} of the {len(config):,} networks of the space {agreeing(len(table), 'is', 'are')} known here, as "
        "measured or with an accuracy; of all others nothing is said",
        *table.accuracy.notes,
    ]
    for name, one in devices.items():
        precision = "" if np.isnan(table.accuracy.values).all() else one.provenance.precision
        said = precision_text(table.accuracy, precision)
        notes += [f"{name}: {text}" for text in (said, one.unseen_text, one.provenance.doubt_note) if text]
    return notes
