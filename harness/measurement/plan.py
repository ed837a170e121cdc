"""Plan of a campaign: constants of a session, levels of precision, and the options of a campaign."""

from __future__ import annotations

from dataclasses import dataclass, replace

from harness.devices.config import Precision
from space.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPlan:
    """Timing plan of a session; sources of the constants in docs/design.md. `half_width` is relative to the ratio."""

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
# knows its own ratio to 1.5 or 4 %; of four, ranks do not (0.984). Four share processes; the last has one to itself.
SCREEN = Level(
    name="screen",
    sessions=5,
    plan=SessionPlan(warmup_max_s=2.0, half_width=0.03, max_s=3.0),
    shared=replace(QUICK.plan, half_width=0.03),
)
FINAL = Level(name="final", sessions=5, plan=SessionPlan(max_s=150.0))
LEVELS = {level.name: level for level in (QUICK, SCREEN, FINAL)}

# The reference against itself, where its latency is wanted and no network's sessions tell it.
CALIBRATION = Level(name="calibration", sessions=3, plan=SessionPlan(min_slices=40, max_s=8.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a campaign; empty or None leaves the choice to devices.toml, then to the device.

    `precisions`: of models. `sessions` None: those of the level. `fresh` ignores stored sessions, `recalibrate` measures the
    reference latency again.
    `one_runtime` refuses a request that more than one runtime fits.
    """

    runtimes: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    precisions: tuple[Precision, ...] = ()
    threads: int | None = None
    cores: tuple[int, ...] = ()
    level: Level = SCREEN
    sessions: int | None = None
    fresh: bool = False
    recalibrate: bool = False
    one_runtime: bool = False
    silence_s: float = 60.0

    def __post_init__(self) -> None:
        for name, value in (("sessions", self.sessions), ("threads", self.threads)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} = {value}: give 1 or more, or leave it out")

    @property
    def sessions_each(self) -> int:
        """Return the number of sessions for each network."""
        return self.level.sessions if self.sessions is None else self.sessions
