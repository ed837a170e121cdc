"""The report's page in a real Chromium: what it shows is what numpy finds by plain search, whatever the limits."""

from __future__ import annotations

import csv
import http.server
import io
import re
import shlex
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.chains import long_chain
from factories.own_spaces import own_space
from factories.reports import HOSTILE, made_report, made_table
from factories.stores import stored
from rigs.commands import run

from harness.output.report.page import build_page
from search.table import Cost, NetworkTable
from search.table.answers import answer, nearest, ties
from search.table.constraints import Constraint, parse_constraint
from space import BLOX, MINI, TINY, Architecture
from space.accuracies import Accuracies
from space.costs import all_params
from space.hash_table import is_first

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
OPEN_TIMEOUT_S = 60
ASK = """
// Set limits, switch and cost of each case in turn, and return what the page then shows.
const [cases] = arguments;
const byId = (id) => document.getElementById(id);
const text = (id) => byId(id)?.textContent ?? "";
const set = (element, value, event) => {
  if (element.value === value) return;
  element.value = value;
  element.dispatchEvent(new Event(event));
};
const rows = (id) => [...document.querySelectorAll(`#${id} tbody tr`)];
return cases.map(({ limits, upperEnds, shown }) => {
  limits.forEach((limit, place) => set(byId(`limit-${place}`), limit, "input"));
  if (byId("upper").checked !== upperEnds) byId("upper").click();
  set(byId("shown"), String(shown), "change");
  return {
    best: rows("best").map((row) => Number(row.dataset.index)),
    front: rows("front").map((row) => Number(row.dataset.index)),
    tied: rows("best").map((row) => row.querySelector(".tie") !== null),
    answer: text("answer"), network: text("answer-network"), count: text("count"), nearest: text("nearest-network"),
    command: text("command"),
  };
});
"""
LIMITS = [  # in the costs' own units; MINI has 2,025 networks, so that each limit leaves another number of them
    {},
    {"synthetic-phone": "1.7"},
    {"synthetic-phone": "1.7", "synthetic-board": "3.1"},
    {"params": "42000", "macs": "3400000"},
    {"synthetic-board": "3.3", "params": "40000", "macs": "2.5e6"},
    {"synthetic-phone": "1.5"},
    # The best one's own: it stays in.
    {"params": str(all_params(MINI)[np.nanargmax(made_table(MINI).accuracy.values)])},
]

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed"),
    pytest.mark.skipif(DRIVER is None, reason="chromedriver is not installed"),
]


def typed(cost: Cost, limit: str) -> str:
    """Return a limit as it is typed: counts from 100,000 on in millions."""
    in_millions = cost.unit == "" and np.nanmin(cost.values) >= 1e5
    return f"{float(limit) / 1e6:.12g}" if in_millions else limit


class Page:
    """A page that is open in Chromium."""

    def __init__(self, driver: Any, table: NetworkTable) -> None:
        self.driver = driver
        self.table = table
        self.names = list(table.costs)

    def open(self, path: Path) -> None:
        self.driver.get_log("browser")  # what other pages left
        self.driver.get(path.as_uri())
        self.wait_drawn()

    def script(self, text: str, *arguments: object) -> Any:
        return self.driver.execute_script(text, *arguments)

    def wait_drawn(self) -> None:
        """Wait until the plots show what the tables show."""
        from selenium.webdriver.support.ui import WebDriverWait

        drawn = "return document.documentElement.dataset.plots === 'current'"
        WebDriverWait(self.driver, OPEN_TIMEOUT_S, 0.05).until(lambda _: self.script(drawn))

    def ask(self, *cases: Mapping[str, str], upper_ends: bool = False, shown: str = "") -> list[Any]:
        """Set the limits of each case in turn, and the switch, and a cost on the x axis; return what is shown of each."""
        settings = [
            {
                "limits": [
                    typed(cost, case[name]) if name in case else "" for name, cost in self.table.costs.items()
                ],
                "upperEnds": upper_ends,
                "shown": self.names.index(shown) if shown else 0,
            }
            for case in cases
        ]
        return list(self.script(ASK, settings))

    def rows(self, table_id: str) -> list[int]:
        text = "return [...document.querySelectorAll(`#${arguments[0]} tbody tr`)].map((row) => Number(row.dataset.index))"
        return list(self.script(text, table_id))

    def downloaded_front(self, path: Path) -> list[dict[str, str]]:
        """Click on the front's download, and return the rows of the file that it makes."""
        from selenium.webdriver.support.ui import WebDriverWait

        self.script("download.click()")
        WebDriverWait(self.driver, 20, 0.05).until(lambda _: path.exists() and path.stat().st_size)
        return list(csv.DictReader(io.StringIO(path.read_text("utf-8"), newline="")))

    def text(self, selector: str) -> str:
        return str(self.script("return document.querySelector(arguments[0]).textContent", selector))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def start(folder: Path, *more: str) -> Any:
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-dev-shm-usage",
        "--window-size=1300,900",
        *more,
    ):
        options.add_argument(argument)
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options=options, service=Service(DRIVER))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("report")


