"""Machines that share a name and a model: in a database of several people, or behind one address."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from rigs.scripted_link import COOL, Run, ScriptedLink, ScriptedSource, StubEvent, run_scripted
from rigs.watcher import Watcher

from device_agents.attempts import FAILURES_IN_A_ROW
from harness.errors import AgentError, BadResult, Cancelled, DeviceError, LinkError, StoreError
from harness.store import Store
from harness.store.latencies import latencies
from harness.store.maintenance import list_sessions, quarantine
from harness.store.selection import Selection

FIRST, SECOND = "0123456789abcdef", "fedcba9876543210"


def link_to(machine_id: str, before_workers: str | None = None) -> ScriptedLink:
    """Return a link to a machine, and to another one when workers begin."""
    told: dict[str, Any] = {"machine_id": machine_id} if machine_id else {}
    link = ScriptedLink(probes=[COOL | told])
    link.conditions = COOL | (told if before_workers is None else {"machine_id": before_workers})
    return link


def findings_after(store: Store, *machines: str) -> tuple[list[str], list[tuple[str, str]]]:
    """Measure one network on machines of one name; return the notes on machines, and such findings with their caps."""
    observer = Watcher()
    for machine in machines:
        outcome = run_scripted(link_to(machine), store, observer=observer, fresh=True)
    (row,) = latencies(store, outcome.uses[0].configuration)
    found = [(one.kind, one.cap) for one in row.findings if one.kind == "machines"]
    return [note for note in observer.notes if "other machine" in note], found


def test_two_machines_of_one_name_are_told_when_measured_and_in_every_row(store: Store) -> None:
    (note,), findings = findings_after(store, FIRST, FIRST, SECOND)
    assert "of 1 other machine of its model" in note
    assert "name each machine by itself in devices.toml" in note
    assert findings == [("machines", "C")]


@pytest.mark.parametrize("machines", [(FIRST, FIRST), ("", FIRST, ""), ("", "")])
def test_one_machine_and_those_that_are_not_known_are_no_finding(
    store: Store, machines: tuple[str, ...]
) -> None:
    assert findings_after(store, *machines) == ([], [])


def test_sessions_that_are_set_apart_are_of_no_machine(store: Store) -> None:
    outcome = run_scripted(link_to(FIRST), store)
    configuration = outcome.uses[0].configuration
    assert store.machines(configuration) == {FIRST}
    (session,) = store.sessions(configuration)
    assert quarantine(store, Selection(sessions=(session.session_id,))) == [session.session_id]
    assert store.machines(configuration) == frozenset()


def test_a_worker_on_another_machine_than_the_campaigns_is_not_taken_for_it(store: Store) -> None:
    outcome = run_scripted(link_to(FIRST, SECOND), store, ScriptedSource())
    (failure,) = outcome.failures
    assert (failure.kind, f"machine {SECOND!r}, not {FIRST!r}" in failure.message) == (
        "conditions-changed",
        True,
    )


def locked_at(khz: int) -> ScriptedLink:
    """Return a link to a machine whose two cores are locked to a clock."""
    return clocked_at(khz, {"freq_khz": {core: {"min": khz, "max": khz, "current": khz} for core in "01"}})


def held_below(khz: int) -> ScriptedLink:
    """Return a link to a machine whose governor holds two cores at the highest clock that is allowed."""
    limits = {"min": 600_000, "max": khz, "current": khz, "hardware_max": 1_800_000}
    return clocked_at(
        khz, {"freq_khz": dict.fromkeys("01", limits), "governors": dict.fromkeys("01", "performance")}
    )


def without_boost(khz: int) -> ScriptedLink:
    """Return a link to a machine that boosts its clocks, or not: then they are slower."""
    return clocked_at(khz, {"boost": khz >= 1_800_000})


def clocked_at(khz: int, told: dict[str, Any]) -> ScriptedLink:
    conditions = COOL | told
    link = ScriptedLink(runs=[Run(reference_ns=10**16 // khz, after=conditions)], probes=[conditions])
    link.conditions = conditions
    return link


@pytest.mark.parametrize("link_at", [locked_at, held_below, without_boost])
def test_latencies_at_one_clock_are_not_told_by_the_reference_at_another(
    store: Store, link_at: Callable[[int], ScriptedLink]
) -> None:
    found = {}
    for khz in (1_800_000, 900_000):
        outcome = run_scripted(link_at(khz), store)
        assert (outcome.failures, outcome.measured) == ([], 1)
        (row,) = latencies(store, outcome.uses[0].configuration)
        found[khz] = row.latency_ms
    assert found[900_000] == pytest.approx(2 * found[1_800_000], rel=0.01)


@pytest.mark.parametrize(
    ("link_at", "told"), [(locked_at, "locked_khz#1200000"), (held_below, "max_khz#1200000")]
)
def test_a_worker_whose_cores_are_set_to_another_clock_than_the_campaigns_is_not_merged(
    store: Store, link_at: Callable[[int], ScriptedLink], told: str
) -> None:
    link = link_at(900_000)
    link.conditions = link_at(1_200_000).conditions
    (failure,) = run_scripted(link, store).failures
    assert failure.kind == "conditions-changed" and told in failure.message


def test_a_device_that_heat_holds_below_a_limit_is_throttled_not_changed(store: Store) -> None:
    link = held_below(1_500_000)
    link.conditions = held_below(1_200_000).conditions | {"cooling": {"cpufreq-cpu0": 2}}
    assert run_scripted(link, store).failures == []


def test_a_device_that_heat_holds_below_a_limit_when_its_worker_ends_is_throttled_not_changed(
    store: Store,
) -> None:
    set_to = held_below(1_500_000).conditions
    after = COOL | {"throttled": 0x4}
    link = ScriptedLink([Run(after=after)], probes=[set_to])
    link.conditions = set_to
    outcome = run_scripted(link, store)
    assert (outcome.measured, outcome.failures) == (1, [])


def test_a_setting_that_cannot_be_read_for_once_is_no_change(store: Store) -> None:
    link = without_boost(900_000)
    link.conditions = COOL | {"probe_errors": {"boost": "no such device"}}
    assert run_scripted(link, store).failures == []
    link.conditions = COOL | {"boost": True, "probe_errors": {"gpu_limits": "no such field"}}
    (failure,) = run_scripted(link, store, fresh=True).failures
    assert "boost#off" in failure.message


def test_sessions_of_a_worker_under_which_somebody_changed_a_setting_are_set_apart(store: Store) -> None:
    """Nobody knows which of them ran before that, and the reference latency of one setting would be that of another."""
    set_to, after = (COOL | {"power_mode": mode} for mode in ("15W", "MAXN"))
    link = ScriptedLink([Run(), Run(reference_ns=5_000_000, after=after), Run()], probes=[set_to])
    link.conditions = set_to
    observer = Watcher()
    outcome = run_scripted(link, store, sessions=3, observer=observer)
    assert (outcome.measured, [one.kind for one in outcome.failures]) == (2, ["conditions-changed"])
    assert "environment 'nvpmodel#MAXN', not 'nvpmodel#15W'" in outcome.failures[0].message
    assert [note for note in observer.notes if "is set apart: measured with environment" in note]
    (configuration,) = store.configurations()
    assert [level.latency_ns for level in store.reference_levels(configuration)] == [10_000_000] * 2
    assert [one.quarantined for one in list_sessions(store, Selection())] == [False, True, False]


@pytest.mark.parametrize("is_contended", [False, True])
def test_all_networks_of_such_a_worker_are_set_apart_however_many_and_none_is_counted(
    store: Store, is_contended: bool
) -> None:
    """They are no failures in a row, after which the last of them would stay as good ones."""
    set_to, after = (COOL | {"power_mode": mode} for mode in ("15W", "MAXN"))
    numbers = list(range(2 * FAILURES_IN_A_ROW))
    link = ScriptedLink([Run(after=after, is_contended=is_contended), Run(after=after)], probes=[set_to])
    link.conditions = set_to
    outcome = run_scripted(link, store, ScriptedSource(numbers), at_once=len(numbers))
    assert max(len(job["networks"]) for job in link.jobs) > FAILURES_IN_A_ROW
    assert (outcome.error, outcome.measured) == (None, 0)
    assert [one.quarantined for one in list_sessions(store, Selection())] == [True] * len(outcome.failures)


def test_where_no_store_sets_them_apart_the_message_names_all_sessions_of_such_a_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(session_id: str) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(store, "set_apart", full)
    set_to, after = (COOL | {"power_mode": mode} for mode in ("15W", "MAXN"))
    link = ScriptedLink(runs=[Run(after=after)], probes=[set_to])
    link.conditions = set_to
    error = str(run_scripted(link, store, ScriptedSource((1, 2, 3)), at_once=3).error)
    ids = [one.id for one in list_sessions(store, Selection())]
    assert error.startswith("the disk is full; ") and len(ids) == 3
    assert sorted(error.partition("quarantine ")[2].rstrip("'").split()) == sorted(ids)


MODES = [COOL | {"power_mode": mode} for mode in ("15W", "MAXN")]


def broken_off(*runs: Run, probes: Sequence[Mapping[str, Any] | Exception] = ()) -> ScriptedLink:
    """Return a board in its first mode whose next worker ends as the runs say, and that tells such conditions then."""
    link = ScriptedLink(runs, probes=[MODES[0], MODES[0], *probes])
    link.conditions = MODES[0]
    return link


BREAKS = {
    "the link": LinkError("gone"),
    "the worker": AgentError("worker-killed", "killed by SIGKILL"),
    "its times": BadResult("times that cannot be"),
}


@pytest.mark.parametrize("after", MODES, ids=["as it was", "changed"])
@pytest.mark.parametrize("broken", BREAKS)
def test_a_worker_that_broke_off_has_its_stored_sessions_checked_all_the_same(
    store: Store, broken: str, after: Mapping[str, Any]
) -> None:
    link = broken_off(Run(), Run(error=BREAKS[broken]), Run(), probes=[after])
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), at_once=2)
    kinds = [failure.kind for failure in outcome.failures if failure.kind == "conditions-changed"]
    first = list_sessions(store, Selection())[0]
    assert first.quarantined == (after is MODES[1]) == bool(kinds)


def test_what_nobody_can_ask_after_any_more_is_set_apart_and_is_no_failure(store: Store) -> None:
    cancel, observer = StubEvent(), Watcher()
    link = broken_off(Run(), Run(before=cancel.set))
    outcome = run_scripted(
        link, store, ScriptedSource(networks=(1, 2)), cancel=cancel, observer=observer, at_once=2
    )
    assert isinstance(outcome.error, Cancelled)
    assert (outcome.measured, outcome.failures, store.failures()) == (0, [], [])
    assert [one.quarantined for one in list_sessions(store, Selection())] == [True]
    assert [note for note in observer.notes if "is not known (stopped by the user" in note]
    again = run_scripted(broken_off(Run()), store, ScriptedSource(networks=(1, 2)))
    assert (again.measured, again.reused) == (2, 0)


def test_a_device_that_stays_away_leaves_no_session_of_which_nobody_knows_how_it_was_set(
    store: Store,
) -> None:
    def stay_away() -> None:
        raise DeviceError("the board", "lost, 5 attempts to reconnect failed")

    link = broken_off(Run(), Run(error=LinkError("gone")))
    link.on_reopen = stay_away
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), at_once=2)
    assert "5 attempts" in str(outcome.error) and outcome.measured == 0
    assert [one.quarantined for one in list_sessions(store, Selection())] == [True]


def test_a_session_whose_own_samples_tell_its_settings_stays_after_ctrl_c(store: Store) -> None:
    cancel = StubEvent()
    link = ScriptedLink([Run(), Run(before=cancel.set)])
    outcome = run_scripted(link, store, ScriptedSource(networks=(1, 2)), cancel=cancel, at_once=2)
    assert isinstance(outcome.error, Cancelled)
    assert outcome.measured == 1
    assert [one.quarantined for one in list_sessions(store, Selection())] == [False]


def test_a_power_mode_that_is_changed_while_the_device_holds_itself_back_is_a_change(store: Store) -> None:
    link = broken_off(Run(after=MODES[1] | {"throttled": 0x4}))
    outcome = run_scripted(link, store)
    assert (outcome.measured, [one.kind for one in outcome.failures]) == (0, ["conditions-changed"])


def test_a_gpu_that_holds_itself_back_hides_no_change_from_sessions_on_the_cores(store: Store) -> None:
    link = locked_at(900_000)
    power_cap = {"gpus": [{"name": "Made Up GPU", "reasons": 0x4}]}
    link._runs = [Run(after=locked_at(1_200_000).conditions | power_cap)]
    (failure,) = run_scripted(link, store).failures
    assert failure.kind == "conditions-changed" and "locked_khz#1200000" in failure.message
