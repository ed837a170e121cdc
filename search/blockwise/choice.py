"""Choose finalists: rank every network of an enumerable space; solve an integer program for a larger one, or where LANA does.

Both choose the same networks where predictions and costs are sums over blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from search.blockwise import by_integer_program
from search.blockwise.cross_validation import FittedPredictor
from search.blockwise.defaults import POOL
from search.blockwise.finalists import Finalists
from search.blockwise.predictor_kinds import SUM
from search.blockwise.predictors import additive, fit
from search.blockwise.search import SearchPlan, choose_listed, predicted_table
from search.blockwise.setting import Setting, SpaceCosts
from search.blockwise.signature_features import HIGHER_IS_BETTER
from search.distillation.signatures import Signatures
from search.table import Cost, NetworkTable
from search.table.constraints import Constraint
from space import SpaceConfig
from space.indexing import FloatArray, IndexArray, available, block_indices

PREDICTED = "predicted_val_top1"
ENUMERATED = "enumeration"
INTEGER_PROGRAM = "integer program"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The finalists of a round by their predicted `metric`, and how they were `chosen`.

    `allowed` networks are within the limits, None where they were not counted; `unknown` have a block without a signature.
    `pool` networks were ranked where predictions are no sums, the best by sums of the signatures' column `pool_by`; else 0.
    `table` holds the predictions and costs of all networks, where they were enumerated.
    """

    finalists: Finalists
    metric: str
    chosen: str
    allowed: int | None
    unknown: int
    pool: int = 0
    pool_by: str = ""
    table: NetworkTable | None = None


def choose_finalists(fitted: FittedPredictor, signatures: Signatures, setting: Setting) -> Choice:
    """Return the finalists of a library's space within the limits of a setting.

    Raises: ConfigError when no network is within the limits.
    """
    config = signatures.config
    if not setting.costs.is_listed:
        return _by_integer_program(fitted, signatures, setting)
    table = table_of(fitted, config, setting, setting.costs.listed)
    finalists, allowed = choose_listed(table, setting.constraints, setting.plan, confident=setting.confident)
    return Choice(
        finalists=finalists,
        metric=_metric(fitted),
        chosen=ENUMERATED,
        allowed=allowed,
        unknown=int(np.isnan(table.accuracy.values).sum()),
        table=table,
    )


def table_of(
    fitted: FittedPredictor,
    config: SpaceConfig,
    setting: Setting,
    costs: Mapping[str, Cost],
    indices: IndexArray | None = None,
) -> NetworkTable:
    """Return the table of predicted accuracies and costs, of every network or of some: see `predicted_table`."""
    return predicted_table(
        config,
        _predict(fitted, config),
        costs,
        metric=_metric(fitted),
        origin=(f"{setting.predictor} of signatures",),
        synthetic=setting.task.synthetic,
        indices=indices,
    )


def check_feasible(
    constraints: Sequence[Constraint],
    config: SpaceConfig,
    costs: SpaceCosts,
    plan: SearchPlan,
    *,
    confident: bool,
) -> None:
    """Raise ConfigError when no network of the space is within the limits."""
    if not costs.is_listed:
        nothing = np.where(available(config), 0.0, np.nan)
        by_integer_program.choose(
            config, costs.known(nothing), costs.summed, constraints, 1, confident=confident
        )
        return
    table = predicted_table(
        config,
        lambda indices: np.zeros(len(indices)),
        costs.listed,
        metric="none",
        origin=(),
        synthetic=False,
    )
    choose_listed(table, constraints, plan, confident=confident)


def _by_integer_program(fitted: FittedPredictor, signatures: Signatures, setting: Setting) -> Choice:
    """Choose by the predictor's sum over blocks; where it is not additive, rank a pool that a sum chose."""
    config, plan = signatures.config, setting.plan

    def best(scores: FloatArray, count: int) -> Finalists:
        return by_integer_program.choose(
            config,
            setting.costs.known(scores),
            setting.costs.summed,
            setting.constraints,
            count,
            distance=plan.distance,
            confident=setting.confident,
            distinct=True,
        )

    form = additive(fitted)
    pool, pool_by = 0, ""
    if form is not None:
        finalists = best(form[0], plan.finalists)
        # The program's sums leave the constant out.
        indices = np.array(finalists.indices(config), dtype=np.int64)
        finalists = replace(finalists, scores=_predict(fitted, config)(indices))
    else:
        plain = fit(SUM, signatures, setting.columns[:1] if setting.columns else None)
        sums = additive(plain)
        assert sums is not None
        scores = np.where(fitted.features.known, sums[0], np.nan)
        many = best(scores, max(POOL, plan.finalists))
        finalists = by_integer_program.ranked(
            config, many, _predict(fitted, config), plan.finalists, distance=plan.distance
        )
        pool, pool_by = len(many), plain.features.columns[0]
    return Choice(
        finalists=finalists,
        metric=_metric(fitted),
        chosen=INTEGER_PROGRAM,
        allowed=None,
        unknown=len(config) - int(np.prod(fitted.features.known.sum(axis=1))),
        pool=pool,
        pool_by=pool_by,
    )


def _predict(fitted: FittedPredictor, config: SpaceConfig) -> Callable[[IndexArray], FloatArray]:
    """Return a function that predicts networks, (n,) -> (n,), NaN where the signature of a block is unknown."""

    def predict(indices: IndexArray) -> FloatArray:
        values = np.full(len(indices), np.nan)
        known = fitted.features.known[np.arange(config.stages), block_indices(config, indices)].all(axis=1)
        if known.any():
            values[known] = fitted.predict(indices[known])
        return values

    return predict


def _metric(fitted: FittedPredictor) -> str:
    """Return the name of predictions; without accuracies they are sums of a signature, higher being better."""
    column = fitted.features.columns[0]
    score = f"{column}_sum" if column in HIGHER_IS_BETTER else f"minus_{column}_sum"
    return PREDICTED if fitted.in_percent else score
