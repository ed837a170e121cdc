"""Search in rounds with a graph convolutional network as the predictor: BRP-NAS (Dudziak et al. 2020, arXiv:2007.08668).

`gcn` learns accuracies, `gcn-binary` which of two networks is better. The predictor is smaller than BRP-NAS's and trained for
fewer epochs at a higher rate: a tenth of the time for some 0.01 of Kendall's tau (`benchmarks/predictors.py`). A search
of 100 look-ups fits it four times and ranks all allowed networks each time.
"""

from __future__ import annotations

from search.accuracy.gcn import GcnConfig, GcnPredictor
from search.methods.contract import Method, Problem
from search.methods.loop import PredictorLoop

KNOBS = GcnConfig(width=200, epochs=100, learning_rate=2e-3)
KNOBS_OF_PAIRS = GcnConfig(width=200, epochs=100, learning_rate=2e-3, pairs=True)


def gcn(problem: Problem, knobs: GcnConfig = KNOBS) -> Method:
    """Make the method with a predictor of accuracies."""
    return PredictorLoop(problem, GcnPredictor(problem.config, knobs, problem.seed))


def gcn_binary(problem: Problem, knobs: GcnConfig = KNOBS_OF_PAIRS) -> Method:
    """Make the method with a predictor of which of two networks is better."""
    return PredictorLoop(problem, GcnPredictor(problem.config, knobs, problem.seed))
