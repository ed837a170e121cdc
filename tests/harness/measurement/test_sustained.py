"""`--sustained` on a device made of a script: kept busy for as long as asked, kept as far as it came, shown minute by minute."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from factories.records import graph_hash
from rigs.scripted_link import Load, ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from device_agents.block_plans import sustained_plan
from harness.errors import AgentError, Cancelled, LinkError
from harness.estimates.sustained import sustained
from harness.measurement.plan import parse_sustained
from harness.records import BlockRun
from harness.store import Store
from space.errors import ConfigError


def runs_of(outcome: Any, store: Store) -> list[BlockRun]:
    return store.block_runs(outcome.uses[0].configuration, "sustained")


def test_a_device_is_kept_busy_by_each_network_and_no_session_is_measured(store: Store) -> None:
    link, observer = ScriptedLink(), Watcher()
    link.loads = [
        Load(network_ms=lambda at_s: 4.0 if at_s < 600 else 5.0, is_throttled=lambda at_s: at_s > 900)
    ]
    outcome = run_scripted(
        link, store, ScriptedSource(networks=(1, 2)), observer=observer, sustained_s=1800.0
    )
    assert (outcome.error, outcome.failures, link.ran, outcome.measured) == (None, [], [], 2)
    assert observer.planned == len(observer.done) == 2
    first, second = runs_of(outcome, store)
    assert [run.graph_hash for run in (first, second)] == [graph_hash(1), graph_hash(2)]
    assert first.campaign_id == outcome.campaign_id and first.ended == "complete"
    assert store.session_counts(first.configuration) == {}, "never merged with sessions"
    found = sustained(first)
    assert (len(found.stretches), found.end_s, found.disturbed) == (30, 300.0, 0)
    assert found.ratio == pytest.approx(1.25) and found.reference_ratio == pytest.approx(1.0)
    assert found.throttled == 15 and found.sensor == "cpu"
    assert (found.stretches[0].median_ms, found.stretches[0].p90_ms) == (4.0, 4.0)
    assert found.stretches[12].median_ms == 5.0 and found.stretches[3].clock_mhz == 2000.0


def test_the_network_runs_all_the_time_but_for_a_second_of_the_reference_at_each_minute() -> None:
    plan = sustained_plan(1800.0)
    assert plan.blocks[:3] == (("reference", 1.0), ("network", 59.0), ("reference", 1.0))
    assert sum(seconds for which, seconds in plan.blocks if which == "network") == 30 * 59
    assert plan.blocks[-1][0] == "reference"
    day, short = sustained_plan(86400.0), sustained_plan(60.0)
    assert day.timed_runs * 1440 <= 150_000 and day.sample_s == 24.0
    assert len(short.blocks) == 13 and sum(seconds for _, seconds in short.blocks) == pytest.approx(60.5)


@pytest.mark.parametrize("at_s", [2.5, 700.0])
def test_ctrl_c_keeps_what_was_measured_and_marks_it(store: Store, at_s: float) -> None:
    link, cancel = ScriptedLink(), StubEvent()
    link.loads = [Load(before=lambda now_s: cancel.set() if now_s >= at_s else None)]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), cancel=cancel, sustained_s=1800.0)
    assert isinstance(outcome.error, Cancelled) and "begins anew" in str(outcome.error)
    (run,) = runs_of(outcome, store)
    assert run.ended == "stopped by the user"
    assert run.blocks[-1].runs is None and run.blocks[-1].end_ns / 1e9 == pytest.approx(at_s, abs=2.0)
    assert sustained(run).stretches[-1].runs is None


def test_a_campaign_stopped_before_the_first_run_keeps_nothing(store: Store) -> None:
    link, cancel = ScriptedLink(), StubEvent()
    link.loads = [Load(before=lambda now_s: cancel.set())]
    outcome = run_scripted(link, store, cancel=cancel, sustained_s=1800.0)
    assert isinstance(outcome.error, Cancelled) and runs_of(outcome, store) == []


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LinkError("the cable is cut"), "link-lost"),
        (AgentError("worker-killed", "out of memory"), "worker-killed"),
    ],
)
def test_what_broke_off_is_kept_and_is_a_failure_too_and_the_next_network_follows(
    store: Store, error: Exception, kind: str
) -> None:
    link = ScriptedLink()
    link.loads = [Load(error=error, error_s=500.0), Load(error=error, error_s=1.0), Load()]
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2, 3)), sustained_s=1800.0)
    assert (outcome.error, [one.kind for one in outcome.failures]) == (None, [kind, kind])
    broken, whole = runs_of(outcome, store)
    assert (broken.graph_hash, whole.graph_hash) == (graph_hash(1), graph_hash(3))
    assert str(error) in broken.ended and whole.ended == "complete"
    assert len(sustained(broken).stretches) == 9
    assert link.reopened == (2 if kind == "link-lost" else 0)


class FixedPhone:
    """What adb tells of a phone in fixed-performance mode, beside an agent that cannot see it."""

    def begin(self, *, gauge: bool = False) -> None:
        """Take nothing before a worker."""
        assert not gauge, "energy is not asked for"

    def beside(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Return the conditions with the mode."""
        return {"fixed_performance": True, **conditions}

    def joined(self, run: BlockRun) -> BlockRun:
        """Return the run with a sample of adb's."""
        sample = {"at_ns": 2_000_000_000, "source": "adb", "thermal_status": 3}
        return replace(run, samples=(*run.samples, sample), conditions_after=self.beside({}))


def test_what_adb_tells_of_a_phone_stands_beside_its_runs_under_load_too(store: Store) -> None:
    link = ScriptedLink()
    link.phone = FixedPhone()
    outcome = run_scripted(link, store, sustained_s=1800.0)
    assert (outcome.error, outcome.failures) == (None, [])
    (run,) = runs_of(outcome, store)
    assert (run.configuration.clock_tier, run.conditions_after) == ("F", {"fixed_performance": True})
    assert run.samples[-1]["source"] == "adb" and sustained(run).throttled >= 1


def test_another_runtime_than_the_campaigns_is_a_failure(store: Store) -> None:
    link = ScriptedLink()
    link.loads = [Load(runtime={"version": "9.9"})]
    outcome = run_scripted(link, store, sustained_s=60.0)
    assert [one.kind for one in outcome.failures] == ["conditions-changed"]
    assert runs_of(outcome, store) == []


def test_an_agent_that_tells_other_blocks_than_asked_for_is_not_believed(store: Store) -> None:
    link = ScriptedLink()
    plain = link.run_blocks

    def lie(job: dict[str, Any], on_event: Any) -> dict[str, Any]:
        return plain({**job, "blocks": [("network", 5.0)]}, on_event)

    link.run_blocks = lie  # type: ignore[method-assign]
    outcome = run_scripted(link, store, sustained_s=60.0)
    assert [one.kind for one in outcome.failures] == ["link-lost"]
    assert "which was not asked for" in outcome.failures[0].message


def test_many_networks_are_refused_before_anything_runs(store: Store) -> None:
    link = ScriptedLink()
    with pytest.raises(ConfigError, match="30:00 for each of 11 networks; name 10 at most"):
        run_scripted(link, store, ScriptedSource(networks=range(1, 12)), sustained_s=1800.0)
    assert link.block_jobs == []


@pytest.mark.parametrize("text", ["30", "0s", "2s", "25h", "-5m"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--sustained"):
        parse_sustained(text)


def test_times_are_read() -> None:
    assert [parse_sustained(text) for text in ("", "30m", "90s", "24h")] == [0.0, 1800.0, 90.0, 86400.0]
