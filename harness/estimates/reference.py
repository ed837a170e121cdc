"""Latency of the reference network, which converts ratios to milliseconds: pooled over sessions, with its uncertainty.

Every session times the reference, so no campaign has to calibrate. Most of the time some other program slows the machine, by up
to 10 % for half a minute and more; what comes back is the quiet level. So the level of a session is a low quantile of its
slices, and the pool a low quantile of the sessions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import hypot, log, sqrt
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from device_agents.throttling import number
from harness.estimates.clean_runs import clean_slices, once_a_session
from harness.records import BlockRun, ReferenceLatency, SessionRecord
from space.indexing import FloatArray

# Of slices and of sessions. In 90 sessions of 2.5 minutes, windows of 45 s agreed with the whole to 0.2 % by this quantile (root
# mean square), to 0.7 % by the quartile and to 2 % and more by medians.
QUIET_SHARE = 0.1
# Time is cut into blocks about as long as a short burst of other work. In the same sessions windows of 1, 2, 3 and 4 or 5
# blocks were off by 2.7, 1.4, 0.8 and 0.2 %: about 2.7 % over their number, as the chance that a window holds no quiet block
# falls.
BLOCK_S = 10.0
BLOCK_SD = 0.027
BLOCK_DRAWS = 200
DRAWN_AT_ONCE = 1 << 20  # values of draws: bounds the memory that they take
# What the quiet level does from one visit of a device to another: where memory lies, what else is installed and warm, which host
# a virtual machine is on. Learned from a store that holds several visits; this prior counts for some of them before.
VISIT_GAP_S = 1800.0
VISIT_PRIOR = 2  # visits that the default counts for
# The default: a device that is restless within a visit differs more between visits, but one that is calm may be restless at
# another hour. Quiet levels of a virtual machine differed within seven hours by 2.6 (ONNX Runtime) and 3.3 % (TFLite; standard
# deviation of ten visits), and from those of its two calmest visits, whose blocks scattered by 1 % at most, by 3.5 and 3.3 %: by
# the root of 2 times `VISIT_SD`. With both, 22 of 24 pairs of tables lay within each other's intervals of 90 %.
VISIT_SD = 0.025  # at least
VISIT_SHARE = 0.65  # of the scatter of a visit's blocks
BUSY_VISIT = 10  # times the default: a visit that is further off was busy all along, and counts as so far off
FEWEST_BLOCKS = 3
OTHERS_SHARE = 0.2  # of the time of another core: less are the daemons of a quiet machine, and harness itself
# How long the fixed piece of work took in a session: as low a quantile as shows whether some of its slices were undisturbed.
# Beside a busy hyperthread sibling, which a guest is not told of, it takes 1.6 to 2 times as long, alone 1 to 1.1 times; boosted
# clocks differ by less than a quarter. Launches of a GPU's kernels took 1.5 to 1.9 times as long then (docs/evidence/gpu.md).
PACE_QUANTILE = 0.2
SLOW_SHARE = 0.25
QUIET_NOISE = 0.03  # relative differences between levels of quiet sessions
Places = npt.NDArray[np.intp]


class PooledReference(NamedTuple):
    """Quiet level of the reference in ns, and how far a visit at another hour is off it: `sd`, a relative standard deviation.

    `hour_sd`: the part of it that is not of another hour, but of how well the level is known from these sessions. `visits`: how
    many these are of, parted by pauses of half an hour.
    """

    latency_ns: float
    sd: float
    hour_sd: float
    visits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLevel:
    """Quiet level of the reference in one session, in ns a run, with the session's start and worker process.

    `others_busy`: the share of its time that the busiest other core was busy, None where that is not known. `pace_ns`: how long
    a fixed piece of work took there, None where not known, and `paced_by` what did it. `core_to_core_ns`: how far apart the cores
    of several threads were, `gpu_mhz` the clock of the GPU, None where not known (harness.estimates.moved).
    """

    latency_ns: float
    started_utc: str
    process: str = ""
    others_busy: float | None = None
    pace_ns: float | None = None
    paced_by: str = ""
    core_to_core_ns: float | None = None
    gpu_mhz: float | None = None

    @property
    def time_s(self) -> float:
        """Return when the session began, in s since 1970; 0 where that cannot be read."""
        try:
            return datetime.fromisoformat(self.started_utc).timestamp()
        except ValueError:
            return 0.0


@once_a_session
def reference_level_ns(session: SessionRecord) -> float | None:
    """Return the reference's quiet level in a session, in ns: a low quantile of its fastest clean run in each clean slice.

    None without a clean slice.
    """
    clean = [piece.reference_ns for piece in clean_slices(session)]
    return _quiet(np.array(clean)) if clean else None


@once_a_session
def session_pace_ns(session: SessionRecord) -> float | None:
    """Return how long a fixed piece of work took in a session, in ns, a low quantile as a level is; None where not told."""
    told = session.scheduling.get("pace_ns")
    paces = [
        pace for pace in map(number, told if isinstance(told, list | tuple) else ()) if pace and pace > 0
    ]
    return float(np.quantile(paces, PACE_QUANTILE)) if paces else None


def slowness(pace_ns: float | None, paced_by: str, best_paces_ns: Mapping[str, float]) -> float:
    """Return how much longer the fixed piece of work took than at best on these cores, relative; 0 where either is not known."""
    best_ns = best_paces_ns.get(paced_by)
    return max(0.0, pace_ns / best_ns - 1) if pace_ns and best_ns else 0.0


def session_slowness(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return how much slower than at its best the core was in a session, relative; 0 where that is not known."""
    by = session.scheduling.get("paced_by")
    return slowness(session_pace_ns(session), by if isinstance(by, str) else "", reference.best_paces_ns)


