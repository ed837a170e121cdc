"""`harness store`: damaged rows are found, set apart and taken back, deleted when meant, and sessions exported whole."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest
from factories.records import CONFIGURATION, make_energy_run, make_failure, make_session, make_slice
from factories.stores import new_store
from rigs.commands import refused, run

from harness.records import SessionRecord
from harness.store import Store
from harness.store.documents import block_run_of, session_of

OTHER = replace(CONFIGURATION, device="elsewhere", runtime="tflite")


def made() -> list[SessionRecord]:
    slices = [make_slice([4_000_000, 4_200_000], [2_000_000], [2_100_000])] * 6
    return [
        make_session(
            slices,
            number=number,
            started_utc=f"2024-05-0{number}T10:00:00.000+00:00",
            configuration=OTHER if number == 4 else CONFIGURATION,
        )
        for number in (1, 2, 3, 4)
    ]


@pytest.fixture
def sessions() -> list[SessionRecord]:
    return made()


@pytest.fixture
def path(tmp_path: Path, sessions: list[SessionRecord], monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    path = tmp_path / "store.sqlite"
    with new_store(path) as store:
        for session in sessions:
            store.add_session(session)
        store.add_failure(make_failure(number=9))
    return path


def change(path: Path, statement: str, *values: object) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute("pragma foreign_keys=off")
        connection.execute(statement, values)
    connection.close()


def shown(path: Path, *options: str) -> list[str]:
    done = run(path, "store", "show", *options, "--json")
    assert done.status == 0, done.stderr
    return [row["network"].removeprefix("network ") for row in done.json]


def test_a_sound_store_has_nothing_wrong(path: Path) -> None:
    done = run(path, "store", "check", "--json")
    assert done.status == 0
    assert done.json == {"rows": 7, "quarantined": 0, "waiting": 0, "troubles": []}
    assert "0 wrong" in run(path, "store", "check").stderr


DAMAGE = {
    "blob": ("update sessions set raw = x'00' where architecture = 'network 2'", "network 2", "the blob is"),
    "no text": (
        "update sessions set started_utc = x'41' where architecture = 'network 2'",
        "network 2",
        "started",
    ),
    "purpose": ("update sessions set purpose = 'x' where architecture = 'network 2'", "network 2", "purpose"),
    "seconds": ("update sessions set loop_s = 'x' where architecture = 'network 2'", "network 2", "loop_s"),
    "level": ("update sessions set reference_ns = -1 where architecture = 'network 2'", "network 2", "level"),
    "other level": (
        "update sessions set reference_ns = 7e9 where architecture = 'network 2'",
        "network 2",
        "its raw times say",
    ),
    "failure": ("update failures set kind = x'41'", "network 9", "kind"),
    "no configuration": (
        "update sessions set configuration_id = 99 where architecture = 'network 2'",
        "",
        "belongs to a row of configurations",
    ),
    "configuration": ("update configurations set threads = 0 where device = 'elsewhere'", "", "at least 1"),
    "cores": ("update configurations set cores = '1;2' where device = 'elsewhere'", "", "cannot be read"),
    "digest": ("update configurations set hardware = 'other' where device = 'elsewhere'", "", "digest"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_row_that_is_wrong_is_named_and_hides_no_other(path: Path, name: str) -> None:
    statement, network, problem = DAMAGE[name]
    change(path, statement)
    done = run(path, "store", "check", "--json")
    assert done.status == 1
    assert any(network in t["network"] and problem in t["problem"] for t in done.json["troubles"])
    results = run(path, "results", "--json")
    assert results.status == 0, results.stderr
    assert {row["architecture"] for row in results.json} >= {"network 1", "network 3"}
    if name not in ("failure", "other level", "purpose", "no configuration"):
        assert results.stderr.count("see 'harness store check'") == 1
    for command in (["results"], ["results", "--failures"], ["store", "show"], ["store", "check"]):
        done = run(path, *command)
        assert done.status in (0, 1)
        assert "Traceback" not in done.stderr


def test_what_is_quarantined_is_in_no_answer_until_it_is_taken_back(
    path: Path, sessions: list[SessionRecord]
) -> None:
    before = run(path, "results", "--json").json
    done = run(path, "store", "quarantine", sessions[1].session_id[:13], "--json")
    assert done.json == {"sessions": [sessions[1].session_id], "done": "quarantined"}
    with Store(str(path), read_only=True) as store:
        assert len(store.session_counts(CONFIGURATION)) == 2
        assert len(store.reference_levels(CONFIGURATION)) == 2
    assert "network 2" not in run(path, "results").stdout
    assert run(path, "store", "check", "--json").json["quarantined"] == 1
    assert "network (quarantined)" in run(path, "store", "show").stdout
    assert run(path, "store", "quarantine", sessions[1].session_id, "--json").json["sessions"] == []
    assert run(path, "store", "quarantine", "--device", "made-up", "--undo").status == 0
    assert run(path, "results", "--json").json == before


def test_unreadable_sessions_are_set_apart_together_and_then_nothing_is_wrong(path: Path) -> None:
    change(path, "update sessions set raw = x'00' where architecture in ('network 2', 'network 3')")
    assert shown(path, "--unreadable") == ["2", "3"]
    assert run(path, "store", "quarantine", "--unreadable").status == 0
    done = run(path, "store", "check")
    assert (done.status, done.stdout) == (0, "")
    assert "cannot be read" not in run(path, "results").stderr


def test_deleting_asks_and_needs_to_be_told_what(
    path: Path, sessions: list[SessionRecord], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused(run(path, "store", "delete", "--yes"), "every session", "--unreadable")
    refused(run(path, "store", "quarantine"), "every session")
    for what in (("delete", "--yes"), ("quarantine",), ("quarantine", "--undo")):
        none = ("'no-such-id'", "none that fits the rest has this id")
        refused(run(path, "store", *what, "no-such-id", sessions[0].session_id), *none)
    assert len(shown(path)) == 4
    for answer, before in (("n\n", ""), ("", "\n")):  # without an answer the question's line is ended
        monkeypatch.setattr("sys.stdin", io.StringIO(answer))
        done = run(path, "store", "delete", "--device", "made-up")
        assert done.status == 1 and "delete 3 sessions" in done.stderr
        assert done.stderr.endswith(f"[y/N]:{before}nothing is deleted; --yes deletes without asking\n")
    assert len(shown(path)) == 4
    done = run(path, "store", "delete", sessions[0].session_id, "--yes", "--json")
    assert done.json["sessions"] == [sessions[0].session_id]
    assert shown(path) == ["2", "3", "4"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--device", "elsewhere"], "4"),
        (["--runtime", "onnxruntime"], "123"),
        (["-m", "network 3", "-m", "0" * 31 + "1"], "13"),
        (["--configuration", OTHER.digest[:8]], "4"),
        (["--since", "2024-05-02", "--before", "2024-05-04T09:00"], "23"),
        (["--since", "20240502", "--before", "20240504T0900"], "23"),
        (["--since", "2024-W18-4", "--before", "2024-05-04 09:00"], "23"),
        (["--since", "2024-05-02T11:30+02:00", "--before", "2024-05-04T04:00-05:00"], "23"),
        (["--since", "20240502", "--before", "20240502"], ""),
        (["--runtime", "onnxruntime:cpu"], "123"),
        (["--runtime", "onnxruntime:cuda"], ""),
        (["--runtime", "tflite", "--runtime", "onnxruntime", "--precision", "fp32", "--batch", "1"], "1234"),
        (["--precision", "int8"], ""),
        ([], "1234"),
    ],
)
def test_sessions_are_chosen_by_what_they_are(path: Path, options: list[str], expected: str) -> None:
    assert "".join(shown(path, *options)) == expected


def test_what_chooses_nothing_that_can_be_is_refused(path: Path) -> None:
    refused(run(path, "store", "show", "--since", "yesterday"), "--since 'yesterday'", "UTC")
    refused(run(path, "store", "show", "abc"), "at least 4 characters")
    refused(run(path, "store", "show", "no-such-id"), "no session has it")
    typed = {
        ("--device", "elswhere"): ("nothing is stored of device 'elswhere'; did you mean 'elsewhere'?",),
        ("--runtime", "tflight"): ("--runtime names unknown runtime 'tflight'; did you mean 'tflite'?",),
        ("--precision", "fp23"): ("no precision 'fp23'; did you mean 'fp32'?",),
        ("--configuration", "ffff"): ("--configuration 'ffff': no configuration has this id",),
    }
    for options, parts in typed.items():
        for command in ("show", "check", "export", "quarantine", "delete"):
            refused(run(path, "store", command, *options), *parts)
    assert shown(path) == ["1", "2", "3", "4"]
    one = run(path, "store", "show", "--device", "made-up", "--json").json[0]["id"]
    assert run(path, "store", "show", one, "--device", "made-up").status == 0
    refused(run(path, "store", "show", one, "--device", "elsewhere"), "no session that fits the rest has it")
    refused(run(path, "store", "show", "--failure", "77"), "failure 77")
    refused(
        run(path, "store", "show", "--failure", "1", "--device", "made-up"), "leave out what selects sessions"
    )
    refused(run(path, "results", "--sustained", "--failures"), "--sustained and --failures: leave one")
    refused(run(path, "results", "--sustained", "--csv"), "--sustained and --csv: leave one")
    refused(run(path.parent / "none.sqlite", "store", "check", "--store", str(path) + "x"), "no such store")
    refused(run(path, "store", "delete", "--yes", "abcd", "--store", str(path) + "x"), "no such store")
    assert not Path(str(path) + "x").exists()


def test_where_nothing_fits_that_is_said(path: Path) -> None:
    done = run(path, "store", "show", "--precision", "int8")
    assert (done.status, done.stdout) == (0, "")
    assert done.stderr == "no session is stored that fits\n"


def test_a_session_and_a_failure_are_shown_whole(path: Path, sessions: list[SessionRecord]) -> None:
    done = run(path, "store", "show", sessions[0].session_id[:8])
    assert done.status == 0
    for text in ("4.100, 4.000", "12 in 6 slices", "governors", "performance", sessions[0].session_id):
        assert text in done.stdout
    document = run(path, "store", "show", sessions[0].session_id, "--json").json
    assert (document["slices"], document["reference_ms"]) == (6, 2.05)
    assert "killed by signal 9" in run(path, "store", "show", "--failure", "1").stdout
    change(path, "update sessions set raw = x'00'")
    refused(run(path, "store", "show", sessions[0].session_id), "the blob is", "harness store quarantine")


def test_exported_sessions_are_read_back_as_they_were(
    path: Path, tmp_path: Path, sessions: list[SessionRecord]
) -> None:
    done = run(path, "store", "export")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [session_of(line) for line in lines] == sessions
    assert {line["quarantined"] for line in lines} == {False}
    for name in ("all.jsonl", "all.csv", "all.parquet"):
        assert run(path, "store", "export", "-o", str(tmp_path / name)).status == 0
    assert (tmp_path / "all.jsonl").read_text() == done.stdout
    with (tmp_path / "all.csv").open(newline="") as file:
        assert [from_cells(row) for row in csv.DictReader(file)] == sessions
    parquet = pytest.importorskip("pyarrow.parquet")
    rows = parquet.read_table(tmp_path / "all.parquet").to_pylist()
    assert [from_cells(row) for row in rows] == sessions
    some = run(path, "store", "export", "--device", "elsewhere", "--format", "csv")
    assert len(list(csv.DictReader(io.StringIO(some.stdout)))) == 1
    refused(run(path, "store", "export", "--format", "parquet"), "--output")


def test_runs_of_blocks_are_exported_apart_and_read_back_as_they_were(path: Path, tmp_path: Path) -> None:
    runs = [make_energy_run(), make_energy_run(started_utc="2024-05-02T00:00:00.000+00:00")]
    runs[1] = replace(runs[1], configuration=replace(CONFIGURATION, device="elsewhere", batch=8))
    with Store(str(path)) as store:
        for one in runs:
            store.add_block_run(one)
    done = run(path, "store", "export", "--blocks")
    lines = done.stdout.splitlines()
    assert [block_run_of(json.loads(line)) for line in lines] == runs
    assert "2 runs of blocks" in done.stderr
    some = run(path, "store", "export", "--blocks", "--device", "elsewhere", "--format", "csv")
    (row,) = csv.DictReader(io.StringIO(some.stdout))
    assert (row["run_id"], row["purpose"]) == (runs[1].run_id, "energy")
    for batch, one in (("1", runs[0]), ("8", runs[1])):
        (line,) = run(path, "store", "export", "--blocks", "--batch", batch).stdout.splitlines()
        assert json.loads(line)["run_id"] == one.run_id
    change(path, "update block_runs set raw = x'00'")
    assert "2 rows cannot be read" in run(path, "store", "export", "--blocks").stderr


def from_cells(row: dict[str, object]) -> SessionRecord:
    texts = ("session_id", "campaign_id", "architecture", "graph_hash", "model_digest", "started_utc")
    texts += ("stop", "agent_digest", "purpose", "process", "arithmetic")
    return session_of(
        {
            key: json.loads(value) if isinstance(value, str) and key not in texts else value
            for key, value in row.items()
        }
    )


def test_what_cannot_be_read_is_left_out_of_an_export_and_named(path: Path) -> None:
    change(path, "update sessions set raw = x'00' where architecture = 'network 2'")
    done = run(path, "store", "export")
    assert (done.status, len(done.stdout.splitlines())) == (0, 3)
    assert "1 row cannot be read" in done.stderr and "network 2" in done.stderr


def test_what_waits_is_put_there_before_a_check(path: Path) -> None:
    with Store(str(path)) as store:
        assert store._spool is not None
        document = {"id": "other", "device": "made-up", "started_utc": "2024", "request": "{}"}
        store._spool.append({"kind": "campaign", "record": document})
    assert run(path, "store", "check").status == 0
    with sqlite3.connect(path) as connection:
        assert connection.execute("select count(*) from campaigns").fetchone() == (2,)
