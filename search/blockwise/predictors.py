"""Predictors of accuracy from the signatures of blocks.

sum           minus the sum of `loss_change` over the stages, as LANA ranks (Molchanov et al. 2021, arXiv:2107.10624); a line
              brings it to percent where accuracies are known
linear        a ridge on the signatures of each stage, as DONNA predicts (Moons et al. 2021, arXiv:2012.08859)
second-order  the same with squares and products of signatures, shrunk more
gcn           a graph convolutional network that sees the signatures on the nodes (BRP-NAS, arXiv:2007.08668)
donna         as DONNA's simplest published form: least squares on the NSR of each stage's block, no penalty, no other signature
lana          as LANA is published: minus the sum of the loss changes on training images; it ranks as "sum" does

fitted = fit("linear", signatures, indices=indices, accuracies=accuracies)
fitted.predict(np.arange(len(signatures.config)))
evaluate(fitted)                                  # search.blockwise.predictors_report: errors with intervals
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.blockwise.cross_validation import (
    FEWEST,
    FittedModel,
    FittedPredictor,
    Maker,
    check_known,
    deal,
    fitted,
)
from search.blockwise.predictor_kinds import DONNA, GCN, LANA, LINEAR, PREDICTORS, SECOND_ORDER, SUM
from search.blockwise.predictors_linear import (
    Sums,
    fit_least_squares,
    fit_linear,
    fit_second_order,
    fit_sum,
    raw_sums,
)
from search.blockwise.signature_features import SignatureFeatures, features_of
from search.distillation.signatures import Signatures
from search.methods.predictor_loop import GCN_CONFIG
from search.methods.ridge import Quadratic
from space import SpaceConfig
from space.errors import ConfigError, did_you_mean
from space.indexing import FloatArray, IndexArray

_NONE = np.array([], dtype=np.int64)


def fit(
    name: str,
    signatures: Signatures,
    columns: Sequence[str] | None = None,
    indices: IndexArray = _NONE,
    accuracies: FloatArray | None = None,
    seed: int = 0,
    *,
    hyperparameters: GcnConfig = GCN_CONFIG,
    cross_validate: bool = True,
) -> FittedPredictor:
    """Fit a predictor to networks (n,) and their accuracies in percent (n,), and once more without each fold of them.

    `columns` are signatures, by default those of its kind; "sum" takes one. Without networks "sum" and "lana" give scores that
    only rank. `seed` deals folds and draws the initial weights of the "gcn", whose `hyperparameters` these are. Unless it is to
    `cross_validate`, there are no folds, and so neither errors nor intervals.

    Raises:
        ConfigError: no such predictor or column; too few networks, one given twice, an accuracy that is not finite; a
            fitted network's signature that is unknown.
    """
    features = _features(name, signatures, columns)
    indices = np.asarray(indices, dtype=np.int64)
    scores = np.asarray([] if accuracies is None else accuracies, dtype=np.float64)
    sums = raw_sums(features) if PREDICTORS[name].ranks else None
    if sums is not None and not len(indices) and not len(scores):
        return replace(fitted(name, features, lambda *_: sums, indices, scores, _NONE), in_percent=False)
    check_known(name, features, indices, scores, fewest(name, features.config))
    fold_of = deal(indices, PREDICTORS[name].one_by_one, seed) if cross_validate else _NONE
    made = fitted(name, features, _maker(name, seed, hyperparameters), indices, scores, fold_of)
    # The sums themselves rank without an accuracy; lines fitted without one network each would only blur their order.
    return made if sums is None else replace(made, ranking=sums(indices))


def fewest(name: str, config: SpaceConfig) -> int:
    """Return the least number of networks that a predictor is fitted to.

    Least squares without a penalty takes one for each slope, one for the constant, and one to be left out.
    """
    return config.stages + 2 if name == DONNA else FEWEST


def check_count(name: str, config: SpaceConfig, count: int) -> None:
    """Refuse a number of networks that is too small for a predictor. Raises: ConfigError."""
    if count < (least := fewest(name, config)):
        raise ConfigError(
            f"--fit-networks {count}: predictor {name!r} needs {least} or more in space {config.name!r}"
        )


def additive(fitted: FittedPredictor) -> tuple[FloatArray, float] | None:
    """Return the additive effect of each block in each stage, (stages, B), and a constant; None if the predictor is not additive.

    None for "gcn", and for "second-order" unless leave-one-out left out the products of different stages. Blocks of unknown
    signature have NaN, which no integer program takes: leave them out.
    """
    found = fitted.model.additive() if isinstance(fitted.model, Sums | Quadratic) else None
    if found is None:
        return None
    return np.where(fitted.features.known, found[0], np.nan), found[1]


def _features(name: str, signatures: Signatures, columns: Sequence[str] | None) -> SignatureFeatures:
    """Return the columns that a predictor takes.

    Raises:
        ConfigError: no such predictor or column, or more columns than it takes.
    """
    if name not in PREDICTORS:
        raise ConfigError(
            f"no predictor is named {name!r}{did_you_mean(name, PREDICTORS)} (there are: {', '.join(PREDICTORS)})"
        )
    kind = PREDICTORS[name]
    chosen = kind.columns if columns is None else tuple(columns)
    if kind.is_published and chosen != kind.columns:
        raise ConfigError(
            f"predictor {name!r} is the published form, of {kind.columns[0]} alone, not of {', '.join(chosen) or 'none'}; take "
            f"{SUM if kind.ranks else LINEAR} for other signatures"
        )
    if kind.single and len(chosen) != 1:
        raise ConfigError(
            f"predictor {name!r} sums one column, not {', '.join(chosen) or 'none'}; name one, such as {kind.columns[0]}"
        )
    return features_of(signatures, chosen)


def _maker(name: str, seed: int, hyperparameters: GcnConfig) -> Maker:
    makers: Mapping[str, Maker] = {
        SUM: fit_sum,
        LINEAR: fit_linear,
        SECOND_ORDER: fit_second_order,
        GCN: partial(fit_gcn, seed=seed, hyperparameters=hyperparameters),
        DONNA: fit_least_squares,
        LANA: fit_sum,
    }
    return makers[name]


def fit_gcn(
    features: SignatureFeatures,
    indices: IndexArray,
    accuracies: FloatArray,
    seed: int = 0,
    hyperparameters: GcnConfig = GCN_CONFIG,
) -> FittedModel:
    """Fit a GCN to networks (n,) and their accuracies (n,); their order does not matter.

    Positive columns enter as logarithms: a network learns badly from a feature that is large for one block alone. All stages
    share the weights of a feature, so a column is scaled over all stages together.
    """
    known = features.scaled(logarithms=True, by_stage=False)
    predictor = GcnPredictor(features.config, hyperparameters, seed, known)
    order = np.argsort(indices)  # the seed deals batches by place
    predictor.fit(indices[order], accuracies[order])
    return predictor.predict
