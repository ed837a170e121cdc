"""Costs of a space that nothing lists, as sums over blocks: latencies from the store, and the rest by arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.prediction.provenance import Provenance, facts_of, provenance_of
from harness.query.latencies import LatencySource
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration, measure_command
from space.errors import ConfigError

if TYPE_CHECKING:
    from exporters import Format
    from search.latency.additive import Additive
    from search.table.costs import AdditiveCosts, BlockSums, NetworkCosts
    from space import SpaceConfig

FLOAT_BYTES = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SummedCosts:
    """What `blockwise_costs.SpaceCosts` holds, of a space of any size."""

    costs: Mapping[str, AdditiveCosts]
    behind: Mapping[str, Provenance]
    blocks: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str]

    @property
    def amounts(self) -> Mapping[str, NetworkCosts]:
        """The costs, to be asked for single networks."""
        return self.costs


def summed_costs(
    store: Store,
    config: SpaceConfig,
    subjects: Sequence[str],
    latencies: LatencySource,
    say: Callable[[str], None],
) -> SummedCosts:
    """Return costs as sums over blocks: names of `search.table.constraints.PROPERTIES`, else devices of the store.

    Raises: ConfigError, naming a device without enough measurements of the space and what to type, or what cannot be a sum.
    """
    from search.blockwise.signatures import LATENCY
    from search.table.constraints import PROPERTIES

    if latencies.files:
        raise ConfigError(
            f"--latencies: a file names networks by hashes, and those of the {len(config):,} networks of space {config.name!r} "
            "cannot be looked up; measure with --store, and leave it out"
        )
    if latencies.measured_only:
        raise ConfigError(
            f"--measured-only: of the {len(config):,} networks of space {config.name!r} hardly any is measured; leave it out: "
            "measured latencies count where they are"
        )
    costs: dict[str, AdditiveCosts] = {}
    behind: dict[str, Provenance] = {}
    blocks, sources = {}, {}
    for name in dict.fromkeys(subjects):
        if name in PROPERTIES:
            costs[name] = property_sums(name, config, say)
            continue
        configuration = find_configuration(
            store, name, runtime=latencies.runtime, threads=latencies.threads, space=config.name
        )
        found = latency_sums(store, name, configuration, config, latencies)
        costs[name], behind[name], blocks[LATENCY + name], sources[LATENCY + name] = found
        if np.isinf(costs[name].margin):
            say(
                f"{name}: {behind[name].measured} measured networks are too few for intervals of {latencies.coverage:.0%}: "
                f"predicted latencies have no upper bound there; measure more: {measure_command(configuration)} --models design:1"
            )
    return SummedCosts(costs=costs, behind=behind, blocks=blocks, sources=sources)


def property_sums(name: str, config: SpaceConfig, say: Callable[[str], None]) -> AdditiveCosts:
    """Return what `property_cost` does, as sums: of one for each stage and one more the largest, where it is memory."""
    from search.table.constraints import PROPERTIES
    from search.table.costs import AdditiveCosts

    totals: list[BlockSums]
    if name in ("params", "macs"):
        title = "parameters" if name == "params" else "multiply-accumulates of one image"
        totals = [_counted(name, config)]
    elif name == "memory":
        title, totals = "weights and feature maps, by arithmetic", _memory(config)
    else:
        from harness.models.exported import cache_folder
        from harness.models.sizes import sizes_by_block
        from search.table.costs import BlockSums

        model_format: Format = "onnx" if name == "onnx-size" else "tflite"
        say(f"{name}: what each block adds to a file")
        blocks, constant = sizes_by_block(model_format, cache_folder(), config)
        title, totals = f"bytes of the {model_format} file", [BlockSums(blocks=blocks, constant=constant)]
    return AdditiveCosts(name=name, unit=PROPERTIES[name], title=title, config=config, totals=tuple(totals))


def latency_sums(
    store: Store, name: str, configuration: Configuration, config: SpaceConfig, latencies: LatencySource
) -> tuple[AdditiveCosts, Provenance, NDArray[np.float64], str]:
    """Return a configuration's latencies in ms, what stands behind them, and the latency of each block with where it is from.

    Raises: ConfigError when too few networks are measured for a predictor.
    """
    from harness.prediction.space_prediction import check_enough, graded_segments, measured_networks
    from search.latency.additive import fit_additive
    from search.table.costs import AdditiveCosts, BlockSums, CostEstimate
    from space.segments import all_segments

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
    cost = AdditiveCosts(
        name=name,
        unit="ms",
        title=f"latency on {configuration.device}, {configuration.runtime}",
        config=config,
        totals=(
            BlockSums(
                blocks=fitted.blocks * measured.reference_ms,
                constant=fitted.constant * measured.reference_ms,
            ),
        ),
        margin=hypot(fitted.margin(coverage), measured.reference_reach(coverage)),
        coverage=coverage,
        known=known,
    )
    about = facts_of(store, configuration, measured, apart) | {
        "predicted": len(config) - len(measured.rows),
        "predictor": fitted.chosen,
        "error": fitted.errors.mape,
    }
    behind = provenance_of(configuration, about)
    return cost, behind, *_block_latencies(fitted, parts, config, measured.reference_ms)


def _block_latencies(
    fitted: Additive, parts: Mapping[str, float] | None, config: SpaceConfig, reference_ms: float
) -> tuple[NDArray[np.float64], str]:
    """Return the latency of each block with the reduction after it, (stages, B) in ms, as `blockwise_costs.block_latencies`."""
    from search.latency.parts import parts_by_block
    from space.segments import Segment

    if parts is None:
        added = fitted.blocks - fitted.blocks.min(axis=1, keepdims=True)
        return (
            added * reference_ms,
            f"what each block adds in the predictor {fitted.chosen}, over each stage's fastest block",
        )
    cells, _ = parts_by_block(parts, config)
    reductions = [
        parts[str(Segment(kind="reduction", stage=stage, config=config))] for stage in range(config.stages)
    ]
    whole: NDArray[np.float64] = (cells + np.array(reductions)[:, None]) * reference_ms
    return whole, "segments measured as models of their own"


def _counted(name: str, config: SpaceConfig) -> BlockSums:
    from search.table.costs import BlockSums
    from space.costs import block_costs, fixed_cost

    blocks = np.array(
        [[getattr(cost, name) for cost in row] for row in block_costs(config)], dtype=np.float64
    )
    return BlockSums(blocks=blocks, constant=float(getattr(fixed_cost(config), name)))


def _memory(config: SpaceConfig) -> list[BlockSums]:
    """Return the sums whose largest is a network's memory: its weights, and the peak of one stage or of what all share."""
    from search.table.costs import BlockSums
    from space.memory import block_peaks, fixed_peak

    params = _counted("params", config)
    weights, constant = FLOAT_BYTES * params.blocks, FLOAT_BYTES * params.constant
    totals = [BlockSums(blocks=weights, constant=constant + fixed_peak(config))]
    for stage, peaks in enumerate(block_peaks(config)):
        blocks = weights.copy()
        blocks[stage] += peaks
        totals.append(BlockSums(blocks=blocks, constant=constant))
    return totals
