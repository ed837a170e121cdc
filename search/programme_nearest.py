"""The choice of one block a stage that misses limits on sums by least: what a programme without a solution has instead.

A limit is missed by a share of itself; the largest of these shares is made as small as can be, by one more variable t and, for
each limit, a row (sum - upper) / upper <= t, or (lower - sum) / lower <= t.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from harness.errors import HarnessError
from search.latency.features import FloatArray
from search.programme import Limit
from search.programme_solver import WHOLE, Blocks


def nearest_choice(
    limits: Sequence[Limit],
    *,
    kept: Sequence[Limit] = (),
    excluded: Collection[Blocks] = (),
    time_limit_s: float = 60.0,
) -> Blocks | None:
    """Return the choice whose worst excess over the limits is least, to 1e-6 of a limit; None where there is none.

    Bounds of `limits`, at least one, are above 0. Limits `kept` are met, and `excluded` choices are not returned.

    Raises:
        HarnessError: the programme was not solved, or not in time.
    """
    shape = limits[0].costs.shape
    rows: list[FloatArray] = []
    highest: list[float] = []
    for limit in limits:
        for sign, bound in ((1, limit.upper), (-1, limit.lower)):
            if math.isinf(bound) and sign * bound > 0:
                continue
            if not 0 < bound < math.inf:
                return None
            rows.append(np.append(sign * limit.costs.ravel() / bound, -1.0))
            highest.append(sign * (1 - limit.constant / bound))
    for limit in kept:
        for sign, bound in ((1, limit.upper), (-1, limit.lower)):
            if math.isfinite(bound):
                rows.append(np.append(sign * limit.costs.ravel(), 0.0))
                highest.append(sign * (bound - limit.constant))
    cut = 0
    while True:
        blocks = _solved(shape, rows, highest, time_limit_s)
        if blocks is None or blocks not in excluded:
            return blocks
        cut += 1
        assert cut <= len(excluded)  # each is cut off once
        rows.append(np.append(_at(shape, blocks).ravel(), 0.0))
        highest.append(len(blocks) - 1)


def _solved(
    shape: tuple[int, ...], rows: Sequence[FloatArray], highest: Sequence[float], time_limit_s: float
) -> Blocks | None:
    """Return the choice of the least t, the last variable; None where rows cannot be met."""
    from scipy.optimize import Bounds, LinearConstraint, milp

    stages, count = shape
    size = stages * count
    one_each = np.hstack([np.kron(np.eye(stages), np.ones(count)), np.zeros((stages, 1))])
    result = milp(
        np.append(np.zeros(size), 1.0),
        integrality=np.append(np.ones(size), 0.0),
        bounds=Bounds(np.append(np.zeros(size), -np.inf), np.append(np.ones(size), np.inf)),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(np.array(rows), -np.inf, np.array(highest)),
        ],
        options={"time_limit": time_limit_s, "mip_rel_gap": 0.0},
    )
    if result.status == 2:
        return None
    if result.status != 0:
        raise HarnessError(f"the nearest network was not found: {result.message}; allow it more time")
    chosen = np.reshape(result.x[:-1], shape)
    blocks = chosen.argmax(axis=1)
    if abs(chosen - np.eye(count)[blocks]).max() > WHOLE:
        raise HarnessError("the nearest network was not found: the solver chose parts of blocks")
    return tuple(blocks.tolist())


def _at(shape: tuple[int, ...], blocks: Blocks) -> FloatArray:
    found = np.zeros(shape)
    found[np.arange(shape[0]), list(blocks)] = 1.0
    return found
