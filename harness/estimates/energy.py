"""Energy of one inference: a sensor's count over back-to-back runs of a network, divided by their number.

Blocks of some ten seconds, since sensors are slow; network, reference and rest take turns, so that a drift falls on all alike.
The interval is of the scatter between turns: how well the sensor itself is calibrated it cannot know.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import sqrt
from statistics import fmean, stdev
from typing import Any

import numpy as np

from harness.devices.conditions import others_on_gpu
from harness.estimates.estimate import COVERAGE
from harness.estimates.moved import apart_in_blocks, are_far
from harness.estimates.reference import OTHERS_SHARE, others_busy
from harness.estimates.sustained import REST_SHARE, disturbed_share, paused_in
from harness.records import BlockRun, TimedBlock, of_last_model
from space.indexing import FloatArray
from space.statistics import student
from space.text import counted

FEWEST_CYCLES = 3
FEWEST_READINGS = 10  # of a block
MOST_DISTURBED = 0.1  # of a block's runs, which waited while another program took energy


class NoEnergy(ValueError):
    """A run of which no energy can be told; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """A mean over turns with its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Energy:
    """Energy of an inference in mJ: `total` as the sensor counts it, and `above_idle`, less the power at rest.

    `reference`: the total of the reference. `idle_w`, `network_w`: power at rest and while the network runs. `sensor`: its kind,
    `scope`: the parts of the device that it covers. `others_busy`: the share of time that the busiest other core was busy, whose
    energy is in the numbers; None where it is not known, of the other cores or of the measured ones.
    """

    run_id: str
    measured_utc: str
    total: Amount
    above_idle: Amount
    reference: Amount
    idle_w: float
    network_w: float
    cycles: int
    sensor: str
    scope: str
    others_busy: float | None

    @property
    def is_doubtful(self) -> bool:
        """Whether other cores were so busy that the energy is in part another program's, or may have been."""
        return self.others_busy is None or self.others_busy > OTHERS_SHARE


def energy_of(run: BlockRun) -> Energy:
    """Return the energy of an inference that a run tells. Raises: NoEnergy."""
    if others := others_on_gpu(run):
        raise NoEnergy(f"{others}, whose energy the sensor counts, too")
    if run.scheduling.get("slept_s"):
        raise NoEnergy("the device was suspended meanwhile")
    powers = _Powers(run)
    blocks, apart = run.blocks, apart_in_blocks(run)
    totals: dict[str, list[float]] = {"network": [], "reference": []}
    above, idle_w, network_w = [], [], []
    is_told = True  # whether another program had a measured core
    for number, block in enumerate(blocks):
        if block.which == "idle" or not block.runs:
            continue
        disturbed = disturbed_share(run, block)
        if (
            (disturbed or 0.0) > MOST_DISTURBED
            or are_far(apart[number])
            or paused_in(block) > REST_SHARE * block.seconds
        ):
            continue
        is_told &= disturbed is not None
        run_s = block.seconds / block.runs
        watts = powers.of(block)
        totals[block.which].append(1e3 * watts * run_s)
        beside = [powers.of(one) for one in _rests_beside(blocks, number)]
        if block.which == "network" and beside:
            idle_w.append(fmean(beside))
            network_w.append(watts)
            above.append(1e3 * (watts - fmean(beside)) * run_s)
    if min(len(above), len(totals["reference"])) < FEWEST_CYCLES:
        far = (
            f", cores far apart in {counted(sum(map(are_far, apart)), 'block')}"
            if any(map(are_far, apart))
            else ""
        )
        raise NoEnergy(
            f"{counted(len(above), 'undisturbed turn')}{far}, at least {FEWEST_CYCLES} tell an interval"
        )
    if min(*totals["network"], *totals["reference"]) <= 0:
        raise NoEnergy("the sensor counted nothing while a network ran")
    busy = [block.others_busy for block in blocks if block.others_busy is not None]
    return Energy(
        run_id=run.run_id,
        measured_utc=run.started_utc,
        total=_amount(totals["network"]),
        above_idle=_amount(above),
        reference=_amount(totals["reference"]),
        idle_w=fmean(idle_w),
        network_w=fmean(network_w),
        cycles=len(above),
        sensor=str(run.sensor.get("kind", "")),
        scope=str(run.sensor.get("scope", "")),
        others_busy=None if not is_told else fmean(busy) if busy else others_busy(run),
    )


