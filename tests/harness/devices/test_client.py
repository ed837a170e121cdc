"""What the device answers before there is an agent: checked, for the device is foreign."""

from __future__ import annotations

import sys
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


def test_a_python_without_zlib_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    python, root = tmp_path / "python", tmp_path / "root"
    without = "import sys; sys.modules['zlib'] = None; exec(sys.argv.pop(1))"
    python.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{without}" "$@"\n')
    python.chmod(0o755)
    with pytest.raises(DeviceError, match=r"device 'odd': .*python' has no module zlib, .*name another with"):
        deploy(LocalTransport(), LocalDevice(name="odd", python=str(python), root=str(root)))
    assert not root.exists()


def test_what_arrives_damaged_is_no_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.devices.client.zlib.compress", lambda data, level: data)
    with pytest.raises(DeviceError, match=r"the agent cannot be stored in .*: Error -3 while decompressing"):
        deploy(LocalTransport(), LocalDevice(name="odd", root=str(tmp_path / "root")))
