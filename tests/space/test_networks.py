"""The torch networks: published sizes, wiring, and the parts that exporters take."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import nn

from space import BLOX, MINI, Architecture, ArchitectureError, SpaceConfig
from space.layers import build_op
from space.networks import Reduction, build_head, build_network, build_stem
from space.selection import select_models


def params(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def randomized(module: nn.Module) -> nn.Module:
    """Give BatchNorm statistics that are not the identity, so that no layer can be skipped unseen."""
    generator = torch.Generator().manual_seed(0)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean = torch.randn(m.num_features, generator=generator) * 0.1
            m.running_var = torch.rand(m.num_features, generator=generator) + 0.5
    return module.eval()


@pytest.mark.parametrize(
    ("op", "width", "expected"),
    [
        ("conv", 32, 37_248),
        ("conv", 64, 148_224),
        ("conv", 128, 591_360),
        ("mbconv", 32, 58_176),
        ("mbconv", 64, 231_040),
        ("mbconv", 128, 920_832),
        ("bconv", 32, 21_856),
        ("bconv", 64, 72_384),
        ("bconv", 128, 259_456),
    ],
)
def test_each_op_has_the_published_parameters_and_keeps_its_shape(op: str, width: int, expected: int) -> None:
    module = build_op(op, width).eval()
    assert params(module) == expected
    assert module(torch.zeros(2, width, 8, 8)).shape == (2, width, 8, 8)


def test_stem_reductions_and_head_have_the_published_parameters_and_shapes() -> None:
    assert params(build_stem(BLOX)) == 960
    assert params(build_head(BLOX)) == 25_700
    for width, expected in ((32, 64_064), (64, 255_104), (128, 1_018_112)):
        reduction = Reduction(width).eval()
        assert params(reduction) == expected
        assert reduction(torch.zeros(2, width, 16, 16)).shape == (2, 2 * width, 8, 8)


@pytest.mark.parametrize("op", BLOX.ops)
def test_every_convolution_has_a_bias_and_is_followed_by_batchnorm_and_relu(op: str) -> None:
    leaves = [m for m in build_op(op, 8).modules() if not list(m.children())]
    gated = isinstance(leaves[-1], nn.ReLU) and op == "mbconv"
    for before, after in pairwise(leaves):
        if isinstance(before, nn.Conv2d):
            assert before.bias is not None
            in_gate = gated and before.kernel_size == (1, 1) and before.in_channels == before.out_channels
            assert isinstance(after, nn.ReLU | nn.Sigmoid if in_gate else nn.BatchNorm2d)
        if isinstance(before, nn.BatchNorm2d):
            assert isinstance(after, nn.ReLU)


@pytest.mark.parametrize(("op", "residuals"), [("conv", 0), ("mbconv", 2), ("bconv", 6)])
def test_an_op_whose_layers_give_zero_passes_on_its_residual_or_nothing(op: str, residuals: int) -> None:
    module = build_op(op, 8).eval()
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            nn.init.zeros_(m.weight)
            nn.init.zeros_(m.bias)
    x = torch.randn(1, 8, 4, 4)
    assert torch.equal(module(x), x if residuals else torch.zeros_like(x))
    if residuals:
        assert len(module.get_submodule("layers")._modules) == residuals


def test_the_bottlenecks_are_half_equal_and_double_width_twice_over() -> None:
    convs = [m for m in build_op("bconv", 8).modules() if isinstance(m, nn.Conv2d)]
    assert [m.out_channels for m in convs[1::3]] == [4, 8, 16, 4, 8, 16]
    assert all(m.groups == m.in_channels and m.kernel_size == (5, 5) for m in convs[1::3])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("conv-mbconv", lambda op0, op1, x: op1(op0(x))),
        ("conv-mbconv+in", lambda op0, op1, x: op1(op0(x) + x)),
        ("conv-mbconv+out", lambda op0, op1, x: op1(op0(x)) + op0(x)),
        ("conv-mbconv+in+out", lambda op0, op1, x: op1(op0(x) + x) + op0(x)),
        ("conv+mbconv", lambda op0, op1, x: op0(x) + op1(x)),
        ("mbconv", lambda op0, op1, x: op1(x)),
    ],
)
def test_a_cell_computes_what_its_wiring_says(text: str, expected: object) -> None:
    torch.manual_seed(0)
    cell = randomized(build_network(Architecture.parse(f"{text}/conv", MINI))).stages[0].cell
    x = torch.randn(2, 8, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(cell(x), expected(cell.op0, cell.op1, x))  # type: ignore[operator]


def test_only_the_ops_that_reach_the_output_are_built() -> None:
    cell = build_network(Architecture.parse("bconv/conv+mbconv", MINI)).stages[0].cell
    assert cell.op0 is None and params(cell) == params(build_op("bconv", 8))


def test_a_network_is_its_parts_one_after_the_other() -> None:
    torch.manual_seed(0)
    network = randomized(build_network(Architecture.parse("conv-mbconv+in/bconv+mbconv", MINI)))
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        x = network.stem(images)
        for stage in network.stages:
            x = stage.cell(x)
            x = stage.reduction.deep(x) + stage.reduction.shallow(x)  # no ReLU after the sum
        x = network.head.linear(x.mean((2, 3)))
        torch.testing.assert_close(network(images), x)


@pytest.mark.parametrize("config", [BLOX, MINI], ids=lambda c: c.name)
def test_every_sampled_network_runs_and_gives_one_logit_a_class(config: SpaceConfig) -> None:
    images = torch.zeros(1, 3, config.image_size, config.image_size)
    for a in select_models("sample:6", config):
        with torch.no_grad():
            assert build_network(a).eval()(images).shape == (1, config.classes)


def test_the_same_torch_seed_gives_the_same_weights() -> None:
    outputs = []
    for _ in range(2):
        torch.manual_seed(7)
        network = build_network(Architecture.from_index(5, MINI)).eval()
        outputs.append(network(torch.ones(1, 3, 16, 16)))
    assert torch.equal(*outputs)


def test_an_op_without_layers_is_refused_with_a_remedy() -> None:
    with pytest.raises(ArchitectureError, match="op 'bcnov' has no layers; did you mean 'bconv'"):
        build_op("bcnov", 8)
