"""Units are named by what they are of, and results are kept once, verified, and computed again where they are damaged."""

from __future__ import annotations

import hashlib
import json
import math
import os
import resource
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

from search.work import kinds
from search.work.events import Event, UnitAgain, sentence
from search.work.kinds import Message, UnitKind
from search.work.local_pool import LocalPool
from search.work.results import ResultStore
from search.work.unit import Unit
from search.work.unit_runs import run_units
from space.errors import ConfigError, HarnessError

HERE = LocalPool()


def adding(number: float, **config: Any) -> Unit:
    return Unit(kind="factories.work:add", config={"number": number, **config})


# --- units ----------------------------------------------------------------------------------------


def test_a_key_is_the_digest_of_the_unit_as_canonical_json_on_every_machine() -> None:
    digest = "ab" * 32
    unit = Unit(kind="factories.work:add", config={"b": [1, 0.5, None], "a": "é"}, inputs={"x": digest})
    text = (
        r'{"config":{"a":"\u00e9","b":[1,0.5,null]},"inputs":{"x":"DIGEST"},"kind":"factories.work:add","version":1}'
    ).replace("DIGEST", digest)
    assert unit.key == hashlib.sha256(text.encode()).hexdigest()


def test_the_order_of_a_config_is_no_part_of_a_unit_and_everything_else_is() -> None:
    unit = Unit(kind="factories.work:add", config={"a": 1, "b": 2})
    assert Unit(kind="factories.work:add", config={"b": 2, "a": 1}) == unit
    others = [
        Unit(kind="factories.work:fail", config={"a": 1, "b": 2}),
        Unit(kind="factories.work:add", config={"a": 1, "b": 3}),
        Unit(kind="factories.work:add", config={"a": 1, "b": 2}, inputs={"x": "0" * 64}),
    ]
    assert len({unit.key, *(other.key for other in others)}) == 4


def test_a_new_version_of_a_kind_gives_units_new_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = set()
    for version in (1, 2):
        kind = UnitKind(module="factories.work", function="add", version=version, seals="work result")
        monkeypatch.setattr(kinds, "KINDS", {"adding": kind})
        keys.add(Unit(kind="adding", config={}).key)
    assert len(keys) == 2


def test_a_unit_keeps_its_own_copy_of_its_config() -> None:
    config = {"list": [1]}
    unit = Unit(kind="factories.work:add", config=config)
    config["list"].append(2)
    assert unit.config == {"list": [1]}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"a": math.nan}, "no JSON"),
        ({"a": (1, 2)}, "tuple"),
        ({1: 2}, "key 1 is int"),
        ({"a": Path("x")}, "PosixPath"),
        ([], "list"),
    ],
)
def test_a_config_that_is_no_json_object_is_refused(config: Any, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Unit(kind="factories.work:add", config=config)


@pytest.mark.parametrize("digest", ["", "ab" * 31, "AB" * 32, 7])
def test_an_input_that_is_no_digest_is_refused(digest: Any) -> None:
    with pytest.raises(ConfigError, match=r"input 'x' .*64 hexadecimal"):
        Unit(kind="factories.work:add", config={}, inputs={"x": digest})


def test_an_unknown_kind_is_refused_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no kind of unit 'trian'; did you mean 'train'"):
        Unit(kind="trian", config={})


def test_every_kind_of_the_table_can_be_imported() -> None:
    for name in kinds.KINDS:
        assert callable(kinds.load_function(name))


@pytest.mark.parametrize("kind", ["made_nothing:add", "factories.work:subtract"])
def test_a_function_that_is_not_there_fails_its_unit_with_a_remedy(tmp_path: Path, kind: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot be imported: .*; install it where the unit runs"):
        run_units([Unit(kind=kind, config={})], ResultStore(folder=tmp_path), HERE)


# --- results --------------------------------------------------------------------------------------


def test_content_comes_back_as_it_was_under_a_digest_of_what_it_is(tmp_path: Path) -> None:
    results = ResultStore(folder=tmp_path)
    content = {"weights": torch.arange(3.0), "text": "x", "list": [1, None]}
    digest = results.add(content, "work result")
    found = ResultStore(folder=tmp_path).get(digest)
    assert found["weights"].equal(torch.arange(3.0)) and found["text"] == "x" and found["list"] == [1, None]
    assert results.add(dict(reversed(content.items())), "work result") == digest
    assert results.path_of(digest) == tmp_path / "objects" / digest[:2] / f"{digest}.harness"


def test_a_person_can_read_what_there_is(tmp_path: Path) -> None:
    unit, results = adding(4), ResultStore(folder=tmp_path)
    done = run_units([unit], results, HERE)
    record = json.loads((tmp_path / "units" / f"{unit.key}.json").read_text())
    assert (
        record["kind"] == "factories.work:add"
        and record["config"] == {"number": 4}
        and record["inputs"] == {}
    )
    assert record["result"] == done[unit.key]
    assert record["seconds"] >= 0 and record["host"] and record["finished"].endswith("+00:00")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100])


