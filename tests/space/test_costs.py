"""Parameters and MACs against the published ranges and against counts made on the torch networks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from space import BLOX, MINI, Architecture, ArchitectureError, SpaceConfig
from space.costs import all_macs, all_params, block_costs
from space.networks import build_network
from space.selection import select_models


def counted_macs(network: nn.Module, config: SpaceConfig) -> int:
    """The count of ptflops 0.6.9 by forward hooks: its rules for the layers that occur here, refusing others."""
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        match module:
            case nn.Conv2d():
                each = module.weight[0].numel() + (module.bias is not None)  # for one output element
                total += each * output.numel()
            case nn.BatchNorm2d():
                total += inputs[0].numel() * (2 if module.affine else 1)
            case nn.ReLU():
                total += output.numel()
            case nn.AdaptiveAvgPool2d():
                total += inputs[0].numel()
            case nn.Linear():
                total += inputs[0].numel() * module.out_features + module.out_features
            case nn.Sigmoid():
                pass
            case _:
                raise AssertionError(f"no rule for {module}")

    handles = [m.register_forward_hook(count) for m in network.modules() if not list(m.children())]
    with torch.no_grad():
        network(torch.zeros(1, config.in_channels, config.image_size, config.image_size))
    for handle in handles:
        handle.remove()
    return total


def test_the_ranges_and_the_729_pairs_of_blox_are_the_published_ones() -> None:
    params, macs = all_params(BLOX), all_macs(BLOX)
    assert params.shape == macs.shape == (91_125,)
    assert params.dtype == macs.dtype == np.int64
    assert (params.min(), params.max()) == (1_717_636, 3_784_036)
    assert (macs.min(), macs.max()) == (108_811_364, 305_711_460)
    assert len(set(zip(params.tolist(), macs.tolist(), strict=True))) == 729


@pytest.mark.parametrize("config", [BLOX, MINI], ids=lambda c: c.name)
def test_costs_equal_a_count_made_on_the_torch_network(config: SpaceConfig) -> None:
    params, macs = all_params(config), all_macs(config)
    for a in select_models(
        ["design:1@3" if config is MINI else "sample:12@3", "0", f"{len(config) - 1}"], config
    ):
        network = build_network(a).eval()
        assert a.params == params[a.index] == sum(p.numel() for p in network.parameters()), a
        assert a.macs == macs[a.index] == counted_macs(network, config), a


def test_the_arrays_agree_with_every_single_network() -> None:
    params, macs = all_params(BLOX), all_macs(BLOX)
    for i in range(0, len(BLOX), 37):
        a = Architecture.from_index(i)
        assert (a.params, a.macs) == (params[i], macs[i])


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        ("conv", [37_248, 148_224, 591_360]),
        ("mbconv", [58_176, 231_040, 920_832]),
        ("bconv", [21_856, 72_384, 259_456]),
    ],
)
def test_each_op_costs_the_published_parameters(op: str, expected: list[int]) -> None:
    place = BLOX.table.by_text[op]
    assert [row[place].params for row in block_costs(BLOX)] == expected


def test_the_reductions_cost_the_published_parameters() -> None:
    reductions = [site.candidates[0].traced.params for site in BLOX.layout.sites if site.choice is None]
    assert reductions == [64_064, 255_104, 1_018_112]


def test_an_op_without_layers_has_no_costs_and_says_so() -> None:
    config = SpaceConfig(name="odd", ops=("conv", "mbcnov"), widths=(8,), image_size=8, classes=2)
    with pytest.raises(ArchitectureError, match="op 'mbcnov' has no costs; did you mean 'mbconv'"):
        all_params(config)
