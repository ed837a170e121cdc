"""A real OpenSSH server on loopback: keys made on the spot, settings in a folder of the test's own.

Where sshd is missing the tests skip with the reason. The server's log is printed when a test fails.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.devices.config import SshDevice
from harness.devices.transports.ssh import SshTransport
from harness.errors import DeviceError

START_TIMEOUT_S = 10.0
KEY_BITS = {"ed25519": [], "ecdsa": ["-b", "256"], "rsa": ["-b", "2048"]}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sshd:
    """A running server. `host_keys`: the public keys that it offers, `TYPE BASE64`, by kind."""

    folder: Path
    port: int
    user: str
    user_key: Path
    host_keys: dict[str, str]

    def fields(self, **changes: Any) -> dict[str, Any]:
        """Return the keys of a devices.toml table for this server, some changed; None leaves a key out."""
        fields = {
            "transport": "ssh",
            "address": "127.0.0.1",
            "port": self.port,
            "user": self.user,
            "key": str(self.user_key),
            "host_key": next(iter(self.host_keys.values())),
            "python": sys.executable,
            "root": str(self.folder / "root"),
        } | changes
        return {key: value for key, value in fields.items() if value is not None}

    def device(self, name: str = "board", **changes: Any) -> SshDevice:
        """Return a device that is this server."""
        return SshDevice(name=name, **self.fields(**changes))

    def log(self) -> str:
        """Return what the server logged."""
        return (self.folder / "log").read_text(errors="replace")


@contextmanager
def start_sshd(
    folder: Path, *, host_key_kinds: tuple[str, ...] = ("ed25519",), settings: tuple[str, ...] = ()
) -> Iterator[Sshd]:
    """Run a server until the block ends; `settings` are further lines of sshd_config."""
    program = find_sshd()
    folder.mkdir(parents=True, exist_ok=True)
    host_keys = {kind: make_key(folder / f"host_{kind}", kind) for kind in host_key_kinds}
    (folder / "authorized_keys").write_text(make_key(folder / "user_key", "ed25519") + "\n")
    port = free_port()
    lines = [
        f"Port {port}",
        "ListenAddress 127.0.0.1",
        "PidFile none",
        "StrictModes no",
        "UsePAM no",
        "PasswordAuthentication no",
        "KbdInteractiveAuthentication no",
        "PermitRootLogin prohibit-password",
        "LogLevel VERBOSE",
        f'AuthorizedKeysFile "{folder / "authorized_keys"}"',
        *(f'HostKey "{folder / f"host_{kind}"}"' for kind in host_key_kinds),
        f"SetEnv HARNESS_LOCK_NAME=tests-{os.getpid()}-{port}",  # a machine of its own
        *settings,
    ]
    (folder / "sshd_config").write_text("\n".join(lines) + "\n")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [program, "-D", "-e", "-f", str(folder / "sshd_config")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = Sshd(
        folder=folder,
        port=port,
        user=getpass.getuser(),
        user_key=folder / "user_key",
        host_keys=host_keys,
    )
    try:
        _await_banner(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(10)
        # Pytest shows it with a failure.
        sys.stderr.write(f"--- log of sshd on port {port}\n{server.log()}\n")


def find_sshd() -> str:
    """Return the path of sshd, or skip the test with the reason."""
    program = shutil.which("sshd") or shutil.which("/usr/sbin/sshd")
    if program is None:
        pytest.skip("needs OpenSSH's sshd (Debian: apt install openssh-server)")
    if os.geteuid() == 0:
        try:  # where root's sshd separates privileges; a system without it running has no such folder
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        except OSError as error:
            pytest.skip(f"needs the folder /run/sshd for sshd as root: {error}")
    return program


def make_key(path: Path, kind: str) -> str:
    """Make a key pair and return the public key, `TYPE BASE64`."""
    command = ["ssh-keygen", "-q", "-t", kind, *KEY_BITS[kind], "-N", "", "-C", "", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, timeout=60)
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await_banner(server: Sshd, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"sshd ended with status {process.returncode}: {server.log()}")
        try:
            with socket.create_connection(("127.0.0.1", server.port), 1.0) as connection:
                connection.settimeout(START_TIMEOUT_S)
                if connection.recv(8).startswith(b"SSH-2.0"):
                    return
        except ConnectionRefusedError:
            time.sleep(0.02)
    raise RuntimeError(f"sshd did not answer within {START_TIMEOUT_S} s: {server.log()}")


def greet(device: SshDevice) -> str:
    """Log in to a device and return what it says."""
    transport = SshTransport(device)
    try:
        return transport.run(["echo", "hello"]).stdout.decode()
    finally:
        transport.close()


def refusal(device: SshDevice) -> str:
    """Return the message that the device is refused with."""
    with pytest.raises(DeviceError) as caught:
        greet(device)
    return str(caught.value)
