"""Findings about a measured network, each with its remedy, and the grade by findings and interval.

The grade follows from the interval that is printed with it; each finding caps it. Notes inform and leave it alone; doubts leave
no A; what may be wrong beyond any interval makes a D. The file is long because it is flat: a row or a
function a kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from math import inf
from statistics import fmean, median
from typing import Any, Literal, get_args

from device_agents.contention import STEAL_SHARE
from device_agents.throttling import number
from harness.devices.conditions import (
    ANY_THROTTLING,
    earlier_throttling,
    gpu_is_watched,
    gpu_was_idle,
    marked_slices,
    may_be_shared,
    others_on_gpu,
    session_signs,
    throttle_remedy,
)
from harness.estimates.clean_runs import (
    clean_slices,
    contention,
    held_up,
    is_contended,
    is_known,
    is_seen_free,
    spoiled_by,
    steal_share,
    unevenness,
    usable_sessions,
)
from harness.estimates.estimate import (
    COVERAGE,
    RatioEstimate,
    estimate,
    half_width,
    reference_latency_ns,
    session_ratios,
)
from harness.estimates.moved import (
    PAIRED_SHARE,
    apart,
    far_cores_doubt,
    gpu_clock_doubt,
    gpu_mhz,
    shared_caches_doubt,
    slowed_reference_doubt,
    taken_share,
)
from harness.estimates.outputs import (
    is_reference_wrong,
    is_wrong,
    output_error,
    output_limit,
    reference_error,
)
from harness.estimates.reference import (
    OTHERS_SHARE,
    SLOW_SHARE,
    others_busy,
    reference_level_ns,
    session_pace_ns,
)
from harness.estimates.series import drift_of, severe_outliers, two_modes
from harness.records import ReferenceLatency, SessionRecord
from space.statistics import normal
from space.text import agreeing, counted

Kind = Literal[
    "wrong-output",
    "wrong-reference",
    "fell-back",
    "throttled",
    "throttled-earlier",
    "power-modes",
    "machines",
    "hot",
    "contended",
    "held-up",
    "contention-unknown",
    "averages",
    "steal",
    "quota",
    "gpu-shared",
    "gpu-unseen",
    "waited",
    "shared-caches",
    "far-cores",
    "gpu-clock",
    "slow-core",
    "core-moved",
    "reference-drift",
    "one-session",
    "one-visit",
    "few-slices",
    "imprecise",
    "two-modes",
    "uneven-runs",
    "short-runs",
    "drift",
    "outliers",
    "unpinned",
    "battery",
    "screen",
    "no-device-time",
]
_ORDER = get_args(Kind)
Grade = Literal["A", "B", "C", "D"]

REFERENCE_SHARE = 0.03  # the sentinel: the reference so far off its latency
MOST_SIGNS = 4  # told of a session: the clock of a core wavers, and each sample says another
MODES_APART = 0.01  # modes nearer to each other than that are within what an interval allows
DRIFT_SHARE = 0.01  # within one session; and
DRIFT_P = 0.001  # so seldom chance: neighboring slices are not quite independent
SEVERE_SHARE = 0.1  # of all slices
WAITED_SHARE = 0.02  # of the time that a session timed
# What a call of a runtime from Python takes of a run, as a share of the fixed piece of work: 0.29 us (ONNX Runtime) and 0.18 us
# (TFLite) where that took 60 us, beside calls of the same libraries without their Python. LiteRT's functions are called by
# ctypes: one that does nothing takes 0.51 us, where the work takes 46 us.
CALL_SHARE, CTYPES_SHARE = 0.005, 0.011
GRADE_HALF_WIDTHS: dict[Grade, float] = {"A": 0.01, "B": 0.03, "C": 0.1}  # of the 95 % interval, at most
# Beside another program, with processes that could not be had alone, ratios were wrong by up to this factor (docs/design.md).
MOST_WRONG = 2.0

_FRESH = "measure again with --fresh"
_OTHER_RUNTIME = f"try another provider or version of the runtime, then {_FRESH}; 'harness doctor' tries each with a small model"
_ALONE = "stop what else runs on the device, or name other cores with --cores"
_AHEAD = f"{_ALONE}; 'harness doctor' says how harness gets ahead of it; then {_FRESH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A doubt or a note: what was found, with its value, and what a person can do about it; `cap`: the best grade it leaves."""

    kind: Kind
    message: str
    remedy: str
    cap: Grade = "B"


