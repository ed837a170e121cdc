"""Figures of compared search methods: what they show is what was found, labeled, and nothing is cut off."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.output.plots.curves import spread, ticks_to
from harness.output.plots.pictures import check_libraries, picture_bytes, picture_data
from harness.output.plots.regret import ceiling_of, marks, regret_figure, regret_picture
from harness.output.plots.regret_page import regret_html
from search.methods.comparison import MethodComparison, run_comparison
from search.methods.registry import PROXIES
from search.table import Cost, NetworkTable
from search.table.constraints import parse_constraint
from search.table.synthetic import synthetic_accuracies
from space import MINI
from space.costs import all_params
from space.errors import ConfigError

HOSTILE = '</script><b>$x^2$ & "it\'s"<9ms'


@cache
def found(seeds: int = 3, budget: int = 40) -> MethodComparison:
    params = Cost(name="params", unit="", title="parameters", values=all_params(MINI).astype(float))
    table = NetworkTable(config=MINI, accuracy=synthetic_accuracies(MINI), costs={"params": params})
    return run_comparison(
        table, [parse_constraint("params<45k")], ["random", "evolution"], range(seeds), budget
    )


def regret_png(comparison: MethodComparison) -> bytes:
    return picture_bytes(regret_picture(comparison))


def drawn(axes: Any, method: str) -> list[tuple[float, float]]:
    """Return the corners of all lines that are drawn for a method, in their order."""
    lines = [line for line in axes.get_lines() if line.get_label() == method]
    return [corner for line in lines for corner in zip(*line.get_data(), strict=True)]


def renamed(comparison: MethodComparison, *names: str) -> MethodComparison:
    """Return a comparison of as many methods as there are names, their curves being the first's over and over."""
    methods = [
        replace(comparison.methods[number % len(comparison.methods)], method=name)
        for number, name in enumerate(names)
    ]
    return replace(comparison, methods=tuple(methods))


def curves(page: str) -> list[dict[str, Any]]:
    """Return the traces that a page plots."""
    start = page.index("[", page.rindex("Plotly.newPlot("))
    data, _ = json.JSONDecoder().raw_decode(page[start:])
    assert isinstance(data, list)
    return data