def at_pace(
    levels: Sequence[ReferenceLevel], best_paces_ns: Mapping[str, float]
) -> tuple[list[ReferenceLevel], float]:
    """Return the levels of sessions whose core was not slow, and 0; where all were slow: all, and how slow the fastest was.

    A session of which nothing is told counts as not slow.
    """
    slow = [slowness(level.pace_ns, level.paced_by, best_paces_ns) for level in levels]
    fast = [level for level, share in zip(levels, slow, strict=True) if share <= SLOW_SHARE]
    return (fast, 0.0) if fast or not levels else (list(levels), min(slow))


def others_busy(run: SessionRecord | BlockRun) -> float | None:
    """Return the share of the time that the busiest other core was busy; None where it is not known. Blocks have their own.

    Where the system does not tell, it is the share that a process waited on it just before: of an idle core 0, of one that
    another program keeps busy a half.
    """
    told = number(run.scheduling.get("others_busy"))
    probe = run.scheduling.get("probe")
    return told if told is not None or not isinstance(probe, Mapping) else number(probe.get("others_waited"))


def were_never_quiet(levels: Sequence[ReferenceLevel], best_paces_ns: Mapping[str, float]) -> bool:
    """Return whether in no session other cores are known to have been idle, and the core not to have been slow."""
    return not _quiet_levels(levels, best_paces_ns)


def beside_idle_cores(
    levels: Sequence[ReferenceLevel], best_paces_ns: Mapping[str, float]
) -> list[ReferenceLevel]:
    """Return the levels of the quiet sessions where the reference was faster in these than it mostly was, else all.

    Of a campaign that something kept busy but for a few sessions no low quantile tells the quiet level. Where the core itself was
    faster, such as one that boosts its clock at first, that is no reason.
    """
    quiet = _quiet_levels(levels, best_paces_ns)
    paced = [
        replace(one, latency_ns=one.latency_ns / (1 + slowness(one.pace_ns, one.paced_by, best_paces_ns)))
        for one in levels
    ]
    is_faster = quiet and all(
        quiet_level_ns(_quiet_levels(some, best_paces_ns)) * (1 + QUIET_NOISE) < quiet_level_ns(some)
        for some in (levels, paced)
    )
    return quiet if is_faster else list(levels)


def _quiet_levels(
    levels: Sequence[ReferenceLevel], best_paces_ns: Mapping[str, float]
) -> list[ReferenceLevel]:
    """Return the levels of sessions in which other cores are known to have been idle, and the core not to have been slow."""
    return [
        level
        for level in levels
        if level.others_busy is not None
        and level.others_busy <= OTHERS_SHARE
        and slowness(level.pace_ns, level.paced_by, best_paces_ns) <= SLOW_SHARE
    ]


