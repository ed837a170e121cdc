"""`harness measure --until mape=2%`: measure until the predictor of the whole space is shown to reach an error.

The networks: a design of 45 from which the predictions of the whole space vary least; then, in other processes, 24 random ones
which no predictor is fitted on until the end: they judge it. Then, round by round, the networks that lower the variance of all
predictions most.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from math import pi, sqrt

import numpy as np

from harness.measurement.campaign import Outcome
from harness.measurement.plan import Options
from harness.prediction.space_prediction import (
    HeldOutErrors,
    MeasuredNetworks,
    fit,
    graded_segments,
    judge_on,
    measured_networks,
    space_of,
)
from harness.records import Configuration
from harness.store import Store
from search.latency.candidates import FEWEST
from search.latency.design import least_variance_design, next_networks
from space import Architecture, SpaceConfig
from space.errors import ConfigError, HarnessError
from space.hash_table import are_among
from space.indexing import BoolArray, IndexArray
from space.selection import select_models
from space.text import agreeing, counted

DESIGN = 45
JUDGE_COUNT = 24
# The first of `space_prediction.JUDGES`: the next campaign judges by the same networks.
JUDGES = f"sample:{JUDGE_COUNT}@20"
FEWEST_JUDGES = 8  # measured well; the errors of fewer may all be small by chance
ROUND = 15
MOST_NETWORKS = 360

Measure = Callable[[Sequence[Architecture], Options], Outcome]


class Unreachable(HarnessError):
    """The target error could not be shown; everything measured is stored."""

    exit_status = 3


def measure_until(
    target: float,
    options: Options,
    store: Store,
    measure: Measure,
    log: Callable[[str], None],
    *,
    space: SpaceConfig,
) -> Outcome:
    """Measure networks until the 95 % interval of the mean held-out error lies below the target, a share.

    Each round is another look at the same judges. Where the error stays at the target, 3 % of first looks took it for reached, of
    21 looks one did in 9 to 29 % (simulated, the less the more tables err alike): so a later look is told as one.
    Returns the last campaign's outcome. Networks are of the `space`.
    Raises: Unreachable when two measurements of the same network differ too much for the target, or after 360 networks;
    ConfigError when the space has no more networks than are measured to begin with, or the device runs more than one
    configuration. A campaign that was stopped ends this, too.
    """
    if len(space) <= DESIGN + JUDGE_COUNT:
        raise ConfigError(
            f"--until measures {DESIGN + JUDGE_COUNT} networks to begin with, and space {space.name!r} has {len(space)}: measure "
            "them all with --models all"
        )
    judges = select_models(JUDGES, space)
    indices = least_variance_design(space, DESIGN)
    design = [
        Architecture.from_index(index, space) for index in indices[~_among(space, indices, judges)].tolist()
    ]
    options = replace(options, one_runtime=True)
    log(
        f"measuring {counted(len(design), 'network')} for the first table, then {len(judges)} random ones to judge it by"
    )
    outcome = measure(design, options)
    if outcome.error is not None:
        return outcome
    (use,) = outcome.uses
    configuration, later = use.configuration, replace(options, recalibrate=False)  # once is enough
    log(_first_table(store, configuration, judges))
    outcome = measure(judges, later)  # in other processes than what they judge
    if outcome.error is not None:
        return outcome
    noise = _check_reachable(target, store, configuration, judges)
    rng, before, looks = random.Random(0), 0, 0
    while outcome.error is None:
        held_out, fitted, picked = _judge(store, configuration, judges, rng)
        if fitted == before:
            raise Unreachable(
                f"device {configuration.device!r}: nothing more was measured under this configuration in the last round: its "
                "networks failed or have grade D, or runtime, cores or clocks changed meanwhile; see 'harness results' with and "
                "without --failures, and run the same command again"
            )
        before, looks = fitted, looks + 1
        low, high = held_out.mape_interval
        state = (
            f"{fitted} networks: held-out error {held_out.errors.mape:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"of which the judges' own noise is up to {noise:.2%}, wanted {target:.2%}"
        )
        if high <= target:
            by_chance = (
                f" at look {looks} at the same judges: of so many looks one may show by chance what each shows with 95 %"
                if looks > 1
                else ""
            )
            log(f"{state}: reached{by_chance}")
            return outcome
        if fitted >= MOST_NETWORKS:
            raise Unreachable(
                f"device {configuration.device!r}: {state}: not reached with {fitted} networks; the predictor does not fit this "
                "device better: see 'harness predict' and 'harness audit', or allow a larger error"
            )
        if not picked:
            raise Unreachable(
                f"device {configuration.device!r}: {state}: not reached with all networks of the space measured, so that none "
                "is predicted any more: see 'harness results'"
            )
        log(f"{state}: measuring the {counted(len(picked), 'network')} known least")
        outcome = measure(picked, later)
    return outcome


def _measured(store: Store, configuration: Configuration) -> MeasuredNetworks:
    return measured_networks(store, configuration, space_of(configuration))


def _among(config: SpaceConfig, indices: IndexArray, networks: Sequence[Architecture]) -> BoolArray:
    return are_among(config, indices, np.array([one.index for one in networks], dtype=np.int64))


def _first_table(store: Store, configuration: Configuration, judges: Sequence[Architecture]) -> str:
    """Return the predictions of the whole space after the design alone."""
    measured = _measured(store, configuration)
    apart = _among(measured.config, measured.indices, judges)
    if (~apart).sum() < FEWEST:
        return "too few networks are measured yet for a table of the space"
    errors = fit(measured, ~apart, segments=graded_segments(store, configuration)[0]).errors
    return (
        f"first table of all {len(measured.config):,} networks, from {errors.count}: error {errors.mape:.1%} by "
        "cross-validation; what follows checks and refines it"
    )


def _check_reachable(
    target: float, store: Store, configuration: Configuration, judges: Sequence[Architecture]
) -> float:
    """Refuse a target below the noise of the held-out measurements; return that noise, a share.

    It is the mean error that an exact predictor may show: of a normal deviation, sqrt(2 / pi) of the standard deviation.
    """
    measured = _measured(store, configuration)
    sds = measured.sds[_among(measured.config, measured.indices, judges)]
    if len(sds) < FEWEST_JUDGES:
        raise Unreachable(
            f"device {configuration.device!r}: {len(sds)} of {len(judges)} networks to judge by "
            f"{agreeing(len(sds), 'was', 'were')} measured well enough, and fewer than {FEWEST_JUDGES} show no error; "
            f"see 'harness results --device {configuration.device}', with and without --failures"
        )
    noise = float(np.mean(sds)) * sqrt(2 / pi)
    if noise > target:
        raise Unreachable(
            f"device {configuration.device!r}: an error of {target:.2%} cannot be shown: a measurement here is uncertain by "
            f"{np.mean(sds):.2%} (1 standard deviation), so that even a perfect predictor may seem {noise:.2%} off; quiet the "
            f"device, measure at --level final, or ask for more than {noise:.2%}; what was measured is stored: 'harness predict' "
            "shows how good it is, and 'harness search' uses it"
        )
    return noise


def _judge(
    store: Store, configuration: Configuration, judges: Sequence[Architecture], rng: random.Random
) -> tuple[HeldOutErrors, int, list[Architecture]]:
    """Fit on all stored networks but the judges; return the errors on these, the number fitted, and what to measure next."""
    measured = _measured(store, configuration)
    apart = _among(measured.config, measured.indices, judges)
    predictor = fit(measured, ~apart, segments=graded_segments(store, configuration)[0])
    held_out = judge_on(predictor, measured.indices[apart], measured.ratios[apart], random=True)
    config, known = measured.config, measured.indices
    count = min(ROUND, len(config) - len(known))
    picker = np.random.default_rng(rng.getrandbits(32))
    picked = next_networks(known, count, picker, config).tolist() if count else []
    chosen = [Architecture.from_index(index, config) for index in picked]
    return held_out, int((~apart).sum()), chosen
