"""The way to a device as people have it: ~/.ssh/config, jump hosts, agents, login shells, certified host keys."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from contracts.transport import AWKWARD_ARGUMENTS, ECHO_ARGUMENTS
from rigs.ssh_agent import lying_agent, silent_agent, ssh_agent
from rigs.sshd import Sshd, free_port, greet, make_key, refusal, start_sshd

from harness.devices.client import AgentClient, deploy
from harness.devices.config import SshDevice
from harness.devices.transports.ssh import SshTransport
from harness.devices.transports.ssh_hosts import find_way
from harness.errors import LinkError
from space.errors import ConfigError

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="module")
def gate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A second server, with keys of its own, to go through."""
    with start_sshd(tmp_path_factory.mktemp("gate")) as gate:
        yield gate


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the settings and keys of whoever runs the tests out of them."""
    home = tmp_path / "home of nobody"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("harness.devices.transports.ssh.CONNECT_TIMEOUT_S", 5.0)
    monkeypatch.setattr("harness.devices.transports.ssh_config.SYSTEM_CONFIG", str(tmp_path / "absent"))
    return home


def write(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o600)


def known_line(server: Sshd, name: str = "127.0.0.1") -> str:
    return f"[{name}]:{server.port} {next(iter(server.host_keys.values()))}\n"


def settings(server: Sshd, name: str, *more: str) -> str:
    lines = [
        f"Port {server.port}",
        f"User {server.user}",
        "HostName 127.0.0.1",
        f'IdentityFile "{server.user_key}"',
    ]
    return "\n  ".join([f"Host {name}", *lines, *more]) + "\n"


def test_an_alias_of_the_settings_is_enough(server: Sshd, home: Path) -> None:
    write(home / ".ssh/config", settings(server, "board", "IdentitiesOnly yes", "HostKeyAlias shelf"))
    write(home / ".ssh/known_hosts", f"shelf {server.host_keys['ed25519']}\n")
    assert greet(SshDevice(name="b", address="board")) == "hello\n"
    assert "resolved" in refusal(SshDevice(name="b", address="board", ssh_config="none"))


def test_the_line_that_brings_a_key_there_goes_the_same_way(home: Path) -> None:
    write(home / ".ssh/config", "Host board\n  HostName 10.0.0.4\n  Port 7\nHost *\n  User pi\n")
    lines = {
        SshDevice(name="b", address="board"): "ssh-copy-id board",
        SshDevice(name="b", address="root@board"): "ssh-copy-id root@board",
        SshDevice(name="b", address="10.0.0.5", jump="a@gate, inner"): (
            "ssh-copy-id -o ProxyJump=a@gate,inner -p 22 pi@10.0.0.5"
        ),
    }
    for device, line in lines.items():
        assert find_way(device)[-1].copy_key == line


def test_login_and_port_may_stand_in_the_address(server: Sshd) -> None:
    device = server.device(address=f"{server.user}@127.0.0.1:{server.port}", port=None, user=None)
    assert greet(device) == "hello\n"


def test_a_device_behind_a_jump_host_of_the_settings_is_reached(server: Sshd, gate: Sshd, home: Path) -> None:
    write(
        home / ".ssh/config",
        settings(gate, "gate") + settings(server, "board", "ProxyJump gate", "HostKeyAlias inner"),
    )
    write(home / ".ssh/known_hosts", known_line(gate) + f"inner {server.host_keys['ed25519']}\n")
    before = gate.log().count("Accepted publickey")
    assert greet(SshDevice(name="b", address="board")) == "hello\n"
    assert gate.log().count("Accepted publickey") == before + 1


def test_jump_in_the_devices_file_goes_through_hosts_in_order(server: Sshd, gate: Sshd, home: Path) -> None:
    write(home / ".ssh/known_hosts", known_line(gate))
    (gate.folder / "authorized_keys").write_text(
        (gate.folder / "user_key.pub").read_text() + (server.folder / "user_key.pub").read_text()
    )
    hop = f"{gate.user}@127.0.0.1:{gate.port}"
    assert greet(server.device(jump=hop)) == "hello\n", (
        "the device's own key is offered to a hop that has none"
    )
    assert greet(server.device(jump=f"{hop}, {hop}")) == "hello\n"


def test_a_jump_host_is_verified_as_any_host_is(server: Sshd, gate: Sshd, home: Path, tmp_path: Path) -> None:
    device = server.device(jump=f"{gate.user}@127.0.0.1:{gate.port}")
    message = refusal(device)
    assert f"jump host of device 'board' ({gate.user}@127.0.0.1:{gate.port}): unknown host key" in message
    line = message.split("known_hosts: ")[-1]
    assert line == known_line(gate).strip(), "the line to add"
    other = make_key(tmp_path / "other", "ed25519")
    write(home / ".ssh/known_hosts", f"[127.0.0.1]:{gate.port} {other}\n")
    message = refusal(device)
    assert "jump host of device 'board'" in message
    assert "CHANGED" in message


def test_a_device_that_its_jump_host_cannot_reach_is_said(server: Sshd, gate: Sshd, home: Path) -> None:
    write(home / ".ssh/known_hosts", known_line(gate))
    write(home / ".ssh/config", settings(gate, "gate"))
    message = refusal(server.device(jump="gate", port=free_port()))
    assert "device 'board'" in message
    assert "the host before it" in message


def test_a_proxy_command_is_the_connection(server: Sshd, home: Path) -> None:
    code = (
        "import socket, sys, threading; s = socket.create_connection((sys.argv[1], int(sys.argv[2])))\n"
        "def up():\n"
        "    while d := sys.stdin.buffer.raw.read(65536): s.sendall(d)\n"
        "threading.Thread(target=up, daemon=True).start()\n"
        "while d := s.recv(65536): sys.stdout.buffer.write(d); sys.stdout.buffer.flush()\n"
    )
    write(home / "relay.py", code)
    command = f"'{sys.executable}' '{home}/relay.py' %h %p"
    write(home / ".ssh/config", f"Host *\n  ProxyCommand {command}\n")
    transport = SshTransport(server.device())
    transport.connect()
    (process,) = [proxy._process for proxy in transport._proxies]
    assert transport.run(["echo", "hello"]).stdout == b"hello\n"
    transport.close()
    assert process.poll() is not None, "it ends with the connection"
    write(home / ".ssh/config", "Host *\n  ProxyCommand echo no route for %r >&2; false\n")
    assert f"its ProxyCommand said: no route for {server.user}" in refusal(server.device())


def test_either_of_two_keys_of_one_type_in_known_hosts_is_accepted(
    server: Sshd, home: Path, tmp_path: Path
) -> None:
    other = make_key(tmp_path / "other", "ed25519")
    for lines in ([other, server.host_keys["ed25519"]], [server.host_keys["ed25519"], other]):
        write(home / ".ssh/known_hosts", "".join(f"[127.0.0.*]:{server.port} {key}\n" for key in lines))
        assert greet(server.device(host_key=None)) == "hello\n"


def test_a_certified_host_key_is_accepted_where_its_authority_is_known(
    tmp_path_factory: pytest.TempPathFactory, home: Path
) -> None:
    folder = tmp_path_factory.mktemp("certified")
    authority = make_key(folder / "ca", "ed25519")
    make_key(folder / "certified", "ed25519")
    subprocess.run(
        [
            "ssh-keygen",
            "-q",
            "-s",
            str(folder / "ca"),
            "-I",
            "h",
            "-h",
            "-n",
            "127.0.0.1",
            f"{folder}/certified.pub",
        ],
        check=True,
        capture_output=True,
    )
    lines = (f'HostKey "{folder}/certified"', f'HostCertificate "{folder}/certified-cert.pub"')
    with start_sshd(folder, host_key_kinds=("rsa",), settings=lines) as server:
        write(home / ".ssh/known_hosts", f"@cert-authority 127.0.0.* {authority}\n")
        assert greet(server.device(host_key=None)) == "hello\n"
        write(home / ".ssh/known_hosts", f"@cert-authority 10.0.0.* {authority}\n")
        assert "unknown host key" in refusal(server.device(host_key=None))
        write(home / ".ssh/known_hosts", f"@cert-authority * {authority}\n@revoked * {authority}\n")
        assert "unknown host key" in refusal(server.device(host_key=None))


@pytest.fixture
def many_keys(server: Sshd, tmp_path: Path) -> Iterator[str]:
    """An agent with eight keys that the server does not know, then the one that it does."""
    strangers = [tmp_path / f"stranger{number}" for number in range(8)]
    for path in strangers:
        make_key(path, "ed25519")
    with ssh_agent(tmp_path, *strangers, server.user_key) as path:
        yield path


def test_of_an_agent_with_many_keys_only_the_one_that_is_named_is_offered(
    server: Sshd, many_keys: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", many_keys)
    assert greet(server.device()) == "hello\n"
    message = refusal(server.device(key=str(tmp_path / "stranger0")))
    assert "login refused (Authentication failed" in message, "nothing else is offered"
    locked = tmp_path / "locked"
    shutil.copy(server.user_key, locked)
    subprocess.run(
        ["ssh-keygen", "-q", "-p", "-N", "secret phrase", "-f", str(locked)], check=True, capture_output=True
    )
    assert greet(server.device(key=str(locked))) == "hello\n", "the agent has it unlocked"
    message = refusal(server.device(key=None))
    assert "hung up after" in message
    assert "name the one that it knows" in message
    assert 'key = "~/.ssh/..." in [devices.board]' in message


def test_an_agent_that_never_answers_is_left_out(
    server: Sshd, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh_login.AGENT_TIMEOUT_S", 0.3)
    with silent_agent(tmp_path) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        started = time.monotonic()
        assert greet(server.device()) == "hello\n"
        assert "no answer within 0.3 s" in refusal(server.device(key=None))
        assert time.monotonic() - started < 5
        write(home / ".ssh/config", "Host *\n  IdentityAgent none\n")
        assert "SSH agent" not in refusal(server.device(key=None))


KEYS = bytes([12])  # the kind of an answer that lists keys
ENDLESS = KEYS + (1 << 30).to_bytes(4, "big")
BROKEN_KEY = b"".join(len(text).to_bytes(4, "big") + text for text in (b"ssh-ed25519", b"\0"))
BROKEN = KEYS + (1).to_bytes(4, "big") + len(BROKEN_KEY).to_bytes(4, "big") + BROKEN_KEY + bytes(4)


@pytest.mark.parametrize(
    ("answer", "pause_s", "why"),
    [
        ([len(ENDLESS).to_bytes(4, "big"), ENDLESS], 0.0, "it claims to have 1073741824 keys"),
        ([b"\xff" * 4, b"x" * 100], 0.0, "it announces an answer of 4294967295 bytes"),
        ([(1 << 17).to_bytes(4, "big"), *[b"x"] * 100], 0.1, "no answer within 0.5 s"),
        ([(100).to_bytes(4, "big"), KEYS], 0.0, "it hung up"),
        ([(1).to_bytes(4, "big"), KEYS], 0.0, ""),
        ([len(BROKEN).to_bytes(4, "big"), BROKEN], 0.0, "was left out"),
        ([], 0.0, "it hung up"),
    ],
)
def test_an_agent_that_answers_nonsense_is_left_out(
    server: Sshd,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    answer: list[bytes],
    pause_s: float,
    why: str,
) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh_login.AGENT_TIMEOUT_S", 0.5)
    with lying_agent(tmp_path, answer, pause_s) as path:
        monkeypatch.setenv("SSH_AUTH_SOCK", path)
        started = time.monotonic()
        assert greet(server.device()) == "hello\n"
        assert why in refusal(server.device(key=None))
        assert time.monotonic() - started < 10


def test_an_agent_that_never_signs_costs_its_keys_and_not_the_login(
    server: Sshd, many_keys: str, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh_login.SIGN_TIMEOUT_S", 0.5)
    monkeypatch.setenv("SSH_AUTH_SOCK", many_keys)
    monkeypatch.setattr("paramiko.agent.AgentKey.sign_ssh_data", _never_answered)
    shutil.copy(server.user_key, home / ".ssh/id_ed25519")
    assert greet(server.device(key=None)) == "hello\n"


def _never_answered(*_: object) -> bytes:
    raise TimeoutError


@pytest.fixture(scope="module")
def tcsh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A server whose login shell is tcsh."""
    shell = shutil.which("tcsh")
    if shell is None:
        pytest.skip("needs tcsh (Debian: apt install tcsh)")
    command = f'ForceCommand exec {shell} -c "$SSH_ORIGINAL_COMMAND"'
    with start_sshd(tmp_path_factory.mktemp("tcsh"), settings=(command,)) as server:
        yield server