@pytest.fixture(scope="module")
def browser(folder: Path) -> Iterator[Any]:
    driver = start(folder, "--enable-unsafe-swiftshader")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def plain(folder: Path) -> Iterator[Any]:
    """A browser without WebGL, which opens a page in two thirds of the time: for what is about no plot."""
    driver = start(folder, "--disable-3d-apis")
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def mini_path(folder: Path) -> Path:
    path = folder / "mini.html"
    path.write_text(build_page(made_report(made_table(MINI), notes=["a note"])), "utf-8")
    return path


@pytest.fixture
def mini(browser: Any, mini_path: Path) -> Page:
    """The page of MINI without limits; opened anew only where another page was opened since: its tests stand first."""
    page = Page(browser, made_table(MINI))
    if browser.current_url != mini_path.as_uri():
        page.open(mini_path)
    page.ask({})
    return page


def held(cost: Cost, upper_ends: bool) -> Any:
    return cost.high if upper_ends and cost.high is not None else cost.values


def allowed(table: NetworkTable, limits: Mapping[str, str], upper_ends: bool = False) -> Any:
    """Return which networks meet the limits, by plain comparisons."""
    found = ~np.isnan(table.accuracy.values)
    for name, limit in limits.items():
        numbers = held(table.costs[name], upper_ends)
        found &= np.where(np.isnan(numbers), np.inf, numbers) <= float(limit)
    return found


def ranked(table: NetworkTable, limits: Mapping[str, str], upper_ends: bool = False) -> list[int]:
    """Return the networks within the limits, the most accurate first, equal ones by the first limited cost, then the index."""
    first = next((cost for name, cost in table.costs.items() if name in limits), None)
    keys = {
        i: (-table.accuracy.values[i], 0 if first is None else first.values[i], i)
        for i in np.flatnonzero(allowed(table, limits, upper_ends)).tolist()
    }
    return sorted(keys, key=keys.__getitem__)


def non_dominated(table: NetworkTable, name: str, mask: Any) -> set[tuple[float, float]]:
    """Return the points (cost, accuracy) that no other one dominates, by comparing each with all."""
    x, y = table.costs[name].values, table.accuracy.values
    places = np.flatnonzero(mask & ~np.isnan(x) & ~np.isnan(y))
    x, y = x[places], y[places]
    at_least = (x[None, :] <= x[:, None]) & (y[None, :] >= y[:, None])
    better = (x[None, :] < x[:, None]) | (y[None, :] > y[:, None])
    kept = ~(at_least & better).any(axis=1)
    return set(zip(x[kept].tolist(), y[kept].tolist(), strict=True))


@pytest.mark.parametrize("upper_ends", [False, True], ids=["estimates", "upper ends"])
def test_the_networks_shown_are_those_of_an_exhaustive_search_whatever_the_limits(
    mini: Page, upper_ends: bool
) -> None:
    counts = set()
    for limits, seen in zip(LIMITS, mini.ask(*LIMITS, upper_ends=upper_ends), strict=True):
        expected = ranked(mini.table, limits, upper_ends)
        assert seen["best"] == expected[:20], limits
        assert seen["network"] == str(Architecture.from_index(expected[0], MINI))
        said = seen["count"].removeprefix("No limit is set: ").split(" of ")[0]
        assert int(said.replace(",", "")) == len(expected)
        counts.add(len(expected))
    assert len(counts) == len(LIMITS)  # each limit matters
    assert mini.errors() == []


