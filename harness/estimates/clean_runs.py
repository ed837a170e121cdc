"""Clean runs of a session, which are its samples, and its contention by other programs on its cores.

A network that fits into the scheduler's turn beside a reference that does not makes a ratio that is wrong by a factor of two in
every slice alike, so that no interval can see it. So a run counts only where its threads did not wait for a core, and where the
run before it did not either: else another program had the caches. The agent follows the same rule (device_agents/clean_runs.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from itertools import chain, compress
from math import comb
from operator import truediv
from statistics import fmean, median
from typing import TypeVar
from weakref import ref

from device_agents.clean_runs import LONG_RUN_NS, ends_cold, find_undisturbed, warm_places
from device_agents.contention import enough_slices, hold_ups, others_disturbed
from device_agents.throttling import number
from harness.devices.conditions import may_be_shared, others_on_gpu, session_signs
from harness.records import SessionRecord, Slice

# After so many nothing of a switch is left: in hours in which caches are contended the fifth and sixth still take 2 % longer.
SETTLING_RUNS = 6
# What a foreign turn costs in cold caches afterwards, as a share of its length: at turns of 3 ms the least CPU times of
# networks of 3 ms were 5 to 10 % above those on a free core (docs/evidence/contention.md).
REFILL_SHARE = 0.1
# The fastest of few runs is slower than the fastest of all (of one: by 3 %). Where runs are missing the two are compared by as
# many of each; of one run each, that left up to 0.9 % in quiet sessions thinned out at random, of two up to 0.5 %.
FEW_RUNS_DOUBT = 0.01
# By how much the mean of a model's runs in a slice is above the fastest ones, which a ratio is of: in some 3,000 sessions of both
# runtimes, on one and two threads, beside up to 20 busy programs too, by 2.9 % at most but in two, 4 and 5 %; of models that
# draw their work by lot by 8 to 31 %.
EVEN_SHARE = 0.03
FEWEST_UNEVEN = 3  # runs that tell a mean from the fastest ones
FREE_SHARE = 0.005  # so little waiting over a whole session disturbs one run in a hundred at most


Found = TypeVar("Found")


def once_a_session(find: Callable[[SessionRecord], Found]) -> Callable[[SessionRecord], Found]:
    """Find something of a session once while that is there: it is asked for many times, and cannot be hashed by value."""
    known: dict[int, tuple[object, Found]] = {}

    @wraps(find)
    def found(session: SessionRecord) -> Found:
        key = id(session)
        if key not in known:
            known[key] = ref(session, lambda _: known.pop(key)), find(session)
        return known[key][1]

    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanSlice:
    """A slice with a clean run of both: its ratio, and the fastest clean run of each, in ns a loop.

    `index`: its place among the session's slices. `corrected`: long runs less the time that they waited. `doubt`: how far the
    ratio may be off by what cannot be seen, relative: cold caches of corrected runs, few runs to choose from. `spread`: by how
    much more than the reference's the mean of the network's clean runs is above the fastest ones, relative.
    """

    index: int
    ratio: float
    network_ns: float
    reference_ns: float
    corrected: bool = False
    doubt: float = 0.0
    spread: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Contention:
    """Contention of a session by other programs on its cores.

    `known`: it holds what each run waited. `waited_share` of its time, None where not even that is known.
    `clean_slices` of `slices` are samples.
    """

    known: bool
    waited_share: float | None
    clean_slices: int
    slices: int


def clean_slices(session: SessionRecord) -> tuple[CleanSlice, ...]:
    """Return the slices of a session that are samples, in the order measured.

    A session that does not know what its runs waited keeps all. Long runs are corrected for their waits where too few slices are
    clean without.
    """
    return _seen(session)[0]


def contention(session: SessionRecord) -> Contention:
    """Return a session's contention by other programs on its cores."""
    return _seen(session)[1]


def is_known(session: SessionRecord) -> bool:
    """Return whether a session holds what each of its runs waited."""
    return bool(session.scheduling.get("delay_source")) and all(piece.delays_ns for piece in session.slices)


