"""Latency, temperature and clock of runs under load over time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.estimates.sustained import Sustained
from harness.output.plots.pictures import LINE, WIDTH, Picture
from harness.output.plots.styles import BLUE, FAINT, GRAY, GRID, INK, ORANGE, RED
from harness.store.configurations import describe
from space.text import clock

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = (
    *("architecture", "device", "runtime", "start_s", "seconds", "median_ms", "p90_ms", "reference_ms"),
    *("temp_c", "clock_mhz", "disturbed", "throttled"),
)
PANEL, WARMTH, SPACE = 1.9, 0.9, 0.75  # heights in inches: latency, temperature below it, between runs


def sustained_picture(found: Sequence[Sustained]) -> Picture:
    """Return the figure of some runs, one below the other, and as rows all their minutes."""
    rows = [
        [
            *(one.run.architecture, one.run.configuration.device, one.run.configuration.runtime),
            *(part.start_s, part.seconds, *map(_cell, (part.median_ms, part.p90_ms, part.reference_ms))),
            *(*map(_cell, (part.temp_c, part.clock_mhz, part.disturbed)), bool(part.signs)),
        ]
        for one in found
        for part in one.stretches
    ]
    return Picture(
        draw=lambda: sustained_figure(found), title="latency under load", columns=COLUMNS, rows=rows
    )


def sustained_figure(found: Sequence[Sustained]) -> Figure:
    """Return the figure for matplotlib: of each run the latency, and below it temperature and clock."""
    from matplotlib.figure import Figure

    titles = [_title(one) for one in found]
    heights = [PANEL + WARMTH + SPACE + LINE * len(title) for title in titles]
    height = sum(heights)
    figure = Figure(figsize=(WIDTH, height))
    top = height
    for one, title, own in zip(found, titles, heights, strict=True):
        panel = figure.add_axes(
            (
                0.7 / WIDTH,
                (top - own + SPACE + WARMTH) / height,
                (WIDTH - 1.5) / WIDTH,
                (PANEL - 0.25) / height,
            )
        )
        below = figure.add_axes(
            (0.7 / WIDTH, (top - own + SPACE) / height, (WIDTH - 1.5) / WIDTH, (WARMTH - 0.1) / height),
            sharex=panel,
        )
        for number, line in enumerate(title):
            looks: dict[str, Any] = {"fontsize": 9, "color": FAINT}
            if number == 0:
                looks = {"fontsize": 10.5, "fontweight": "bold", "color": INK}
            place = 1 - (height - top + 0.08 + LINE * number) / height
            figure.text(0.012, place, line, va="top", parse_math=False, **looks)
        _draw_latency(panel, one)
        _draw_warmth(below, one)
        top -= own
    return figure


def _title(one: Sustained) -> list[str]:
    ends = f"latency of the last {clock(one.end_s)} over the first"
    ratio = f"{ends}: not known" if one.ratio is None else f"{ends}: {one.ratio:.3f}"
    names = textwrap.wrap(one.run.architecture, 76)
    return [*names, ratio, *textwrap.wrap(describe(one.run.configuration), 100)]


def _draw_latency(axes: Any, one: Sustained) -> None:
    parts = one.stretches
    middles = [(part.start_s + part.seconds / 2) / 60 for part in parts]
    nothing = float("nan")
    medians = [nothing if part.median_ms is None else part.median_ms for part in parts]
    highs = [nothing if part.p90_ms is None else part.p90_ms for part in parts]
    axes.fill_between(middles, medians, highs, color=BLUE, alpha=0.2, linewidth=0, label="to p90")
    axes.plot(middles, medians, color=BLUE, linewidth=1.5, marker=".", markersize=4, label="median")
    shaded = {"throttled": (RED, 0.14, [bool(part.signs) for part in parts])}
    shaded["disturbed"] = (GRAY, 0.25, [part.median_ms is None for part in parts])
    for label, (color, alpha, marks) in shaded.items():
        for part, is_marked in zip(parts, marks, strict=True):
            if is_marked:
                ends = part.start_s / 60, (part.start_s + part.seconds) / 60
                axes.axvspan(*ends, color=color, alpha=alpha, linewidth=0, label=label)
                label = "_"
    told = [value for value in (*medians, *highs) if value == value]
    axes.set_ylim(0, 1.1 * max(told, default=1.0))
    axes.set_ylabel("latency, ms", fontsize=9.5, color=INK)
    axes.tick_params(labelbottom=False)
    _plain(axes)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
    axes.legend(ncols=4, frameon=False, fontsize=8, handletextpad=0.4, columnspacing=1.2, **place)


def _draw_warmth(axes: Any, one: Sustained) -> None:
    parts = one.stretches
    middles = [(part.start_s + part.seconds / 2) / 60 for part in parts]
    nothing = float("nan")
    temps = [nothing if part.temp_c is None else part.temp_c for part in parts]
    clocks = [nothing if part.clock_mhz is None else part.clock_mhz for part in parts]
    axes.plot(middles, temps, color=RED, linewidth=1.3)
    axes.set_ylabel(f"{one.sensor[:14]}\n°C" if one.sensor else "no sensor", fontsize=8.5, color=RED)
    axes.set_xlabel("minutes", fontsize=9.5, color=INK)
    axes.set_xlim(0, max(middles) + parts[-1].seconds / 120)
    _plain(axes)
    if any(part.clock_mhz is not None for part in parts):
        other = axes.twinx()
        other.plot(middles, clocks, color=ORANGE, linewidth=1.3)
        other.set_ylim(bottom=0)
        other.set_ylabel("MHz", fontsize=8.5, color=ORANGE)
        other.spines[["top"]].set_visible(False)
        other.tick_params(colors=INK, labelsize=8.5)
    if not one.sensor:
        axes.set_yticks([])


def _plain(axes: Any) -> None:
    axes.grid(color=GRID, linewidth=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=8.5)


def _cell(value: float | None) -> object:
    return "" if value is None else value
