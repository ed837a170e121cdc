"""From nothing to a verified answer on this machine: measure a sample, predict the space, join, search, measure the finalists.

Real models, the real agent and a real runtime; sessions are shorter than a user's. The accuracies are synthetic.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rigs.commands import run
from rigs.short_campaigns import SHORT, SHORT_PLAN, any_core

from harness.measurement import plan as plans
from space import TINY

pytestmark = pytest.mark.converter

SAMPLE = 12  # the fewest that a predictor with intervals is fitted to are 10


@pytest.fixture(autouse=True)
def any_core_will_do() -> Iterator[None]:
    with any_core():
        yield


def test_a_search_ends_with_networks_that_were_measured_within_the_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Long enough that what is predicted and then measured agrees; a process that measures many is started once.
    plan = replace(SHORT_PLAN, reference_runs=2, network_runs=6, min_slices=8)
    level = replace(SHORT, at_once=SAMPLE, plan=plan)
    for name in plans.LEVELS:
        monkeypatch.setitem(plans.LEVELS, name, level)
    store = tmp_path / "store.sqlite"
    measured = run(
        store, "measure", "--space", "tiny", "-r", "onnxruntime", "-m", f"sample:{SAMPLE}@3", "--json"
    )
    assert measured.status == 0, measured.stderr
    rows = sorted(measured.json, key=lambda row: row["latency_ms"])
    assert len(rows) == SAMPLE
    limit = f"local<{rows[SAMPLE // 2]['latency_ms']:.3f}ms"  # about half of the space is within it
    # Sessions of a few slices beside other tests may have grade D.
    arguments = ("search", "-a", "synthetic", "-c", limit, "--top", "3", "--doubtful", "--json")
    thought = run(store, *arguments)
    assert thought.status == 0, thought.stderr
    # In a noisy minute the five rounds of a command may not settle: the same command goes on, and knows more.
    for _ in range(4):
        done = run(store, *arguments, "--verify", "2")
        assert done.status == 0, done.stderr
        answer = done.json
        if {row["index"] for row in answer["networks"]} <= set(answer["verified"]):
            break
        assert {row["local_source"] for row in answer["networks"]} == {"predicted"}, (
            "nothing passes for measured"
        )
        assert "beyond the limits, dropped" in done.stderr
    assert 0 < answer["networks_within_limits"] < len(TINY)
    found = answer["networks"]
    assert found
    assert {row["index"] for row in found} <= set(answer["verified"])
    for row in found:
        assert row["local_source"] == "measured"
        assert row["local_ms"] < answer["constraints"][0]["limit"]
        assert row["synthetic_top1_percent"] > 0
    assert answer["accuracy"]["synthetic"] is True
    stored = {row["architecture"] for row in json.loads(run(store, "results", "--json").stdout)}
    assert {row["architecture"] for row in found} <= stored
