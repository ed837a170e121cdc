"""`harness search` on made-up latencies and synthetic accuracies: the answers are numpy's, and bad input names its remedy."""

from __future__ import annotations

import csv
import io
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.stores import FEW, MANY, add_sessions, calibrate, networks, new_store, stored
from rigs.commands import Done, refused, run

from harness.query.accuracies import paths_of_variable
from harness.store import Store
from harness.store.latencies import latencies
from search.table.synthetic import synthetic_accuracies
from space import BLOX, Architecture
from space.costs import all_macs, all_params
from space.dataset import bench_dataset, read_dataset, write_dataset

SEARCH = ("search", "--accuracies", "synthetic")
LATENCY = "made-up_ms"
MEASURED = 30  # networks


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "store.sqlite"
    path.write_bytes(stored(MEASURED, 12, segments=False))
    return path


@pytest.fixture(scope="module")
def answer(store: Path) -> Any:
    """The answer over the whole space: predicted latencies, two limits."""
    done = run(
        store, *SEARCH, "-d", "made-up", "--max-latency", "6ms", "-c", "params<3M", "-t", "2", "--pareto", "made-up",
        "--accuracy-sd", "0.2", "--top", "50", "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    return done.json


def bench_file(folder: Path, device: str = "lab", count: int = 300, *, gap: bool = False) -> Path:
    """Write synthetic latencies: MACs over 3e7 in ms, of some networks only with a gap."""
    indices = np.arange(0, len(BLOX), len(BLOX) // count) if gap else np.arange(len(BLOX))
    path = folder / f"blox-bench-{device}.csv"
    write_dataset(path, bench_dataset(device, indices, all_macs(BLOX)[indices] / 3e10))
    return path


@pytest.mark.slow
def test_the_networks_found_meet_every_limit_and_are_the_most_accurate_that_do(answer: Any) -> None:
    rows = answer["networks"]
    assert len(rows) == 50
    truth = synthetic_accuracies()
    for row in rows:
        assert row[LATENCY] <= 6
        assert all_params(BLOX)[row["index"]] == row["params"] < 3e6
        assert row["synthetic_top1_percent"] == truth.values[row["index"]]
    found = [row["synthetic_top1_percent"] for row in rows]
    assert found == sorted(found, reverse=True)
    assert answer["networks_within_limits"] > 50


def test_the_counts_of_each_limit_add_up_to_the_space(answer: Any) -> None:
    latency, params = answer["constraints"]
    for standing in (latency, params):
        assert standing["met"] + standing["broken"] + standing["unknown"] == len(BLOX)
    assert params["met"] == int((all_params(BLOX) < 3e6).sum())
    assert (latency["by"], latency["unknown"], params["doubtful"]) == ("estimate", 0, 0)
    assert 0 < latency["doubtful"] < len(BLOX)


def test_ties_are_what_two_trainings_could_turn_round(answer: Any) -> None:
    best = answer["networks"][0]["synthetic_top1_percent"]
    reach = 2 * 1.96 * 0.2
    for row in answer["networks"]:
        assert row["ties_with_best"] == (row["synthetic_top1_percent"] >= best - reach)


def test_the_front_rises_and_ends_at_the_answer(answer: Any) -> None:
    front = answer["front"]["networks"]
    cost = [row[LATENCY] for row in front]
    accuracy = [row["synthetic_top1_percent"] for row in front]
    assert cost == sorted(cost)
    assert accuracy == sorted(accuracy)
    assert front[-1]["index"] == answer["networks"][0]["index"]
    assert 0 < answer["front"]["hypervolume"] < 1


def test_measured_networks_keep_their_measured_latency_and_grade(store: Path, answer: Any) -> None:
    opened = Store(str(store))
    measured = {row.architecture: row for row in latencies(opened, MANY)}
    opened.close()
    done = run(store, *SEARCH, "-c", "made-up<99ms", "-t", "2", "--measured-only", "--top", "99", "--json")
    rows = done.json["networks"]
    assert {row["architecture"] for row in rows} == set(measured)
    for row in rows:
        truth = measured[row["architecture"]]
        assert (row[LATENCY], row["made-up_grade"], row["made-up_source"]) == (
            truth.latency_ms,
            truth.grade,
            "measured",
        )
        assert truth.interval_ms == (row["made-up_low_ms"], row["made-up_high_ms"])
    assert any(
        f"{len(BLOX) - MEASURED:,} of {len(BLOX):,} networks have no latency" in note
        for note in done.json["notes"]
    )
    assert done.json["constraints"][0]["unknown"] == len(BLOX) - MEASURED


def test_a_higher_confidence_never_allows_more_networks(store: Path) -> None:
    counts = []
    for confidence in ([], ["--confidence", "0.5"], ["--confidence", "0.99"]):
        done = run(store, *SEARCH, "-c", "made-up<5ms", "-t", "2", "--measured-only", "--json", *confidence)
        assert done.status == 0, done.stderr
        counts.append(done.json["networks_within_limits"])
        if confidence:
            assert all(row["made-up_high_ms"] < 5 for row in done.json["networks"])
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1] > 0


def test_the_confidence_of_a_predicted_network_is_said_to_be_that_of_one_not_picked(store: Path) -> None:
    search = (*SEARCH, "-c", "made-up<5ms", "-t", "2", "--confidence", "0.95")
    said = "picked among many: its limits may hold less often than with the confidence asked for; --verify 1"
    predicted = run(store, *search)
    assert said in " ".join(predicted.stdout.split())
    assert predicted.stdout.split("most accurate first")[1].count("predicted") > 0
    assert "picked among many" not in run(store, *search, "--measured-only").stdout
    assert "picked among many" not in run(store, *SEARCH, "-c", "params<3M", "--confidence", "0.95").stdout


def test_a_persons_view_says_synthetic_beside_every_synthetic_value(store: Path) -> None:
    done = run(
        store, *SEARCH, "-c", "made-up<6ms", "-t", "2", "--measured-only", "--pareto", "made-up", "--accuracy-sd", "0.3"
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0].startswith("accuracy: synthetic_top1, from synthetic:0")
    heads = [line for line in lines if line.startswith("network ")]
    assert len(heads) == 2
    assert all("synthetic_top1 %" in head for head in heads)
    for word in ("tie in ", "hypervolume", " ms) to the best"):
        (line,) = (line for line in lines if word in line)
        assert "synthetic" in line


def test_latencies_come_from_published_files_too(store: Path, tmp_path: Path) -> None:
    path = bench_file(tmp_path)
    done = run(store, *SEARCH, "--latencies", str(path), "-c", "lab<=5ms", "--show", "macs", "--json")
    assert done.status == 0, done.stderr
    assert done.json["constraints"][0]["met"] == int((all_macs(BLOX) / 3e10 * 1e3 <= 5).sum())
    row = done.json["networks"][0]
    assert math.isclose(row["lab_ms"], row["macs"] / 3e7)
    best = np.argmax(np.where(all_macs(BLOX) / 3e7 <= 5, synthetic_accuracies().values, -1))
    assert row["index"] == best
    refused(
        run(store, *SEARCH, "--latencies", str(path), "-c", "lab<5ms", "--confidence", "0.9"),
        "'lab' have no intervals",
    )


def test_latencies_come_from_a_folder_and_from_pickles_as_accuracies_do(store: Path, tmp_path: Path) -> None:
    refused(run(store, *SEARCH, "-d", "lab", "--latencies", str(tmp_path)), "holds no blox-bench-* ")
    file = bench_file(tmp_path, gap=True)
    search = (*SEARCH, "-d", "lab", "--max-latency", "20ms", "--top", "1", "--json")
    expected = run(store, *search, "--latencies", str(file)).json["networks"]
    assert run(store, *search, "--latencies", str(tmp_path)).json["networks"] == expected
    write_dataset(tmp_path / "blox-bench-lab.pickle", read_dataset(file))
    file.unlink()
    for path in (tmp_path, tmp_path / "blox-bench-lab.pickle"):
        refused(run(store, *search, "--latencies", str(path)), "pickle", "allow")
        found = run(store, *search, "--latencies", str(path), "--allow-pickle")
        assert found.json["networks"] == expected


def test_a_sidecar_gives_a_files_intervals_and_a_foreign_one_is_refused(store: Path, tmp_path: Path) -> None:
    written = run(
        store, "dataset", "write", "-d", "made-up", "-t", "2", "--measured-only", "-o", str(tmp_path)
    )
    assert written.status == 0, written.stderr
    path, sidecar = tmp_path / "blox-bench-made-up.csv", tmp_path / "blox-bench-made-up.json"
    arguments = (
        *SEARCH,
        "--latencies",
        str(path),
        "-c",
        "made-up<6ms",
        "--confidence",
        "0.9",
        "--top",
        "99",
        "--json",
    )
    done = run(store, *arguments)
    assert done.status == 0, done.stderr
    assert done.json["networks"]
    assert all(row["made-up_high_ms"] < 6 for row in done.json["networks"])
    assert {row["made-up_source"] for row in done.json["networks"]} == {"measured"}
    other = ("0.95" if word == "0.9" else word for word in arguments)
    refused(run(store, *other), "hold with 0.9", "--confidence 0.95")
    document = json.loads(sidecar.read_text())
    document["columns"]["graph_hash"][0] = "0" * 32
    sidecar.write_text(json.dumps(document))
    refused(run(store, *arguments), str(sidecar), "is not the sidecar of its file", "dataset write")
    sidecar.write_text('{"columns": ')
    refused(run(store, *arguments), str(sidecar), "is no sidecar")


def test_latencies_of_ones_own_in_a_plain_table_are_told_how_to_be_written(
    store: Path, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("architecture,latency_ms\n0,1.5\n")
    done = run(store, "search", "-a", "synthetic", "--latencies", str(path), "-c", "mine<3ms")
    refused(
        done,
        f"--latencies {path}: is no blox-bench-DEVICE file",
        "bench_dataset and write_dataset of space.dataset",
    )


def test_every_other_method_keeps_to_its_budget_and_the_limits(store: Path) -> None:
    done = run(
        store, *SEARCH, "-c", "params<2M", "-c", "macs<150M", "--method", "evolution", "--budget", "40", "--seed", "3",
        "--top", "99", "--json",
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert (done.json["method"]["look_ups"], len(done.json["networks"])) == (40, 40)
    assert all(row["params"] < 2e6 and row["macs"] < 150e6 for row in done.json["networks"])


def test_a_proxy_chooses_the_first_networks_of_a_method(store: Path) -> None:
    done = run(
        store, *SEARCH, "-c", "params<1.8M", "--method", "synflow", "--budget", "2", "--proxy-pool", "3", "--json"
    )  # fmt: skip
    assert done.status == 0, done.stderr
    assert done.json["method"]["name"] == "synflow"
    assert (done.json["method"]["look_ups"], len(done.json["networks"])) == (2, 2)
    assert "synflow: scoring 3 untrained networks on scikit-learn" in done.stderr
    assert all(row["params"] < 1.8e6 for row in done.json["networks"])


def test_file_sizes_and_memory_are_limits_too(store: Path, tmp_path: Path) -> None:
    out = tmp_path / "found.csv"
    done = run(store, *SEARCH, "-c", "memory<8MB", "-c", "params<1.8M", "-o", str(out))
    assert done.status == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(out.read_text())))
    assert rows
    assert all(float(row["memory_bytes"]) < 8e6 and float(row["params"]) < 1.8e6 for row in rows)
    assert f"{len(rows)} networks are within all limits" in done.stdout


def test_own_accuracies_are_a_table_and_synthetic_where_their_name_says_so(
    store: Path, tmp_path: Path
) -> None:
    lines = ["architecture,top1", "conv/conv/conv,61.5", "0,62.25", "bconv/bconv/bconv,"]
    for name, key in (("mine.csv", "top1_percent"), ("synthetic-mine.csv", "synthetic_top1_percent")):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        done = run(store, "search", "-a", str(path), "-c", "params<4M", "--json")
        assert done.status == 0, done.stderr
        assert [row[key] for row in done.json["networks"]] == [62.25, 61.5]
        assert done.json["accuracy"]["synthetic"] == name.startswith("synthetic")
        assert any("have no" in note and f"{len(BLOX) - 2:,}" in note for note in done.json["notes"])
        text = run(store, "search", "-a", str(path), "-c", "params<4M").stdout
        assert ("synthetic top1 %" in text) == name.startswith("synthetic")


def search_on(store: Path, folder: Path, text: str, *more: str) -> Done:
    path = folder / "mine.csv"
    path.write_text(text)
    return run(store, "search", "-a", str(path), "-c", "params<4M", *more)


def test_a_bad_cell_is_refused_and_no_cost_is_maximized_instead(store: Path, tmp_path: Path) -> None:
    table = "architecture,acc,size_mb\n0,61.5,1.5\n1,63.0%,2.5\n"
    refused(search_on(store, tmp_path, table), "row 2: acc = '63.0%' is not a number")
    refused(search_on(store, tmp_path, table, "--metric", "acc"), "row 2: acc = '63.0%' is not a number")
    latencies = "architecture,latency_ms\n0,61.5\n1,63.0\n"
    for more in ((), ("--metric", "latency_ms")):
        refused(search_on(store, tmp_path, latencies, *more), "'latency_ms' is a time and no accuracy")


def test_a_bad_cell_of_the_test_accuracy_beside_is_refused_and_its_absence_is_not(
    store: Path, tmp_path: Path
) -> None:
    refused(
        search_on(store, tmp_path, "architecture,val_top1,test_top1\n0,61.5,60\n1,62.5,6o\n"),
        "row 2: test_top1 = '6o' is not a number",
    )
    for text in ("architecture,val_top1\n0,61.5\n", "architecture,val_top1,test_top1\n0,61.5,\n"):
        done = search_on(store, tmp_path, text)
        assert done.status == 0, done.stderr


BAD = [
    (("search", "-c", "params<3M"), ["no accuracies", "blox-base-0.blox", "--accuracies synthetic"]),
    (("search", "-a", "", "-c", "params<3M"), ["no accuracies", "--accuracies synthetic"]),
    ((*SEARCH, "-d", "made-up", "--max-latency", "8", "-t", "2"), ["--max-latency", "'8' has no unit", "8ms"]),
    ((*SEARCH, "-c", "made-up<8"), ["'8' has no unit"]),
    ((*SEARCH, "-c", "pixel<8ms"), ["nothing is stored of device 'pixel'", "harness measure --device pixel"]),
    ((*SEARCH, "-c", "made-op<8ms"), ["of device 'made-op'; did you mean 'made-up'?", "measure it first"]),
    ((*SEARCH, "-c", "made-up<8ms"), ["2 configurations", MANY.digest[:8], FEW.digest[:8], "--threads"]),
    ((*SEARCH, "-c", "params<3M", "-c", "params>4M"), ["params>4M and params<3M contradict each other"]),
    ((*SEARCH, "-c", "params<3M", "--method", "evolutoin"), ["no search method 'evolutoin'", "'evolution'"]),
    ((*SEARCH, "-c", "params<3M", "--proxy-batch", "x.npz"), ["x.npz", "no method names a proxy"]),
    ((*SEARCH, "-c", "params<3M", "--confidence", "95"), ["--confidence 95", "0.95"]),
    ((*SEARCH, "-c", "params<3M", "--metric", "val_top1"), ["synthetic stands alone"]),
    ((*SEARCH, "-c", "params<3M", "--verify", "2"), ["no device of the store is searched", "--device"]),
    ((*SEARCH, "-c", "params<3M", "-o", "/dev/null/x.csv"), ["/dev/null/x.csv", "Not a directory"]),
    (("search", "-c", "params<3M", "-a", "/nowhere/base.blox"), ["/nowhere/base.blox"]),
    ((*SEARCH, "--latencies", "/nowhere/bench.csv", "-c", "x<3ms"), ["/nowhere/bench.csv"]),
    ((*SEARCH, "-c", "params<3M", "compare"), ["--accuracies comes before 'compare'", "write it after"]),
    (("search", "--store", "x", "compare"), ["--store comes before 'compare'"]),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "parts"), BAD, ids=[" ".join(parts) for _, parts in BAD])