def test_the_front_is_what_no_network_within_the_limits_dominates(mini: Page) -> None:
    accuracy = mini.table.accuracy.values
    for name, cost in mini.table.costs.items():
        for limits, seen in zip(LIMITS, mini.ask(*LIMITS, shown=name), strict=True):
            points = [(cost.values[i], accuracy[i]) for i in seen["front"]]
            assert len(set(points)) == len(points)
            assert set(points) == non_dominated(mini.table, name, allowed(mini.table, limits)), (limits, name)
            assert points == sorted(points)


def test_the_plot_draws_every_network_once_and_the_front_on_top(mini: Page) -> None:
    mini.ask({"params": "42000"})
    mini.wait_drawn()
    data = mini.script(
        "return document.getElementById('plot').data.map((one) => [one.mode, one.type, [...one.indices], [...one.x], [...one.y]])"
    )
    clouds, (front, star) = data[:4], data[4:]
    table, phone = mini.table, mini.table.costs["synthetic-phone"]
    known = np.flatnonzero(~np.isnan(table.accuracy.values) & ~np.isnan(phone.values))
    assert sorted(i for cloud in clouds for i in cloud[2]) == known.tolist()
    within = allowed(table, {"params": "42000"})
    assert phone.measured is not None
    for cloud, inside, measured in zip(
        clouds, (False, True, False, True), (False, False, True, True), strict=True
    ):
        assert sorted(cloud[2]) == [i for i in known if within[i] == inside and phone.measured[i] == measured]
        np.testing.assert_allclose(cloud[3], phone.values[cloud[2]], rtol=1e-7)
        np.testing.assert_array_equal(cloud[4], table.accuracy.values[cloud[2]])
    assert front[2] == mini.rows("front")
    assert star[2] == mini.rows("best")[:1]
    panels = mini.script(
        "return [...document.querySelectorAll('.panels .plot')].map((one) => one.data.map((trace) => [...trace.indices]))"
    )
    assert len(panels) == 2
    for (whole, front, _), name in zip(panels, mini.names, strict=False):
        for indices, mask in ((whole, np.ones(len(MINI), dtype=bool)), (front, within)):
            points = {(table.costs[name].values[i], table.accuracy.values[i]) for i in indices}
            assert points == non_dominated(table, name, mask)


def test_a_slider_and_its_number_follow_each_other_and_move_the_answer(mini: Page) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    place = mini.names.index("params")
    slider = mini.driver.find_element(By.ID, f"slider-{place}")
    mini.script("arguments[0].value = 301; arguments[0].focus()", slider)
    slider.send_keys(Keys.ARROW_LEFT)
    shown = mini.script("return document.getElementById(arguments[0]).value", f"limit-{place}")
    values = mini.table.costs["params"].values
    assert float(shown) == pytest.approx(values.min() + 0.3 * (values.max() - values.min()), rel=1e-3)
    assert mini.rows("best") == ranked(mini.table, {"params": shown})[:20]
    number = mini.driver.find_element(By.ID, f"limit-{place}")
    number.clear()
    number.send_keys(str(int(values.max())))
    assert slider.get_attribute("value") == "1000"
    assert mini.rows("best") == ranked(mini.table, {"params": str(values.max())})[:20]
    number.clear()
    number.send_keys("40000e")
    assert mini.script("return arguments[0].validity.badInput", number)
    assert mini.rows("best") == ranked(mini.table, {"params": "40000"})[:20], "and not those without a limit"
    mini.driver.find_element(By.ID, "clear").click()
    assert (slider.get_attribute("value"), number.get_attribute("value")) == ("1000", "")
    assert mini.rows("best") == ranked(mini.table, {})[:20]


@pytest.mark.parametrize(
    "limits",
    [
        {"synthetic-phone": "0.9"},
        {"synthetic-phone": "1.2", "params": "34000"},
        {"synthetic-board": "0.1", "macs": "1000"},
    ],
    ids=["one limit", "two limits", "far off"],
)
def test_where_no_network_meets_the_limits_the_page_says_what_it_takes(
    mini: Page, limits: dict[str, str]
) -> None:
    for upper_ends in (False, True):
        (seen,) = mini.ask(limits, upper_ends=upper_ends)
        assert not allowed(mini.table, limits, upper_ends).any()
        assert seen["best"] == seen["front"] == []
        assert "None of 2,025 networks meets the limits" in seen["answer"]
        closest = nearest(mini.table, constraints(mini.table, limits), confident=upper_ends)
        assert closest is not None
        assert seen["nearest"] == str(Architecture.from_index(closest.index, MINI))
        for violation in closest.violations:
            share = f"{100 * violation.excess:.1f}".removesuffix(".0")
            assert violation.constraint.subject in seen["answer"]
            assert f", {share} % beyond" in seen["answer"]
    assert mini.errors() == []


