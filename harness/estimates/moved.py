"""Doubts of ratios that may have been moved by what no wait of a run shows: caches, cores far apart, a reference unlike a file.

A network of many small operators hands over between its threads more often than one of few large ones, so that their ratio
depends on how far apart the cores are (device_agents.core_to_core); the host of a virtual machine moves them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median, median_high

from device_agents.throttling import number
from harness.estimates.clean_runs import clean_slices, spoiled_by
from harness.estimates.reference import (
    OTHERS_SHARE,
    QUIET_NOISE,
    SLOW_SHARE,
    ReferenceLevel,
    others_busy,
    reference_level_ns,
    session_pace_ns,
    session_slowness,
)
from harness.records import FILE_SPACE, BlockRun, Configuration, ReferenceLatency, SessionRecord

# TFLite with programs on the other core: while the reference took 3 to 13 % longer than when quiet, a network that was not
# slowed at all moved by 0.83 of that; in ONNX Runtime ratios moved by a quarter of it.
MOVED_SHARE = 0.8
# Pairing cancels what slows reference and network alike. In ONNX Runtime ratios moved by a quarter of what the reference slowed,
# at most: 2.5 % at a tenth, which B still allows. In TFLite they moved by more, so beyond a tenth nothing is better than C.
PAIRED_SHARE = 0.1
# Where other cores were busy in every session, nothing tells the quiet level. Beside a program that streams memory ratios were
# off by up to 5.3 (ONNX Runtime) and 8.7 % (TFLite), beside one that computes by 2 to 3 %, and the two cannot be told apart.
# With this doubt 22 of 24 TFLite intervals held beside the first, and grade C is the best.
NEVER_QUIET_DOUBT = 0.05

# Programs on other cores make weights slower to read, which a model file may do for most of its time and its reference does not:
# a file of 134 MB in 7 ms was 20 % apart from one campaign to the next on a busy machine, one of 4 MB in 160 ms 5 %. A core
# reads some 10 bytes a ns (19 there, 5 to 10 on phones), and half as many or fewer beside programs that stream memory.
CORE_BYTES_A_NS = 10.0
CACHED_BYTES = 2 << 20
STREAMED_DOUBT = 0.5

# On a quiet host latencies between two cores differed by up to a third within a minute, and networks took the same; 2.3 to 2.7
# times as far apart, ratios moved by up to 12 % (TFLite) and 35 % (ONNX Runtime).
APART_SHARE = 0.4
FAR_SHARE = 0.25  # of a ratio, for each time that cores are farther apart
# Between neighboring cores of a guest a value takes 0.6 to 1 times what the same reads and writes take on one core.
GUEST_SHARE = 1.2
# Of sessions that do not tell: what a reference slower than in other sessions, or another program on the cores, leaves open.
UNTOLD_SHARE = 1.5
UNTOLD_DOUBT = 0.15
# Boosted clocks waver by some steps of 15 MHz as a card warms; the H100 of docs/evidence/gpu.md was at 1980 MHz in all samples.
CLOCK_SHARE = 0.05


def moved_doubt(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return how far a session's ratio may have been moved by what no wait of its runs shows, relative."""
    return max(
        shared_caches_doubt(session, reference),
        far_cores_doubt(session, reference),
        slowed_reference_doubt(session, reference),
        gpu_clock_doubt(session, reference),
    )


