"""Torch modules of a user's own as TFLite models, against torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.candidates import CANDIDATES, ConvNeXt, Excite, candidate, operator_counts
from rigs.fragment_libraries import library_of_ops
from rigs.model_runs import run_model
from torch import Tensor, nn
from torch.nn import functional

from exporters import Precision
from exporters.errors import ConversionError
from exporters.networks import torch_network
from exporters.weights import Weights
from space import Architecture
from space.layers import OPS

pytestmark = [
    pytest.mark.converter,
    pytest.mark.filterwarnings("ignore:Warning. Enabling .experimental_preserve_all_tensors"),
    pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel"),
]

Shape = tuple[int, ...]
MAP = (1, 8, 9, 12)
EVEN = (1, 8, 12, 12)


class Compute(nn.Module):
    """Run a function as a module."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Any:
        return self.function(*inputs)


class SideBySide(nn.Module):
    """Join what layers make of one input, so that one conversion tries them all."""

    def __init__(self, **layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleDict(layers)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([layer(x) for layer in self.layers.values()], dim=1)


class Gain(nn.Module):
    """Scale what a convolution gives, and its weights, by a product of constants."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1)
        self.share = nn.Parameter(torch.tensor(0.25))
        self.gain = nn.Parameter(torch.linspace(0.5, 1.5, channels).reshape(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return functional.conv2d(x, self.conv.weight * (self.share * 2)) * (self.gain * 2)


class Pixels(nn.MultiheadAttention):
    """Attention of all pixels."""

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        y = x.flatten(2).transpose(1, 2)
        return super().forward(y, y, y, need_weights=False)[0].transpose(1, 2).reshape(x.shape)


def attention(dropout: float) -> Callable[[Tensor], Tensor]:
    return lambda x: functional.scaled_dot_product_attention(x, x, x, dropout_p=dropout)


# One conversion each; what keeps its input's shape is tried together.
LAYERS: dict[str, tuple[Callable[[], nn.Module], tuple[Shape, ...]]] = {
    "activations": (
        lambda: SideBySide(
            relu=nn.ReLU(),
            relu6=nn.ReLU6(),
            hardtanh=nn.Hardtanh(-0.5, 1),
            leaky=nn.LeakyReLU(0.1),
            elu=nn.ELU(),
            prelu=nn.PReLU(8),
            gelu=nn.GELU(),
            silu=nn.SiLU(),
            mish=nn.Mish(),
            hardswish=nn.Hardswish(),
            hardsigmoid=nn.Hardsigmoid(),
            sigmoid=nn.Sigmoid(),
            tanh=nn.Tanh(),
            softplus=nn.Softplus(),
            softmax=nn.Softmax(1),
        ),
        (MAP,),
    ),
    "gelu by tanh": (lambda: nn.GELU("tanh"), (MAP,)),
    "normalizations": (
        lambda: SideBySide(
            batch=nn.BatchNorm2d(8),
            layer=nn.LayerNorm([8, 9, 12]),
            groups=nn.GroupNorm(2, 8),
            one_group=nn.GroupNorm(1, 8),
            instance=nn.InstanceNorm2d(8, affine=True),
            pixels=Compute(lambda x: functional.layer_norm(x.permute(0, 2, 3, 1), (8,)).permute(0, 3, 1, 2)),
        ),
        (MAP,),
    ),
    "convolutions of one size": (
        lambda: SideBySide(
            plain=nn.Conv2d(8, 6, 3, padding=1),
            rectangular=nn.Conv2d(8, 6, (1, 5), padding=(0, 2), bias=False),
            even_kernel=nn.Conv2d(8, 6, 4, padding="same"),
            dilated=nn.Conv2d(8, 6, 3, padding=2, dilation=2),
            grouped=nn.Conv2d(8, 6, 3, padding=1, groups=2),
            depthwise=nn.Conv2d(8, 8, 5, padding=2, groups=8),
            widened=nn.Conv2d(8, 16, 3, padding=1, groups=8),
            depthwise_dilated=nn.Conv2d(8, 8, 3, padding=2, groups=8, dilation=2),
            reflected=nn.Conv2d(8, 6, 3, padding=1, padding_mode="reflect"),
            pooled=nn.MaxPool2d(5, 1, 2),
            averaged=nn.AvgPool2d(3, 1, 1),
            averaged_within=nn.AvgPool2d(3, 1, 1, count_include_pad=False),
        ),
        (MAP,),
    ),
    "strides at even sizes": (
        lambda: SideBySide(
            conv=nn.Conv2d(8, 6, 3, 2, padding=1),
            one=nn.Conv2d(8, 6, 1, 2),
            depthwise=nn.Conv2d(8, 16, 5, 2, padding=2, groups=8),
            dilated=nn.Conv2d(8, 6, 3, 2, padding=2, dilation=2),
            pooled=nn.MaxPool2d(3, 2, 1),
            averaged=nn.AvgPool2d(3, 2, 1),
            averaged_within=nn.AvgPool2d(3, 2, 1, count_include_pad=False),
            averaged_by=nn.AvgPool2d(2, divisor_override=3),
        ),
        (EVEN,),
    ),
    "strides at odd and even sizes": (
        lambda: SideBySide(
            conv=nn.Conv2d(8, 6, 3, 2, padding=1),
            asymmetric=nn.Sequential(nn.ZeroPad2d((0, 1, 2, 0)), nn.Conv2d(8, 6, (3, 2), 2)),
            pooled=nn.MaxPool2d(3, 2, 1),
            rectified_and_pooled=nn.Sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
            beyond=nn.MaxPool2d(2, ceil_mode=True),
            averaged=nn.AvgPool2d(3, 2, 1),
            averaged_beyond=nn.AvgPool2d(2, ceil_mode=True),
        ),
        (MAP,),
    ),
    "unequal strides": (lambda: nn.Conv2d(8, 6, 3, (3, 1), padding=1), (MAP,)),
    "pooling to pixels": (lambda: nn.AdaptiveAvgPool2d(3), (MAP,)),
    "flattened pixels": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(864, 4)), (MAP,)),
    "linear along rows": (lambda: nn.Linear(12, 5), (MAP,)),
    "linear on tokens": (lambda: nn.Linear(8, 5), ((1, 7, 8),)),
    "parts of channels": (
        lambda: Compute(lambda x: torch.cat([x[:, 2:-1, ::2], x.split([3, 5], 1)[1][:, :, ::2]], 1)),
        (MAP,),
    ),
    "shuffled channels": (lambda: nn.ChannelShuffle(2), (MAP,)),
    "channels to pixels": (lambda: nn.PixelShuffle(2), (MAP,)),
    "larger images": (
        lambda: SideBySide(
            nearest=nn.Upsample(scale_factor=2), linear=nn.Upsample(scale_factor=2, mode="bilinear")
        ),
        (MAP,),
    ),
    "two inputs": (
        lambda: Compute(lambda a, b: torch.sub(a, b, alpha=3) + (1 - b[:, :, :1, :1])),
        (MAP, MAP),
    ),
    "constants of constants": (lambda: Gain(8), (MAP,)),
    "quotients": (lambda: Compute(lambda x: x / (x.amax(1, True).abs() + 1)), (MAP,)),
    "rows for columns": (lambda: Compute(lambda x: x.transpose(2, 3)), (MAP,)),
    "attention": (lambda: Pixels(8, 2, batch_first=True), ((1, 8, 4, 3),)),
    "attention without weights": (lambda: Compute(attention(0.0)), (MAP,)),
}
# In int8, of the output's range, where it is more than two: variances and their roots, and divisors, are integers, too, and
# each of attention's four products in a row rounds.
STEPS = {"normalizations": 3, "quotients": 3, "attention": 3}


@pytest.mark.parametrize("name", LAYERS)
def test_a_layer_computes_in_tflite_what_it_computes_in_torch(name: str) -> None:
    from rigs.tflite_modules import convert_module, quantized

    torch.manual_seed(0)
    build, shapes = LAYERS[name]
    module = build().eval().requires_grad_(False)
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.ndim == 1:  # scales, shifts and statistics are neither 1 nor 0
            tensor += torch.rand_like(tensor) / 4
    inputs = random_inputs(shapes)
    with torch.inference_mode():
        expected = module(*inputs).numpy()
    model = convert_module(module, shapes)
    assert np.abs(run(model, inputs)[0] - expected).max() <= 1e-4
    found, step = run(quantized(model, inputs), inputs)
    assert np.abs(found - expected).max() <= STEPS.get(name, 2) * step


@pytest.mark.parametrize("name", CANDIDATES)
def test_a_candidate_is_converted_without_moving_its_values(name: str) -> None:
    from rigs.tflite_modules import convert_module

    module, shape = candidate(name)
    inputs = random_inputs([shape])
    with torch.inference_mode():
        expected = module(*inputs).numpy()
    model = convert_module(module, [shape])
    assert np.abs(run(model, inputs)[0] - expected).max() <= 1e-4
    assert operator_counts(model)["TRANSPOSE"] == (name == "shufflenet")  # whose channels are what moves


def test_hardswish_and_gelu_are_operators_of_their_own() -> None:
    assert operator_counts(converted(nn.Sequential(nn.Conv2d(8, 8, 1), nn.Hardswish())))["HARD_SWISH"] == 1
    assert operator_counts(converted(nn.Sequential(nn.Conv2d(8, 8, 1), nn.GELU())))["GELU"] == 1


def test_what_is_never_negative_is_pooled_with_zeros_beyond_its_edges() -> None:
    pooled = nn.MaxPool2d(3, 2, 1)
    for before in (nn.ReLU(), nn.ReLU(inplace=True), nn.ReLU6(), nn.Sigmoid()):
        operators = operator_counts(converted(nn.Sequential(nn.Conv2d(8, 8, 1), before, pooled)))
        assert (operators["PAD"], operators["MIRROR_PAD"]) == (1, 0)
    assert operator_counts(converted(nn.Sequential(nn.Conv2d(8, 8, 1), pooled)))["MIRROR_PAD"] == 1


def test_modules_in_a_row_have_no_transposes_between_them() -> None:
    parts = [ConvNeXt(8), Excite(8)]
    whole = operator_counts(converted(nn.Sequential(*parts)))
    assert whole["TRANSPOSE"] == 0
    assert whole == sum((operator_counts(converted(part)) for part in parts), Counter[str]())


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (nn.Sequential(nn.ReLU(), Compute(torch.erfinv)), "op erfinv.default in 1 (Compute)"),
        (
            nn.AdaptiveAvgPool2d(4),
            "op adaptive_avg_pool2d.default in the module itself (AdaptiveAvgPool2d): 9 x 12 pixels",
        ),
        (nn.Conv2d(8, 8, 3, padding=1, padding_mode="circular"), "mode 'circular'"),
        (nn.MaxPool2d(4, 4, ceil_mode=True), "over half of a window is beyond the edge"),
        (Compute(lambda x: functional.dropout(x)), "it draws random numbers"),
        (Compute(attention(0.1)), "it draws random numbers; give dropout_p = 0"),
        (nn.Upsample(size=(10, 13)), "resizes 9 x 12 to 10 x 13"),
        (Compute(lambda x: x if x.sum() > 0 else -x), "cannot be traced"),
        (Compute(lambda x: (x, x + 1)), "gives 2 values"),
        (nn.Identity(), "gives back what it is given"),
    ],
)
def test_what_has_no_tflite_form_is_named(layer: nn.Module, said: str) -> None:
    with pytest.raises(ConversionError) as raised:
        converted(layer)
    assert said in str(raised.value)


class InPlace(nn.Module):
    """Add what an activation has changed in place to itself."""

    def __init__(self) -> None:
        super().__init__()
        self.before = nn.Sequential(nn.Conv2d(8, 8, 1), nn.BatchNorm2d(8))

    def forward(self, x: Tensor) -> Tensor:
        y = self.before(x)
        return functional.relu(y, inplace=True) + 2 * y


def test_what_is_changed_in_place_is_changed_for_all_that_read_it_later() -> None:
    module = InPlace().eval().requires_grad_(False)
    inputs = random_inputs([MAP])
    assert np.abs(run(converted(module), inputs)[0] - module(*inputs).numpy()).max() <= 1e-4


@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.long), "int8"])
def test_parts_with_operators_of_their_own_are_linked(
    precision: Precision, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ops = {"convnext": ConvNeXt, "pooled": lambda c: nn.Sequential(nn.Conv2d(c, c, 1), nn.MaxPool2d(3, 1, 1))}
    library = library_of_ops(ops, tmp_path, precision)
    architecture = Architecture.parse("convnext-pooled+in+out", library.config)
    model = library.assembly(architecture).whole()
    image = torch.rand((1, 3, 8, 8), generator=torch.Generator().manual_seed(1)) * 2 - 1
    for name, build in ops.items():
        monkeypatch.setitem(OPS, name, build)
    with torch.inference_mode():
        expected = torch_network(architecture, Weights.seeded(0))(image).numpy()
    found = run_model("tflite", model, image.numpy())
    shares = {"fp32": 1e-4, "fp16": 1e-2, "int8": 0.1}  # of the logits' spread
    assert np.abs(found - expected).max() <= shares[precision] * np.ptp(expected)
    operators = operator_counts(model)
    assert operators["GELU"] == operators["MAX_POOL_2D"] == 1 and operators["TRANSPOSE"] == 0
    assert (operators["QUANTIZE"] > 0) == (precision == "int8")  # pooling passes its input's scale on


def test_a_space_is_refused_with_the_candidate_that_has_no_tflite_form(tmp_path: Path) -> None:
    with pytest.raises(ConversionError, match=r"stage0\.op0\.odd: no TensorFlow form for op erfinv\.default"):
        library_of_ops({"odd": lambda channels: Compute(torch.erfinv)}, tmp_path)
    assert not list(tmp_path.rglob("*.json"))  # nothing of it is exported


def random_inputs(shapes: Sequence[Shape]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.rand(shape, generator=generator) * 4 - 2 for shape in shapes]


def converted(module: nn.Module) -> bytes:
    """Convert a module that maps a feature map."""
    from rigs.tflite_modules import convert_module

    return convert_module(module.eval().requires_grad_(False), [MAP])


def run(model: bytes, inputs: Sequence[Tensor]) -> tuple[Any, float]:
    """Return a model's output in torch's order of axes, and the size of a step in int8."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=1)
    interpreter.allocate_tensors()
    sources = sorted(interpreter.get_input_details(), key=lambda details: details["name"])
    for source, tensor in zip(sources, inputs, strict=True):
        array = tensor.numpy().transpose(0, 2, 3, 1) if tensor.ndim == 4 else tensor.numpy()
        scale, zero_point = source["quantization"]
        if scale:
            array = np.clip(np.rint(array / scale) + zero_point, -128, 127)
        interpreter.set_tensor(source["index"], np.ascontiguousarray(array, source["dtype"]))
    interpreter.invoke()
    (result,) = interpreter.get_output_details()
    found, (scale, zero_point) = interpreter.get_tensor(result["index"]), result["quantization"]
    values = (found.astype(np.float32) - zero_point) * scale if scale else found
    return (values.transpose(0, 3, 1, 2) if values.ndim == 4 else values), scale
