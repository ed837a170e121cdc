"""What is told of a torch module by its graph: the same as is counted by hand, and why some modules are no candidates."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from space import BLOX, MINI, ArchitectureError
from space.candidates import SHIPPED
from space.costs import block_costs
from space.layers import OPS, build_op
from space.memory import block_peaks
from space.networks import build_head, build_stem
from space.tracing import op_name, trace

SHAPE = (1, 8, 6, 6)


class Lambda(nn.Module):
    def __init__(self, function: Callable[[nn.Module, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


@pytest.mark.parametrize("op", OPS)
def test_parameters_and_feature_maps_of_bloxs_ops_are_those_that_are_counted_by_formula(op: str) -> None:
    place = next(i for i, block in enumerate(MINI.blocks) if str(block) == op)
    traced, _ = trace(build_op(op, MINI.widths[0]), (1, MINI.widths[0], 16, 16))
    assert traced.params == block_costs(MINI)[0][place].params
    assert traced.peak_bytes == block_peaks(MINI)[0][place]
    assert traced.output == (1, MINI.widths[0], 16, 16) and not traced.passes


def test_macs_are_products_of_convolutions_and_matrices() -> None:
    stem, _ = trace(build_stem(BLOX), (1, 3, 32, 32))
    head, _ = trace(build_head(BLOX), (1, 256, 4, 4))
    assert (stem.macs, head.macs) == (9 * 3 * 32 * 32 * 32, 256 * 100)
    with torch.inference_mode():
        assert trace(build_head(BLOX), (1, 256, 4, 4))[0] == head
    depthwise, _ = trace(nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8), SHAPE)
    assert depthwise.macs == 9 * 8 * 3 * 3
    attention, _ = trace(
        Pixels(), SHAPE
    )  # 36 pixels: four maps of 8 channels, two products of pixels and pixels
    assert attention.macs == 4 * 36 * 8 * 8 + 2 * 36 * 36 * 8
    gate = Lambda(
        lambda m, x: m.gate(x.mean((2, 3)), x.amax((2, 3)))[..., None, None], gate=nn.Bilinear(8, 8, 5)
    )
    assert trace(gate, SHAPE)[0].macs == 8 * 8 * 5


class Rows(nn.Module):
    """Run a recurrent layer over the pixels."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layer(x.flatten(2).transpose(1, 2))[0]
        return y.transpose(1, 2)


def test_macs_of_recurrent_layers_are_those_of_their_weights_at_each_pixel() -> None:
    for layer in (nn.LSTM(8, 5, 2, batch_first=True, bidirectional=True), nn.GRU(8, 5, batch_first=True)):
        weights = sum(one.numel() for one in layer.parameters() if one.ndim == 2)
        assert trace(Rows(layer), SHAPE)[0].macs == 6 * 6 * weights


def test_a_weight_that_is_computed_from_parameters_is_counted_and_adds_no_other_op() -> None:
    traced, graph = trace(nn.utils.parametrizations.weight_norm(nn.Conv2d(8, 8, 3, padding=1)), SHAPE)
    assert [op_name(node) for node in graph.nodes if node.op == "call_function"] == ["_weight_norm", "conv2d"]
    assert (traced.params, traced.macs) == (9 * 8 * 8 + 8 + 8, 6 * 6 * 9 * 8 * 8)


@pytest.mark.parametrize("keeps", [nn.Parameter, nn.Buffer])
def test_weights_and_constants_of_any_type_tell_modules_apart(keeps: Callable[[Tensor], Tensor]) -> None:
    class Scaled(nn.Module):
        def __init__(self, dtype: torch.dtype) -> None:
            super().__init__()
            self.scale = keeps(torch.ones(8, 1, 1, dtype=dtype))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale.float()

    types = (torch.float32, torch.float16, torch.bfloat16)
    assert len({trace(Scaled(one), SHAPE)[0].digest for one in types}) == 3


def test_what_gives_back_its_input_is_known() -> None:
    assert trace(nn.Identity(), SHAPE)[0].passes
    assert trace(nn.Sequential(nn.Identity(), nn.Dropout(0.0)).eval(), SHAPE)[0].passes is False
    assert not trace(nn.ReLU(), SHAPE)[0].passes


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {"linear", "conv_linear"}))
@pytest.mark.parametrize(("given", "size"), [((8, 8, 1), 6), ((8, 12, 2), 6), ((6, 8, 2), 7)])
def test_shipped_modules_give_the_shape_that_they_are_asked_for(
    name: str, given: tuple[int, int, int], size: int
) -> None:
    if name.startswith("blox_") and given != (8, 8, 1):
        with pytest.raises(ArchitectureError, match="changes no shape"):
            SHIPPED[name](*given)
        return
    traced, _ = trace(SHIPPED[name](*given), (1, given[0], size, size))
    after = -(-size // given[2])
    assert traced.output == (1, given[1], after, after)


def test_a_digest_names_ops_arguments_and_shapes_and_no_parameter() -> None:
    def digest(module: nn.Module, shape: tuple[int, ...] = SHAPE) -> str:
        return trace(module, shape)[0].digest

    plain = digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()))
    named = Lambda(lambda m, x: torch.relu(m.any_name(x)), any_name=nn.Conv2d(8, 8, 3, padding=1))
    assert plain == digest(named) == digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()))
    others = [
        digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU6())),
        digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1, bias=False), nn.ReLU())),
        digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=2, dilation=2), nn.ReLU())),
        digest(nn.Sequential(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))),
        digest(nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()), (1, 8, 7, 7)),
        digest(Lambda(lambda m, x: m.one(m.one(x)), one=nn.Conv2d(8, 8, 1))),
        digest(Lambda(lambda m, x: m.two(m.one(x)), one=nn.Conv2d(8, 8, 1), two=nn.Conv2d(8, 8, 1))),
        digest(Lambda(lambda m, x: x * torch.tensor(2.0))),
        digest(Lambda(lambda m, x: x * torch.tensor(3.0))),
        digest(Lambda(lambda m, x: x * 2.0)),
    ]
    assert len({plain, *others}) == 1 + len(others)


