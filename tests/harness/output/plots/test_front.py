"""The report's figure for print: the networks, front and answer that the page and a search find, with axes in words."""

from __future__ import annotations

import csv
import io
from dataclasses import replace

import numpy as np
import pytest
from factories.reports import made_table

from harness.output.plots.front import cost_axis, front_picture, scale_of
from harness.output.plots.pictures import picture_bytes, picture_data
from search.table import Cost, NetworkTable
from search.table.answers import answer
from search.table.constraints import parse_constraint
from search.table.pareto import pareto_front
from space import BLOX, MINI
from space.errors import ConfigError

LIMITS = {"synthetic-phone": 1.7, "params": 42_000.0}


@pytest.mark.parametrize("confident", [False, True])
def test_the_front_and_the_answer_are_those_of_a_search(confident: bool) -> None:
    table = made_table(MINI)
    asked = [parse_constraint("synthetic-phone<=1.7ms"), parse_constraint("params<=42k")]
    ranked = answer(table, asked, confident=confident).ranked
    within = np.isin(np.arange(len(MINI)), ranked)
    front = pareto_front(table, ["synthetic-phone"], within).indices
    picture = front_picture(table, LIMITS, confident=confident, title="made up")
    (axes,) = picture.draw().axes
    lines = {line.get_label(): line for line in axes.get_lines()}
    phone = table.costs["synthetic-phone"].values
    assert lines["Pareto front"].get_xdata().tolist() == phone[front].tolist()
    assert lines["answer"].get_ydata().tolist() == [table.accuracy.values[ranked[0]]]
    drawn = sum(len(line.get_xdata()) for line in axes.get_lines() if line.get_rasterized())
    assert drawn == (~np.isnan(phone) & ~np.isnan(table.accuracy.values)).sum(), "every network, once"
    rows = list(csv.DictReader(io.StringIO(picture_data(picture).decode(), newline="")))
    assert [int(row["index"]) for row in rows] == front.tolist()
    assert [float(row["synthetic-phone_ms"]) for row in rows] == phone[front].tolist()


def test_no_other_network_stands_for_an_answer_whose_cost_is_not_known() -> None:
    table = made_table(MINI)
    phone = table.costs["synthetic-phone"]
    best = answer(table, []).ranked[0]
    values = np.where(np.arange(len(MINI)) == best, np.nan, phone.values)
    table = replace(table, costs={"synthetic-phone": replace(phone, values=values)})
    (axes,) = front_picture(table, {}, confident=False, title="").draw().axes
    (star,) = [line for line in axes.get_lines() if line.get_label() == "answer"]
    assert star.get_ydata().tolist() == [table.accuracy.values[best]] and np.isnan(star.get_xdata()).all()


def test_networks_unlike_any_measured_one_are_not_called_outside_the_limits() -> None:
    table = made_table(MINI)
    phone = replace(table.costs["synthetic-phone"], supported=np.arange(len(MINI)) % 9 > 0)
    for cost, label in ((table.costs["synthetic-phone"], "outside the limits"), (phone, "left out")):
        some = replace(table, costs={"synthetic-phone": cost})
        (axes,) = front_picture(some, {"synthetic-phone": 1.7}, confident=False, title="").draw().axes
        assert axes.get_lines()[0].get_label() == label


def test_axes_are_labeled_in_words_with_units() -> None:
    table = made_table(BLOX)
    (axes,) = front_picture(table, {}, confident=False, title="").draw().axes
    assert axes.get_xlabel() == "synthetic latency 0, ms"
    assert axes.get_ylabel() == "accuracy (synthetic_top1), %"
    assert cost_axis(table.costs["params"]) == "parameters, millions"
    assert scale_of(made_table(MINI).costs["params"]) == (1.0, "")
    size = Cost(name="s", unit="bytes", title="size of the ONNX file", values=table.costs["params"].values)
    assert cost_axis(size) == "size of the ONNX file, MB"
    made = replace(table.costs["synthetic-phone"], title="latency on p (tflite)")
    assert cost_axis(made) == "synthetic latency on p (tflite), ms"


@pytest.mark.parametrize("kind", ["none within", "no intervals", "nothing known"])
def test_a_table_with_little_to_show_is_drawn_all_the_same(kind: str) -> None:
    table = made_table(MINI)
    if kind == "nothing known":
        unknown = np.full(len(MINI), np.nan)
        table = replace(table, accuracy=replace(table.accuracy, values=unknown))
    if kind == "no intervals":
        table = NetworkTable(config=MINI, accuracy=table.accuracy, costs={"params": table.costs["params"]})
    limits = {"params": 1.0} if kind == "none within" else {}
    assert picture_bytes(front_picture(table, limits, confident=True, title="$x^2$ & <b>"))


def test_a_table_without_costs_is_refused_with_what_to_type() -> None:
    table = replace(made_table(MINI), costs={})
    with pytest.raises(ConfigError, match="--show params"):
        front_picture(table, {}, confident=False, title="")
