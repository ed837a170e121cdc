"""The choice of one block a stage with the least violation of limits on sums, for programs without a solution.

A violation is a share of its limit; the largest share is minimized, by one more variable t and, for each limit, a row
(sum - upper) / upper <= t, or (lower - sum) / lower <= t.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import numpy as np

from search.integer_program.solve import Limit
from search.integer_program.solver import Blocks, least_choice, ones_at
from space.indexing import FloatArray


def nearest_choice(
    limits: Sequence[Limit],
    *,
    kept: Sequence[Limit] = (),
    excluded: Collection[Blocks] = (),
) -> Blocks | None:
    """Return the choice whose worst excess over the limits is least, to 1e-6 of a limit; None where there is none.

    Bounds of `limits`, at least one, are above 0. Limits `kept` are met, and `excluded` choices are not returned.

    Raises:
        HarnessError: the program was not solved, or not in time.
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
    worst = np.append(np.zeros(math.prod(shape)), 1.0)  # t, the last variable
    cut = 0
    while True:
        blocks = least_choice(worst, np.array(rows), np.array(highest), shape, "the nearest network")
        if blocks is None or blocks not in excluded:
            return blocks
        cut += 1
        assert cut <= len(excluded)  # each is cut off once
        rows.append(np.append(ones_at(shape, blocks).ravel(), 0.0))
        highest.append(len(blocks) - 1)