def pool_reference(levels: Sequence[ReferenceLevel]) -> PooledReference:
    """Return the reference's latency, pooled from the levels of sessions, with how far a visit at another hour is off it.

    That holds what resampled blocks of time show (Kuensch 1989), or resampled sessions where these differ more than so few blocks
    can show, no less than so few blocks leave, and what differs from visit to visit: that does not shrink with their number, for
    it is of the next one.
    Raises: ValueError without a level.
    """
    if not levels:
        raise ValueError("no session tells the reference's latency")
    ordered = sorted(levels, key=lambda level: level.time_s)
    times_ns = np.array([level.latency_ns for level in ordered])
    pooled_ns, logs = _quiet(times_ns), np.log(times_ns)
    visits = _cut([level.time_s for level in ordered])
    lengths = [len(block) for visit in visits for block in visit]
    rng = np.random.default_rng(0)
    of_blocks = _drawn_quiet(logs, np.repeat(np.arange(len(lengths)), lengths), rng)
    of_sessions = _drawn_quiet(logs, np.arange(len(logs)), rng)
    within = max(float(of_blocks.std()), float(of_sessions.std()), BLOCK_SD / len(lengths))
    deviations = [_quiet(logs[np.concatenate(visit)]) - log(pooled_ns) for visit in visits]
    between = _visit_sd(deviations, _restlessness([[logs[block] for block in visit] for visit in visits]))
    sd = hypot(within, between * sqrt(1 + 1 / len(visits)))
    return PooledReference(pooled_ns, sd, hour_sd=within, visits=len(visits))


def quiet_level_ns(levels: Sequence[ReferenceLevel]) -> float:
    """Return the reference's quiet level, in ns: a low quantile of the levels of sessions."""
    return _quiet(np.array([level.latency_ns for level in levels]))


def _quiet(values: FloatArray) -> float:
    """Return the quiet level of times or their logarithms (values,): a low quantile."""
    return float(np.quantile(values, QUIET_SHARE))


def _drawn_quiet(values: FloatArray, block_of: Places, rng: np.random.Generator) -> FloatArray:
    """Return the quiet levels (draws,) of `BLOCK_DRAWS` draws of as many blocks of values as there are, with replacement.

    values, and block_of, the number of each value's block, rising from 0: (values,). The draws are not sorted: of each value in
    rising order it is known how many of a draw are up to it. The result is that of `_quiet` to the last bit.
    """
    count = int(block_of[-1]) + 1
    order = np.argsort(values)
    ordered, block_of = values[order], block_of[order]
    found = []
    at_once = max(1, DRAWN_AT_ONCE // len(values))
    for done in range(0, BLOCK_DRAWS, at_once):
        draws = min(at_once, BLOCK_DRAWS - done)
        drawn = rng.integers(0, count, (draws, count)) + count * np.arange(draws)[:, None]
        times = np.bincount(drawn.ravel(), minlength=draws * count).reshape(draws, count)
        up_to = times[:, block_of].cumsum(axis=1)  # (draw, value)
        place = (up_to[:, -1] - 1) * QUIET_SHARE
        below = place.astype(np.intp)
        low, high = (
            ordered[(up_to <= rank[:, None]).sum(axis=1)]
            for rank in (below, np.minimum(below + 1, up_to[:, -1] - 1))
        )
        share = place - below
        found.append(np.where(share < 0.5, low + (high - low) * share, high - (high - low) * (1 - share)))
    return np.concatenate(found)


def _cut(times_s: Sequence[float]) -> list[list[Places]]:
    """Return the places of rising times by visits, which a long pause parts, and within each by blocks."""
    times = np.array(times_s)
    visits = np.split(np.arange(len(times)), np.flatnonzero(np.diff(times) > VISIT_GAP_S) + 1)
    return [
        np.split(visit, np.flatnonzero(np.diff((times[visit] - times[visit[0]]) // BLOCK_S)) + 1)
        for visit in visits
    ]


def _restlessness(visits: Sequence[Sequence[FloatArray]]) -> float:
    """Return the expected differences between visits, from those between the blocks of each, given as logarithms of levels."""
    known = [
        np.array([np.median(block) for block in visit]) for visit in visits if len(visit) >= FEWEST_BLOCKS
    ]
    if not known:
        return VISIT_SD
    squares = sum(float(np.square(each - each.mean()).sum()) for each in known)
    return max(VISIT_SHARE * sqrt(squares / sum(len(each) - 1 for each in known)), VISIT_SD)


def _visit_sd(deviations: Sequence[float], default: float) -> float:
    """Return the standard deviation of visits, moderated by the default; see `BUSY_VISIT`."""
    df = len(deviations) - 1
    squares = [min(abs(one), BUSY_VISIT * default) ** 2 for one in deviations] if df else []
    return sqrt((VISIT_PRIOR * default**2 + sum(squares)) / (VISIT_PRIOR + df))
