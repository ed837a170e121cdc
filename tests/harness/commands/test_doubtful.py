"""Measurements of grade D stay out of all that is answered from latencies, counted and named; `--doubtful` takes them in.

The space is tiny where nothing asks for another, so that it is predicted in a moment.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories.reports import payload_of
from factories.stores import FEW as FEW_OF_BLOX
from factories.stores import MANY as MANY_OF_BLOX
from factories.stores import add_sessions, calibrate, new_store
from rigs.commands import refused, run

from harness.blockwise.costs import space_costs
from harness.prediction.space_prediction import load_measured, predict_space
from harness.query.latencies import LatencySource, stored_latency
from harness.store import Store
from space import BLOX, TINY, Architecture, SpaceConfig, config
from space.segments import all_segments
from space.selection import select_models

MANY, FEW = (replace(one, space="tiny") for one in (MANY_OF_BLOX, FEW_OF_BLOX))
SEGMENTS = all_segments(TINY)
HOT: dict[str, Any] = {"gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
GOOD, BAD = 20, 5
WRONG = 3.0  # times too slow, the bad ones
DEVICE = ("-d", "made-up")
ONE_SEARCH = ("-n", "1", "-b", "4", "-m", "random")


def networks(count: int, config: SpaceConfig = TINY) -> list[Architecture]:
    """Return the first networks of a random order."""
    return select_models(f"sample:{count}@7", config)


NAMES = [str(one) for one in networks(GOOD + BAD)[GOOD:]]
PARTS = ("5 networks", "of grade D left out", "hot 5", "--doubtful", "--fresh")


def made_store(
    path: Path, *, good: int = GOOD, bad: int = BAD, bad_segments: int = 0, config: SpaceConfig = TINY
) -> Path:
    """Store good networks, bad ones whose ratios are wrong, and all segments, some of them bad."""
    store, many = new_store(path), replace(MANY, space=config.name)
    chosen, segments = networks(good + bad, config), all_segments(config)
    calibrate(store, many)
    add_sessions(store, chosen[:good], many, sessions=2)
    add_sessions(store, chosen[good:], many, sessions=2, factor=WRONG, **HOT)
    add_sessions(store, segments[bad_segments:], many, scatter=0.001, seed=1)
    add_sessions(store, segments[:bad_segments], many, factor=WRONG, seed=2, **HOT)
    store.close()
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("doubtful") / "store.sqlite")


@pytest.fixture(scope="module")
def all_bad(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("bad") / "store.sqlite", good=0, bad=12)


@pytest.fixture(scope="module")
def bad_segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_store(tmp_path_factory.mktemp("segments") / "store.sqlite", bad_segments=2)


def check_plain(found: dict[str, Any], *, taken: bool, networks: int = BAD, segments: int = 0) -> None:
    assert (found["networks"], found["segments"], found["taken"]) == (networks, segments, taken)
    assert len(found["names"]) == 3
    assert set(found["names"]) <= {*NAMES, *map(str, SEGMENTS)}
    assert found["why"]["hot"] == networks + segments


def told(text: str) -> bool:
    return all(part in text for part in PARTS) and sum(name in text for name in NAMES) == 3


@pytest.mark.slow
def test_predict_fits_without_them_and_predicts_them(store: Path) -> None:
    done = run(store, "predict", *DEVICE)
    assert done.status == 0 and told(done.stderr), done.stderr
    assert f"fitted on {GOOD} measured networks" in done.stdout
    without = run(store, "predict", *DEVICE, "-m", ",".join(NAMES), "--json")
    assert without.json["measured_networks"] == GOOD
    check_plain(without.json["doubtful"], taken=False)
    assert {row["source"] for row in without.json["networks"]} == {"predicted"}
    taken = run(store, "predict", *DEVICE, "-m", ",".join(NAMES), "--json", "--doubtful")
    assert taken.json["measured_networks"] == GOOD + BAD
    check_plain(taken.json["doubtful"], taken=True)
    assert "grade D taken in" in taken.stderr and "--fresh" not in taken.stderr
    assert {(row["source"], row["grade"]) for row in taken.json["networks"]} == {("measured", "D")}
    for good, bad in zip(without.json["networks"], taken.json["networks"], strict=True):
        assert bad["latency_ms"] == pytest.approx(WRONG * good["latency_ms"], rel=0.1)


def test_predict_says_it_beside_a_table_on_standard_output(store: Path) -> None:
    done = run(store, "predict", *DEVICE, "-m", NAMES[0], "--csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert row["source"] == "predicted"
    assert told(done.stderr)


def test_a_prior_s_are_left_out_too(store: Path, tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(store.read_bytes())
    opened = Store(str(path))
    calibrate(opened, FEW)
    add_sessions(opened, networks(12), FEW, sessions=2)
    opened.close()
    asked = ("predict", "--configuration", FEW.digest, "--prior", MANY.digest)
    done = run(path, *asked, "--json")
    assert done.status == 0, done.stderr
    assert done.json["doubtful"]["networks"] == 0
    check_plain(done.json["prior_doubtful"], taken=False)
    assert "note: prior: 5 networks of grade D left out" in done.stderr
    check_plain(run(path, *asked, "--json", "--doubtful").json["prior_doubtful"], taken=True)


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--measured-only",)])
def test_search_finds_them_by_their_prediction_or_not_at_all(store: Path, more: tuple[str, ...]) -> None:
    asked = ("search", "-a", "synthetic", *DEVICE, "--top", str(len(TINY)), *more)
    found = run(store, *asked, "--json").json
    check_plain(found["doubtful"]["made-up"], taken=False)
    rows = {row["architecture"]: row for row in found["networks"]}
    if more:
        assert not set(NAMES) & {name for name, row in rows.items() if row["made-up_ms"] is not None}
    else:
        assert {rows[name]["made-up_source"] for name in NAMES} == {"predicted"}
    assert "D" not in {row["made-up_grade"] for row in found["networks"]}
    taken = run(store, *asked, "--json", "--doubtful").json
    check_plain(taken["doubtful"]["made-up"], taken=True)
    rows = {row["architecture"]: row for row in taken["networks"]}
    assert {(rows[name]["made-up_source"], rows[name]["made-up_grade"]) for name in NAMES} == {
        ("measured", "D")
    }


def test_search_and_compare_print_a_note(store: Path) -> None:
    asked = ("-a", "synthetic", *DEVICE, "--max-latency", "9ms")
    for command in (("search",), ("search", "compare", *ONE_SEARCH)):
        done = run(store, *command, *asked)
        note = next(line for line in done.stdout.splitlines() if line.startswith("note: made-up: "))
        assert told(note)
    found = run(store, "search", "compare", *ONE_SEARCH, *asked, "--json").json
    check_plain(found["doubtful"]["made-up"], taken=False)


def test_the_page_says_it_and_its_command_repeats_the_question(store: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    for more in ((), ("--doubtful",)):
        done = run(store, "report", "-a", "synthetic", *DEVICE, "-o", str(page), *more)
        assert done.status == 0, done.stderr
        payload = payload_of(page.read_text("utf-8"))
        lines = dict(payload["costs"][0]["conditions"])
        assert lines["networks"].startswith(f"{GOOD + BAD if more else GOOD} measured")
        assert ("taken in" if more else "left out") in lines["grade D"]
        assert ("--doubtful" in payload["command"]) == bool(more)
        assert any("5 networks of grade D" in note for note in payload["notes"])
        assert lines["repeatability"].endswith(f"{GOOD + BAD if more else GOOD} networks")


@pytest.mark.parametrize("more", [(), ("--measured-only",)])
def test_a_data_set_is_written_without_them(store: Path, tmp_path: Path, more: tuple[str, ...]) -> None:
    write = ("dataset", "write", *DEVICE, "-o", str(tmp_path), "--format", "csv", *more)
    done = run(store, *write)
    assert done.status == 0 and told(done.stderr), done.stderr
    sidecar = json.loads((tmp_path / "blox-bench-made-up.json").read_text())
    check_plain(sidecar["doubtful"], taken=False)
    assert "D" not in sidecar["columns"]["grade"]
    assert sidecar["columns"]["source"].count("measured") == GOOD
    assert run(store, *write, "--doubtful").status == 0
    sidecar = json.loads((tmp_path / "blox-bench-made-up.json").read_text())
    check_plain(sidecar["doubtful"], taken=True)
    assert sidecar["columns"]["grade"].count("D") == BAD


@pytest.mark.long
@pytest.mark.slow
def test_a_file_that_holds_them_is_read_without_them(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store.sqlite", config=BLOX)  # files without a store are of blox
    names = [str(one) for one in networks(GOOD + BAD, BLOX)[GOOD:]]
    write = ("dataset", "write", *DEVICE, "-o", str(tmp_path), "--format", "csv", "--doubtful")
    assert run(store, *write).status == 0
    latencies = ("--latencies", str(tmp_path / "blox-bench-made-up.csv"))
    accuracies = tmp_path / "own.csv"  # of these alone, so that no others are listed
    accuracies.write_text("network,top1\n" + "".join(f"{name},{50 + n}\n" for n, name in enumerate(names)))
    asked = ("search", "-a", str(accuracies), *DEVICE, *latencies, "--json")
    without, taken = (run(store, *asked, *more).json for more in ((), ("--doubtful",)))
    assert without["doubtful"]["made-up"]["networks"] == taken["doubtful"]["made-up"]["networks"] == BAD
    assert (without["doubtful"]["made-up"]["taken"], taken["doubtful"]["made-up"]["taken"]) == (False, True)
    for found, source in ((without, "predicted"), (taken, "measured")):
        rows = {row["architecture"]: row for row in found["networks"]}
        assert {rows[name]["made-up_ms"] is None for name in names} == {source == "predicted"}
    assert any("as the file says" in note and "--doubtful" in note for note in without["notes"])


def test_audit_judges_by_the_rest(store: Path) -> None:
    done = run(store, "audit", *DEVICE, "--json")
    assert told(done.stderr)
    assert (done.json["plain"]["count"], done.json["verdict"]) == (GOOD, "additive")
    check_plain(done.json["doubtful"], taken=False)
    taken = run(store, "audit", *DEVICE, "--json", "--doubtful").json
    assert (taken["plain"]["count"], taken["doubtful"]["taken"]) == (GOOD + BAD, True)


@pytest.mark.slow
def test_segments_of_grade_d_are_no_segments(bad_segments: Path) -> None:
    done = run(bad_segments, "predict", *DEVICE, "--json")
    assert done.json["measured_segments"] == len(SEGMENTS) - 2
    check_plain(done.json["doubtful"], taken=False, segments=2)
    assert "5 networks and 2 segments of grade D left out" in done.stderr
    assert run(bad_segments, "predict", *DEVICE, "--json", "--doubtful").json["measured_segments"] == len(
        SEGMENTS
    )
    refused(
        run(bad_segments, "audit", *DEVICE),
        f"2 of {len(SEGMENTS)} segments are not measured well enough",
        "2 segments of grade D left out",
        "--doubtful",
    )
    assert run(bad_segments, "audit", *DEVICE, "--doubtful").status == 0


@pytest.mark.parametrize(
    "command",
    [
        ("predict", *DEVICE),
        ("audit", *DEVICE),
        ("search", "-a", "synthetic", *DEVICE),
        ("search", "compare", "-a", "synthetic", *DEVICE, "--max-latency", "12ms", *ONE_SEARCH),
        ("report", "-a", "synthetic", *DEVICE, "-o", "{}/page.html"),
        ("dataset", "write", *DEVICE, "-o", "{}"),
        ("dataset", "write", *DEVICE, "-o", "{}", "--measured-only"),
    ],
)
def test_where_all_have_grade_d_it_is_said_what_to_do(
    command: tuple[str, ...], all_bad: Path, tmp_path: Path
) -> None:
    words = [word.format(tmp_path) for word in command]
    refused(
        run(all_bad, *words), "nothing measured is good enough: 12 networks of grade D left out", "hot 12",
        "--doubtful", "harness measure --device made-up", "--fresh",
    )  # fmt: skip
    assert not list(tmp_path.iterdir())
    done = run(all_bad, *words, "--doubtful")
    assert done.status == 0, done.stderr


def test_too_few_that_are_good_are_told_beside_the_bad(tmp_path: Path) -> None:
    path = made_store(tmp_path / "store.sqlite", good=3, bad=12)
    refused(run(path, "predict", *DEVICE), "3 networks are measured", "12 networks of grade D left out")


def test_results_and_compare_show_them_with_their_grade(store: Path) -> None:
    rows = run(store, "results", *DEVICE, "--json").json
    assert len(rows) == GOOD + BAD
    assert {row["architecture"] for row in rows if row["grade"] == "D"} == set(NAMES)
    pair = run(store, "compare", NAMES[0], NAMES[1], *DEVICE, "--json").json
    assert [one["grade"] for one in pair[0]["networks"]] == ["D", "D"]


@pytest.mark.parametrize("most", [2_000_000, 1000], ids=["listed", "summed"])
@pytest.mark.slow
def test_a_block_s_latency_and_sums_over_blocks_are_of_the_rest(
    bad_segments: Path, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(config, "MAX_ENUMERABLE", most)
    opened = Store(str(bad_segments))
    without, taken = (
        space_costs(opened, TINY, ["made-up"], LatencySource(doubtful=doubtful), lambda text: None)
        for doubtful in (False, True)
    )
    opened.close()
    assert taken[0].sources["latency:made-up"] == "segments measured as models of their own"
    assert without[0].sources["latency:made-up"] != taken[0].sources["latency:made-up"]
    for (_, provenance), way in ((without, False), (taken, True)):
        found = provenance["made-up"]
        assert (found.measured, found.doubtful.taken) == (GOOD + BAD * way, way)
        assert (found.doubtful.networks, found.doubtful.segments) == (BAD, 2)


def test_what_is_kept_with_them_is_not_shown_without_them(store: Path) -> None:
    opened = Store(str(store))
    answers = []
    for doubtful in (True, False, True, False):  # the last two are from the cache folder
        source = LatencySource(doubtful=doubtful)
        answers.append(stored_latency(opened, "made-up", MANY, source))
    assert [behind.measured for _, behind in answers] == [GOOD + BAD, GOOD, GOOD + BAD, GOOD]
    assert [behind.doubtful.taken for _, behind in answers] == [True, False, True, False]
    told = [(str(behind), behind.doubtful, behind.repeatability) for _, behind in answers]
    assert told[0] == told[2] and told[1] == told[3]
    opened.close()


def test_from_python_they_are_left_out_as_well(store: Path) -> None:
    opened = Store(str(store))
    assert len(load_measured(opened, MANY).rows) == GOOD
    assert len(load_measured(opened, MANY, doubtful=True).rows) == GOOD + BAD
    assert predict_space(opened, MANY).doubtful.networks == BAD
    opened.close()
