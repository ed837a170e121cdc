"""A short run of benchmarks/kills.py: kills of each kind, and nothing is lost, doubled or wrong; faults that the verdict sees."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from factories.records import make_session
from rigs.kill_lane import TARGETS
from rigs.kill_verdict import SESSIONS_EACH, MadeUpModels, Verdict, assembly
from rigs.made_once import copy_new
from rigs.made_up_runtime import output_of, run_ns

from harness.records import SessionRecord, Slice
from harness.store import Store

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
from kills import faults, run_lanes, table

MODELS = MadeUpModels(seed=1, count=1)


@pytest.mark.long
@pytest.mark.ssh
def test_a_campaign_that_is_killed_again_and_again_ends_with_each_session_once() -> None:
    found = run_lanes(kills=10, seed=1, limit_s=100.0, databases=("sqlite", "postgresql"))
    assert faults(found) == []
    assert sum(sum(lane["kills"].values()) for lane in found) == 10
    assert all(target in table(found) for targets in TARGETS.values() for target in targets)
    for lane in found:
        assert lane["verdict"]["sessions"] >= lane["asked"] >= SESSIONS_EACH


def session(number: int = 7, **changes: Any) -> SessionRecord:
    """Return the session that a device of made-up times gives of network 1."""
    model, reference = assembly(MODELS.seed, 1), assembly(MODELS.seed, 0)
    times = [run_ns(model.digest, number, k) for k in range(8)]
    due = [run_ns(reference.digest, 0, k) for k in range(8)]
    piece = Slice(
        reference_before_ns=tuple(due[4:6]),
        after_switch_ns=times[2],
        network_ns=tuple(times[3:]),
        reference_after_ns=tuple(due[6:8]),
    )
    made = make_session(
        [piece],
        number=1,
        model_digest=model.digest,
        first_run_ns=times[0],
        warmup_network_ns=(times[1],),
        reference_first_run_ns=due[0],
        warmup_reference_ns=(due[1],),
        output=tuple(output_of(model.digest, number)),
        plan={"reference_runs": 2},
    )
    return replace(made, **changes)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr("harness.store.database.migrate", copy_new)
    with Store(str(tmp_path / "store.sqlite")) as store:
        store.start_campaign(session().campaign_id, "made-up", "2024-05-01T00:00:00.000+00:00", {})
        yield store


def judged(store: Store, *sessions: SessionRecord, acknowledged: tuple[str, ...] = ()) -> Verdict:
    for one in sessions:
        store.add_session(one)
    verdict = Verdict()
    verdict.judge(store, MODELS, acknowledged)
    return verdict


def test_the_verdict_on_what_is_as_it_must_be_is_empty(store: Store) -> None:
    first, second = session(7), session(8)
    verdict = judged(store, first, second, acknowledged=(first.session_id, second.session_id))
    assert (verdict.lost, verdict.doubled, verdict.wrong) == ([], [], [])


def test_the_verdict_sees_what_is_lost(store: Store) -> None:
    verdict = judged(store, session(7), acknowledged=("gone",))
    assert verdict.lost == [
        "network 1: 1 sessions, 2 were asked for",
        "gone was reported as stored",
    ]


def test_the_verdict_sees_what_is_doubled(store: Store) -> None:
    assert judged(store, session(7), session(7)).doubled == ["session number 7 of the device"]
    verdict = judged(store, session(8))
    assert "network 1: 3 sessions, 2 were asked for" in verdict.doubled


@pytest.mark.parametrize(
    "change",
    [
        {"first_run_ns": 2_000_001},
        {"warmup_reference_ns": (2_000_001,)},
        {"output": (7.0, 8.0)},
        {"model_digest": "0" * 64},
        {"architecture": "network 2"},
        {"graph_hash": f"{2:032x}"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_the_verdict_sees_what_is_wrong(store: Store, change: dict[str, Any]) -> None:
    assert judged(store, session(7), session(8, **change)).wrong


def test_the_verdict_sees_a_part_that_is_not_what_its_name_says(tmp_path: Path) -> None:
    (tmp_path / "parts" / "aa").mkdir(parents=True)
    (tmp_path / "parts" / "aa" / ("a" * 64)).write_bytes(b"half")
    verdict = Verdict()
    verdict.judge_device(tmp_path)
    assert len(verdict.wrong) == 1
