"""Measurements of grade D, which are excluded from every answer unless asked for, and reported."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from space.text import counted

if TYPE_CHECKING:
    from harness.estimates.latency import Latency


DOUBTFUL = "D"
NAMED = 3  # of the rows left out; the rest are counted
_NO_FINDING = "imprecise"  # graded by the scatter or the interval alone


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubtful:
    """Networks and segments of grade D: their numbers, and the names of the first `NAMED`.

    `why`: how many of them each kind of finding speaks against. `taken`: the user asked to take them in all the same.
    `failed`: the networks that the device does not run, by name, with the kind of the failure or of the finding: nothing is
    predicted of them either.
    """

    networks: int = 0
    segments: int = 0
    names: tuple[str, ...] = ()
    why: Mapping[str, int] = field(default_factory=dict)
    taken: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.networks or self.segments or self.failed)

    def __add__(self, other: Doubtful) -> Doubtful:
        """Return both together."""
        return Doubtful(
            networks=self.networks + other.networks,
            segments=self.segments + other.segments,
            names=(self.names + other.names)[:NAMED],
            why=dict(Counter(self.why) + Counter(other.why)),
            taken=self.taken or other.taken,
            failed={**self.failed, **other.failed},
        )

    def __str__(self) -> str:
        """Return both texts."""
        return "; ".join(filter(None, (self.graded_text, self.failed_text)))

    @property
    def graded_text(self) -> str:
        """The number with grade D, whether they are in, which and why: `3 networks of grade D left out: a, b, c (waited 3)`."""
        parts = [
            counted(count, one)
            for count, one in ((self.networks, "network"), (self.segments, "segment"))
            if count
        ]
        if not parts:
            return ""
        way = "taken in" if self.taken else "left out"
        named = _named(self.names, self.networks + self.segments, self.why)
        return f"{' and '.join(parts)} of grade D {way}: {named}"

    @property
    def failed_text(self) -> str:
        """The number that failed, which and why; empty where none did."""
        if not self.failed:
            return ""
        count, why = len(self.failed), Counter(self.failed.values())
        named = _named(tuple(self.failed)[:NAMED], count, why)
        found = counted(count, "network failed", "networks failed")
        return f"{found}, and nothing is measured or predicted of {'it' if count == 1 else 'them'}: {named}"

    def to_json(self) -> dict[str, object]:
        """Return it as plain values."""
        return {
            "networks": self.networks,
            "segments": self.segments,
            "names": list(self.names),
            "why": dict(self.why),
            "taken": self.taken,
            "failed": dict(self.failed),
        }


def _named(names: Sequence[str], count: int, why: Mapping[str, int]) -> str:
    """Return the first names of so many, and how many each kind speaks against: `a, b, c and 2 more (waited 5)`."""
    more = count - len(names)
    kinds = ", ".join(f"{kind} {number:,}" for kind, number in why.items())
    return f"{', '.join(names)}{f' and {more:,} more' if more else ''} ({kinds})"


def doubtful_from_json(found: Mapping[str, object]) -> Doubtful:
    """Return the `Doubtful` of a document of `Doubtful.to_json`. Raises: TypeError for anything else."""
    names = found["names"]
    if not isinstance(names, list):
        raise TypeError(f"names {names!r}: no list")
    return Doubtful(**{**found, "names": tuple(names)})  # type: ignore[arg-type]


def set_apart(rows: Sequence[Latency], *, take: bool = False) -> tuple[list[Latency], Doubtful]:
    """Return the rows that an answer may be computed from, in their order, and what has grade D; `take`: that, too."""
    doubtful = [row for row in rows if row.grade == DOUBTFUL]
    segments = sum(row.architecture.startswith("segment:") for row in doubtful)
    why = Counter(kind for row in doubtful for kind in _kinds(row))
    summary = Doubtful(
        networks=len(doubtful) - segments,
        segments=segments,
        names=tuple(row.architecture for row in doubtful[:NAMED]),
        why=dict(why.most_common()),
        taken=take,
    )
    return [row for row in rows if take or row.grade != DOUBTFUL], summary


def _kinds(row: Latency) -> set[str]:
    return {finding.kind for finding in row.findings if finding.cap == DOUBTFUL} or {_NO_FINDING}
