"""What the networks and blocks of a library's space cost: latencies on devices, from the store or from files, and the rest."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.prediction.bench_files import file_latency, latency_files
from harness.prediction.provenance import Provenance
from harness.query.latencies import LatencySource, stored_latency
from harness.query.properties import property_cost
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from search.table import Cost
    from search.table.costs import NetworkCosts
    from space import SpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SpaceCosts:
    """Costs of a space's networks by name, what stands behind each latency, and the latency of each block.

    `blocks` are columns for signatures, "latency:NAME" -> float64 (stages, B) in ms; `sources` say of each column where it
    is from.
    """

    costs: Mapping[str, Cost]
    behind: Mapping[str, Provenance]
    blocks: Mapping[str, NDArray[np.float64]]
    sources: Mapping[str, str]

    @property
    def amounts(self) -> Mapping[str, NetworkCosts]:
        """The costs, to be asked for single networks."""
        from search.table.costs import TabulatedCosts

        return {name: TabulatedCosts(cost=cost) for name, cost in self.costs.items()}


def costs_of(
    store: Store,
    config: SpaceConfig,
    subjects: Sequence[str],
    latencies: LatencySource,
    say: Callable[[str], None],
) -> SpaceCosts:
    """Return the costs of every network of a space: names of `search.table.constraints.PROPERTIES`, else devices.

    Raises: ConfigError, naming a device without measurements of the space and what to type.
    """
    from search.blockwise.signatures import LATENCY
    from search.table.constraints import PROPERTIES

    files = latency_files(latencies.files)
    costs: dict[str, Cost] = {}
    behind: dict[str, Provenance] = {}
    blocks, sources = {}, {}
    for name in dict.fromkeys(subjects):
        if name in PROPERTIES:
            costs[name] = property_cost(name, config, say)
            continue
        if name in files:
            costs[name], behind[name] = file_latency(files[name], name, config, doubtful=latencies.doubtful)
        else:
            configuration = find_configuration(
                store, name, runtime=latencies.runtime, threads=latencies.threads, space=config.name
            )
            costs[name], behind[name] = stored_latency(store, name, configuration, latencies, say)
        blocks[LATENCY + name], sources[LATENCY + name] = block_latencies(
            store, behind[name].configuration, costs[name], config, doubtful=latencies.doubtful
        )
    return SpaceCosts(costs=costs, behind=behind, blocks=blocks, sources=sources)


def block_latencies(
    store: Store,
    configuration: Configuration | None,
    cost: Cost,
    config: SpaceConfig,
    *,
    doubtful: bool = False,
) -> tuple[NDArray[np.float64], str]:
    """Return the latency of each block with the reduction after it, (stages, B) in ms, and where it is from.

    From segments measured as models of their own, if all cells and reductions are; else what each block adds to the
    networks' latencies, over the fastest block of its stage; NaN where none of its networks has a latency.
    """
    import numpy as np

    from harness.prediction.space_prediction import graded_segments
    from search.integer_program.solve import additive_part
    from space.indexing import block_indices
    from space.segments import Segment

    count, apart = 0, ""
    if configuration is not None:
        reference = store.reference_latency(configuration)
        ratios, told = graded_segments(store, configuration, doubtful=doubtful)
        apart = f", {told}" if told and not told.taken else ""
        stages = range(config.stages)
        cells = [
            [str(Segment(kind="cell", stage=stage, block=block, config=config)) for block in config.blocks]
            for stage in stages
        ]
        reductions = [str(Segment(kind="reduction", stage=stage, config=config)) for stage in stages]
        needed = [*reductions, *(cell for row in cells for cell in row)]
        count = sum(name in ratios for name in needed)
        if reference is not None and count == len(needed):
            table = np.array([[ratios[cell] for cell in row] for row in cells])
            table += np.array([ratios[one] for one in reductions])[:, None]
            return table * (reference.latency_ns / 1e6), "segments measured as models of their own"
    effects, _ = additive_part(config, cost.values)
    digits = block_indices(config, np.flatnonzero(np.isfinite(cost.values)))
    for stage in range(config.stages):  # a block that only networks of unknown latency hold has no effect
        effects[stage, np.setdiff1d(np.arange(len(config.blocks)), digits[:, stage])] = np.nan
    part = f" ({count} of its segments are measured{apart}; 'harness measure --models segments' measures all)"
    return (
        effects - np.nanmin(effects, axis=1, keepdims=True),
        f"the additive part of the networks' latencies, over each stage's fastest block{part}",
    )
