"""Which networks of a space become finalists: of one that is enumerated all are ranked, of a larger one programmes choose.

Both choose the same networks where predictions and costs are sums over blocks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from harness.commands.blockwise_costs import SpaceCosts
from harness.commands.summed_costs import SummedCosts

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from harness.commands.blockwise_work import Setting
    from search.blockwise.finalists import Finalists
    from search.blockwise.fitting import Fitted
    from search.blockwise.searching import Plan
    from search.blockwise.signatures import Signatures
    from search.table.constraints import Constraint
    from space import SpaceConfig

PREDICTED = "predicted_val_top1"
ENUMERATED = "enumeration"
PROGRAMME = "integer programme"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Choice:
    """The finalists of a round by what was predicted of them, `metric`, and how they were `chosen`.

    `allowed` networks are within the limits, None where nobody counted them; `unknown` have a block without a signature. `pool`
    networks were ranked where predictions are no sums, the best by sums of the signatures' column `pool_by`; else 0.
    """

    finalists: Finalists
    metric: str
    chosen: str
    allowed: int | None
    unknown: int
    pool: int = 0
    pool_by: str = ""


def choose(fitted: Fitted, signatures: Signatures, setting: Setting) -> Choice:
    """Return the finalists of a library's space within the limits of a setting.

    Raises: ConfigError when no network is within the limits.
    """
    if isinstance(setting.costs, SummedCosts):
        return _by_programme(fitted, signatures, setting, setting.costs)
    from search.blockwise.searching import choose as choose_listed
    from search.blockwise.searching import predicted_table

    config = signatures.config
    table = predicted_table(
        config,
        lambda indices: predictions(fitted, indices, config),
        setting.costs.costs,
        metric=_metric(fitted),
        origin=(f"{setting.predictor} of signatures",),
        synthetic=setting.task.synthetic,
    )
    finalists, allowed = choose_listed(table, setting.constraints, setting.plan, confident=setting.confident)
    return Choice(
        finalists=finalists,
        metric=_metric(fitted),
        chosen=ENUMERATED,
        allowed=allowed,
        unknown=int(np.isnan(table.accuracy.values).sum()),
    )


def check_limits(
    constraints: Sequence[Constraint],
    config: SpaceConfig,
    costs: SpaceCosts | SummedCosts,
    plan: Plan,
    *,
    confident: bool,
) -> None:
    """Raise ConfigError when no network of the space is within the limits, whatever its accuracy."""
    from search.blockwise import by_programme
    from search.blockwise.searching import choose as choose_listed
    from search.blockwise.searching import predicted_table

    if isinstance(costs, SummedCosts):
        nothing = np.zeros((config.stages, len(config.blocks)))
        by_programme.choose(config, nothing, costs.costs, constraints, 1, confident=confident)
        return
    table = predicted_table(
        config,
        lambda indices: np.zeros(len(indices)),
        costs.costs,
        metric="none",
        origin=(),
        synthetic=False,
    )
    choose_listed(table, constraints, plan, confident=confident)


def predictions(fitted: Fitted, indices: NDArray[np.int64], config: SpaceConfig) -> NDArray[np.float64]:
    """Return the predictions of networks (n,), NaN where the signature of a block is unknown."""
    from space.indexing import block_indices

    values = np.full(len(indices), np.nan)
    known = fitted.features.known[np.arange(config.stages), block_indices(config, indices)].all(axis=1)
    if known.any():
        values[known] = fitted.predict(indices[known])
    return values


def _by_programme(fitted: Fitted, signatures: Signatures, setting: Setting, costs: SummedCosts) -> Choice:
    """Choose by sums of what the predictor adds for each block; where it is no sum, rank a pool that a sum gives."""
    from search.blockwise.by_programme import POOL, ranked
    from search.blockwise.by_programme import choose as choose_sums
    from search.blockwise.predictors import SUM, additive, fit

    config, plan = signatures.config, setting.plan

    def best(scores: NDArray[np.float64], count: int) -> Finalists:
        return choose_sums(
            config,
            scores,
            costs.costs,
            setting.constraints,
            count,
            distance=plan.distance,
            confident=setting.confident,
        )

    form = additive(fitted)
    pool, pool_by = 0, ""
    if form is not None:
        finalists = best(form[0], plan.finalists)
        # The programme's sums leave the constant out.
        finalists = replace(finalists, scores=_predict(fitted, config)(_indices(finalists, config)))
    else:
        plain = fit(SUM, signatures, setting.columns[:1] if setting.columns else None)
        sums = additive(plain)
        assert sums is not None
        scores = np.where(fitted.features.known, sums[0], np.nan)
        many = best(scores, max(POOL, plan.finalists))
        finalists = ranked(config, many, _predict(fitted, config), plan.finalists, distance=plan.distance)
        pool, pool_by = len(many), plain.features.columns[0]
    return Choice(
        finalists=finalists,
        metric=_metric(fitted),
        chosen=PROGRAMME,
        allowed=None,
        unknown=len(config) - int(np.prod(fitted.features.known.sum(axis=1))),
        pool=pool,
        pool_by=pool_by,
    )


def _predict(fitted: Fitted, config: SpaceConfig) -> Callable[[NDArray[np.int64]], NDArray[np.float64]]:
    return lambda indices: predictions(fitted, indices, config)


def _indices(finalists: Finalists, config: SpaceConfig) -> NDArray[np.int64]:
    return np.array(finalists.indices(config), dtype=np.int64)


def _metric(fitted: Fitted) -> str:
    """Return the name of predictions; without accuracies they are sums of a signature, higher being better."""
    from search.blockwise.predictors_features import HIGHER_IS_BETTER

    column = fitted.features.columns[0]
    score = f"{column}_sum" if column in HIGHER_IS_BETTER else f"minus_{column}_sum"
    return PREDICTED if fitted.in_percent else score