def swap(path: Path) -> None:
    other = ResultStore(folder=path.parents[2] / "other")
    path.write_bytes(other.sealed(other.add({"numbers": torch.zeros(1)}, "work result")))


@pytest.mark.parametrize("harm", [Path.unlink, flip, cut, swap, lambda path: path.write_text("x")])
def test_a_result_that_is_damaged_or_gone_is_told_and_computed_again(tmp_path: Path, harm: Any) -> None:
    calls = tmp_path / "calls"
    unit, results = adding(4, calls=str(calls)), ResultStore(folder=tmp_path / "results")
    done = run_units([unit], results, HERE)
    harm(results.path_of(done[unit.key]))
    events: list[Event] = []
    assert results.result_of(unit) is None
    with pytest.raises(ConfigError):
        results.get(done[unit.key])
    assert run_units([unit], results, HERE, events.append) == done
    again, *_ = events
    assert isinstance(again, UnitAgain) and again.unit == unit
    assert again.reason.startswith(f"{results.path_of(done[unit.key])}: ")
    assert len(calls.read_text().splitlines()) == 2
    assert results.get(done[unit.key])["numbers"].tolist() == [4]


@pytest.mark.parametrize("text", ["", "[]", "{}", "{", '{"key": "x", "result": "y"}'])
def test_a_record_that_is_damaged_is_told_and_its_unit_computed_again(tmp_path: Path, text: str) -> None:
    unit, results = adding(4), ResultStore(folder=tmp_path)
    done = run_units([unit], results, HERE)
    (tmp_path / "units" / f"{unit.key}.json").write_text(text)
    events: list[Event] = []
    assert run_units([unit], results, HERE, events.append) == done
    assert "is no record of a unit" in sentence(events[0])


def test_a_record_of_another_unit_is_not_taken_for_its_own(tmp_path: Path) -> None:
    four, five, results = adding(4), adding(5), ResultStore(folder=tmp_path)
    run_units([four], results, HERE)
    (tmp_path / "units" / f"{four.key}.json").rename(tmp_path / "units" / f"{five.key}.json")
    assert results.result_of(five) is None


def test_what_a_killed_process_left_half_written_is_no_result_and_goes_when_it_is_old(tmp_path: Path) -> None:
    results = ResultStore(folder=tmp_path)
    digest = results.add({"number": 1}, "work result")
    old, new = (results.path_of(digest).with_name(f".x.{name}.partial") for name in ("old", "new"))
    record = tmp_path / "units" / ".x.json.old.partial"
    record.parent.mkdir()
    for path in (old, new, record):
        path.write_bytes(b"harness")
    for path in (old, record):
        os.utime(path, (0, 0))
    run_units([adding(1)], results, HERE)
    assert new.exists() and not old.exists() and not record.exists()


def test_a_partial_file_that_its_writer_renames_meanwhile_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results, stat = ResultStore(folder=tmp_path), Path.stat
    partial = tmp_path / "objects" / "ab" / ".x.partial"
    partial.parent.mkdir(parents=True)
    partial.touch()

    def renamed(path: Path, **more: Any) -> os.stat_result:
        if path == partial:
            partial.unlink()
        return stat(path, **more)

    monkeypatch.setattr(Path, "stat", renamed)
    assert len(run_units([adding(1)], results, HERE)) == 1
    assert not partial.exists()


