"""Progress events of units of work: plain values, sent between processes and machines; `sentence` returns one as text.

A unit's function reports a `Step`, a runner and `search.work.unit_runs.run_units` report an `Event`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from search.work.kinds import Message, Step
from search.work.unit import Unit
from space.text import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitsFound:
    """Of `units` those with an earlier result, by their `keys`: they are not computed again."""

    keys: frozenset[str]
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitStarted:
    """A unit begins to be computed."""

    unit: Unit


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitProgress:
    """A step that a unit's function reports."""

    unit: Unit
    step: Step


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitAgain:
    """A unit is computed again: its process was lost, or its result can no longer be read."""

    unit: Unit
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitDone:
    """A unit's result is kept: `done` of `units` are."""

    unit: Unit
    seconds: float
    done: int
    units: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitFailed:
    """A unit has no result."""

    unit: Unit
    message: str


Event = Message | UnitsFound | UnitStarted | UnitProgress | UnitAgain | UnitDone | UnitFailed
OnProgress = Callable[[Event], None]


def sentence(event: Event, called: Callable[[Unit], str] = str) -> str:
    """Return an event in words; `called` names its unit."""
    match event:
        case UnitsFound():
            return f"{len(event.keys)} of {counted(event.units, 'unit')} done already"
        case UnitStarted(unit=unit):
            return f"{called(unit)} begins"
        case UnitProgress(unit=unit, step=step):
            return f"{called(unit)}: {step}"
        case UnitAgain(unit=unit, reason=reason):
            return f"{called(unit)} is computed again: {reason}"
        case UnitDone(unit=unit):
            return f"{called(unit)} is done in {event.seconds:.1f} s, {event.done} of {event.units} units"
        case UnitFailed(unit=unit, message=message):
            return f"{called(unit)} failed: {message}"
        case Message():
            return event.text
