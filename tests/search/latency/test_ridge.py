"""Fits of costs that are not negative."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from search.latency import ridge
from search.latency.ridge import fit_parts
from space import find_space
from space.costs import block_costs
from space.indexing import block_indices


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


# A chain of three sizes of image, twice as many channels in each: sites of one size are alike.
STAGED = """
name = "staged"
image_size = 32
classes = 5

[candidates]
mb3_k3 = { module = "mbconv", expansion = 3, kernel = 3 }
mb6_k3 = { module = "mbconv", expansion = 6, kernel = 3 }
mb3_k7 = { module = "mbconv", expansion = 3, kernel = 7 }
mb6_k7 = { module = "mbconv", expansion = 6, kernel = 7 }
skip = "identity"

[stem]
module = "conv"
channels = 16

[[sites]]
candidates = ["mb3_k3", "mb6_k3", "mb3_k7", "mb6_k7"]
channels = 24
stride = 2

[[sites]]
candidates = ["mb3_k3", "mb6_k3", "mb3_k7", "mb6_k7", "skip"]
repeat = 5

[[sites]]
candidates = ["mb3_k3", "mb6_k3", "mb3_k7", "mb6_k7"]
channels = 96
stride = 2

[[sites]]
candidates = ["mb3_k3", "mb6_k3", "mb3_k7", "mb6_k7", "skip"]
repeat = 5

[head]
module = "linear"
"""


def test_sites_of_one_shape_tell_of_each_other_and_those_of_others_by_their_work(tmp_path: Path) -> None:
    (tmp_path / "staged.toml").write_text(STAGED)
    space = find_space(tmp_path / "staged.toml")
    # A kernel of 7 x 7 takes ten times as long for each multiply-accumulate, as without a fast implementation.
    slow = np.array([10.0 if block.op1.endswith("k7") else 1.0 for block in space.blocks])
    macs = np.array([[cost.macs for cost in row] for row in block_costs(space)]) * slow
    rng = np.random.default_rng(0)
    places = np.unique(rng.integers(len(space), size=230))
    digits = block_indices(space, places)
    ratios = macs[np.arange(space.stages), digits].sum(axis=1) + 0.1 * macs.max() * space.stages
    ratios *= rng.normal(1, 0.01, len(places)) / ratios.mean()
    seen = rng.permutation(len(places))[:30]  # of 54 candidates at 12 sites
    rest = np.setdiff1d(np.arange(len(places)), seen)
    fitted = fit_parts(space, places[seen], ratios[seen], np.ones(len(seen)))
    errors = np.abs(fitted(places[rest]) / ratios[rest] - 1)
    assert errors.mean() < 0.03, errors.mean()