def check_network(
    sessions: Sequence[SessionRecord], summary: RatioEstimate, reference: ReferenceLatency | None
) -> list[Finding]:
    """Return the findings about one network's estimate from these sessions; at most one for each cause.

    Only the sessions that make the estimate are judged. Without the reference latency its drift is not.
    """
    used = usable_sessions(sessions)
    found = [
        *(check.finding(used) for check in _CHECKS),
        _wrong_output(used),
        _wrong_reference(used),
        _fell_back(used),
        _throttled(used),
        _throttled_earlier(used),
        _power_modes(used),
        _machines(reference),
        *_left_out(sessions, used),
        _contended(used),
        _contention_unknown(used),
        _gpu_unseen(used),
        _shared_caches(used, reference) if reference is not None else None,
        _far_cores(used, reference) if reference is not None else None,
        _gpu_clock(used, reference) if reference is not None else None,
        _slow_core(used, reference) if reference is not None else None,
        *(_reference_drift(used, reference) if reference is not None else ()),
        _one_session(summary),
        _one_visit(reference),
        _few_slices(summary),
        _imprecise(used),
        _two_modes(used),
        _uneven_runs(used),
        _short_runs(used),
        _drift(used),
        _outliers(used),
        _screen(used),
    ]
    return sorted((one for one in found if one is not None), key=lambda one: _ORDER.index(one.kind))


def grade(width: float | None, findings: Sequence[Finding], *, hour_width: float | None = None) -> Grade:
    """Return the grade: A for an interval within 1 % of the value, B within 3 %, C within 10 %, else D; no better than any cap.

    width: half that of the printed 95 % interval, relative to the value; None where there is none: D. `hour_width`: the same
    without what another hour adds, which is common to all networks of a configuration and makes no D by itself.
    """
    by_width: Grade = "D"
    if width is not None:
        by_width = next((letter for letter, most in GRADE_HALF_WIDTHS.items() if width <= most), "D")
    if by_width == "D" and hour_width is not None and hour_width <= GRADE_HALF_WIDTHS["C"]:
        by_width = "C"
    return max(by_width, *(finding.cap for finding in findings), key="ABCD".index)


def _cap(share: float, best: Grade = "B") -> Grade:
    """Return the best grade that a doubt of such a share leaves, none better than `best`."""
    by_share: Grade = next((letter for letter, most in GRADE_HALF_WIDTHS.items() if share <= most), "D")
    return max(best, by_share)


def wrong_by(findings: Sequence[Finding]) -> float:
    """Return the factor that a ratio may be off by beyond its interval, as findings say; infinite for a false output."""
    worst = {one.kind for one in findings if one.cap == "D"}
    return (
        inf if worst & {"wrong-output", "wrong-reference"} else MOST_WRONG if worst - {"few-slices"} else 1.0
    )


def may_not_run(session: SessionRecord) -> bool:
    """Return whether a session can be a reason for `wrong-output` or `fell-back`: quick, for findings take an estimate."""
    return is_wrong(session) or len(_shares(session)) > 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Check:
    """A finding about the sessions in which `find` finds something; `message` of what it found, and in how many of them."""

    kind: Kind
    find: Callable[[SessionRecord], Any]
    message: Callable[[Sequence[Any], str], str]
    remedy: str
    cap: Grade = "B"

    def finding(self, sessions: Sequence[SessionRecord]) -> Finding | None:
        """Return the finding, None where no session is a reason for it."""
        found = [value for session in sessions if (value := self.find(session))]
        if not found:
            return None
        message = self.message(found, _of(found, sessions))
        return Finding(kind=self.kind, message=message, remedy=self.remedy, cap=self.cap)


def _few_cores(session: SessionRecord) -> tuple[float, int] | None:
    """Return a session's CPU quota, in cores, and its threads, where these are more."""
    quota, threads = number(session.scheduling.get("quota_cores")), session.configuration.threads
    return None if quota is None or quota >= threads else (quota, threads)


def _long_wait(session: SessionRecord) -> float:
    """Return the share of the time in which another program took a session's core, 0 where that is little, or a quota's."""
    share = contention(session).waited_share or 0.0
    return share if share > WAITED_SHARE and not _few_cores(session) else 0.0


def _on_battery(session: SessionRecord) -> bool:
    battery = session.conditions_before.get("battery")
    return isinstance(battery, dict) and battery.get("status") == "Discharging"


