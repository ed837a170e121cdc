"""Graph convolutions of a predictor in PyTorch: forward pass and losses.

Shapes at the line ends are (networks, nodes, features or channels). All randomness comes from the generators given: torch's
own state, and its count of threads, stay as they were.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Generator, Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from search.accuracy.graphs import GLOBAL


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GcnWeights:
    """Trainable weights: for each layer a matrix (channels in, channels out) and a bias, then the read-out (width,)."""

    matrices: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    read_out: Tensor

    def tensors(self) -> list[Tensor]:
        """Return all trainable tensors."""
        return [*self.matrices, *self.biases, self.read_out]

    def to(self, device: str) -> GcnWeights:
        """Return the same weights on a device."""
        return GcnWeights(
            matrices=tuple(matrix.to(device) for matrix in self.matrices),
            biases=tuple(bias.to(device) for bias in self.biases),
            read_out=self.read_out.to(device),
        )


def fresh_weights(features: int, width: int, layers: int, generator: Generator) -> GcnWeights:
    """Draw initial weights: normal with deviation sqrt(2 / inputs) for ReLU (He et al. 2015, arXiv:1502.01852), zero biases.

    They are drawn on the processor, so that every device starts from the same ones.
    """
    sizes = [features] + [width] * layers
    pairs = list(pairwise(sizes))
    return GcnWeights(
        matrices=tuple(torch.randn(i, o, generator=generator) * math.sqrt(2 / i) for i, o in pairs),
        biases=tuple(torch.zeros(o) for _, o in pairs),
        read_out=torch.randn(width, generator=generator) / math.sqrt(width),
    )


def values(
    weights: GcnWeights,
    heard: Tensor,
    hears: Tensor,
    dropout: float = 0.0,
    generator: Generator | None = None,
) -> Tensor:
    """Return a value for each network, (networks,).

    `hears`: adjacency (networks, nodes, nodes); `heard`: hears @ features, the first half of the first layer, which never
    changes. Dropout, if any, applies to the input of every layer but the first.
    """
    h = torch.relu(heard @ weights.matrices[0] + weights.biases[0])  # (n, N, C)
    last = len(weights.matrices) - 1
    for layer, (matrix, bias) in enumerate(zip(weights.matrices[1:], weights.biases[1:], strict=True), 1):
        h = _dropped(h, dropout, generator)
        if layer == last:  # the global node alone is read out: the others need no last layer
            hears = hears[:, GLOBAL : GLOBAL + 1]  # (n, 1, N)
        h = torch.relu((hears @ h) @ matrix + bias)  # (n, N, C), at last (n, 1, C)
    h = _dropped(h[:, GLOBAL], dropout, generator)  # (n, C)
    return h @ weights.read_out


def value_loss(predicted: Tensor, scores: Tensor) -> Tensor:
    """Return the mean absolute error; predicted and scores (n,)."""
    return (predicted - scores).abs().mean()


def pair_loss(predicted: Tensor, scores: Tensor) -> Tensor:
    """Return the cross-entropy of "which of two is better" over all pairs of predicted and scores, (n,) each; ties count half.

    Of a single network it is 0.
    """
    i, j = torch.triu_indices(len(scores), len(scores), 1, device=scores.device)
    if len(i) == 0:
        return predicted.sum() * 0.0
    better = (torch.sign(scores[i] - scores[j]) + 1) / 2
    return binary_cross_entropy_with_logits(predicted[i] - predicted[j], better)


def _dropped(h: Tensor, share: float, generator: Generator | None) -> Tensor:
    if share == 0 or generator is None:
        return h
    return h * torch.empty_like(h).bernoulli_(1 - share, generator=generator) / (1 - share)
