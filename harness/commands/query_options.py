"""The options of search, compare and report that make a query: accuracies, devices, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from harness.commands.option_groups import takes
from harness.commands.options import (
    AccuracyPaths,
    AccuracySd,
    AllowPickle,
    Confidence,
    Constraints,
    DevicesFile,
    Epoch,
    LatencyFiles,
    MaxLatency,
    MeasuredOnly,
    Metric,
    RuntimeName,
    SearchDevices,
    StoredBatch,
    StoredPrecision,
    StoredSpace,
    TakeDoubtful,
    ThreadCount,
    TrainingSeeds,
)

if TYPE_CHECKING:
    from harness.query.query import Query


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """Options that search, compare and report have in common, as given on the command line."""

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
    precision: StoredPrecision = ""
    run_batch: StoredBatch = None
    space: StoredSpace = ""
    devices_file: DevicesFile = None

    def query(self, costs: Sequence[str] = ()) -> Query:
        """Return the query; `costs` are further columns to join.

        Raises: ConfigError for a limit that cannot be read, limits that contradict each other, a confidence that is none.
        """
        from harness.query.accuracies import AccuracySource, parse_paths
        from harness.query.latencies import SHOWN_COVERAGE, LatencySource
        from harness.query.query import Query, parse_limits

        devices, constraints = parse_limits(self.constraint or (), self.device or (), self.max_latency)
        return Query(
            accuracies=AccuracySource(
                paths=tuple(parse_paths(self.accuracies or ())),
                metric=self.metric,
                epoch=self.epoch,
                seeds=tuple(self.training_seed or ()),
                allow_pickle=self.allow_pickle,
                noise_sd=self.accuracy_sd,
            ),
            latencies=LatencySource(
                runtime=self.runtime,
                threads=self.threads,
                precision=self.precision,
                batch=self.run_batch,
                measured_only=self.measured_only,
                doubtful=self.doubtful,
                coverage=SHOWN_COVERAGE if self.confidence is None else self.confidence,
                files=tuple(self.latencies or ()),
                space=self.space,
                allow_pickle=self.allow_pickle,
            ),
            costs=tuple(dict.fromkeys([*devices, *(one.subject for one in constraints), *costs])),
            constraints=constraints,
            confident=self.confidence is not None,
            devices_file=self.devices_file,
        )


takes_query = takes(QueryOptions, "options")  # gives a command these options
