"""What the device answers before there is an agent: checked, for the device is foreign."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.devices.client import deploy
from harness.devices.config import LocalDevice
from harness.devices.transports.local import LocalTransport
from harness.errors import DeviceError


@pytest.mark.parametrize(
    "answer",
    [
        "HARNESS-BOOT {}",
        "HARNESS-BOOT [",
        "HARNESS-BOOT 7",
        'HARNESS-BOOT {"python": ["3"], "present": true}',
    ],
)
def test_a_garbled_answer_of_the_device_is_quoted(answer: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{answer}'\n")
    python.chmod(0o755)
    with pytest.raises(DeviceError, match="device 'odd': unreadable answer 'HARNESS-BOOT"):
        deploy(LocalTransport(), LocalDevice(name="odd", python=str(python)))
