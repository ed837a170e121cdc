"""Curves in steps with their bands, named where they end: what the figures of regret have in common.

Regrets fall from some points to 0. On a linear axis their end is flat, and on a logarithmic one 0 has no place: the axis is that
of square roots. A curve is drawn in steps, for a value holds until the next one. Where several are equal they share the line in
dashes of each one's color, so that none lies under another.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from harness.output.plots.pictures import style_axes
from harness.output.plots.styles import INK, style
from space.indexing import FloatArray

LINE_WIDTH = 1.5  # points
_SHARE = 4.0  # widths of the line that each of several equal curves takes in turn
_MARKS = 5  # markers along the whole axis
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)  # points


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curve:
    """A named curve, each (n,): `mean` from `at` until the next, and the ends of its band; NaN where there is none."""

    name: str
    at: FloatArray
    mean: FloatArray
    low: FloatArray
    high: FloatArray


def draw_axes(axes: Any, ceiling: float, *, size: float = 9) -> None:
    """Prepare axes for regrets up to a ceiling, in points."""
    axes.set_yscale("function", functions=(root, np.square))
    axes.set_ylim(0, ceiling)
    ticks = ticks_to(ceiling)
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks])
    style_axes(axes, size, "y")


def draw_curves(
    axes: Any, curves: Sequence[Curve], ceiling: float, *, gap: float = 0.052, size: float = 9.5
) -> None:
    """Draw curves with their bands, markers and names; `gap` is the least distance of names, a share of the axis."""
    last = axes.get_xlim()[1]
    for curve in curves:
        if np.isfinite(curve.low).any():
            _draw_band(axes, curve, last, shade(len(curves)))
    for number, curve in enumerate(curves):
        color, dash = style(curve.name).color, style(curve.name).dash
        for x, y, rank, count in _pieces(curves, number, last):
            on: dict[str, Any] = {"dashes": dash} if dash else {}
            if count > 1:
                # matplotlib counts dashes in widths of the line
                on = {"linestyle": (rank * _SHARE, (_SHARE, _SHARE * (count - 1)))}
            axes.plot(
                x, y, color=color, linewidth=LINE_WIDTH, clip_on=False, zorder=3, label=curve.name, **on
            )
        _draw_markers(axes, curve, number, len(curves), last)
    _name_curves(axes, curves, ceiling, gap, size)


def _draw_band(axes: Any, curve: Curve, last: float, alpha: float) -> None:
    at = np.append(curve.at, max(last, curve.at[-1]))
    low, high = (np.append(ends, ends[-1]) for ends in (curve.low, curve.high))
    color = style(curve.name).color
    axes.fill_between(at, low, high, step="post", color=color, alpha=alpha, linewidth=0, zorder=2)
    for ends in (low, high):  # an edge tells a band from those that it lies on
        axes.step(at, ends, where="post", color=color, alpha=0.45, linewidth=0.5, zorder=2.5)


def _pieces(
    curves: Sequence[Curve], number: int, last: float
) -> Iterator[tuple[FloatArray, FloatArray, int, int]]:
    """Yield a curve's lines, x and y (m,), with its rank among the curves that are equal there, and how many these are."""
    curve = curves[number]
    equal = np.array([_values_at(other, curve.at) == curve.mean for other in curves])  # (curves, n)
    ranks, counts = equal[:number].sum(axis=0), equal.sum(axis=0)
    known = np.isfinite(curve.mean)
    ends = np.append(curve.at[1:], max(last, curve.at[-1]))
    changes = np.flatnonzero(
        (np.diff(ranks) != 0) | (np.diff(counts) != 0) | (np.diff(known.astype(int)) != 0)
    )
    for begin, end in pairwise([0, *(changes + 1), len(curve.at)]):
        if not known[begin]:
            continue
        x = np.column_stack([curve.at[begin:end], ends[begin:end]]).ravel()
        y = np.repeat(curve.mean[begin:end], 2)
        if begin and known[begin - 1]:  # from where the piece before ended
            x, y = np.append(x[0], x), np.append(curve.mean[begin - 1], y)
        yield x, y, int(ranks[begin]), int(counts[begin])


def _values_at(curve: Curve, at: FloatArray) -> FloatArray:
    """Return a curve's values at places (n,); NaN before its first."""
    places = np.searchsorted(curve.at, at, side="right") - 1
    return np.where(places < 0, np.nan, curve.mean[places])


def _draw_markers(axes: Any, curve: Curve, number: int, count: int, last: float) -> None:
    """Draw a few markers along a curve, each method's elsewhere, so that none lies on another's."""
    first, begin = curve.at[np.isfinite(curve.mean)][0], axes.get_xlim()[0]
    shares = (np.arange(_MARKS) + (number + 0.5) / count) / _MARKS
    if axes.get_xscale() == "log":
        x = begin * (last / begin) ** shares
    else:
        x = np.unique(np.round(begin + shares * (last - begin)))  # counts
    x = x[x >= first]
    axes.plot(x, _values_at(curve, x), **_marker(curve.name), linestyle="", clip_on=False, zorder=4)


def _marker(name: str) -> dict[str, Any]:
    one = style(name)
    edge = {} if one.marker in "|x" else {"markeredgecolor": "white", "markeredgewidth": 0.5}
    return {"marker": one.marker, "markersize": 5.5, "color": one.color} | edge


def _name_curves(axes: Any, curves: Sequence[Curve], ceiling: float, gap: float, size: float) -> None:
    """Write each method's name next to the end of its curve, without overlaps."""
    width = axes.get_window_extent().width / axes.figure.dpi  # inches
    begin, bend, mark, text = (1 + inches / width for inches in (0.03, 0.09, 0.23, 0.31))
    ends = [min(float(root(curve.mean[-1] / ceiling)), 1.0) for curve in curves]
    for curve, end, place in zip(curves, ends, spread(ends, gap), strict=True):
        line = {"color": style(curve.name).color, "linewidth": 1.0, "transform": axes.transAxes}
        axes.plot([begin, bend, mark], [end, end, place], clip_on=False, **line)
        axes.plot([mark], [place], clip_on=False, transform=axes.transAxes, **_marker(curve.name))
        words: dict[str, Any] = {"color": INK, "fontsize": size, "va": "center", "parse_math": False}
        axes.text(text, place, curve.name, transform=axes.transAxes, **words)


def shade(curves: int) -> float:
    """Return the opacity of a band: many on each other must let the curves be seen."""
    return min(0.16, 0.7 / curves)


def root(values: Any) -> Any:
    """Return the positions of regrets on the axis, before scaling."""
    return np.sqrt(np.maximum(values, 0))


def ticks_to(ceiling: float) -> list[float]:
    """Return the labels of the square-root axis: 0, and round numbers that do not overlap."""
    found = [0.0]
    for tick in _TICKS:
        if tick <= ceiling and root(tick / ceiling) - root(found[-1] / ceiling) > 0.055:
            found.append(tick)
    return found


def spread(places: Sequence[float], gap: float) -> list[float]:
    """Return places for labels near `places`, shares of the axis: in the same order, `gap` apart, none below 0.

    Those that fit are not above 1 either.
    """
    order = sorted(range(len(places)), key=lambda i: places[i])
    found = [max(0.0, place) for place in places]
    for below, above in pairwise(order):
        found[above] = max(found[above], found[below] + gap)
    highest = max(1.0, gap * (len(places) - 1))
    for i in reversed(order):
        found[i] = min(found[i], highest)
        highest = found[i] - gap
    return found
