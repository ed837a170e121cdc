"""Regret of search methods as a figure for print, with the parts shared by the page of `harness.output.plots.regret_page`.

Regrets fall from some points to 0. On a linear axis their end is flat, and on a logarithmic one 0 has no place: the axis is that
of square roots. A curve is drawn in steps, for a regret holds until the next evaluation.
"""

from __future__ import annotations

import importlib.util
import io
import textwrap
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.output.plots.neutral import neutral_style
from space.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.methods.comparison import MethodComparison
    from search.methods.regret import MethodRegret

LIBRARIES = ("matplotlib", "plotly")
# One color a method in every figure, of Okabe & Ito's eight that color-blind readers tell apart. A proxy is a dash.
COLORS = {
    "random": "#777777",
    "evolution": "#e69f00",
    "linear": "#0072b2",
    "ilp": "#009e73",
    "gcn": "#d55e00",
    "gcn-binary": "#cc79a7",
    "ranked": "#56b4e9",
    "exhaustive": "#000000",
}
OTHER_COLOR = "#8c6d46"  # of a method that has none yet
DASHES = {  # lengths of line and gap, in widths of the line
    "": (),
    "grad_norm": (6, 2),
    "snip": (3, 2),
    "grasp": (1, 1.5),
    "fisher": (6, 2, 1, 2),
    "jacob_cov": (3, 1.5, 1, 1.5),
    "synflow": (8, 2, 3, 2),
}
_TICKS = (0.001, 0.01, 0.05, 0.1, 0.2, 0.5, 1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)  # points
WIDTH, LINE = 7.6, 0.19  # of the figure, and from line to line of its title, in inches
INK, FAINT, GRID = "#222222", "#555555", "#dddddd"


def check_libraries() -> None:
    """Raise ConfigError when a library of the extra `report` is missing."""
    for name in LIBRARIES:
        if importlib.util.find_spec(name) is None:
            raise ConfigError(f"figures need {name}; install it: pip install 'harness[report]'")


def regret_png(comparison: MethodComparison) -> bytes:
    """Return the figure as a PNG file.

    Raises: ConfigError when matplotlib is missing.
    """
    check_libraries()
    data = io.BytesIO()
    with neutral_style():
        regret_figure(comparison).savefig(
            data, format="png", dpi=180, metadata={"Title": title(comparison), "Software": None}
        )
    return data.getvalue()


def regret_figure(comparison: MethodComparison) -> Figure:
    """Return the figure for matplotlib: a curve a method, its interval shaded, its name at its end.

    Raises: ConfigError when matplotlib is missing.
    """
    check_libraries()
    from matplotlib.figure import Figure

    bold, plain = textwrap.wrap(title(comparison), 76), textwrap.wrap(subtitle(comparison), 104)
    lines = len(bold) + len(plain)
    height = 4.3 + LINE * lines
    figure = Figure(figsize=(WIDTH, height))
    longest = max(len(one.method) for one in comparison.methods)
    left, right, bottom, top = (
        0.65,
        WIDTH - 0.48 - 0.076 * longest,
        0.5,
        height - 0.2 - LINE * lines,
    )  # inches
    axes = figure.add_axes((left / WIDTH, bottom / height, (right - left) / WIDTH, (top - bottom) / height))
    _draw_axes(axes, comparison)
    for number, one in enumerate(comparison.methods):
        _draw_curve(axes, one, comparison.methods[number + 1 :], shade(len(comparison.methods)))
    _name_curves(axes, comparison)
    text: dict[str, Any] = {"va": "top", "parse_math": False}  # a device's name may hold a $
    for number, line in enumerate(bold):
        place = 1 - (0.1 + LINE * number) / height
        figure.text(0.012, place, line, fontsize=11.5, fontweight="bold", color=INK, **text)
    for number, line in enumerate(plain, len(bold)):
        figure.text(0.012, 1 - (0.1 + LINE * number) / height, line, fontsize=9, color=FAINT, **text)
    return figure


