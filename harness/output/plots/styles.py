"""Looks of search methods: color, dash and marker of each, the same in every figure and on every page.

Colors are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which color-blind readers tell apart. No two methods
differ by color alone, so that a figure can be read in gray.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from search.methods.registry import FORMER_NAMES

INK, FAINT, GRID, GRAY = "#222222", "#555555", "#dddddd", "#777777"
ORANGE, SKY, GREEN, BLUE, RED, PINK = "#e69f00", "#56b4e9", "#009e73", "#0072b2", "#d55e00", "#cc79a7"
BLACK, BROWN = "#000000", "#8c6d46"


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """Looks of a method: `dash` holds lengths of line and gap in widths of the line, none is a solid line.

    `marker` is one of matplotlib's, `family` the panel in which figures of many methods show it.
    """

    color: str
    marker: str
    dash: tuple[float, ...] = ()
    family: str = "searches by accuracy alone"


_PROXY = "proxies and supernets"
_SUMS = "sums over distilled blocks"
_FITS = "fits to distilled blocks"
STYLES = {
    "random": Style(color=GRAY, marker="o"),
    "evolution": Style(color=ORANGE, marker="s"),
    "linear": Style(color=BLUE, marker="^"),
    "ilp": Style(color=GREEN, marker="D"),
    "gcn": Style(color=RED, marker="v"),
    "gcn-binary": Style(color=PINK, marker="P"),
    "exhaustive": Style(color=BLACK, marker="*"),
    "supernet": Style(color=BLUE, marker="p", dash=(6, 1.5), family=_PROXY),
    "dna-published": Style(color=GREEN, marker="8", dash=(2, 1), family=_PROXY),
    "lana": Style(color=BROWN, marker="<", dash=(4, 1.5), family=_SUMS),
    "lana-rescored": Style(color=ORANGE, marker=">", dash=(2, 1), family=_SUMS),
    "iteration": Style(color=SKY, marker="h", dash=(6, 1.5, 1, 1.5), family=_SUMS),
    "lana-published": Style(color=GREEN, marker="D", dash=(8, 2), family=_SUMS),
    "donna": Style(color=GREEN, marker="d", dash=(4, 1.5), family=_FITS),
    "donna-linear": Style(color=BLUE, marker="H", dash=(2, 1), family=_FITS),
    "donna-tuned": Style(color=PINK, marker="8", dash=(6, 1.5, 1, 1.5), family=_FITS),
    "donna-published": Style(color=ORANGE, marker="s", dash=(8, 2), family=_FITS),
    "blockwise-gcn": Style(color=RED, marker="v", dash=(1, 1), family=_FITS),
}
OTHER = Style(color=BROWN, marker="x", family="other methods")  # of a method that has none yet
# The order of a zero-cost proxy alone; a method that begins with what a proxy prefers takes the proxy's dash.
PROXY_STYLES = {
    "grad_norm": Style(color=PINK, marker="*", dash=(6, 2), family=_PROXY),
    "snip": Style(color=RED, marker=">", dash=(3, 2), family=_PROXY),
    "grasp": Style(color=GREEN, marker="<", dash=(1, 1.5), family=_PROXY),
    "fisher": Style(color=ORANGE, marker="d", dash=(6, 2, 1, 2), family=_PROXY),
    "jacob_cov": Style(color=BROWN, marker="h", dash=(3, 1.5, 1, 1.5), family=_PROXY),
    "synflow": Style(color=SKY, marker="X", dash=(8, 2, 3, 2), family=_PROXY),
}


def style(method: str) -> Style:
    """Return the looks of a method of `harness search compare` or of the study."""
    if method in PROXY_STYLES:
        return PROXY_STYLES[method]
    name, _, proxy = method.partition("+")
    name = FORMER_NAMES.get(name, name)
    found = STYLES.get(name, OTHER)
    return replace(found, dash=PROXY_STYLES[proxy].dash) if proxy in PROXY_STYLES else found
