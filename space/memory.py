"""Peak memory of an inference by arithmetic: no network is built and nothing is measured.

The bytes of all float32 parameters, and of the feature maps of one image that must exist at the same moment when each map is kept
from the step that writes it to the last step that reads it. A step is a convolution with its BatchNorm and ReLU, a
pooling, a product, a sum or the linear layer; none works in place. Runtimes add workspaces, packed copies of weights and
themselves, or save by working in place: this ranks networks and does not replace a measurement.

Between two cells one map is alive, so a network's peak is the largest of its parts' peaks.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from space.architecture import BLOX
from space.config import SpaceConfig
from space.costs import all_params
from space.indexing import of_all_networks
from space.layout import FLOAT_BYTES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@lru_cache(maxsize=64)
def block_peaks(config: SpaceConfig) -> tuple[tuple[int, ...], ...]:
    """Return the peak of feature maps of each block in canonical order, for each stage, in bytes.

    Raises:
        ArchitectureError: an op of the space has no layers to count.
    """
    found = []
    for choice in range(config.stages):
        peaks = [0] * len(config.blocks)
        for place, module in config.layout.chosen(choice):
            peaks[place] = max(peaks[place], module.traced.peak_bytes)
        found.append(tuple(peaks))
    return tuple(found)


@lru_cache(maxsize=64)
def fixed_peak(config: SpaceConfig) -> int:
    """Return the peak of feature maps of what all networks share: stem, reductions, head; in bytes."""
    return max(module.traced.peak_bytes for module in config.layout.fixed())


def all_memory(config: SpaceConfig = BLOX) -> NDArray[np.int64]:
    """Return parameters and peak of feature maps of all networks in canonical order, in bytes: (len(config),), int64.

    Raises:
        ArchitectureError: the space cannot be enumerated.
    """
    import numpy as np

    params = all_params(config)
    peaks = of_all_networks(config, fixed_peak(config), block_peaks(config), np.maximum)
    total: NDArray[np.int64] = FLOAT_BYTES * params + peaks
    return total