def is_contended(session: SessionRecord) -> bool:
    """Return whether other programs left a session too little, see `device_agents.contention.others_disturbed`."""
    found = contention(session)
    told = {
        "stop": session.stop,
        "loop_s": session.loop_s,
        "waited_s": session.conditions_after.get("waited_s"),
    }
    told |= {name: session.scheduling.get(name) for name in ("steal_s", "unseen")}
    clean = found.clean_slices if found.known else None
    return others_disturbed(told, found.slices, clean, number(session.plan.get("min_slices")))


def is_seen_free(session: SessionRecord) -> bool:
    """Return whether a session that does not know what its runs waited still speaks for a free core: it waited next to nothing.

    Of one thread alone: those of a pool wait for each other.
    """
    share = waited_share_of(session)
    return session.configuration.threads == 1 and share is not None and share < FREE_SHARE


def usable_sessions(sessions: Sequence[SessionRecord]) -> list[SessionRecord]:
    """Return the sessions that make an estimate: those that nothing spoiled, else all that have a clean slice."""
    return [session for session in sessions if not spoiled_by(session)] or [
        session for session in sessions if clean_slices(session)
    ]


@once_a_session
def spoiled_by(session: SessionRecord) -> str:
    """Return the trouble that leaves a session no better than grade D, as findings name it; empty where there is none.

    It was `contended`, the device was `throttled`, or `hot` when it began, or another program had the GPU (`gpu-shared`). What
    may have spoiled all sessions of a network, though it showed in some alone, such as a false output, is none of these: nothing
    is better then.
    """
    if is_contended(session):
        return "contended"
    if session_signs(session):
        return "throttled"
    if session.gate.get("closed"):
        return "hot"
    return "gpu-shared" if others_on_gpu(session) else ""


def warm_network_ns(piece: Slice) -> Sequence[int]:
    """Return the network's runs of a slice without those that follow the switch of models and find cold caches, in ns."""
    return [piece.runs_ns[place] for half in _warm_places(piece)[0] for place in half]


def settled_network_ns(session: SessionRecord) -> Sequence[int]:
    """Return the clean runs of the network alone at a session's end, from the seventh on, in ns; empty where there is none."""
    settled = session.settled
    if settled is None:
        return []
    times_ns, base_ns = settled.network_ns, _baseline(session)[1]
    nothing = (0,) * len(times_ns)
    excesses_ns = [delay_ns - base_ns for delay_ns in settled.delays_ns or nothing]
    clean, _ = find_undisturbed(times_ns, excesses_ns, settled.gaps_ns or nothing, False)
    runs = zip(times_ns[SETTLING_RUNS:], clean[SETTLING_RUNS:], strict=True)
    return [time_ns for time_ns, is_clean in runs if is_clean]


def doubt_of(session: SessionRecord) -> float:
    """Return how far a session's ratio may be off, relative, by what its slices' scatter cannot show."""
    return fmean([piece.doubt for piece in clean_slices(session)] or [0.0]) + abs(unevenness(session))


def unevenness(session: SessionRecord) -> float:
    """Return how far the ratio of means is above that of the fastest runs, relative; 0 where that is as usual.

    A model whose work differs from run to run, by lot or by what it keeps, has a mean that the fastest of a few runs do not tell.
    Below 0 the reference's are the uneven ones. What a device does to the runs of both, such as launches of a GPU, cancels.
    """
    spread = median([piece.spread for piece in clean_slices(session)] or [0.0])
    return spread if abs(spread) > EVEN_SHARE else 0.0


def steal_share(session: SessionRecord) -> float:
    """Return the share of a session's time in which a hypervisor gave the measured cores to others; 0 where not known."""
    steal_s = number(session.scheduling.get("steal_s")) or 0.0
    return steal_s / session.loop_s if session.loop_s > 0 else 0.0


def held_up(session: SessionRecord) -> list[str]:
    """Return in words what held a session up and shows in no run's wait, if it was enough."""
    return hold_ups(session.scheduling.get("unseen"), session.loop_s, len(session.slices))


