"""Host keys that are known: files of known_hosts as OpenSSH reads them, and the check of a device's key against them.

Several keys of one type, patterns, hashed names and `@cert-authority` count; a key that is `@revoked` for a host never does.
"""

from __future__ import annotations

import base64
import binascii
import fnmatch
import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko

from harness.devices.transports.ssh_config import read_lines

CERTIFICATE = "-cert-v01@openssh.com"
_RSA = ("rsa-sha2-512", "rsa-sha2-256")  # the algorithms of a key of type ssh-rsa
_ALGORITHMS = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521", *_RSA)
_HOST_CERTIFICATE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKeys:
    """Keys that are known of one host: its own, those that may certify it, and blobs of those that no longer count."""

    keys: tuple[paramiko.PKey, ...] = ()
    authorities: tuple[paramiko.PKey, ...] = ()
    revoked: frozenset[bytes] = frozenset()

    def algorithms(self) -> list[str]:
        """Return the algorithms to ask the host for, those first of which something is known."""
        own = [
            name for key in self.keys for name in (_RSA if key.get_name() == "ssh-rsa" else [key.get_name()])
        ]
        certified = [name + CERTIFICATE for name in _ALGORITHMS] if self.authorities else []
        return [name for name in dict.fromkeys([*certified, *own, *_ALGORITHMS])]

    def knows(self, key: paramiko.PKey, name: str, now_s: float | None = None) -> bool:
        """Return whether a key, or the certificate that it came with, is known to be the host's."""
        if key.asbytes() in self.revoked:
            return False
        if any(known.asbytes() == key.asbytes() for known in self.keys):
            return True
        try:
            return self._is_certified(key, name, time.time() if now_s is None else now_s)
        except (paramiko.SSHException, ValueError):  # no certificate after all
            return False

    def _is_certified(self, key: paramiko.PKey, name: str, now_s: float) -> bool:
        certificate = getattr(key, "public_blob", None)
        if certificate is None or CERTIFICATE not in certificate.key_type:
            return False
        message = paramiko.Message(certificate.key_blob)
        message.get_text()
        message.get_string()  # nonce
        for _ in range(1 if certificate.key_type.startswith("ssh-ed25519") else 2):
            message.get_string()  # the key itself: an RSA or ECDSA key has two fields
        message.get_int64()  # serial number
        kind = message.get_int()
        message.get_text()  # key id
        principals = paramiko.Message(message.get_string())
        starts_s, ends_s = message.get_int64(), message.get_int64()
        critical = message.get_string()
        message.get_string(), message.get_string()  # extensions, reserved
        authority = message.get_string()
        signed = message.get_so_far()
        signature = message.get_string()
        names = []
        while principals.get_remainder():
            names.append(principals.get_text())
        return (
            kind == _HOST_CERTIFICATE
            and not critical
            and starts_s <= now_s < ends_s
            and (not names or any(fnmatch.fnmatchcase(name, one) for one in names))
            and authority not in self.revoked
            and any(
                one.asbytes() == authority and one.verify_ssh_sig(signed, paramiko.Message(signature))
                for one in self.authorities
            )
        )


def read_known_keys(paths: Sequence[Path], name: str, plain_name: str, where: str) -> KnownKeys:
    """Return the keys that files of known_hosts hold of a host.

    name: as the files have it, `[host]:port` for ports other than 22. plain_name: without the port; authorities are known by
    either. Lines that nobody can read are skipped, as ssh does. Raises: ConfigError for what is no plain file.
    """
    found: dict[str, list[paramiko.PKey]] = {"": [], "@cert-authority": [], "@revoked": []}
    for path in paths:
        for line in read_lines(path, where):
            marker, _, rest = line.strip().partition(" ") if line.lstrip().startswith("@") else ("", "", line)
            fields = rest.split()
            if len(fields) < 3 or fields[0].startswith("#"):
                continue
            wanted = (name, plain_name) if marker == "@cert-authority" else (name,)
            if not any(is_meant(fields[0], one) for one in wanted):
                continue
            if marker in found and (key := parse_key(*fields[1:3])) is not None:
                found[marker].append(key)
    keys, authorities, revoked = map(tuple, found.values())
    return KnownKeys(keys=keys, authorities=authorities, revoked=frozenset(key.asbytes() for key in revoked))


def parse_key(kind: str, text: str) -> paramiko.PKey | None:
    """Read a public key; None where it is none, or of a type that is not known here."""
    try:
        return paramiko.PKey.from_type_string(kind, base64.b64decode(text))
    except Exception:  # noqa: BLE001 - of damaged bytes the libraries raise whatever comes
        return None


def is_meant(patterns: str, name: str) -> bool:
    """Return whether the first field of a line means a host: patterns with `*`, `?` and `!`, or a hashed name."""
    is_found = False
    for pattern in patterns.split(","):
        if pattern.startswith("|1|"):
            is_found = is_found or _is_hash_of(pattern, name)
        # A bracket is only itself.
        elif fnmatch.fnmatchcase(name.lower(), pattern.removeprefix("!").lower().replace("[", "[[]")):
            if pattern.startswith("!"):
                return False
            is_found = True
    return is_found


def _is_hash_of(pattern: str, name: str) -> bool:
    try:
        salt, digest = (base64.b64decode(text) for text in pattern[3:].split("|"))
    except (ValueError, binascii.Error):
        return False
    return hmac.compare_digest(hmac.new(salt, name.encode(), hashlib.sha1).digest(), digest)


def fingerprint(key: paramiko.PKey) -> str:
    """Return a key's type and fingerprint as `ssh-keygen -l` shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"{key.get_name()} SHA256:{digest}"
