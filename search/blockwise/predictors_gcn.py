"""A GCN over networks' graphs with signatures as features of the nodes (BRP-NAS, Dudziak et al. 2020, arXiv:2007.08668).

A block's signatures are features of all nodes of its stage, with the one-hots of their ops: the fit can use ops and wiring as
well as signatures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.blockwise.signature_features import SignatureFeatures
from search.methods.predictor_loop import GCN_CONFIG
from space.indexing import FloatArray, IndexArray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Graphs:
    """Predict by a GCN that was fitted."""

    predictor: GcnPredictor

    def __call__(self, indices: IndexArray) -> FloatArray:
        """Return a prediction for each network, (n,)."""
        return self.predictor.predict(indices)

    def additive(self) -> None:
        """Return None: a GCN is no sum over stages."""
        return None


def fit_gcn(
    features: SignatureFeatures,
    indices: IndexArray,
    accuracies: FloatArray,
    seed: int = 0,
    hyperparameters: GcnConfig = GCN_CONFIG,
) -> Graphs:
    """Fit a GCN to networks (n,) and their accuracies (n,); their order does not matter.

    Positive columns enter as logarithms: a network learns badly from a feature that is large for one block alone. All stages
    share the weights of a feature, so a column is scaled over all stages together.
    """
    known = features.scaled(logarithms=True, by_stage=False)
    predictor = GcnPredictor(features.config, hyperparameters, seed, known)
    order = np.argsort(indices)  # the seed deals batches by place
    predictor.fit(indices[order], accuracies[order])
    return Graphs(predictor=predictor)
