"""Plan of a campaign: constants of a session, levels of precision, and the options of a campaign."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace

from device_agents.pacing import Pace, Plan
from harness.devices.config import Precision
from space.errors import ConfigError

MOST_BATCH = 1 << 16  # as the agent takes it
SHORTEST_S, LONGEST_S = 3.0, 86_400.0  # of runs under load


@dataclass(frozen=True)
class SessionPlan(Plan):
    """Timing plan of a session, as the agent has it, at a pace; sources of the constants in docs/design.md."""

    def at(self, pace: Pace) -> SessionPlan:
        """Return the plan at the pace of a model's duration."""
        return SessionPlan(**pace.applied(asdict(self)))


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
# Ten slices: medians of sessions scatter hardly more than of thirteen (docs/evidence/prediction.md); fewer show no two modes.
QUICK = Level(
    name="quick",
    sessions=1,
    plan=SessionPlan(
        warmup_min_runs=10,
        warmup_min_s=0.03,
        warmup_max_s=1.0,
        warmup_stable_runs=8,
        min_slices=10,
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


def parse_time(text: str, option: str) -> float:
    """Return a time such as `90s`, `30m` or `8h`, which an option was given, in s. Raises: ConfigError."""
    found = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]+)?)\s*(s|m|min|h)", text.strip())
    if found is None:
        raise ConfigError(f"{option} {text!r}: no time; write a number and its unit: 90s, 30m or 8h")
    return float(found[1]) * {"s": 1, "m": 60, "min": 60, "h": 3600}[found[2]]


def parse_sustained(text: str) -> float:
    """Return how long to keep a device busy, such as `30m`, in s, 0 of an empty text. Raises: ConfigError."""
    if not text:
        return 0.0
    seconds = parse_time(text, "--sustained")
    if not SHORTEST_S <= seconds <= LONGEST_S:
        raise ConfigError(f"--sustained {text}: give from {SHORTEST_S:.0f}s to 24h, e.g. 30m")
    return seconds
