"""Plans of runs of blocks that keep a device busy: how long each of two models runs, and which of its runs are timed.

As a rule of its own in Python 3.8: a packed job plans by what its device's sensor tells, and `harness import` once more.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Mapping

MINUTE_S = 60.0
FEWEST_MINUTES = 6  # a shorter run has as many blocks, which are then shorter
REFERENCE_S = 1.0  # at each minute's mark: enough for dozens of runs, too little to cool anything
REFERENCE_SHARE = 0.05
TIMED_RUNS = 600  # of a minute: ten a second tell its median to some 0.1 %, and 60 of them are above its p90
LEAST_TIMED_RUNS = 100
MOST_TIMED_RUNS = 36_000  # of a whole run: an hour's, some 400 KB in the store
MOST_SAMPLES = 3600
# Of energy: sensors differ from a millisecond to half a minute in how often they measure.
ENERGY_BLOCK_S, LONGEST_BLOCK_S = 10.0, 120.0
UPDATES_A_BLOCK = 20  # of which the first and the last may be of the block beside: a tenth, less what settles
ENERGY_CYCLES = 5
SETTLE_S = 1.0  # clocks follow a change of work within milliseconds, averages of sensors within a second
READINGS_A_BLOCK, LEAST_READING_S = 100, 0.1


@dataclass(frozen=True)
class BlockPlan:
    """Plan of a run of blocks: `blocks`, each a model and its time in s; at most `timed_runs` of each are timed.

    `settle_s`: what runs before each block, untold. `sample_s`: how often conditions are taken beside it; `energy_s`: how often
    the sensor of energy is read, where one is.
    """

    blocks: tuple[tuple[str, float], ...]
    timed_runs: int
    settle_s: float = 0.0
    sample_s: float = 1.0
    energy_s: float = 0.1


def sustained_plan(seconds: float) -> BlockPlan:
    """Return the plan of a run that keeps a device busy for so long.

    Each minute begins with a second of the reference, which tells how the device does by a model that is the same in all runs;
    it works the device like the network, so that nothing cools. A last one ends the run.
    """
    minute_s = min(MINUTE_S, seconds / FEWEST_MINUTES)
    count = round(seconds / minute_s)
    beside_s = min(REFERENCE_S, REFERENCE_SHARE * minute_s)
    minute = (("reference", beside_s), ("network", minute_s - beside_s))
    return BlockPlan(
        blocks=(*(minute * count), ("reference", beside_s)),
        timed_runs=min(TIMED_RUNS, max(LEAST_TIMED_RUNS, MOST_TIMED_RUNS // count)),
        sample_s=max(1.0, seconds / MOST_SAMPLES),
    )


def energy_plan(update_s: float) -> BlockPlan | None:
    """Return the plan of a measurement of energy by a sensor that measures so often; None where that is too seldom.

    Idle, network and reference take turns, the latter two in changing order, so that a drift falls on all alike.
    """
    block_s = max(ENERGY_BLOCK_S, UPDATES_A_BLOCK * update_s)
    if block_s > LONGEST_BLOCK_S:
        return None
    blocks: list[tuple[str, float]] = []
    for number in range(ENERGY_CYCLES):
        order = ("network", "reference") if number % 2 == 0 else ("reference", "network")
        blocks += [("idle", block_s), *((which, block_s) for which in order)]
    return BlockPlan(
        blocks=(*blocks, ("idle", block_s)),
        timed_runs=LEAST_TIMED_RUNS,
        settle_s=max(SETTLE_S, 2 * update_s),
        energy_s=max(LEAST_READING_S, block_s / READINGS_A_BLOCK),
    )


def why_no_energy(found: Mapping[str, Any]) -> str:
    """Return why what an agent says of its sensor is not enough to measure energy, empty where it is."""
    if found.get("sensor") is None:
        return "no sensor of energy; " + "; ".join(found.get("reasons", ()))
    if "update_s" not in found:
        return "the value of its sensor (%s) did not change within a minute" % found["sensor"]["kind"]
    if energy_plan(found["update_s"]) is not None:
        return ""
    seldom = "its sensor (%s) measures every %.0f s" % (found["sensor"]["kind"], found["update_s"])
    return "%s, too seldom for blocks of %.0f s" % (seldom, LONGEST_BLOCK_S)
