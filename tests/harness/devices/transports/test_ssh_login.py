"""Host keys, logins and dead addresses over SSH: each refusal says what to type, and typing it works."""

from __future__ import annotations

import base64
import contextlib
import random
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
from rigs.faulty_link import faulty_link, narrow
from rigs.sshd import Sshd, free_port, greet, make_key, refusal, start_sshd

from harness.devices.config import SshDevice, parse_devices
from harness.devices.transports.ssh import SshTransport
from harness.devices.transports.ssh_login import check_key_file
from harness.errors import LinkError
from space.errors import ConfigError

pytestmark = pytest.mark.ssh


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd"), host_key_kinds=("rsa", "ecdsa", "ed25519")) as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Keep the keys and known hosts of whoever runs the tests out of them."""
    home = tmp_path / "home of nobody"
    (home / ".ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr("harness.devices.transports.ssh.CONNECT_TIMEOUT_S", 5.0)
    return home


def with_line(server: Sshd, line: str) -> SshDevice:
    """Return the device of a devices file into which someone pasted a line, as a person does."""
    fields = server.fields(host_key=None)
    text = "\n".join(
        ["[devices.board]", *(f"{k} = {v!r}" if k != "port" else f"port = {v}" for k, v in fields.items())]
    )
    device = parse_devices(f"{text}\n{line}\n")["board"]
    assert isinstance(device, SshDevice)
    return device


def pin_line(message: str) -> str:
    found = re.search(r'host_key = "[^"]+"', message)
    assert found, message
    return found[0]


def test_an_unknown_host_key_is_refused_and_the_line_shown_pins_it(server: Sshd) -> None:
    message = refusal(server.device(host_key=None))
    assert "unknown host key" in message
    assert "[devices.board]" in message
    assert greet(with_line(server, pin_line(message))) == "hello\n"


def test_a_changed_host_key_is_refused_and_the_line_shown_pins_it(server: Sshd, tmp_path: Path) -> None:
    message = refusal(server.device(host_key=make_key(tmp_path / "other", "ed25519")))
    assert "CHANGED" in message
    assert greet(with_line(server, pin_line(message))) == "hello\n"


def test_the_fingerprint_shown_is_the_one_that_ssh_keygen_shows(server: Sshd) -> None:
    message = refusal(server.device(host_key=None))
    kind = re.search(r"ssh-(ed25519)|ecdsa|ssh-(rsa)", message)
    assert kind
    name = "ecdsa" if kind[0] == "ecdsa" else kind[0].removeprefix("ssh-")
    shown = subprocess.run(
        ["ssh-keygen", "-lf", str(server.folder / f"host_{name}.pub")], capture_output=True, check=True
    ).stdout.decode()
    assert shown.split()[1] in message


@pytest.mark.parametrize("kind", ["ed25519", "ecdsa"])  # the others pin the first, of rsa
def test_a_pinned_key_of_any_kind_works_where_the_server_has_several(server: Sshd, kind: str) -> None:
    assert greet(server.device(host_key=server.host_keys[kind])) == "hello\n"


@pytest.mark.parametrize(("kind", "is_hashed"), [("ed25519", True), ("rsa", False)])
def test_known_hosts_knows_a_host_with_its_port(server: Sshd, home: Path, kind: str, is_hashed: bool) -> None:
    known_hosts = home / ".ssh/known_hosts"
    known_hosts.write_text(f"[127.0.0.1]:{server.port} {server.host_keys[kind]}\n")
    if is_hashed:
        subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known_hosts)], check=True, capture_output=True)
        assert "127.0.0.1" not in known_hosts.read_text()
    assert greet(server.device(host_key=None)) == "hello\n"


def test_an_entry_of_known_hosts_for_another_port_does_not_count(server: Sshd, home: Path) -> None:
    (home / ".ssh/known_hosts").write_text(f"127.0.0.1 {server.host_keys['ed25519']}\n")
    assert "unknown host key" in refusal(server.device(host_key=None))


def test_a_changed_key_in_known_hosts_is_refused(server: Sshd, home: Path, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "ed25519")
    (home / ".ssh/known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}\n")
    assert "CHANGED" in refusal(server.device(host_key=None))


def test_lines_of_known_hosts_that_nobody_can_read_are_skipped_as_ssh_does(server: Sshd, home: Path) -> None:
    key = server.host_keys["ed25519"]
    (home / ".ssh/known_hosts").write_bytes(
        f"# a comment\n\n@cert-authority *.lab {key}\nother ssh-ed25519 A\nother\n@revoked\n".encode()
        + f"other sk-ssh-ed25519@openssh.com {key.split()[1]}\n".encode()
        + b"\xff\xfe ssh-rsa AAAA\n"
        + f"  [127.0.0.1]:{server.port}\t{key} and a comment\n".encode()
    )
    assert greet(server.device(host_key=None)) == "hello\n"


