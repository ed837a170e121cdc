"""Fits of costs that are not negative."""

from __future__ import annotations

import numpy as np
import pytest

from search.latency import ridge


@pytest.mark.parametrize("most", [ridge.MOST_SOLUTIONS, 1])
def test_no_sum_of_nonnegative_costs_fits_better(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ridge, "MOST_SOLUTIONS", most)
    rng = np.random.default_rng(0)
    for _ in range(50):
        rows, count = rng.integers(2, 60, size=2)
        columns = rng.random((rows, count)) * (rng.random((rows, count)) < 0.5)
        columns[:, count // 2 :] = columns[:, : count - count // 2] + 1e-9
        hessian = columns.T @ columns + 1e-6 * np.eye(count)
        slope = hessian @ (rng.random(count) - 0.3)
        for free in (np.ones(count, dtype=np.bool_), rng.random(count) < 0.5):  # wherever it starts from
            theta = ridge.least_nonnegative(hessian, slope, free)
            gradient, tiny = hessian @ theta - slope, 1e-7 * np.abs(slope).max()
            assert theta.min() >= 0
            assert gradient.min() >= -tiny
            assert np.abs(gradient[theta > 0]).max(initial=0) <= tiny
