"""Logging in to a host by key: those of files and of the SSH agent, each offered once, every wait with a deadline."""

from __future__ import annotations

import base64
import contextlib
import os
import shlex
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import final

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm

from harness.devices.transports.ssh_config import expand_home
from harness.devices.transports.ssh_hosts import SshHost
from harness.errors import DeviceError
from space.errors import ConfigError
from space.text import counted

AGENT_TIMEOUT_S = 5.0  # for the list of its keys
SIGN_TIMEOUT_S = 30.0  # its owner may have to allow it, or to touch a key
_OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----"
_MAX_KEY_BYTES = 1 << 20
_MAX_ANSWER_BYTES, _MAX_KEYS = 1 << 18, 2048  # of the SSH agent: OpenSSH's own limits


@final
class _BoundedAgent(paramiko.agent.AgentSSH):
    """An SSH agent within bounds: paramiko takes any size and any number of keys, however slowly they come."""

    def _send_message(self, msg: bytes) -> tuple[int, paramiko.Message]:
        kind, answer = super()._send_message(msg)  # type: ignore[misc]
        if kind == paramiko.agent.SSH2_AGENT_IDENTITIES_ANSWER:
            count = int.from_bytes(answer.asbytes()[1:5], "big")
            if count > _MAX_KEYS:
                raise paramiko.SSHException(f"it claims to have {count} keys")
        return kind, answer

    def _read_all(self, wanted: int) -> bytes:
        if wanted > _MAX_ANSWER_BYTES:
            raise paramiko.SSHException(f"it announces an answer of {wanted} bytes")
        connection: socket.socket = self._conn  # type: ignore[attr-defined]
        timeout_s, answer = connection.gettimeout(), b""
        assert timeout_s is not None
        deadline_s = time.monotonic() + timeout_s
        try:
            while len(answer) < wanted:
                connection.settimeout(max(0.001, deadline_s - time.monotonic()))
                piece = connection.recv(wanted - len(answer))
                if not piece:
                    raise paramiko.SSHException("it hung up")
                answer += piece
        finally:
            connection.settimeout(timeout_s)
        return answer


class KeyFailed(Exception):
    """A key of the agent that could not sign, which costs the connection: to be left out of the next.

    `blob` is the public key, empty for the whole agent.
    """

    def __init__(self, blob: bytes, reason: str) -> None:
        super().__init__(reason)
        self.blob = blob


def check_key_file(path: Path, where: str) -> None:
    """Raise ConfigError for a file that holds no private key; one that is locked by a passphrase does."""
    if not path.is_file():
        raise ConfigError(f"{where}: no such file; make one: ssh-keygen -t ed25519")
    try:
        _private_key(path)
    except (TypeError, UnsupportedAlgorithm):  # the SSH agent may hold it
        pass
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else "no private key"
        raise ConfigError(f"{where}: {reason}; name the private key's file, not the .pub one") from error


def _private_key(path: Path) -> paramiko.PKey:
    """Read a private key.

    Raises: TypeError where a passphrase locks it, UnsupportedAlgorithm where only the SSH agent can use it, as of one in a
    security key; OSError; ValueError for what is none.
    """
    try:
        return paramiko.PKey.from_path(path)
    except (OSError, TypeError, UnsupportedAlgorithm):
        raise
    except Exception as error:  # of a damaged file the libraries raise whatever comes, down to assertions
        raise ValueError(f"no private key: {error}") from error


def log_in(transport: paramiko.Transport, host: SshHost, failed: dict[bytes, str]) -> None:
    """Offer keys until the host takes one.

    failed: keys of the agent to leave out, with the reasons. Raises: DeviceError when none is taken, with the remedy;
    KeyFailed when the agent broke the connection; what paramiko raises when the connection breaks.
    """
    notes: list[str] = list(failed.values())
    reason = ""
    offered: set[bytes] = set()
    for key in _keys(host, failed, notes):
        if key.asbytes() in offered:
            continue
        offered.add(key.asbytes())
        is_agents = isinstance(key, paramiko.AgentKey)
        try:
            transport.auth_timeout = transport.banner_timeout + (SIGN_TIMEOUT_S if is_agents else 0.0)
            more = transport.auth_publickey(host.user, key)
        except paramiko.BadAuthenticationType as error:
            raise _refused(host, f"it takes no keys, only {', '.join(error.allowed_types)}", notes) from error
        except (paramiko.SSHException, OSError) as error:  # a link that ends is no key's fault
            if transport.is_active() and isinstance(error, paramiko.SSHException):
                reason = str(error)
                continue
            if is_agents and not isinstance(error, paramiko.AuthenticationException):
                is_slow = isinstance(error, TimeoutError)
                told = (
                    f"no answer within {SIGN_TIMEOUT_S:g} s"
                    if is_slow
                    else str(error) or type(error).__name__
                )
                raise KeyFailed(
                    b"" if is_slow else key.asbytes(), f"the SSH agent did not sign: {told}"
                ) from error
            is_refusal = isinstance(error, paramiko.AuthenticationException)
            if len(offered) == 1 and not (is_refusal and getattr(transport, "has_hung_up", False)):
                raise
            raise _refused(
                host, f"it hung up after {counted(len(offered), 'key')}, so name the one that it knows", notes
            ) from error
        if transport.is_authenticated():
            return
        reason = f"it wants {' or '.join(more) or 'more'} besides the key, which harness has not"
    locked = [note for note in notes if note.startswith("ssh-add")]
    if locked and not reason:
        raise DeviceError(
            host.who, f"the private key is locked by a passphrase; hand it to your SSH agent: {locked[0]}"
        )
    raise _refused(host, reason or "no private key here; make one: ssh-keygen -t ed25519", notes)


