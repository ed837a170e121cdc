"""The pace of a core: taken now and then, the last ones kept."""

from __future__ import annotations

import sys

import pytest

from device_agents import pace
from device_agents.pace import EVERY_NS, MOST, PACED_BY, Paces, interpreter_name, pace_ns
from harness.devices.answers import MAX_NAME


def test_a_pace_is_taken_when_it_is_time_and_the_last_ones_are_kept() -> None:
    paces = Paces()
    assert [paces.take(at) for at in (7, 8, 7 + EVERY_NS - 1, 7 + EVERY_NS)] == [True, False, False, True]
    assert len(paces.taken_ns) == 2
    paces.taken_ns[:] = [1] * MOST
    assert paces.take(3 * EVERY_NS)
    assert len(paces.taken_ns) == MOST and paces.taken_ns[-1] > 1


def test_more_work_takes_longer_and_the_fastest_try_counts(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    usual = min(pace_ns() for _ in range(20))
    monkeypatch.setattr(pace, "TURNS", 20 * pace.TURNS)
    assert min(pace_ns() for _ in range(5)) > 5 * usual
    tries = iter([900, 300, 500])
    monkeypatch.setattr(pace, "_work_ns", lambda: next(tries))
    assert pace_ns() == 300


def test_it_is_said_which_interpreter_did_the_work() -> None:
    assert PACED_BY.split()[1][0].isdigit()
    assert interpreter_name() == PACED_BY


def test_builds_of_a_version_have_names_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    other = "3.11.7 (main, May  9 2026, 08:00:00) [GCC 12.2.0]"
    monkeypatch.setattr(sys, "abiflags", "d")
    names = {PACED_BY, interpreter_name()}
    monkeypatch.setattr(sys, "version", other)
    names.add(interpreter_name())
    monkeypatch.setattr(sys, "version", other.replace("GCC 12.2.0", "Clang " + "1" * 400))
    names.add(interpreter_name())
    assert len(names) == 4 and all(len(name) <= MAX_NAME for name in names)
