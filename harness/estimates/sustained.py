"""Latency of a device that is kept busy, minute by minute, and how much slower it ends than it began.

Runs in which threads waited for a core are another program's doing and no throttling: they are left out, and a stretch of which
too many are is told as disturbed and counts for nothing. Where other cores are kept busy, or those of several threads are not as
far apart as usual, times are told, and the ends are not compared by them: what that does to a network looks like heat. It is one
run: its interval speaks of these minutes, and not of another day, another room or another phone of that name.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from math import exp, inf, log, sqrt
from statistics import fmean, median, quantiles, variance
from typing import Any

from device_agents.clean_runs import DISTURBED_SHARE, baseline_ns
from device_agents.contention import STEAL_SHARE
from device_agents.throttling import number
from harness.devices.conditions import others_on_gpu, signs_of_samples
from harness.estimates.clean_runs import SETTLING_RUNS
from harness.estimates.estimate import COVERAGE
from harness.estimates.moved import apart_in_blocks, are_far
from harness.estimates.reference import OTHERS_SHARE
from harness.records import BlockRun, TimedBlock
from space.statistics import student

END_S = 300.0  # of the beginning and of the end that are compared
END_SHARE = 1 / 6  # or of a run that is shorter than half an hour
PIECES = 5  # of an end: its minutes, where it has five
FEWEST_PIECES = 3
FEWEST_RUNS = 10  # clean ones that tell a median
# Of a stretch's timed runs: what is clean among more was picked by the other program's turns.
MOST_DISTURBED = 0.1
REST_SHARE = 0.02  # of a run: a rest of more lets it cool
# A step from run to run that is longer by so much, and so many times as long as usual, is no slow run.
PAUSE_S = 1.0
SLOWED = 10.0
MHZ = 1000.0  # in kHz


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """A block of the network, with the reference's before it: a minute, unless the run is short.

    `start_s` from the run's beginning. `median_ms` and `p90_ms` of clean runs, None where it is disturbed; `runs` of the network
    in it, None where it broke off. `disturbed`: the share of timed runs that waited for a core, None where the system does not
    tell. `reference_ms`: the reference's median. `cores_apart`: how many times as far apart as usual the cores of several threads
    were, or as near, None where that is not known. `temp_c` of the run's hottest sensor, `clock_mhz` of the measured cores or of
    the GPU, `signs` of throttling: of samples within.
    """

    start_s: float
    seconds: float
    median_ms: float | None
    p90_ms: float | None
    runs: int | None
    disturbed: float | None
    others_busy: float | None
    reference_ms: float | None
    cores_apart: float | None
    temp_c: float | None
    clock_mhz: float | None
    signs: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sustained:
    """A run under load: its stretches, and the ratio of its end's latency to its beginning's.

    `ratio` over `end_s` at either end, with its 95 % `interval`; None, with the reason in `unknown`, where too much is disturbed.
    `reference_ratio`: the same of the reference, without an interval. `sensor`: whose temperature the stretches tell.
    """

    run: BlockRun
    stretches: tuple[Stretch, ...]
    seconds: float
    end_s: float
    ratio: float | None
    interval: tuple[float, float] | None
    reference_ratio: float | None
    sensor: str
    unknown: str

    @property
    def throttled(self) -> int:
        """Return how many stretches showed a sign of throttling."""
        return sum(bool(one.signs) for one in self.stretches)

    @property
    def disturbed(self) -> int:
        """Return how many stretches other programs disturbed."""
        return sum(one.median_ms is None for one in self.stretches)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain values, names with units."""
        c, run = self.run.configuration, self.run
        return {
            "device": c.device,
            "runtime": c.runtime,
            "runtime_version": c.runtime_version,
            "provider": c.provider,
            "precision": c.precision,
            "threads": c.threads,
            "cores": list(run.cores),
            "space": c.space,
            "architecture": run.architecture,
            "graph_hash": run.graph_hash,
            "run_id": run.run_id,
            "started_utc": run.started_utc,
            "ended": run.ended,
            "seconds": self.seconds,
            "end_seconds": self.end_s,
            "ratio": self.ratio,
            "ratio_low": None if self.interval is None else self.interval[0],
            "ratio_high": None if self.interval is None else self.interval[1],
            "ratio_unknown": self.unknown,
            "reference_ratio": self.reference_ratio,
            "load_ms": run.load_ns / 1e6,
            "first_run_ms": run.first_run_ns / 1e6,
            "temperature_sensor": self.sensor,
            "throttled": self.throttled,
            "disturbed": self.disturbed,
            "minutes": [asdict(one) | {"signs": list(one.signs)} for one in self.stretches],
        }


