"""Feature maps of a part of a network, and how much of them must exist at the same moment."""

from __future__ import annotations

from dataclasses import dataclass, field

FLOAT_BYTES = 4


@dataclass(slots=True)
class MapSizes:
    """The feature maps of a part in the order they are written: how many values each has, and what each step reads."""

    values: list[int] = field(default_factory=list)
    reads: list[tuple[int, ...]] = field(default_factory=list)

    def write(self, values: int, *reads: int) -> int:
        """Add a step that reads some maps and writes one of `values` values; return the new map."""
        self.values.append(values)
        self.reads.append(reads)
        return len(self.values) - 1

    def peak(self) -> int:
        """Return the largest number of values alive during a step; the last map is the part's output."""
        last_read = {read: step for step, reads in enumerate(self.reads) for read in reads}
        return max(
            sum(self.values[one] for one in range(step + 1) if last_read.get(one, one) >= step)
            for step in range(len(self.values))
        )