def constraints(table: NetworkTable, limits: Mapping[str, str]) -> list[Constraint]:
    return [
        Constraint(subject=name, relation="<=", limit=float(limits[name]), unit=cost.unit)
        for name, cost in table.costs.items()
        if name in limits
    ]


@pytest.mark.parametrize("upper_ends", [False, True], ids=["estimates", "upper ends"])
def test_the_command_shown_asks_the_same(mini: Page, upper_ends: bool) -> None:
    for limits, seen in zip(LIMITS, mini.ask(*LIMITS, upper_ends=upper_ends), strict=True):
        words = shlex.split(seen["command"])
        assert words[:2] == ["harness", "search"]
        options = list(zip(words[2::2], words[3::2], strict=True))
        assert [name for option, name in options if option == "--device"] == [
            "synthetic-phone",
            "synthetic-board",
        ]
        asked = [parse_constraint(text) for option, text in options if option == "--constraint"]
        confident = ("--confidence", "0.95") in options
        assert confident == (upper_ends and any(name.startswith("synthetic") for name in limits))
        found = answer(mini.table, asked, confident=confident)
        assert seen["best"] == found.ranked[:20].tolist()
        assert seen["tied"][1:] == ties(mini.table.accuracy, found.ranked)[1:20].tolist()


def test_the_rows_show_the_tables_numbers_and_the_word_synthetic(mini: Page) -> None:
    heads = mini.script(
        "return [...document.querySelectorAll('#best thead th')].map((one) => one.textContent)"
    )
    assert ["synthetic" in head for head in heads] == [False, False, True, True, True, False, False]
    cells = mini.script(
        "return [...document.querySelectorAll('#best tbody tr')].map((row) => [...row.children].map((one) => one.textContent))"
    )
    table, (phone, board, *_) = mini.table, mini.table.costs.values()
    for (_, name, accuracy, *latencies, params, macs), index in zip(cells, mini.rows("best"), strict=True):
        assert name.removesuffix(" ≈") == str(Architecture.from_index(index, MINI))
        assert accuracy.startswith(f"{table.accuracy.values[index]:.2f}")
        for text, cost in zip(latencies, (phone, board), strict=True):
            assert cost.measured is not None and cost.grades is not None and cost.high is not None
            if np.isnan(cost.values[index]):
                assert text == "\N{EN DASH}"
                continue
            assert f"{cost.values[index]:.3f}" in text
            assert ("predicted" in text) == (not cost.measured[index])
            if cost.measured[index]:
                assert f"measured {cost.grades[index]}" in text
            if np.isfinite(cost.high[index]):
                assert f"to {cost.high[index]:.3f}" in text
        assert params.replace(",", "") == f"{table.costs['params'].values[index]:.0f}"
        assert macs == f"{table.costs['macs'].values[index] / 1e6:.3f}"
    titles = mini.script(
        "return ['xaxis', 'yaxis'].map((one) => document.getElementById('plot').layout[one].title.text)"
    )
    assert all("synthetic" in title for title in titles)
    assert mini.script("return !synthetic.hidden")
    missing = int(np.isnan(table.accuracy.values).sum())
    assert f"{missing} networks without an accuracy" in mini.text("#count")
    gone = int((np.isnan(table.accuracy.values) | np.isnan(phone.values)).sum())
    assert f"{gone} networks without an accuracy or without synthetic synthetic-phone" in mini.text(
        "#plot-note"
    )


