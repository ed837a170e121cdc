"""Latency of the whole space from a fraction of it, for one configuration of a device.

    ladder = fit_ladder(indices, ratios)
    prediction = ladder.predict(range(len(BLOX)))

Everything here is a pure function of arrays; a network is its index in the canonical order, a latency its ratio to
the reference network's. Importing this package does not load scikit-learn.
"""

from search.latency.judging import Errors, judge, mape_interval, repeatability
from search.latency.ladder import Ladder, Prediction, RungReport, fit_ladder
from search.latency.rungs import RUNGS, Rung

__all__ = [
    "RUNGS",
    "Errors",
    "Ladder",
    "Prediction",
    "Rung",
    "RungReport",
    "fit_ladder",
    "judge",
    "mape_interval",
    "repeatability",
]
