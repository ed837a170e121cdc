"""The study's figures for paper: regret against cost, and rank correlations with their intervals."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.output.plots.neutral import neutral_style
from harness.output.plots.regret import GRID, INK, LINE, WIDTH, check_libraries, root, spread, ticks_to

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.study.study import Study

# Okabe & Ito's colors and the dashes tell methods apart together: there are more methods than colors.
_COLORS = ("#e69f00", "#0072b2", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#8c6d46")
_DASHES = ((), (5, 2), (1, 1.5))
_STEPS = 200  # points of a curve
_FIRST = 1.0  # trainings' worth, where curves begin
_LABEL = 11  # characters that a label's column is made for, a method's name


def study_regret_png(study: Study) -> bytes:
    """Return regret against cost as a PNG file. Raises: ConfigError when matplotlib is missing."""
    return _png(study_regret_figure, study)


def correlations_png(study: Study) -> bytes:
    """Return the predictors' rank correlations as a PNG file. Raises: ConfigError when matplotlib is missing."""
    return _png(correlations_figure, study)


def study_regret_figure(study: Study) -> Figure:
    """Return a curve a method: its mean regret once all of its runs have an answer, against cost in trainings' worth.

    Raises: ConfigError when matplotlib is missing.
    """
    curves = {}
    last = max(float(run.flops[-1]) for method in study.methods for run in method.runs) / study.unit_flops
    costs = np.geomspace(_FIRST, max(last, 2 * _FIRST), _STEPS)
    for method in study.methods:
        values = np.array([method.at_flops(cost * study.unit_flops) for cost in costs]).mean(axis=1)
        if np.isfinite(values).any():
            curves[method.method] = values
    ceiling = 1.05 * max(float(np.nanmax(values)) for values in curves.values()) or 1.0
    longest = max(map(len, curves))
    figure, axes = _figure(study, "regret against cost", 4.6, right=0.35 + 0.076 * max(longest, _LABEL))
    axes.set_xscale("log")
    axes.set_xlim(costs[0], costs[-1])
    axes.set_yscale("function", functions=(root, np.square))
    axes.set_ylim(0, ceiling)
    axes.set_yticks(ticks_to(ceiling), [f"{tick:g}" for tick in ticks_to(ceiling)])
    marks = [mark for mark in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000) if costs[0] <= mark <= costs[-1]]
    axes.set_xticks(marks, [str(mark) for mark in marks])
    axes.minorticks_off()
    word = "synthetic " if study.truth.synthetic else ""
    axes.set_xlabel("cost in trainings' worth of operations (log scale)", fontsize=10, color=INK)
    axes.set_ylabel(f"regret, points of {word}test top-1 (square-root scale)", fontsize=10, color=INK)
    ends = [float(root(values[-1] / ceiling)) for values in curves.values()]
    for number, (name, values) in enumerate(curves.items()):
        place = spread(ends, 0.052)[number]
        color = "#777777" if number == 0 else _COLORS[(number - 1) % len(_COLORS)]
        dash = _DASHES[number // len(_COLORS) % len(_DASHES)]
        line: dict[str, Any] = {"dashes": dash} if dash else {}
        axes.step(costs, values, where="post", color=color, linewidth=1.6, clip_on=False, **line)
        axes.plot(
            [1.004, 1.036],
            [ends[number], place],
            color=color,
            linewidth=1,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1.044, place, name, color=INK, fontsize=9, va="center", transform=axes.transAxes, parse_math=False
        )
    return figure


def correlations_figure(study: Study) -> Figure:
    """Return a point a predictor, Kendall's tau, with its interval; predictors that rest on signatures are filled.

    Raises: ConfigError when matplotlib is missing.
    """
    pairs = [(name, tau) for name, (tau, _) in study.correlations.items() if np.isfinite(tau.value)]
    pairs.sort(key=lambda pair: pair[1].value)
    longest = max(len(name) for name, _ in pairs)
    height = 0.9 + 0.23 * len(pairs)
    figure, axes = _figure(
        study, "rank correlation with test accuracy", height, left=0.2 + 0.072 * longest, right=0.25
    )
    for row, (name, tau) in enumerate(pairs):
        own = name in study.blockwise
        color = "#0072b2" if own else "#777777"
        axes.plot([tau.low, tau.high], [row, row], color=color, linewidth=1.4)
        axes.plot(
            [tau.value], [row], "o", color=color, markerfacecolor=color if own else "white", markersize=5
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [name for name, _ in pairs])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    axes.set_xlabel("Kendall's tau, 95 % interval (filled: distilled blocks)", fontsize=10, color=INK)
    return figure


def _figure(
    study: Study, what: str, height: float, *, left: float = 0.65, right: float = 0.3
) -> tuple[Figure, Any]:
    """Return a figure with its title, and axes that leave `left` and `right` inches of margin."""
    check_libraries()
    from matplotlib.figure import Figure

    bold = textwrap.wrap(f"{study.truth.label}: {what}", 78)
    tall = height + LINE * len(bold)
    figure = Figure(figsize=(WIDTH, tall))
    axes = figure.add_axes(
        (left / WIDTH, 0.5 / tall, (WIDTH - left - right) / WIDTH, (tall - 0.7 - LINE * len(bold)) / tall)
    )
    axes.grid(axis="both", color=GRID, linewidth=0.6, zorder=0)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    for number, line in enumerate(bold):
        figure.text(
            0.012,
            1 - (0.1 + LINE * number) / tall,
            line,
            fontsize=11.5,
            fontweight="bold",
            color=INK,
            va="top",
            parse_math=False,
        )
    return figure, axes


def _png(draw: Callable[[Study], Figure], study: Study) -> bytes:
    check_libraries()
    data = io.BytesIO()
    origin = f"ground truth {study.truth.digest}, settings {study.settings.digest}"
    metadata = {"Title": study.truth.label, "Description": origin, "Software": None}
    with neutral_style():
        draw(study).savefig(data, format="png", dpi=180, metadata=metadata)
    return data.getvalue()
