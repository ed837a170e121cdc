"""The two spaces in examples/: NAS-Bench-Macro, and a chain of 21 sites that nothing lists."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from space import Architecture, ArchitectureError, Space, check_enumerable, find_space
from space.hash_table import all_digests
from space.indexing import block_indices, indices_of
from space.selection import select_models

EXAMPLES = Path(__file__).parents[2] / "examples"


def read(name: str) -> Space:
    return find_space(EXAMPLES / f"{name}.toml")


def test_nas_bench_macro_has_the_networks_of_its_paper() -> None:
    config = read("nas_bench_macro")
    assert len(config) == 6_561 and config.radices == (3,) * 8
    content = all_digests(config)
    # A stage's first site always counts; of the others only the order: 3 * 3 and twice 3 * 7 different ones.
    assert len({content[at : at + 16] for at in range(0, len(content), 16)}) == 9 * 21 * 21
    plainest = Architecture.parse("/".join(["identity"] * 8), config)
    stem, down = 27 * 32 + 64, (32 * 64 + 128) + (64 * 128 + 256) + (128 * 256 + 512)
    assert plainest.params == stem + down + (256 * 1280 + 2560) + (1280 * 10 + 10)
    assert plainest.macs == 27 * 32 * 32 * 32 + 32 * 64 * 256 + 64 * 128 * 64 + 128 * 256 * 16 + (
        256 * 1280 * 16 + 1280 * 10
    )
    residual = Architecture.parse("/".join(["identity", "mb3_k3", *["identity"] * 6]), config)
    wide = 3 * 64
    assert residual.params - plainest.params == 2 * 64 * wide + 9 * wide + 2 * (2 * wide + 64)


@pytest.mark.long
@pytest.mark.slow
def test_a_chain_of_21_sites_is_numbered_and_never_listed() -> None:
    config = read("mobile_chain")
    assert config.count == 6**6 * 7**15 and config.chain is not None and len(config.chain.sites) == 22
    chosen = [*config.sample(20, seed=3), config[len(config) - 1]]
    for network in chosen:
        assert Architecture.parse(str(network), config).index == network.index
    indices = np.array([network.index for network in chosen])
    assert indices.max() > 2**53  # where float64 would round
    assert indices_of(config, block_indices(config, indices)).tolist() == indices.tolist()
    round_of = select_models("design:1", config)
    assert len({str(one.blocks[1]) for one in round_of}) == len(round_of) == 7
    with pytest.raises(ArchitectureError, match="too many to list"):
        check_enumerable(config, "a table", "sample it")
    assert 20e6 < config[0].macs < 200e6 and 1e6 < config[0].params < 5e6
