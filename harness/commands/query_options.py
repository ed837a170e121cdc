"""The options of search, compare and report that make a query: accuracies, devices, limits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.option_groups import takes
from harness.commands.options import (
    DevicesFile,
    RuntimeName,
    StoredBatch,
    StoredPrecision,
    StoredSpace,
    TakeDoubtful,
    ThreadCount,
    checked_by,
)
from harness.query.accuracies import VARIABLE, check_there, parse_paths
from space.user_paths import check_are_there

if TYPE_CHECKING:
    from harness.query.query import Query
    from harness.store import Store
    from harness.store.configurations import ConfigurationChoice
    from search.table.constraints import Constraint


def _check_constraint(text: str) -> None:
    from search.table.constraints import parse_constraint

    parse_constraint(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """Options that search, compare and report have in common, as given on the command line."""

    accuracies: Annotated[
        list[str] | None,
        typer.Option(
            "--accuracies",
            "-a",
            envvar=VARIABLE,
            help="Accuracies: published blox-base/blox-ext files or a folder of them, or a CSV or Parquet table of your own, "
            "or NAS-Bench-Macro's JSON; repeatable. 'synthetic' stands for made-up ones, to try.",
        ),
    ] = None
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            "-d",
            help="A device whose latencies to show, and to limit with --max-latency; DEVICE:RUNTIME, DEVICE:PRECISION or a "
            "configuration's id where a device has several; a pattern, a group, or all; repeatable.",
        ),
    ] = None
    max_latency: Annotated[
        str,
        typer.Option(
            "--max-latency", help="Upper limit on every --device, or on local, with a unit, e.g. 8ms."
        ),
    ] = ""
    constraint: Annotated[
        list[str] | None,
        typer.Option(
            "--constraint",
            "-c",
            callback=checked_by(_check_constraint),
            help="A limit such as 'pixel<8ms', 'pi4:tflite<40ms', 'pixel:memory<50MB', 'pixel:energy<50mJ', 'params<3M', "
            "'macs<200M', 'memory<12MB', 'onnx-size<10MB' or 'tflite-size<10MB'; repeatable.",
        ),
    ] = None
    confidence: Annotated[
        float | None,
        typer.Option(
            "--confidence",
            help="Hold the upper end of each latency's interval of this coverage to the limit, e.g. 0.95. "
            "[default: the estimate]",
        ),
    ] = None
    metric: Annotated[
        str,
        typer.Option(
            "--metric", help="Which accuracy to search by, e.g. test_top1. [default: val_top1, if there]"
        ),
    ] = ""
    epoch: Annotated[
        str,
        typer.Option(
            "--epoch", help="Epoch of the accuracies: best (by validation), last, or a number from 1."
        ),
    ] = "best"
    training_seed: Annotated[
        list[int] | None,
        typer.Option(
            "--training-seed",
            min=0,
            help="Only trainings with this seed; repeatable. [default: the mean of all]",
        ),
    ] = None
    accuracy_sd: Annotated[
        float | None,
        typer.Option(
            "--accuracy-sd",
            min=0.0,
            max=100.0,
            help="Standard deviation of an accuracy between trainings, in points: networks within it tie. "
            "[default: from the seeds]",
        ),
    ] = None
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read .pickle files, too (nothing in them is run).")
    ] = False
    latencies: Annotated[
        list[Path] | None,
        typer.Option(
            "--latencies",
            callback=check_are_there,
            help="A blox-bench-DEVICE file, or a folder of them: that device's latencies, instead of the store's; repeatable.",
        ),
    ] = None
    measured_only: Annotated[
        bool, typer.Option("--measured-only", help="Consider measured networks alone, no predicted ones.")
    ] = False
    doubtful: TakeDoubtful = False
    runtime: RuntimeName = ""
    threads: ThreadCount = None
    precision: StoredPrecision = ""
    run_batch: StoredBatch = None
    space: StoredSpace = ""
    devices_file: DevicesFile = None

    def check_accuracies(self) -> None:
        """Raise ConfigError where no accuracies are named, or what is named is not there, before anything is loaded."""
        check_there(parse_paths(self.accuracies or ()))

    @property
    def inputs(self) -> list[str | Path]:
        """The files that are named to be read."""
        return [*parse_paths(self.accuracies or ()), *(self.latencies or ())]

    def limits(self) -> tuple[list[str], tuple[Constraint, ...]]:
        """Return the devices named and the limits. Raises: ConfigError, see `parse_limits`."""
        from harness.query.cost_names import parse_limits

        return parse_limits(self.constraint or (), self.device or (), self.max_latency)

    def check_stored(self, store: Store, costs: Sequence[str] = ()) -> None:
        """Raise ConfigError for limits that cannot be read, or a cost of which nothing is stored, before anything is loaded."""
        from harness.query.cost_names import check_query

        devices, constraints = self.limits()
        check_query(
            store, [*devices, *costs], constraints, self.choice(), confidence=self.confidence, latencies=self.latencies or ()
        )  # fmt: skip

    def choice(self) -> ConfigurationChoice:
        """Return the choice of a stored device's configurations."""
        from harness.store.configurations import ConfigurationChoice
        from space.registry import space_name

        return ConfigurationChoice(
            runtime=self.runtime,
            threads=self.threads,
            precision=self.precision,
            batch=self.run_batch,
            space=space_name(self.space),
            devices_file=self.devices_file,
        )

    def query(self, costs: Sequence[str] = ()) -> Query:
        """Return the query; `costs` are further columns to join.

        Raises: ConfigError for a limit that cannot be read, limits that contradict each other, a confidence that is none.
        """
        from harness.query.accuracies import AccuracySource
        from harness.query.latencies import SHOWN_COVERAGE, LatencySource
        from harness.query.query import Query

        devices, constraints = self.limits()
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
                choice=self.choice(),
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
        )


takes_query = takes(QueryOptions, "options")  # gives a command these options
