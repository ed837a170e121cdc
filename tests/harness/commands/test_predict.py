"""`harness predict` on made-up sessions: what is measured stays, what is predicted has an interval, all outputs agree."""

from __future__ import annotations

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import FEW, MANY, networks, stored, true_ratio
from rigs.commands import Done, run

from harness.prediction.space_latencies import COLUMNS
from space import TINY, Architecture
from space.segments import all_segments

REFERENCE_MS = 5.0
IN_TINY, FEW_IN_TINY = (replace(one, space=TINY.name) for one in (MANY, FEW))
SEGMENTS = len(all_segments(TINY))
CHOSEN = [networks(60, TINY)[0].index, 5, len(TINY) - 1]  # a measured one and two others


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("predict") / "store.sqlite"
    path.write_bytes(stored(config=TINY))
    return path


@pytest.fixture(scope="module")
def whole(store: Path) -> tuple[Done, str]:
    """The whole table as CSV, and what --output wrote in the same run."""
    output = store.with_name("whole.csv")
    done = run(store, "predict", "-d", "made-up", "-t", "2", "--csv", "--output", str(output))
    assert done.status == 0, done.stderr
    return done, output.read_bytes().decode()


@pytest.fixture(scope="module")
def rows(whole: tuple[Done, str]) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(whole[0].stdout)))


def test_the_csv_has_a_row_for_every_network_in_canonical_order(rows: list[dict[str, str]]) -> None:
    assert [int(row["index"]) for row in rows] == list(range(len(TINY)))
    assert tuple(rows[0]) == COLUMNS
    for row in rows[::99]:
        architecture = Architecture.from_index(int(row["index"]), TINY)
        assert (row["architecture"], row["graph_hash"]) == (str(architecture), architecture.graph_hash)


def test_the_written_file_is_the_printed_table(whole: tuple[Done, str]) -> None:
    done, written = whole
    assert written.replace("\r\n", "\n") == done.stdout.replace("\r\n", "\n")
    assert f"whole.csv: {len(TINY):,} networks" in done.stderr


def test_measured_networks_keep_their_measured_latency_and_grade(
    store: Path, rows: list[dict[str, str]]
) -> None:
    found = {row["graph_hash"]: row for row in rows if row["source"] == "measured"}
    results = run(store, "results", "-d", "made-up", "-t", "2", "--json").json
    assert len(results) == len(found) == 60
    for result in results:
        row = found[result["graph_hash"]]
        for name in ("latency_ms", "low_ms", "high_ms"):
            assert float(row[name]) == result[name]
        assert (row["grade"], int(row["sessions"])) == (result["grade"], result["sessions"])
        assert float(row["coverage"]) == 0.95


def test_predicted_networks_have_intervals_about_them_and_are_near_the_truth(
    rows: list[dict[str, str]],
) -> None:
    predicted = [row for row in rows if row["source"] == "predicted"]
    assert len(predicted) == len(TINY) - 60
    assert {(row["grade"], row["sessions"], row["coverage"]) for row in predicted} == {("-", "0", "0.9")}
    for row in predicted:
        assert 0 < float(row["low_ms"]) <= float(row["latency_ms"]) <= float(row["high_ms"]) < 50
    for row in predicted[::50]:
        truth_ms = true_ratio(Architecture.from_index(int(row["index"]), TINY)) * REFERENCE_MS
        assert float(row["latency_ms"]) == pytest.approx(truth_ms, rel=0.01)


def test_json_of_named_networks_agrees_with_the_csv_and_says_how_it_was_fitted(
    store: Path, rows: list[dict[str, str]]
) -> None:
    named = [item for index in CHOSEN for item in ("-m", str(index))]
    document = run(store, "predict", "--configuration", IN_TINY.digest[:8], "--json", *named).json
    assert document["configuration"]["id"] == IN_TINY.digest
    assert (document["measured_networks"], document["measured_segments"], document["prior"]) == (
        60,
        SEGMENTS,
        None,
    )
    assert document["reference_ms"] == pytest.approx(REFERENCE_MS, rel=0.005)
    fitted = [rung for rung in document["rungs"] if rung["errors"] is not None]
    assert document["chosen"] in [rung["name"] for rung in fitted]
    assert document["held_out"]["errors"]["count"] == 12
    assert document["repeatability"]["count"] == 60
    assert [row["index"] for row in document["networks"]] == CHOSEN
    for row in document["networks"]:
        told = {name: "" if value is None else str(value) for name, value in row.items()}
        assert told == rows[row["index"]]


def test_the_report_says_for_people_how_good_each_predictor_is(store: Path) -> None:
    done = run(store, "predict", "-d", "made-up", "-t", "2")
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("made-up: ")
    assert lines[1] == f"fitted on 60 measured networks of {len(TINY):,}"
    assert sum(line.startswith("* ") for line in lines) == 1, "one predictor is marked as chosen"
    for text in (
        "macs: ",
        "sum: ",
        "affine: ",
        "ridge: ",
        "held-out networks",
        "90% intervals are made by CV+, which guarantees 80%, of networks drawn like the measured ones",
        "--models sample:24@20",
        "repeatability",
        ": 0 A, 0 B, 60 C, 0 D",
    ):
        assert text in done.stdout
    table = lines[lines.index("5 fastest of all") + 2 : lines.index("5 slowest of all")]
    latencies = [float(line.split()[1]) for line in table]
    assert len(latencies) == 5
    assert latencies == sorted(latencies)
    assert "not fitted: transfer: needs another configuration's prediction: --prior ID" in done.stderr
    assert max(map(len, (line for line in lines if "CV+" not in line))) <= 160


def test_twelve_networks_do_with_another_configuration_as_prior(store: Path) -> None:
    alone = run(store, "predict", "--configuration", FEW_IN_TINY.digest, "--json").json
    helped = run(
        store, "predict", "--configuration", FEW_IN_TINY.digest, "--prior", IN_TINY.digest[:6], "--json"
    )
    assert helped.status == 0, helped.stderr
    document = helped.json
    assert (document["prior"], document["chosen"]) == (IN_TINY.digest, "transfer")
    errors = {rung["name"]: rung["errors"] for rung in document["rungs"]}
    best_alone = min(rung["errors"]["mape"] for rung in alone["rungs"] if rung["errors"])
    assert errors["transfer"]["mape"] < min(0.02, best_alone)
    assert document["held_out"] is None, "all twelve are needed to fit"


def test_what_a_predictor_lacks_is_said_with_the_command_that_measures_it(store: Path) -> None:
    done = run(store, "predict", "-d", "made-up", "-t", "4", "-m", "0")
    assert done.status == 0
    line = "harness measure --device made-up --runtime onnxruntime --cores 0,1,2,3 --space tiny --models segments --level quick"
    needs = f"not fitted: sum, affine, corrected: needs the segments (0 of {SEGMENTS} are measured): "
    assert f"{needs}{line}" in done.stderr
    assert str(Architecture.from_index(0, TINY)) in done.stdout
    assert "fastest of all" not in done.stdout
