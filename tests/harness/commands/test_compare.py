"""`harness compare` on made-up sessions: faster, slower or a tie, and never a guess."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NoReturn

import pytest
from factories.model_files import dense, save
from factories.stores import FEW, MANY, add_sessions, made_sessions, networks, stored, true_ratio
from rigs.commands import refused, run
from rigs.terminals import run_in_terminal

from harness.estimates.comparison import compare as compare_estimates
from harness.measurement.events import SessionDone, SessionsPlanned
from harness.models.exported import ExportObserver
from harness.prediction.request import MeasureRequest
from harness.query.compare import NetworkComparison, compare
from harness.store import Store
from space import Architecture
from space.errors import ConfigError

BY_TRUTH = sorted(networks(12), key=true_ratio)
FAST, SLOW = BY_TRUTH[0], BY_TRUTH[-1]
ONLY_IN_MANY = networks(14)[12:]  # of these no sessions with four threads
UNMEASURED = networks(70)[69]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(14, 12, False))
    return path


def test_a_fast_network_is_faster_than_a_slow_one_and_the_slow_one_slower(store: Path) -> None:
    there = run(store, "compare", str(FAST), str(SLOW), "-d", "made-up", "--json")
    back = run(store, "compare", str(SLOW), str(FAST), "-d", "made-up", "--json")
    assert (there.status, there.stderr) == (0, "")
    assert [each["configuration"] for each in there.json] == [c.digest[:8] for c in (MANY, FEW)]
    for document, reverse in zip(there.json, back.json, strict=True):
        assert (document["verdict"], reverse["verdict"]) == ("faster", "slower")
        assert document["low"] < document["ratio"] < document["high"] < 1
        assert document["ratio"] == pytest.approx(1 / reverse["ratio"])
        assert document["networks"] == reverse["networks"][::-1]
    truth = true_ratio(FAST) / true_ratio(SLOW)
    assert there.json[0]["ratio"] == pytest.approx(truth, rel=0.02)


def test_json_holds_the_latencies_of_the_results(store: Path) -> None:
    (document,) = run(store, "compare", str(FAST), str(SLOW), "-d", "made-up", "-t", "2", "--json").json
    results = {row["architecture"]: row for row in run(store, "results", "-t", "2", "--json").json}
    for network, architecture in zip(document["networks"], (FAST, SLOW), strict=True):
        row = results[str(architecture)]
        assert network["latency_ms"] == row["latency_ms"]
        assert network["interval_ms"] == [row["low_ms"], row["high_ms"]]
        assert (network["grade"], network["sessions"]) == (row["grade"], 2)


def test_people_read_a_table_and_a_sentence(store: Path) -> None:
    done = run(store, "compare", FAST.graph_hash, str(SLOW.index), "--configuration", MANY.digest[:8])
    assert done.status == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith("made-up: ")
    assert lines[2].startswith(f"A: {FAST} ")
    assert lines[3].startswith(f"B: {SLOW} ")
    assert lines[4].startswith("A is faster than B: A / B is 0.")
    assert "less time" in lines[4]
    back = run(store, "compare", str(SLOW), str(FAST), "--configuration", MANY.digest[:8])
    assert "A is slower than B: A / B is " in back.stdout
    assert "more time" in back.stdout


def test_networks_whose_ratio_may_be_1_tie_and_the_next_step_is_named(store: Path) -> None:
    a, b = (Architecture.parse(text) for text in ("conv-mbconv/conv/conv", "mbconv-conv/conv/conv"))
    assert true_ratio(a) == true_ratio(b)
    opened = Store(str(store))
    add_sessions(opened, [a, b], sessions=2)
    opened.close()
    done = run(store, "compare", str(a), str(b), "-d", "made-up", "-t", "2")
    assert done.status == 0
    assert "tie: the 95 % interval of their ratio holds 1; A / B is " in done.stdout
    assert " (95 % interval)" in done.stdout
    assert f"--fresh --level final --models {a},{b}" in done.stderr


def test_a_ratio_that_may_be_wrong_by_more_than_its_interval_is_a_tie_whichever_of_the_two_it_is(
    store: Path,
) -> None:
    right, doubtful = ONLY_IN_MANY[0], UNMEASURED
    add = {"sessions": 2, "gate": {"closed": ["made-up heat"], "waited_s": 300.0}}
    opened = Store(str(store))
    add_sessions(opened, [doubtful], factor=1.3, **add)
    opened.close()
    for a, b in ((right, doubtful), (doubtful, right)):
        arguments = ("compare", str(a), str(b), "-d", "made-up", "-t", "2")
        done = run(store, *arguments)
        assert (
            "tie: of grade D (hot), so the ratio may be wrong by more than its interval; A / B is"
            in done.stdout
        )
        assert "faster" not in done.stdout and "slower" not in done.stdout
        assert f"--fresh --models {a},{b}" in done.stderr and "final" not in done.stderr
        (document,) = run(store, *arguments, "--json").json
        assert document["verdict"] == "tie" and "grade D" in document["reason"]
        assert not document["low"] <= 1 <= document["high"], "what the interval says stays to be read"


def test_a_network_that_computes_something_else_is_named_whichever_of_the_two_it_is(store: Path) -> None:
    right, wrong = ONLY_IN_MANY
    opened = Store(str(store))
    add_sessions(opened, [wrong], sessions=2, seed=3, output=(0.25, -1.5), expected=(0.25, -1.0))
    opened.close()
    for pair in ((right, wrong), (wrong, right)):
        done = run(store, "compare", str(pair[0]), str(pair[1]), "-d", "made-up")
        notes = [line for line in done.stderr.splitlines() if line.startswith("note: ")]
        assert len(notes) == 1 and notes[0].startswith(f"note: {wrong}: "), done.stderr
        assert "0.25, -1.5, where 0.25, -1 is right" in notes[0] and "--fresh" in notes[0]
        assert done.status == 0 and "note:" not in done.stdout
    assert "note:" not in run(store, "compare", str(FAST), str(SLOW), "-d", "made-up").stderr


def test_configurations_that_lack_a_network_are_named_on_standard_error(store: Path) -> None:
    a, b = ONLY_IN_MANY
    done = run(store, "compare", str(a), str(b), "-d", "made-up", "--json")
    assert done.status == 0
    assert [each["configuration"] for each in done.json] == [MANY.digest[:8]]
    assert f"[{FEW.digest[:8]}]: not measured: {a}, {b}" in done.stderr


def test_unmeasured_networks_are_refused_with_the_command_that_measures_them(store: Path) -> None:
    for json in ([], ["--json"]):
        done = run(store, "compare", str(FAST), str(UNMEASURED), "-d", "made-up", *json)
        line = f"harness measure --device made-up --runtime onnxruntime --cores 4,5 --models {UNMEASURED}\n"
        refused(done, f"--models {UNMEASURED}", line)


def test_one_network_twice_several_or_none_are_refused(store: Path) -> None:
    refused(run(store, "compare", str(FAST), FAST.graph_hash), "the same network", "name two")
    same = run(store, "compare", "conv/conv", "conv/conv")  # of spaces of two stages
    refused(same, "'conv/conv' and 'conv/conv' are the same network, conv/conv; name two")
    refused(run(store, "compare", "1,2", "3"), "'1,2' names 2 networks", "name one")
    refused(run(store, "compare", "3", "sample:4"), "'sample:4' names 4 networks")
    refused(run(store, "compare", "3", "conv/convv/conv"), "convv")
    for names in (("old.tflit", "new.tflite"), ("new.onnx", "old.tflit")):
        refused(
            run(store, "compare", *names),
            "name two of a kind (old.tflit is no model file, which ends with .onnx",
        )


@pytest.mark.parametrize("command", ["compare a.onnx b.onnx", "gate --write base.json a.onnx"])
def test_files_that_are_measured_have_the_view_of_a_campaign(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(request: MeasureRequest, store: Store, observer: ExportObserver) -> NoReturn:
        observer.event("local", SessionsPlanned(sessions=3))
        observer.event("local", SessionDone())
        raise ConfigError("enough is seen")

    for name in ("a.onnx", "b.onnx"):
        save(dense(), tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_STORE", str(tmp_path / "store.sqlite"))
    monkeypatch.setattr("harness.prediction.measure.measure_devices", measured)
    shown = run_in_terminal(*command.split(), width=80)
    assert shown.status == 2 and "harness: enough is seen" in shown.lines
    assert any(re.search(r"local .*1/3 sessions", line) for line in shown.lines), shown.lines
    piped = run(tmp_path / "store.sqlite", *command.split())
    assert "local: 3 sessions to measure\nlocal: 1 of 3 sessions" in piped.stderr


@pytest.mark.parametrize(
    "options", [["--shape", "image=1,3,8,8"], ["--inputs", "a.npz"], ["--signature", "serve"]]
)
def test_networks_are_given_no_inputs(store: Path, options: list[str]) -> None:
    done = run(store, "compare", str(FAST), str(SLOW), "-d", "made-up", *options)
    refused(done, "are for model files", str(FAST))


def test_what_means_something_for_the_other_kind_alone_is_refused(store: Path, tmp_path: Path) -> None:
    refused(
        run(store, "compare", str(FAST), str(SLOW), "-d", "made-up", "--fresh"), "--fresh", "harness measure"
    )
    files = [str(save(dense(width=width), tmp_path / f"{width}.onnx")) for width in (8, 9)]
    refused(
        run(store, "compare", *files, "--precision", "int8"), "--precision is of networks", "leave it out"
    )


def test_two_networks_of_two_hours_have_in_their_ratio_what_an_hour_may_move(store: Path) -> None:
    with Store(str(store)) as opened:
        add_sessions(opened, [FAST], sessions=3, seed=5)  # the last of them on another day
        (pair,) = compare(opened, FAST, SLOW, device="made-up", threads=2)
        assert holds_an_hour(pair)
        (pair,) = compare(opened, *ONLY_IN_MANY, device="made-up", threads=2)
        assert not holds_an_hour(pair), "both were measured on the same two days"
        for session in made_sessions([UNMEASURED], MANY, sessions=2):
            if session.started_utc > "2024-05-02":
                opened.add_session(session)
        (pair,) = compare(opened, UNMEASURED, ONLY_IN_MANY[0], device="made-up", threads=2)
        assert holds_an_hour(pair), "the last sessions are of the same day, the first are not"


def holds_an_hour(pair: NetworkComparison) -> bool:
    """Return whether the interval of a ratio holds what an hour may move; it holds one of the two."""
    a, b = pair.first.estimate, pair.second.estimate
    with_hour, without = compare_estimates(a, b, hours_apart=True), compare_estimates(a, b)
    assert pair.result in (with_hour, without) and with_hour != without
    return pair.result == with_hour