_CHECKS = (
    _Check(
        kind="no-device-time",
        find=lambda session: session.conditions_after.get("device_absent"),
        message=lambda absent, of: f"the accelerator's own clock could not be asked in {of}: {absent[0]}",
        remedy="wall times stand without it; on NVIDIA cards it takes CUDA's runtime library (libcudart) on the device",
        cap="A",
    ),
    _Check(
        kind="hot",
        find=lambda session: session.gate.get("closed") and session.gate,
        message=lambda hot, of: (
            f"{of} began after {max(float(gate.get('waited_s', 0.0)) for gate in hot):.0f} s of waiting although the device was "
            f"not fit: {'; '.join(dict.fromkeys(str(reason) for gate in hot for reason in gate['closed']))}"
        ),
        remedy=f"let the device cool or give it a fan, then {_FRESH}",
        cap="D",
    ),
    _Check(
        kind="held-up",
        find=held_up,
        message=lambda found, of: (
            f"what shows in no run's wait held {of} up: {'; '.join(dict.fromkeys(chain(*found)))}"
        ),
        remedy=f"leave quotas as they are while harness measures, free memory, and end tracers; then {_FRESH}",
        cap="D",
    ),
    _Check(
        kind="averages",
        find=lambda session: session.plan.get("averages_of"),
        message=lambda runs, of: (
            f"each time is the mean of {runs[0]} runs in a process of its own that another program took, in {of}: no single run, "
            "nor what it waited for a core, nor an output is known"
        ),
        remedy="for runs that can be looked at, measure over SSH: Termux on a phone (docs/how-to/phone.md)",
        cap="C",
    ),
    _Check(
        kind="steal",
        find=lambda session: share if (share := steal_share(session)) > STEAL_SHARE else 0.0,
        message=lambda stolen, of: (
            f"the host gave the measured cores to other virtual machines for up to {max(stolen):.1%} of the time in {of}"
        ),
        remedy=f"wait for a quieter hour or rent cores of your own, then {_FRESH}",
        cap="D",
    ),
    _Check(
        kind="quota",
        find=_few_cores,
        message=lambda short, of: (
            f"a CPU quota of {min(short)[0]:.3g} cores for {counted(short[0][1], 'thread')} in {of}: what the threads waited is "
            "the quota's, not another program's"
        ),
        remedy="raise the quota (docker --cpus, CPUQuota= of systemd, cpu.max) to the threads and one more",
        cap="C",  # the pauses are others' time to take the caches: ratios were off by up to 4 % (docs/evidence/contention.md)
    ),
    # A GPU takes turns of milliseconds among programs with a context on it, as a core does, and no run's delay shows them:
    # https://docs.nvidia.com/deploy/mps/index.html, "time-sliced scheduling".
    _Check(
        kind="gpu-shared",
        find=others_on_gpu,
        message=lambda told, of: (
            f"{' or '.join(dict.fromkeys(told))} in {of}: what its kernels took shows in no run's wait"
        ),
        remedy=f"end what nvidia-smi lists and what draws by it, or take a GPU of your own; then {_FRESH}",
        cap="D",
    ),
    _Check(
        kind="waited",
        find=_long_wait,
        message=lambda long, of: (
            f"threads waited for a core for up to {max(long):.1%} of the time in {of}: another program runs on the measured cores"
        ),
        remedy=f"{_ALONE}; then {_FRESH}",
    ),
    _Check(
        kind="core-moved",
        find=lambda session: not set(session.cores) <= set(session.configuration.cores) and session,
        message=lambda moved, of: (
            f"{of} ran on core {_listed(core for session in moved for core in session.cores)}, not on "
            f"{_listed(moved[0].configuration.cores)}: the system took cores away"
        ),
        remedy="name cores that stay, with --cores; 'harness doctor' lists them",
    ),
    _Check(
        kind="unpinned",
        find=lambda session: session.conditions_after.get("pinned") is False,
        message=lambda loose, of: f"the system did not keep {of} on the cores asked for",
        remedy="name cores that the device lets this user take, with --cores; 'harness doctor' lists them",
    ),
    _Check(
        kind="battery",
        find=_on_battery,
        message=lambda drained, of: f"the device ran on its battery in {of}: it may save power",
        remedy=f"plug it in, then {_FRESH}",
    ),
)  # fmt: skip


def _listed(cores: Iterable[int]) -> str:
    return ",".join(map(str, sorted(set(cores))))