def _keys(host: SshHost, failed: dict[bytes, str], notes: list[str]) -> Iterator[paramiko.PKey]:
    """Yield the keys to offer, best first: of each file, by the agent where it has it; then what else the agent has."""
    agent = _agent(host, notes) if b"" not in failed else None
    held = {key.asbytes(): key for key in agent.get_keys()} if agent is not None else {}
    for blob in failed:
        held.pop(blob, None)
    try:
        for path in host.keys:
            if not path.is_file() or path.stat().st_size > _MAX_KEY_BYTES:
                continue
            blob = _public_blob(path)
            if blob in held:
                yield held[blob]
                continue
            add = f"ssh-add {shlex.quote(str(path))}"
            try:
                yield _private_key(path)
            except TypeError:
                notes.append(add)
            except UnsupportedAlgorithm:
                notes.append(f"{path} can be used by the SSH agent alone: {add}")
            except (OSError, ValueError):
                continue  # no private key: ssh passes over it, too
        if not host.only_keys:
            yield from held.values()
    finally:
        if agent is not None:
            agent._close()  # type: ignore[attr-defined]


def _agent(host: SshHost, notes: list[str]) -> paramiko.agent.AgentSSH | None:
    """Return the SSH agent with its keys, None where there is none or it does not answer in time."""
    text = host.agent or "SSH_AUTH_SOCK"
    if text == "none":
        return None
    if text == "SSH_AUTH_SOCK" or text.startswith("$"):
        text = os.environ.get(text.removeprefix("$"), "")
    if not text:
        return None
    agent = _BoundedAgent()
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(AGENT_TIMEOUT_S)
    try:
        connection.connect(str(expand_home(text, "IdentityAgent")))
        agent._connect(connection)  # type: ignore[attr-defined]
    except (OSError, paramiko.SSHException, ValueError, struct.error) as error:
        connection.close()
        told = f"no answer within {AGENT_TIMEOUT_S:g} s" if isinstance(error, TimeoutError) else str(error)
        notes.append(f"the SSH agent at {text} was left out: {told}")
        return None
    connection.settimeout(SIGN_TIMEOUT_S)
    return agent


def _public_blob(path: Path) -> bytes:
    """Return the public key of a private key's file, locked or not, or of a .pub file; empty where it cannot be told."""
    with contextlib.suppress(OSError, ValueError, IndexError, struct.error):
        beside = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
        if beside.is_file():
            return base64.b64decode(beside.read_text().split()[1])
        text = path.read_text()
        if text.startswith(_OPENSSH):  # its public half is not locked
            message = paramiko.Message(base64.b64decode("".join(text.split("\n")[1:]).split("-----")[0]))
            message.get_bytes(len(b"openssh-key-v1\0"))
            message.get_string(), message.get_string(), message.get_string(), message.get_int()
            return message.get_string()
    return b""


def _refused(host: SshHost, reason: str, notes: list[str]) -> DeviceError:
    notes = [note for note in dict.fromkeys(notes) if not note.startswith("ssh-add")]
    told = f"; {'; '.join(notes)}" if notes else ""
    refused = f"login refused ({reason}{told}). Put your public key on the device: {host.copy_key}"
    if host.only_keys:
        return DeviceError(host.who, refused)
    where = f'key = "~/.ssh/..." in [devices.{host.device}]'
    if host.is_jump:
        where = "IdentityFile of that host in ~/.ssh/config"
    return DeviceError(host.who, f"{refused}; or name a private key: {where}")