def test_bad_input_is_refused_with_a_remedy(
    store: Path, arguments: tuple[str, ...], parts: list[str]
) -> None:
    refused(run(store, *arguments), *parts)


def test_no_network_within_the_limits_names_the_nearest_and_what_it_would_take(store: Path) -> None:
    done = run(store, *SEARCH, "-c", "params<1.6M", "-c", "macs<150M")
    smallest = Architecture.from_index(int(np.argmin(all_params(BLOX))))
    refused(
        done,
        "no network meets params<1.6M, macs<150M",
        f"params {smallest.params / 1e6:.4g}M, {smallest.params / 1.6e6 - 1:.1%} beyond params<1.6M",
        "params<1.6M alone is met by 0; macs<150M alone is met by",
        "synthetic_top1",
    )
    assert "beyond macs" not in done.stderr
    refused(run(store, *SEARCH, "-c", "params<1000"), f", {smallest.params / 1000:,.0f} times params<1k")


def test_a_configurations_id_stands_for_its_device(store: Path) -> None:
    done = run(store, *SEARCH, "-c", f"{FEW.digest[:8]}<99ms", "--measured-only", "--json")
    assert done.status == 0, done.stderr
    assert done.json["networks_within_limits"] == len(networks(12))


def test_a_network_unlike_any_measured_one_is_counted_named_and_not_recommended(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    one_sided = new_store(path)
    calibrate(one_sided, MANY)
    add_sessions(one_sided, [a for a in networks(120) if "bconv" not in str(a.blocks[2])][:24], sessions=2)
    one_sided.close()
    far = sum("bconv" in str(block) for block in BLOX.blocks) * len(BLOX.blocks) ** 2
    done = run(path, *SEARCH, "-d", "made-up", "--max-latency", "99ms", "--top", "2000", "--json")
    assert done.status == 0, done.stderr
    found = [Architecture.from_index(row["index"]) for row in done.json["networks"]]
    assert len(found) == 2000 and not any("bconv" in str(network.blocks[2]) for network in found)
    assert done.json["networks_within_limits"] <= len(BLOX) - far
    (note,) = (note for note in done.json["notes"] if "unlike any that was measured" in note)
    assert "left out; --verify takes them in and measures the best" in note
    said = run(path, "predict", "-d", "made-up", "-m", "bconv/bconv/bconv", "-m", "conv/conv/conv").stdout
    assert "networks are unlike any measured one, such as" in said
    (row,) = (line for line in said.splitlines() if line.startswith("bconv/bconv/bconv"))
    assert "predicted, far" in row


@pytest.mark.parametrize(
    "value", ["{0}/my own.CSV", "{0}/a.csv", "~/my own.CSV", "$FOLDER/my own.CSV", "synthetic:3"]
)
def test_a_variable_names_accuracies_as_an_option_does(
    value: str, store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("my own.CSV", "a.csv"):
        (tmp_path / name).write_text("index,acc\n3,90\n4,91\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FOLDER", str(tmp_path))
    monkeypatch.setenv("HARNESS_ACCURACIES", value.format(tmp_path))
    done = run(store, "search", "--top", "1", "--json")
    assert done.status == 0, done.stderr


def test_several_paths_in_a_variable_stand_between_colons_or_spaces(tmp_path: Path) -> None:
    first, second = tmp_path / "a b", tmp_path / "c"
    for path in (first, second):
        path.write_text("")
    assert paths_of_variable(f"{first}:{second}") == [str(first), str(second)]
    assert paths_of_variable("x.blox y.blox") == ["x.blox", "y.blox"]


def test_of_what_is_not_known_no_number_and_no_source_is_told(store: Path) -> None:
    asked = (*SEARCH, "-d", "made-up", "-t", "2", "--measured-only", "--accuracy-sd", "5")
    done = run(store, *asked, "--json")
    rows = [row for row in done.json["networks"] if row[LATENCY] is None]
    assert rows and {row["made-up_source"] for row in rows} == {None}
    text = run(store, *asked).stdout
    assert (
        "nan" not in text
        and "unknown" in text
        and "predicted" not in text.partition("most accurate first")[2]
    )
    (ties,) = (line for line in text.splitlines() if "tie in " in line)
    assert f"the fastest of the {MEASURED} whose latency is known on made-up is " in ties
    with Store(str(store)) as opened:
        fastest = latencies(opened, MANY)[0]
    assert f" is {fastest.architecture}, {fastest.latency_ms:.3f} ms" in ties
