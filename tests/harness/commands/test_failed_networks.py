"""A network that a device does not run is no answer, whatever its parts take in others: each door leaves it out and names it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories.records import make_failure, make_fresh_run
from factories.reports import decode, payload_of
from factories.stores import MANY as MANY_OF_BLOX
from factories.stores import add_sessions, calibrate, networks, new_store
from rigs.commands import run

import harness
from harness.prediction.bench_files import BenchFiles, file_latency, write_bench_files
from harness.prediction.failed_networks import failed_networks
from harness.prediction.request import BenchRequest
from harness.records import Failure
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from harness.store.latencies import latencies
from space import TINY, Architecture
from space.indexing import blocks_of

MANY = replace(MANY_OF_BLOX, space="tiny")
DEVICE = ("-d", "made-up")
*GOOD, CRASHED, FALSE, TRAINED = networks(23, TINY)
FAILED = {str(CRASHED): "worker-killed", str(FALSE): "wrong-output"}
PERCENT = {network: 50.0 + (network in (CRASHED, FALSE)) for network in (*GOOD, CRASHED, FALSE)}
NOTE = "2 networks failed, and nothing is measured or predicted of them: "


def failure_of(network: Architecture, **changes: str) -> Failure:
    return make_failure(
        configuration=MANY, architecture=str(network), graph_hash=network.graph_hash, **changes
    )


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("failed") / "store.sqlite"
    with new_store(path) as store:
        calibrate(store, MANY)
        add_sessions(store, GOOD, MANY, sessions=2)
        add_sessions(store, [FALSE], MANY, sessions=2, output=(2.0,), expected=(1.0,))
        store.add_failure(failure_of(CRASHED, kind="worker-error"))
        store.add_failure(failure_of(CRASHED))
        store.add_failure(failure_of(GOOD[0]))  # it ran at other times
        store.add_failure(
            make_failure(configuration=MANY, architecture=str(TRAINED))
        )  # with weights of its own
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with harness.open_store(path) as store:
        yield store


def written(store: Store, folder: Path, *, measured_only: bool = False) -> BenchFiles:
    request = BenchRequest(folder=folder, formats=("csv",), measured_only=measured_only)
    return write_bench_files(store, ConfigurationChoice(device="made-up"), request)


def test_predict_has_no_latency_of_them_and_says_why(path: Path) -> None:
    names = ",".join(map(str, (CRASHED, FALSE, GOOD[0], TRAINED)))
    done = run(path, "predict", *DEVICE, "-m", names, "--json")
    assert done.status == 0, done.stderr
    assert done.json["doubtful"]["failed"] == FAILED
    rows = [(row["architecture"], row["source"], row["latency_ms"] is None) for row in done.json["networks"]]
    assert rows == [
        *((name, "failed", True) for name in FAILED),
        (str(GOOD[0]), "measured", False),
        (str(TRAINED), "predicted", False),
    ]
    assert NOTE in done.stderr and "--failures" in done.stderr
    printed = run(path, "predict", *DEVICE, "-m", str(CRASHED)).stdout
    assert "failed" in printed and "predicted" not in printed.rpartition("networks asked for")[2]


def test_all_networks_as_csv_have_them_without_a_latency(path: Path) -> None:
    rows = {
        row["architecture"]: row
        for row in csv.DictReader(io.StringIO(run(path, "predict", *DEVICE, "--csv").stdout))
    }
    assert len(rows) == len(TINY)
    assert {name: rows[name]["latency_ms"] for name in FAILED} == dict.fromkeys(FAILED, "")
    assert {name for name, row in rows.items() if not row["latency_ms"]} == set(FAILED)


def test_with_doubtful_ones_a_false_output_is_measured_and_a_crash_is_none(path: Path) -> None:
    done = run(path, "predict", *DEVICE, "-m", f"{CRASHED},{FALSE}", "--json", "--doubtful")
    assert done.json["doubtful"]["failed"] == {str(CRASHED): "worker-killed"}
    assert [row["source"] for row in done.json["networks"]] == ["failed", "measured"]


def test_a_network_beside_a_reference_that_was_computed_falsely_has_not_failed(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "store.sqlite"
    copy.write_bytes(path.read_bytes())
    with harness.open_store(copy) as store:
        before = harness.predict(store, device="made-up").at(TRAINED).latency_ms
        beside = {"reference_error": 0.9}
        add_sessions(store, [TRAINED], MANY, sessions=2, factor=10.0, conditions_after=beside)
        table = harness.predict(store, device="made-up")
    assert table.doubtful.failed == FAILED and table.doubtful.why == {"wrong-reference": 1, "wrong-output": 1}
    row = table.at(TRAINED)
    assert row.source == "predicted" and row.latency_ms == pytest.approx(before, rel=0.01)


@pytest.mark.parametrize("limits", [(), ("made-up<1s",), ("params<1e9", "made-up>0.001ms")])
def test_a_search_does_not_find_them_though_they_are_most_accurate(
    store: Store, limits: tuple[str, ...]
) -> None:
    answer = harness.search_store(store, PERCENT, limits, device="made-up")
    assert {row["architecture"] for row in answer} == set(map(str, GOOD))
    assert any(NOTE in note for note in answer.table.notes)
    assert answer.provenance["made-up"].predicted == len(TINY) - len(GOOD) - 2
    front = {row["architecture"] for row in answer.front("made-up")}
    assert front <= set(map(str, GOOD))


@pytest.mark.parametrize("weighed", [GOOD[:4], GOOD])
def test_a_search_within_a_limit_on_memory_alone_does_not_find_them(
    path: Path, tmp_path: Path, weighed: list[Architecture]
) -> None:
    copy = tmp_path / "store.sqlite"
    copy.write_bytes(path.read_bytes())
    with harness.open_store(copy) as store:
        for network in (*weighed, CRASHED, FALSE):
            names = {"architecture": str(network), "graph_hash": network.graph_hash}
            digest = 2 * network.graph_hash
            store.add_fresh_run(make_fresh_run(configuration=MANY, model_digest=digest, **names))
        found = harness.search_store(store, PERCENT, "made-up:memory<1GB")
        assert {row["architecture"] for row in found} == set(map(str, weighed))
        assert any(NOTE in note for note in found.table.notes)
        memory = found.provenance["made-up:memory"]
        predicted = len(TINY) - len(weighed) - 2 if weighed == GOOD else 0
        assert (memory.measured, memory.predicted) == (len(weighed), predicted)
        taken_in = harness.search_store(store, PERCENT, "made-up:memory<1GB", doubtful=True)
        assert {row["architecture"] for row in taken_in} == {*map(str, weighed), str(FALSE)}


def test_memory_of_a_network_that_failed_alone_in_its_process_is_not_predicted(
    path: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "store.sqlite"
    copy.write_bytes(path.read_bytes())
    *weighed, failed = GOOD

    def weigh(store: Store, network: Architecture) -> None:
        names = {"architecture": str(network), "graph_hash": network.graph_hash}
        store.add_fresh_run(make_fresh_run(configuration=MANY, model_digest=2 * network.graph_hash, **names))

    with harness.open_store(copy) as store:
        for network in weighed:
            weigh(store, network)
        assert harness.predict(store, device="made-up").at(failed).memory_source is not None
        store.add_failure(failure_of(failed, time_utc="2024-06-01T00:00:00.000+00:00"))
        found = harness.search_store(store, PERCENT, "made-up:memory<1GB")
        assert {row["architecture"] for row in found} == set(map(str, weighed))
        row = harness.predict(store, device="made-up").at(failed)
        assert (row.source, row.memory_bytes, row.memory_source) == ("measured", None, None)
        weigh(store, failed)
        assert harness.predict(store, device="made-up").at(failed).memory_source == "measured"


@pytest.mark.parametrize("kind", ["conditions-changed", "disk-full", "part-missing", "no-memory", "swapped"])
def test_what_fails_for_another_reason_than_the_network_leaves_it_predicted(
    path: Path, tmp_path: Path, kind: str
) -> None:
    copy = tmp_path / "store.sqlite"
    copy.write_bytes(path.read_bytes())
    *weighed, ran = GOOD
    with harness.open_store(copy) as store:
        for network in weighed:
            names = {"architecture": str(network), "graph_hash": network.graph_hash}
            digest = 2 * network.graph_hash
            store.add_fresh_run(make_fresh_run(configuration=MANY, model_digest=digest, **names))
        for network in (TRAINED, CRASHED, ran):
            store.add_failure(failure_of(network, kind=kind, time_utc="2024-06-01T00:00:00.000+00:00"))
        table = harness.predict(store, device="made-up")
        assert table.doubtful.failed == FAILED, "what it was before stays"
        assert (table.at(TRAINED).source, table.at(ran).memory_source) == ("predicted", "predicted")
        best = {TRAINED: 99.0, **PERCENT}
        assert harness.search_store(store, best, "made-up<1s").best == TRAINED


def test_a_search_by_sums_does_not_find_them(store: Store) -> None:
    blocks = blocks_of(TINY, CRASHED.index)
    scores = {
        TINY.place_text(stage, place): float(place == blocks[stage])
        for stage, places in enumerate(TINY.choices)
        for place in places
    }
    for limits in ((), "made-up<1s"):
        found = harness.maximize(store, scores, limits, device="made-up", top=3)
        assert [row["objective"] for row in found] == [1.0] * 3  # of two stages one each
        assert any(NOTE in note for note in found.notes)


def test_the_slowest_and_the_fastest_are_others(store: Store) -> None:
    table = harness.predict(store, device="made-up")
    lowest, highest = table.ends(len(TINY))
    assert len(lowest) == len(highest) == len(TINY) - 2
    assert not {CRASHED.index, FALSE.index} & {*lowest, *highest}
    assert (table.at(CRASHED).source, table.at(CRASHED).latency_ms) == ("failed", None)


def test_a_joined_table_has_no_latency_of_them(store: Store) -> None:
    joined = harness.join(PERCENT, harness.predict(store, device="made-up"), space="tiny")
    rows, _ = joined.to_records()
    assert {row["architecture"] for row in rows if row["made-up_source"] == "failed"} == set(FAILED)
    assert {row["architecture"] for row in rows if row["made-up_ms"] is None} == set(FAILED)
    assert {row["architecture"] for row in harness.search(joined)} == set(map(str, GOOD))


@pytest.mark.parametrize("measured_only", [False, True])
def test_a_file_of_latencies_leaves_them_out_and_a_search_by_it_does_too(
    store: Store, tmp_path: Path, measured_only: bool
) -> None:
    files = written(store, tmp_path, measured_only=measured_only)
    assert len(files.rows) == (len(GOOD) if measured_only else len(TINY) - 2)
    assert json.loads(files.sidecar.read_text())["doubtful"]["failed"] == FAILED
    joined = harness.join(PERCENT, files.paths[0], space="tiny")
    assert {row["architecture"] for row in harness.search(joined)} == set(map(str, GOOD))
    assert any(NOTE in note for note in joined.notes)


@pytest.mark.parametrize(
    "failed", [["conv"], {"no network": "worker-killed"}, {str(CRASHED): "\x1b[31m"}, None]
)
def test_a_sidecar_whose_failures_are_none_is_refused(store: Store, tmp_path: Path, failed: object) -> None:
    files = written(store, tmp_path)
    document = json.loads(files.sidecar.read_text())
    document["doubtful"]["failed"] = failed
    files.sidecar.write_text(json.dumps(document))
    with pytest.raises(harness.ConfigError, match="sidecar"):
        file_latency(files.paths[0], "made-up", TINY)


def test_the_page_shows_none_of_them_as_an_answer(path: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    done = run(path, "report", "-a", "synthetic", *DEVICE, "-o", str(page))
    assert done.status == 0, done.stderr
    payload = payload_of(page.read_text("utf-8"))
    supported = decode(payload["supported"])
    assert not any(supported[one.index] for one in (CRASHED, FALSE))
    assert all(supported[one.index] for one in GOOD)
    assert any(NOTE in note for note in payload["notes"])
    assert dict(payload["costs"][0]["conditions"])["failed"].startswith(NOTE)


def test_one_that_runs_later_is_measured(path: Path, tmp_path: Path) -> None:
    later = tmp_path / "store.sqlite"
    later.write_bytes(path.read_bytes())
    with harness.open_store(later) as store:
        harness.search_store(store, PERCENT, device="made-up")  # kept in the cache folder
        add_sessions(store, [CRASHED], MANY, sessions=2, seed=3)
        answer = harness.search_store(store, PERCENT, device="made-up")
        assert (answer[0]["architecture"], answer[0]["made-up_source"]) == (str(CRASHED), "measured")
        store.add_failure(failure_of(unmeasured := networks(30, TINY)[-1]))
        assert harness.predict(store, device="made-up").at(unmeasured).source == "failed"
        found = harness.search_store(store, "synthetic", device="made-up", space="tiny")
        assert str(unmeasured) not in {row["architecture"] for row in found}


def test_one_that_an_accelerator_ran_in_part_is_not_run_and_others_of_grade_d_are(tmp_path: Path) -> None:
    shares = {"shares": {"GPU-fp32": 0.6, "CPU": 0.4}}
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, MANY)
        add_sessions(store, [GOOD[0]], MANY, conditions_after=shares)
        add_sessions(store, [GOOD[1]], MANY, gate={"closed": ["made-up heat"], "waited_s": 300.0})
        rows = latencies(store, MANY)
        failed = failed_networks(store, MANY, TINY, rows, doubtful=False)
    assert [row.grade for row in rows] == ["D", "D"]
    assert failed == {str(GOOD[0]): "fell-back"}
