"""Transport over SSH, with paramiko: host keys always verified, every wait with a deadline.

The host key is pinned in devices.toml (`host_key`) or known from `known_hosts`; a key that is neither ends the
connection with the line to pin it. The remote side takes one shell string, so each argument is quoted here and nowhere else.
"""

from __future__ import annotations

import base64
import contextlib
import getpass
import hashlib
import logging
import re
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import final

import paramiko

from harness.devices.config import SshDevice
from harness.devices.transports.contract import MAX_OUTPUT_BYTES, CompletedCommand
from harness.devices.transports.tail import Tail
from harness.errors import DeviceError, LinkError
from space.errors import ConfigError
from space.user_paths import expand_user

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 15
_CLOSE_TIMEOUT_S = 5.0


@final
class SshTransport:
    """Transport that runs commands on a device over one SSH connection."""

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
        key_file = _key_file(device)
        client = paramiko.SSHClient()
        logger = logging.getLogger("paramiko")
        if not logger.handlers:  # else Python prints its tracebacks; what they say is in our errors
            logger.addHandler(logging.NullHandler())
        self._load_host_keys(client)
        client.set_missing_host_key_policy(_Refuse(self._who, device))
        try:
            client.connect(
                device.address,
                port=device.port,
                username=self._user,
                key_filename=key_file,
                look_for_keys=key_file is None,
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
        except DeviceError:  # the host key is unknown
            client.close()
            raise
        except paramiko.PasswordRequiredException as error:
            client.close()
            raise DeviceError(
                f"{self._who}: the private key is locked by a passphrase; hand it to your SSH agent: "
                f"ssh-add {shlex.quote(key_file) if key_file else ''}".rstrip()
            ) from error
        except paramiko.AuthenticationException as error:
            client.close()
            raise self._refused(str(error)) from error
        except (paramiko.SSHException, OSError, EOFError, UnicodeError) as error:
            client.close()
            if str(error) == "No authentication methods available":
                raise self._refused("no private key here; make one: ssh-keygen -t ed25519") from error
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

        def left_s() -> float:
            if time.monotonic() >= deadline:
                raise LinkError(f"{self._who}: {argv[0]!r} did not end within {timeout_s:g} s")
            return deadline - time.monotonic()

        writer = threading.Thread(target=channel.feed, args=(stdin, timeout_s), daemon=True)
        writer.start()
        output = bytearray()
        try:
            while data := channel.read(1 << 16, left_s()):
                output += data
                if len(output) > MAX_OUTPUT_BYTES:
                    raise DeviceError(f"{self._who}: {argv[0]!r} wrote more than {MAX_OUTPUT_BYTES} bytes")
            status = channel.wait_status(left_s())
            return CompletedCommand(status=status, stdout=bytes(output), stderr=channel.finished_stderr())
        finally:
            channel.close()

    def start(self, argv: Sequence[str]) -> SshChannel:
        """Start a long-running command; see Transport."""
        self.connect()
        assert self._client is not None
        transport = self._client.get_transport()
        try:
            if transport is None:
                raise paramiko.SSHException("the connection is closed")
            with _deadline(transport, CONNECT_TIMEOUT_S):
                channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
                channel.exec_command(shlex.join([_in_home(argv[0]), *argv[1:]]))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise LinkError(f"{self._who}: the connection broke: {_reason(error)}") from error
        return SshChannel(channel, self._who)

    def close(self) -> None:
        """Close the connection; sshd ends what ran on it."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _refused(self, reason: str) -> DeviceError:
        device = self._device
        name_key = f'; or name a private key: key = "~/.ssh/..." in [devices.{device.name}]'
        return DeviceError(
            f"{self._who}: login refused ({reason}). Put your public key on the device: "
            f"ssh-copy-id -p {device.port} {shlex.quote(f'{self._user}@{device.address}')}"
            + ("" if device.key else name_key)
        )

    def _load_host_keys(self, client: paramiko.SSHClient) -> None:
        device = self._device
        if device.host_key:
            kind, blob = device.host_key.split()[:2]
            name = device.address if device.port == 22 else f"[{device.address}]:{device.port}"
            entry = _parse_known_host(f"host {kind} {blob}")
            if entry is None:
                raise ConfigError(
                    f"[devices.{device.name}] host_key = {device.host_key!r}: no public key of type {kind!r}; "
                    "leave it out and connect to be shown the device's own"
                )
            client.get_host_keys().add(name, kind, entry.key)
            return
        path = _expand(device.known_hosts, device, "known_hosts")
        if not path.exists():
            return
        try:
            lines = path.read_text("utf-8", "replace").splitlines()
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error}") from error
        revoked = {line.split()[3] for line in lines if re.match(r"\s*@revoked(\s+\S+){3}", line)}
        for line in lines:
            entry = _parse_known_host(line.strip())
            if entry is not None and entry.key.get_base64() not in revoked:
                for name in entry.hostnames:
                    client.get_host_keys().add(name, entry.key.get_name(), entry.key)


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
            with _deadline(self._channel.get_transport(), timeout_s):
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
            with _deadline(self._channel.get_transport(), timeout_s):
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
        return self._tail.finish(0.5) if self._channel.eof_received else self._tail.text()

    def finished_stderr(self) -> str:
        """Return the end of standard error once the command has ended."""
        return self._tail.finish(2.0)

    def close(self) -> None:
        """End the command's input, then the channel."""
        with (
            contextlib.suppress(OSError, EOFError, paramiko.SSHException),
            _deadline(self._channel.get_transport(), _CLOSE_TIMEOUT_S),
        ):
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


def _parse_known_host(line: str) -> paramiko.hostkeys.HostKeyEntry | None:
    """Read a line of known_hosts; None for what ssh skips too: comments, unreadable keys, markers."""
    if not line or line[0] in "#@":
        return None
    try:
        entry = paramiko.hostkeys.HostKeyEntry.from_line(line)
    except (paramiko.SSHException, paramiko.hostkeys.InvalidHostKey, ValueError):
        return None
    return entry if entry is not None and entry.key is not None else None


def _key_file(device: SshDevice) -> str | None:
    if not device.key:
        return None
    path = _expand(device.key, device, "key")
    where = f"[devices.{device.name}] key = {device.key!r}"
    if not path.is_file():
        raise ConfigError(f"{where}: no such file; make one: ssh-keygen -t ed25519")
    try:
        paramiko.PKey.from_path(path)
    except TypeError:  # locked by a passphrase: the SSH agent may hold it
        pass
    except (OSError, ValueError, paramiko.SSHException, paramiko.pkey.UnknownKeyType) as error:
        reason = _reason(error) if isinstance(error, OSError) else "no private key"
        raise ConfigError(f"{where}: {reason}; name the private key's file, not the .pub one") from error
    return str(path)


def _expand(text: str, device: SshDevice, key: str) -> Path:
    try:
        return expand_user(text)
    except ConfigError as error:
        raise ConfigError(f"[devices.{device.name}] {key} = {text!r}: {error}") from error


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"the address cannot be resolved ({error.strerror})"
    if isinstance(error, UnicodeError):
        return "the address is no host name"
    if isinstance(error, paramiko.ssh_exception.NoValidConnectionsError):
        return "; ".join(sorted({str(getattr(one, "strerror", one)) for one in error.errors.values()}))
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


@contextlib.contextmanager
def _deadline(transport: paramiko.Transport, timeout_s: float) -> Iterator[None]:
    """Close the connection when the block takes longer, which raises TimeoutError.

    paramiko has waits without end: for a socket that takes no bytes, for the answer to a request.
    """
    is_over = threading.Event()

    def end() -> None:
        is_over.set()
        transport.close()

    timer = threading.Timer(timeout_s, end)
    timer.daemon = True
    timer.start()
    try:
        yield
    except (OSError, EOFError, paramiko.SSHException) as error:
        if is_over.is_set():
            raise TimeoutError from error
        raise
    finally:
        timer.cancel()
    if is_over.is_set():  # what was left to send was dropped
        raise TimeoutError


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