def _draw_axes(axes: Any, comparison: MethodComparison) -> None:
    ceiling = ceiling_of(comparison)
    axes.set_yscale("function", functions=(root, np.square))
    axes.set_ylim(0, ceiling)
    axes.set_yticks(ticks_to(ceiling), [f"{tick:g}" for tick in ticks_to(ceiling)])
    axes.set_xlim(1, max(comparison.budget, 2))
    axes.set_xticks(marks(comparison.budget))
    axes.minorticks_off()
    axes.grid(axis="y", color=GRID, linewidth=0.6, zorder=0)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(colors=INK, labelsize=9)
    axes.set_xlabel("accuracy evaluations", fontsize=10, color=INK)
    axes.set_ylabel(axis_title(comparison), fontsize=10, color=INK, parse_math=False)


def _draw_curve(axes: Any, one: MethodRegret, later: Sequence[MethodRegret], alpha: float) -> None:
    counts = np.arange(1, len(one.mean) + 1)
    color, dash = style(one.method)
    line = {"dashes": dash} if dash else {}
    if len(one.runs) > 1:
        axes.fill_between(
            counts, one.low, one.high, step="post", color=color, alpha=alpha, linewidth=0, zorder=2
        )
    # A curve at 0 lies on the axis, and is not cut off there.
    step: dict[str, Any] = {"where": "post", "color": color, "clip_on": False}
    axes.step(counts, one.mean, linewidth=1.8, zorder=3, label=one.method, **step, **line)
    covers = sum(
        (other.mean == one.mean).astype(int) for other in later
    )  # how many curves will lie on it, (budget,)
    for number in range(
        1, int(np.max(covers)) + 1
    ):  # it shows on both sides of them: methods may begin alike
        axes.step(
            counts,
            np.where(covers >= number, one.mean, np.nan),
            linewidth=1.8 + 2.4 * number,
            zorder=2.9 - number / 100,
            **step,
        )


def _name_curves(axes: Any, comparison: MethodComparison) -> None:
    """Write each method's name next to the end of its curve, without overlaps."""
    ends = [float(root(one.mean[-1] / ceiling_of(comparison))) for one in comparison.methods]
    for one, end, place in zip(comparison.methods, ends, spread(ends, 0.052), strict=True):
        axes.plot(
            [1.004, 1.014, 1.036],
            [end, end, place],
            color=style(one.method)[0],
            linewidth=1.1,
            transform=axes.transAxes,
            clip_on=False,
        )
        axes.text(
            1.044,
            place,
            one.method,
            color=INK,
            fontsize=9.5,
            va="center",
            transform=axes.transAxes,
            parse_math=False,
        )


def style(method: str) -> tuple[str, tuple[float, ...]]:
    """Return a method's color and dash, equal in all figures; no dash is a solid line."""
    from search.methods.registry import parse_method

    name, proxy = parse_method(method)
    return COLORS.get(name, OTHER_COLOR), DASHES[proxy]


def shade(methods: int) -> float:
    """Return the opacity of an interval's shade: many on each other must let the curves be seen."""
    return min(0.16, 0.7 / methods)


def root(values: Any) -> Any:
    """Return the positions of regrets on the axis, before scaling."""
    return np.sqrt(np.maximum(values, 0))


def ceiling_of(comparison: MethodComparison) -> float:
    """Return the axis' end, above the highest curve and its interval, in points."""
    highest = max(float(np.nanmax([one.mean, one.high])) for one in comparison.methods)
    return 1.03 * highest if highest > 0 else 1.0


def ticks_to(ceiling: float) -> list[float]:
    """Return the labels of the square-root axis: 0, and round numbers that do not overlap."""
    found = [0.0]
    for tick in _TICKS:
        if tick <= ceiling and root(tick / ceiling) - root(found[-1] / ceiling) > 0.055:
            found.append(tick)
    return found


def marks(budget: int) -> list[int]:
    """Return where the axis of evaluations is labeled: the first, and round numbers up to the last."""
    step = next((s * 10**p for p in range(7) for s in (1, 2, 5) if budget <= 6 * s * 10**p), budget)
    return sorted({1, *range(step, budget + 1, step)} if step > 1 else range(1, budget + 1))


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