class Tags(HTMLParser):
    """Collect what a page would load, its policy and its text outside of scripts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.policy = ""
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.tags.append(tag)
        self.loaded += [value for key, value in attrs if key in ("src", "href") and value]
        if named.get("http-equiv") == "Content-Security-Policy":
            self.policy = named.get("content") or ""

    def handle_data(self, data: str) -> None:
        if not self.tags or self.tags[-1] not in ("script", "style"):
            self.text += data


def test_the_figure_says_what_was_searched_and_that_it_is_synthetic() -> None:
    figure = regret_figure(found())
    (axes,) = figure.axes
    heading = " ".join(text.get_text() for text in figure.texts)
    assert heading.startswith("Search by synthetic_top1 within params<45k")
    assert f"{found().allowed:,} of 2,025 networks" in heading
    assert "mean of 3 searches a method, shaded: its 95 % interval over seeds" in heading
    assert axes.get_ylabel() == "regret, points of synthetic_top1 (square-root scale)"
    assert axes.get_xlabel() == "accuracy evaluations"
    assert b"synthetic_top1" in regret_png(found()), "the file says so, too"


def test_the_figure_s_curves_and_shades_are_the_comparison_s() -> None:
    (axes,) = regret_figure(found()).axes
    for one, shade in zip(found().methods, axes.collections, strict=True):
        corners = drawn(axes, one.method)
        for count, mean in enumerate(one.mean, 1):
            assert {(count, mean), (min(count + 1, 40), mean)} <= set(corners), "level until the next look-up"
        assert {y for _, y in corners} == set(one.mean)
        corners = shade.get_paths()[0].vertices
        assert {round(y, 9) for y in corners[:, 1]} == {round(y, 9) for y in [*one.low, *one.high]}
        held = {(round(x, 9), round(y, 9)) for x, y in corners}
        assert {(k + 2, round(low, 9)) for k, low in enumerate(one.low[:-1])} <= held, (
            "until the next look-up"
        )
    assert axes.get_ylim()[0] == 0
    assert axes.get_ylim()[1] > max(one.high.max() for one in found().methods)


def test_curves_that_are_equal_take_turns_along_the_line() -> None:
    """None lies under another: each has its own dashes of the line that they share, and all of it where it is alone."""
    alike = renamed(found(), "evolution", "linear", "ilp")
    alike = replace(alike, methods=(*alike.methods[::2], replace(found().methods[1], method="random")))
    assert (alike.methods[0].mean == alike.methods[1].mean).all()
    (axes,) = regret_figure(alike).axes
    shares = []
    for line in axes.get_lines():
        if line.get_label() == "random":
            own = line
        elif line.get_label() in ("evolution", "ilp") and not line.get_marker().strip("None"):
            shares.append((line.get_label(), line._unscaled_dash_pattern))
    for name, (offset, (on, off)) in shares:
        count = round((on + off) / on)
        assert count in (2, 3)
        ranks = {offset / on for other, (offset, dashes) in shares if other == name}
        assert ranks == {0.0 if name == "evolution" else 1.0}
    assert {name for name, _ in shares} == {"evolution", "ilp"}
    assert own.is_dashed() is False, "alone in the end"


def test_the_numbers_beside_the_figure_are_its_curves() -> None:
    rows = list(csv.DictReader(io.StringIO(picture_data(regret_picture(found())).decode(), newline="")))
    assert len(rows) == 2 * 40
    evolution = [row for row in rows if row["method"] == "evolution"]
    assert [int(row["evaluations"]) for row in evolution] == list(range(1, 41))
    for column, values in (("", "mean"), ("_low", "low"), ("_high", "high")):
        told = [float(row[f"synthetic_regret_points{column}"]) for row in evolution]
        assert told == getattr(found().methods[1], values).tolist()
    (row, *_) = csv.DictReader(io.StringIO(picture_data(regret_picture(found(1))).decode()))
    assert row["synthetic_regret_points_low"] == "", "one search has no interval"


@pytest.mark.parametrize(
    "names",
    [
        ["random"],
        ["random", "evolution", "linear", "ilp", "exhaustive"],
        [f"{name}+jacob_cov" for name in ("evolution", "linear")] + list(PROXIES) + ["linear", "random"],
    ],
)
@pytest.mark.parametrize(
    "limits", [(), ("params<45k",), tuple(f"device-{n}:onnxruntime<4.5ms" for n in range(6))]
)
def test_nothing_is_cut_off_and_no_name_lies_on_another(names: list[str], limits: tuple[str, ...]) -> None:
    figure = regret_figure(replace(renamed(found(), *names), limits=limits))
    (axes,) = figure.axes
    figure.draw_without_rendering()
    page = figure.bbox
    texts = [
        *figure.texts,
        *axes.texts,
        axes.xaxis.label,
        axes.yaxis.label,
        *axes.get_xticklabels(),
        *axes.get_yticklabels(),
    ]
    boxes = [text.get_window_extent() for text in texts if text.get_text()]
    for box in boxes:
        assert page.x0 <= box.x0 and box.x1 <= page.x1, "wide enough"
        assert page.y0 <= box.y0 and box.y1 <= page.y1, "high enough"
    labels = sorted((text.get_window_extent() for text in axes.texts), key=lambda box: box.y0)
    assert len(labels) == len(names)
    assert all(below.y1 <= above.y0 + 1 for below, above in itertools.pairwise(labels))
    above_axes = [text.get_window_extent().y0 for text in figure.texts]
    assert min(above_axes) >= axes.get_window_extent().y1


def test_one_seed_has_no_shade_and_the_figure_says_why() -> None:
    single = found(1)
    (axes,) = regret_figure(single).axes
    assert len(axes.collections) == 0
    assert len(curves(regret_html(single))) == 2
    assert "how much another would differ is not known" in Tags(regret_html(single)).text


def test_searches_without_any_regret_can_be_drawn() -> None:
    flat = replace(
        found(),
        methods=tuple(
            replace(one, mean=one.mean * 0, low=one.low * 0, high=one.high * 0) for one in found().methods
        ),
    )
    (axes,) = regret_figure(flat).axes
    assert axes.get_ylim() == (0, 1)
    curves = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    assert curves and all(not line.get_clip_on() for line in curves), "they lie on the axis"
    assert regret_html(flat)
    assert regret_html(found(2, 1)) and regret_png(found(2, 1)), "one look-up is a curve, too"


def test_figures_leave_the_settings_of_matplotlib_alone_and_open_no_window() -> None:
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        before = dict(matplotlib.rcParams)
        regret_png(found())
        assert dict(matplotlib.rcParams) == before
    pyplot = sys.modules.get("matplotlib.pyplot")
    assert pyplot is None or not pyplot.get_fignums()


def test_equal_comparisons_give_equal_files() -> None:
    assert regret_png(found()) == regret_png(found())


def test_the_page_loads_nothing_and_sends_nothing() -> None:
    tags = Tags(regret_html(found()))
    assert tags.loaded == []
    assert tags.policy.startswith("default-src 'none'")
    assert "form-action 'none'" in tags.policy
    page = regret_html(found())
    buttons = json.loads(re.findall(r'"modeBarButtons": ?(\[\[.*?\]\])', page)[-1])
    assert [name for group in buttons for name in group] == [
        "toImage",
        "zoom2d",
        "pan2d",
        "zoomIn2d",
        "zoomOut2d",
        "resetScale2d",
    ]


def test_the_page_s_curves_are_the_comparison_s_and_carry_the_word() -> None:
    page = regret_html(found())
    assert "Search by synthetic_top1 within params<45k" in Tags(page).text
    assert "regret, points of synthetic_top1 (square-root scale)" in page[page.rindex("Plotly.newPlot(") :]
    traces = {trace["name"]: trace for trace in curves(page) if "name" in trace}
    assert list(traces) == ["random", "evolution"]
    for one in found().methods:
        trace = traces[one.method]
        values = np.full(40, np.nan)
        values[np.array(trace["x"]) - 1] = np.square(trace["y"])
        held = np.maximum.accumulate(np.where(np.isnan(values), 0, np.arange(40)))
        assert values[held] == pytest.approx(one.mean), "between two points the curve is level"
        assert trace["line"]["shape"] == "hv"
        assert "synthetic_top1" in trace["hovertemplate"]
        assert trace["text"][-1] == f"{one.mean[-1]:.3f} ({one.low[-1]:.3f} .. {one.high[-1]:.3f})"


def test_hostile_names_do_no_harm() -> None:
    hostile = replace(found(), label=f"synthetic {HOSTILE}", limits=(HOSTILE,))
    plain, tags = Tags(regret_html(found())), Tags(regret_html(hostile))
    assert tags.tags == plain.tags, "no tag comes from a name"
    assert HOSTILE in tags.text
    figure = regret_figure(hostile)
    assert HOSTILE in " ".join(text.get_text() for text in figure.texts)
    shown = [*figure.texts, *figure.axes[0].texts, figure.axes[0].yaxis.label]
    assert not any(text.get_parse_math() for text in shown), "a $ is no formula"
    assert regret_png(hostile).startswith(b"\x89PNG")


@pytest.mark.parametrize("name", ["matplotlib", "plotly"])
def test_a_missing_library_is_named_with_the_line_that_installs_it(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(
        ConfigError, match=rf"figures need {name}; install it: pip install 'harness\[report\]'"
    ):
        check_libraries()
    with pytest.raises(ConfigError, match=name):
        regret_png(found())
    with pytest.raises(ConfigError, match=name):
        regret_html(found())


@given(st.lists(st.floats(-0.2, 1), min_size=1, max_size=18))
def test_labels_keep_their_order_and_their_distance(places: list[float]) -> None:
    gap = 0.052
    spaced = spread(places, gap)
    order = sorted(range(len(places)), key=lambda i: places[i])
    assert all(spaced[b] - spaced[a] >= gap - 1e-9 for a, b in itertools.pairwise(order))
    assert min(spaced) >= -1e-9 and max(spaced) <= 1 + 1e-9
    if len(places) == 1:
        assert spaced == [max(0.0, places[0])]


@given(st.floats(0.0005, 120))
def test_the_axis_of_regrets_is_labeled_from_0_with_room_between(ceiling: float) -> None:
    ticks = ticks_to(ceiling)
    assert ticks[0] == 0
    assert max(ticks) <= ceiling
    assert all(np.sqrt(b / ceiling) - np.sqrt(a / ceiling) > 0.05 for a, b in itertools.pairwise(ticks))
    if ceiling > 0.002:
        assert len(ticks) >= 2


@given(st.integers(1, 91_125))
def test_the_axis_of_look_ups_is_labeled_from_the_first_within_the_budget(budget: int) -> None:
    found = marks(budget)
    assert found[0] == 1
    assert found[-1] <= budget
    assert found == sorted(set(found))
    assert len(found) <= 8
    assert found[-1] > budget / 2


def test_the_axis_ends_above_the_highest_interval() -> None:
    assert ceiling_of(found()) > max(one.high.max() for one in found().methods)
    assert ceiling_of(found(1)) > max(one.mean.max() for one in found(1).methods)


def test_a_figure_is_the_same_whatever_the_user_s_settings_are() -> None:
    plain = regret_png(found())
    with mpl.rc_context({"text.usetex": True, "axes.facecolor": "red", "font.size": 30}):
        assert regret_png(found()) == plain
        assert mpl.rcParams["text.usetex"], "the user's settings stay"


@pytest.mark.parametrize("variables", [{"MPLBACKEND": "no_such_backend"}, {"MATPLOTLIBRC": "rc"}])
def test_settings_that_matplotlib_cannot_use_do_not_keep_a_figure_from_being_drawn(
    variables: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "rc").write_bytes(b"\xff\xfe backend: \xff")
    code = (
        "from harness.output.plots.pictures import neutral_style\n"
        "with neutral_style():\n"
        "    from matplotlib.figure import Figure\n"
        "    Figure().savefig('x.png')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, **variables}, check=True)
    assert (tmp_path / "x.png").stat().st_size
