"""Costs of the networks and blocks of a library's space: latencies from the store or from files, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import hypot

import numpy as np

from harness.estimates.doubtful import Doubtful
from harness.prediction.bench_files import file_latency, latency_files
from harness.prediction.provenance import Provenance, facts_of, provenance_of
from harness.prediction.space_prediction import check_enough, graded_segments, measured_networks
from harness.query.latencies import LatencySource, stored_latency
from harness.query.properties import property_cost, property_sums, size_precision
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration, measure_command
from search.blockwise.space_costs import SpaceCosts
from search.distillation.signatures import LATENCY
from search.integer_program.solve import additive_part
from search.latency.additive import fit_additive
from search.table import Cost
from search.table.constraints import PROPERTIES, split_subject
from search.table.costs import AdditiveCosts, BlockSums, CostEstimate, TabulatedCosts
from space import SpaceConfig, is_enumerable
from space.errors import ConfigError
from space.indexing import FloatArray, available, block_indices
from space.segments import all_segments, stage_segments
from space.stages import SpaceStage


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Latency:
    """A device's latencies with their provenance, and those of single blocks, (stages, B) in ms, with their source."""

    cost: TabulatedCosts | AdditiveCosts
    provenance: Provenance
    blocks: FloatArray
    source: str


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
    enumerable; in a larger one, and with `as_sums`, costs are sums over blocks.
    Raises: ConfigError, naming a device without (enough) measurements of the space and what to type, or what cannot be a sum.
    """
    is_listed = is_enumerable(config) and not as_sums
    if not is_listed:
        _check_sums(config, latencies)
    files = latency_files(latencies.files, allow_pickle=latencies.allow_pickle)
    costs: dict[str, TabulatedCosts | AdditiveCosts] = {}
    found: dict[str, _Latency] = {}
    names = list(dict.fromkeys(subjects))
    for name in (name for name in names if name not in PROPERTIES):
        device, fresh = split_subject(name)
        if fresh:
            raise ConfigError(
                f"{name}: a blockwise search has no limits on energy, nor on what fresh processes take; limit {device!r}, "
                "'memory' (by arithmetic) or the size of files, or search with another --method"
            )
        if name in files:
            cost, provenance = file_latency(
                files[name],
                name,
                config,
                precision=latencies.precision,
                batch=latencies.batch,
                doubtful=latencies.doubtful,
                allow_pickle=latencies.allow_pickle,
            )
            found[name] = _listed(store, config, cost, provenance, latencies)
        else:
            configuration = find_configuration(store, name, replace(latencies.choice, space=config.name))
            if is_listed:
                cost, provenance = stored_latency(store, name, configuration, latencies, log)
                found[name] = _listed(store, config, cost, provenance, latencies)
            else:
                found[name] = _summed(store, name, configuration, config, latencies, log)
        costs[name] = found[name].cost
    precision = size_precision(names, latencies.precision, [one.provenance for one in found.values()])
    for name in (name for name in names if name in PROPERTIES):
        costs[name] = (
            TabulatedCosts(cost=property_cost(name, config, log, precision))
            if is_listed
            else property_sums(name, config, log, precision)
        )
    blocks = {LATENCY + name: one.blocks for name, one in found.items()}
    sources = {LATENCY + name: one.source for name, one in found.items()}
    return (
        SpaceCosts(
            costs={name: costs[name] for name in names}, blocks=blocks, sources=sources, is_listed=is_listed
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
    """Return the latency of each block with what follows it in its stage, (stages, B) in ms, and its source.

    From segments measured as models of their own, if those of all stages are; else what each block `added` to the
    networks' latencies, (stages, B) in ms, over the fastest block of its stage; NaN where that is not known, or a stage has no
    such block. `segments` are ratios to the reference's latency; `apart` are those of grade D; `origin` names what blocks added.
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
        f"{origin}, over each stage's fastest block ({count} of its segments are measured{left_out}; 'harness measure --models "
        "segments' measures all)",
    )


