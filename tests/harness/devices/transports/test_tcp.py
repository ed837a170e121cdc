"""TCP connections with one deadline for the name and for the address."""

from __future__ import annotations

import socket
import time

import pytest
from rigs.open_files import few_open_files
from rigs.resolver import never_resolved

from harness.devices.config import SshDevice
from harness.devices.transports import ssh
from harness.devices.transports.ssh import SshTransport
from harness.devices.transports.tcp import connect_within
from harness.errors import LinkError

PIN = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJPbGVxjCw8yYBxJRyVHFkGOvmYGLm1E8Rl4QEKZzPzA"


def test_the_first_address_that_answers_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with connect_within("localhost", port, 5.0) as found:  # ::1 may come first, where nobody listens
            assert found.getpeername()[1] == port
            assert found.gettimeout() is None
    with pytest.raises(ConnectionRefusedError):
        connect_within("localhost", port, 5.0)


def test_a_name_that_stands_for_nothing_is_an_error_of_the_resolver() -> None:
    with pytest.raises((socket.gaierror, UnicodeError)):
        connect_within(f"{'x' * 70}.invalid", 22, 5.0)


def test_a_resolver_that_never_answers_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssh, "CONNECT_TIMEOUT_S", 0.05)
    device = SshDevice(name="far", address="board.invalid", user="me", host_key=PIN, ssh_config="none")
    began_s = time.monotonic()
    with (
        never_resolved(),
        pytest.raises(LinkError, match=r"the name is not resolved within 0\.05 s: write its IP"),
    ):
        SshTransport(device).connect()
    assert time.monotonic() - began_s < 30, "the resolver would take a minute"


def test_too_many_open_files_here_are_not_laid_on_the_device() -> None:
    device = SshDevice(name="far", address="127.0.0.1", port=1, user="me", host_key=PIN, ssh_config="none")
    with few_open_files(), pytest.raises(LinkError, match="on this machine: raise the limit") as refusal:
        SshTransport(device).connect()
    assert "Is it on" not in str(refusal.value)
