"""The report's page as text: self-contained, closed to networks and to what names might smuggle in, its numbers the table's."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from factories.own_spaces import own_space
from factories.reports import HOSTILE, Elements, decode, made_report, made_table, payload_of

from harness.output import report
from harness.output.report.page import SCRIPTS, build_page
from harness.output.report.payload import GRADES, encode
from space import BLOX, MINI, SpaceConfig, find_space
from space.errors import ConfigError
from space.hash_table import is_first


@pytest.fixture(scope="module")
def page() -> str:
    return build_page(made_report(made_table(MINI)))


def test_nothing_is_loaded_from_anywhere(page: str) -> None:
    for tag, attributes in Elements(page).found:
        assert tag not in ("link", "iframe", "object", "embed", "img", "base", "form[action]")
        assert not {"src", "href", "srcset", "action", "data", "background"} & attributes.keys(), (
            tag,
            attributes,
        )
    styles = "".join(text for tag, _, text in Elements(page).texts if tag == "style")
    assert "@import" not in styles
    assert "url(" not in styles


def test_the_policy_lets_only_the_pages_own_scripts_run_and_no_connection_out(page: str) -> None:
    elements = Elements(page)
    (policy,) = [
        attributes["content"]
        for tag, attributes in elements.found
        if tag == "meta" and attributes.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy is not None
    rules = {rule.split()[0]: rule.split()[1:] for rule in policy.split(";")}
    assert rules["default-src"] == ["'none'"]
    assert rules["connect-src"] == ["'none'"]
    assert "'unsafe-inline'" not in rules["script-src"]
    assert not re.search(r"https?:|\*", policy)
    run = [text for tag, attributes, text in elements.texts if tag == "script" and "type" not in attributes]
    assert len(run) == 2
    for text in run:
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in rules["script-src"]


@pytest.mark.parametrize("config", [MINI, BLOX], ids=lambda config: str(config.name))
def test_the_pages_numbers_are_the_tables(config: SpaceConfig) -> None:
    table = made_table(config)
    found = payload_of(build_page(made_report(table)))
    assert found["space"]["networks"] == len(config)
    assert found["space"]["blocks"] == [str(block) for block in config.blocks]
    np.testing.assert_array_equal(decode(found["accuracy"]["values"]), table.accuracy.values)
    np.testing.assert_array_equal(decode(found["accuracy"]["seed_counts"]), table.accuracy.seed_counts)
    for column, cost in zip(found["costs"], table.costs.values(), strict=True):
        assert (column["name"], column["unit"], column["synthetic"]) == (cost.name, cost.unit, cost.synthetic)
        for key in ("values", "low", "high"):
            numbers = getattr(cost, key)
            if numbers is None:
                assert column[key] is None
            elif cost.unit == "ms":
                np.testing.assert_allclose(decode(column[key]), numbers, rtol=1e-7)
            else:
                np.testing.assert_array_equal(decode(column[key]), numbers)
        if cost.measured is not None and cost.grades is not None:
            np.testing.assert_array_equal(decode(column["measured"]).astype(bool), cost.measured)
            grades = np.array(GRADES)[decode(column["grades"]).astype(int)]
            np.testing.assert_array_equal(grades, cost.grades)


def test_a_network_of_several_names_counts_once_and_has_its_first_name() -> None:
    config = find_space(own_space())
    table, rows = made_table(config), np.flatnonzero(is_first(config))
    assert len(rows) < len(config)
    found = payload_of(build_page(made_report(table)))
    assert (found["space"]["networks"], found["space"]["names"]) == (len(rows), None)
    assert found["space"]["indices"] == [str(index) for index in rows.tolist()]
    columns = [found["accuracy"], *found["costs"]]
    for column, values in zip(columns, [table.accuracy, *table.costs.values()], strict=True):
        np.testing.assert_allclose(decode(column["values"]), values.values[rows], rtol=1e-7)
    assert len(decode(found["supported"])) == len(rows)


@pytest.mark.parametrize("distinct", [2, 256, 257, 65536, 65537])
def test_columns_come_back_exactly_whatever_their_number_of_distinct_values(distinct: int) -> None:
    values = np.resize(np.linspace(0, 1, distinct) ** 3, 70_000)
    values[values == values[-1]] = np.nan
    np.testing.assert_array_equal(decode(encode(values)), values)  # type: ignore[arg-type]


def test_names_that_look_like_markup_stay_text() -> None:
    table = made_table(MINI, (HOSTILE, "synthetic-board"))
    page = build_page(
        made_report(
            table,
            title=HOSTILE,
            notes=[HOSTILE],
            conditions={HOSTILE: [(HOSTILE, HOSTILE)]},
            versions=[(HOSTILE, "<!--<script>")],
            command=HOSTILE,
        )
    )
    elements = Elements(page)
    plain = Elements(build_page(made_report(made_table(MINI))))
    assert [tag for tag, _ in elements.found] == [tag for tag, _ in plain.found]
    found = payload_of(page)
    assert found["title"] == found["notes"][0] == found["costs"][0]["name"] == found["command"] == HOSTILE
    assert found["costs"][0]["conditions"] == [[HOSTILE, HOSTILE]]
    assert found["versions"][0] == [HOSTILE, "<!--<script>"]


def test_the_program_makes_no_markup_of_texts(page: str) -> None:
    (_, _, program) = Elements(page).texts[-1]
    assert "function readTable" in program  # it is the program that is looked at
    for word in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert word not in program


def test_every_part_of_the_program_is_in_the_page() -> None:
    assert {path.name for path in Path(report.__file__).parent.glob("*.js")} == set(SCRIPTS)


def test_the_page_says_how_large_it_is(page: str) -> None:
    said = re.search(r"This page is ([0-9.]+) MB, of which plotly.js is ([0-9.]+) MB", page)
    assert said
    assert float(said[1]) == pytest.approx(len(page.encode()) / 1e6, abs=0.06)
    assert 0 < float(said[2]) < float(said[1])


def test_without_plotly_the_line_to_install_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'harness[report]'")):
        build_page(made_report(made_table(MINI)))
