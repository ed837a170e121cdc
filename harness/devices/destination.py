"""Places to log in, as people write them: `host`, `user@host:port`, `[2001:db8::1]:2222`, `ssh://...`; serial numbers."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LOCAL = "local"  # this machine, by its name as a device and as a transport
MAX_PORT = 65535
_HOST_AND_PORT = re.compile(r"(\[[^]]*\]|[^:\[]*)(?::([^:]*))?", re.DOTALL)
# A number behind a name is adb's, of a phone that mDNS finds anew: `adb-1A2B-xyz (2)._adb-tls-connect._tcp`.
_SERIAL = re.compile(r"(?=.{1,255}\Z)[A-Za-z0-9][A-Za-z0-9._:%\[\]-]*( \([0-9]{1,3}\)[A-Za-z0-9._-]*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Destination:
    """A host to log in to; `user` empty and `port` None where they are left open. IPv6 addresses stand without brackets."""

    user: str
    host: str
    port: int | None

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.user}@" * bool(self.user) + host + (f":{self.port}" if self.port else "")


def parse_destination(text: str) -> Destination:
    """Read `[user@]host[:port]` or an `ssh://` address.

    Raises: ValueError naming what is wrong, to be put behind the key and the value.

    >>> parse_destination("pi@[::1]:2222")
    Destination(user='pi', host='::1', port=2222)
    """
    bare = text.removeprefix("ssh://").rstrip("/") if text.startswith("ssh://") else text
    user, at, rest = bare.rpartition("@")
    if _is_ipv6(rest):
        return Destination(user=user, host=rest, port=None)
    found = _HOST_AND_PORT.fullmatch(rest)
    if found is None:
        raise ValueError(
            "is neither HOST, HOST:PORT nor an IPv6 address; write [ADDRESS]:PORT for one with a port"
        )
    host, port = found[1], found[2]
    if host.startswith("["):
        host = host[1:-1]
        if not _is_ipv6(host):
            raise ValueError(f"has {host!r} in brackets, which is no IPv6 address; write [ADDRESS]:PORT")
    if not host or (at and not user):
        raise ValueError("names no host; write HOST, USER@HOST or USER@HOST:PORT")
    return Destination(user=user, host=host, port=None if port is None else parse_port(port))


def parse_port(text: str) -> int:
    """Read a port. Raises: ValueError."""
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= MAX_PORT:
        raise ValueError(f"names port {text!r}; expected a number from 1 to {MAX_PORT}")
    return int(text)


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def check_serial(text: str) -> None:
    """Check a serial number, as `adb devices` lists it and adb is given it. Raises: ValueError, as `parse_destination`."""
    if not _SERIAL.fullmatch(text):
        raise ValueError(
            "is no serial number of a device; write one as 'adb devices' lists it, e.g. 'R5CT10ABCDE' or '192.168.1.23:5555'"
        )
