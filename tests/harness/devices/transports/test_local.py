"""This machine as a device: the transports' contract, and what only subprocesses can get wrong."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts.transport import TransportContract, await_end, is_alive
from rigs.forked_agents import ForkedThere, with_popen
from rigs.open_files import few_open_files
from rigs.short_campaigns import await_no_process, processes

from harness.devices.client import ISOLATED
from harness.devices.config import LocalDevice
from harness.devices.transports import local, open_transport
from harness.devices.transports.contract import Transport
from harness.devices.transports.local import LocalTransport
from harness.errors import DeviceError


class TestLocalTransport(TransportContract):
    @pytest.fixture
    def transport(self) -> Iterator[Transport]:
        transport = LocalTransport()
        transport.connect()
        yield transport
        transport.close()


@pytest.fixture
def transport() -> Iterator[LocalTransport]:
    transport = LocalTransport()
    yield transport
    transport.close()


def test_the_local_device_opens_this_transport() -> None:
    assert isinstance(open_transport(LocalDevice(name="local")), LocalTransport)


def test_commands_run_in_the_home_folder(
    transport: LocalTransport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert transport.run(["pwd"]).stdout.decode().strip() == str(tmp_path)
    (tmp_path / "tool").write_text("#!/bin/sh\necho from home\n")
    (tmp_path / "tool").chmod(0o755)
    assert transport.run(["~/tool"]).stdout == b"from home\n"


def test_too_many_open_files_are_no_fault_of_the_program(transport: LocalTransport) -> None:
    with (
        few_open_files(),
        pytest.raises(DeviceError, match="Too many open files; raise the limit") as refusal,
    ):
        transport.run(["true"])
    with few_open_files(), pytest.raises(DeviceError, match="raise the limit of open files"):
        transport.start(["true"])
    assert "no Python" not in str(refusal.value)


@pytest.mark.parametrize("home", ["", "absent", "/absent"])
def test_without_a_home_folder_nothing_is_run_where_harness_happens_to_be(
    transport: LocalTransport, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", home)
    monkeypatch.chdir(tmp_path)
    for run in (transport.run, transport.start):
        with pytest.raises(
            DeviceError, match=rf"this machine: \$HOME is '{home}', which is no folder; set HOME"
        ):
            run(["touch", "here"])
    assert not any(tmp_path.iterdir())


def test_starting_a_missing_program_names_it(transport: LocalTransport) -> None:
    with pytest.raises(DeviceError, match="cannot start 'no-such-program'"):
        transport.start(["no-such-program"])


def test_an_argument_that_the_locale_has_no_characters_for_is_told(transport: LocalTransport) -> None:
    with pytest.raises(DeviceError, match=r"cannot start 'echo': the locale here .*LC_ALL=C\.UTF-8"):
        transport.run(["echo", "\ud800"])


def test_a_command_that_ignores_the_end_of_its_input_is_killed(
    transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.local._GRACE_S", 0.3)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    channel = transport.start([sys.executable, "-c", code])
    pid = int(channel.read(100, 20))
    assert is_alive(pid)
    transport.close()
    await_end(pid, 1)


def test_after_ctrl_c_a_command_that_ignores_the_end_of_its_input_is_not_waited_for(
    transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.local._GRACE_S", 60.0)
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(30)"
    channel = transport.start([sys.executable, "-c", code])
    assert is_alive(int(channel.read(100, 20)))
    begin_s = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        try:
            raise KeyboardInterrupt
        finally:
            transport.close()
    assert time.monotonic() - begin_s < 20  # killed: by itself it ends after 30 s


def test_a_short_command_that_overran_its_time_is_dead(transport: LocalTransport, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = "import os, pathlib, sys, time; pathlib.Path(sys.argv[1]).write_text(str(os.getpid())); time.sleep(60)"
    with pytest.raises(DeviceError, match="did not end within 1 s"):
        transport.run([sys.executable, "-c", code, str(note)], timeout_s=1)
    await_end(int(note.read_text()), 2)


def test_ending_one_command_leaves_the_others(transport: LocalTransport) -> None:
    code = "import os, sys; print(os.getpid(), flush=True); sys.stdin.read()"
    first, second = transport.start([sys.executable, "-c", code]), transport.start(["cat"])
    pid = int(first.read(100, 20))
    first.close()
    await_end(pid)
    second.write(b"still here", 5)
    assert second.read(100, 5) == b"still here"


# Readline, which pytest imports, tells started processes alone of COLUMNS and LINES.
PROGRAMS = {
    "what it is told": "import sys; print(sys.argv, sys.stdin.read(), file=sys.stderr); print(sys.argv)",
    "where it is": "import os; print(os.getcwd(), sorted(set(os.environ) - {'COLUMNS', 'LINES'}), os.sched_getaffinity(0))",
    "what it has open": "import os; print(sorted(os.listdir('/proc/self/fd')))",
    "whose it is": "import os; print(os.getsid(0) == os.getpgid(0) == os.getpid())",
    "its name": "print(open('/proc/self/cmdline').read().rstrip(chr(0)))",
    "a status": "import sys; sys.exit(3)",
    "a last word": "import sys; sys.exit('so it is')",
    "an error": "raise ValueError('no number')",
    "a signal": "import os; os.kill(os.getpid(), 15)",
    "a signal to it": "import os; os.killpg(0, 9)",
}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells of a process what is looked at here")
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_a_process_that_tests_fork_is_as_one_that_is_started(
    transport: LocalTransport, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = [sys.executable, *ISOLATED, "-c", program, "one of this machine"]
    monkeypatch.setenv("HARNESS_MADE_UP", "yes")
    started = transport.run(command, stdin=b"read me")
    monkeypatch.setattr(local, "subprocess", with_popen(ForkedThere))
    forked = transport.run(command, stdin=b"read me")
    assert (forked.status, forked.stdout) == (started.status, started.stdout)
    assert forked.stderr.splitlines()[-1:] == started.stderr.splitlines()[-1:]


def test_a_forked_process_is_killed_with_its_command(
    transport: LocalTransport, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "subprocess", with_popen(ForkedThere))
    words = ("print(7, flush=True)", "one of this machine")
    channel = transport.start(
        [sys.executable, *ISOLATED, "-c", f"{words[0]}; import time; time.sleep(600)", words[1]]
    )
    assert channel.read(1, 20) == b"7"
    assert len(processes(*words)) == 1
    with pytest.raises(subprocess.TimeoutExpired):
        channel.wait_status(0.01)
    channel.kill()
    assert channel.wait_status(20) == -9
    await_no_process(*words)
