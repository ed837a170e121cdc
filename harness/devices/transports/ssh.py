"""Transport over SSH, with paramiko: host keys always verified, every wait with a deadline.

The host key is pinned in devices.toml (`host_key`) or known from files of known_hosts, of jump hosts, too; a key that is neither
ends the connection with the line to pin it. The remote side takes one shell string, so each argument is quoted here and nowhere
else.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import final

import paramiko

from harness.devices.adb.client import Adb
from harness.devices.config import SshDevice
from harness.devices.transports.contract import MAX_OUTPUT_BYTES, CompletedCommand
from harness.devices.transports.known_hosts import KnownKeys, fingerprint, parse_key, read_known_keys
from harness.devices.transports.ssh_hosts import SshHost, find_way
from harness.devices.transports.ssh_login import KeyFailed, check_key_file, log_in
from harness.devices.transports.tail import REST_S, Tail
from harness.devices.transports.tcp import connect_within
from harness.errors import DeviceError, LinkError
from space.errors import ConfigError
from space.system_errors import remedy_for

CONNECT_TIMEOUT_S = 15.0
KEEPALIVE_S = 15
_CLOSE_TIMEOUT_S = 5.0
_PROXY_END_S = 2.0
_OWN_TROUBLE = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)  # of this machine, not of the device
# What some login shells act on even between single quotes: csh on '!' and line breaks, fish on a backslash.
_NOT_QUOTABLE = re.compile(r"[^ -~]|[!\\]")
_PLAIN = re.compile(rb"[A-Za-z0-9_./,:=+@ -]")


@final
class SshTransport:
    """Transport that runs commands on a device over one SSH connection, through jump hosts where there are some."""

    def __init__(self, device: SshDevice) -> None:
        self._device = device
        self._who = f"device {device.name!r} ({device.where})"
        self._transports: list[paramiko.Transport] = []  # of the hosts on the way; the device's is the last
        self._proxies: list[ProxyCommand] = []
        self._adb = Adb(device.adb, self._who) if device.adb else None
        self._local_port: int | None = None  # that adb forwards to the phone's sshd

    def connect(self) -> None:
        """Connect and verify the host keys.

        Raises: ConfigError for a bad key file or bad settings; DeviceError for an unknown or changed host key or a refused
        login, with what to type; LinkError when the device does not answer.
        """
        if self._transports:
            return
        device = self._device
        logger = logging.getLogger("paramiko")
        if not logger.handlers:  # else Python prints its tracebacks; what they say is in our errors
            logger.addHandler(logging.NullHandler())
        way = find_way(device)
        if device.key:
            check_key_file(way[-1].keys[0], f"[devices.{device.name}] key = {device.key!r}")
        try:
            for host in way:
                self._connect_to(host)
        except BaseException:
            self.close()
            raise
        self._who = way[-1].who

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> CompletedCommand:
        """Run a command to its end; see Transport."""
        channel = self.start(argv)
        deadline = time.monotonic() + timeout_s

        def left_s() -> float:
            if time.monotonic() >= deadline:
                raise LinkError(self._who, f"{argv[0]!r} did not end within {timeout_s:g} s")
            return deadline - time.monotonic()

        writer = threading.Thread(target=channel.feed, args=(stdin, timeout_s), daemon=True)
        writer.start()
        output = bytearray()
        try:
            while data := channel.read(1 << 16, left_s()):
                output += data
                if len(output) > MAX_OUTPUT_BYTES:
                    raise DeviceError(self._who, f"{argv[0]!r} wrote more than {MAX_OUTPUT_BYTES} bytes")
            status = channel.wait_status(left_s())
            return CompletedCommand(status=status, stdout=bytes(output), stderr=channel.finished_stderr())
        finally:
            channel.close()

    def start(self, argv: Sequence[str]) -> SshChannel:
        """Start a long-running command; see Transport."""
        self.connect()
        transport = self._transports[-1]
        try:
            with _deadline(transport, CONNECT_TIMEOUT_S):
                channel = transport.open_session(timeout=CONNECT_TIMEOUT_S)
                channel.exec_command(command_line(argv))
        except (paramiko.SSHException, OSError, EOFError) as error:
            raise LinkError(self._who, f"the connection broke: {_reason(error)}") from error
        return SshChannel(channel, self._who)

    def close(self) -> None:
        """Close the connection; sshd ends what ran on it."""
        while self._transports:
            self._transports.pop().close()
        while self._proxies:
            self._proxies.pop().close()
        if self._adb is not None and self._local_port is not None:
            with contextlib.suppress(DeviceError):  # a pulled cable has ended it
                self._adb.end_forward(self._local_port)
            self._local_port = None

    def _connect_to(self, host: SshHost) -> None:
        """Connect to the next host on the way and log in, without the keys of the agent that break the connection."""
        known = _known_keys(host, self._device)
        failed: dict[bytes, str] = {}
        while True:
            try:
                self._transports.append(self._open(host))
                _shake_hands(self._transports[-1], host, known)
                log_in(self._transports[-1], host, failed)
                self._transports[-1].set_keepalive(KEEPALIVE_S)
                return
            except KeyFailed as error:
                failed[error.blob] = str(error)
                self._transports.pop().close()
            except (paramiko.SSHException, OSError, EOFError, UnicodeError) as error:
                if isinstance(error, OSError) and error.errno in _OWN_TROUBLE:
                    raise LinkError(
                        host.who, f"no SSH connection: {_reason(error)}; on this machine: {remedy_for(error)}"
                    ) from error
                said = self._proxies[-1].said() if host.proxy_command and self._proxies else ""
                raise LinkError(
                    host.who,
                    f"no SSH connection: {_reason(error)}{said}. Is it on, in this network, and sshd "
                    f"listening on port {host.port}? (Termux: run 'sshd', its port is 8022)",
                ) from error

    def _open(self, host: SshHost) -> paramiko.Transport:
        """Return a connection on which nothing was said yet."""
        stream: socket.socket | paramiko.Channel
        if host.proxy_command:
            self._proxies.append(ProxyCommand(host.proxy_command, host.who))
            stream = self._proxies[-1].socket
        elif self._transports:
            before = self._transports[-1]
            with _deadline(before, CONNECT_TIMEOUT_S):
                stream = before.open_channel(
                    "direct-tcpip", (host.hostname, host.port), ("127.0.0.1", 0), timeout=CONNECT_TIMEOUT_S
                )
        elif self._adb is not None:
            if self._local_port is None:
                self._adb.check()
                self._local_port = self._adb.forward(host.port)
            stream = connect_within("127.0.0.1", self._local_port, CONNECT_TIMEOUT_S)
        else:
            stream = connect_within(host.hostname, host.port, CONNECT_TIMEOUT_S)
        transport = _Connection(stream)
        transport.use_compression(not host.is_jump)  # digests of the same parts recur in every job
        return transport


@final
class ProxyCommand:
    """A running ProxyCommand of ~/.ssh/config, whose standard streams are the connection; `socket` is this end of them."""

    def __init__(self, command: str, who: str) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the harness's to handle
            )
        except OSError as error:
            self.socket.close()
            raise LinkError(who, f"its ProxyCommand cannot be started: {error}") from error
        finally:
            theirs.close()
        stderr = self._process.stderr
        assert stderr is not None
        self._stderr = stderr
        self._tail = Tail(lambda size: os.read(stderr.fileno(), size))

    def said(self) -> str:
        """Return the end of what the command wrote to standard error, for a message."""
        text = self._tail.finish(0.5)
        return f"; its ProxyCommand said: {text}" if text else ""

    def close(self) -> None:
        """End the command and all that it started."""
        self.socket.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_PROXY_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._tail.finish(1.0)
        self._stderr.close()


@final
class _Connection(paramiko.Transport):
    """A connection on which all is an error of SSH's that the other end has the libraries raise.

    `has_hung_up`: the host said that it does; a link that breaks says nothing.
    """

    has_hung_up = False

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        self.has_hung_up = True
        super()._parse_disconnect(message)  # type: ignore[misc]

    def get_exception(self) -> Exception | None:
        """Return the error that ended the connection's thread, raised by whoever waits for it."""
        error = super().get_exception()
        if error is None or isinstance(error, paramiko.SSHException | OSError | EOFError):
            return error
        return paramiko.SSHException(f"the host broke SSH's protocol ({type(error).__name__}: {error})")


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
            raise LinkError(self._who, f"took no input for {timeout_s:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LinkError(self._who, f"the connection broke: {_reason(error)}") from error

    def read(self, size: int, timeout_s: float) -> bytes:
        """Read 1 to `size` bytes; see Channel."""
        try:
            self._channel.settimeout(timeout_s)
            return self._channel.recv(size)
        except TimeoutError as error:
            raise LinkError(self._who, f"no sign of life for {timeout_s:g} s") from error
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise LinkError(self._who, f"the connection broke: {_reason(error)}") from error

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
            raise LinkError(self._who, f"the command did not end within {timeout_s:g} s")
        status = self._channel.recv_exit_status()
        if status == -1:
            raise LinkError(self._who, "the connection broke before the command ended")
        return status

    def stderr_tail(self) -> str:
        """Return the last 4 KiB of standard error; at the end of the output all of it is awaited."""
        return self._tail.finish(REST_S) if self._channel.eof_received else self._tail.text()

    def finished_stderr(self) -> str:
        """Return the end of standard error once the command has ended."""
        return self._tail.finish(REST_S)

    def close(self) -> None:
        """End the command's input, then the channel."""
        with (
            contextlib.suppress(OSError, EOFError, paramiko.SSHException),
            _deadline(self._channel.get_transport(), _CLOSE_TIMEOUT_S),
        ):
            self._channel.shutdown_write()
            self._channel.close()


def command_line(argv: Sequence[str]) -> str:
    """Return a command as one line that every login shell runs alike: sh and its kin, csh, tcsh, fish.

    What some of them change between quotes travels as octal numbers, which the device's `sh` turns back.
    """
    # A login starts in the home folder; a quoted '~' would not be expanded.
    line = shlex.join([re.sub("^~/", "./", argv[0]), *argv[1:]])
    if not _NOT_QUOTABLE.search(line):
        return line
    octal = "".join(
        chr(byte) if _PLAIN.match(bytes([byte])) else f"\\0{byte:03o}" for byte in f"exec {line}".encode()
    )
    return f"""sh -c 'eval "$(printf %b "{octal}")"'"""


def _known_keys(host: SshHost, device: SshDevice) -> KnownKeys:
    if not host.pin:
        is_named = "known_hosts" in device.model_fields_set
        where = f"[devices.{device.name}] " * is_named + "known_hosts"
        return read_known_keys(host.known_hosts, host.host_key_name, host.plain_key_name, where)
    kind, blob = host.pin.split()[:2]
    key = parse_key(kind, blob)
    if key is None:
        raise ConfigError(
            f"[devices.{device.name}] host_key = {host.pin!r}: no public key of type {kind!r}; "
            "leave it out and connect to be shown the device's own"
        )
    return KnownKeys(keys=(key,))


def _shake_hands(transport: paramiko.Transport, host: SshHost, known: KnownKeys) -> None:
    """Agree on keys and verify the host's. Raises: DeviceError when it is not known; what paramiko raises."""
    transport.banner_timeout = transport.auth_timeout = transport.channel_timeout = CONNECT_TIMEOUT_S
    transport.get_security_options().key_types = known.algorithms()
    is_agreed = threading.Event()
    transport.start_client(event=is_agreed)
    is_agreed.wait(CONNECT_TIMEOUT_S)
    if not transport.is_active():
        raise transport.get_exception() or paramiko.SSHException("the host hung up")
    if not is_agreed.is_set():
        raise TimeoutError
    key = transport.get_remote_server_key()
    if not known.knows(key, host.plain_key_name):
        raise _unknown_key(key, host, known)


def _unknown_key(key: paramiko.PKey, host: SshHost, known: KnownKeys) -> DeviceError:
    if host.is_jump:
        line = f"{host.host_key_name} {key.get_name()} {key.get_base64()}"
        file = host.known_hosts[0] if host.known_hosts else "~/.ssh/known_hosts"
        remedy = f"add this line to {file}: {line}"
    else:
        remedy = f'pin it in [devices.{host.device}]: host_key = "{key.get_name()} {key.get_base64()}"'
    where = "host_key" if host.pin else ", ".join(map(str, host.known_hosts[:2])) or "known_hosts"
    if key.asbytes() in known.revoked:
        told = (
            f"its host key {fingerprint(key)} is marked @revoked in {where}: no one may trust it any more. Give the device "
            f"new host keys (ssh-keygen -A after removing the old ones), then {remedy.split(':')[0]}"
        )
    elif known.keys:
        expected = " or ".join(map(fingerprint, known.keys))
        told = (
            f"the host key has CHANGED: expected {expected}, got {fingerprint(key)}. If the device "
            f"was set up anew, check the fingerprint on the device itself, then {remedy}"
        )
    else:
        told = (
            f"unknown host key {fingerprint(key)} (no match in {where}). Compare the fingerprint on the "
            f"device (ssh-keygen -lf on its host key's .pub file), then {remedy}"
        )
    return DeviceError(host.who, told)


def _reason(error: BaseException) -> str:
    if isinstance(error, socket.gaierror):
        return f"the address cannot be resolved ({error.strerror})"
    if isinstance(error, UnicodeError):
        return "the address is no host name"
    if isinstance(error, TimeoutError):
        return str(error) if "resolved" in str(error) else "no answer in time"
    if isinstance(error, paramiko.ChannelException):
        return f"the host before it does not pass it on ({error.text})"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
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
