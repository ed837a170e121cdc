"""The command line with devices over SSH: several at once, and what `harness doctor` says of sick ones."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import venv
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from rigs.commands import Done, run
from rigs.short_campaigns import NETWORKS, SHORT, await_no_process, permissions_once, quiet_untried
from rigs.small_disk import small_disk
from rigs.sshd import Sshd, free_port, start_sshd

from harness.devices.client import AgentClient
from harness.measurement.plan import LEVELS
from harness.records import SessionRecord
from harness.store import Store

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


class CommandLine:
    """`harness` in this process, in a folder of its own, with short sessions."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        monkeypatch.chdir(folder)
        monkeypatch.setattr("device_agents.core_gate.FREE_SHARE", 1.0)  # however busy this machine is
        monkeypatch.setattr(AgentClient, "permissions", permissions_once)
        monkeypatch.setattr(AgentClient, "quiet", quiet_untried)
        monkeypatch.setitem(LEVELS, "screen", SHORT)
        for tried in ("_permissions", "_trials"):  # by test_doctor.py, test_app.py, test_provision.py
            monkeypatch.setattr(f"harness.devices.doctor.{tried}", lambda *_: [])

    def write_devices(self, **tables: dict[str, Any]) -> None:
        """Write devices.toml."""
        text = ""
        for name, table in tables.items():
            text += f"[devices.{name}]\n"
            text += "".join(f"{key} = {json.dumps(value)}\n" for key, value in table.items())
        (self.folder / "devices.toml").write_text(text)

    def __call__(self, *arguments: str) -> Done:
        return run(self.folder / "store.sqlite", *arguments)


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    return CommandLine(tmp_path, monkeypatch)


@pytest.mark.long
def test_devices_measure_at_once_and_one_that_is_gone_stops_no_other(
    server: Sshd, command: CommandLine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = command.folder
    with start_sshd(tmp_path_factory.mktemp("second")) as second:
        command.write_devices(
            one=server.fields(root=str(folder / "root one")),
            two=second.fields(root=str(folder / "root two")),
            gone=server.fields(port=free_port()),
            local={"root": str(folder / "root here")},
        )
        names = ["one", "gone", "two", "local"]
        devices = [word for name in names for word in ("--device", name)]
        done = command(
            *("measure", *devices, "--models", NETWORKS[0], "--runtime", "onnxruntime", "--sessions", "3"),
            *("--json", "--seed", "1"),
        )
    rows = done.json
    assert sorted(row["device"] for row in rows) == ["local", "one", "two"]
    assert {row["architecture"] for row in rows} == {NETWORKS[0]}
    assert done.status == 3
    assert "device 'gone'" in done.stderr
    assert "refused" in done.stderr
    for name in ("one", "two", "local"):
        assert f"{name}: 3 sessions measured" in done.stderr
    store = Store(str(folder / "store.sqlite"))
    sessions = {c.device: store.sessions(c) for c in store.configurations()}
    store.close()
    spans = [span(sessions[name]) for name in ("one", "two")]
    assert max(start for start, _ in spans) < min(end for _, end in spans), "one waited for the other"
    outputs = {s.graph_hash: s.output for found in sessions.values() for s in found}
    assert all(s.output == outputs[s.graph_hash] for found in sessions.values() for s in found)
    await_no_process(str(folder), timeout_s=5)


def span(sessions: list[SessionRecord]) -> tuple[float, float]:
    """Return when the first session began and the last ended."""
    starts = [datetime.fromisoformat(s.started_utc).timestamp() for s in sessions]
    return min(starts), max(start + s.elapsed_s for start, s in zip(starts, sessions, strict=True))


def checks(done: Done, device: str = "board") -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in done.json[device]}


def test_doctor_finds_a_healthy_device_ready(server: Sshd, command: CommandLine) -> None:
    command.write_devices(board=server.fields(root=str(command.folder / "root")))
    done = command("doctor", "--device", "board", "--json")
    found = checks(done)
    assert done.status == 0
    for name in ("host key", "python", "agent", "runtime", "free space", "cores"):
        assert found[name]["status"] == "ok", found[name]
    assert found["host key"]["found"] == "pinned in devices.toml"
    assert sys.executable in found["python"]["found"]


def test_doctor_says_what_to_type_where_python_is_missing(server: Sshd, command: CommandLine) -> None:
    command.write_devices(board=server.fields(python="/nonexistent/python3"))
    done = command("doctor", "--device", "board", "--json")
    (check,) = checks(done).values()
    assert (done.status, check["status"]) == (3, "FAIL")
    assert "no Python at '/nonexistent/python3'" in check["found"]
    assert "apt install python3" in check["found"]
    assert 'python = "/path/to/python3" in [devices.board]' in check["found"]


def test_doctor_says_what_to_install_where_no_runtime_is(
    server: Sshd, command: CommandLine, tmp_path: Path
) -> None:
    venv.create(tmp_path / "bare", with_pip=False)
    python = str(tmp_path / "bare/bin/python")
    command.write_devices(board=server.fields(python=python, root=str(tmp_path / "root")))
    done = command("doctor", "--device", "board", "--json")
    check = checks(done)["runtime"]
    assert (done.status, check["status"]) == (3, "FAIL")
    assert f"{python} -m pip install onnxruntime" in check["found"]
    assert checks(done)["python"]["status"] == "ok"
    refused = command("measure", "--device", "board", "--models", NETWORKS[0])
    assert (refused.status, f"{python} -m pip install onnxruntime" in refused.stderr) == (2, True)


def test_doctor_says_how_much_room_is_missing(server: Sshd, command: CommandLine, tmp_path: Path) -> None:
    with small_disk(tmp_path / "small disk", 16 << 20) as disk:
        command.write_devices(board=server.fields(root=str(disk.folder / "root")))
        done = command("doctor", "--device", "board", "--json")
        check = checks(done)["free space"]
        assert (done.status, check["status"]) == (3, "FAIL")
        assert "free 200 MiB" in check["remedy"]
        assert "root = " in check["remedy"]
        await_no_process(str(disk.folder), timeout_s=5)


def test_doctor_shows_the_line_that_pins_the_host_key(server: Sshd, command: CommandLine) -> None:
    command.write_devices(board=server.fields(host_key=None, known_hosts=str(command.folder / "none")))
    done = command("doctor", "--device", "board", "--json")
    (check,) = checks(done).values()
    line = f'host_key = "{server.host_keys["ed25519"]}"'
    assert (done.status, line in check["found"]) == (3, True)
    assert line in command("doctor", "--device", "board").stdout, "a line to be pasted is whole"


INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
from harness.commands.app import main
main()
"""


def test_ctrl_c_while_a_device_does_not_answer_ends_with_status_130(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / "devices.toml").write_text(
            f'[devices.mute]\ntransport = "ssh"\naddress = "127.0.0.1"\nport = {listener.getsockname()[1]}\n'
        )
        process = subprocess.Popen(
            [sys.executable, "-c", INTERRUPTIBLE, "measure", "-d", "mute", "-m", NETWORKS[0]],
            cwd=tmp_path,
            env=os.environ | {"HARNESS_STORE": str(tmp_path / "store.sqlite"), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            listener.settimeout(120)  # what is imported first takes half of that on a busy machine
            connection, _ = listener.accept()
            assert process.stderr is not None
            assert process.stderr.readline() == "mute: connecting\n"
            process.send_signal(signal.SIGINT)
            assert "stopping" in process.stderr.readline()
            connection.close()
            output, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, output) == (130, ""), errors
    assert "harness: stopped by the user" in errors