def sustained(run: BlockRun) -> Sustained:
    """Return the latency of a device under load, by a run of blocks."""
    seen = _Seen(run)
    stretches = tuple(seen.stretches())
    start_ns, end_ns = run.blocks[0].start_ns, run.blocks[-1].end_ns
    end_s = min(END_S, END_SHARE * (end_ns - start_ns) / 1e9)
    ends = [seen.pieces("network", first_ns, end_s) for first_ns in (start_ns, end_ns - round(end_s * 1e9))]
    ratio = interval = None
    unknown = others_on_gpu(run) or rested(run)
    if not unknown and min(map(len, ends)) < FEWEST_PIECES:
        which = "beginning" if len(ends[0]) < FEWEST_PIECES else "end"
        unknown = f"too few undisturbed runs in the {which}"
    if not unknown:
        ratio, interval = _ratio(*ends)
    return Sustained(
        run=run,
        stretches=stretches,
        seconds=(end_ns - start_ns) / 1e9,
        end_s=end_s,
        ratio=ratio,
        interval=interval,
        reference_ratio=seen.reference_ratio(end_s),
        sensor=seen.sensor,
        unknown=unknown,
    )


def rested(run: BlockRun) -> str:
    """Return for how long a device rested that should have been busy, empty where that is too little to cool it.

    A system that was suspended tells it; whatever stops the worker alone (a signal, a frozen group) leaves a gap between runs.
    """
    slept_s = number(run.scheduling.get("slept_s")) or 0.0
    paused_s = sum(map(paused_in, run.blocks)) + sum(
        _beyond(after.start_ns - before.end_ns, run.plan.get("settle_s", 0.0) * 1e9)
        for before, after in pairwise(run.blocks)
    )
    total_s = (run.blocks[-1].end_ns - run.blocks[0].start_ns) / 1e9
    if slept_s + paused_s <= REST_SHARE * total_s:
        return ""
    what = "was suspended" if slept_s > paused_s else "ran nothing of this"
    return f"the device {what} for {slept_s + paused_s:.0f} s meanwhile, and cooled"


def paused_in(block: TimedBlock) -> float:
    """Return for how long, in s, nothing ran in a block: by the time from one timed run to the next, which are evenly spread."""
    marks = (*block.at_ns, block.end_ns)
    steps = [after - before for before, after in pairwise(marks)]
    usual = median(steps) if len(steps) >= FEWEST_PIECES else inf
    return sum(_beyond(step, usual) for step in steps)


def _beyond(step_ns: float, usual_ns: float) -> float:
    """Return by how much a step is too long, in s; 0 where a slow run explains it."""
    return (step_ns - usual_ns) / 1e9 if step_ns > max(usual_ns + PAUSE_S * 1e9, SLOWED * usual_ns) else 0.0


def disturbed_share(run: BlockRun, block: TimedBlock) -> float | None:
    """Return the share of a block's timed runs that waited for a core, None where that is not known."""
    return _Seen(run).disturbed(block)


