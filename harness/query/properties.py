"""Costs of networks that need no device: parameters, multiply-accumulates, memory and sizes of files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np

from harness.devices.config import DEFAULT_PRECISION, Format, Precision, parse_precision
from harness.models.exported import cache_folder
from harness.models.sizes import sizes_by_block
from harness.prediction.provenance import Provenance
from search.table import Cost
from search.table.constraints import PROPERTIES
from search.table.costs import AdditiveCosts, BlockSums
from space.costs import block_costs, fixed_cost
from space.errors import ConfigError
from space.indexing import of_all_networks
from space.layout import FLOAT_BYTES
from space.memory import block_peaks, fixed_peak

if TYPE_CHECKING:
    from space import SpaceConfig

SIZES = ("onnx-size", "tflite-size")


def property_cost(
    name: str,
    config: SpaceConfig,
    log: Callable[[str], None] = lambda text: None,
    precision: Precision = DEFAULT_PRECISION,
) -> Cost:
    """Return the cost of every network in one of `search.table.constraints.PROPERTIES`.

    `log` takes messages on slow steps; `precision` is of the models whose files have a size.
    """
    sums = property_sums(name, config, log, precision)
    totals = [of_all_networks(config, one.constant, one.blocks) for one in sums.totals]
    return Cost(name=name, unit=sums.unit, title=sums.title, values=np.max(totals, axis=0))


def property_sums(
    name: str,
    config: SpaceConfig,
    log: Callable[[str], None] = lambda text: None,
    precision: Precision = DEFAULT_PRECISION,
) -> AdditiveCosts:
    """Return the same cost as sums over blocks, for a space of any size; memory is the largest of several sums."""
    if name in ("params", "macs"):
        totals = [_counted(name, config)]
    elif name == "memory":
        totals = _memory(config)
    else:
        log(f"{name}: what each block adds to a file")
        blocks, constant = sizes_by_block(_format(name), cache_folder(), config, precision)
        totals = [BlockSums(blocks=blocks, constant=constant)]
    return AdditiveCosts(
        name=name,
        unit=PROPERTIES[name].unit,
        title=_title(name, precision),
        config=config,
        totals=tuple(totals),
    )


def size_precision(costs: Iterable[str], named: str, latencies: Iterable[Provenance]) -> Precision:
    """Return the precision of the files whose sizes are among the costs: the one named, and that of all latencies.

    Raises: ConfigError where these differ.
    """
    if not any(name in SIZES for name in costs):
        return DEFAULT_PRECISION
    found = sorted({one.precision for one in latencies if one.precision} | ({named} if named else set()))
    if len(found) > 1:
        raise ConfigError(
            f"sizes of files: those of {' and '.join(found)} models differ; leave sizes out, or search in one precision: "
            f"--precision {found[0]}"
        )
    return parse_precision(found[0]) if found else DEFAULT_PRECISION


def _title(name: str, precision: Precision) -> str:
    """Return the title of a cost; of a file's size with a precision other than fp32."""
    is_size = name in SIZES and precision != DEFAULT_PRECISION
    return f"{PROPERTIES[name].title}{f' in {precision}' if is_size else ''}"


def _format(name: str) -> Format:
    return "onnx" if name == "onnx-size" else "tflite"


def _counted(name: str, config: SpaceConfig) -> BlockSums:
    blocks = np.array(
        [[getattr(cost, name) for cost in row] for row in block_costs(config)], dtype=np.float64
    )
    return BlockSums(blocks=blocks, constant=float(getattr(fixed_cost(config), name)))


def _memory(config: SpaceConfig) -> list[BlockSums]:
    """Return the sums of which the largest is a network's memory: weights plus the peak of one stage or of the shared parts."""
    params = _counted("params", config)
    weights, constant = FLOAT_BYTES * params.blocks, FLOAT_BYTES * params.constant
    totals = [BlockSums(blocks=weights, constant=constant + fixed_peak(config))]
    for stage, peaks in enumerate(block_peaks(config)):
        blocks = weights.copy()
        blocks[stage] += peaks
        totals.append(BlockSums(blocks=blocks, constant=constant))
    return totals
