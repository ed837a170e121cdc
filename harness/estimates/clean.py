"""Which runs of a session are samples, and what the session says of other programs on its cores.

A network that fits into the scheduler's turn beside a reference that does not makes a ratio that is wrong by a factor of two in
every slice alike, so that no interval can see it. So a run counts only where its threads did not wait for a core, and where the
run before it did not either: else another program had the caches. The agent follows the same rule (device_agents/clean.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import comb
from operator import truediv
from statistics import fmean, median
from typing import Any

from harness.records import SessionRecord, Slice

DISTURBED_SHARE = 0.01  # of a run's time: a longer wait shows in the ratio
# A wait between two runs, after which the caches are another program's: a kernel thread is done within some microseconds, and in
# 20 us a program reads some 200 KB, a small part of the second-level cache.
COLD_GAP_NS = 20_000
# After a switch of models caches fill over several runs: the first and second take 8 to 15 % longer than the fastest (TFLite) or
# 3 to 8 % (ONNX Runtime). In whole slices they are never the fastest; where a disturbance leaves no others, ratios are too low.
COLD_RUNS = 2
LONG_RUN_NS = (
    50_000_000  # runs that no turn of a scheduler (3 to 30 ms) holds: among busy programs none stays clean
)
# What a foreign turn costs in cold caches afterwards, as a share of its length: at turns of 3 ms the least CPU times of
# networks of 3 ms were 5 to 10 % above those on a free core (docs/performance.md).
REFILL_SHARE = 0.1
# The fastest of few runs is slower than the fastest of all (of one: by 3 %). Where runs are missing the two are compared by as
# many of each; of one run each, that left up to 0.9 % in quiet sessions thinned out at random, of two up to 0.5 %.
FEW_RUNS_DOUBT = 0.01
FEWEST_SLICES = 6  # of fewer values not even the extremes enclose the median with 95 %: 1 - 2 * 0.5**5 = 94 %
MIN_SLICES = 12  # where a session's plan does not say
STEAL_SHARE = 0.02  # of the session's time: what a hypervisor takes shows in no run's delay
# Of records without delays: 93 sessions that waited below 30 % ran as if alone, those above were wrong by up to a factor of
# three; turns of 3 ms beside runs of 3 ms begin to matter well below that.
WAITED_SHARE = 0.1
FREE_SHARE = 0.005  # so little waiting over a whole session disturbs one run in a hundred at most
CACHED = 64  # sessions: those of a network are looked at together, and of a long one the runs take a megabyte


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


def clean_slices(session: SessionRecord) -> tuple[CleanSlice, ...]:
    """Return the slices of a session that are samples, in the order measured.

    A session that does not know what its runs waited keeps all. Long runs are corrected for their waits where too few slices are
    clean without.
    """
    return _seen(_Same(session))[0]


def contention(session: SessionRecord) -> Contention:
    """Return what a session knows of other programs on its cores."""
    return _seen(_Same(session))[1]


def is_known(session: SessionRecord) -> bool:
    """Tell whether a session holds what each of its runs waited."""
    return bool(session.scheduling.get("delay_source")) and all(piece.delays_ns for piece in session.slices)


def is_contended(session: SessionRecord) -> bool:
    """Tell whether other programs left a session too little: too few clean slices, or a hypervisor that took its core.

    Too few are less than half of its slices and of what its plan asks for, or less than carry an interval. Of a session that does
    not know what its runs waited, the whole wait decides.
    """
    if steal_share(session) > STEAL_SHARE:
        return True
    if not is_known(session):
        return (waited_share_of(session) or 0.0) > WAITED_SHARE
    return len(clean_slices(session)) < min(_enough(session), len(session.slices))


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
    return fmean([piece.doubt for piece in clean_slices(session)] or [0.0])


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


class _Same:
    """A session as the key of a cache: what it says of itself is asked for many times, and it cannot be hashed by value."""

    __slots__ = ("session",)

    def __init__(self, session: SessionRecord) -> None:
        self.session = session

    def __hash__(self) -> int:
        return id(self.session)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.session is other.session


@dataclass(frozen=True, slots=True)
class _Side:
    """The runs of the network or of the reference in one slice: times, waits beyond the baseline, which are clean; per run."""

    times_ns: Sequence[int]
    excess_ns: Sequence[float] = ()
    clean: Sequence[bool] = ()

    @property
    def clean_ns(self) -> Sequence[float]:
        return [ns for ns, clean in zip(self.times_ns, self.clean, strict=True) if clean]

    @property
    def own_ns(self) -> Sequence[float]:
        return [ns - excess for ns, excess in zip(self.times_ns, self.excess_ns, strict=True)]

    @property
    def is_long(self) -> bool:
        return min(self.own_ns) >= LONG_RUN_NS


@lru_cache(maxsize=CACHED)
def _seen(key: _Same) -> tuple[tuple[CleanSlice, ...], Contention]:
    """Return the clean slices of a session and what it knows of other programs."""
    session = key.session
    if not is_known(session):
        whole = tuple(
            _whole_slice(
                session, index, piece.network_ns, (*piece.reference_before_ns, *piece.reference_after_ns)
            )
            for index, piece in enumerate(session.slices)
        )
        return whole, Contention(
            known=False,
            disturbed_share=0.0,
            waited_share=waited_share_of(session),
            clean_slices=len(whole),
            slices=len(whole),
        )
    sides = list(_sides(session))
    found = [
        _clean_slice(
            session,
            index,
            network.clean_ns,
            reference.clean_ns,
            is_whole=all(network.clean) and all(reference.clean),
        )
        for index, (network, reference) in enumerate(sides)
        if any(network.clean) and any(reference.clean)
    ]
    if len(found) < _enough(session):
        found += [
            _corrected_slice(session, index, *both)
            for index, both in enumerate(sides)
            if not all(any(side.clean) for side in both)
            and all(any(side.clean) or side.is_long for side in both)
        ]
        found.sort(key=lambda piece: piece.index)
    every = [side for both in sides for side in both]
    times_ns = [ns for side in every for ns in side.times_ns]
    excess_ns = [ns for side in every for ns in side.excess_ns]
    return tuple(found), Contention(
        known=True,
        disturbed_share=fmean(map(_is_disturbed, times_ns, excess_ns)),
        waited_share=sum(excess_ns) / sum(times_ns),
        clean_slices=len(found),
        slices=len(session.slices),
    )


def _sides(session: SessionRecord) -> Iterator[tuple[_Side, _Side]]:
    """Yield the runs of each slice that may be samples, of network and reference."""
    base_ns = _baseline(session)
    is_cold = False  # the warm-up went before
    for piece in session.slices:
        begin = len(piece.reference_before_ns)
        end = begin + 1 + len(piece.network_ns)
        times_ns, excesses_ns, clean = piece.runs_ns, [], []
        gaps_ns = piece.gaps_ns or (0,) * len(times_ns)
        for place, (time_ns, delay_ns, gap_ns) in enumerate(
            zip(times_ns, piece.delays_ns, gaps_ns, strict=True)
        ):
            excess_ns = min(max(delay_ns - base_ns[begin <= place < end], 0.0), time_ns - 1)
            is_disturbed = _is_disturbed(time_ns, excess_ns)
            excesses_ns.append(excess_ns)
            clean.append(not (is_disturbed or is_cold or gap_ns > COLD_GAP_NS))
            is_cold = is_disturbed
        network, reference = (
            _Side(
                [times_ns[place] for place in places],
                [excesses_ns[place] for place in places],
                [clean[place] for place in places],
            )
            for places in _warm_places(piece)
        )
        yield network, reference


def _warm_places(piece: Slice) -> tuple[list[int], list[int]]:
    """Return the places of a slice's runs that may be samples, of network and reference: from the third after a switch on.

    The reference's first runs of a slice follow the last ones of the slice before. Slices too short for any, and long runs, which
    fill the caches at their beginning, have all places but that of the switch.
    """
    begin = len(piece.reference_before_ns)
    end = begin + 1 + len(piece.network_ns)
    network, before = list(range(begin + 1, end)), list(range(begin))
    after = list(range(end, len(piece.runs_ns)))
    if end - begin > COLD_RUNS and min(piece.network_ns) < LONG_RUN_NS:
        network = network[COLD_RUNS - 1 :]
    if before and len(before) + len(after) > COLD_RUNS and min(piece.reference_before_ns) < LONG_RUN_NS:
        return network, before
    return network, before + after


def _whole_slice(
    session: SessionRecord, index: int, network_ns: Sequence[int], reference_ns: Sequence[int]
) -> CleanSlice:
    """Return a slice of which nobody knows what its runs waited: the fastest of each."""
    fastest_ns = min(network_ns) / session.network_loops, min(reference_ns) / session.reference_loops
    return CleanSlice(
        index=index,
        ratio=fastest_ns[0] / fastest_ns[1],
        network_ns=fastest_ns[0],
        reference_ns=fastest_ns[1],
    )


def _clean_slice(
    session: SessionRecord,
    index: int,
    network_ns: Sequence[float],
    reference_ns: Sequence[float],
    *,
    is_whole: bool = False,
) -> CleanSlice:
    """Return a slice by its clean, warm runs: as many of each are compared, of a whole slice those nearest to the switch.

    The fastest of four is faster than the fastest of two, and scatters less: both move the median over slices.
    """
    count = min(len(network_ns), len(reference_ns))
    loops = session.reference_loops / session.network_loops
    if is_whole:
        ratio = min(network_ns[:count]) / min(reference_ns[-count:]) * loops
    else:
        ratio = _least_of(sorted(network_ns), count) / _least_of(sorted(reference_ns), count) * loops
    return CleanSlice(
        index=index,
        ratio=ratio,
        network_ns=min(network_ns) / session.network_loops,
        reference_ns=min(reference_ns) / session.reference_loops,
        doubt=FEW_RUNS_DOUBT if count == 1 and not is_whole else 0.0,
    )


def _corrected_slice(session: SessionRecord, index: int, network: _Side, reference: _Side) -> CleanSlice:
    """Return a slice in which network or reference, long runs, are never clean: those less what they waited."""
    lost = [side for side in (network, reference) if not any(side.clean)]
    piece = _clean_slice(session, index, *(side.clean_ns or side.own_ns for side in (network, reference)))
    shares = [median(map(truediv, side.excess_ns, side.own_ns)) for side in lost]
    return replace(piece, corrected=True, doubt=piece.doubt + REFILL_SHARE * sum(shares))


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


def _baseline(session: SessionRecord) -> tuple[float, float]:
    """Return what a pool's threads wait in a run on a free machine: of the reference, of the network, in ns."""
    found = session.scheduling.get("baseline_ns")
    table = found if isinstance(found, Mapping) else {}
    return number(table.get("reference")) or 0.0, number(table.get("network")) or 0.0
