"""What choosing a predictor costs: how much worse the chosen candidate is on the whole space than the best one would have been.

    python benchmarks/predictor_choice.py [--draws 20]

Made-up devices, nothing measured: each op costs what it likes in each stage, pairs of ops within a block or across a reduction
take or save some percent, and a measured ratio has noise of 0.7 %. Every candidate is fitted on the same measured networks
and judged on 2,000 random ones without noise; the regret of a rule is the error of the candidate that it chooses over
the least error of any candidate, less 1. Rules: the one up to 4f57e14 (the simplest within one standard error of the best mean,
one deal of the folds) and paired differences over four deals at several levels, with and without weights for the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from machine import describe_machine, option_parser

from search.latency import model_selection
from search.latency.block_features import block_features, pair_features, standardized
from search.latency.candidates import CANDIDATES
from search.latency.design import least_variance_design
from search.latency.model_selection import select_predictor, space_weights
from search.latency.ridge import Linear
from space import BLOX
from space.indexing import FloatArray, block_indices

NOISE = 0.007
JUDGES = 2_000
LEVELS = (0.0, 0.25, 0.5, 1.0, 1.65)
# Interactions within a block and across stages; scatter of stages.
DEVICES: Mapping[str, tuple[float, float, float]] = {
    "additive": (0.0, 0.0, 0.1),
    "pairs 2 %": (0.02, 0.0, 0.1),
    "pairs 5 %": (0.05, 0.0, 0.4),
    "across 2 %": (0.0, 0.02, 0.1),
    "across 4 %": (0.01, 0.04, 0.4),
}


def main() -> None:
    """Draw devices, fit, choose and print."""
    parser = option_parser(__doc__)
    parser.add_argument("--draws", type=int, default=20, help="devices of each kind")
    draws = parser.parse_args().draws
    print(describe_machine())
    names = ["one standard error", *(f"paired {level:g}" for level in LEVELS), "paired 0.5, weights"]
    print(f"{'device':<12}{'networks':>9}  " + "".join(f"{name:>20}" for name in names) + "   least error")
    for count in (45, 90):
        for device, sizes in DEVICES.items():
            regrets, least = zip(*(_regrets(sizes, count, seed) for seed in range(draws)), strict=True)
            cells = "".join(f"{value:20.1%}" for value in np.mean(regrets, axis=0))
            print(f"{device:<12}{count:>9}  {cells}   {np.mean(least):.2%}", flush=True)


def made_space(within: float, across: float, scatter: float, seed: int) -> tuple[FloatArray, Linear]:
    """Return the ratio of every network on a made-up device, (len(BLOX),), and the sum of its parts measured alone."""
    rng = np.random.default_rng(seed)
    op = rng.uniform(0.1, 0.25, 3) * np.exp(rng.normal(0, scatter, (3, 3)))
    features = np.hstack([op, op * np.exp(rng.normal(0, 0.02, op.shape)), rng.uniform(0, 0.015, (3, 3))])
    blocks = features @ block_features(BLOX).T  # (stages, B)
    pairs = standardized(pair_features(BLOX))
    blocks = blocks * np.exp(within * _unit(rng.normal(size=(3, pairs.shape[1])) @ pairs.T))
    digits = block_indices(BLOX, np.arange(len(BLOX)))
    ends = np.array([BLOX.ops.index(block.op1) for block in BLOX.blocks])[digits]
    begins = np.array([BLOX.ops.index(block.op0 or block.op1) for block in BLOX.blocks])[digits]
    borders = _unit(rng.normal(size=(2, 9)))
    factor = sum(borders[stage, 3 * ends[:, stage] + begins[:, stage + 1]] for stage in range(2))
    total: FloatArray = (0.25 + blocks[np.arange(3), digits].sum(axis=1)) * np.exp(across * factor / 2**0.5)
    # Each part with an overhead and noise of its own.
    alone = 1.05 * blocks * np.exp(rng.normal(0, 0.02, blocks.shape))
    return total, Linear(config=BLOX, constant=0.3, blocks=alone)


def _unit(values: FloatArray) -> FloatArray:
    return values / values.std(axis=1, keepdims=True)


def _regrets(sizes: tuple[float, float, float], count: int, seed: int) -> tuple[list[float], float]:
    """Return each rule's regret on one device, and the least error of any candidate."""
    (truth, parts), rng = made_space(*sizes, seed), np.random.default_rng((seed, 1))
    measured = least_variance_design(BLOX, count, seed)
    ratios = truth[measured] * np.exp(rng.normal(0, NOISE, count))
    sums = parts if seed % 2 else None  # half of the users measure the segments, too
    everything = _with(4, lambda: select_predictor(measured, ratios, config=BLOX, parts_sum=sums))
    once = _with(1, lambda: select_predictor(measured, ratios, config=BLOX, parts_sum=sums))
    judges = rng.choice(len(truth), JUDGES, replace=False)
    errors = {}
    for candidate in CANDIDATES:
        if candidate.name in everything.each_error:
            alone = _with(
                1,
                lambda candidate=candidate: select_predictor(
                    measured, ratios, config=BLOX, parts_sum=sums, candidates=[candidate]
                ),
            )
            errors[candidate.name] = float(np.mean(np.abs(alone.point(judges) / truth[judges] - 1)))
    chosen = [_one_standard_error(once.each_error)]
    equal = np.ones(count)
    chosen += [_paired(everything.each_error, equal, level) for level in LEVELS]
    chosen.append(_paired(everything.each_error, space_weights(BLOX, measured), 0.5))
    least = min(errors.values())
    return [errors[name] / least - 1 for name in chosen], least


def _with(
    repeats: int, fit: Callable[[], model_selection.SelectedPredictor]
) -> model_selection.SelectedPredictor:
    before, model_selection.REPEATS = model_selection.REPEATS, repeats
    try:
        return fit()
    finally:
        model_selection.REPEATS = before


def _paired(errors: Mapping[str, FloatArray], weights: FloatArray, level: float) -> str:
    before, model_selection.CLEAR = model_selection.CLEAR, level
    try:
        return model_selection.choose(errors, weights)
    finally:
        model_selection.CLEAR = before


def _one_standard_error(errors: Mapping[str, FloatArray]) -> str:
    best = min(errors.values(), key=lambda each: float(each.mean()))
    limit = best.mean() + best.std(ddof=1) / np.sqrt(len(best))
    return next(name for name, each in errors.items() if each.mean() <= limit)


if __name__ == "__main__":
    main()