def sensor_of(run: BlockRun) -> str:
    """Return the sensor of a run in words: its kind and what it holds. Energies of two sensors do not compare."""
    return f"{run.sensor.get('kind', '')} ({run.sensor.get('scope', '')})"


def newest_energy(runs: Sequence[BlockRun]) -> Energy | None:
    """Return the energy that the newest of a network's runs of its last model tells, None where none of them tells any.

    What is in part another program's counts only where there is no other.
    """
    found: Energy | None = None
    for run in reversed(of_last_model(sorted(runs, key=lambda run: run.started_utc))):
        with suppress(NoEnergy):
            told = energy_of(run)
            if not told.is_doubtful:
                return told
            found = found or told
    return found


def _rests_beside(blocks: Sequence[TimedBlock], number: int) -> list[TimedBlock]:
    """Return the nearest rests before and after a block."""
    before = [block for block in blocks[:number] if block.which == "idle"][-1:]
    return before + [block for block in blocks[number:] if block.which == "idle"][:1]


def _amount(values: Sequence[float]) -> Amount:
    mean = fmean(values)
    reach = float(student(len(values) - 1, COVERAGE)) * stdev(values) / sqrt(len(values))
    return Amount(value=mean, low=mean - reach, high=mean + reach)


class _Powers:
    """The power that a sensor's readings tell, all its channels together."""

    def __init__(self, run: BlockRun) -> None:
        if not run.sensor or len(run.readings) < FEWEST_READINGS:
            raise NoEnergy(f"{counted(len(run.readings), 'reading')} of a sensor")
        self._at_s = np.array([reading["at_ns"] / 1e9 for reading in run.readings])
        if (np.diff(self._at_s) <= 0).any():
            raise NoEnergy("readings that do not follow each other")
        counters: Mapping[str, int] = run.sensor.get("counters", {})
        self._joules = np.zeros(len(run.readings))
        for name, range_uj in counters.items():
            self._joules += _unwrapped(name, _channel(run.readings, "uj", name), range_uj) / 1e6
        for name in run.sensor.get("powers", []):
            watts = _channel(run.readings, "uw", name).astype(float) / 1e6
            steps = np.diff(self._at_s) * (watts[1:] + watts[:-1]) / 2
            self._joules += np.concatenate(([0.0], np.cumsum(steps)))

    def of(self, block: TimedBlock) -> float:
        """Return the mean power in a block, in W. Raises: NoEnergy where readings are missing."""
        start_s = max(block.start_ns / 1e9, float(self._at_s[0]))
        end_s = min(block.end_ns / 1e9, float(self._at_s[-1]))
        within = (self._at_s >= start_s) & (self._at_s <= end_s)
        gaps_s = np.diff(np.concatenate(([start_s], self._at_s[within], [end_s])))
        if within.sum() < FEWEST_READINGS or end_s - start_s < 0.9 * block.seconds:
            raise NoEnergy(
                f"{int(within.sum())} readings in a block of {block.seconds:.1f} s: the sensor fell silent"
            )
        if gaps_s.max() > (end_s - start_s) / 4:
            raise NoEnergy(
                f"the sensor fell silent for {gaps_s.max():.1f} s of a block of {block.seconds:.1f} s"
            )
        start_j, end_j = np.interp([start_s, end_s], self._at_s, self._joules)
        return float(end_j - start_j) / (end_s - start_s)


def _channel(readings: Sequence[Mapping[str, Any]], kind: str, name: str) -> Any:
    """Return the values of a channel, int64 (readings,). Raises: NoEnergy where a reading lacks it."""
    try:
        return np.array([reading[kind][name] for reading in readings], dtype=np.int64)
    except (KeyError, TypeError, OverflowError) as error:
        raise NoEnergy(f"readings without {name}") from error


def _unwrapped(name: str, values_uj: Any, range_uj: int) -> FloatArray:
    """Return the energy counted since the first reading in uJ: a counter that has come to its range begins again at 0."""
    steps = np.diff(values_uj)
    if range_uj:
        steps = np.where(steps < 0, steps + range_uj, steps)
    if (steps < 0).any():
        raise NoEnergy(f"the counter {name} ran backwards")
    return np.concatenate(([0.0], np.cumsum(steps.astype(float))))


def trouble_with_energy(run: BlockRun) -> str:
    """Return why a run tells no energy, empty where it does."""
    try:
        energy_of(run)
    except NoEnergy as error:
        return str(error)
    return ""