def waited_share_of(session: SessionRecord) -> float | None:
    """Return the share of its time that a whole session waited for a core; None where it does not know."""
    waited_s = number(session.conditions_after.get("waited_s"))
    return waited_s / session.loop_s if waited_s is not None and session.loop_s > 0 else None


@dataclass(frozen=True, slots=True)
class _Runs:
    """Some runs of one model in a row that may be samples: times, waits beyond the baseline, which are clean; per run."""

    times_ns: Sequence[float]
    excess_ns: Sequence[float]
    clean: Sequence[bool]

    @property
    def clean_ns(self) -> Sequence[float]:
        return list(compress(self.times_ns, self.clean))

    @property
    def own_ns(self) -> Sequence[float]:
        return [ns - excess for ns, excess in zip(self.times_ns, self.excess_ns, strict=True)]


@dataclass(frozen=True, slots=True)
class _Model:
    """The runs of network or reference in one slice: the network's in two halves, the reference's on either side of it."""

    groups: Sequence[_Runs]

    @property
    def is_clean(self) -> bool:
        return any(any(group.clean) for group in self.groups)

    @property
    def is_long(self) -> bool:
        return min(min(group.own_ns) for group in self.groups) >= LONG_RUN_NS

    def own(self) -> _Model:
        """Return the same runs less what they waited, as if clean."""
        return _Model([_Runs(g.own_ns, g.excess_ns, [True] * len(g.clean)) for g in self.groups])


@once_a_session
def _seen(session: SessionRecord) -> tuple[tuple[CleanSlice, ...], Contention]:
    """Return the clean slices of a session and what it knows of other programs."""
    models = list(_models(session))
    every = [group for both in models for model in both for group in model.groups]
    models = _bracketed(session, models)
    found = [
        _clean_slice(session, index, *both)
        for index, both in enumerate(models)
        if all(model.is_clean for model in both)
    ]
    if len(found) < enough_slices(len(session.slices), number(session.plan.get("min_slices"))):
        found += [
            _corrected_slice(session, index, *both)
            for index, both in enumerate(models)
            if not all(model.is_clean for model in both)
            and all(model.is_clean or model.is_long for model in both)
        ]
        found.sort(key=lambda piece: piece.index)
    waited_share = waited_share_of(session)
    if known := is_known(session):
        waited_ns = sum(chain.from_iterable(group.excess_ns for group in every))
        waited_share = waited_ns / sum(chain.from_iterable(group.times_ns for group in every))
    return tuple(found), Contention(
        known=known,
        waited_share=waited_share,
        clean_slices=len(found),
        slices=len(session.slices),
    )


def _models(session: SessionRecord) -> Iterator[tuple[_Model, _Model]]:
    """Yield of each slice the network's and the reference's runs that may be samples; all clean where a session does not know."""
    known, base_ns = is_known(session), _baseline(session)
    is_cold = False  # the warm-up went before
    for piece in session.slices:
        begin = len(piece.reference_before_ns)
        end = begin + 1 + len(piece.network_ns)
        times_ns = piece.runs_ns
        nothing = (0,) * len(times_ns)
        delays_ns, gaps_ns = (piece.delays_ns, piece.gaps_ns or nothing) if known else (nothing, nothing)
        excesses_ns = [0.0] * len(times_ns)
        if any(delays_ns):
            excesses_ns = [
                min(max(delay_ns - base_ns[begin <= place < end], 0.0), time_ns - 1)
                for place, (time_ns, delay_ns) in enumerate(zip(times_ns, delays_ns, strict=True))
            ]
        clean, is_cold = find_undisturbed(times_ns, excesses_ns, gaps_ns, is_cold)
        network, reference = (
            _Model(
                [
                    _Runs(times_ns[one], excesses_ns[one], clean[one])
                    for places in groups
                    if places and (one := slice(places.start, places.stop))
                ]
            )
            for groups in _warm_places(piece)
        )
        yield network, reference