def test_the_front_downloads_as_csv(mini: Page, folder: Path) -> None:
    mini.ask({"params": "42000"})
    rows = mini.downloaded_front(folder / "synthetic-front-synthetic-phone.csv")
    assert [int(row["index"]) for row in rows] == mini.rows("front")
    for row in rows:
        index = int(row["index"])
        assert row["architecture"] == str(Architecture.from_index(index, MINI))
        assert float(row["synthetic_top1, %"]) == mini.table.accuracy.values[index]
        assert float(row["params"]) == mini.table.costs["params"].values[index]
        cost = mini.table.costs["synthetic-phone"]
        assert float(row["synthetic synthetic-phone_ms"]) == pytest.approx(cost.values[index], rel=1e-6)


def test_no_connection_leaves_the_page(mini: Page) -> None:
    asked: list[str] = []

    class Listener(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(204)
            self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Listener) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/"
        tried = mini.driver.execute_async_script(
            """const [url, done] = arguments;
            const image = new Image();
            image.onload = image.onerror = () => fetch(url + "fetch").then(() => done("went out"), () => done("refused"));
            image.src = url + "image";""",
            url,
        )
        server.shutdown()
        thread.join()
    assert tried == "refused"
    assert asked == []
    loaded = mini.script("return performance.getEntriesByType('resource').map((one) => one.name)")
    assert {name for name in loaded if name.startswith("http")} <= {url + "image", url + "fetch"}
    assert any("Content Security Policy" in message for message in mini.errors())


def test_networks_of_a_space_of_ones_own_have_their_own_names(plain: Any, folder: Path) -> None:
    table = made_table(own_space())
    path = folder / "own.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page = Page(plain, table)
    page.open(path)
    shown = page.script(
        "return [...document.querySelectorAll('#best .network')].map((one) => one.textContent)"
    )
    found = [index for index in ranked(table, {}) if is_first(table.config)[index]]
    assert len(found) < len(table)
    expected = [str(Architecture.from_index(index, table.config)) for index in found[:20]]
    assert [name.removesuffix(" ≈") for name in shown] == expected
    assert f"of {int(is_first(table.config).sum())} networks" in page.text("#count")


def test_of_very_many_known_networks_the_first_are_listed_and_that_is_said(plain: Any, folder: Path) -> None:
    space, count = long_chain(), 50_000
    indices = np.arange(count)
    accuracy = Accuracies(
        metric="top1", epoch="", seeds=(), values=np.full(count, np.nan), seed_counts=np.zeros(count, dtype=np.int64),
        seed_sd=None, origin=(), synthetic=False, config=space, indices=indices,
    )  # fmt: skip
    cost = Cost(name="phone", unit="ms", title="latency", values=1.0 + indices[::-1] / 1e3)
    table = NetworkTable(config=space, accuracy=accuracy, costs={"phone": cost}, indices=indices)
    path = folder / "many.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page = Page(plain, table)
    page.open(path)
    names = "return [...document.querySelectorAll('#known-networks .network')].map((one) => one.textContent)"
    shown = page.script(names)
    assert len(shown) == 1000 and shown[0] == str(space[count - 1])
    assert "Listed are the first 1,000 of 50,000" in page.text("#known-note")


