"""Peak memory: counted by hand for parts of the miniature space, and equal network by network to a plain simulation."""

from __future__ import annotations

import numpy as np
import pytest

from space import BLOX, MINI, ArchitectureError, SpaceConfig
from space.block import Block
from space.costs import all_params
from space.memory import all_memory, block_peaks, fixed_peak

MAP = 8 * 16 * 16 * 4  # bytes of a feature map of the first stage of MINI
GATE = 2 * 8 * 4  # of the gate of its mbconv


def peak_of(text: str) -> int:
    place = {str(block): i for i, block in enumerate(MINI.blocks)}[text]
    return block_peaks(MINI)[0][place]


@pytest.mark.parametrize(
    ("text", "bytes_"),
    [
        ("conv", 2 * MAP),  # in and out
        ("mbconv", 5 * MAP + GATE),  # the residual, the wide map, the gate, and the gated wide map
        ("bconv", 5 * MAP),  # the residual, a map of 2C in and one of 2C out
        ("conv-conv", 2 * MAP),
        ("conv-conv+in", 3 * MAP),  # the cell's input waits for the sum while conv runs
        ("conv-conv+out", 3 * MAP),  # node 1 waits for the last sum
        ("conv-conv+in+out", 3 * MAP),
        ("conv+conv", 3 * MAP),
        ("conv-mbconv", 5 * MAP + GATE),
        ("conv-mbconv+in", 5 * MAP + GATE),  # the sum has been made by then
        ("conv-mbconv+out", 6 * MAP + GATE),  # node 1 waits; of the second layer's residual it is another map
        ("mbconv-conv+in", 6 * MAP + GATE),
    ],
)
def test_the_peak_of_a_block_is_what_a_person_counts(text: str, bytes_: int) -> None:
    assert peak_of(text) == bytes_


def test_what_all_networks_share_peaks_at_the_stem_or_a_reduction() -> None:
    # stem: image 3 and 8 channels; reduction: input 8 and, a quarter of the pixels, 16 channels twice and the sum
    assert fixed_peak(MINI) == max((3 + 8) * 16 * 16, (8 + 4 + 4) * 16 * 16) * 4


def test_memory_is_weights_and_the_largest_peak_of_the_networks_parts() -> None:
    memory, peaks = all_memory(MINI), block_peaks(MINI)
    for index in (0, 44, 45, 1000, 2024):
        first, second = index % 45, index // 45
        peak = max(fixed_peak(MINI), peaks[0][first], peaks[1][second])
        assert memory[index] == 4 * all_params(MINI)[index] + peak
    assert all_memory(BLOX).shape == (91_125,)
    assert np.all(all_memory(BLOX) > 4 * all_params(BLOX))


def test_a_bigger_cell_never_needs_less_than_its_parts() -> None:
    alone = {block.op1: block_peaks(BLOX)[0][i] for i, block in enumerate(BLOX.blocks) if block.op0 is None}
    for i, block in enumerate(BLOX.blocks):
        assert isinstance(block, Block)
        for op in (block.op0, block.op1):
            if op is not None:
                assert block_peaks(BLOX)[0][i] >= alone[op]


def test_an_op_without_layers_is_refused() -> None:
    odd = SpaceConfig(name="odd", ops=("conv", "swish"), widths=(8,), image_size=8, classes=2)
    with pytest.raises(ArchitectureError, match="op 'swish' has no costs"):
        block_peaks(odd)
