"""The choice that misses limits by least, against a list of all choices."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.optimize

from search.integer_program.nearest import nearest_choice
from search.integer_program.solve import Limit

STAGES, BLOCKS = 3, 5
CHOICES = list(product(range(BLOCKS), repeat=STAGES))


def made_limits(seed: int) -> list[Limit]:
    """Return limits that no choice meets, of other sizes and constants each."""
    random = np.random.default_rng(seed)
    shape = STAGES, BLOCKS
    return [
        Limit(name="latency", costs=random.uniform(1, 3, shape), constant=2.0, upper=2.5),
        Limit(name="size", costs=1e6 * random.uniform(0, 3, shape), constant=9e5, upper=1e6),
        Limit(name="gain", costs=random.uniform(0, 1, shape), constant=0.2, lower=9.0),
    ]


def worst(limits: list[Limit], blocks: tuple[int, ...]) -> float:
    excess = []
    for limit in limits:
        total = limit.total(blocks)
        excess.append(total / limit.upper - 1 if np.isfinite(limit.upper) else 1 - total / limit.lower)
    return max(excess)


@pytest.mark.parametrize("seed", range(6))
def test_no_other_choice_has_a_smaller_worst_excess(seed: int) -> None:
    for limits in (made_limits(seed), made_limits(seed)[:1], made_limits(seed)[1:]):
        found = nearest_choice(limits)
        assert found is not None
        assert worst(limits, found) == pytest.approx(min(worst(limits, one) for one in CHOICES), abs=2e-6)


@pytest.mark.parametrize("seed", range(3))
def test_choices_that_are_excluded_or_break_a_limit_that_is_kept_are_passed_over(seed: int) -> None:
    limits = made_limits(seed)
    is_closed = np.random.default_rng(seed).random((STAGES, BLOCKS)) < 0.4
    is_closed[:, 0] = False
    kept = Limit(name="closed", costs=is_closed.astype(float), upper=0.0)
    free = sorted((one for one in CHOICES if kept.total(one) == 0), key=lambda one: worst(limits, one))
    found = nearest_choice(limits, kept=[kept], excluded=free[:3])
    assert found is not None
    assert worst(limits, found) == pytest.approx(worst(limits, free[3]), abs=2e-6)
    assert worst(limits, free[3]) > min(worst(limits, one) for one in CHOICES)


def test_there_is_none_where_nothing_can_be_kept_or_a_bound_is_unknown() -> None:
    limits = made_limits(0)
    nothing = Limit(name="nothing", costs=np.ones((STAGES, BLOCKS)), upper=1.0)
    assert nearest_choice(limits, kept=[nothing]) is None
    unknown = Limit(name="unknown", costs=np.ones((STAGES, BLOCKS)), upper=-np.inf)
    assert nearest_choice([unknown]) is None


def test_a_presolve_that_cannot_tell_unbounded_from_infeasible_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, found = scipy.optimize.milp, nearest_choice(made_limits(0))
    presolved: list[bool] = []

    def milp(*given: Any, options: dict[str, Any], **more: Any) -> Any:
        presolved.append(options["presolve"])
        if options["presolve"]:
            return scipy.optimize.OptimizeResult(status=4, message="infeasible or unbounded", x=None)
        return real(*given, options=options, **more)

    monkeypatch.setattr(scipy.optimize, "milp", milp)
    assert nearest_choice(made_limits(0)) == found
    assert presolved == [True, False]
