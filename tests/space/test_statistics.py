"""Student's t against scipy's distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from space.statistics import student, variance_ratio


@pytest.mark.parametrize("coverage", [0.9, 0.95])
def test_student_s_t_is_two_sided_and_of_any_degrees_of_freedom(coverage: float) -> None:
    freedom = np.array([1, 2.5, 9, 200])
    inside = stats.t.cdf(student(freedom, coverage), freedom) - stats.t.cdf(
        -student(freedom, coverage), freedom
    )
    assert inside == pytest.approx(coverage)


@pytest.mark.parametrize("freedom", [(1, 2.5), (4, 25), (9, 200)])
def test_the_ratio_of_two_variances_is_fisher_s(freedom: tuple[float, float]) -> None:
    assert stats.f.cdf(variance_ratio(*freedom, 0.95), *freedom) == pytest.approx(0.95)
