"""Attempts at a batch of networks, through workers that die, links that break, damaged parts and disturbed sessions.

A campaign goes this way, and a packed job, whose record is read as a campaign would have gone it: so it is one rule, in one
place, for Python 3.8.
"""

from __future__ import annotations

from typing import Callable, Generic, Sequence, Tuple, TypeVar

LOSSES = 2  # a network that takes the device down twice is a failure, not bad luck
RESENDS = 2
REDOS = 2  # androidx.benchmark's: a throttled session is measured again, twice at most, after 90 s
REDO_AFTER_S = 90.0
FAILURES_IN_A_ROW = 5  # are the device's fault, not the networks'
# Kinds of what ends a worker, beside an agent's own words.
LOST = "link-lost"
RESENT = ("part-missing", "part-damaged")  # the device is asked anew what it holds
DISK_FULL = "disk-full"  # parts that no model here needs make room
# Refusals of a system that tells nothing, and of an agent that does not know the request.
NO_MEMORY = ("no-memory", "bad-request")

Unit = TypeVar("Unit")
Fault = Tuple[str, str]  # what ended a worker: kind, message; the kind is empty where it came to its end
# Of a unit with the trouble of its session, empty for none, None of a failure: whether it is measured again.
Judge = Callable[[Unit, "str | None"], bool]
# Measures units, an attempt's, in a fresh worker, once what cures the fault before is done: its kind, or empty.
Run = Callable[[Sequence[Unit], int, str, Judge[Unit]], Fault]


class Attempts(Generic[Unit]):
    """Attempts at batches, one after another; each worker is at the first of the units that it is left."""

    def __init__(self) -> None:
        self._is_in_vain = False  # the last session that was measured again was disturbed once more

    def measure(
        self,
        units: Sequence[Unit],
        run: Run[Unit],
        fail: Callable[[Unit, str, str], object],
        repeat: Callable[[Sequence[Unit], bool], object],
    ) -> None:
        """Measure units until each has a session or has failed.

        A unit that was disturbed is measured again with its like, twice at most, then kept as it is: its raw times say so.
        `fail` is told of a unit the kind and message of what ended its worker, `repeat` which units are measured again, and
        whether for heat.
        """
        attempt, left = 0, list(units)
        while left:
            again = self._attempt(left, attempt, run, fail)
            if again:
                repeat([unit for unit, _ in again], any(trouble == "throttled" for _, trouble in again))
            attempt, left = attempt + 1, [unit for unit, _ in again]

    def _attempt(
        self, left: list[Unit], attempt: int, run: Run[Unit], fail: Callable[[Unit, str, str], object]
    ) -> list[tuple[Unit, str]]:
        """Measure units once: each worker that ends early costs the unit at fault alone. Return those to measure again."""
        again: list[tuple[Unit, str]] = []
        losses = resends = 0  # since the last unit that was over
        cure = ""

        def judge(unit: Unit, trouble: str | None) -> bool:
            nonlocal losses, resends
            left.remove(unit)
            losses = resends = 0
            if trouble and attempt < (0 if self._is_in_vain else REDOS):
                again.append((unit, trouble))
                return True
            if trouble is not None:
                self._is_in_vain = bool(trouble)  # from then on once each, until one is seen untroubled
            return False

        while left:
            kind, message = run(tuple(left), attempt, cure, judge)
            cure = ""
            if not kind or not left:  # or its worker died after all was told
                continue
            losses += kind == LOST
            if kind == LOST and losses < LOSSES:
                continue
            if kind in (*RESENT, DISK_FULL) and resends < RESENDS:
                resends, cure = resends + 1, kind
                continue
            unit = left[0]
            judge(unit, None)
            fail(unit, kind, message)
        return again
