"""A device over SSH, with paramiko: host keys always verified, every wait with a deadline.

The host key is pinned in devices.toml (`host_key`) or known from `known_hosts`; a key that is neither ends the
connection with the line to pin it. The remote side takes one shell string, so each argument is quoted here and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import shlex
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import paramiko

from harness.devices import SshDevice
from harness.errors import ConfigError, DeviceError, LinkError
from harness.transports import MAX_OUTPUT_BYTES, CompletedCommand
from harness.transports.tail import Tail

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 15


@final
class SshTransport:
    """Run commands on a device over one SSH connection."""

    def __init__(self, device: SshDevice) -> None:
        self._device = device
        self._user = device.user or getpass.getuser()
        self._client: paramiko.SSHClient | None = None
        self._who = f"device {device.name!r} ({self._user}@{device.address}:{device.port})"

    def connect(self) -> None:
        """Connect and verify the host key.

        Raises: ConfigError for a bad key file; DeviceError for an unknown or changed host key or a refused login, with
        what to type; LinkError when the device does not answer.
        """
        if self._client is not None:
            return
        device = self._device
        client = paramiko.SSHClient()
        self._load_host_keys(client)
        client.set_missing_host_key_policy(_Refuse(self._who, device))
        try:
            client.connect(
                device.address,
                port=device.port,
                username=self._user,
                key_filename=_key_file(device),
                timeout=CONNECT_TIMEOUT_S,
                banner_timeout=CONNECT_TIMEOUT_S,
                auth_timeout=CONNECT_TIMEOUT_S,
                channel_timeout=CONNECT_TIMEOUT_S,
                compress=True,  # digests of the same parts recur in every job
            )
        except paramiko.BadHostKeyException as error:
            client.close()
            raise DeviceError(
                f"{self._who}: the host key has CHANGED: expected {_fingerprint(error.expected_key)}, "
                f"got {_fingerprint(error.key)}. If the device was set up anew, check the fingerprint on the device "
                f"itself, then pin it: {_pin_line(error.key)}"
            ) from error
        except paramiko.AuthenticationException as error:
            client.close()
            raise DeviceError(
                f"{self._who}: login refused ({error}). Put your public key on the device: "
                f"ssh-copy-id -p {device.port} {shlex.quote(f'{self._user}@{device.address}')}"
                + (
                    ""
                    if device.key
                    else f'; or name a private key: key = "~/.ssh/..." in [devices.{device.name}]'
                )
            ) from error
        except (paramiko.SSHException, OSError, EOFError) as error:
            client.close()
            raise LinkError(
                f"{self._who}: no SSH connection: {_reason(error)}. Is the device on, in this network, and sshd "
                f"listening on port {device.port}? (Termux: run 'sshd', its port is 8022)"
            ) from error
        transport = client.get_transport()
        assert transport is not None
        transport.set_keepalive(KEEPALIVE_S)
        self._client = client

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> CompletedCommand:
        """Run a command to its end; see Transport."""
        channel = self.start(argv)
        deadline = time.monotonic() + timeout_s
        writer = threading.Thread(target=channel.feed, args=(stdin, timeout_s), daemon=True)
        writer.start()
        output = b""
        try:
            while data := channel.read(1 << 16, max(0.1, deadline - time.monotonic())):
                output += data
                if len(output) > MAX_OUTPUT_BYTES:
                    raise DeviceError(f"{self._who}: {argv[0]!r} wrote more than {MAX_OUTPUT_BYTES} bytes")
            status = channel.wait_status(max(0.1, deadline - time.monotonic()))
            return CompletedCommand(status=status, stdout=output, stderr=channel.finished_stderr())
        finally:
            channel.close()

    def start(self, argv: Sequence[str]) -> SshChannel:
        """Start a command that goes on; see Transport."""
        self.connect()
        assert self._client is not None
        transport = self._client.get_transport()
        try:
            if transport is None:
                raise paramiko.SSHException("the connection is closed")
            channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
            channel.settimeout(CONNECT_TIMEOUT_S)
            channel.exec_command(shlex.join([_in_home(argv[0]), *argv[1:]]))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise LinkError(f"{self._who}: the connection broke: {_reason(error)}") from error
        return SshChannel(channel, self._who)

    def close(self) -> None:
        """Close the connection; sshd ends what ran on it."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _load_host_keys(self, client: paramiko.SSHClient) -> None:
        device = self._device
        if device.host_key:
            kind, blob = device.host_key.split()[:2]
            name = device.address if device.port == 22 else f"[{device.address}]:{device.port}"
            try:
                entry = paramiko.hostkeys.HostKeyEntry.from_line(f"host {kind} {blob}")
            except (paramiko.SSHException, ValueError, AssertionError) as error:
                raise ConfigError(f"{self._who}: host_key cannot be read: {error}") from error
            if entry is None or entry.key is None:
                raise ConfigError(f"{self._who}: host_key is no public key of type {kind!r}")
            client.get_host_keys().add(name, kind, entry.key)
            return
        path = Path(device.known_hosts).expanduser()
        if path.exists():
            try:
                client.load_system_host_keys(str(path))
            except (OSError, UnicodeDecodeError, paramiko.SSHException) as error:
                raise ConfigError(f"{path}: cannot be read: {error}") from error


