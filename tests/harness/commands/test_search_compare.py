"""`harness search compare` on made-up sessions and synthetic accuracies: table, JSON and files agree, and all say synthetic."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from factories.stores import stored
from rigs.commands import Done, refused, run

from harness.output import progress
from harness.output.progress import ProgressView
from search.methods.method import Method, Problem
from search.methods.registry import DEFAULT_METHODS, METHODS, SearchMethod, parse_methods
from space import BLOX

FILES = ("regret.data.csv", "regret.html", "regret.json", "regret.png")
LIMIT = "made-up:onnxruntime<8ms"
METHODS_ASKED = ("random", "evolution")
SEEDS, BUDGET = 3, 20


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "store.sqlite"
    path.write_bytes(stored(24, 0, False))
    return path


def compare(store: Path, *arguments: str, methods: str = ",".join(METHODS_ASKED)) -> Done:
    return run(store, "search", "compare", "-a", "synthetic", "--methods", methods, *arguments)


@pytest.fixture(scope="module")
def asked() -> tuple[str, ...]:
    return ("-c", LIMIT, "--seeds", str(SEEDS), "--budget", str(BUDGET), "--seed", "5")


@pytest.fixture(scope="module")
def table(store: Path, asked: tuple[str, ...]) -> Done:
    return compare(store, *asked)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("figures") / "new" / "folder"


@pytest.fixture(scope="module")
def written(store: Path, folder: Path, asked: tuple[str, ...]) -> Done:
    return compare(store, *asked, "--json", "--output", str(folder))


def test_people_read_what_was_searched_and_a_row_a_method(table: Done) -> None:
    assert table.status == 0, table.stderr
    lines = table.stdout.splitlines()
    assert lines[0] == "accuracy: synthetic_top1, from synthetic:0"
    assert lines[1].startswith("made-up:onnxruntime: made-up, onnxruntime")
    text = table.stdout
    assert re.search(rf"^within {re.escape(LIMIT)}: [0-9,]+ of 91,125 networks$", text, re.MULTILINE)
    assert re.search(r"^the most accurate of them: \S+, synthetic_top1 [0-9.]+ %$", text, re.MULTILINE)
    until = "not comparable with random search until they choose, after as many random networks: evolution 10"
    assert until in lines
    heads = next(line for line in lines if line.startswith("method"))
    assert (
        re.sub(" +", " ", heads).strip() == "method at 5 at 10 at 20 95 % interval to 0.1 (runs) best seconds"
    )
    title = lines[lines.index(heads) - 1]
    assert (
        title == "synthetic regret in points of synthetic_top1, mean over 3 seeds, by number of evaluations"
    )
    assert [line.split()[0] for line in lines[lines.index(heads) + 1 :]] == list(METHODS_ASKED)
    assert "--output DIR writes regret.png, regret.html and regret.json" in table.stderr


def test_table_json_and_file_tell_the_same(table: Done, written: Done, folder: Path) -> None:
    document = written.json
    saved = json.loads((folder / "regret.json").read_text())
    assert saved == document
    assert document["random_look_ups"] == {"evolution": 10}
    rows = [line.split() for line in table.stdout.splitlines()[-len(METHODS_ASKED) :]]
    for row, method in zip(rows, document["methods"], strict=True):
        at = method["synthetic_regret_points"]["at"]
        assert [count for count, *_ in at] == [5, 10, 20]
        told = [f"{mean:.3f}" for _, mean, _, _ in at] + [f"{at[-1][2]:.3f}", "..", f"{at[-1][3]:.3f}"]
        assert row[:7] == [method["method"], *told]
        reached = next(r for r in method["reached"] if r["synthetic_regret_points"] == 0.1)
        median = reached["median_look_ups"]
        assert f"{'> 20' if median is None else f'{median:g}'} ({reached['runs']})" in " ".join(row)
        assert f"{method['found_best']} of {SEEDS}" in " ".join(row)


def test_the_document_s_figures_follow_from_its_runs(written: Done) -> None:
    document = written.json
    best = document["best"]["synthetic_top1_percent"]
    limit = 8.0
    assert document["best"]["made-up:onnxruntime_ms"] < limit
    assert document["proxies"] is None
    assert 0 < document["networks_within_limits"] < document["networks"] == 91_125
    for method in document["methods"]:
        assert [r["seed"] for r in method["runs"]] == document["seeds"] == [5, 6, 7]
        curves = np.empty((SEEDS, BUDGET))
        for curve, one in zip(curves, method["runs"], strict=True):
            for count, regret in one["improvements"]:
                curve[count - 1 :] = regret
            assert one["look_ups"] == BUDGET
            assert one["meets_constraints"] is True
            assert one["network"]["made-up:onnxruntime_ms"] < limit
            assert best - one["network"]["synthetic_top1_percent"] == pytest.approx(curve[-1])
            assert one["synthetic_regret_points"] == curve[-1] >= 0
        held = np.empty((BUDGET, 3))
        for count, *ends in method["synthetic_regret_points"]["curve"]:
            held[count - 1 :] = ends
        assert held[:, 0] == pytest.approx(curves.mean(axis=0))
        for count, *ends in method["synthetic_regret_points"]["at"]:
            assert ends == held[count - 1].tolist()
        assert (held[:, 1] <= held[:, 0]).all() and (held[:, 0] <= held[:, 2]).all()


def test_nothing_synthetic_stands_without_the_word(table: Done, written: Done, folder: Path) -> None:
    def keys(value: object) -> list[str]:
        if isinstance(value, dict):
            return [*value, *(key for one in value.values() for key in keys(one))]
        return [key for one in value for key in keys(one)] if isinstance(value, list) else []

    named = {key for key in keys(written.json) if "regret" in key or "top1" in key}
    assert named == {"synthetic_regret_points", "synthetic_top1_percent"}
    for line in table.stdout.splitlines():
        assert "regret" not in line or "synthetic" in line
    assert b"synthetic_top1" in (folder / "regret.png").read_bytes()
    page = (folder / "regret.html").read_text()
    assert "<title>Search by synthetic_top1 within made-up:onnxruntime&lt;8ms</title>" in page


def test_the_files_are_there_whole_and_nothing_beside_them(written: Done, folder: Path) -> None:
    assert written.status == 0, written.stderr
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)
    assert (folder / "regret.png").read_bytes().endswith(b"IEND\xaeB`\x82")
    assert (folder / "regret.html").read_text().endswith("</html>\n")


def test_progress_is_told_in_lines_where_there_is_no_terminal(table: Done, written: Done) -> None:
    lines = [line for line in table.stderr.splitlines() if line.startswith("compare: ")]
    total = len(METHODS_ASKED) * SEEDS * BUDGET
    counts = [int(line.split()[1]) for line in lines]
    assert counts[0] == 0 and counts[-1] == total
    assert counts == sorted(set(counts))
    assert 4 <= len(counts) <= 12
    assert re.fullmatch(
        rf"compare: {total} of {total} evaluations, \d:\d\d:\d\d so far: evolution, seed 7", lines[-1]
    )
    assert all(f"of {total} evaluations" in line for line in lines)
    assert "compare: " not in written.stderr, "quiet beside JSON"


def test_lines_come_also_while_a_tenth_part_takes_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now, lines = 0.0, list[str]()
    monkeypatch.setattr(progress.time, "monotonic", lambda: now)
    with ProgressView() as view:
        for second in range(100):
            now = float(second)
            view.evaluations("compare", second // 50, 1000, f"network {second}")
            lines += view.due() or []
    told = re.findall(r"network (\d+)", capsys.readouterr().err + "\n".join(lines))
    assert told == ["0", "30", "60", "90"]


def test_methods_by_commas_and_repeated_are_compared_once_each_in_their_order(store: Path) -> None:
    done = compare(
        store,
        "--seeds",
        "1",
        "--budget",
        "3",
        "--json",
        "-m",
        "random, exhaustive",
        methods="evolution,random",
    )
    assert done.status == 0, done.stderr
    methods = done.json["methods"]
    assert [method["method"] for method in methods] == ["evolution", "random", "exhaustive"]
    assert parse_methods(["linear,random", "random, linear"]) == ("linear", "random")
    assert parse_methods([]) == DEFAULT_METHODS
    assert done.json["constraints"] == []
    assert all(row[2:] == [None, None] for m in methods for row in m["synthetic_regret_points"]["curve"]), (
        "one seed"
    )


def test_one_seed_is_said_to_have_no_interval_and_no_limit_to_be_none(store: Path) -> None:
    done = compare(store, "--seeds", "1", "--budget", "3", methods="random")
    assert "none of 1 seed" in done.stdout
    assert "mean over 1 seed," in done.stdout
    assert "without limits: 91,125 of 91,125 networks" in done.stdout


def test_what_was_found_by_validation_is_shown_on_test(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "own.csv"
    rows = [f"{index},{60 + index / 10},{50 + (index * 37) % 40 / 7:.3f}" for index in range(40)]
    path.write_text("\n".join(["architecture,val_top1,test_top1", *rows]) + "\n")
    asked = ("search", "compare", "-a", str(path), "--methods", "random", "--seeds", "3", "--budget", "4")
    found, text = run(store, *asked, "--json").json, run(store, *asked).stdout
    (method,) = found["methods"]
    shown = [one["network"]["test_top1_percent"] for one in method["runs"]]
    tested = method["tested_percent"]
    assert tested["value"] == pytest.approx(np.mean(shown)) and tested["count"] == 3
    assert tested["low"] < tested["value"] < tested["high"]
    assert "; found by val_top1, and shown by test_top1" in text
    row = next(line for line in text.splitlines() if line.startswith("random"))
    told = f"{tested['value']:.2f} {tested['low']:.2f} .. {tested['high']:.2f}"
    assert " ".join(row.split()).endswith(told)


def test_a_regret_of_0_in_all_runs_is_not_shown_as_an_interval(store: Path) -> None:
    count = compare(store, "-c", LIMIT, "--seeds", "1", "--budget", "1", "--json", methods="random").json
    every = ("-c", LIMIT, "--seeds", "2", "--budget", str(count["networks_within_limits"]))
    row = compare(store, *every, methods="exhaustive").stdout.splitlines()[-1]
    assert " 0.000  0 in all runs " in row
    assert " 2 of 2 " in row


def test_with_confidence_the_interval_s_end_must_meet_the_limit(store: Path) -> None:
    few = ("--seeds", "2", "--budget", "5", "-c", LIMIT)
    sure = compare(store, *few, "--confidence", "0.9", "--json", methods="random").json
    plain = compare(store, *few, "--json", methods="random").json
    assert sure["constraints"] == [f"{LIMIT} (with 90% confidence)"]
    assert (sure["by"], sure["coverage"]) == ("interval", 0.9)
    assert (plain["by"], plain["coverage"]) == ("estimate", None)
    assert 0 < sure["networks_within_limits"] < plain["networks_within_limits"]
    for one in sure["methods"][0]["runs"]:
        assert one["network"]["made-up:onnxruntime_high_ms"] < 8


def test_proxies_are_scored_on_the_batch_that_the_user_names(store: Path, tmp_path: Path) -> None:
    batch = tmp_path / "batch.npz"
    rng = np.random.default_rng(0)
    np.savez(batch, images=rng.integers(0, 256, (4, 8, 8, 3), dtype=np.uint8), labels=np.arange(4))
    few = ("--seeds", "1", "--budget", "1", "--proxy-pool", "2", "--proxy-batch", str(batch))
    done = compare(store, *few, "--output", str(tmp_path), methods="synflow,evolution+synflow")
    assert done.status == 0, done.stderr
    assert f"proxies: 2 random networks scored on 4 images of {batch}" in done.stdout
    document = json.loads((tmp_path / "regret.json").read_text())
    assert document["proxies"] == {"origin": str(batch), "images": 4, "pool": 2}
    alone, first = (method["runs"][0] for method in document["methods"])
    assert alone["network"] == first["network"], "both begin with the network that it prefers"
    assert min(alone["seconds"], first["seconds"]) > 0.01, (
        "each is charged for building and scoring two networks"
    )
    refused(compare(store, *few), "--proxy-batch", "no method names a proxy")
    batch.write_text("no archive")
    refused(compare(store, *few, methods="synflow"), "is no .npz")


def test_bad_input_is_refused_before_anything_is_searched(store: Path, tmp_path: Path) -> None:
    refused(compare(store, methods="evolutoin"), "no search method 'evolutoin'; did you mean 'evolution'?")
    refused(compare(store, methods="evolution+synflo"), "did you mean 'synflow'?")
    refused(compare(store, "--budget", "0"), "--budget")
    refused(compare(store, "--seeds", "0"), "--seeds")
    refused(run(store, "search", "compare", "-m", "random"), "no accuracies", "--accuracies")
    refused(compare(store, "-c", "made-up"), "cannot be read")
    file = tmp_path / "file"
    file.write_text("")
    refused(compare(store, "--output", str(file)), "is a file; name a folder")
    refused(compare(store, "--figure", "curves.jpg"), "curves.jpg", ".png, .svg or .pdf")


def test_limits_that_no_network_meets_name_the_nearest(store: Path) -> None:
    done = compare(store, "-c", "made-up:onnxruntime<0.1ms", "--seeds", "2")
    refused(done, "no network meets made-up:onnxruntime<0.1ms", "the nearest is")
    assert "compare: " not in done.stderr


def test_a_missing_library_is_told_before_the_search(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.output.plots.pictures.LIBRARIES", ("no_such_library",))
    done = compare(store, "--output", str(tmp_path / "new"))
    refused(done, "figures need no_such_library; install it: pip install 'harness[report]'")
    assert not (tmp_path / "new").exists()
    assert "predicting" not in done.stderr


def test_the_numbers_are_written_where_a_picture_cannot_be_made(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(comparison: object) -> str:
        raise OSError("planted")

    monkeypatch.setattr("harness.output.plots.regret.regret_figure", broken)
    few = ("--seeds", "1", "--budget", "2", "--output", str(tmp_path / "new"))
    done = compare(store, *few, methods="random")
    assert done.status == 1 and "planted" in done.stderr
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "regret.data.csv",
        "regret.html",
        "regret.json",
    ]
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    few = (*few[:-1], str(tmp_path / "file" / "folder"))
    refused(compare(store, *few, methods="random"), "file/folder: cannot be written: Not a directory")


def test_a_method_that_fails_ends_the_command_with_its_name_and_seed(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(problem: Problem) -> Method:
        raise ZeroDivisionError("planted")

    monkeypatch.setitem(METHODS, "broken", SearchMethod(make=broken, meaning="planted"))
    done = compare(
        store, "--seeds", "2", "--seed", "4", "--output", str(tmp_path / "new"), methods="random,broken"
    )
    assert done.status == 1
    assert "harness: method 'broken' with seed 4 failed: ZeroDivisionError: planted" in done.stderr
    assert (done.stdout, list(tmp_path.iterdir())) == ("", [])


def test_an_answer_beyond_the_limits_is_shown_and_ends_with_an_error(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "search.methods.comparison.allowed",
        lambda table, *_, **__: np.ones(len(table.config), dtype=np.bool_),
    )
    done = compare(store, "-c", "params<1.8M", "--seeds", "1", "--budget", "10", methods="random")
    assert done.status == 1
    assert "answers beyond the limits: random, seed 0" in done.stderr
    assert "random" in done.stdout


def test_ctrl_c_ends_cleanly_and_writes_nothing(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(problem: Problem) -> Method:
        raise KeyboardInterrupt

    monkeypatch.setitem(METHODS, "stopped", SearchMethod(make=stopped, meaning="planted"))
    done = compare(store, "--seeds", "2", "--output", str(tmp_path / "new"), methods="random,stopped")
    assert done.status == 130
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_budget_beyond_the_space_is_that_of_all_its_networks(store: Path) -> None:
    asked = ("-c", "params<1.8M", "--seeds", "1", "--budget", str(10**12), "--json")
    assert compare(store, *asked, methods="random").json["budget"] == len(BLOX)
