"""What search, compare and report are asked: which accuracies, on which devices, within which limits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.commands.accuracies import AccuracySource
from harness.commands.latency_costs import SHOWN_COVERAGE, LatencySource
from harness.devices import LOCAL
from harness.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.joining import Joined
    from search.constraints import Constraint


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A search as the user typed it: `costs` are the names of all columns to join, those of the constraints among them."""

    accuracies: AccuracySource
    latencies: LatencySource
    costs: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    confident: bool

    def join(self, store_url: str, say: Callable[[str], None]) -> Joined:
        """Open the store and join.

        Raises: ConfigError as `joining.join`, or where a confidence is asked for that a latency's intervals do not have.
        """
        from harness.commands.joining import join
        from harness.commands.stored import open_store

        store = open_store(store_url)
        try:
            joined = join(store, self.accuracies, self.costs, self.latencies, say)
        finally:
            store.close()
        if self.confident:
            for constraint in self.constraints:
                cost = joined.table.cost(constraint.subject)
                if cost.measured is None and constraint.subject in joined.behind:
                    raise ConfigError(
                        f"--confidence: the latencies of {constraint.subject!r} have no intervals: leave it out"
                    )
                if cost.coverage is not None and cost.coverage < self.latencies.coverage:
                    raise ConfigError(
                        f"--confidence {self.latencies.coverage:g}: the intervals of {constraint.subject!r}, from a file, "
                        f"hold with {cost.coverage:g}; give that, or search in the store"
                    )
        return joined


def select(
    *,
    accuracies: Sequence[str] | None,
    metric: str,
    epoch: str,
    training_seeds: Sequence[int] | None,
    accuracy_sd: float | None,
    allow_pickle: bool,
    latency_files: Sequence[Path] | None,
    devices: Sequence[str] | None,
    max_latency: str,
    constraints: Sequence[str] | None,
    confidence: float | None,
    measured_only: bool,
    runtime: str,
    threads: int | None,
    costs: Sequence[str] = (),
) -> Selection:
    """Check what the user typed and return it; `costs` are further columns to join.

    Raises: ConfigError for a limit that cannot be read, limits that contradict each other, a confidence that is none.
    """
    from search.constraints import (
        LATENCY_UNIT,
        Constraint,
        check_contradictions,
        parse_amount,
        parse_constraint,
    )

    if confidence is not None and not 0 < confidence < 1:
        raise ConfigError(f"--confidence {confidence:g}: give a share between 0 and 1, e.g. 0.95")
    limits = [parse_constraint(text) for text in constraints or ()]
    named = list(devices or ())
    if max_latency:
        try:
            limit = parse_amount(max_latency, LATENCY_UNIT)
        except ConfigError as error:
            raise ConfigError(f"--max-latency: {error}") from error
        named = named or [LOCAL]
        limits = [
            Constraint(subject=d, relation="<=", limit=limit, unit=LATENCY_UNIT) for d in named
        ] + limits
    check_contradictions(limits)
    return Selection(
        accuracies=AccuracySource(
            paths=tuple(accuracies or ()),
            metric=metric,
            epoch=epoch,
            seeds=tuple(training_seeds or ()),
            allow_pickle=allow_pickle,
            noise_sd=accuracy_sd,
        ),
        latencies=LatencySource(
            runtime=runtime,
            threads=threads,
            measured_only=measured_only,
            coverage=SHOWN_COVERAGE if confidence is None else confidence,
            files=tuple(latency_files or ()),
        ),
        costs=tuple(dict.fromkeys([*named, *(c.subject for c in limits), *costs])),
        constraints=tuple(dict.fromkeys(limits)),
        confident=confidence is not None,
    )
