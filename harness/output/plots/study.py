"""The study's figures for paper: regret against cost, and rank correlations with their intervals."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.output.plots.curves import Curve, draw_axes, draw_curves
from harness.output.plots.pictures import LINE, WIDTH, Picture, add_axes, style_axes, write_title
from harness.output.plots.styles import BLUE, FAINT, GRAY, INK, style
from search.statistics import mean_of
from space.indexing import FloatArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.study.runs import MethodRuns
    from search.study.study import Study

_STEPS = 200  # points of a curve
_FIRST = 1.0  # trainings' worth, where curves begin
_COST_MARKS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
_LEFT, _ABOVE, _BELOW = 0.65, 0.3, 0.5  # of and around the panels, in inches
_PANEL, _ONLY_PANEL = 2.3, 3.6  # heights, in inches


def study_regret_picture(study: Study) -> Picture:
    """Return the figure of regret against cost, and a row of numbers for each method and cost."""
    word = "synthetic_" if study.truth.synthetic else ""
    return Picture(
        draw=lambda: study_regret_figure(study),
        title=study.truth.label,
        origin=_origin(study),
        columns=["method", "cost_trainings", *(f"{word}regret_points{end}" for end in ("", "_low", "_high"))],
        rows=[
            (curve.name, *map(float, numbers))
            for curve in study_curves(study)
            for numbers in zip(curve.at, curve.mean, curve.low, curve.high, strict=True)
            if np.isfinite(numbers[1])
        ],
    )


def correlations_picture(study: Study) -> Picture:
    """Return the figure of the predictors' rank correlations, and a row of numbers for each."""
    return Picture(
        draw=lambda: correlations_figure(study),
        title=study.truth.label,
        origin=_origin(study),
        columns=["predictor", "kendall_tau", "low", "high", "distilled_blocks"],
        rows=[
            (name, tau.value, tau.low, tau.high, "yes" if name in study.blockwise else "no")
            for name, (tau, _) in study.correlations.items()
        ],
    )


def study_curves(study: Study) -> list[Curve]:
    """Return a curve a method: its mean regret once all of its runs have an answer, by cost in trainings' worth.

    Bands are the 95 % intervals of the mean over runs, as in the study's tables.
    """
    last = max(float(run.flops[-1]) for method in study.methods for run in method.runs) / study.unit_flops
    costs = np.geomspace(_FIRST, max(last, 2 * _FIRST), _STEPS)
    curves = [_curve(method, costs, study.unit_flops) for method in study.methods]
    return [curve for curve in curves if np.isfinite(curve.mean).any()]


def _curve(method: MethodRuns, costs: FloatArray, unit: float) -> Curve:
    values = np.array([method.at_flops(cost * unit) for cost in costs])  # (costs, runs)
    means = values.mean(axis=1)
    known: dict[bytes, tuple[float, float]] = {}
    for row in values[np.isfinite(means)]:
        if row.tobytes() not in known:
            found = mean_of(row)
            known[row.tobytes()] = max(found.low, 0.0), found.high
    ends = np.array([known.get(row.tobytes(), (np.nan, np.nan)) for row in values])
    return Curve(name=method.method, at=costs, mean=means, low=ends[:, 0], high=ends[:, 1])


