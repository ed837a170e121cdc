"""Serial numbers of Android devices, as `adb devices` lists them."""

from __future__ import annotations

import re

_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:%\[\]-]{0,254}")


def check_serial(text: str) -> None:
    """Check a serial number, which adb is given as an argument. Raises: ValueError, to be put behind key and value."""
    if not _SERIAL.fullmatch(text):
        raise ValueError(
            "is no serial number of a device; write one as 'adb devices' lists it, e.g. 'R5CT10ABCDE' or '192.168.1.23:5555'"
        )
