"""The six proxies, each a function of a network, images (n, c, h, w) and labels (n,): higher promises more.

They were proposed to prune weights, or to rank architectures, before any training; Abdelfattah et al. 2021 (arXiv:2101.08134) sum
each over a whole network. Weights are those of convolutions and linear layers, without biases and BatchNorm. All but synflow
compute as a first training step does: the loss is cross-entropy, and BatchNorm takes the batch's own statistics. The network
is left unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Measure = Callable[[nn.Module, Tensor, Tensor], float]

_JACOB_COV_SHIFT = 1e-5  # keeps the logarithm of eigenvalues that are 0 finite; Mellor et al. 2020


def grad_norm(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum over layers of the Euclidean norm of the loss's gradient (Abdelfattah et al. 2021, arXiv:2101.08134)."""
    with _in_mode(network, training=True):
        gradients = _gradients(cross_entropy(network(images), labels), _weights(network))
    return sum(float(g.norm()) for g in gradients)


def snip(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum of |weight * gradient|, the loss's sensitivity to weights (Lee et al. 2019, arXiv:1810.02340, eq. 6)."""
    weights = _weights(network)
    with _in_mode(network, training=True):
        gradients = _gradients(cross_entropy(network(images), labels), weights)
    return sum(float((w * g).detach().abs().sum()) for w, g in zip(weights, gradients, strict=True))


def grasp(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return minus the sum of weight * (Hessian @ gradient), the gradient flow kept (Wang et al. 2020, arXiv:2002.07376, eq. 8).

    The logits are not divided by a temperature, as for pruning.
    """
    weights = _weights(network)
    with _in_mode(network, training=True):
        gradients = _gradients(cross_entropy(network(images), labels), weights, create_graph=True)
        # Its gradient is Hessian @ gradient.
        flow = torch.stack([(g * g.detach()).sum() for g in gradients]).sum()
        products = _gradients(flow, weights)
    return -sum(float((w * p).detach().sum()) for w, p in zip(weights, products, strict=True))


def fisher(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum over all channels after a ReLU of the estimated increase of the loss without the channel.

    For a channel, half the mean over images of (sum over pixels of activation * gradient of the image's loss)**2 (Theis et al.
    2018, arXiv:1801.05787, eq. 11; Turner et al. 2020, arXiv:1906.04113). Through the batch's statistics an image's
    activation touches the others' losses as well: the gradient is that of their sum.

    Raises:
        ValueError: the network has no ReLU.
    """
    activations: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        activations.append(output)

    hooks = [m.register_forward_hook(keep) for m in network.modules() if isinstance(m, nn.ReLU)]
    if not hooks:
        raise ValueError("fisher: the network has no ReLU, and so no activations to score")
    try:
        with _in_mode(network, training=True):
            loss = cross_entropy(network(images), labels, reduction="sum")
            gradients = torch.autograd.grad(loss, activations)
    finally:
        for hook in hooks:
            hook.remove()
    total = 0.0
    for a, g in zip(activations, gradients, strict=True):
        moved = (a * g).flatten(2).sum(dim=2) if a.dim() > 2 else a * g  # (n, channels)
        total += float((moved**2).detach().mean(dim=0).sum()) / 2
    return total


def jacob_cov(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return a score of the correlation of Jacobians between images (Mellor et al. 2020, arXiv:2006.04647v1).

    Of the gradients of the summed logits by each image, the correlations between images have eigenvalues v: the score is
    -sum(log(v + k) + 1 / (v + k)), k = 1e-5. The labels are not used.
    """
    pixels = images.clone().requires_grad_()
    with _in_mode(network, training=True):
        (jacobian,) = torch.autograd.grad(network(pixels).sum(), pixels)
    correlations = torch.corrcoef(jacobian.flatten(1).double())  # (n, n)
    if not torch.isfinite(correlations).all():
        # An image without effect on the output; eigenvalues would fail with a worse message.
        return float("nan")
    shifted = torch.linalg.eigvalsh(correlations).clamp(min=0) + _JACOB_COV_SHIFT
    return -float((shifted.log() + 1 / shifted).sum())


def synflow(network: nn.Module, images: Tensor, labels: Tensor) -> float:
    """Return the sum of weight * gradient of the summed output for an image of ones, with absolute parameters.

    Tanaka et al. 2020 (arXiv:2006.05467, eq. 2). Images, but for their shape, and labels are not used. BatchNorm is left in its
    inference mode, which for fresh networks is no normalization; double precision, since deep products exceed single.
    """
    state = {
        name: buffer.double() if buffer.is_floating_point() else buffer
        for name, buffer in network.named_buffers()
    }
    state |= {
        name: parameter.detach().double().abs().requires_grad_()
        for name, parameter in network.named_parameters()
    }
    weights = [state[f"{name}.weight".removeprefix(".")] for name, _ in _layers(network)]
    with _in_mode(network, training=False):
        ones = torch.ones_like(images[:1], dtype=torch.float64)
        answer = torch.func.functional_call(network, state, (ones,)).sum()
    gradients = _gradients(answer, weights)
    return sum(float((w * g).detach().sum()) for w, g in zip(weights, gradients, strict=True))


PROXIES: Mapping[str, Measure] = {
    "grad_norm": grad_norm,
    "snip": snip,
    "grasp": grasp,
    "fisher": fisher,
    "jacob_cov": jacob_cov,
    "synflow": synflow,
}


@contextmanager
def _in_mode(network: nn.Module, *, training: bool) -> Iterator[None]:
    """Put a network in a mode and restore it and its statistics afterwards, which is faster than scoring a copy."""
    modes = [(module, module.training) for module in network.modules()]
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    network.train(training)
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
        for buffer, former in buffers:
            buffer.copy_(former)


def _gradients(of: Tensor, weights: Sequence[Tensor], *, create_graph: bool = False) -> tuple[Tensor, ...]:
    """Return the gradients by weights: 0 by those of layers that nothing runs, as a user's own modules may have."""
    return torch.autograd.grad(
        of, weights, create_graph=create_graph, allow_unused=True, materialize_grads=True
    )


def _weights(network: nn.Module) -> list[Tensor]:
    """Return the weights of all convolutions and linear layers."""
    return [module.weight for _, module in _layers(network)]


def _layers(network: nn.Module) -> list[tuple[str, nn.Conv2d | nn.Linear]]:
    """Return all convolutions and linear layers that learn, with their names.

    Raises:
        ValueError: the weight of one is computed from others.
    """
    found = [(name, one) for name, one in network.named_modules() if isinstance(one, nn.Conv2d | nn.Linear)]
    for name, one in found:
        if not isinstance(one.weight, nn.Parameter):
            raise ValueError(
                f"the weight of {name} is computed from others, and a score is of weights that learn"
            )
    return [(name, one) for name, one in found if one.weight.requires_grad]
