"""Plan of a campaign: constants of a session, levels of precision, and the options of a campaign."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from math import ceil

from harness.devices.config import Precision
from space.errors import ConfigError

LONG_SLICE_S = 0.6  # of the network's runs; the machine's speed hardly changes within it
REFERENCE_SHARE = 0.05  # of a long slice that the reference's runs take on either side
MOST_REFERENCE_RUNS = 64
LONG_SLICES = 10  # of a model that runs for seconds: six carry an interval
LONGEST_SESSION_S = 150.0  # level final's own
MOST_BATCH = 1 << 16  # as the agent takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """Timing plan of a session; sources of the constants in docs/design.md. `half_width` is relative to the ratio.

    `settled_runs`: of the network alone after the slices, for its wall time.
    """

    reference_runs: int = 2
    network_runs: int = 6
    warmup_min_runs: int = 30
    warmup_min_s: float = 0.25
    warmup_max_s: float = 8.0
    warmup_stable_runs: int = 40
    min_slices: int = 12
    max_s: float = 15.0
    half_width: float = 0.005
    min_sample_ns: int = 1_000_000
    settled_runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How a model's duration changes a session's plan: None where the plan's own numbers fit.

    `network_runs` and `reference_runs` of a slice, `slice_s` its length.
    """

    network_runs: int | None = None
    reference_runs: int | None = None
    slice_s: float = 0.0

    @classmethod
    def of(cls, network_ns: float, reference_ns: float) -> Pace:
        """Return the pace of a model that runs so long beside a reference that runs so long.

        A model of up to 100 ms keeps the plan: short ones are looped by the worker. Longer ones run less often in a slice, and
        the reference more often, so that its part of the slice is long enough to be timed as well.
        """
        default = SessionPlan()
        network_s, reference_s = network_ns / 1e9, max(reference_ns / 1e9, default.min_sample_ns / 1e9)
        if network_s * default.network_runs <= LONG_SLICE_S:
            return cls()
        runs = max(2, round(LONG_SLICE_S / network_s))
        beside = min(MOST_REFERENCE_RUNS, max(2, ceil(REFERENCE_SHARE * runs * network_s / reference_s)))
        beside = (
            1 << (beside - 1).bit_length()
        )  # to the next power of two: models of like duration share a plan
        return cls(
            network_runs=runs, reference_runs=beside, slice_s=runs * network_s + 2 * beside * reference_s
        )

    def applied(self, plan: SessionPlan) -> SessionPlan:
        """Return a plan at this pace: enough time for the slices that an interval needs, within `LONGEST_SESSION_S`."""
        if self.network_runs is None or self.reference_runs is None:
            return plan
        enough_s = min(LONG_SLICES * self.slice_s, LONGEST_SESSION_S)
        return replace(
            plan,
            network_runs=self.network_runs,
            reference_runs=max(plan.reference_runs, self.reference_runs),
            min_slices=min(plan.min_slices, LONG_SLICES - 2),
            max_s=max(plan.max_s, enough_s),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of precision: `sessions` a network, each timed by `plan`, at most some `at_once` networks in one worker process.

    `shared`: the plan of all sessions but the last of several, which share processes as those of `QUICK` do; None for none.
    """

    name: str
    sessions: int
    plan: SessionPlan
    at_once: int = 1
    shared: SessionPlan | None = None


# Many networks seen briefly fit a predictor better than few seen long; ranking takes three processes; finalists five.
# In a process that serves many networks all but the first run on a warm machine with a warm reference: a dozen runs settle
# them. What differs from process to process, some 0.3 % here, is estimated from several processes with networks in common.
QUICK = Level(
    name="quick",
    sessions=1,
    plan=SessionPlan(
        warmup_min_runs=10,
        warmup_min_s=0.03,
        warmup_max_s=1.0,
        warmup_stable_runs=8,
        max_s=2.0,
        half_width=0.02,
    ),
    at_once=40,
)
# Sessions differ by 0.5 to 1.3 % however long they are: the medians of five repeat within 0.5 to 0.6 % (TFLite), whether each
# knows its own ratio to 1.5 or 4 %; of four, ranks do not (0.984). Four share processes; the last has one to itself. Half of a
# dozen settled runs follow a switch; the others of five sessions tell a wall time for 45 ms each. Quick sessions save them.
SCREEN = Level(
    name="screen",
    sessions=5,
    plan=SessionPlan(warmup_max_s=2.0, half_width=0.03, max_s=3.0, settled_runs=12),
    shared=replace(QUICK.plan, half_width=0.03, settled_runs=12),
)
FINAL = Level(name="final", sessions=5, plan=SessionPlan(max_s=150.0, settled_runs=48))
LEVELS = {level.name: level for level in (QUICK, SCREEN, FINAL)}

# Fresh workers of each network, where its memory is asked for: for the times of load and first run, peaks hardly differ.
FRESH_RUNS = 3

# The reference against itself, where its latency is wanted and no network's sessions tell it.
CALIBRATION = Level(name="calibration", sessions=3, plan=SessionPlan(min_slices=40, max_s=8.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a campaign; empty or None leaves the choice to devices.toml, then to the device.

    `precisions`: of models; `batches`: the numbers of images of a run, each measured by itself. `sessions` None: those of the
    level. `fresh` ignores stored sessions, `recalibrate` measures the reference latency again.
    `memory`: each network is loaded alone in fresh workers, too; `energy`: its energy is measured as well. `sustained_s`: each
    network keeps the device busy for so long, and no sessions are measured; 0 for not. `one_runtime` refuses a request that more
    than one runtime fits.
    """

    runtimes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    batches: tuple[int, ...] = (1,)
    threads: int | None = None
    cores: tuple[int, ...] = ()
    level: Level = SCREEN
    sessions: int | None = None
    fresh: bool = False
    recalibrate: bool = False
    one_runtime: bool = False
    memory: bool = False
    energy: bool = False
    sustained_s: float = 0.0
    silence_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (("sessions", self.sessions), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}: give 1 or more, or leave it out")
        for batch in self.batches:
            if not 0 < batch <= MOST_BATCH:
                raise ConfigError(f"--batch {batch}: give 1 to {MOST_BATCH} images a run")

    @property
    def sessions_each(self) -> int:
        """Return the number of sessions for each network."""
        if self.sustained_s:
            return 0
        return self.level.sessions if self.sessions is None else self.sessions


def parse_batches(text: str) -> tuple[int, ...]:
    """Parse `1,8,64` into batch sizes, each once; 1 where nothing is given. Raises: ConfigError."""
    pieces = [piece.strip() for piece in text.split(",")] if text else ["1"]
    for piece in pieces:
        if not re.fullmatch("[0-9]{1,6}", piece) or int(piece) < 1:
            raise ConfigError(
                f"--batch {text!r}: {piece!r} is no number of images; write e.g. --batch 1,8,64"
            )
    return tuple(dict.fromkeys(map(int, pieces)))
