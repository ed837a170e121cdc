"""Which runs of a session are samples, and what the session says of other programs on its cores.

A network that fits into the scheduler's turn beside a reference that does not makes a ratio that is wrong by a factor of two in
every slice alike, so that no interval can see it. So a run counts only where its threads did not wait for a core, and where the
run before it did not either: else another program had the caches. The agent follows the same rule (device_agents/clean.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import fmean, median
from typing import Any

from harness.records import SessionRecord

DISTURBED_SHARE = 0.01  # of a run's time: a longer wait shows in the ratio
# A wait between two runs, after which the caches are another program's: a kernel thread is done within some microseconds, and in
# 20 us a program reads some 200 KB, a small part of the second-level cache.
COLD_GAP_NS = 20_000
LONG_RUN_NS = (
    50_000_000  # runs that no turn of a scheduler (3 to 30 ms) holds: among busy programs none stays clean
)
# What a foreign turn costs in cold caches afterwards, as a share of its length: at turns of 3 ms the least CPU times of
# networks of 3 ms were 5 to 10 % above those on a free core (docs/performance.md).
REFILL_SHARE = 0.1
# The fastest of few runs is slower than the fastest of all (of one: by 3 %). Where runs are missing the two are compared by as many
# of each; of one run each, that left up to 0.9 % in quiet sessions thinned out at random, of two up to 0.5 %.
FEW_RUNS_DOUBT = 0.01
FEWEST_SLICES = 6  # of fewer values not even the extremes enclose the median with 95 %: 1 - 2 * 0.5**5 = 94 %
MIN_SLICES = 12  # where a session's plan does not say
STEAL_SHARE = 0.02  # of the session's time: what a hypervisor takes shows in no run's delay
# Of records without delays: 93 sessions that waited below 30 % ran as if alone, those above were wrong by up to a factor of
# three; turns of 3 ms beside runs of 3 ms begin to matter well below that.
WAITED_SHARE = 0.1
FREE_SHARE = 0.005  # so little waiting over a whole session disturbs one run in a hundred at most
# A memory-bound probe that slows by 10 % against a compute-bound one moves ratios by up to 3 %: networks differ in how much of
# their time is memory. Below 2 % it is the probes' own noise.
MEMORY_SHARE = 0.3
MEMORY_NOISE = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSlice:
    """A slice with a clean run of both: its ratio, and the fastest clean run of each, in ns a loop.

    `index`: its place among the session's slices. `corrected`: long runs less the time that they waited. `doubt`: how far the
    ratio may be off by what cannot be seen, relative: cold caches of corrected runs, few runs to choose from.
    """

    index: int
    ratio: float
    network_ns: float
    reference_ns: float
    corrected: bool = False
    doubt: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """What a session knows of other programs on its cores.

    `known`: it holds what each run waited. `disturbed_share` of its runs; `waited_share` of its time, None where not even that is
    known. `clean_slices` of `slices` are samples.
    """

    known: bool
    disturbed_share: float
    waited_share: float | None
    clean_slices: int
    slices: int


@dataclass(frozen=True, slots=True)
class _Run:
    """One run: its time, what it waited beyond the baseline, and whether it is a sample."""

    time_ns: int
    excess_ns: float = 0
    clean: bool = True

    @property
    def own_ns(self) -> float:
        return self.time_ns - self.excess_ns

    @property
    def sample_ns(self) -> float:
        return self.time_ns if self.clean else self.own_ns


def clean_slices(session: SessionRecord) -> tuple[CleanSlice, ...]:
    """Return the slices of a session that are samples, in the order measured.

    A session that does not know what its runs waited keeps all. Long runs are corrected for their waits where too few slices are
    clean without.
    """
    pairs = list(enumerate(_runs(session)))
    clean = {i: [[run for run in side if run.clean] for side in pair] for i, pair in pairs}
    found = [
        _clean_slice(session, i, *clean[i], whole=clean[i] == list(pair))
        for i, pair in pairs
        if all(clean[i])
    ]
    if len(found) < _enough(session):
        lost = [(i, pair) for i, pair in pairs if not all(clean[i])]
        found += [
            _clean_slice(
                session, i, *(few or side for few, side in zip(clean[i], pair, strict=True)), corrected=True
            )
            for i, pair in lost
            if all(few or _is_long(side) for few, side in zip(clean[i], pair, strict=True))
        ]
    return tuple(sorted(found, key=lambda piece: piece.index))


def is_known(session: SessionRecord) -> bool:
    """Tell whether a session holds what each of its runs waited."""
    return bool(session.scheduling.get("delay_source")) and all(piece.delays_ns for piece in session.slices)


def contention(session: SessionRecord) -> Contention:
    """Return what a session knows of other programs on its cores."""
    known, waited_share, disturbed_share = is_known(session), waited_share_of(session), 0.0
    if known:
        runs = [run for pair in _runs(session) for side in pair for run in side]
        waited_share = sum(run.excess_ns for run in runs) / sum(run.time_ns for run in runs)
        disturbed_share = fmean(_is_disturbed(run.time_ns, run.excess_ns) for run in runs)
    return Contention(
        known=known,
        disturbed_share=disturbed_share,
        waited_share=waited_share,
        clean_slices=len(clean_slices(session)),
        slices=len(session.slices),
    )


def is_contended(session: SessionRecord) -> bool:
    """Tell whether other programs left a session too little: too few clean slices, or a hypervisor that took its core.

    Too few are less than half of its slices and of what its plan asks for, or less than carry an interval. Of a session that does
    not know what its runs waited, the whole wait decides.
    """
    if steal_share(session) > STEAL_SHARE:
        return True
    if not is_known(session):
        return (waited_share_of(session) or 0.0) > WAITED_SHARE
    count = len(clean_slices(session))
    return count < min(_enough(session), len(session.slices))


def is_seen_free(session: SessionRecord) -> bool:
    """Tell whether a session that does not know what its runs waited still speaks for a free core: it waited next to nothing.

    Of one thread alone: those of a pool wait for each other.
    """
    share = waited_share_of(session)
    return session.configuration.threads == 1 and share is not None and share < FREE_SHARE


def usable_sessions(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions that make an estimate: those that were not contended, else all that have a clean slice."""
    return [session for session in sessions if not is_contended(session)] or [
        session for session in sessions if clean_slices(session)
    ]


