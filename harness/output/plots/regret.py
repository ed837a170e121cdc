"""Regret of search methods as a figure for print, with the parts shared by the page of `harness.output.plots.regret_page`."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from harness.output.plots.curves import Curve, draw_axes, draw_curves
from harness.output.plots.pictures import LINE, WIDTH, Picture, add_axes, write_title
from harness.output.plots.styles import INK

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.methods.comparison import MethodComparison


def regret_picture(comparison: MethodComparison) -> Picture:
    """Return the figure, and a row of numbers for each method and evaluation."""
    word = "synthetic_" if "synthetic" in comparison.label else ""
    return Picture(
        draw=lambda: regret_figure(comparison),
        title=title(comparison),
        columns=["method", "evaluations", *(f"{word}regret_points{end}" for end in ("", "_low", "_high"))],
        rows=[
            (one.method, count, *map(float, numbers))
            for one in comparison.methods
            for count, numbers in enumerate(zip(one.mean, one.low, one.high, strict=True), 1)
        ],
    )


def regret_figure(comparison: MethodComparison) -> Figure:
    """Return the figure for matplotlib: a curve a method, its interval shaded, its name at its end."""
    from matplotlib.figure import Figure

    bold, plain = textwrap.wrap(title(comparison), 76), textwrap.wrap(subtitle(comparison), 104)
    lines = len(bold) + len(plain)
    height = 4.3 + LINE * lines
    figure = Figure(figsize=(WIDTH, height))
    longest = max(len(one.method) for one in comparison.methods)
    # inches
    left, right, bottom, top = 0.65, WIDTH - 0.45 - 0.076 * longest, 0.5, height - 0.2 - LINE * lines
    axes = add_axes(figure, left, bottom, right - left, top - bottom)
    ceiling = ceiling_of(comparison)
    draw_axes(axes, ceiling)
    axes.set_xlim(1, max(comparison.budget, 2))
    axes.set_xticks(marks(comparison.budget))
    axes.minorticks_off()
    axes.set_xlabel("accuracy evaluations", fontsize=10, color=INK)
    axes.set_ylabel(axis_title(comparison), fontsize=10, color=INK, parse_math=False)
    at = np.arange(1.0, comparison.budget + 1)
    curves = [
        Curve(name=one.method, at=at, mean=one.mean, low=one.low, high=one.high) for one in comparison.methods
    ]
    draw_curves(axes, curves, ceiling)
    write_title(figure, bold, plain)
    return figure


def ceiling_of(comparison: MethodComparison) -> float:
    """Return the axis' end, above the highest curve and its interval, in points."""
    highest = max(float(np.nanmax([one.mean, one.high])) for one in comparison.methods)
    return 1.03 * highest if highest > 0 else 1.0


def marks(budget: int) -> list[int]:
    """Return where the axis of evaluations is labeled: the first, and round numbers up to the last."""
    step = next((s * 10**p for p in range(7) for s in (1, 2, 5) if budget <= 6 * s * 10**p), budget)
    return sorted({1, *range(step, budget + 1, step)} if step > 1 else range(1, budget + 1))


def axis_title(comparison: MethodComparison) -> str:
    """Return the title of the regret axis, with the word synthetic where it applies."""
    return f"regret, points of {comparison.label} (square-root scale)"


def title(comparison: MethodComparison) -> str:
    """Return the figure's title, with the word synthetic where it applies."""
    within = f" within {' and '.join(comparison.limits)}" if comparison.limits else ""
    return f"Search by {comparison.label}{within}"


def subtitle(comparison: MethodComparison) -> str:
    """Return the numbers of networks and searches in the figure."""
    count = len(comparison.seeds)
    many = f"mean of {count} searches a method, shaded: its 95 % interval over seeds"
    return (
        f"{comparison.allowed:,} of {comparison.networks:,} networks; "
        f"{many if count > 1 else 'one search a method: how much another would differ is not known'}"
    )