def test_a_revoked_key_of_known_hosts_does_not_count(server: Sshd, home: Path) -> None:
    key, name = server.host_keys["ed25519"], f"[127.0.0.1]:{server.port}"
    (home / ".ssh/known_hosts").write_text(f"{name} {key}\n@revoked * {key}\n")
    assert "is marked @revoked in" in refusal(server.device(host_key=None))


def test_a_pinned_key_that_is_none_is_refused_before_anything_is_sent() -> None:
    for blob in ("AAAA", "A", "!!!", "AAAAB3NzaC1yc2EAAAADAQABAAAB"):
        device = SshDevice(name="board", address="127.0.0.1", port=1, host_key=f"ssh-ed25519 {blob}")
        with pytest.raises(ConfigError, match=r"\[devices.board\] host_key"):
            greet(device)


def test_a_wrong_user_is_refused_with_the_line_that_brings_the_key_there(server: Sshd) -> None:
    message = refusal(server.device(user="no such user $(id)"))
    assert "login refused" in message
    assert f"ssh-copy-id -p {server.port} 'no such user $(id)@127.0.0.1'" in message


def test_a_key_that_the_device_does_not_know_is_refused(server: Sshd, tmp_path: Path) -> None:
    make_key(tmp_path / "stranger", "ed25519")
    message = refusal(server.device(key=str(tmp_path / "stranger")))
    assert f"ssh-copy-id -p {server.port} {server.user}@127.0.0.1" in message


def test_a_person_without_any_key_is_told_to_make_one(server: Sshd) -> None:
    message = refusal(server.device(key=None))
    assert "ssh-keygen -t ed25519" in message
    assert "ssh-copy-id" in message


def test_a_key_in_the_usual_place_is_found(server: Sshd, home: Path) -> None:
    (home / ".ssh/id_ed25519").write_bytes(server.user_key.read_bytes())
    assert greet(server.device(key=None)) == "hello\n"


def test_a_key_locked_by_a_passphrase_says_so(server: Sshd, tmp_path: Path) -> None:
    locked = tmp_path / "locked key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret phrase", "-f", str(locked)], check=True
    )
    assert f"ssh-add '{locked}'" in refusal(server.device(key=str(locked)))


def field(data: bytes) -> bytes:
    """Return bytes with their length before them, as OpenSSH's files have them."""
    return struct.pack(">I", len(data)) + data


def key_file(public: bytes, secret: bytes) -> str:
    """Return the text of an unlocked private key's file."""
    secret += bytes(range(1, 1 + -len(secret) % 8))
    whole = b"openssh-key-v1\0" + 2 * field(b"none") + field(b"") + struct.pack(">I", 1)
    text = base64.encodebytes(whole + field(public) + field(secret)).decode()
    return f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"


def test_a_key_in_a_security_key_is_left_to_the_ssh_agent_and_others_are_offered(
    server: Sshd, home: Path
) -> None:
    public = field(b"sk-ssh-ed25519@openssh.com") + field(bytes(32)) + field(b"ssh:")
    file = home / ".ssh/id_ed25519"
    # OpenSSH's PROTOCOL.u2f: flags, where the device finds the key, reserved, a comment.
    file.write_text(
        key_file(public, bytes(8) + public + b"\1" + field(bytes(64)) + field(b"") + field(b"me"))
    )
    assert f"{file} can be used by the SSH agent alone: ssh-add '{file}'" in refusal(server.device(key=None))
    assert "SSH agent alone" in refusal(server.device(key=str(file)))
    (home / ".ssh/id_rsa").write_bytes(server.user_key.read_bytes())
    assert greet(server.device(key=None)) == "hello\n"


def test_a_damaged_key_file_is_bad_input_whatever_the_libraries_raise(tmp_path: Path) -> None:
    draw, damaged, refused = random.Random(0), tmp_path / "damaged", 0
    for kind in ("ecdsa", "ed25519"):
        make_key(tmp_path / kind, kind)
        whole = base64.b64decode("".join((tmp_path / kind).read_text().splitlines()[1:-1]))
        for _ in range(300):
            changed = bytearray(whole)
            changed[draw.randrange(len(whole))] = draw.randrange(256)
            text = base64.encodebytes(bytes(changed)).decode()
            damaged.write_text(
                f"-----BEGIN OPENSSH PRIVATE KEY-----\n{text}-----END OPENSSH PRIVATE KEY-----\n"
            )
            with contextlib.suppress(ConfigError):
                check_key_file(damaged, "key")
                continue
            refused += 1
    assert refused > 100


