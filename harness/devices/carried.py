"""Libraries of a runtime that this machine carries to a device: files of a folder, sent as parts of models are."""

from __future__ import annotations

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

    Raises: ConfigError for a folder without LiteRT's library, with too many files, or one that cannot be read.
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
    libraries = {}
    for path in files:
        try:
            libraries[path.name] = Assembly.of_bytes(path.read_bytes())
        except OSError as error:
            raise ConfigError(f"{place}: {path} cannot be read: {error.strerror}") from error
    return libraries
