"""An index and the blocks that it stands for name each other, one by one and in arrays, in every space."""

from __future__ import annotations

import subprocess
import sys
from itertools import islice, product

import numpy as np
import pytest

from space import BLOX, DEEP, MINI, SPACES, TINY, Architecture, SpaceConfig
from space.hash_table import hashes_at
from space.indexing import block_indices, blocks_of, index_of, indices_of, network_texts

SAMPLES = [
    (config, index)
    for config in SPACES.values()
    for index in (0, 1, 44, 45, 1012, len(config) // 3, len(config) - 1)
]


@pytest.mark.parametrize(("config", "index"), SAMPLES)
def test_an_index_is_the_architecture_of_its_blocks(config: SpaceConfig, index: int) -> None:
    blocks = blocks_of(config, index)
    assert index_of(config, blocks) == index
    architecture = Architecture(blocks=tuple(config.blocks[block] for block in blocks), config=config)
    assert architecture.index == index
    assert Architecture.from_index(index, config) == architecture


@pytest.mark.parametrize("config", SPACES.values())
def test_many_networks_have_the_texts_and_hashes_of_each(config: SpaceConfig) -> None:
    indices = [0, len(config) - 1, 1012, 45]
    networks = [Architecture.from_index(index, config) for index in indices]
    assert network_texts(config, indices) == [str(network) for network in networks]
    assert hashes_at(config, indices) == [network.graph_hash for network in networks]
    assert network_texts(config, []) == hashes_at(config, []) == []


def test_the_first_stage_changes_fastest() -> None:
    slowest_first = islice(product(range(45), repeat=3), 5000)
    assert [blocks_of(BLOX, index) for index in range(5000)] == [blocks[::-1] for blocks in slowest_first]


@pytest.mark.parametrize("config", [TINY, MINI, BLOX])
def test_arrays_of_a_whole_space_say_the_same_as_single_networks(config: SpaceConfig) -> None:
    blocks = block_indices(config, np.arange(len(config)))
    assert blocks.shape == (len(config), config.stages) and blocks.dtype == np.int64
    assert indices_of(config, blocks).tolist() == list(range(len(config)))
    some = range(0, len(config), 97)
    assert [tuple(blocks[index].tolist()) for index in some] == [blocks_of(config, index) for index in some]


def test_arrays_of_blocks_keep_their_shape() -> None:
    blocks = np.arange(2 * 3 * DEEP.stages).reshape(2, 3, DEEP.stages)
    found = indices_of(DEEP, blocks)
    assert found.shape == (2, 3)
    assert found[1, 2] == index_of(DEEP, blocks[1, 2].tolist())
    assert block_indices(DEEP, []).shape == (0, DEEP.stages)


def test_an_index_beyond_the_space_has_no_blocks() -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        block_indices(TINY, [0, len(TINY)])


def test_naming_arrays_loads_no_numpy() -> None:
    code = "import sys, space.indexing; print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
