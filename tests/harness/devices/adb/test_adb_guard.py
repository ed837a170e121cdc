"""The guard of fixed-performance mode, run by the phone's shell: the mode is off again whatever happens to everybody else."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import rigs
from rigs.adb_server import SERIAL, AdbServer, Phone, need_adb
from rigs.android_answers import NO_POWER_HAL

from harness.devices.adb.client import Adb
from harness.devices.adb.guard import FOLDER, STATE, FixedPerformance
from harness.errors import DeviceError

pytestmark = pytest.mark.adb
WHO = "device 'pixel'"


@pytest.fixture(params=["POSIX's", "Android's"])
def phone(request: pytest.FixtureRequest, tmp_path: Path) -> Phone:
    need_adb()
    phone = Phone(tmp_path / "phone")
    if request.param == "Android's":
        phone.use_androids_programs()
    return phone


@pytest.fixture
def mode(server: AdbServer) -> FixedPerformance:
    return FixedPerformance(Adb(SERIAL, WHO), silence_s=0.5, period_s=0.1)


def await_that(is_so: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait for a condition."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "waited in vain"
        time.sleep(0.02)


def is_over(phone: Phone) -> bool:
    return phone.mode == "false" and not phone.guards()


def test_the_mode_is_on_from_start_to_end_and_nothing_is_left(mode: FixedPerformance, phone: Phone) -> None:
    mode.start()
    assert phone.mode == "true"
    assert len(phone.guards()) == 1
    mode.end()
    assert is_over(phone)
    left = {path.name for path in (phone.folder / FOLDER.lstrip("/")).iterdir()}
    assert not left & {"held", "pid"}


def test_without_a_heartbeat_the_guard_ends_the_mode_by_itself(mode: FixedPerformance, phone: Phone) -> None:
    mode.start()
    await_that(lambda: is_over(phone))


def test_a_guard_that_is_told_to_end_switches_the_mode_off_itself(
    mode: FixedPerformance, phone: Phone
) -> None:
    mode.start()
    (guard,) = phone.guards()
    os.kill(guard, signal.SIGTERM)
    await_that(lambda: not phone.guards())
    assert phone.mode == "false"


def test_the_guard_outlives_the_server_and_the_cable(
    mode: FixedPerformance, phone: Phone, server: AdbServer
) -> None:
    mode.start()
    server.unplug()
    assert phone.guards(), "it does not go with the connection"
    await_that(lambda: is_over(phone))


def test_a_second_start_takes_over_without_a_gap_at_its_end(mode: FixedPerformance, phone: Phone) -> None:
    mode.start()
    (first,) = phone.guards()
    mode.start()
    (second,) = phone.guards()
    assert second != first
    assert phone.mode == "true", "the first guard switched it off before the second switched it on"


def test_what_a_killed_guard_left_on_is_switched_off_by_the_next(
    mode: FixedPerformance, phone: Phone
) -> None:
    mode.start()
    phone.end_processes()
    await_that(lambda: not phone.guards())
    assert phone.mode == "true"
    assert Adb(SERIAL, WHO).shell(["sh", "-c", STATE, "harness", FOLDER]).stdout == b"left\n"
    mode.end()
    assert phone.mode == "false"


def test_a_process_that_has_a_dead_guards_id_is_left_alone(mode: FixedPerformance, phone: Phone) -> None:
    mode.start()
    phone.end_processes()
    await_that(lambda: not phone.guards())
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (phone.folder / FOLDER.lstrip("/") / "pid").write_text(f"{stranger.pid} 1\n")
        mode.end()
        assert stranger.poll() is None
        assert phone.mode == "false"
    finally:
        stranger.kill()
        stranger.wait()


def test_a_phone_that_refuses_is_told_so_and_nothing_runs_there(mode: FixedPerformance, phone: Phone) -> None:
    (phone.folder / "refuses").write_text(NO_POWER_HAL)
    with pytest.raises(DeviceError, match=r"Power HAL.*leave fixed_performance out"):
        mode.start()
    assert phone.guards() == []
    mode.end()  # nothing is held
    assert phone.mode == ""


def test_a_mode_that_cannot_be_switched_off_is_told_with_the_command(
    mode: FixedPerformance, phone: Phone
) -> None:
    mode.start()
    phone.end_processes()
    await_that(lambda: not phone.guards())
    (phone.folder / "refuses").write_text("busy\n")
    with pytest.raises(DeviceError, match="set-fixed-performance-mode-enabled false"):
        mode.end()
    (phone.folder / "refuses").unlink()
    mode.end()
    assert phone.mode == "false"


def test_the_command_that_is_told_is_one_for_a_shell_whatever_the_serial_number() -> None:
    class Held:
        serial, who = "adb-1A2B-xyz (2)._adb-tls-connect._tcp", WHO

        def script(self, script: str, *arguments: str, timeout_s: float) -> str:
            return "held\n"

    with pytest.raises(
        DeviceError, match=r"adb -s 'adb-1A2B-xyz \(2\)\._adb-tls-connect\._tcp' shell cmd power"
    ):
        FixedPerformance(Held()).end()  # type: ignore[arg-type]


def test_a_guard_tries_again_until_the_phone_takes_it(mode: FixedPerformance, phone: Phone) -> None:
    mode.start()
    (phone.folder / "refuses").write_text("busy\n")
    asked = phone.folder / "asked"
    await_that(lambda: asked.read_text().count("enabled false") >= 2)
    assert phone.guards()
    (phone.folder / "refuses").unlink()
    await_that(lambda: is_over(phone))


HOST = """
import sys
from harness.devices.adb.client import Adb
from harness.devices.adb.guard import FixedPerformance
mode = FixedPerformance(Adb(sys.argv[1], "device"), silence_s=0.5, period_s=0.1)
print("begun", flush=True)
while True:
    mode.start()
    print("on", flush=True)
    mode.end()
"""


def test_the_mode_is_off_after_a_kill_at_any_moment(phone: Phone, server: AdbServer) -> None:
    """benchmarks/guard.py does it a hundred times; this is enough to see a guard that comes too late."""
    chance = random.Random(15)
    for _ in range(2):
        host = subprocess.Popen(
            [sys.executable, "-c", HOST, SERIAL],
            env=rigs.with_tests() | dict(server.environment()),
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert host.stdout is not None
        host.stdout.readline()
        time.sleep(chance.uniform(0.0, 1.0))
        os.killpg(host.pid, signal.SIGKILL)
        host.wait()
        host.stdout.close()
        await_that(lambda: not phone.guards() and phone.mode in ("", "false"))