def study_regret_figure(study: Study) -> Figure:
    """Return panels of a few methods each, random search in all of them: mean regret against cost, with bands."""
    from matplotlib.figure import Figure

    curves = study_curves(study)
    panels = _panels(curves)
    columns, rows = min(2, len(panels)), -(-len(panels) // 2)
    bold = textwrap.wrap(f"{study.truth.label}: regret against cost", 78)
    plain = textwrap.wrap(
        "mean over runs, shaded: its 95 % interval; regrets on a scale of square roots", 104
    )
    high, top = _PANEL if rows > 1 else _ONLY_PANEL, 0.1 + LINE * (len(bold) + len(plain))
    tall = top + rows * (high + _ABOVE) + _BELOW
    figure = Figure(figsize=(WIDTH, tall))
    write_title(figure, bold, plain)
    names = 0.4 + 0.071 * max(len(curve.name) for curve in curves)  # inches
    width = (WIDTH - _LEFT - columns * names - (columns - 1) * 0.1) / columns
    ceiling = 1.05 * max(float(np.nanmax(curve.mean)) for curve in curves) or 1.0
    for number, (family, some) in enumerate(panels.items()):
        left = _LEFT + (number % columns) * (width + names + 0.1)
        bottom = tall - top - (number // columns + 1) * (high + _ABOVE)
        axes = add_axes(figure, left, bottom, width, high)
        _draw_panel(axes, some, ceiling, family if len(panels) > 1 else "", gap=0.17 / high)
        axes.tick_params(labelbottom=number + columns >= len(panels), labelleft=number % columns == 0)
    word = "synthetic " if study.truth.synthetic else ""
    text: dict[str, Any] = {"fontsize": 10, "color": INK}
    cost = "cost of the search, in trainings of a network (log scale)"
    figure.text((_LEFT + WIDTH - names) / 2 / WIDTH, 0.08 / tall, cost, ha="center", **text)
    regret = f"regret, points of {word}test top-1"
    figure.text(0.012, (tall - top + _BELOW) / 2 / tall, regret, rotation=90, va="center", **text)
    return figure


def _panels(curves: list[Curve]) -> dict[str, list[Curve]]:
    """Return the curves of each family, the first one, random search, in each."""
    families: dict[str, list[Curve]] = {}
    for curve in curves[1:]:
        families.setdefault(style(curve.name).family, [curves[0]]).append(curve)
    return families or {"": list(curves)}


def _draw_panel(axes: Any, curves: list[Curve], ceiling: float, family: str, *, gap: float) -> None:
    draw_axes(axes, ceiling, size=8.5)
    costs = curves[0].at
    axes.set_xscale("log")
    axes.set_xlim(costs[0], costs[-1])
    found = [mark for mark in _COST_MARKS if costs[0] <= mark <= costs[-1]]
    axes.set_xticks(found, list(map(str, found)))
    axes.minorticks_off()
    axes.set_title(family, fontsize=9, color=FAINT, loc="left", pad=4)
    draw_curves(axes, curves, ceiling, gap=gap, size=8.5)


def correlations_figure(study: Study) -> Figure:
    """Return a point a predictor, Kendall's tau, with its interval; predictors that rest on signatures are filled."""
    from matplotlib.figure import Figure

    pairs = [(name, tau) for name, (tau, _) in study.correlations.items() if np.isfinite(tau.value)]
    pairs.sort(key=lambda pair: pair[1].value)
    left, right = 0.2 + 0.072 * max(len(name) for name, _ in pairs), 0.25
    bold = textwrap.wrap(f"{study.truth.label}: rank correlations", 78)
    tall = 0.9 + 0.23 * len(pairs) + LINE * len(bold)
    figure = Figure(figsize=(WIDTH, tall))
    write_title(figure, bold, [])
    axes = add_axes(figure, left, 0.5, WIDTH - left - right, tall - 0.7 - LINE * len(bold))
    style_axes(axes)
    axes.set_axisbelow(True)
    for row, (name, tau) in enumerate(pairs):
        own = name in study.blockwise
        color = BLUE if own else GRAY
        axes.plot([tau.low, tau.high], [row, row], color=color, linewidth=1.4)
        axes.plot(
            [tau.value], [row], "o", color=color, markerfacecolor=color if own else "white", markersize=5
        )
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(pairs)), [name for name, _ in pairs])
    axes.set_ylim(-0.6, len(pairs) - 0.4)
    word = "synthetic " if study.truth.synthetic else ""
    label = f"Kendall's tau with {word}test top-1, and its 95 % interval (filled: from distilled blocks)"
    figure.text(0.5, 0.06 / tall, label, fontsize=10, color=INK, ha="center")
    return figure


def _origin(study: Study) -> str:
    return f"ground truth {study.truth.digest}, settings {study.settings.digest}"