def doubt_of(session: SessionRecord) -> float:
    """Return how far a session's ratio may be off, relative, by what its slices' scatter cannot show."""
    return fmean([piece.doubt for piece in clean_slices(session)] or [0.0]) + shared_caches_doubt(session)


def shared_caches_doubt(session: SessionRecord) -> float:
    """Return how far programs on other cores may have moved a session's ratio, relative: caches and bandwidth are shared.

    By `memory_slowdown` of its scheduling: how much a memory-bound probe slowed against a compute-bound one beside the slices,
    median over the session; 0 where there was no probe.
    """
    slowdown = number(session.scheduling.get("memory_slowdown")) or 0.0
    return MEMORY_SHARE * slowdown if slowdown > MEMORY_NOISE else 0.0


def steal_share(session: SessionRecord) -> float:
    """Return the share of a session's time in which a hypervisor gave the measured cores to others; 0 where not known."""
    steal_s = number(session.scheduling.get("steal_s")) or 0.0
    return steal_s / session.loop_s if session.loop_s > 0 else 0.0


def waited_share_of(session: SessionRecord) -> float | None:
    """Return the share of its time that a whole session waited for a core; None where it does not know."""
    waited_s = number(session.conditions_after.get("waited_s"))
    return waited_s / session.loop_s if waited_s is not None and session.loop_s > 0 else None


def number(value: Any) -> float | None:
    """Return what a device sent as a number, None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _enough(session: SessionRecord) -> int:
    """Return how many clean slices a session needs."""
    planned = number(session.plan.get("min_slices")) or MIN_SLICES
    return max(FEWEST_SLICES, min(int(planned), (len(session.slices) + 1) // 2))


def _runs(session: SessionRecord) -> Iterator[tuple[list[_Run], list[_Run]]]:
    """Yield the runs of each slice that may be samples, of network and reference."""
    if not is_known(session):
        for piece in session.slices:
            reference_ns = (*piece.reference_before_ns, *piece.reference_after_ns)
            yield [_Run(ns) for ns in piece.network_ns], [_Run(ns) for ns in reference_ns]
        return
    base_ns = _baseline(session)
    is_cold = False  # the warm-up went before
    for piece in session.slices:
        begin = len(piece.reference_before_ns)
        end = begin + 1 + len(piece.network_ns)
        runs = []
        gaps_ns = piece.gaps_ns or (0,) * len(piece.delays_ns)
        for place, (time_ns, delay_ns, gap_ns) in enumerate(
            zip(piece.runs_ns, piece.delays_ns, gaps_ns, strict=True)
        ):
            excess_ns = min(max(delay_ns - base_ns[begin <= place < end], 0), time_ns - 1)
            is_cold = is_cold or gap_ns > COLD_GAP_NS
            is_disturbed = _is_disturbed(time_ns, excess_ns)
            runs.append(_Run(time_ns, excess_ns, not is_cold and not is_disturbed))
            is_cold = is_disturbed
        yield runs[begin + 1 : end], runs[:begin] + runs[end:]


def _clean_slice(
    session: SessionRecord,
    index: int,
    network: Sequence[_Run],
    reference: Sequence[_Run],
    *,
    whole: bool = False,
    corrected: bool = False,
) -> CleanSlice:
    """Return a slice from the runs that count; `whole`: none is missing."""
    network_ns = sorted(run.sample_ns / session.network_loops for run in network)
    reference_ns = sorted(run.sample_ns / session.reference_loops for run in reference)
    count = min(len(network_ns), len(reference_ns))
    doubt = 0.0
    if whole:
        ratio = network_ns[0] / reference_ns[0]
    else:
        ratio = _least_of(network_ns, count) / _least_of(reference_ns, count)
        doubt = FEW_RUNS_DOUBT if count == 1 else 0.0
    if corrected:
        shares = [
            median(0.0 if run.clean else run.excess_ns / run.own_ns for run in side)
            for side in (network, reference)
        ]
        doubt += REFILL_SHARE * sum(shares)
    return CleanSlice(
        index=index,
        ratio=ratio,
        network_ns=network_ns[0],
        reference_ns=reference_ns[0],
        corrected=corrected,
        doubt=doubt,
    )


def _least_of(ordered: Sequence[float], count: int) -> float:
    """Return the expected least of `count` values drawn from these without putting back; values in rising order."""
    total = len(ordered)
    ways = comb(total, count)
    return sum(
        value * comb(total - 1 - place, count - 1) / ways
        for place, value in enumerate(ordered[: total - count + 1])
    )


def _is_disturbed(time_ns: int, excess_ns: float) -> bool:
    return excess_ns > DISTURBED_SHARE * time_ns


def _is_long(side: Sequence[_Run]) -> bool:
    return min(run.own_ns for run in side) >= LONG_RUN_NS


def _baseline(session: SessionRecord) -> tuple[float, float]:
    """Return what a pool's threads wait in a run on a free machine: of the reference, of the network, in ns."""
    found = session.scheduling.get("baseline_ns")
    table = found if isinstance(found, Mapping) else {}
    return number(table.get("reference")) or 0.0, number(table.get("network")) or 0.0
