"""Measuring from Python: the lines of progress that a function gets."""

from __future__ import annotations

from harness.measurement.events import Connecting, Ended, Note, SessionDone, SessionsPlanned
from harness.prediction.measure import Progress


def test_lines_name_their_device_and_count_its_sessions_of_all_that_were_planned() -> None:
    lines: list[str] = []
    progress = Progress(lines.append)
    for device, event in (
        ("pi4", Connecting()),
        ("pi4", SessionsPlanned(sessions=2)),
        ("pixel", SessionsPlanned(sessions=1)),
        ("pi4", SessionDone()),
        ("pi4", SessionsPlanned(sessions=1)),
        ("pi4", SessionDone(failure="the runtime crashed")),
        ("pixel", SessionDone()),
        ("pixel", Note(text="its clock is off")),
        ("pixel", Ended()),
        ("pi4", Ended(trouble="it is lost")),
    ):
        progress.event(device, event)
    assert lines == [
        "pi4: connecting",
        "pi4: 1 of 2 sessions",
        "pi4: 2 of 3 sessions: failed: the runtime crashed",
        "pixel: 1 of 1 sessions",
        "pixel: its clock is off",
        "pixel: ended",
        "pi4: ended: it is lost",
    ]
