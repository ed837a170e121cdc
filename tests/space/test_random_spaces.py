"""Properties that every definition has: names lead back, sums over blocks are what its networks count."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from factories.random_spaces import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from space import Architecture, Space, SpaceConfig
from space.costs import all_macs, all_params, network_cost
from space.hash_table import first_equals
from space.indexing import available, block_indices, blocks_of, index_of, indices_of
from space.lookup import canonical_index
from space.memory import all_memory
from space.networks import build_network
from space.segments import Segment, all_segments
from space.selection import parse_model, select_models


@pytest.mark.long
@settings(max_examples=25, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
def test_every_name_of_a_network_leads_back_to_it(space: Space, seed: int) -> None:
    indices = np.random.default_rng(seed).integers(len(space), size=5)
    for index in indices.tolist():
        network = space[index]
        blocks = blocks_of(space, index)
        assert index_of(space, blocks) == network.index == index
        assert Architecture.parse(str(network), space) == parse_model(str(index), space) == network
        assert canonical_index(str(network), space) == index
        twin = space[canonical_index(network.graph_hash, space)]
        assert twin.graph_hash == network.graph_hash and twin.index <= index
        assert [module.traced for *_, module in run(twin)] == [module.traced for *_, module in run(network)]
        assert first_equals(space)[index] == twin.index
        assert available(space)[np.arange(space.stages), list(blocks)].all()
    assert indices_of(space, block_indices(space, indices)).tolist() == indices.tolist()
    again = SpaceConfig(**space.to_plain())
    assert again == space and hash(again) == hash(space) and again.chain == space.chain
    assert len(set(map(str, select_models(f"sample:{len(space)}", space)))) == len(space)
    assert {one.index for one in select_models("design:1", space)} <= set(range(len(space)))
    assert [Segment.parse(str(one), space) for one in all_segments(space)] == list(all_segments(space))


@settings(max_examples=4, deadline=None)
@given(space=spaces(), seed=st.integers(0, 2**32 - 1))
def test_sums_over_blocks_are_what_hooks_count_in_the_network(space: Space, seed: int) -> None:
    index = int(np.random.default_rng(seed).integers(len(space)))
    network = build_network(space[index]).eval()
    macs = 0

    def count(module: nn.Module, given: Any, output: torch.Tensor) -> None:
        nonlocal macs
        if isinstance(module, nn.Conv2d):
            macs += module.weight[0].numel() * output.numel()
        elif isinstance(module, nn.Linear):
            macs += module.weight.numel()

    for module in network.modules():
        module.register_forward_hook(count)
    shape = (1, space.in_channels, space.image_size, space.image_size)
    with torch.no_grad():
        assert network(torch.zeros(shape)).shape == (1, space.classes)
    params = sum(one.numel() for one in network.parameters())
    cost = network_cost(space, index)
    assert (cost.params, cost.macs) == (params, macs)
    assert (all_params(space)[index], all_macs(space)[index]) == (params, macs)
    assert all_memory(space)[index] >= 4 * params + 4 * np.prod(shape)


def run(network: Architecture) -> list[tuple[Any, ...]]:
    """Return the modules of a network that do something."""
    chain = network.config.chain
    assert chain is not None
    return [one for one in chain.modules(network.blocks) if not one[2].traced.passes]
