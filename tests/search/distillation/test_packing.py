"""Packed weights of a block: the order is the block's, and what is not the block's is refused."""

from __future__ import annotations

import pytest
import torch
from factories.small_distillations import BLOCKS, SMALL

from search.distillation.packing import pack, unpack
from space.errors import ConfigError
from space.networks import Stage
from space.stages import SpaceStage

STAGE = SpaceStage(SMALL, 0)


def test_packed_weights_of_another_length_type_or_layer_are_refused() -> None:
    block = BLOCKS["conv-mbconv"]
    state = Stage(block, 4).state_dict()
    # The order is the block's, not the dictionary's.
    turned = pack(dict(reversed(state.items())), block, STAGE)
    packed = pack(state, block, STAGE)
    assert all(torch.equal(turned[name], packed[name]) for name in packed)
    assert packed["values"].dtype == torch.float32 and packed["counts"].dtype == torch.int64
    names = [name for name, tensor in state.items() if not tensor.ndim]
    marked = pack({**state, **{name: torch.tensor(i) for i, name in enumerate(names)}}, block, STAGE)
    assert marked["counts"].tolist() == list(range(len(names))) and len(names) > 3
    back = unpack(marked, block, STAGE)
    assert [int(back[name]) for name in names] == list(range(len(names)))
    for changes, told in (
        ({"values": packed["values"][1:]}, "values are torch.float32"),
        ({"values": packed["values"].double()}, "values are torch.float64"),
        ({"counts": packed["counts"][1:]}, "counts are torch.int64"),
        ({"counts": packed["counts"].float()}, "counts are torch.float32"),
        ({"values": None}, "values are not there"),
    ):
        with pytest.raises(ConfigError, match=f"^block conv-mbconv: its {told}"):
            unpack({**packed, **changes}, block, STAGE)
    for wrong, told in (
        ({**state, "more": torch.zeros(1)}, r"more is \(1,\) in the weights, not there in the block"),
        ({**state, "reduction.shallow.0.bias": torch.zeros(7)}, r"bias is \(7,\) in the weights, \(8,\)"),
        ({name: state[name] for name in list(state)[1:]}, "is not there in the weights"),
    ):
        with pytest.raises(ConfigError, match=rf"^block conv-mbconv of stage 0: .*{told}"):
            pack(wrong, block, STAGE)