def test_on_a_full_disk_an_earlier_result_is_found_and_a_new_one_refused_with_a_remedy(
    tmp_path: Path,
) -> None:
    results = ResultStore(folder=tmp_path)
    done = run_units([adding(1)], results, HERE)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # no file may grow, the lock neither
    try:
        assert run_units([adding(1)], results, HERE) == done
        with pytest.raises(ConfigError, match=r"\.harness: cannot be written: File too large"):
            run_units([adding(2)], results, HERE)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_recording_a_units_content_by_hand_makes_it_done(tmp_path: Path) -> None:
    unit, results = Unit(kind="factories.work:fail", config={}), ResultStore(folder=tmp_path)
    digest = results.add({"number": 1}, "work result")
    results.record(unit, digest, 1.0, "here")
    assert run_units([unit], results, HERE) == {unit.key: digest}


def test_a_folder_that_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/lock: cannot be written: .*; check the folder"):
        run_units([adding(1)], ResultStore(folder=tmp_path / "file"), HERE)


# --- running --------------------------------------------------------------------------------------


def test_a_second_run_in_the_same_folder_is_told_who_holds_it_waits_and_computes_nothing_twice(
    tmp_path: Path,
) -> None:
    go, calls = tmp_path / "go", tmp_path / "calls"
    unit = Unit(kind="factories.work:held", config={"go": str(go), "calls": str(calls), "number": 3.0})
    results, at_work, told = ResultStore(folder=tmp_path / "results"), threading.Event(), []

    def show(event: Event) -> None:
        told.append(sentence(event))
        if isinstance(event, Message):
            go.touch()

    first = threading.Thread(
        target=run_units, args=([unit], results, HERE, lambda event: at_work.set()), daemon=True
    )
    first.start()
    assert at_work.wait(60)
    second = run_units([unit], ResultStore(folder=tmp_path / "results"), HERE, show)
    first.join(60)
    assert second == {unit.key: results.result_of(unit)}
    assert len(calls.read_text().splitlines()) == 1
    assert f"is in use by process {os.getpid()} on " in told[0]


def test_a_unit_given_twice_is_computed_once_and_results_come_in_the_order_of_the_units(
    tmp_path: Path,
) -> None:
    calls = tmp_path / "calls"
    units = [adding(number, calls=str(calls)) for number in (5, 4, 5)]
    done = run_units(units, ResultStore(folder=tmp_path / "results"), HERE)
    assert list(done) == [units[0].key, units[1].key]
    assert len(calls.read_text().splitlines()) == 2


def test_the_same_work_in_another_folder_gives_the_same_digests(tmp_path: Path) -> None:
    units = [adding(number) for number in (1, 2)]
    first, second = (run_units(units, ResultStore(folder=tmp_path / name), HERE) for name in "ab")
    assert first == second


def test_units_refused_for_what_they_were_given_are_an_error_of_the_input(tmp_path: Path) -> None:
    refused, raises = (
        Unit(kind="factories.work:refuse", config={}),
        Unit(kind="factories.work:fail", config={}),
    )
    with pytest.raises(ConfigError, match="the bucket has a hole"):
        run_units([refused, adding(1)], ResultStore(folder=tmp_path), HERE)
    with pytest.raises(HarnessError) as caught:
        run_units([refused, raises], ResultStore(folder=tmp_path), HERE)
    assert not isinstance(caught.value, ConfigError)


def test_a_damaged_input_is_refused_before_anything_is_run(tmp_path: Path) -> None:
    results = ResultStore(folder=tmp_path)
    digest = results.add({"numbers": torch.ones(1)}, "work result")
    flip(results.path_of(digest))
    unit = Unit(
        kind="factories.work:add", config={"number": 1, "calls": str(tmp_path / "c")}, inputs={"x": digest}
    )
    with pytest.raises(ConfigError, match=r"input 'x' cannot be used: .* is damaged"):
        run_units([unit], results, HERE)
    assert not (tmp_path / "c").exists()
