"""Costs of every network that need no device: parameters, multiply-accumulates, memory and sizes of files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from harness.devices.config import Format
from harness.models.exported import cache_folder
from harness.models.sizes import file_sizes
from search.table import Cost
from search.table.constraints import PROPERTIES
from space.costs import all_macs, all_params
from space.memory import all_memory

if TYPE_CHECKING:
    from space import SpaceConfig
    from space.indexing import FloatArray


def property_cost(name: str, config: SpaceConfig, log: Callable[[str], None] = lambda text: None) -> Cost:
    """Return what every network costs in one of `search.table.constraints.PROPERTIES`; `log` is told what takes time."""
    values: FloatArray
    if name == "params":
        values, title = all_params(config).astype(float), "parameters"
    elif name == "macs":
        values, title = all_macs(config).astype(float), "multiply-accumulates of one image"
    elif name == "memory":
        values, title = all_memory(config).astype(float), "weights and feature maps, by arithmetic"
    else:
        model_format: Format = "onnx" if name == "onnx-size" else "tflite"
        log(f"{name}: sizes of all files")
        values, title = file_sizes(model_format, cache_folder(), config), f"bytes of the {model_format} file"
    return Cost(name=name, unit=PROPERTIES[name], title=title, values=values)
