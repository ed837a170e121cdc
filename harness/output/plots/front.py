"""Accuracy against a cost of every network for print: those within the limits, their Pareto front, and the answer."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from harness.output.plots.pictures import LINE, WIDTH, Picture, add_axes, style_axes, write_title
from harness.output.plots.styles import BLUE, INK, ORANGE, RED
from harness.query.rows import network_columns, network_row
from search.table.answers import answer
from search.table.constraints import Constraint
from search.table.pareto import pareto_front
from space.errors import ConfigError
from space.indexing import BoolArray, IndexArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from search.table import Cost, NetworkTable
    from space.accuracies import Accuracies

_OUTSIDE = "#c3cad4"
_MILLIONS = 1e5  # counts from here on are read in millions


def front_picture(
    table: NetworkTable, limits: Mapping[str, float], *, confident: bool, title: str
) -> Picture:
    """Return the figure of a table's first cost, and a row of all that is known of each network of the front.

    `limits`, upper ones by a cost's name in its unit; `confident`: the upper ends of intervals must meet them.
    Raises: ConfigError for a table without costs.
    """
    if not table.costs:
        raise ConfigError("--figure: there is no cost to draw accuracies against; name one: --show params")
    cost = next(iter(table.costs.values()))
    constraints = [
        Constraint(subject=name, relation="<=", limit=limit, unit=table.costs[name].unit)
        for name, limit in limits.items()
    ]
    ranked = answer(table, constraints, confident=confident).ranked
    within = np.zeros(len(table.config), dtype=np.bool_)
    within[ranked] = True
    front = pareto_front(table, [cost.name], within).indices
    rows = [network_row(table, index) for index in front.tolist()]
    limited = f" within {' and '.join(map(str, constraints))}" if constraints else ""
    return Picture(
        draw=lambda: front_figure(
            table, cost, within, front, ranked[:1], limits.get(cost.name), title=f"{title}{limited}"
        ),
        title=title,
        columns=network_columns(table),
        rows=[["" if cell is None else cell for cell in row.values()] for row in rows],
    )


def front_figure(
    table: NetworkTable,
    cost: Cost,
    within: BoolArray,
    front: IndexArray,
    best: IndexArray,
    limit: float | None,
    *,
    title: str,
) -> Figure:
    """Return the figure for matplotlib; `within` the limits are some networks, `front` their Pareto front, `best` the answer."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    bold = textwrap.wrap(title, 76)
    height = 4.6 + LINE * len(bold)
    figure = Figure(figsize=(WIDTH, height))
    write_title(figure, bold, [])
    top = height - 0.45 - LINE * len(bold)
    axes = add_axes(figure, 0.65, 0.5, WIDTH - 0.8, top - 0.5)
    _draw_networks(axes, table, cost, within)
    x, y = cost.values / scale_of(cost)[0], table.accuracy.values
    if limit is not None:
        axes.axvline(limit / scale_of(cost)[0], color=INK, linewidth=0.9, dashes=(5, 3), zorder=2)
    axes.step(x[front], y[front], where="post", color=INK, linewidth=1.4, zorder=4, label="Pareto front")
    axes.plot(x[front], y[front], ".", color=INK, markersize=5, zorder=4)
    star: dict[str, Any] = {
        "marker": "*",
        "markersize": 15,
        "color": ORANGE,
        "markeredgecolor": INK,
        "markeredgewidth": 0.8,
    }
    axes.plot(x[best], y[best], linestyle="", zorder=5, label="answer", **star)
    style_axes(axes)
    text: dict[str, Any] = {"fontsize": 10, "color": INK, "parse_math": False}
    axes.set_xlabel(cost_axis(cost), **text)
    axes.set_ylabel(accuracy_axis(table.accuracy), **text)
    place: dict[str, Any] = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0.2}
    legend = axes.legend(ncols=5, frameon=False, fontsize=8.5, handletextpad=0.3, columnspacing=1.2, **place)
    for handle in legend.legend_handles:
        if isinstance(handle, Line2D) and handle.get_marker() == ".":
            handle.set_markersize(9)  # dots of a cloud are too small to be told apart here
    return figure


def _draw_networks(axes: Any, table: NetworkTable, cost: Cost, within: BoolArray) -> None:
    """Draw every network, as pixels within a file of lines: there may be 100,000."""
    known = ~np.isnan(cost.values) & ~np.isnan(table.accuracy.values)
    measured = np.zeros_like(known) if cost.measured is None else cost.measured
    cloud: dict[str, Any] = {"linestyle": "", "markeredgewidth": 0, "rasterized": True}
    diamonds = cloud | {"marker": "D", "markersize": 4.5, "zorder": 3}
    looks = (
        (
            ~within & ~measured,
            cloud | {"marker": ".", "markersize": 2, "color": _OUTSIDE},
            # Networks unlike any measured one are left out, too, whatever is predicted of them.
            "outside the limits" if (table.supported | ~known).all() else "left out",
        ),
        (~within & measured, diamonds | {"color": _OUTSIDE}, ""),
        (within & ~measured, cloud | {"marker": ".", "markersize": 2.5, "color": BLUE}, "predicted"),
        (within & measured, diamonds | {"color": RED}, "measured"),
    )
    for chosen, look, label in looks:
        if cost.measured is None and label == "predicted":
            label = "within the limits"
        (networks,) = np.nonzero(known & chosen)
        if len(networks):
            x, y = cost.values[networks] / scale_of(cost)[0], table.accuracy.values[networks]
            axes.plot(x, y, label=label or "_", **look)


def scale_of(cost: Cost) -> tuple[float, str]:
    """Return the divisor that makes a cost's numbers readable, and the unit in words."""
    if cost.unit == "bytes":
        return 1e6, "MB"
    if not cost.unit and np.nanmin(cost.values, initial=np.inf) >= _MILLIONS:
        return 1e6, "millions"
    return 1.0, cost.unit


def cost_axis(cost: Cost) -> str:
    """Return the label of a cost's axis, in words with the unit, and with the word synthetic where it applies."""
    word = "synthetic " if cost.synthetic and "synthetic" not in cost.title else ""
    unit = scale_of(cost)[1]
    return f"{word}{cost.title}, {unit}" if unit else f"{word}{cost.title}"


def accuracy_axis(accuracy: Accuracies) -> str:
    """Return the label of the axis of accuracies."""
    return f"accuracy ({accuracy.label}), %"
