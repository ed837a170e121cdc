"""Quantiles on which the intervals of all rooms rest: of Student's t, the normal distribution and Fisher's F."""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from space.indexing import FloatArray


def student(freedom: ArrayLike, coverage: float) -> FloatArray:
    """Return how many standard errors an interval reaches to either side, by Student's t with degrees of freedom (...): (...)."""
    from scipy.special import stdtrit

    found: FloatArray = stdtrit(freedom, (1 + coverage) / 2)
    return found


def normal(coverage: float) -> float:
    """Return how many standard deviations an interval reaches to either side, by the normal distribution."""
    return NormalDist().inv_cdf((1 + coverage) / 2)


def variance_ratio(one: float, other: float, share: float) -> float:
    """Return the ratio of two estimated variances, of these degrees of freedom, that a share of equal ones do not exceed."""
    from scipy.special import fdtri

    return float(fdtri(one, other, share))
