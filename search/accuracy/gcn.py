"""Predict accuracies by a graph convolutional network, as BRP-NAS does (Dudziak et al. 2020, arXiv:2007.08668).

The networks' graphs are those of `search.accuracy.graphs`. Two targets are offered:

    the value    L1 on accuracies brought to mean 0 and deviation 1 over the fitted networks
    pairs        which of two networks is better. BRP-NAS gives two embeddings to a classifier, whose answers need not change
                 sign when the networks are swapped, nor form an order. Here the logit is the difference of two scalars, one
                 for each network (RankNet, Burges et al. 2005): the answers do both by construction, and the scalars rank
                 networks, though not in the unit of accuracies. Each step learns from all pairs of a batch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, ClassVar

import numpy as np

from search.accuracy.graphs import BlockGraphs, adjacency, block_graphs, node_features
from search.checked import Checked, Range
from space import BLOX, SpaceConfig
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray

if TYPE_CHECKING:
    from torch import Tensor

    from search.accuracy.layers import GcnWeights


@dataclass(frozen=True, slots=True, kw_only=True)
class GcnConfig(Checked):
    """Hyperparameters of the predictor; all defaults but the batch are BRP-NAS's.

    `learning_rate` falls to 0 along a cosine over the epochs. `batch`: networks a step; with `pairs` all pairs of them are one
    step. `predict_batch`: networks predicted at once, some 60 KB each at full width. `device`: as torch names it.

    Raises:
        ConfigError: a hyperparameter is out of its range.
    """

    NAME: ClassVar[str] = "gcn"

    layers: Annotated[int, Range(least=1)] = 4
    width: Annotated[int, Range(least=1)] = 600
    dropout: Annotated[float, Range(least=0, below=1)] = 0.2
    learning_rate: Annotated[float, Range(above=0)] = 3.5e-4
    weight_decay: Annotated[float, Range(least=0)] = 5e-4
    epochs: Annotated[int, Range(least=1)] = 250
    batch: Annotated[int, Range(least=1)] = 20
    predict_batch: Annotated[int, Range(least=1)] = 500
    pairs: bool = False
    device: str = "cpu"


@dataclass(slots=True, kw_only=True, eq=False)
class _Fitted:
    weights: GcnWeights
    center: float
    spread: float


@dataclass(slots=True, eq=False)
class GcnPredictor:
    """A predictor with `fit` and `predict`; equal networks, accuracies, hyperparameters and seed give equal predictions.

    `known`, (stages, B, columns): further features of each block in each stage, of about unit scale, added to the block's nodes.
    Each fit starts from the seed's weights. Predictions are accuracies in percent, or with `pairs` scores that only rank.
    """

    config: SpaceConfig = BLOX
    hyperparameters: GcnConfig = field(default_factory=GcnConfig)
    seed: int = 0
    known: FloatArray | None = field(default=None, repr=False)
    _parts: BlockGraphs = field(init=False, repr=False)
    _fitted: _Fitted | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        self._parts = block_graphs(self.config, self.known)

    def fit(self, indices: IndexArray, scores: FloatArray) -> None:
        """Learn from networks (n,) and their accuracies (n,), n of 1 or more.

        Raises:
            ValueError: no networks, differing lengths, or an accuracy that is not finite.
        """
        import torch

        from search.accuracy.layers import fresh_weights, pair_loss, value_loss, values

        indices, scores = np.asarray(indices, dtype=np.int64), np.asarray(scores, dtype=np.float64)
        if not len(indices) or indices.shape != scores.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"gcn: {scores.shape} accuracies, all finite: {np.isfinite(scores).all()}, for {indices.shape} networks; "
                "give one finite accuracy for each of 1 or more networks"
            )
        hyperparameters, device = self.hyperparameters, self._device()
        center, spread = float(scores.mean()), float(scores.std()) or 1.0
        targets = torch.tensor((scores - center) / spread, dtype=torch.float32, device=device)
        heard, hears = self._inputs(indices)
        generator = torch.Generator().manual_seed(self.seed)
        dropping = torch.Generator(device=device).manual_seed(self.seed)
        weights = fresh_weights(
            self._parts.features, hyperparameters.width, hyperparameters.layers, generator
        ).to(device)
        loss_of = pair_loss if hyperparameters.pairs else value_loss
        with torch.enable_grad():
            learned = [tensor.requires_grad_() for tensor in weights.tensors()]
            optimizer = torch.optim.AdamW(
                learned,
                lr=hyperparameters.learning_rate,
                weight_decay=hyperparameters.weight_decay,
                fused=True,
            )
            for epoch in range(hyperparameters.epochs):
                rate = (
                    hyperparameters.learning_rate
                    * (1 + math.cos(math.pi * epoch / hyperparameters.epochs))
                    / 2
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                order = torch.randperm(len(indices), generator=generator).to(device)
                for rows in torch.split(order, hyperparameters.batch):
                    predicted = values(weights, heard[rows], hears[rows], hyperparameters.dropout, dropping)
                    optimizer.zero_grad()
                    loss_of(predicted, targets[rows]).backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
        for tensor in learned:
            tensor.requires_grad_(False)
        self._fitted = _Fitted(weights=weights, center=center, spread=spread)

    def predict(self, indices: IndexArray) -> FloatArray:
        """Return the predicted accuracy, or with `pairs` the score, of each network, (n,).

        Raises:
            ValueError: it was not fitted.
        """
        if self._fitted is None:
            raise ValueError("gcn: predict was called before fit")
        import torch

        from search.accuracy.layers import values

        indices = np.asarray(indices, dtype=np.int64)
        predicted = np.zeros(len(indices))
        with torch.inference_mode():
            for begin in range(0, len(indices), self.hyperparameters.predict_batch):
                rows = slice(begin, begin + self.hyperparameters.predict_batch)
                predicted[rows] = values(self._fitted.weights, *self._inputs(indices[rows])).cpu().numpy()
        if self.hyperparameters.pairs:
            return predicted
        return self._fitted.center + self._fitted.spread * predicted

    def _inputs(self, indices: IndexArray) -> tuple[Tensor, Tensor]:
        """Return the inputs of the GCN: aggregated node features, and the adjacency."""
        import torch

        hears = torch.from_numpy(adjacency(self._parts, indices)).to(self.hyperparameters.device)
        return hears @ torch.from_numpy(node_features(self._parts, indices)).to(
            self.hyperparameters.device
        ), hears

    def _device(self) -> str:
        """Return the device's name.

        Raises:
            ConfigError: torch has no such device here.
        """
        import torch

        try:
            torch.empty(0, device=self.hyperparameters.device)
        except (RuntimeError, AssertionError) as e:
            raise ConfigError(f"gcn: device {self.hyperparameters.device!r} cannot be used: {e}") from e
        return self.hyperparameters.device
