"""A phone watched through adb: samples dated in its clock with an honest error, joined to sessions, judged by themselves."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from factories.records import make_block_run, make_session
from rigs.adb_server import SERIAL, AdbServer, Phone
from rigs.android_answers import DENIED, thermal

from device_agents.throttling import clock_tier, throttle_signs
from harness.devices.adb.client import Adb
from harness.devices.adb.clock import ClockOffset, read_offset, since_boot_ns
from harness.devices.adb.watch import PhoneWatch
from harness.devices.transports.local import LocalTransport
from harness.errors import DeviceError, LinkError

WHO = "device 'pixel'"
AHEAD_NS = 5_000_000_000  # how far this machine's clock is before the phone's


def offset(error_ns: int = 1000) -> ClockOffset:
    return ClockOffset(offset_ns=AHEAD_NS, error_ns=error_ns, known_ns=since_boot_ns())


def watch(*, fixed: bool = False, error_ns: int = 1000) -> PhoneWatch:
    return PhoneWatch(Adb(SERIAL, WHO), fixed=fixed, offset=lambda: offset(error_ns), period_s=0.1)


def await_samples(watched: PhoneWatch, count: int) -> None:
    deadline_s = time.monotonic() + 20
    while watched.taken < count:
        assert time.monotonic() < deadline_s, "no samples came"
        time.sleep(0.02)


def test_a_time_of_the_phone_is_known_to_half_the_reading_and_the_clocks_own_error() -> None:
    clock = ClockOffset(offset_ns=AHEAD_NS, error_ns=2_000_000, known_ns=10_000_000_000)
    assert clock.on_phone(10_000_000_000, 10_100_000_000) == (5_050_000_000, 2_000_000 + 50_000_000 + 100_000)
    later_ns, error_ns = clock.on_phone(70_000_000_000, 70_000_000_000)
    assert later_ns == 65_000_000_000
    assert error_ns == 2_000_000 + 60_000_000, "clocks drift apart by a thousandth at most"


def test_the_offset_of_a_clock_that_is_this_machines_own_is_none_within_its_error() -> None:
    asleep_ns = since_boot_ns() - time.perf_counter_ns()  # for so long it was suspended
    found = read_offset(LocalTransport(), sys.executable)
    assert abs(found.offset_ns - asleep_ns) <= found.error_ns + 1_000_000 < 1_000_000_000


def test_a_login_that_greets_hides_no_clock(tmp_path: Path) -> None:
    program = tmp_path / "python3"
    program.write_text(f"#!/bin/sh\nprintf 'Welcome, 12\\n34'\nexec {sys.executable} \"$@\"\n")
    program.chmod(0o755)
    asleep_ns = since_boot_ns() - time.perf_counter_ns()
    found = read_offset(LocalTransport(), str(program))
    assert abs(found.offset_ns - asleep_ns) <= found.error_ns + 1_000_000


def test_a_python_that_tells_no_clock_is_a_broken_link() -> None:
    with pytest.raises(LinkError):
        read_offset(LocalTransport(), "/bin/false")


@pytest.mark.adb
@pytest.mark.parametrize("make", [make_session, make_block_run])
def test_samples_join_a_session_in_its_order_of_time_and_bear_their_source_and_error(
    server: AdbServer, make: Callable[..., Any]
) -> None:
    watched = watch()
    watched.open()
    try:
        watched.begin()
        began_ns = since_boot_ns() - AHEAD_NS
        await_samples(watched, 2)
        own = {
            "at_ns": began_ns - 1_000_000_000,
            "load_1m": 1.0,
        }  # by more than what is unknown of the phone's times
        session = watched.joined(make(samples=(own,)))
    finally:
        watched.close()
    assert session.samples[0] == own
    times = [sample["at_ns"] for sample in session.samples]
    assert times == sorted(times)
    for sample in session.samples[1:]:
        assert sample["source"] == "adb"
        assert 0 < sample["at_error_ns"] < 1_000_000_000
        assert began_ns - sample["at_error_ns"] <= sample["at_ns"] <= since_boot_ns() - AHEAD_NS
        assert (sample["thermal_status"], sample["freq_khz"]["7"]) == (0, 2_850_000)
        assert "battery" not in sample, "what changes slowly is asked for before and after"
    for conditions in (session.conditions_before, session.conditions_after):
        assert conditions["adb"]["battery"]["percent"] == 85
        assert conditions["adb"]["screen"] == "on"
        assert conditions["thermal_status"] == 0
        assert conditions["battery"]["status"] == "Charging", "so the finding on batteries sees it"
        assert "fixed_performance" not in conditions, "nobody asked for it"
    assert server.phones[0].mode == ""


@pytest.mark.adb
def test_a_sample_belongs_to_one_session_alone(server: AdbServer) -> None:
    watched = watch()
    watched.open()
    try:
        watched.begin()
        await_samples(watched, 2)
        first = watched.joined(make_session(samples=()))
        await_samples(watched, watched.taken + 2)
        second = watched.joined(make_session(samples=()))
    finally:
        watched.close()
    assert first.samples
    assert second.samples
    assert max(sample["at_ns"] for sample in first.samples) < min(
        sample["at_ns"] for sample in second.samples
    )


@pytest.mark.adb
def test_samples_whose_time_is_not_known_well_enough_are_left_out_and_the_session_says_so(
    server: AdbServer,
) -> None:
    watched = watch(error_ns=2_000_000_000)
    watched.open()
    try:
        watched.begin()
        await_samples(watched, 1)
        session = watched.joined(make_session(samples=()))
    finally:
        watched.close()
    assert session.samples == ()
    assert "dated" in session.conditions_after["adb"]["absent"]["samples"]


@pytest.mark.adb
def test_what_the_phone_does_not_tell_is_absent_with_the_reason(phone: Phone, server: AdbServer) -> None:
    phone.answer("thermalservice", DENIED)
    phone.answer("deviceidle", "perhaps\n")
    watched = watch()
    watched.open()
    try:
        watched.begin()
        await_samples(watched, 1)
        session = watched.joined(make_session(samples=()))
    finally:
        watched.close()
    absent = session.conditions_before["adb"]["absent"]
    assert "Permission Denial" in absent["thermal_status"]
    assert "'perhaps" in absent["screen"]
    assert "thermal_status" not in session.conditions_before
    assert all("thermal_status" not in sample and "freq_khz" in sample for sample in session.samples)


@pytest.mark.adb
def test_a_pulled_cable_leaves_samples_out_with_the_reason(phone: Phone, server: AdbServer) -> None:
    watched = watch()
    watched.open()
    try:
        watched.begin()
        server.unplug()
        before = watched.taken
        await_samples(watched, before + 2)
        session = watched.joined(make_session(samples=()))
    finally:
        watched.close()
    assert "not found" in session.conditions_after["adb"]["absent"]["adb"]
    assert all(sample.get("source") == "adb" for sample in session.samples), "those from before it was pulled"


@pytest.mark.adb
def test_gates_heed_what_adb_tells_and_the_devices_own_word_before_it(
    phone: Phone, server: AdbServer
) -> None:
    phone.answer("thermalservice", thermal(3))
    watched = watch()
    assert throttle_signs(watched.beside({})) == ["Android thermal status 3 (severe)"]
    assert watched.beside({"thermal_status": 0})["thermal_status"] == 0


@pytest.mark.adb
def test_fixed_performance_is_on_while_watched_kept_on_and_off_afterwards(
    phone: Phone, server: AdbServer
) -> None:
    watched = watch(fixed=True)
    watched.open()
    try:
        watched.begin()
        assert phone.mode == "true"
        session = watched.joined(make_session(samples=()))
        assert clock_tier(session.conditions_before, ()) == "F"
        phone.restart()  # adbd's end, or the phone's
        deadline_s = time.monotonic() + 20
        while phone.mode != "true":
            assert time.monotonic() < deadline_s, "it was not switched on again"
            time.sleep(0.02)
        await_samples(watched, watched.taken + 2)
        session = watched.joined(make_session(samples=()))
    finally:
        watched.close()
    told = [sample["fixed_performance"] for sample in session.samples]
    assert False in told, "that it was off is in the samples"
    assert told[-1] is True
    assert (phone.mode, phone.guards()) == ("false", [])


@pytest.mark.adb
def test_a_phone_that_stays_in_fixed_performance_is_an_error_and_one_out_of_reach_is_not(
    phone: Phone, server: AdbServer
) -> None:
    watched = watch(fixed=True)
    watched.open()
    (phone.folder / "refuses").write_text("busy\n")
    phone.end_processes()
    with pytest.raises(DeviceError, match="could not be switched off"):
        watched.close()
    (phone.folder / "refuses").unlink()
    watched = watch(fixed=True)
    watched.open()
    server.unplug()
    watched.close()
    assert phone.guards(), "it ends the mode by itself"


@pytest.mark.adb
def test_a_watch_without_fixed_performance_ends_what_a_killed_run_left_on(
    phone: Phone, server: AdbServer
) -> None:
    killed = watch(fixed=True)
    killed.open()
    killed._stop.set()  # as if it were killed: nobody ends the mode
    killed._thread.join()
    phone.end_processes()
    assert phone.mode == "true"
    after = watch()
    after.open()
    after.close()
    assert phone.mode == "false"
