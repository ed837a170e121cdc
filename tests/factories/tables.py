"""Joined tables made by hand or at random, small enough to check by plain loops; every accuracy is synthetic."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from search.table import Cost, NetworkTable
from space import MINI, SpaceConfig
from space.accuracies import Accuracies


def made_accuracies(
    values: Sequence[float], *, seed_sd: float | None = None, config: SpaceConfig = MINI
) -> Accuracies:
    """Return synthetic accuracies of the first networks of a space; the others have none."""
    column = np.full(len(config), np.nan)
    column[: len(values)] = values
    counts = (~np.isnan(column)).astype(np.int64)
    return Accuracies(
        metric="synthetic_top1",
        epoch="",
        seeds=(0,),
        values=column,
        seed_counts=counts,
        seed_sd=seed_sd,
        origin=("made here",),
        synthetic=True,
        config=config,
    )


def made_cost(
    name: str,
    values: Sequence[float],
    half: float | None = None,
    *,
    unit: str = "ms",
    config: SpaceConfig = MINI,
) -> Cost:
    """Return a cost of the first networks, NaN for the others, with intervals of +- `half` of it where that is given."""
    column = np.full(len(config), np.nan)
    column[: len(values)] = values
    if half is None:
        return Cost(name=name, unit=unit, title="synthetic", values=column, synthetic=True)
    return Cost(
        name=name,
        unit=unit,
        title="synthetic",
        values=column,
        low=column * (1 - half),
        high=column * (1 + half),
        coverage=0.9,
        synthetic=True,
    )


def made_table(accuracies: Sequence[float], *costs: Cost, seed_sd: float | None = None) -> NetworkTable:
    """Return the table of these."""
    return NetworkTable(
        config=MINI,
        accuracy=made_accuracies(accuracies, seed_sd=seed_sd),
        costs={cost.name: cost for cost in costs},
    )