def _ratio(first: Sequence[float], last: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Return the ratio of the means of medians of pieces, and its interval: Welch's t on logarithms."""
    first_logs, last_logs = ([log(one) for one in end] for end in (first, last))

    difference = fmean(last_logs) - fmean(first_logs)
    errors = [(variance(end) / len(end), len(end) - 1) for end in (first_logs, last_logs)]
    total = sum(error for error, _ in errors)
    freedom = total**2 / sum(error**2 / count for error, count in errors) if total else 1.0
    reach = float(student(freedom, COVERAGE)) * sqrt(total)
    return exp(difference), (exp(difference - reach), exp(difference + reach))


class _Seen:
    """A run under load, with the waits of its single runs."""

    def __init__(self, run: BlockRun) -> None:
        self._run = run
        self._baselines = {which: self._baseline_ns(which) for which in ("network", "reference")}
        self._signs = signs_of_samples(run)
        self._apart = dict(zip((block.start_ns for block in run.blocks), apart_in_blocks(run), strict=True))

    def stretches(self) -> Iterator[Stretch]:
        """Yield a stretch for each block of the network, however short."""
        origin_ns = self._run.blocks[0].start_ns
        before: TimedBlock | None = None
        for block in self._run.blocks:
            if block.which == "network" and block.runs_ns:
                yield self._stretch(block, before, origin_ns)
            before = block

    def pieces(self, which: str, first_ns: int, seconds: float) -> list[float]:
        """Return the median time of clean runs in each equal piece of some seconds, in ns, of pieces that count."""
        length_ns = seconds * 1e9 / PIECES
        timed: list[list[tuple[int, bool]]] = [[] for _ in range(PIECES)]
        for block in self._run.blocks:
            if block.which != which or not self._counts(block):
                continue
            for at_ns, run_ns, is_clean in self._timed(block):
                place = int((at_ns - first_ns) // length_ns)
                if 0 <= place < PIECES:
                    timed[place].append((run_ns, is_clean))
        found = (self._median(one) for one in timed)
        return [value for value in found if value is not None]

    def reference_ratio(self, end_s: float) -> float | None:
        """Return the ratio of the reference's median in the last blocks within reach of the end to that in the first ones."""
        medians = [
            (block.start_ns, value)
            for block in self._run.blocks
            if self._counts(block) and (value := self._settled_median(block)) is not None
        ]
        start_ns, end_ns = self._run.blocks[0].start_ns, self._run.blocks[-1].end_ns
        first = [value for at_ns, value in medians if at_ns <= start_ns + end_s * 1e9]
        last = [value for at_ns, value in medians if at_ns >= end_ns - end_s * 1e9]
        return median(last) / median(first) if first and last and len(medians) > 1 else None

    @cached_property
    def sensor(self) -> str:
        """Return the name of the sensor that was hottest in the mean, empty without any."""
        found: dict[str, list[float]] = {}
        for sample in self._run.samples:
            for name, value in _temps(sample).items():
                found.setdefault(name, []).append(value)
        return max(found, key=lambda name: (fmean(found[name]), name), default="")

    def disturbed(self, block: TimedBlock) -> float | None:
        """Return the share of a block's timed runs that waited for a core, None where that is not known."""
        if not block.delays_ns:
            return None
        return fmean(not is_clean for _, _, is_clean in self._timed(block))

    def _stretch(self, block: TimedBlock, before: TimedBlock | None, origin_ns: int) -> Stretch:
        timed = [(run_ns, is_clean) for _, run_ns, is_clean in self._timed(block)]
        middle = None if self._is_stolen(block) else self._median(timed)
        clean = [run_ns for run_ns, is_clean in timed if is_clean]
        start_ns = before.start_ns if before is not None and before.which == "reference" else block.start_ns
        samples = [one for one in self._run.samples if start_ns <= one.get("at_ns", 0) < block.end_ns]
        temps = [value for one in samples if (value := _temps(one).get(self.sensor)) is not None]
        clocks = [value for one in samples if (value := _clock_mhz(one, self._run.cores)) is not None]
        signs = [
            sign
            for sample, found in self._signs
            if start_ns <= sample["at_ns"] < block.end_ns
            for sign in found
        ]
        return Stretch(
            start_s=(start_ns - origin_ns) / 1e9,
            seconds=(block.end_ns - start_ns) / 1e9,
            median_ms=None if middle is None else middle / 1e6,
            p90_ms=None if middle is None or len(clean) < 64 else quantiles(clean, n=10)[-1] / 1e6,
            runs=block.runs,
            disturbed=self.disturbed(block),
            others_busy=block.others_busy,
            reference_ms=None
            if before is None or (value := self._settled_median(before)) is None
            else value / 1e6,
            cores_apart=max(filter(None, map(self._apart.get, (start_ns, block.start_ns))), default=None),
            temp_c=fmean(temps) if temps else None,
            clock_mhz=fmean(clocks) if clocks else None,
            signs=tuple(dict.fromkeys(signs)),
        )

    def _settled_median(self, block: TimedBlock) -> float | None:
        """Return the median of a block of the reference without the runs that follow the switch, None where it is disturbed."""
        if block.which != "reference" or self._is_stolen(block):
            return None
        timed = [(run_ns, is_clean) for _, run_ns, is_clean in self._timed(block)]
        return self._median(timed[SETTLING_RUNS:] if len(timed) > 2 * SETTLING_RUNS else timed[1:], fewest=3)

    def _timed(self, block: TimedBlock) -> Iterator[tuple[int, int, bool]]:
        """Yield when each timed run of a block began, what it took, and whether nobody had the core in it."""
        nothing = (0,) * len(block.runs_ns)
        base_ns = self._baselines[block.which]
        for at_ns, run_ns, delay_ns in zip(
            block.at_ns, block.runs_ns, block.delays_ns or nothing, strict=True
        ):
            yield at_ns, run_ns, delay_ns - base_ns <= DISTURBED_SHARE * run_ns

    def _median(self, timed: Sequence[tuple[int, bool]], fewest: int = FEWEST_RUNS) -> float | None:
        """Return the median of clean runs, None where they are few or among too many disturbed ones."""
        clean = [run_ns for run_ns, is_clean in timed if is_clean]
        if len(clean) < min(fewest, len(timed)) or len(clean) < (1 - MOST_DISTURBED) * len(timed):
            return None
        return median(clean) if clean else None

    def _baseline_ns(self, which: str) -> int:
        """Return the wait of a pool's threads in a run on a free machine; one thread waits for nothing."""
        if self._run.configuration.threads == 1:
            return 0
        blocks = [block for block in self._run.blocks if block.which == which and block.delays_ns]
        shortest_ns = min((run_ns for block in blocks for run_ns in block.runs_ns), default=0)
        return baseline_ns([delay_ns for block in blocks for delay_ns in block.delays_ns], shortest_ns)

    def _counts(self, block: TimedBlock) -> bool:
        """Return whether a block may speak of the device alone: shared caches, and cores that a host moved, look like heat."""
        is_alone = (block.others_busy or 0.0) <= OTHERS_SHARE
        return is_alone and not self._is_stolen(block) and not are_far(self._apart[block.start_ns])

    @staticmethod
    def _is_stolen(block: TimedBlock) -> bool:
        """Return whether a hypervisor took the cores, which shows in no run's wait."""
        return (block.steal_s or 0.0) > STEAL_SHARE * block.seconds


def _temps(sample: dict[str, Any]) -> dict[str, float]:
    """Return a sample's temperatures by sensor; those of its GPU as one."""
    told = sample.get("temps_c")
    found = {name: number(value) for name, value in told.items()} if isinstance(told, dict) else {}
    found["GPU"] = number(sample.get("gpu_temp_c"))
    return {name: value for name, value in found.items() if value is not None}


def _clock_mhz(sample: dict[str, Any], cores: Sequence[int]) -> float | None:
    """Return the clock of a sample's GPU, else the mean of the measured cores'."""
    if (gpu := number(sample.get("gpu_clock_mhz"))) is not None:
        return gpu
    told = sample.get("freq_khz")
    table = told if isinstance(told, dict) else {}
    found = [khz for core in cores if (khz := number(table.get(str(core)))) is not None]
    return fmean(found) / MHZ if found else None