def test_a_csh_for_login_shell_runs_commands_and_the_agent(tcsh_server: Sshd) -> None:
    transport = SshTransport(tcsh_server.device())
    arguments = [*AWKWARD_ARGUMENTS, "a!b", "!!", "\\", "\\!", "'!", "ends in a line break\n"]
    done = transport.run([sys.executable, "-c", ECHO_ARGUMENTS, *arguments])
    assert (done.stderr, json.loads(done.stdout or "[]")) == ("", arguments)
    assert [transport.run([name, "!"]).status for name in ("no-such-program", "/etc/passwd")] == [127, 126]
    device = tcsh_server.device()
    client = AgentClient.start(transport, device, deploy(transport, device))
    assert client.probe()["time_utc"]
    client.close()
    transport.close()


@pytest.mark.skipif(not os.path.exists("/proc/net/if_inet6"), reason="needs IPv6")  # noqa: PTH110
def test_an_ipv6_address_is_reached_with_and_without_brackets(
    tmp_path_factory: pytest.TempPathFactory, home: Path
) -> None:
    with start_sshd(tmp_path_factory.mktemp("v6"), settings=("ListenAddress ::1",)) as server:
        write(home / ".ssh/known_hosts", known_line(server, "::1"))
        for address in ("::1", "[::1]", f"{server.user}@[::1]:{server.port}"):
            port = None if address.endswith(str(server.port)) else server.port
            assert greet(server.device(address=address, port=port, user=None, host_key=None)) == "hello\n"


def test_known_hosts_that_is_no_plain_file_is_refused_at_once(server: Sshd, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    started = time.monotonic()
    for path in ("/dev/zero", str(tmp_path / "fifo")):
        with pytest.raises(ConfigError, match=r"\[devices.board\] known_hosts: .* no plain file"):
            greet(server.device(host_key=None, known_hosts=path))
    assert time.monotonic() - started < 2


def test_a_second_factor_is_said(tmp_path_factory: pytest.TempPathFactory) -> None:
    lines = ("AuthenticationMethods publickey,publickey",)  # two keys
    with start_sshd(tmp_path_factory.mktemp("factors"), settings=lines) as server:
        assert "login refused (it wants publickey besides the key" in refusal(server.device())


def test_a_device_that_is_gone_is_a_broken_link(server: Sshd) -> None:
    with pytest.raises(LinkError, match=r"device 'board' .*no SSH connection: Connection refused"):
        greet(server.device(port=free_port()))
