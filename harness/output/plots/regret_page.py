"""Regret of search methods as an interactive page: the figure of `harness.output.plots.regret`."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from harness.output.plots.curves import root, shade, ticks_to
from harness.output.plots.pictures import check_libraries
from harness.output.plots.regret import axis_title, ceiling_of, marks, subtitle, title
from harness.output.plots.styles import FAINT, GRID, INK, style
from search.methods.regret import steps

if TYPE_CHECKING:
    from search.methods.comparison import MethodComparison
    from search.methods.regret import MethodRegret

# None that sends the data elsewhere, as one of plotly's own set does.
BUTTONS = [["toImage"], ["zoom2d", "pan2d", "zoomIn2d", "zoomOut2d", "resetScale2d"]]
STYLE = (
    f"body {{ margin: 1.5rem; font-family: system-ui, sans-serif; background: white; color: {INK} }} "
    f"h1 {{ font-size: 1.25rem; margin: 0; overflow-wrap: anywhere }} p {{ margin: 0.3rem 0 0; color: {FAINT} }}"
)
POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"


def regret_html(comparison: MethodComparison) -> str:
    """Return the figure as a self-contained page.

    Raises: ConfigError when plotly is missing.
    """
    check_libraries()
    import plotly.graph_objects as go

    # The evaluations after which any curve changes, and the last one.
    changes = {count for one in comparison.methods for count, _ in steps(one.mean, one.low, one.high)}
    rows = sorted(changes | {len(comparison.methods[0].mean)})
    bands = [
        band
        for one in comparison.methods
        if len(one.runs) > 1
        for band in _bands(one, rows, shade(len(comparison.methods)))
    ]
    curves = [_curve(one, rows, comparison.label) for one in comparison.methods]  # above all bands
    ceiling = ceiling_of(comparison)
    ticks = ticks_to(ceiling)
    figure = go.Figure([*bands, *curves])
    axis = {"color": INK, "showline": True, "linecolor": INK, "ticks": "outside", "zeroline": False}
    figure.update_layout(
        template="none",
        xaxis=axis
        | {
            "title": {"text": "accuracy evaluations"},
            "unifiedhovertitle": {"text": "after %{x} evaluations"},
            "range": [1, max(comparison.budget, 2)],
            "tickvals": marks(comparison.budget),
            "showgrid": False,
        },
        yaxis=axis
        | {
            "title": {"text": html.escape(axis_title(comparison))},
            "range": [0, float(root(ceiling))],
            "tickvals": [float(root(tick)) for tick in ticks],
            "ticktext": [f"{tick:g}" for tick in ticks],
            "gridcolor": GRID,
        },
        hovermode="x unified",
        legend={"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "itemwidth": 45},
        font={"family": "system-ui, sans-serif", "size": 14},
        margin={"l": 75, "r": 20, "t": 60, "b": 60},
    )
    body = figure.to_html(
        full_html=False,
        include_plotlyjs=True,
        default_height="80vh",
        config={"displaylogo": False, "responsive": True, "modeBarButtons": BUTTONS},
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{html.escape(title(comparison))}</title>\n<style>{STYLE}</style></head>\n"
        f"<body>\n<h1>{html.escape(title(comparison))}</h1>\n<p>{html.escape(subtitle(comparison))}</p>\n{body}\n"
        "</body></html>\n"
    )


def _bands(one: MethodRegret, rows: Sequence[int], alpha: float) -> list[dict[str, Any]]:
    """Return the two edges of a method's interval, the area between them filled."""
    color = style(one.method).color
    edge = {
        "type": "scatter",
        "mode": "lines",
        "x": list(rows),
        "legendgroup": one.method,
        "showlegend": False,
        "hoverinfo": "skip",
        "line": {"width": 0, "shape": "hv", "color": color},
    }
    red, green, blue = (int(color[k : k + 2], 16) for k in (1, 3, 5))
    fill = {"fill": "tonexty", "fillcolor": f"rgba({red},{green},{blue},{alpha:.3g})"}
    return [edge | {"y": _at(one.low, rows)}, edge | {"y": _at(one.high, rows)} | fill]


def _curve(one: MethodRegret, rows: Sequence[int], label: str) -> dict[str, Any]:
    looks = style(one.method)
    texts = []
    for k in rows:
        low, high = one.low[k - 1], one.high[k - 1]
        texts.append(f"{one.mean[k - 1]:.3f}" + (f" ({low:.3f} .. {high:.3f})" if low == low else ""))
    return {
        "type": "scatter",
        "mode": "lines",
        "name": one.method,
        "legendgroup": one.method,
        "x": list(rows),
        "y": _at(one.mean, rows),
        "text": texts,
        "hovertemplate": f"%{{text}} points of {html.escape(label)}<extra>{html.escape(one.method)}</extra>",
        "line": {
            "color": looks.color,
            "width": 2.5,
            "shape": "hv",
            "dash": ",".join(f"{2.5 * length:g}px" for length in looks.dash) or "solid",
        },
    }


def _at(values: Any, rows: Sequence[int]) -> list[float]:
    return [float(root(values[k - 1])) for k in rows]
