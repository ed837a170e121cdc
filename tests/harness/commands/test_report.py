"""`harness report` on a made-up store and synthetic accuracies: which columns it joins, what it says of them, what it refuses."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.records import make_block, make_block_run
from factories.reports import decode, payload_of
from factories.stores import MANY, stored
from rigs.commands import Done, refused, run

from harness.commands.query_options import QueryOptions
from harness.output.report.conditions import command_line, query_options
from harness.prediction.space_prediction import load_measured
from harness.store import Store
from harness.store.configurations import configuration_id
from harness.store.latencies import latencies
from search.table.synthetic import synthetic_accuracies
from space import BLOX
from space.costs import all_params
from space.dataset import bench_dataset, write_dataset

NETWORKS = 24  # measured
REPORT = ("report", "--accuracies", "synthetic")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "store.sqlite"
    path.write_bytes(stored(NETWORKS, 0, False))
    minutes = [
        (
            make_block("reference", 60 * at + 5, 1, [8.0] * 12),
            make_block("network", 60 * at + 6, 59, [4.0 + at] * 60),
        )
        for at in range(6)
    ]
    with Store(str(path)) as opened:
        opened.add_block_run(
            make_block_run([block for minute in minutes for block in minute], configuration=MANY)
        )
    return path


@pytest.fixture(scope="module")
def found(store: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Done, Any, Path]:
    """What the command said, the page's payload and its file: all stored configurations, two limits, a confidence."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    done = run(
        store, *REPORT, "-o", str(path), "-c", f"{configuration_id(MANY)}<8ms", "-c", "params<=3M", "--confidence", "0.8",
        "--show", configuration_id(MANY), "--accuracy-sd", "0.3", "--figure", str(path.with_name("front.pdf")),
    )  # fmt: skip
    assert done.status == 0, done.stderr
    return done, payload_of(path.read_text("utf-8")), path


@pytest.mark.slow
def test_the_page_holds_the_latencies_the_properties_and_the_limits(found: tuple[Done, Any, Path]) -> None:
    done, payload, path = found
    assert [cost["name"] for cost in payload["costs"]] == [configuration_id(MANY), "params", "macs", "memory"]
    assert [cost["limit"] for cost in payload["costs"]] == [8.0, 3e6, None, None]
    assert payload["upper_ends"]
    assert payload["costs"][0]["coverage"] == 0.8
    assert payload["accuracy"]["seed_sd"] == 0.3
    np.testing.assert_array_equal(decode(payload["accuracy"]["values"]), synthetic_accuracies().values)
    np.testing.assert_array_equal(decode(payload["costs"][1]["values"]), all_params(BLOX))
    assert done.stdout == ""
    said = re.search(r"91,125 networks, .*, ([0-9.]+) MB$", done.stderr, re.MULTILINE)
    assert said
    assert float(said[1]) == pytest.approx(path.stat().st_size / 1e6, abs=0.06)


def test_measured_networks_have_their_measured_latency_on_the_page(
    found: tuple[Done, Any, Path], store: Path
) -> None:
    from space import Architecture

    column = found[1]["costs"][0]
    opened = Store(str(store))
    rows = latencies(opened, MANY, coverage=0.8)
    opened.close()
    places = [Architecture.parse(row.architecture).index for row in rows]
    assert sorted(np.flatnonzero(decode(column["measured"])).tolist()) == sorted(places)
    np.testing.assert_allclose(decode(column["values"])[places], [row.latency_ms for row in rows], rtol=1e-6)
    highs = [np.nan if row.interval_ms is None else row.interval_ms[1] for row in rows]
    np.testing.assert_allclose(decode(column["high"])[places], highs, rtol=1e-6)


def test_the_conditions_are_those_of_the_configuration(found: tuple[Done, Any, Path], store: Path) -> None:
    lines = dict(found[1]["costs"][0]["conditions"])
    assert lines["device"] == MANY.device
    assert lines["hardware"] == MANY.hardware
    assert lines["runtime"] == f"{MANY.runtime} {MANY.runtime_version}"
    assert lines["threads"] == str(MANY.threads)
    assert re.match(r"network 1: the last 1:00 over the first: 2\.2", lines["under load"]), lines[
        "under load"
    ]
    assert lines["clock tier"].startswith(f"{MANY.clock_tier}: ")
    assert lines["configuration"] == configuration_id(MANY)
    assert lines["networks"].startswith(f"{NETWORKS} measured, {len(BLOX) - NETWORKS:,} predicted by ")
    opened = Store(str(store))
    agreement = load_measured(opened, MANY).ceiling()
    opened.close()
    assert agreement is not None and agreement.count == NETWORKS
    assert (
        lines["repeatability"]
        == f"{agreement.mape:.1%} on average between two sessions of {NETWORKS} networks"
    )
    assert sum(int(part.split()[0]) for part in lines["grades"].split(", ")) == NETWORKS
    assert re.fullmatch(
        r"[0-9.]+% on average, of networks that were not fitted on", lines["error of predictions"]
    )


