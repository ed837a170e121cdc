"""Latencies of a space that were predicted before: the same to the last bit, and never those of something else."""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.spaces import TWO_OPS, make_known
from factories.stores import CONFIGURATION, add_sessions, calibrate, new_store
from rigs.commands import run

from harness.prediction import cache, space_prediction
from harness.prediction.cache import (
    ROOT,
    SpaceLatencies,
    cache_latencies,
    latency_key,
    source_digest,
    source_files,
)
from harness.prediction.provenance import Provenance
from harness.query import latencies as latency_columns
from harness.query.latencies import LatencySource, computed_latencies, stored_latency
from harness.store import Store
from harness.store.latencies import latencies
from space.segments import all_segments
from space.selection import select_models

HERE = replace(CONFIGURATION, space=TWO_OPS.name)
ELSEWHERE = replace(HERE, threads=4, cores=(0, 1, 2, 3))
ARRAYS = ("values", "low", "high", "measured", "grades")
SOURCE = LatencySource()


@pytest.fixture(scope="module", autouse=True)
def space_known() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        make_known(patch, TWO_OPS)
        yield


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The file of a store with 14 networks of a space of two ops, on one configuration with all of its segments."""
    path = tmp_path_factory.mktemp("stored") / "store.sqlite"
    made = new_store(path)
    networks = select_models("sample:14@1", TWO_OPS)
    for configuration in (HERE, ELSEWHERE):
        calibrate(made, configuration)
        add_sessions(made, networks, configuration, sessions=2)
    add_sessions(made, all_segments(TWO_OPS), HERE, seed=3)
    made.close()
    return path.read_bytes()


@pytest.fixture
def store(stored: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """That store, and a cache folder that is empty."""
    monkeypatch.setenv("HARNESS_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored)
    opened = Store(str(path))
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache/latencies"


def bits(found: SpaceLatencies) -> list[object]:
    """Return all that is known, the arrays as their types and bytes."""
    arrays = [getattr(found, name) for name in ARRAYS]
    return [found.about.to_json(), *((array.dtype.str, array.tobytes()) for array in arrays)]


def answer(
    store: Store, source: LatencySource = SOURCE, log: Callable[[str], None] = lambda text: None
) -> list[object]:
    """Return what the commands are told, the arrays as their types and bytes."""
    cost, behind = stored_latency(store, "here", HERE, source, log)
    arrays = [getattr(cost, name) for name in ARRAYS]
    return [behind, cost.coverage, cost.title, *((array.dtype.str, array.tobytes()) for array in arrays)]


def plain(behind: object) -> dict[str, object]:
    return {name: getattr(behind, name) for name in behind.__slots__}  # type: ignore[attr-defined]


def same(first: list[object], second: list[object]) -> bool:
    return plain(first[0]) == plain(second[0]) and first[1:] == second[1:]


def key_of(store: Store, coverage: float = 0.95, measured_only: bool = False) -> str:
    return latency_key(store, HERE, coverage=coverage, measured_only=measured_only)


def no_fit(*arguments: object, **more: object) -> None:
    raise AssertionError("a predictor is fitted")


# --- what is kept is what is computed -------------------------------------------------------------


@pytest.mark.parametrize("measured_only", [False, True])
def test_kept_latencies_are_the_computed_ones_to_the_last_bit(
    store: Store, folder: Path, measured_only: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = LatencySource(coverage=0.9, measured_only=measured_only)
    computed = computed_latencies(store, HERE, source)
    assert np.isnan(computed.values).any() == measured_only
    cold = answer(store, source)
    (path,) = folder.iterdir()
    kept = cache.cached_latencies(folder, path.stem, len(TWO_OPS))
    assert kept is not None and bits(kept) == bits(computed)
    monkeypatch.setattr(latency_columns, "computed_latencies", no_fit)
    assert same(answer(store, source), cold)


def test_a_second_command_fits_nothing_and_says_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = str(tmp_path / "store.sqlite")
    arguments = ("search", "-a", "synthetic", "-c", "made-up<5ms", "-t", "2", "--top", "5", "--json")
    first = run(url, *arguments)
    assert first.status == 0, first.stderr
    assert first.json["networks"]
    monkeypatch.setattr(latency_columns, "fit", no_fit)
    assert run(url, *arguments) == first
    with pytest.raises(AssertionError, match="a predictor is fitted"):
        run(url, *arguments[:5], "-t", "4", "--json")


def test_segments_have_the_ratios_that_results_show(store: Store) -> None:
    add_sessions(store, all_segments(TWO_OPS)[:9], HERE, sessions=3, seed=4, scatter=0.02)
    shown = {row.architecture: row.estimate.ratio for row in latencies(store, HERE, purpose="segment")}
    assert space_prediction.graded_segments(store, HERE)[0] == shown
    assert len(shown) == len(all_segments(TWO_OPS))
    assert space_prediction.graded_segments(store, replace(HERE, threads=7))[0] == {}


# --- the key changes with what the answer depends on ----------------------------------------------


def more_of_a_network(store: Store) -> None:
    add_sessions(store, select_models("sample:14@1", TWO_OPS)[:1], HERE, seed=5)


def more_of_a_segment(store: Store) -> None:
    add_sessions(store, all_segments(TWO_OPS)[:1], HERE, seed=5)


@pytest.mark.parametrize("change", [more_of_a_network, more_of_a_segment])
def test_a_new_session_is_seen(store: Store, folder: Path, change: Callable[[Store], None]) -> None:
    before, key = answer(store), key_of(store)
    change(store)
    assert key_of(store) != key
    after = answer(store)
    assert not same(before, after) and len(list(folder.iterdir())) == 2
    assert after[3] == bits(computed_latencies(store, HERE, SOURCE))[1]


def test_what_is_asked_for_and_what_it_is_a_ratio_to_are_in_the_key(store: Store) -> None:
    keys = [key_of(store), key_of(store, coverage=0.9), key_of(store, measured_only=True)]
    keys.append(latency_key(store, ELSEWHERE, coverage=0.95, measured_only=False))
    calibrate(store, HERE)  # the same latency again, of another session
    keys.append(key_of(store))
    assert len(set(keys)) == len(keys)
    assert key_of(store) == keys[-1]
    narrow, wide = (answer(store, LatencySource(coverage=share)) for share in (0.5, 0.9))
    assert narrow[3] == wide[3] and narrow[4] != wide[4]


def test_a_session_that_was_altered_under_its_old_name_is_seen(store: Store, tmp_path: Path) -> None:
    first, *_, last = (one.session_id for one in store.sessions(HERE))
    key = key_of(store)
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as database, database:
        database.execute(
            "update sessions set raw = (select raw from sessions where id = ?) where id = ?", (last, first)
        )
    assert key_of(store) != key


def test_sessions_of_another_device_leave_the_key_as_it_is(store: Store) -> None:
    key = key_of(store)
    add_sessions(store, select_models("sample:14@1", TWO_OPS)[:1], ELSEWHERE, seed=5)
    assert key_of(store) == key


def test_a_library_of_another_version_is_seen(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    key, version = key_of(store), importlib.metadata.version
    for name in ("numpy", "scipy", "scikit-learn"):
        with monkeypatch.context() as patch:
            patch.setattr(
                importlib.metadata, "version", lambda one, new=name: version(one) + "9" * (one == new)
            )
            assert key_of(store) != key
    assert key_of(store) == key


def test_a_changed_line_of_the_predictor_is_seen(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "copy"
    for path in source_files():
        there = copy / path.relative_to(ROOT)
        there.parent.mkdir(parents=True, exist_ok=True)
        there.write_bytes(path.read_bytes())
    assert source_digest(copy) == source_digest()
    rungs = copy / "search/latency/candidates.py"
    rungs.write_text(rungs.read_text("utf-8").replace("FEWEST = 10", "FEWEST = 11"), "utf-8")
    source_digest.cache_clear()
    changed = source_digest(copy)
    assert changed != source_digest()
    key = key_of(store)
    monkeypatch.setattr(cache, "source_digest", lambda: changed)
    assert key_of(store) != key


def test_no_package_is_left_out_of_the_key() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")} - {"tests", "benchmarks", "examples"}
    assert packages <= set(cache.PACKAGES)
    names = {path.relative_to(ROOT).as_posix() for path in source_files()}
    assert {
        "search/latency/candidates.py",
        "harness/store/rows.py",
        "harness/estimates/estimate.py",
        "space/costs.py",
    } <= names


# --- files that cannot be trusted -----------------------------------------------------------------


def flipped(whole: bytes) -> bytes:
    return whole[:-5000] + bytes([whole[-5000] ^ 1]) + whole[-4999:]


def of_another_key(whole: bytes) -> bytes:
    payload = whole.split(b"\n", 2)[2].replace(b'"key": "', b'"key": "0', 1)
    return sealed(payload)


def of_other_fields(whole: bytes) -> bytes:
    return sealed(whole.split(b"\n", 2)[2].replace(b'"predictor"', b'"soothsayer"', 1))


def without_a_head(whole: bytes) -> bytes:
    return sealed(b"[" * 2000 + b"\n" + whole.split(b"\n", 3)[3])


def sealed(payload: bytes) -> bytes:
    return b"harness latencies 2\n" + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def shorter(whole: bytes) -> bytes:
    return sealed(whole.split(b"\n", 2)[2][:-1])


FAULTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda whole: b"",
    "cut off": lambda whole: whole[: len(whole) // 2],
    "a flipped bit": flipped,
    "another version": lambda whole: whole.replace(b" 2\n", b" 1\n", 1),
    "another key's": of_another_key,
    "other fields": of_other_fields,
    "no head": without_a_head,
    "arrays too short": shorter,
    "something else": lambda whole: b"\x80\x04K\x01." * 100,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_file_that_is_damaged_or_foreign_is_written_anew(store: Store, folder: Path, fault: str) -> None:
    source = LatencySource(measured_only=True)
    right = answer(store, source)
    (path,) = folder.iterdir()
    whole = path.read_bytes()
    assert sealed(whole.split(b"\n", 2)[2]) == whole
    path.write_bytes(FAULTS[fault](whole))
    assert cache.cached_latencies(folder, path.stem, len(TWO_OPS)) is None
    assert same(answer(store, source), right)
    assert path.read_bytes() == whole


def test_a_file_longer_than_any_is_not_even_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache_latencies(tmp_path, "k", some(1))
    os.truncate(tmp_path / "k.latencies", 1 << 33)  # 8 GB, without taking the room
    monkeypatch.setattr(Path, "read_bytes", lambda path: pytest.fail(f"{path} is read"))
    assert cache.cached_latencies(tmp_path, "k", 4000) is None


def test_without_a_folder_to_write_to_the_answer_is_the_same_and_a_line_says_why(
    store: Store, folder: Path
) -> None:
    source, lines = LatencySource(measured_only=True), list[str]()
    folder.parent.mkdir()
    folder.write_text("in the way")
    first = answer(store, source, lines.append)
    assert [line.startswith(f"{folder}: cannot be written: ") for line in lines] == [True]
    folder.unlink()
    assert same(answer(store, source, lines.append), first)
    assert len(lines) == 1


def test_what_is_stored_while_latencies_are_computed_is_not_kept_under_the_old_name(
    store: Store, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slowly(*arguments: object) -> SpaceLatencies:
        more_of_a_network(store)
        return computed_latencies(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(latency_columns, "computed_latencies", slowly)
    answer(store, LatencySource(measured_only=True))
    assert not folder.exists()


# --- many files, many processes -------------------------------------------------------------------


def some(seed: int) -> SpaceLatencies:
    """Return latencies of 4,000 networks by a rule."""
    values = np.random.default_rng(seed).random(4000)
    return SpaceLatencies(
        values=values,
        low=values - 1,
        high=values + 1,
        measured=values < 0.5,
        supported=values < 0.9,
        grades=np.where(values < 0.5, "B", ""),
        about=Provenance(measured=seed),
    )


def test_the_files_used_least_recently_go_where_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "MOST_FILES", 3)
    for number in range(3):
        cache_latencies(tmp_path, f"{number}", some(number))
        os.utime(tmp_path / f"{number}.latencies", (1000 + number, 1000 + number))
    assert cache.cached_latencies(tmp_path, "0", 4000) is not None  # used now
    young, old = tmp_path / ".1.latencies.ab.partial", tmp_path / ".2.latencies.cd.partial"
    for path in (young, old, tmp_path / "notes.txt"):
        path.touch()
    os.utime(old, (1000, 1000))
    cache_latencies(tmp_path, "3", some(3))
    assert {path.name for path in tmp_path.iterdir()} == {
        "0.latencies",
        "2.latencies",
        "3.latencies",
        young.name,
        "notes.txt",
    }


def test_many_that_keep_and_read_the_same_at_once_never_see_a_part(tmp_path: Path) -> None:
    whole, seen = bits(some(1)), []

    def work() -> None:
        for _ in range(15):
            found = cache.cached_latencies(tmp_path, "k", 4000)
            seen.append(found is None or bits(found) == whole)
            cache_latencies(tmp_path, "k", some(1))
            found = cache.cached_latencies(tmp_path, "k", 4000)
            seen.append(found is not None and bits(found) == whole)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 120
    assert [path.name for path in tmp_path.iterdir()] == ["k.latencies"]