@pytest.mark.parametrize(
    "known", [True, pytest.param(False, marks=pytest.mark.long)], ids=["accuracies", "no accuracies"]
)
def test_of_a_space_too_large_to_list_known_networks_are_shown(known: bool, plain: Any, folder: Path) -> None:
    space = long_chain()
    indices = np.array([2, 1_000_000, len(space) - 1])
    accuracy = Accuracies(
        metric="top1", epoch="", seeds=(), values=np.array([70.0, 72.0, np.nan]) if known else np.full(3, np.nan),
        seed_counts=np.zeros(3, dtype=np.int64), seed_sd=0.5, origin=(), synthetic=False, config=space, indices=indices,
    )  # fmt: skip
    measured = np.array([True, False, True])
    cost = Cost(name="phone", unit="ms", title="latency", values=np.array([3.0, 2.0, 1.0]), measured=measured)
    table = NetworkTable(config=space, accuracy=accuracy, costs={"phone": cost}, indices=indices)
    path = folder / f"known-{known}.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page = Page(plain, table)
    page.open(path)
    names = "return [...document.querySelectorAll(`#${arguments[0]} .network`)].map((one) => one.textContent)"
    expected = [str(space[index]) for index in indices.tolist()]
    assert page.script(names, "known-networks") == expected[::-1], "the fastest first"
    assert page.text("#about").startswith(f"3 known networks of the {len(space):,} of the space")
    assert "accuracy, the fastest first; of all others" in page.text("#known-note")
    if known:
        row = page.script("return document.querySelector('#known-networks [data-index=\"2\"]').innerText")
        assert "±" not in row, "no accuracy, and no interval of one"
    hidden = "return arguments[0].map((id) => document.getElementById(id).hidden)"
    assert page.script(hidden, ["choice", "best-section", "front-section"]) == [not known] * 3
    assert page.script(hidden, ["known", "command-row"]) == [False, True]
    if known:
        assert page.script(names, "best") == expected[1::-1]
        assert page.text("#count").startswith("No limit is set: 2 of 3 known networks compete")
        assert page.text("#best-title") == "Most accurate known network within the limits"
    assert page.errors() == []


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(("--measured-only",), marks=pytest.mark.long),
        (
            "--device",
            "made-up",
            "--threads",
            "4",
            "--runtime",
            "onnxruntime",
            "--space",
            "tiny",
            "--measured-only",
        ),
        (
            "--threads",
            "2",
            "--constraint",
            "params<=0.05M",
            "--constraint",
            "made-up<4ms",
            "--confidence",
            "0.8",
        ),
    ],
    ids=["no limit", "device, threads, runtime, space", "limits and a confidence"],
)
def test_the_command_shown_run_as_it_is_gives_the_page_s_answer(
    plain: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, asked: tuple[str, ...]
) -> None:
    store, path = folder / "a store.sqlite", folder / "asked.html"
    store.write_bytes(stored(24, 12, False, TINY))
    monkeypatch.setenv("HARNESS_ACCURACIES", "synthetic")
    done = run(store, "report", "-o", str(path), *asked)
    assert done.status == 0, done.stderr
    monkeypatch.delenv("HARNESS_ACCURACIES")
    page = Page(plain, made_table(TINY))
    page.open(path)
    words = shlex.split(page.text("#command"))
    assert words[0] == "harness"
    again = run(folder / "nowhere.sqlite", *words[1:], "--top", "20", "--json")
    assert again.status == 0, again.stderr
    found = again.json
    assert [row["index"] for row in found["networks"]] == page.rows("best")
    counted = page.text("#count").removeprefix("No limit is set: ").split(" of ")[0]
    assert int(counted.replace(",", "")) == found["networks_within_limits"]
    shown = page.script("return JSON.parse(document.getElementById('report-data').textContent).costs")
    latencies = {cost["name"]: cost["title"] for cost in shown if cost["unit"] == "ms"}
    asked_again = {name: cost["title"] for name, cost in found["costs"].items() if cost["unit"] == "ms"}
    assert latencies == asked_again and latencies
    assert all(title == "latency on made-up (onnxruntime)" for title in latencies.values())
    axis = page.script("return document.getElementById('plot').layout.xaxis.title.text")
    assert axis.startswith("latency on made-up (onnxruntime)") and axis.endswith(", ms")


def test_latencies_of_microseconds_are_shown_to_three_digits(plain: Any, folder: Path) -> None:
    table = made_table(MINI, ("synthetic-phone",))
    phone = table.costs["synthetic-phone"]
    tiny = {name: getattr(phone, name) / 3e3 for name in ("values", "low", "high")}
    table = replace(table, costs={"synthetic-phone": replace(phone, **tiny)})
    path = folder / "microseconds.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page = Page(plain, table)
    page.open(path)
    shown = page.script(
        "return [...document.querySelectorAll('#best td:last-child .value')].map((one) => one.textContent)"
    )
    for text, index in zip(shown, page.rows("best"), strict=True):
        if (value := table.costs["synthetic-phone"].values[index]) == value:
            assert float(text) == pytest.approx(value, rel=0.005) and len(text.lstrip("0.")) == 3


def test_the_csv_of_intervals_without_an_upper_end_has_no_number_there(plain: Any, folder: Path) -> None:
    table = made_table(MINI, ("endless",))
    cost = table.costs["endless"]
    assert cost.high is not None
    endless = replace(cost, high=np.full_like(cost.high, np.inf))
    table = replace(table, costs={**table.costs, "endless": endless})
    page, path = Page(plain, table), folder / "endless.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page.open(path)
    for row in page.downloaded_front(folder / "synthetic-front-endless.csv"):
        assert row["synthetic endless_high_ms"] == ""
        assert float(row["synthetic endless_low_ms"]) > 0