def test_the_command_on_the_page_begins_as_the_report_was_asked(
    found: tuple[Done, Any, Path], store: Path
) -> None:
    assert found[1]["command"] == f"harness search --accuracies synthetic --accuracy-sd 0.3 --store {store}"


def test_without_names_all_that_is_stored_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    few = tmp_path / "few.sqlite"
    few.write_bytes(stored(12, 12, False))
    done = run(few, *REPORT, "-o", str(path), "--measured-only", "--title", "A & B", "--store", str(few))
    assert done.status == 0, done.stderr
    page = path.read_text("utf-8")
    payload = payload_of(page)
    ids = {cost["name"] for cost in payload["costs"] if cost["unit"] == "ms"}
    # One device, one runtime: only ids tell them apart.
    assert len(ids) == 2 and configuration_id(MANY) in ids
    assert all(
        np.isfinite(decode(cost["values"])).sum() == 12 for cost in payload["costs"] if cost["unit"] == "ms"
    )
    assert "<title>A &amp; B</title>" in page
    assert payload["command"] == f"harness search --accuracies synthetic --measured-only --store {few}"
    axes = [cost["axis"] for cost in payload["costs"]]
    assert axes[:2] == [
        f"latency on made-up (onnxruntime) [{cost['name']}], ms" for cost in payload["costs"][:2]
    ]
    assert axes[2:] == [
        "parameters, millions",
        "multiply-accumulates of one image, millions",
        "memory of weights and feature maps of one image in fp32, by arithmetic, MB",
    ]
    assert payload["accuracy"]["axis"] == "accuracy (synthetic_top1), %"
    assert any("have no latency" in note for note in payload["notes"])


def test_a_file_of_latencies_will_do_where_no_store_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "blox-bench-lab.csv"
    indices = np.arange(0, len(BLOX), 300)
    write_dataset(file, bench_dataset("lab", indices, np.linspace(0.001, 0.009, len(indices))))
    monkeypatch.chdir(tmp_path)
    done = run(
        tmp_path / "nowhere.sqlite", *REPORT, "--latencies", str(file), "--max-latency", "8ms", "-d", "lab"
    )
    assert done.status == 0, done.stderr
    payload = payload_of(Path("report.html").read_text("utf-8"))
    assert [cost["name"] for cost in payload["costs"]] == ["lab", "params", "macs", "memory"]
    assert payload["costs"][0]["limit"] == 8.0
    assert dict(payload["costs"][0]["conditions"])["file"] == str(file)
    np.testing.assert_allclose(
        decode(payload["costs"][0]["values"])[indices], np.linspace(1, 9, len(indices))
    )


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        (("-c", "params>2M"), ("params>2M", "upper limits only", "harness search")),
        (("-o", "/dev/null/page.html"), ("/dev/null/page.html", "Not a directory")),
        (("-d", "nothing"), ("nothing", "made-up")),
        (("-c", "params<3ms"), ("params<3ms", "unit")),
        (("--figure", "front.jpg"), ("front.jpg", ".png, .svg or .pdf")),
    ],
)
def test_what_cannot_be_shown_is_refused(
    store: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    parts: tuple[str, ...],
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(run(store, *REPORT, *arguments), *parts)
    assert list(tmp_path.iterdir()) == []


def test_without_accuracies_the_report_says_how_to_name_them(store: Path) -> None:
    refused(run(store, "report"), "--accuracies", "synthetic")


def test_the_figure_for_print_shows_what_the_page_opens_with(found: tuple[Done, Any, Path]) -> None:
    done, payload, path = found
    figure = path.with_name("front.pdf")
    assert figure.exists(), done.stderr
    assert figure.read_bytes().startswith(b"%PDF")
    assert str(figure) in done.stderr
    with figure.with_name("front.data.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows, "the front"
    params, high = decode(payload["costs"][1]["values"]), decode(payload["costs"][0]["high"])
    for row in rows:
        assert params[int(row["index"])] <= 3e6 and high[int(row["index"])] <= 8.0


def test_zero_is_a_value_that_the_command_repeats() -> None:
    line = command_line(
        ["harness", "search"],
        {"--training-seed": [0], "--accuracy-sd": 0.0, "--metric": "", "--doubtful": False},
    )
    assert line == "harness search --training-seed 0 --accuracy-sd 0.0"


def test_a_store_s_password_stays_off_the_page_and_its_url_without_one_is_repeated() -> None:
    query = QueryOptions(accuracies=["synthetic"], space="mini").query()
    line = command_line(["harness"], query_options(query, "postgresql://lab/harness"))
    assert line.endswith(" --store postgresql://lab/harness")
    assert "--store" not in command_line(
        ["harness"], query_options(query, "postgresql://me:secret@lab/harness")
    )
    assert query_options(query, "")["--space"] == "mini"
