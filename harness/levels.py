"""How much measuring a network gets: the constants of a session, and how many sessions."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a session is timed; sources of the constants in docs/design.md. `half_width` is relative to the ratio."""

    reference_runs: int = 2
    network_runs: int = 6
    warmup_min_runs: int = 30
    warmup_min_s: float = 0.25
    warmup_max_s: float = 8.0
    min_slices: int = 12
    max_s: float = 15.0
    half_width: float = 0.005
    min_sample_ns: int = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """A level of precision: `sessions` fresh processes a network, each timed by `plan`."""

    name: str
    sessions: int
    plan: Plan


# Many networks seen briefly fit a predictor better than few seen long; ranking takes three processes; finalists five.
# On a busy machine run times never settle, and a long warm-up waits in vain: 1 s is 50 runs of each and more, and the ratio's
# reference is not more settled than the network.
QUICK = Level(name="quick", sessions=1, plan=Plan(warmup_max_s=1.0, max_s=2.5, half_width=0.01))
SCREEN = Level(name="screen", sessions=3, plan=Plan())
FINAL = Level(name="final", sessions=5, plan=Plan(max_s=150.0))
LEVELS = {level.name: level for level in (QUICK, SCREEN, FINAL)}

# The reference against itself, in several processes, each long enough for a quiet window.
CALIBRATION = Level(name="calibration", sessions=3, plan=Plan(min_slices=40, max_s=20.0))
