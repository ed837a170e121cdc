"""`harness measure --until mape=2%`: measure until the predictor of the whole space is shown to be that good.

The networks: a Latin-square design of 45 in which each cell of each stage stands once, and in the same campaign 24 random
networks, measured twice, which no predictor is fitted on until the end: they judge it, and they tell how well two
measurements agree. Then, round by round, the networks about which the predictor knows least.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from harness.campaign import Options, Outcome
    from harness.commands.prediction import HeldOut
    from harness.records import Configuration
    from harness.store import Store
    from space import Architecture, SpaceConfig

DESIGN = "design:1@1"
JUDGES = "sample:24@20"  # the first of `prediction.JUDGES`: the next campaign judges by the same networks
JUDGE_SESSIONS = 2
ROUND = 15
MOST_NETWORKS = 360

Measure = Callable[[Sequence["Architecture"], "Options"], "Outcome"]


class Unreachable(HarnessError):
    """Report that the wanted error was not shown; everything measured is stored."""

    exit_status = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The mean absolute percentage error that is wanted, as a share."""

    mape: float


def parse_target(text: str) -> Target:
    """Parse `mape=2%`. Raises: ConfigError."""
    match = re.fullmatch(r"mape=([0-9]+(?:\.[0-9]+)?)%", text.strip())
    if match is None or not 0 < float(match[1]) < 100:
        raise ConfigError(
            f"--until {text!r}: write the mean absolute percentage error that is wanted, e.g. --until mape=2%"
        )
    return Target(mape=float(match[1]) / 100)


def measure_until(
    target: Target,
    options: Options,
    store: Store,
    measure: Measure,
    say: Callable[[str], None],
    *,
    config: SpaceConfig | None = None,
    seed: int = 0,
) -> Outcome:
    """Measure networks until the held-out error's 95 % interval lies below the target; return the last campaign's outcome.

    They are of the space `config`; of Blox without.
    Raises: Unreachable when two measurements of the same network differ too much for the target, or after 360 networks;
    ConfigError when the device runs more than one configuration. A campaign that was stopped ends this, too.
    """
    from harness.commands.sources import select_architectures

    design, judges = (select_architectures([text], config) for text in (DESIGN, JUDGES))
    design = [architecture for architecture in design if architecture not in judges]
    later = replace(options, recalibrate=False)  # once is enough
    outcome = measure([], later)  # connects, and decides what would run
    if outcome.error is not None:
        return outcome
    configuration = _configuration(outcome)
    each = max(JUDGE_SESSIONS, options.sessions_each)
    say(
        f"measuring a design of {len(design)} networks and {len(judges)} to judge by, those in {each} sessions each"
    )
    outcome = measure([*judges, *design], options)  # in one campaign: both are to see the same device
    if outcome.error is None:
        outcome = measure(judges, replace(later, sessions=each))
    if outcome.error is not None:
        return outcome
    noise = _check_reachable(target, store, configuration, judges)
    rng, before = random.Random(seed), 0
    while outcome.error is None:
        held_out, fitted, picked = _judge(store, configuration, judges, rng)
        if fitted == before:
            raise Unreachable(
                f"device {configuration.device!r}: nothing more was measured under this configuration in the last round: its "
                "networks failed or have grade D, or runtime, cores or clocks changed meanwhile; see 'harness results' with and "
                "without --failures, and run the same command again"
            )
        before = fitted
        low, high = held_out.mape_interval
        state = (
            f"{fitted} networks: held-out error {held_out.errors.mape:.2%} (95 % interval {low:.2%} to {high:.2%}), "
            f"of which the judges' own noise is up to {noise:.2%}, wanted {target.mape:.2%}"
        )
        if high <= target.mape:
            say(f"{state}: reached")
            return outcome
        if fitted >= MOST_NETWORKS:
            raise Unreachable(
                f"device {configuration.device!r}: {state}: not reached with {fitted} networks; the predictor does not fit this "
                "device better: see 'harness predict' and 'harness audit', or allow a larger error"
            )
        say(f"{state}: measuring the {len(picked)} networks known least")
        outcome = measure(picked, later)
    return outcome


def _configuration(outcome: Outcome) -> Configuration:
    if len(outcome.uses) != 1:
        names = ", ".join(use.configuration.runtime for use in outcome.uses) or "none"
        raise ConfigError(
            f"--until works on one runtime at a time, and device {outcome.device!r} would run {names}; name one with --runtime"
        )
    return outcome.uses[0].configuration


def _check_reachable(
    target: Target, store: Store, configuration: Configuration, judges: Sequence[Architecture]
) -> float:
    """Refuse a target below what the judges' own noise lets anyone see; return that noise, a share.

    The error of a perfect predictor against the mean of two sessions is half the mean difference between the two, if
    sessions scatter independently: var((a + b) / 2) is a quarter of var(a - b).
    """
    from harness.estimates.doubtful import set_apart
    from harness.estimates.latency import latencies

    rows, apart = set_apart(latencies(store, configuration, [judge.graph_hash for judge in judges]))
    pairs = [row.session_medians[:2] for row in rows if len(row.session_medians) > 1]
    if not pairs:
        told = f" and well enough ({apart})" if apart else ""
        raise Unreachable(
            f"device {configuration.device!r}: none of the networks to judge by was measured twice{told}; "
            f"see 'harness results --device {configuration.device} --failures'"
        )
    differences = [abs(first - second) / second for first, second in pairs]
    noise = sum(differences) / len(differences) / 2
    if noise > target.mape:
        raise Unreachable(
            f"device {configuration.device!r}: an error of {target.mape:.2%} cannot be shown: two sessions of a network differ "
            f"by {2 * noise:.2%} on average, so that even a perfect predictor would seem {noise:.2%} off; quiet the device, "
            f"measure at --level final, or ask for more than {noise:.2%}"
        )
    return noise


def _judge(
    store: Store, configuration: Configuration, judges: Sequence[Architecture], rng: random.Random
) -> tuple[HeldOut, int, list[Architecture]]:
    """Fit on all that is stored but the judges; return the errors on them, how many were fitted, and what to measure next."""
    import numpy as np

    from harness.commands.prediction import fit, judge_on, load_measured, load_segments
    from search.latency.picking import next_networks
    from space import Architecture

    measured = load_measured(store, configuration)
    apart: NDArray[np.bool_] = np.isin(measured.indices, [judge.index for judge in judges])
    ladder = fit(measured, ~apart, segments=load_segments(store, configuration))
    held_out = judge_on(ladder, measured.indices[apart], measured.ratios[apart], random=True)
    picked = next_networks(
        ladder, measured.indices, ROUND, np.random.default_rng(rng.getrandbits(32)), measured.config
    )
    chosen = [Architecture.from_index(int(index), measured.config) for index in picked]
    return held_out, int((~apart).sum()), chosen
