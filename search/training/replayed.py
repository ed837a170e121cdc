"""Computations on batches as CUDA graphs: one launch in place of a thousand.

    step = Replayed(compute, network.parameters())
    losses, hits = step(images, labels)

A GPU computes a step of a small network in less time than its host launches the step's kernels. A graph keeps the kernels, with
the addresses that they read and write, and launches them all at once (https://docs.pytorch.org/docs/stable/notes/cuda.html, "CUDA
Graphs"). On other devices every call computes as usual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

Computation = Callable[..., tuple[Tensor, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Captured:
    """A graph, and the tensors that it reads and leaves."""

    graph: torch.cuda.CUDAGraph
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    gradients: list[Tensor | None]


class Replayed:
    """A computation on tensors whose shapes may change from call to call in their first axis, the images, alone.

    It must not wait for results, must read only tensors that are overwritten and never replaced, and must return detached
    tensors, which the next call overwrites. After every call the parameters have the gradients that the computation leaves.
    """

    def __init__(self, compute: Computation, parameters: Iterable[torch.nn.Parameter] = ()) -> None:
        self.compute, self.parameters = compute, list(parameters)
        self._captured: dict[int, _Captured] = {}  # by images
        self._pool: Any = None  # of memory, which all graphs share: they never run at once
        self._begun = False

    def __call__(self, *batch: Tensor) -> tuple[Tensor, ...]:
        """Compute on a batch."""
        # Libraries set themselves up in a first call, which no graph may hold.
        if not batch[0].is_cuda or not self._begun:
            self._begun = True
            return self.compute(*batch)
        images = len(batch[0])
        if images not in self._captured:
            self._captured[images] = self._capture(batch)
        found = self._captured[images]
        for held, given in zip(found.inputs, batch, strict=True):
            held.copy_(given)
        found.graph.replay()
        for parameter, gradient in zip(self.parameters, found.gradients, strict=True):
            parameter.grad = gradient
        return found.outputs

    def forget(self) -> None:
        """Free the memory of all graphs; later calls make new ones."""
        self._captured, self._pool, self._begun = {}, None, False

    def _capture(self, batch: tuple[Tensor, ...]) -> _Captured:
        """Return the graph of a computation, which capturing does not carry out."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        graph, inputs = torch.cuda.CUDAGraph(), tuple(part.clone() for part in batch)
        with torch.cuda.graph(graph, pool=self._pool):
            outputs = self.compute(*inputs)
        gradients = [parameter.grad for parameter in self.parameters]
        return _Captured(graph=graph, inputs=inputs, outputs=outputs, gradients=gradients)
