"""TCP connections with one deadline for the name and for the address."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

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


@contextmanager
def hanging() -> Iterator[tuple[str, int]]:
    """Yield an address where connections neither come about nor are refused: its queue of them is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            queued = stack.enter_context(socket.socket())
            queued.setblocking(False)
            queued.connect_ex(server.getsockname())
        yield server.getsockname()


def standing_for(monkeypatch: pytest.MonkeyPatch, *addresses: tuple[str, int]) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in addresses]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)


def test_addresses_that_say_nothing_hold_up_none_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with hanging() as silent, socket.create_server(("127.0.0.1", 0)) as server:
        with socket.create_server(("127.0.0.1", 0)) as gone:
            refusing = gone.getsockname()
        standing_for(monkeypatch, silent, refusing, silent, server.getsockname())
        began_s = time.monotonic()
        with connect_within("board", 22, 30.0) as found:
            assert found.getpeername() == server.getsockname()
            assert found.gettimeout() is None
        assert time.monotonic() - began_s < 15, "half the time, and more than any busy machine takes"


def test_where_every_address_says_nothing_the_time_is_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with hanging() as silent:
        standing_for(monkeypatch, silent, silent)
        began_s = time.monotonic()
        with pytest.raises(TimeoutError, match="timed out"):
            connect_within("board", 22, 0.5)
        assert 0.5 <= time.monotonic() - began_s < 10


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
