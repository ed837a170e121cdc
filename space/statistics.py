"""Student's t, on which the intervals of all rooms rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

    from space.indexing import FloatArray


def student(freedom: ArrayLike, coverage: float) -> FloatArray:
    """Return how many standard errors an interval reaches to either side, by Student's t with degrees of freedom (...): (...)."""
    from scipy.special import stdtrit

    found: FloatArray = stdtrit(freedom, (1 + coverage) / 2)
    return found