def attention(dropout: float) -> Callable[[nn.Module, Tensor], Tensor]:
    return lambda m, x: nn.functional.scaled_dot_product_attention(x, x, x, dropout_p=dropout)


class Pixels(nn.MultiheadAttention):
    """Attention of all pixels."""

    def __init__(self) -> None:
        super().__init__(8, 2, dropout=0.1, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = x.flatten(2).transpose(1, 2)
        return super().forward(y, y, y, need_weights=False)[0].transpose(1, 2).reshape(x.shape)


def test_norms_without_a_scale_are_folded_each_into_its_own_convolution() -> None:
    units = [(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, affine=False)) for _ in range(2)]
    _, graph = trace(nn.Sequential(*units[0], *units[1]), SHAPE)
    assert graph.folds == (("0", "1"), ("2", "3"))


@pytest.mark.parametrize(
    "module",
    [
        Pixels(),
        Lambda(attention(0.0)),
        Lambda(lambda m, x: nn.functional.dropout(x, 0.0, True)),
        nn.Dropout(0.5),
        nn.RReLU(),
    ],
)
def test_what_has_no_chance_to_draw_random_numbers_is_a_candidate(module: nn.Module) -> None:
    assert trace(module, SHAPE)[0].output == SHAPE


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (Lambda(lambda m, x: x if x.sum() > 0 else -x), "depends on the values of its input"),
        (Lambda(lambda m, x: x * float(x.mean())), "depends on the values of its input"),
        (Lambda(lambda m, x: x[x > 0]), "depends on the values of its input"),
        (Lambda(lambda m, x: x + torch.randn_like(x)), r"draws random numbers \(randn_like\)"),
        (Lambda(lambda m, x: x + torch.rand(x.shape)), r"draws random numbers \(rand\)"),
        (Lambda(lambda m, x: torch.bernoulli(x.sigmoid())), "draws random numbers"),
        (Lambda(lambda m, x: nn.functional.dropout(x, 0.5, True)), "draws random numbers"),
        (Lambda(lambda m, x: nn.functional.dropout2d(x, 0.5, True)), "draws random numbers"),
        (Lambda(attention(0.1)), r"draws random numbers \(scaled_dot_product_attention\)"),
        (
            nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8, track_running_stats=False)),
            "BatchNorm 1 follows no convolution of its own",
        ),
        (
            Lambda(lambda m, x: torch.ops.own_test.double(x)),
            "own_test::double, an op that is not torch's own",
        ),
        (Lambda(lambda m, x: (x, x)), "returns no single tensor"),  # type: ignore[arg-type, return-value]
        (Lambda(lambda m, x: x.double()), "returns torch.float64"),
        (Lambda(lambda m, x: x @ x.new_ones(5, 5)), "cannot be run on its input"),
        (nn.Conv2d(3, 8, 1), "cannot be run on its input: RuntimeError"),
        (
            nn.Sequential(nn.BatchNorm2d(8), nn.Conv2d(8, 8, 1)),
            "BatchNorm 0 follows no convolution of its own",
        ),
        (
            nn.Sequential(nn.Conv2d(8, 8, 1), nn.ReLU(), nn.BatchNorm2d(8)),
            "BatchNorm 2 follows no convolution",
        ),
        (
            Lambda(lambda m, x: m.norm(m.conv(m.conv(x))), conv=nn.Conv2d(8, 8, 1), norm=nn.BatchNorm2d(8)),
            "BatchNorm norm follows no convolution of its own",
        ),
        (
            Lambda(lambda m, x: m.norm(y := m.conv(x)) + y, conv=nn.Conv2d(8, 8, 1), norm=nn.BatchNorm2d(8)),
            "BatchNorm norm follows no convolution of its own",
        ),
    ],
)
def test_what_is_no_candidate_says_why_and_what_to_do(module: nn.Module, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        trace(module, SHAPE)


@pytest.fixture(autouse=True, scope="module")
def own_op() -> None:
    @torch.library.custom_op("own_test::double", mutates_args=())
    def double(x: Tensor) -> Tensor:
        return x * 2

    double.register_fake(lambda x: torch.empty_like(x))