def _wrong_output(sessions: Sequence[SessionRecord]) -> Finding | None:
    wrong = [session for session in sessions if is_wrong(session)]
    if not wrong:
        return None
    worst = max(wrong, key=lambda session: output_error(session) or 0.0)
    limit = output_limit(worst.configuration)
    why = "nothing but zeros"
    if worst.expected:
        off = f"off by {output_error(worst):.1%} of it, of which rounding explains {limit:.1%}"
        why = f"where {_few(worst.expected)} is right: {off}"
    return Finding(
        kind="wrong-output",
        message=f"the output on the fixed input is false in {_of(wrong, sessions)}: {_few(worst.output) or 'none'}, {why}",
        remedy=f"the device does not compute this network: {_OTHER_RUNTIME}",
        cap="D",
    )


def _wrong_reference(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Sessions beside a reference that was computed falsely: their ratios are to something else, the network may be right."""
    wrong = [session for session in sessions if is_reference_wrong(session)]
    if not wrong:
        return None
    error, limit = max(map(reference_error, wrong)), output_limit(wrong[0].configuration)
    return Finding(
        kind="wrong-reference",
        message=f"the reference's output on the fixed input is false in {_of(wrong, sessions)}: off by {error:.1%} of the right "
        f"one, of which rounding explains {limit:.1%}",
        remedy=f"the device does not compute the reference: {_OTHER_RUNTIME}",
        cap="D",
    )


# TFLite's kernels on the CPU: XNNPACK leaves operators to the built-in ones, and no accelerator is left idle.
_KERNELS = {"XNNPACK", "builtin"}


def _fell_back(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Sessions in which more than one provider ran operators of the network; TFLite's two are the same processor's kernels."""
    shared = [one for one in sessions if len(_shares(one)) > 1 and _shares(one).keys() - _KERNELS]
    if not shared:
        return None
    worst = _shares(min(shared, key=lambda session: max(_shares(session).values())))
    told = ", ".join(f"{share:.0%} by {name}" for name, share in worst.items())
    return Finding(
        kind="fell-back",
        message=f"the accelerator ran only a part of the network's operators in {_of(shared, sessions)}: {told}",
        remedy="this is no latency of the accelerator: take operators that it has, or measure with a provider that runs all",
        cap="D",
    )


def _shares(session: SessionRecord) -> dict[str, float]:
    """Return the share of the operators that each provider ran; empty where it is not told."""
    told = session.conditions_after.get("shares")
    return {name: share for name, share in told.items() if share > 0} if isinstance(told, dict) else {}


def _few(values: Sequence[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:3]) + (", ..." if len(values) > 3 else "")


def _throttled(sessions: Sequence[SessionRecord]) -> Finding | None:
    signs = dict.fromkeys(sign for session in sessions for sign in session_signs(session)[:MOST_SIGNS])
    if not signs:
        return None
    marked = sum(sum(marked_slices(session)) for session in sessions)
    slices = sum(len(session.slices) for session in sessions)
    return Finding(
        kind="throttled",
        message=f"throttled in {marked} of {slices} slices ({'; '.join(signs)})",
        remedy=f"{throttle_remedy(list(signs))}; then {_FRESH}",
        cap="D",
    )


def _throttled_earlier(sessions: Sequence[SessionRecord]) -> Finding | None:
    """A board's marks since its start: what happens between two samples is then not seen, for the mark is there already."""
    marked = [text for session in sessions if (text := earlier_throttling(session.conditions_before))]
    if not marked:
        return None
    causes = list(dict.fromkeys(cause for text in marked for cause in text.split(", ")))
    told = ", ".join(causes)
    return Finding(
        kind="throttled-earlier",
        message=f"the Raspberry Pi was held back ({told}) between its start and {_of(marked, sessions)}; while they ran, no "
        "sample shows it",
        remedy=f"{throttle_remedy([f'earlier: {told}'])}; then restart the board, which clears these marks",
        cap="A",
    )


def _power_modes(sessions: Sequence[SessionRecord]) -> Finding | None:
    modes = [
        str(conditions["power_mode"])
        for session in sessions
        for conditions in (session.conditions_before, session.conditions_after)
        if "power_mode" in conditions
    ]
    if len(set(modes)) < 2:
        return None
    return Finding(
        kind="power-modes",
        message=f"measured in power modes {', '.join(dict.fromkeys(modes))}, which are devices of different speeds",
        remedy="name one with jetson_power_mode in devices.toml, set the sessions of the others apart with 'harness store "
        f"quarantine', then {_FRESH}",
        cap="D",
    )


def _machines(reference: ReferenceLatency | None) -> Finding | None:
    """Machines that share a name: people of one database may each have a phone of a model, or a `local`."""
    if reference is None or reference.machines < 2:
        return None
    return Finding(
        kind="machines",
        message=f"sessions of {reference.machines} machines of this name and model, or of one that was set up anew, are taken as "
        "one device's; two of one model differ by some percent",
        remedy="name each machine by itself in devices.toml, and set the sessions of the others apart with 'harness store "
        "quarantine' (--since and --before choose them)",
        cap="C",
    )


def _contended(used: Sequence[SessionRecord]) -> Finding | None:
    contended = [s for s in used if is_contended(s) and steal_share(s) <= STEAL_SHARE and not held_up(s)]
    if not contended:
        return None
    worst = min(map(contention, contended), key=lambda one: one.clean_slices / one.slices)
    waited = "" if worst.waited_share is None else f", threads waited {worst.waited_share:.0%} of the time"
    clean = (
        f"{worst.clean_slices} of {worst.slices} slices {agreeing(worst.clean_slices, 'is', 'are')} clean"
        if worst.known
        else "runs are not told apart"
    )
    return Finding(
        kind="contended",
        message=f"another program had the core in {_of(contended, used)}: {clean}{waited}",
        remedy=_AHEAD,
        cap="D",
    )


# What sessions that are left out were, and the remedy, by what spoiled them.
_LEFT_OUT: Mapping[Kind, tuple[str, str]] = {
    "contended": ("contended", _AHEAD),
    "throttled": ("throttled", ANY_THROTTLING),
    "hot": ("begun although the device was not fit", "let the device cool or give it a fan"),
    "gpu-shared": (
        "beside other programs on the GPU",
        "end what nvidia-smi lists and what draws by it, or take a GPU of your own",
    ),
}


def _left_out(sessions: Sequence[SessionRecord], used: Sequence[SessionRecord]) -> list[Finding]:
    """Notes on the sessions that were left out for better ones, of each thing that spoiled some."""
    if any(map(spoiled_by, used)):  # there are no better ones
        return []
    taken = set(map(id, used))
    counts = Counter(spoiled_by(session) for session in sessions if id(session) not in taken)
    return [
        Finding(
            kind=kind,
            message=f"{counts[kind]} of {counted(len(sessions), 'session')} left out: {what}",
            remedy=remedy,
            cap="A",
        )
        for kind, (what, remedy) in _LEFT_OUT.items()
        if counts[kind]
    ]


def _contention_unknown(sessions: Sequence[SessionRecord]) -> Finding | None:
    unknown = [session for session in sessions if not is_known(session)]
    if not unknown:
        return None
    message = f"what each run waited for a core is not known in {_of(unknown, sessions)}"
    is_free = all(is_seen_free(session) for session in unknown)
    return Finding(
        kind="contention-unknown",
        message=f"{message}; as a whole they waited next to nothing" if is_free else message,
        remedy=f"{_FRESH}; where the system does not tell, see that nothing else runs",
        cap="B" if is_free else "C",
    )


def _gpu_unseen(sessions: Sequence[SessionRecord]) -> Finding | None:
    unseen = [one for one in sessions if may_be_shared(one.configuration) and not gpu_is_watched(one)]
    if not unseen:
        return None
    was_idle = all(map(gpu_was_idle, unseen))
    what = "GPU" if unseen[0].configuration.uses_gpu else "accelerator"
    message = f"which other programs used the {what} is not known in {_of(unseen, sessions)}"
    return Finding(
        kind="gpu-unseen",
        message=f"{message}; just before it computed next to nothing" if was_idle else message,
        remedy=f"see that nothing else uses it, in a container by the host's process ids (docker --pid=host); then {_FRESH}",
        cap="B" if was_idle else "C",
    )


def _shared_caches(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> Finding | None:
    """Effect of programs on other cores through caches and bandwidth."""
    doubts = {session.session_id: shared_caches_doubt(session, reference) for session in sessions}
    moved = [session for session in sessions if doubts[session.session_id] > 0]
    if not moved:
        return None
    known = [share for session in moved if (share := others_busy(session)) is not None]
    busy = max(known, default=0.0)
    off = max(((reference_level_ns(session) or 0.0) / reference.latency_ns - 1 for session in moved), key=abs)
    doubt = max(doubts.values())
    uses_gpu = reference.configuration.uses_gpu
    such = "a clock that somebody locked" if uses_gpu else "another host behind this name"
    unseen = f"something that the system does not tell, such as {such}, moved the speed of the {'GPU' if uses_gpu else 'core'}"
    if len(known) < len(moved):
        unseen = "the system does not tell whether other cores were busy"
    told = unseen if busy <= OTHERS_SHARE else f"other cores were up to {busy:.0%} busy"
    if busy > OTHERS_SHARE and any((others_busy(session) or 0.0) <= OTHERS_SHARE for session in moved):
        told += f", or {unseen},"
    if reference.never_quiet:
        told += " in every session, so how fast the reference is on a quiet device is unknown"
    else:
        way = "slower" if off > 0 else "faster"
        told += f" while the reference ran {abs(off):.1%} {way} than when quiet, in {_of(moved, sessions)}"
    return Finding(
        kind="shared-caches",
        message=f"{told}: {'this' if uses_gpu else 'shared caches and memory'} may have moved the ratio by {doubt:.1%}, and its "
        "interval is wider by that",
        remedy=f"stop what else runs on the device, then {_FRESH}",
        cap="C" if doubt > GRADE_HALF_WIDTHS["B"] else "B",
    )


def _far_cores(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> Finding | None:
    doubts = [far_cores_doubt(session, reference) for session in sessions]
    far = [session for session, doubt in zip(sessions, doubts, strict=True) if doubt]
    if not far:
        return None
    most = max(doubts)
    times = [found for session in far if (found := apart(session, reference)) is not None]
    if times:
        told = f"the cores were {max(times):.1f} times as far apart as usual, or as near, in {_of(far, sessions)}"
    else:
        taken = max(map(taken_share, far))
        why = (
            f"another program took {taken:.0%} of them"
            if taken > OTHERS_SHARE
            else "the reference ran slower"
        )
        told = f"how far apart the cores were is not known, and {why} in {_of(far, sessions)}"
    return Finding(
        kind="far-cores",
        message=f"{told}: networks whose threads hand over often take longer then, which moves ratios by up to {most:.0%}, and "
        "the interval is wider by that",
        remedy=f"{_FRESH}, for the host of a virtual machine moves its cores now and then; or measure one thread",
        cap=_cap(most),
    )


def _gpu_clock(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> Finding | None:
    """Sessions in which the GPU's clock was not that of most others: nvidia-smi -lgc locks one, and no command tells of it."""
    doubts = [gpu_clock_doubt(session, reference) for session in sessions]
    moved = [gpu_mhz(session) or 0.0 for session, doubt in zip(sessions, doubts, strict=True) if doubt]
    if not moved:
        return None
    clocks = ", ".join(f"{mhz:.0f}" for mhz in sorted(set(moved)))
    return Finding(
        kind="gpu-clock",
        message=f"the GPU ran at {clocks} MHz in {_of(moved, sessions)}, and mostly at {reference.gpu_mhz:.0f} MHz in those of "
        "this configuration, whose milliseconds are of that clock; the interval is wider by as much",
        remedy="unlock the clocks (nvidia-smi -rgc) or lock them as before, or set the sessions of the other clock apart with "
        f"'harness store quarantine'; then {_FRESH}",
        cap=_cap(max(doubts)),
    )


def _slow_core(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> Finding | None:
    """A core that something unseen slowed in every session: the reference's latency on a quiet device is not known.

    By the same work in other sessions on these cores, or on a like core just before, which no session may take.
    """
    probes = [session.scheduling.get("probe") for session in sessions]
    beside = min(number(one.get("slowed")) or 0.0 if isinstance(one, Mapping) else 0.0 for one in probes)
    slowed = max(reference.slowed, beside if reference.configuration.feels_pace else 0.0)
    if slowed <= SLOW_SHARE:
        return None
    launches = reference.configuration.launches_kernels
    what = "launches of kernels take as much longer, and" if launches else ""
    return Finding(
        kind="slow-core",
        message=f"the core took {slowed:.0%} longer for a fixed piece of work than at best, it or one like it, in every session: "
        "another virtual machine on the same physical core, a lower clock, or a slower host behind this name; "
        f"{what} how fast the reference is on a quiet "
        "device is unknown".replace("  ", " "),
        remedy=f"measure at another hour, or name other cores with --cores; {_FRESH}",
        cap="D" if launches else "C",
    )


def _reference_drift(sessions: Sequence[SessionRecord], reference: ReferenceLatency) -> Iterator[Finding]:
    """The sentinel: how the device's speed compares with that under which its reference latency was taken.

    Not of sessions whose caches were shared: `_shared_caches` tells of them, and pairing does not cancel that.
    """
    shares = [
        reference_latency_ns(session) / reference.latency_ns - 1
        for session in sessions
        if not shared_caches_doubt(session, reference)
    ]
    quiet = f"stop what else runs on the device and let it cool, then {_FRESH}"
    itself = ""
    if doubt := fmean(slowed_reference_doubt(session, reference) for session in sessions):
        quiet += ", or time the file beside one of its kind (--reference FILE)"
        itself = f", which the file itself may have done: its interval is wider by {doubt:.1%}"
    for sign, told, which, so, remedy in (
        (1, "slower than when quiet", itself, "wall times do not speak of a quiet device", quiet),
        (-1, "faster than its latency", "", "that latency is not the device's best", "harness measure --recalibrate"),
    ):  # fmt: skip
        off = [sign * share for share in shares if sign * share > REFERENCE_SHARE]
        if not off:
            continue
        pairing = f"over {PAIRED_SHARE:.0%}, ratios were seen to move by several percent"
        if max(off) < PAIRED_SHARE:
            pairing = "paired timing cancels what slows both alike, not what slows one of them more"
        yield Finding(
            kind="reference-drift",
            message=f"the reference ran up to {max(off):.1%} {told} in {_of(off, sessions)}{which}; {pairing}; {so}",
            remedy=remedy,
            cap="B" if max(off) <= PAIRED_SHARE else "C",
        )


def _one_session(summary: RatioEstimate) -> Finding | None:
    if summary.processes > 1:
        return None
    known = "taken from other networks" if summary.is_pooled else "not known here, and taken as usual"
    return Finding(
        kind="one-session",
        message=f"measured in 1 process: how this network scatters from process to process is {known}",
        remedy="measure it at another level: --level screen",
        cap="A" if summary.is_pooled else "C",
    )


def _one_visit(reference: ReferenceLatency | None) -> Finding | None:
    """A device that was visited once: no other hour tells how far its level moves."""
    if reference is None or reference.visits != 1 or not reference.sd:
        return None
    reach = normal(COVERAGE) * reference.sd
    return Finding(
        kind="one-visit",
        message=f"all sessions are of one visit: at another hour all milliseconds of this device may shift together, by up to "
        f"{reach:.1%}, which the intervals include; ratios and ranks hardly move",
        remedy="to narrow them, measure a few networks again at another hour, with --fresh",
        cap="A",
    )


def _few_slices(summary: RatioEstimate) -> Finding | None:
    if summary.interval is not None:
        return None
    message = f"{summary.slices} slices carry no interval"
    return Finding(
        kind="few-slices",
        message=message,
        remedy="measure it again with --level final --fresh, whose sessions last longer",
        cap="D",
    )


def _imprecise(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Sessions that ended without the precision that their plan asks for."""
    worst, planned, stops = 0.0, 0.0, []
    for session in sessions:
        aim = session.plan.get("half_width")
        if session.stop == "precision" or not isinstance(aim, float | int):
            continue
        summary = estimate([session])
        interval = summary.interval
        if interval is None:
            continue
        width = half_width(summary.ratio, interval)
        if width > aim:
            stops.append(session.stop)
            worst, planned = max((worst, planned), (width, float(aim)))
    if not stops:
        return None
    return Finding(
        kind="imprecise",
        message=f"{_of(stops, sessions)} ended on a {' or '.join(sorted(set(stops)))} with an interval of "
        f"±{worst:.1%}, planned ±{planned:.1%}",
        remedy="stop what else runs on the device, then measure it again with --level final --fresh, whose sessions last longer",
    )


def _two_modes(sessions: Sequence[SessionRecord]) -> Finding | None:
    pairs = [pair for session in sessions if (pair := two_modes(session_ratios(session)))]
    apart = [(low, high) for low, high in pairs if high / low - 1 > MODES_APART]
    if not apart:
        return None
    low, high = max(apart, key=lambda pair: pair[1] / pair[0])
    return Finding(
        kind="two-modes",
        message=f"slices gather about two ratios, {low:.4g} and {high:.4g} ({high / low - 1:.1%} apart), in "
        f"{_of(apart, sessions)}",
        remedy=f"lock the clocks, name cores of one kind with --cores, then {_FRESH}",
        cap=_cap(high / low - 1) if 2 * len(apart) >= len(sessions) else "B",
    )


def _uneven_runs(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Runs of one of the models that differ among themselves in at least half of the sessions: a model's own work does in each.

    Of fewer, which something unseen disturbed, the interval is wider all the same. Nothing is said of the network where another
    program or a GPU may have done it, or where the reference is the uneven one.
    """
    found = [share for session in sessions if (share := unevenness(session))]
    if not found or 2 * len(found) < len(sessions):
        return None
    most = max(found, key=abs)
    which = "runs that nothing disturbed" if all(map(is_known, sessions)) else "runs"
    which = f"the reference's {which}" if most < 0 else which
    why = "the work of one model differs from run to run, or what disturbs single runs did not disturb both alike"
    remedy = f"{_ALONE}; then {_FRESH}"
    if most > 0 and all(map(is_known, sessions)) and not sessions[0].configuration.uses_gpu:
        why = "the model's own work differs from run to run"
        remedy = (
            "export it without random operators (in evaluation mode) and with inputs that decide its branches and loops "
            f"(--inputs FILE.npz), then {_FRESH}; wall times have the median and percentiles of all runs"
        )
    return Finding(
        kind="uneven-runs",
        message=f"{which} take {abs(most):.0%} longer on average than the fastest ones, which the ratio is of, in "
        f"{_of(found, sessions)}: {why}, and the interval is wider by that",
        remedy=remedy,
        cap=_cap(abs(most), "C"),
    )


def _short_runs(sessions: Sequence[SessionRecord]) -> Finding | None:
    """Sessions of a network so short that the call from Python is a part of its runs."""
    share = CTYPES_SHARE if sessions[0].configuration.runtime == "litert" else CALL_SHARE
    shares = [
        share * pace_ns / median(piece.network_ns for piece in pieces)
        for session in sessions
        if (pace_ns := session_pace_ns(session)) and (pieces := clean_slices(session))
    ]
    short = [share for share in shares if share > GRADE_HALF_WIDTHS["B"]]
    if not short:
        return None
    most = max(short)
    return Finding(
        kind="short-runs",
        message=f"runs are so short that some {most:.0%} of them may be the call from Python, in {_of(short, sessions)}",
        remedy="a program that calls the runtime from C or Java runs it faster; measure a larger part of the model at once",
        cap=_cap(most, "C"),
    )


def _drift(sessions: Sequence[SessionRecord]) -> Finding | None:
    drifts = [drift_of(session_ratios(session)) for session in sessions]
    changes = [drift.change for drift in drifts if abs(drift.change) > DRIFT_SHARE and drift.p < DRIFT_P]
    if not changes:
        return None
    most = max(changes, key=abs)
    return Finding(
        kind="drift",
        message=f"the ratio moved by {most:+.1%} within {_of(changes, sessions)}: network and reference "
        "do not slow down alike",
        remedy=f"let the device cool or lock its clocks, then {_FRESH}",
        cap=_cap(abs(most)) if 2 * len(changes) >= len(sessions) else "B",
    )


def _outliers(sessions: Sequence[SessionRecord]) -> Finding | None:
    severe = sum(severe_outliers(session_ratios(session)) for session in sessions)
    slices = sum(len(session.slices) for session in sessions)
    if severe <= SEVERE_SHARE * slices:
        return None
    return Finding(
        kind="outliers",
        message=f"{severe} of {slices} slices: severe outliers (beyond 3 interquartile ranges); medians do not bend to them",
        remedy="stop what else runs on the device",
        cap="A",
    )


def _screen(sessions: Sequence[SessionRecord]) -> Finding | None:
    """A phone whose screen was not the same throughout, as adb tells it."""
    told = [
        {str(conditions["screen"]) for conditions in around if "screen" in conditions}
        for session in sessions
        for around in [(session.conditions_before, session.conditions_after)]
    ]
    if len(set().union(*told)) < 2:
        return None
    return Finding(
        kind="screen",
        message=f"the phone's screen was off around {_of([one for one in told if 'off' in one], sessions)} and on around "
        f"{_of([one for one in told if 'on' in one], sessions)}: Android gives apps other cores and clocks while it is off, and "
        "draws by the GPU while it is on",
        remedy=f"keep it as it will be when the model is used (on: Developer options, Stay awake); then {_FRESH}",
    )


def _of(some: Sequence[object], sessions: Sequence[SessionRecord]) -> str:
    return f"{len(some)} of {counted(len(sessions), 'session')}"