@final
class SshChannel:
    """The three streams of a command on the device."""

    def __init__(self, channel: paramiko.Channel, who: str) -> None:
        self._channel, self._who = channel, who
        self._tail = Tail(_patient_stderr(channel))

    def write(self, data: bytes, timeout_s: float) -> None:
        """Write all of `data`; see Channel."""
        try:
            self._channel.settimeout(timeout_s)
            self._channel.sendall(data)
        except TimeoutError as error:
            raise LinkError(f"{self._who}: took no input for {timeout_s:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LinkError(f"{self._who}: the connection broke: {_reason(error)}") from error

    def read(self, size: int, timeout_s: float) -> bytes:
        """Read 1 to `size` bytes; see Channel."""
        try:
            self._channel.settimeout(timeout_s)
            return self._channel.recv(size)
        except TimeoutError as error:
            raise LinkError(f"{self._who}: no sign of life for {timeout_s:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LinkError(f"{self._who}: the connection broke: {_reason(error)}") from error

    def feed(self, data: bytes, timeout_s: float) -> None:
        """Write `data` and end the command's input; a command that ended early is no error here, its status tells."""
        try:
            if data:
                self.write(data, timeout_s)
            self._channel.shutdown_write()
        except (LinkError, OSError, EOFError):
            return

    def wait_status(self, timeout_s: float) -> int:
        """Return the exit status. Raises: LinkError when none comes within `timeout_s` or the link broke."""
        if not self._channel.status_event.wait(timeout_s):
            raise LinkError(f"{self._who}: the command did not end within {timeout_s:g} s")
        status = self._channel.recv_exit_status()
        if status == -1:
            raise LinkError(f"{self._who}: the connection broke before the command ended")
        return status

    def stderr_tail(self) -> str:
        """Return the last 4 KiB of standard error."""
        return self._tail.text()

    def finished_stderr(self) -> str:
        """Return the end of standard error once the command has ended."""
        return self._tail.finish(2.0)

    def close(self) -> None:
        """End the command's input, then the channel."""
        with contextlib.suppress(OSError, EOFError):
            self._channel.shutdown_write()
        self._channel.close()


class _Refuse(paramiko.MissingHostKeyPolicy):
    """Refuse an unknown host key and say how to pin it."""

    def __init__(self, who: str, device: SshDevice) -> None:
        self._who, self._device = who, device

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        where = "host_key" if self._device.host_key else self._device.known_hosts
        raise DeviceError(
            f"{self._who}: unknown host key {_fingerprint(key)} (no match in {where}). Compare the fingerprint on the "
            f"device (ssh-keygen -lf on its host key's .pub file), then pin it in [devices.{self._device.name}]: "
            f"{_pin_line(key)}"
        )


def _fingerprint(key: paramiko.PKey) -> str:
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"


def _pin_line(key: paramiko.PKey) -> str:
    return f'host_key = "{key.get_name()} {key.get_base64()}"'


def _key_file(device: SshDevice) -> str | None:
    if not device.key:
        return None
    path = Path(device.key).expanduser()
    if not path.is_file():
        raise ConfigError(
            f"[devices.{device.name}] key = {device.key!r}: no such file; make one: ssh-keygen -t ed25519"
        )
    return str(path)


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"the address cannot be resolved ({error.strerror})"
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _patient_stderr(channel: paramiko.Channel) -> Callable[[int], bytes]:
    """Return a reader of standard error that outlasts the timeout that the other stream's reads set."""

    def read(size: int) -> bytes:
        while True:
            try:
                return channel.recv_stderr(size)
            except TimeoutError:
                continue

    return read


def _in_home(path: str) -> str:
    # A login starts in the home folder; a quoted '~' would not be expanded.
    return "./" + path[2:] if path.startswith("~/") else path