def _check_sums(config: SpaceConfig, latencies: LatencySource) -> None:
    if latencies.files:
        why = (
            "an integer program takes sums over blocks, and a file has latencies of networks"
            if is_enumerable(config)
            else f"a file names networks by hashes, and those of the {len(config):,} networks of space {config.name!r} cannot be "
            "looked up"
        )
        raise ConfigError(f"--latencies: {why}; measure with --store, and leave it out")
    if latencies.measured_only:
        why = (
            "an integer program takes sums over blocks, which are predicted"
            if is_enumerable(config)
            else f"of the {len(config):,} networks of space {config.name!r} hardly any is measured"
        )
        raise ConfigError(f"--measured-only: {why}; leave it out: measured latencies count where they are")


def _listed(
    store: Store, config: SpaceConfig, cost: Cost, provenance: Provenance, latencies: LatencySource
) -> _Latency:
    segments: dict[str, float] = {}
    reference_ms, apart = 0.0, Doubtful()
    configuration = provenance.configuration
    reference = None if configuration is None else store.reference_latency(configuration)
    if configuration is not None and reference is not None:
        segments, apart = graded_segments(store, configuration, doubtful=latencies.doubtful)
        reference_ms = reference.latency_ns / 1e6

    def added() -> FloatArray:
        effects, _ = additive_part(config, cost.values)
        found = block_indices(config, np.flatnonzero(np.isfinite(cost.values)))
        for stage in range(config.stages):  # a block that only networks of unknown latency hold has no effect
            effects[stage, np.setdiff1d(np.arange(len(config.blocks)), found[:, stage])] = np.nan
        return effects

    origin = "the additive part of the networks' latencies"
    blocks, source = block_latencies(config, segments, reference_ms, added, origin, apart)
    return _Latency(cost=TabulatedCosts(cost=cost), provenance=provenance, blocks=blocks, source=source)


def _summed(
    store: Store,
    name: str,
    configuration: Configuration,
    config: SpaceConfig,
    latencies: LatencySource,
    log: Callable[[str], None],
) -> _Latency:
    coverage, doubtful = latencies.coverage, latencies.doubtful
    measured = measured_networks(store, configuration, config, coverage=coverage, doubtful=doubtful)
    check_enough(measured)
    segments, apart = graded_segments(store, configuration, doubtful=doubtful)
    parts = segments if len(segments) == len(all_segments(config)) else None
    fitted = fit_additive(measured.indices, measured.ratios, sds=measured.sds, config=config, parts=parts)
    known = {}
    for index, row in zip(measured.indices.tolist(), measured.rows, strict=True):
        low, high = row.interval_ms or (np.nan, np.nan)
        known[index] = CostEstimate(
            value=row.latency_ms, low=low, high=high, grade=row.grade, is_measured=True
        )
    reference_ms = measured.reference_ms
    cost = AdditiveCosts(
        name=name,
        unit="ms",
        title=f"latency on {configuration.device}, {configuration.runtime}",
        config=config,
        totals=(BlockSums(blocks=fitted.blocks * reference_ms, constant=fitted.constant * reference_ms),),
        margin=hypot(fitted.margin(coverage), measured.reference_reach(coverage)),
        coverage=coverage,
        known=known,
    )
    about = facts_of(store, configuration, measured, apart) | {
        "predicted": len(config) - len(measured.rows),
        "predictor": fitted.chosen,
        "error": fitted.errors.mape,
    }
    provenance = provenance_of(configuration, about)
    if np.isinf(cost.margin):
        log(
            f"{name}: {provenance.measured} measured networks are too few for intervals of {coverage:.0%}: "
            f"predicted latencies have no upper bound there; measure more: {measure_command(configuration)} --models design:1"
        )
    origin = f"what each block adds in the predictor {fitted.chosen}"
    blocks, source = block_latencies(
        config, segments, reference_ms, lambda: fitted.blocks * reference_ms, origin, apart
    )
    return _Latency(cost=cost, provenance=provenance, blocks=blocks, source=source)
