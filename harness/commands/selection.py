"""What search, compare and report are asked: which accuracies, on which devices, within which limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.commands.accuracies import AccuracySource
from harness.commands.latency_costs import SHOWN_COVERAGE, LatencySource
from harness.commands.option_groups import takes
from harness.commands.options import (
    AccuracyPaths,
    AccuracySd,
    AllowPickle,
    Confidence,
    Constraints,
    Epoch,
    LatencyFiles,
    MaxLatency,
    MeasuredOnly,
    Metric,
    RuntimeName,
    SearchDevices,
    TakeDoubtful,
    ThreadCount,
    TrainingSeeds,
)
from harness.devices import LOCAL
from harness.prediction.provenance import Provenance
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.joining import Joined
    from search.constraints import Constraint
    from search.table import Cost


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """The options that search, compare and report have in common, as the user typed them."""

    accuracies: AccuracyPaths = None
    device: SearchDevices = None
    max_latency: MaxLatency = ""
    constraint: Constraints = None
    confidence: Confidence = None
    metric: Metric = ""
    epoch: Epoch = "best"
    training_seed: TrainingSeeds = None
    accuracy_sd: AccuracySd = None
    allow_pickle: AllowPickle = False
    latencies: LatencyFiles = None
    measured_only: MeasuredOnly = False
    doubtful: TakeDoubtful = False
    runtime: RuntimeName = ""
    threads: ThreadCount = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """A search as the user typed it: `costs` are the names of all columns to join, those of the constraints among them.

    `with_far`: whether networks unlike any measured one count, as where the best are measured before the answer is given.
    """

    accuracies: AccuracySource
    latencies: LatencySource
    costs: tuple[str, ...]
    constraints: tuple[Constraint, ...]
    confident: bool
    with_far: bool = False

    def join(self, store_url: str, say: Callable[[str], None]) -> Joined:
        """Open the store and join.

        Raises: ConfigError as `joining.join`, or where a confidence is asked for that a latency's intervals do not have.
        """
        from harness.commands.joining import join, with_far_networks
        from harness.commands.options import open_store

        store = open_store(store_url)
        try:
            joined = join(store, self.accuracies, self.costs, self.latencies, say)
        finally:
            store.close()
        if self.confident:
            check_intervals(self, joined.table.costs, joined.behind)
        return with_far_networks(joined) if self.with_far else joined


def check_intervals(
    selection: Selection, costs: Mapping[str, Cost], behind: Mapping[str, Provenance]
) -> None:
    """Refuse a confidence that the intervals of a limited latency do not have.

    Raises: ConfigError.
    """
    for constraint in selection.constraints:
        cost = costs[constraint.subject]
        if cost.measured is None and constraint.subject in behind:
            raise ConfigError(
                f"--confidence: the latencies of {constraint.subject!r} have no intervals: leave it out"
            )
        if cost.coverage is not None and cost.coverage < selection.latencies.coverage:
            raise ConfigError(
                f"--confidence {selection.latencies.coverage:g}: the intervals of {constraint.subject!r}, from a file, "
                f"hold with {cost.coverage:g}; give that, or search in the store"
            )


takes_selection = takes(Typed, "typed")  # gives a command the options of `Typed`


def select(typed: Typed, costs: Sequence[str] = ()) -> Selection:
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

    if typed.confidence is not None and not 0 < typed.confidence < 1:
        raise ConfigError(f"--confidence {typed.confidence:g}: give a share between 0 and 1, e.g. 0.95")
    limits = [parse_constraint(text) for text in typed.constraint or ()]
    named = list(typed.device or ())
    if typed.max_latency:
        try:
            limit = parse_amount(typed.max_latency, LATENCY_UNIT)
        except ConfigError as error:
            raise ConfigError(f"--max-latency: {error}") from error
        named = named or [LOCAL]
        limits = [
            Constraint(subject=d, relation="<=", limit=limit, unit=LATENCY_UNIT) for d in named
        ] + limits
    check_contradictions(limits)
    return Selection(
        accuracies=AccuracySource(
            paths=tuple(typed.accuracies or ()),
            metric=typed.metric,
            epoch=typed.epoch,
            seeds=tuple(typed.training_seed or ()),
            allow_pickle=typed.allow_pickle,
            noise_sd=typed.accuracy_sd,
        ),
        latencies=LatencySource(
            runtime=typed.runtime,
            threads=typed.threads,
            measured_only=typed.measured_only,
            doubtful=typed.doubtful,
            coverage=SHOWN_COVERAGE if typed.confidence is None else typed.confidence,
            files=tuple(typed.latencies or ()),
        ),
        costs=tuple(dict.fromkeys([*named, *(c.subject for c in limits), *costs])),
        constraints=tuple(dict.fromkeys(limits)),
        confident=typed.confidence is not None,
    )