def _bracketed(
    session: SessionRecord, models: Sequence[tuple[_Model, _Model]]
) -> list[tuple[_Model, _Model]]:
    """Return the same with the reference's runs on both sides of the network: those after it are the first of the next slice.

    The last slice has those before alone. What the machine's speed does within a slice cancels so, too: in 754 sessions of
    both runtimes on a shared machine slices scattered by 2.4 % so, by 3.1 % beside the runs before alone.
    """
    found = []
    for index, (network, reference) in enumerate(models):
        if all(map(_ends_cold, session.slices[index : index + 2])) and index + 1 < len(models):
            reference = _Model([*reference.groups, *models[index + 1][1].groups])
        found.append((network, reference))
    return found


def _ends_cold(piece: Slice) -> bool:
    return ends_cold(piece.reference_before_ns, piece.reference_after_ns)


def _warm_places(piece: Slice) -> tuple[tuple[range, range], tuple[range, range]]:
    """Return the places of a slice's runs that may be samples, of the network in two halves and of the reference on each side."""
    return warm_places(piece.reference_before_ns, piece.network_ns, piece.reference_after_ns)


def _clean_slice(session: SessionRecord, index: int, network: _Model, reference: _Model) -> CleanSlice:
    """Return a slice by its clean, warm runs: the mean over the network's halves beside that over the reference's sides.

    Of each the fastest run, of as many everywhere, for the fastest of few is slower; halves and sides that have fewer do not
    count, so that two of each are compared wherever there are.
    """
    both = [[sorted(group.clean_ns) for group in model.groups] for model in (network, reference)]
    count, full = (
        min(max(map(len, groups)) for groups in some)
        for some in (both, [[group.times_ns for group in model.groups] for model in (network, reference)])
    )
    network_ns, reference_ns = (
        fmean([_least_of(group, count) for group in groups if len(group) >= count]) for groups in both
    )
    return CleanSlice(
        index=index,
        ratio=network_ns / reference_ns * (session.reference_loops / session.network_loops),
        network_ns=min(chain(*both[0])) / session.network_loops,
        reference_ns=min(chain(*both[1])) / session.reference_loops,
        doubt=FEW_RUNS_DOUBT if count == 1 < full else 0.0,
        spread=_spread(both[0]) - _spread(both[1]),
    )


def _spread(groups: Sequence[Sequence[float]]) -> float:
    """Return by how much the mean of runs is above that of the fastest of each group, relative; 0 of too few. groups: ordered."""
    runs_ns = list(chain(*groups))
    if len(runs_ns) < FEWEST_UNEVEN:
        return 0.0
    return fmean(runs_ns) / fmean([group[0] for group in groups if group]) - 1


def _corrected_slice(session: SessionRecord, index: int, network: _Model, reference: _Model) -> CleanSlice:
    """Return a slice in which network or reference, long runs, are never clean: those less what they waited.

    Waits of several threads are told as a sum. They may have passed at once, or while an accelerator computed: then a run is
    longer by a part of that sum, and nobody knows which.
    """
    models = (network, reference)
    piece = _clean_slice(session, index, *(model if model.is_clean else model.own() for model in models))
    shares = [
        median(chain(*(map(truediv, group.excess_ns, group.own_ns) for group in model.groups)))
        for model in models
        if not model.is_clean
    ]
    is_sum = session.configuration.threads > 1 or may_be_shared(session.configuration)
    doubt = (REFILL_SHARE + is_sum) * sum(shares)
    return replace(piece, corrected=True, doubt=piece.doubt + doubt)


def _least_of(ordered: Sequence[float], count: int) -> float:
    """Return the expected least of `count` values drawn from these without putting back; values in rising order."""
    total = len(ordered)
    if count == total:
        return ordered[0]
    ways = comb(total, count)
    return sum(
        value * comb(total - 1 - place, count - 1) / ways
        for place, value in enumerate(ordered[: total - count + 1])
    )


def _baseline(session: SessionRecord) -> tuple[float, float]:
    """Return the wait of a pool's threads in a run on a free machine: of the reference, of the network, in ns."""
    found = session.scheduling.get("baseline_ns")
    table = found if isinstance(found, Mapping) else {}
    return number(table.get("reference")) or 0.0, number(table.get("network")) or 0.0
