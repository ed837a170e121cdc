"""Progress where there is no terminal: lines for a log, not one a second."""

from __future__ import annotations

import pytest

from harness.output import progress
from harness.output.progress import ProgressView


def test_an_upload_is_told_at_first_and_then_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    with ProgressView(quiet=False) as view:
        for second in range(65):
            now[0] = 1000.0 + second
            for device in ("pi4", "pixel"):
                view.state(device, f"sending {second / 10:.1f} of 24.1 MB, 3:32 left, 98 KB/s")
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of")[0] for line in lines if "pi4" in line] == [
        f"pi4: sending {megabytes}" for megabytes in ("0.0", "3.0", "6.0")
    ]
    assert len(lines) == 6
