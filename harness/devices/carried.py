"""Libraries of a runtime that this machine carries to a device: files of a folder, sent as parts of models are."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.devices.assembly import Assembly
from harness.devices.config import Device
from space.errors import ConfigError
from space.user_paths import expand_user

LITERT = "libLiteRt.so"
SUFFIX = ".so"
MAX_LIBRARIES = 64  # the agent's own limit


def carried_libraries(device: Device) -> dict[str, Assembly]:
    """Return the libraries that devices.toml has carried to a device, by name; none where it names no folder.

    Raises: ConfigError for a folder without LiteRT's library, or with too many files.
    """
    if not device.litert_carry:
        return {}
    folder = expand_user(Path(device.litert_carry))
    files = sorted(path for path in folder.glob(f"*{SUFFIX}") if path.is_file())
    place = f"[devices.{device.name}] litert_carry = {device.litert_carry!r}"
    if LITERT not in (path.name for path in files):
        raise ConfigError(
            f"{place}: the folder holds no {LITERT}; put LiteRT's libraries for the device there"
        )
    if len(files) > MAX_LIBRARIES:
        raise ConfigError(
            f"{place}: the folder holds {len(files)} libraries; {MAX_LIBRARIES} at most can be sent"
        )
    return {path.name: carried_file(path) for path in files}


def carried_file(path: Path) -> Assembly:
    """Return a file as what the device keeps by its digest."""
    data = path.read_bytes()
    return Assembly(
        format="",
        alignment=1,
        skeleton=data,
        parts=(),
        dictionary=None,
        digest=hashlib.sha256(data).hexdigest(),
        read_part=lambda part: b"",
    )
