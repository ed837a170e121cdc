"""Costs of the networks and blocks of a library's space: latencies from the store or from files, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.prediction.provenance import Provenance
from harness.prediction.space_prediction import graded_segments
from harness.query.costs import cost_columns
from harness.query.latencies import LatencySource
from harness.query.sums import check_no_fresh, cost_sums, unseen_blocks
from harness.records import Configuration
from harness.store import Store
from search.blockwise.setting import SpaceCosts
from search.distillation.signatures import LATENCY
from search.integer_program.solve import additive_part
from search.table import Cost
from space import SpaceConfig, is_enumerable
from space.indexing import FloatArray, available, block_indices
from space.segments import stage_segments
from space.stages import SpaceStage
from space.text import counted


def space_costs(
    store: Store,
    config: SpaceConfig,
    subjects: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None],
    *,
    as_sums: bool = False,
) -> tuple[SpaceCosts, dict[str, Provenance]]:
    """Return the costs of a space, and the provenance of each latency by its name.

    `subjects` are names of `search.table.constraints.PROPERTIES`, else devices. All networks are listed where the space is
    enumerable; in a larger one, and with `as_sums`, costs are sums over blocks. Blocks of unknown cost are logged.
    Raises: ConfigError, naming a device without (enough) measurements of the space, with the command, or a cost that is no sum.
    """
    if as_sums or not is_enumerable(config):
        return _sums(store, config, subjects, latencies, log)
    check_no_fresh(subjects)
    columns, provenance = cost_columns(store, config, subjects, latencies, log)
    blocks, sources = {}, {}
    for name, one in provenance.items():
        blocks[LATENCY + name], sources[LATENCY + name] = _listed_blocks(
            store, config, columns[name], one.configuration, doubtful=latencies.doubtful
        )
    return SpaceCosts(costs=columns, blocks=blocks, sources=sources, is_listed=True), provenance


def _sums(
    store: Store,
    config: SpaceConfig,
    subjects: Sequence[str],
    latencies: LatencySource,
    log: Callable[[str], None],
) -> tuple[SpaceCosts, dict[str, Provenance]]:
    costs, found = cost_sums(store, config, subjects, latencies, log)
    unseen = unseen_blocks(config, found)
    blocks, sources = {}, {}
    for name, one in found.items():
        if text := one.unseen_text:
            log(f"{name}: {text}: networks with them are left out; --models design:1 measures each once")
        added = np.where(one.unseen, np.nan, one.fitted.blocks * one.reference_ms)
        blocks[LATENCY + name], sources[LATENCY + name] = block_latencies(
            config,
            one.segments,
            one.reference_ms,
            partial(np.copy, added),
            f"the latency that each block adds in the predictor {one.fitted.chosen}",
            one.apart,
        )
    return (
        SpaceCosts(
            costs=costs,
            blocks=blocks,
            sources=sources,
            is_listed=False,
            unseen=unseen,
        ),
        {name: one.provenance for name, one in found.items()},
    )


def block_latencies(
    config: SpaceConfig,
    segments: Mapping[str, float],
    reference_ms: float,
    added: Callable[[], FloatArray],
    origin: str,
    apart: Doubtful,
) -> tuple[FloatArray, str]:
    """Return the latency of each block and the rest of its stage, (stages, B) in ms, and its source.

    They are measured segments where those of all stages were measured; else `added`, (stages, B) in ms: the increase of networks'
    latencies over the fastest block of the stage, of the source `origin`. NaN marks unknown ones and blocks of other stages.
    `segments` are ratios to the reference's latency; `apart` are those of grade D.
    """
    parts = {
        (number, place): [
            str(one) for one in stage_segments(SpaceStage(config, number), config.blocks[place])
        ]
        for number, places in enumerate(config.choices)
        for place in places
    }
    count = len({name for names in parts.values() for name in names} & segments.keys())
    if all(name in segments for names in parts.values() for name in names):
        table = np.full((config.stages, len(config.blocks)), np.nan)
        for block, names in parts.items():
            table[block] = sum(segments[name] for name in names)
        return table * reference_ms, "segments measured as models of their own"
    left_out = f", {apart}" if apart and not apart.taken else ""
    effects = np.where(available(config), added(), np.nan)
    return (
        effects - np.nanmin(effects, axis=1, keepdims=True),
        f"{origin}, over each stage's fastest block "
        f"({counted(count, 'of its segments is', 'of its segments are')} measured{left_out}; "
        "'harness measure --models segments' measures all)",
    )


def _listed_blocks(
    store: Store, config: SpaceConfig, cost: Cost, configuration: Configuration | None, *, doubtful: bool
) -> tuple[FloatArray, str]:
    """Return `block_latencies` of a device whose latencies are listed; `configuration`: None of those from a file."""
    segments: dict[str, float] = {}
    reference_ms, apart = 0.0, Doubtful()
    reference = None if configuration is None else store.reference_latency(configuration)
    if configuration is not None and reference is not None:
        segments, apart = graded_segments(store, configuration, doubtful=doubtful)
        reference_ms = reference.latency_ns / 1e6

    def added() -> FloatArray:
        effects, _ = additive_part(config, cost.values)
        found = block_indices(config, np.flatnonzero(np.isfinite(cost.values)))
        for stage in range(config.stages):  # a block that only networks of unknown latency hold has no effect
            effects[stage, np.setdiff1d(np.arange(len(config.blocks)), found[:, stage])] = np.nan
        return effects

    origin = "the additive part of the networks' latencies"
    return block_latencies(config, segments, reference_ms, added, origin, apart)
