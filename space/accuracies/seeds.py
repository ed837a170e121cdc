"""Mean accuracy over seeds, and its standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from space.accuracies.accuracies import Accuracies
from space.architecture import BLOX
from space.config import SpaceConfig, is_enumerable
from space.errors import DatasetError, MissingMetric
from space.hash_table import first_equals
from space.text import agreeing, counted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedAccuracies:
    """Accuracies as read, one for each network and seed, in percent.

    `indices`, int64 (n,), are canonical, those of equal networks the first's (`space.hash_table.first_names`), and no network
    comes twice with one seed; `seeds`, int64 (n,), or None where the
    file names none; `values`, float64 (n,), NaN where a training left none. The other fields are those of `Accuracies`.
    """

    metric: str
    epoch: str
    indices: NDArray[np.int64]
    seeds: NDArray[np.int64] | None
    values: NDArray[np.float64]
    origin: tuple[str, ...]
    synthetic: bool
    notes: tuple[str, ...] = ()
    config: SpaceConfig = BLOX


def mean_over_seeds(measured: SeedAccuracies, wanted: tuple[int, ...] = ()) -> Accuracies:
    """Return each network's mean over the wanted seeds that it was trained with; over all of them where none is named.

    Networks of one graph have one accuracy, whichever of them a file names. Of a space too large to list these are all.

    Raises:
        DatasetError: a wanted seed is not there, or there is no value at all.
    """
    chosen, seeds = _chosen(measured, wanted)
    indices, values = measured.indices[chosen], measured.values[chosen]
    there = ~np.isnan(values)
    notes = list(measured.notes)
    if missing := int((~there).sum()):
        notes.append(
            f"{missing:,} of {len(values):,} rows {agreeing(missing, 'has', 'have')} no {measured.metric} and "
            f"{agreeing(missing, 'counts', 'count')} as missing"
        )
    indices, values = indices[there], values[there]
    if not len(values):
        raise MissingMetric(
            f"{', '.join(measured.origin)}: no network has a number as its {measured.metric}; check the column"
        )
    networks, places, counts = np.unique(indices, return_inverse=True, return_counts=True)
    means = np.bincount(places, values) / counts
    freedom = int((counts - 1).sum())
    seed_sd = float(np.sqrt(((values - means[places]) ** 2).sum() / freedom)) if freedom else None
    several, few = int(counts.max()), int((counts < counts.max()).sum())
    if few:
        notes.append(
            f"{counted(few, 'network was', 'networks were')} trained with fewer seeds than the {several} of others"
        )
    is_listed = is_enumerable(measured.config)
    if is_listed:
        first = first_equals(measured.config)
        of_all, counts_of_all = np.full(len(first), np.nan), np.zeros(len(first), dtype=np.int64)
        of_all[networks], counts_of_all[networks] = means, counts
        means, counts = of_all[first], counts_of_all[first]
    return Accuracies(
        metric=measured.metric,
        epoch=measured.epoch,
        seeds=seeds,
        values=means,
        seed_counts=counts.astype(np.int64),
        seed_sd=seed_sd,
        origin=measured.origin,
        synthetic=measured.synthetic,
        notes=tuple(notes),
        config=measured.config,
        indices=None if is_listed else networks,
        seed_freedom=freedom or None,
    )


def _chosen(measured: SeedAccuracies, wanted: tuple[int, ...]) -> tuple[NDArray[np.bool_], tuple[int, ...]]:
    """Mark the rows of the wanted seeds, (n,), and return these seeds, rising."""
    names = ", ".join(measured.origin)
    if measured.seeds is None:
        if wanted:
            raise DatasetError(f"{names}: tells no seeds, so that none can be chosen; name no seed")
        return np.ones(len(measured.values), np.bool_), ()
    known = np.unique(measured.seeds).tolist()
    for seed in wanted:
        if seed not in known:
            raise MissingMetric(
                f"{names}: no {measured.metric} of seed {seed}; there are those of {', '.join(map(str, known))}"
            )
    seeds = tuple(sorted(set(wanted))) or tuple(known)
    return np.isin(measured.seeds, seeds), seeds
