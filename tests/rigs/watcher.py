"""An observer of campaigns for tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from harness.measurement.events import Ended, Event, Note, SessionDone, SessionsPlanned

T = TypeVar("T")


class Watcher:
    """An observer that keeps the events of devices and calls `on_event` with each."""

    def __init__(self, on_event: Callable[[Event], Any] = lambda event: None) -> None:
        self.events: list[tuple[str, Event]] = []
        self.on_event = on_event

    def event(self, device: str, event: Event) -> None:
        self.events.append((device, event))
        self.on_event(event)

    def of(self, kind: type[T]) -> list[T]:
        """Return the events of a kind."""
        return [event for _, event in self.events if isinstance(event, kind)]

    @property
    def notes(self) -> list[str]:
        return [note.text for note in self.of(Note)]

    @property
    def planned(self) -> int:
        return sum(event.sessions for event in self.of(SessionsPlanned))

    @property
    def done(self) -> list[SessionDone]:
        return self.of(SessionDone)

    @property
    def ended(self) -> list[tuple[str, str]]:
        """Return the devices whose campaigns ended before others, and their troubles."""
        return [(device, event.trouble) for device, event in self.events if isinstance(event, Ended)]