@pytest.mark.long
def test_names_that_look_like_markup_are_shown_as_they_are(browser: Any, folder: Path) -> None:
    table = made_table(MINI, (HOSTILE, "synthetic-board"))
    table = replace(table, costs={**table.costs, HOSTILE: replace(table.costs[HOSTILE], title=HOSTILE)})
    path = folder / "hostile.html"
    report = made_report(table, title=HOSTILE, notes=[HOSTILE], conditions={HOSTILE: [(HOSTILE, HOSTILE)]})
    path.write_text(build_page(report), "utf-8")
    page = Page(browser, table)
    page.open(path)
    page.ask({HOSTILE: "1.7"})
    page.wait_drawn()
    # The star; its tip names every cost.
    page.script("Plotly.Fx.hover('plot', [{curveNumber: 5, pointNumber: 0}])")
    for selector in ("h1", "#note-list li", "#conditions dt", "#conditions dd", ".xtitle", "#limits label"):
        assert HOSTILE in page.text(selector), selector
    assert HOSTILE in page.text("#command").replace("'\\''", "'")
    assert page.script("return window.smuggled === undefined && document.querySelector('img') === null")
    assert page.driver.title == " ".join(HOSTILE.split())
    assert page.errors() == []


@pytest.mark.long
@pytest.mark.parametrize("bare", ["accuracies", "latency", "costs"])
def test_a_table_that_lacks_a_whole_column_opens_all_the_same(browser: Any, folder: Path, bare: str) -> None:
    table = made_table(MINI)
    unknown = np.full(len(MINI), np.nan)
    if bare == "accuracies":
        table = replace(table, accuracy=replace(table.accuracy, values=unknown))
    elif bare == "latency":
        first = Cost(name="synthetic-phone", unit="ms", title="synthetic", values=unknown, synthetic=True)
        table = replace(table, costs={**table.costs, "synthetic-phone": first})
    else:
        table = replace(table, costs={})
    path = folder / f"no-{bare}.html"
    path.write_text(build_page(made_report(table)), "utf-8")
    page = Page(browser, table)
    page.open(path)
    assert page.rows("best") == ranked(table, {})[:20]
    if bare != "costs":
        (seen,) = page.ask({"params": "42000", "synthetic-phone": "2"})
        assert seen["best"] == []
        assert "all that the limits ask for is known" in seen["answer"]
        page.script(
            "const s = document.getElementById('slider-0'); s.value = 300; s.dispatchEvent(new Event('input'))"
        )
        assert re.search(r"synthetic-phone<=[0-9.]+ms", page.text("#command"))
    assert page.errors() == []


@pytest.mark.long
def test_the_whole_space_opens_and_answers(browser: Any, folder: Path) -> None:
    table = made_table(BLOX)
    path = folder / "blox.html"
    path.write_text(build_page(made_report(table, limits={"params": 2.9e6})), "utf-8")
    page = Page(browser, table)
    page.open(path)
    assert page.script("return document.getElementById('plot').data[0].type") == "scattergl"
    assert page.rows("best") == ranked(table, {"params": "2.9e6"})[:20]
    (seen,) = page.ask({"synthetic-phone": "1.7", "macs": "190e6"}, upper_ends=True)
    assert seen["best"] == ranked(table, {"synthetic-phone": "1.7", "macs": "190e6"}, True)[:20]
    known = int((~np.isnan(table.accuracy.values) & ~np.isnan(table.costs["synthetic-phone"].values)).sum())
    assert f"{known:,} networks drawn" in page.text("#plot-note")
    assert page.errors() == []


def test_a_browser_without_webgl_draws_a_sample_and_says_so(plain: Any, mini_path: Path) -> None:
    phone = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    plain.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    page = Page(plain, made_table(MINI))
    page.open(mini_path)
    drawn = page.script("return document.getElementById('plot').data.map((one) => one.type)")
    assert set(drawn) == {"scatter"}
    assert "no WebGL" in page.text("#plot-note")
    assert page.rows("best") == ranked(page.table, {})[:20]
    wide, room = page.script(
        "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    )
    assert wide <= room  # a phone's width is enough
    assert page.errors() == []
