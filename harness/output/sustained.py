"""Runs under load as text: minute by minute, or a line each."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from harness.estimates.moved import are_far, hands_over
from harness.estimates.reference import OTHERS_SHARE
from harness.estimates.sustained import Stretch, Sustained
from harness.output.layout import PrintedTable
from harness.output.plots.pictures import write_picture
from harness.output.plots.sustained import sustained_picture
from harness.output.tables import ms_text, print_json, print_table
from harness.output.terminal import echo
from harness.records import COMPLETE
from harness.store.configurations import describe
from space.text import clock, counted

SPARE_COLUMNS = ("runs", "other cores", "MHz", "p90 ms", "reference ms", "disturbed")


def print_sustained(found: Sequence[Sustained], *, json_output: bool, figure: Path | None = None) -> None:
    """Print each run minute by minute with its summary, or all as JSON; draw them if a `figure` is asked for."""
    if json_output:
        print_json([one.to_json() for one in found])
    for one in () if json_output else found:
        title = (
            f"{one.run.architecture} under load for {clock(one.seconds)}, {describe(one.run.configuration)}"
        )
        right = range(len(_STRETCH))
        print_table(PrintedTable.of(title, one.stretches, _STRETCH, right=right, spare=SPARE_COLUMNS))
        for line in summary(one):
            echo(line)
    if figure is not None and found:
        write_picture(figure, sustained_picture(found))


def print_sustained_list(found: Sequence[Sustained], *, json_output: bool) -> None:
    """Print a line for each run, oldest first; or all of it as JSON."""
    if json_output:
        print_json([one.to_json() for one in found])
        return
    if not found:
        echo(
            "no run under load is stored that fits; measure one: harness measure MODEL --sustained 30m",
            err=True,
        )
        return
    spare = [
        "began (UTC)",
        "disturbed",
        "throttled",
        "hottest C",
        "runtime",
        "device",
        "95 % interval",
        "ended",
    ]
    print_table(PrintedTable.of("runs under load", found, _RUN, spare=spare))


def summary(one: Sustained) -> list[str]:
    """Return a run's summary, in sentences."""
    ends = f"the last {clock(one.end_s)} over the first"
    if one.ratio is None or one.interval is None:
        lines = [f"{ends}: not known, {one.unknown}"]
    else:
        low, high = one.interval
        lines = [f"{ends}: {one.ratio:.3f} ({low:.3f} to {high:.3f}) times the latency"]
        if one.reference_ratio is not None:
            lines[0] += f"; of the reference in between {one.reference_ratio:.3f}"
    if one.sensor:
        lines.append(f"C: of the sensor {one.sensor}, the hottest in the mean")
    return lines + _disturbances(one)


def _disturbances(one: Sustained) -> list[str]:
    """Return how much of a run was throttled or disturbed, and what is not known of it, in sentences."""
    lines: list[str] = []
    is_long = one.seconds >= 60 * len(one.stretches) - 1
    whole = counted(
        len(one.stretches), "minute" if is_long else "stretch", "minutes" if is_long else "stretches"
    )
    if one.throttled:
        signs = dict.fromkeys(sign for stretch in one.stretches for sign in stretch.signs)
        lines.append(f"throttled in {one.throttled} of {whole}: {', '.join(signs)}")
    if one.disturbed:
        lines.append(f"disturbed by other programs in {one.disturbed} of {whole}: they count for nothing")
    if busy := sum((stretch.others_busy or 0.0) > OTHERS_SHARE for stretch in one.stretches):
        lines.append(
            f"other cores were busy in {busy} of {whole}: what they do to shared caches and memory is in these times, and the "
            "ends are not compared by them"
        )
    lines += [*_distance(one, whole), *_not_known(one)]
    if one.run.ended != COMPLETE:
        lines.append(f"ended early: {one.run.ended}")
    return lines


def _distance(one: Sustained, whole: str) -> list[str]:
    far = [
        times for stretch in one.stretches if (times := stretch.cores_apart) is not None and are_far(times)
    ]
    if not far:
        return []
    return [
        f"the cores were up to {max(far):.1f} times as far apart as usual, or as near, in {len(far)} of {whole}: threads that "
        "hand over take longer then, and the ends are not compared by these"
    ]


def _not_known(one: Sustained) -> Iterator[str]:
    """Yield a sentence for each thing that is not known of some stretch."""
    if hands_over(one.run.configuration) and any(stretch.cores_apart is None for stretch in one.stretches):
        yield "not known how far apart the cores were, which moves latencies of several threads: the system does not tell"
    if any(stretch.others_busy is None for stretch in one.stretches):
        yield "not known whether other cores were busy, of which the ends may speak, too: the system does not tell"
    if any(stretch.disturbed is None for stretch in one.stretches):
        yield "not known whether other programs had the cores: the system does not tell"


def _ms(value: float | None) -> str:
    return "" if value is None else ms_text(value)


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _told_ms(one: Sustained, place: int) -> str:
    """Return the latency of the first (0) or the last (-1) stretch that tells it."""
    told = [stretch.median_ms for stretch in one.stretches if stretch.median_ms is not None]
    return _ms(told[place] if told else None)


_STRETCH: Mapping[str, Callable[[Stretch], str]] = {
    "from": lambda one: clock(one.start_s),
    "ms": lambda one: "disturbed" if one.median_ms is None else ms_text(one.median_ms),
    "p90 ms": lambda one: _ms(one.p90_ms),
    "reference ms": lambda one: _ms(one.reference_ms),
    "C": lambda one: _number(one.temp_c, 1),
    "MHz": lambda one: _number(one.clock_mhz, 0),
    "throttled": lambda one: "yes" if one.signs else "",
    "disturbed": lambda one: "" if one.disturbed is None else f"{one.disturbed:.0%}",
    "other cores": lambda one: "" if one.others_busy is None else f"{one.others_busy:.0%}",
    "runs": lambda one: "" if one.runs is None else str(one.runs),
}
_RUN: Mapping[str, Callable[[Sustained], str]] = {
    "network": lambda one: one.run.architecture,
    "device": lambda one: one.run.configuration.device,
    "runtime": lambda one: one.run.configuration.runtime,
    "time": lambda one: clock(one.seconds),
    "first ms": lambda one: _told_ms(one, 0),
    "last ms": lambda one: _told_ms(one, -1),
    "ratio": lambda one: _number(one.ratio, 3) or "unknown",
    "95 % interval": lambda one: (
        "" if one.interval is None else " .. ".join(f"{end:.3f}" for end in one.interval)
    ),
    "hottest C": lambda one: _number(
        max((part.temp_c for part in one.stretches if part.temp_c is not None), default=None), 1
    ),
    "throttled": lambda one: f"{one.throttled} of {len(one.stretches)}",
    "disturbed": lambda one: f"{one.disturbed} of {len(one.stretches)}",
    "began (UTC)": lambda one: one.run.started_utc[:16],
    "ended": lambda one: "" if one.run.ended == COMPLETE else "early",
}
