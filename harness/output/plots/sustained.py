"""Latency, temperature and clock of runs under load over time."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.estimates.sustained import Sustained
from harness.output.plots.pictures import LINE, WIDTH, Picture, add_axes, style_axes, write_title
from harness.output.plots.styles import BLUE, GRAY, INK, ORANGE, RED
from harness.store.configurations import describe
from space.indexing import FloatArray
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
        panel = add_axes(figure, 0.7, top - own + SPACE + WARMTH, WIDTH - 1.5, PANEL - 0.25)
        below = add_axes(figure, 0.7, top - own + SPACE, WIDTH - 1.5, WARMTH - 0.1, sharex=panel)
        write_title(figure, title[:1], title[1:], above=height - top + 0.08, size=10.5)
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
    parts, middles = one.stretches, _middles(one)
    medians, highs = _values(one, "median_ms"), _values(one, "p90_ms")
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
    told = np.append(medians, highs)
    axes.set_ylim(0, 1.1 * max(told[np.isfinite(told)], default=1.0))
    axes.set_ylabel("latency, ms", fontsize=9.5, color=INK)
    axes.tick_params(labelbottom=False)
    style_axes(axes, 8.5)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.1}
    axes.legend(ncols=4, frameon=False, fontsize=8, handletextpad=0.4, columnspacing=1.2, **place)


def _draw_warmth(axes: Any, one: Sustained) -> None:
    middles, clocks = _middles(one), _values(one, "clock_mhz")
    axes.plot(middles, _values(one, "temp_c"), color=RED, linewidth=1.3)
    axes.set_ylabel(f"{one.sensor[:14]}\n°C" if one.sensor else "no sensor", fontsize=8.5, color=RED)
    axes.set_xlabel("minutes", fontsize=9.5, color=INK)
    axes.set_xlim(0, max(middles) + one.stretches[-1].seconds / 120)
    style_axes(axes, 8.5)
    if np.isfinite(clocks).any():
        other = axes.twinx()
        other.plot(middles, clocks, color=ORANGE, linewidth=1.3)
        other.set_ylim(bottom=0)
        other.set_ylabel("MHz", fontsize=8.5, color=ORANGE)
        other.spines[["top"]].set_visible(False)
        other.tick_params(colors=INK, labelsize=8.5)
    if not one.sensor:
        axes.set_yticks([])


def _values(one: Sustained, name: str) -> FloatArray:
    """Return a number of each stretch, (n,), NaN where it is not known."""
    return np.array([getattr(part, name) for part in one.stretches], dtype=np.float64)


def _middles(one: Sustained) -> FloatArray:
    """Return the middle of each stretch, (n,), in minutes."""
    return (_values(one, "start_s") + _values(one, "seconds") / 2) / 60


def _cell(value: float | None) -> object:
    return "" if value is None else value