def slowed_reference_doubt(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return how far a model file's ratio may be off by what slowed the reference beside it, relative; 0 of a network.

    It may be the file's own doing: beside products of large matrices the reference takes up to 9 % longer, and is itself again
    after some tens of ms. These products take as long alone, so that their latencies were 4 to 8 % too low. Networks of the
    reference's own space are like it, and pairing cancels what they do to each other.
    """
    if session.configuration.space != FILE_SPACE:
        return 0.0
    levels_ns = [piece.network_ns / piece.ratio for piece in clean_slices(session)]
    return max(0.0, median(levels_ns) / reference.latency_ns - 1) if levels_ns else 0.0


def shared_caches_doubt(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return how far programs on other cores may have moved a session's ratio, relative: caches and bandwidth are shared.

    A reference that runs slower than when quiet while another core is busy, or something unseen slows this one, may do so for
    want of caches, which the network needs less or more of: then the ratio moves by up to as much. Where neither is so it is the
    machine's clock, common to both, as far as the core's pace explains it. An NVIDIA GPU's clock is not: launches take as
    long at any. Of other accelerators nothing tells whether it was their clock.
    Cores of which nothing is known may have been busy.
    A reference that was never seen with idle cores has no quiet level to compare with.
    """
    level_ns, slow = reference_level_ns(session), session_slowness(session, reference)
    if level_ns is None:
        return 0.0
    slower = level_ns / reference.latency_ns - 1
    busy = others_busy(session)
    if busy is not None and busy <= OTHERS_SHARE and slow <= SLOW_SHARE:
        on = reference.configuration
        is_told = on.uses_cuda or (on.feels_pace and not on.uses_gpu)
        if on.feels_pace:
            is_told &= session_pace_ns(session) is not None
            is_told &= session.scheduling.get("paced_by") in reference.best_paces_ns
        # The sessions that tell the reference's latency may be of cores that are slower by as much.
        faster = reference.latency_ns / level_ns / (1 + SLOW_SHARE * on.feels_pace)
        unexplained = max((1 + slower) / (1 + slow), faster) - 1
        return MOVED_SHARE * (unexplained - QUIET_NOISE) if is_told and unexplained > PAIRED_SHARE else 0.0
    doubt = max(MOVED_SHARE * (slower - QUIET_NOISE), streamed_doubt(session), 0.0)
    return max(doubt, NEVER_QUIET_DOUBT) if reference.never_quiet else doubt


def streamed_doubt(session: SessionRecord) -> float:
    """Return by how much programs on other cores may have lengthened a model file's runs more than its reference's, or less,
    relative: as far as these are the reading of weights. 0 where other cores were idle.
    """
    busy, pieces = others_busy(session), clean_slices(session)
    is_file = session.configuration.space == FILE_SPACE and not session.configuration.uses_cuda
    if not is_file or not pieces or (busy is not None and busy <= OTHERS_SHARE):
        return 0.0
    shares = [
        min(
            1.0,
            max(0.0, (number(session.conditions_after.get(name)) or 0.0) - CACHED_BYTES)
            / run_ns
            / CORE_BYTES_A_NS,
        )
        for name, run_ns in (
            ("model_bytes", median(piece.network_ns for piece in pieces)),
            ("reference_bytes", median(piece.reference_ns for piece in pieces)),
        )
    ]
    return STREAMED_DOUBT * abs(shares[0] - shares[1])


def core_to_core_ns(session: SessionRecord) -> float | None:
    """Return the latency between the cores of a session of several threads, one way, in ns: the longest told, or None."""
    return max(_told_ns(session.scheduling.get("core_to_core")), default=None)


def usual_core_to_core_ns(levels: Sequence[ReferenceLevel], reference_ns: float) -> float | None:
    """Return the latency between the cores in the sessions in which the reference ran as fast as its pooled latency, in ns."""
    told = [
        level.core_to_core_ns
        for level in levels
        if level.core_to_core_ns and level.latency_ns <= (1 + QUIET_NOISE) * reference_ns
    ]
    return median(told) if told else None


def gpu_mhz(session: SessionRecord) -> float | None:
    """Return the highest clock of the GPU in samples beside a session's slices, when it is at work; None where none tells."""
    begin_ns = session.slices[0].at_ns or 0
    told = [
        mhz
        for sample in session.samples
        if (number(sample.get("at_ns")) or 0.0) >= begin_ns and (mhz := number(sample.get("gpu_clock_mhz")))
    ]
    return max(told, default=None)


def usual_gpu_mhz(levels: Sequence[ReferenceLevel]) -> float | None:
    """Return the clock of the GPU in most sessions; None where none tells."""
    told = [level.gpu_mhz for level in levels if level.gpu_mhz]
    return median_high(told) if told else None


def gpu_clock_doubt(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return by how much the GPU's clock was other than usual in a session, relative; 0 where that is little, or not known.

    What a network computes takes as much longer, or shorter; what it waits for launches, and maybe its reference, takes as long.
    """
    return _clock_off(gpu_mhz(session), reference.gpu_mhz)


def _clock_off(mhz: float | None, usual_mhz: float | None) -> float:
    off = _times(mhz, usual_mhz) - 1 if mhz and usual_mhz else 0.0
    return off if off > CLOCK_SHARE else 0.0


def near_levels(
    levels: Sequence[ReferenceLevel], usual_ns: float | None, usual_mhz: float | None
) -> list[ReferenceLevel]:
    """Return the levels of sessions without those whose cores were farther apart than usual, or nearer, or whose GPU had another
    clock; all if none is left.
    """
    near = [
        level
        for level in levels
        if not _clock_off(level.gpu_mhz, usual_mhz)
        and (
            not usual_ns
            or not level.core_to_core_ns
            or _times(level.core_to_core_ns, usual_ns) <= 1 + APART_SHARE
        )
    ]
    return near or list(levels)


def apart(session: SessionRecord, reference: ReferenceLatency) -> float | None:
    """Return how many times as far apart as usual the cores were, or as near, at least 1; None where that is not known.

    The usual is that of the sessions which tell the reference's latency. Where these may all be of cores that a host has put far
    apart, it is no more than what neighboring cores take.
    """
    return _times_apart(session.scheduling.get("core_to_core"), reference.core_to_core_ns)


def apart_in_blocks(run: BlockRun) -> list[float | None]:
    """Return of each block of a run how many times as far apart as usual the cores were, as `apart` does.

    Beside what the same reads and writes take on one core in that block, since a clock that heat lowers lengthens both. The usual
    is the run's own median.
    """
    told = run.scheduling.get("core_to_core")
    entries = told[: len(run.blocks)] if isinstance(told, list | tuple) else ()
    alone_ns = [(number(one.get("alone_ns")) or 0.0) if isinstance(one, Mapping) else 0.0 for one in entries]
    shares = [
        ns / alone for one, alone in zip(entries, alone_ns, strict=True) if alone for ns in _told_ns(one)
    ]
    usual = median(shares or [0.0])
    times = [_times_apart(one, usual * alone) for one, alone in zip(entries, alone_ns, strict=True)]
    return times + [None] * (len(run.blocks) - len(times))


def are_far(times: float | None) -> bool:
    """Return whether cores are so many times as far apart as usual, or as near, that it moves latencies."""
    return times is not None and times > 1 + APART_SHARE


def near_sessions(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> list[SessionRecord]:
    """Return the sessions of a network without those whose cores or whose GPU's clock were not as usual, and of a file that reads
    weights without those beside busy cores, if there are others.

    Others that something else spoiled are none.
    """
    near = [
        one
        for one in sessions
        if not are_far(apart(one, reference))
        and not gpu_clock_doubt(one, reference)
        and streamed_doubt(one) <= QUIET_NOISE
    ]
    return list(sessions) if all(map(spoiled_by, near)) else near


def far_cores_doubt(session: SessionRecord, reference: ReferenceLatency) -> float:
    """Return how far the cores' distance may have moved a session's ratio, relative; 0 of one thread, and on an accelerator."""
    if not hands_over(session.configuration):
        return 0.0
    times = apart(session, reference)
    if times is not None:
        return FAR_SHARE * (times - 1) if are_far(times) else 0.0
    if taken_share(session) > OTHERS_SHARE:
        return UNTOLD_DOUBT
    level_ns = reference_level_ns(session)
    slower = 0.0 if level_ns is None else level_ns / reference.latency_ns - 1 - QUIET_NOISE
    return UNTOLD_SHARE * max(0.0, slower)


def hands_over(configuration: Configuration) -> bool:
    """Return whether several threads of the processor share a network, and hand over to each other at its operators."""
    return configuration.threads > 1 and not configuration.uses_gpu and configuration.feels_pace


def taken_share(session: SessionRecord) -> float:
    """Return the share of the measured cores that other programs took just before a session, 0 where that is not known."""
    probe = session.scheduling.get("probe")
    return number(probe.get("taken")) or 0.0 if isinstance(probe, Mapping) else 0.0


def _times(one_ns: float, other_ns: float) -> float:
    return max(one_ns / other_ns, other_ns / one_ns)


def _times_apart(told: object, usual_ns: float | None) -> float | None:
    found = [each for each in _told_ns(told) if each > 0]
    if not found or not usual_ns or not isinstance(told, Mapping):
        return None
    alone_ns = number(told.get("alone_ns"))
    if told.get("guest") is True and alone_ns:
        usual_ns = min(usual_ns, GUEST_SHARE * alone_ns)
    return max(_times(each, usual_ns) for each in found)


def _told_ns(told: object) -> list[float]:
    values = told.get("ns") if isinstance(told, Mapping) else None
    return [each for each in map(number, values if isinstance(values, list) else ()) if each is not None]