def test_a_key_file_that_holds_no_private_key_is_bad_input(server: Sshd, tmp_path: Path) -> None:
    (tmp_path / "garbage").write_text("garbage\n")
    for path in (tmp_path / "garbage", f"{server.user_key}.pub", tmp_path / "absent", "~nobody-here/key"):
        with pytest.raises(ConfigError, match=r"\[devices.board\] key = "):
            greet(server.device(key=str(path)))


def test_nobody_listening_is_said(server: Sshd) -> None:
    port = free_port()
    message = refusal(server.device(port=port))
    assert "refused" in message
    assert f"listening on port {port}" in message
    assert "Errno" not in message


def test_an_address_that_does_not_exist_is_said(server: Sshd) -> None:
    assert "cannot be resolved" in refusal(server.device(address="no-such-host.invalid"))


def test_a_port_that_accepts_but_never_speaks_is_given_up(
    server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh.CONNECT_TIMEOUT_S", 0.5)
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        message = refusal(server.device(port=listener.getsockname()[1]))
    assert "no SSH connection" in message
    assert time.monotonic() - started < 5


def test_a_port_that_speaks_something_else_is_no_ssh(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh.CONNECT_TIMEOUT_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n" * 3)

        thread = threading.Thread(target=answer)
        thread.start()
        message = refusal(server.device(port=listener.getsockname()[1]))
        thread.join()
    assert "no SSH connection" in message


class OddKey(paramiko.RSAKey):
    """A host key that says of itself what no key can be."""

    def asbytes(self) -> bytes:
        return field(b"ssh-rsa") + field(b"\xff") + field(b"\0" + 128 * b"\xff")


def test_a_host_that_has_the_library_raise_whatever_comes_breaks_the_link(tmp_path: Path) -> None:
    make_key(tmp_path / "rsa", "rsa")

    def serve(listener: socket.socket) -> None:
        with listener.accept()[0] as connection, paramiko.Transport(connection) as transport:
            transport.add_server_key(OddKey.from_private_key_file(str(tmp_path / "rsa")))
            with contextlib.suppress(paramiko.SSHException, OSError, EOFError):
                transport.start_server(server=paramiko.ServerInterface())

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve, args=(listener,))
        serving.start()
        device = SshDevice(name="board", address="127.0.0.1", port=listener.getsockname()[1])
        with pytest.raises(LinkError, match=r"broke SSH's protocol \(OverflowError"):
            greet(device)
        serving.join()


def test_nothing_but_the_message_reaches_standard_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        (tmp_path / "devices.toml").write_text(
            f'[devices.board]\ntransport = "ssh"\naddress = "127.0.0.1"\nport = {listener.getsockname()[1]}\n'
        )
        code = (
            "import sys, harness.devices.transports.ssh as ssh; ssh.CONNECT_TIMEOUT_S = 0.5; "
            "from harness.commands.app import main; main()"
        )
        command = ["doctor", "--device", "board", "--json"]
        done = subprocess.run(
            [sys.executable, "-c", code, *command], cwd=tmp_path, capture_output=True, timeout=60
        )
    assert (done.returncode, done.stderr) == (3, b"")
    assert b"no SSH connection" in done.stdout


def test_a_link_that_takes_no_bytes_does_not_hang_the_writer(server: Sshd) -> None:
    with faulty_link(server.port) as link:
        transport = SshTransport(server.device(port=link.port))
        channel = transport.start(["cat"])
        narrow(transport)
        link.fall_silent()
        with pytest.raises(LinkError, match="took no input for 1 s"):
            channel.write(random.Random(0).randbytes(5_000_000), 1.0)
        channel.close()
        transport.close()


def test_a_link_that_falls_silent_does_not_hang_the_start_of_a_command(
    server: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.devices.transports.ssh.CONNECT_TIMEOUT_S", 1.0)
    with faulty_link(server.port) as link:
        transport = SshTransport(server.device(port=link.port))
        transport.connect()
        link.fall_silent()
        with pytest.raises(LinkError):
            transport.start(["cat"])
        transport.close()


@pytest.mark.parametrize("is_seen", [True, False])
def test_a_link_that_is_cut_while_it_logs_in_is_a_broken_link_and_no_refused_login(
    server: Sshd, monkeypatch: pytest.MonkeyPatch, is_seen: bool
) -> None:
    """Paramiko says of it what it says of a refused key, or only that there was an end."""

    def cut(transport: paramiko.Transport, *_: object) -> list[str]:
        if not is_seen:
            raise EOFError
        transport.close()
        raise paramiko.AuthenticationException("Authentication failed: transport shut down or saw EOF")

    monkeypatch.setattr(paramiko.Transport, "auth_publickey", cut)
    with pytest.raises(LinkError, match="no SSH connection"):
        greet(server.device())
