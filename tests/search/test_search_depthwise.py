"""Depthwise convolutions as matrix products: torch's own convolution says what is right."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from search.training.depthwise import MOST_PIXELS, Depthwise, depthwise_toeplitz, use_fast_depthwise
from space import MINI, Architecture
from space.networks import build_network


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-4)], ids=["double", "single"]
)
@pytest.mark.parametrize(
    ("count", "channels", "height", "width", "kernel", "biased"),
    [
        (3, 4, 8, 8, 5, True),
        (2, 3, 4, 4, 5, True),
        (1, 1, 1, 1, 5, True),  # only the kernel's middle meets the image
        (2, 2, 2, 2, 5, False),
        (2, 5, 6, 3, 3, True),
        (2, 3, 4, 7, 1, False),
    ],
)
def test_values_and_gradients_are_those_of_the_convolution(
    count: int,
    channels: int,
    height: int,
    width: int,
    kernel: int,
    biased: bool,
    dtype: torch.dtype,
    tolerance: float,
) -> None:
    noise = torch.Generator().manual_seed(0)

    def some(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=noise, dtype=dtype).requires_grad_()

    x, weight = some(count, channels, height, width), some(channels, 1, kernel, kernel)
    bias = some(channels) if biased else None
    inputs = [x, weight, bias] if bias is not None else [x, weight]
    wanted = conv2d(x, weight, bias, padding=kernel // 2, groups=channels)
    found = depthwise_toeplitz(x, weight, bias)
    assert found.shape == wanted.shape and found.is_contiguous()
    torch.testing.assert_close(found, wanted, rtol=tolerance, atol=tolerance)
    outer = torch.randn(wanted.shape, generator=noise, dtype=dtype)
    for one, other in zip(
        torch.autograd.grad(found, inputs, outer), torch.autograd.grad(wanted, inputs, outer), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_channels_last_images_and_a_first_call_without_gradients_do_as_well() -> None:
    x, weight = torch.randn(2, 3, 5, 5), torch.randn(3, 1, 3, 3)
    with torch.inference_mode():  # what it keeps for later calls must serve a call with gradients
        depthwise_toeplitz(x, weight)
    weight.requires_grad_()
    found = depthwise_toeplitz(x.contiguous(memory_format=torch.channels_last), weight)
    torch.testing.assert_close(found, conv2d(x, weight, padding=1, groups=3))
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert weight.grad is not None


@pytest.mark.parametrize("shape", [(3, 1, 4, 4), (3, 1, 3, 5), (2, 1, 3, 3), (3, 2, 3, 3)])
def test_weights_of_another_convolution_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"give \(3, 1, k, k\) of an odd k"):
        depthwise_toeplitz(torch.zeros(2, 3, 4, 4), torch.zeros(shape))


def test_a_network_keeps_its_weights_and_their_names_and_computes_the_same() -> None:
    architecture = Architecture.parse("bconv-mbconv/conv-bconv+in", MINI)
    plain, fast = build_network(architecture), build_network(architecture)
    fast.load_state_dict(plain.state_dict())
    names = [name for name, _ in fast.named_parameters()]
    assert use_fast_depthwise(fast) == 12  # six in each of two BConv
    assert [name for name, _ in fast.named_parameters()] == names
    assert fast.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(4, 3, 16, 16)
    torch.testing.assert_close(fast(images), plain(images), rtol=1e-4, atol=1e-4)
    for name, one in fast.state_dict().items():
        torch.testing.assert_close(one, plain.state_dict()[name], rtol=1e-4, atol=1e-4)


def test_only_small_images_are_computed_as_products(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def spy(x: torch.Tensor, *rest: torch.Tensor) -> torch.Tensor:
        seen.append(x.shape[2] * x.shape[3])
        return depthwise_toeplitz(x, *rest)

    monkeypatch.setattr("search.training.depthwise.depthwise_toeplitz", spy)
    module = Depthwise(nn.Conv2d(2, 2, 5, padding=2, groups=2))
    for size in (8, 9):
        assert module(torch.zeros(1, 2, size, size)).shape == (1, 2, size, size)
    assert seen == [MOST_PIXELS]


def test_convolutions_that_change_the_size_or_mix_channels_stay() -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 4, 5, padding=2),
        nn.Conv2d(4, 8, 5, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, groups=4),
        nn.Conv2d(4, 4, 4, padding=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2, stride=2, groups=4),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, padding_mode="reflect"),
        nn.Conv2d(4, 4, 5, padding=2, groups=4, dilation=2),
    )
    assert use_fast_depthwise(network) == 0
    assert {type(module) for module in network} == {nn.Conv2d}
