"""The options of `harness search`, and the request that they make."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.blockwise_options import METHOD, BlockwiseOptions
from harness.commands.option_groups import takes
from harness.commands.options import ProxyBatch, ProxyPool, WaitFlag, WaitLimit, checked_by, patience_s
from space.atomic_files import check_output_file

if TYPE_CHECKING:
    from harness.blockwise.request import BlockwiseRequest
    from harness.query.query import Query
    from harness.query.run import ObjectiveRequest, SearchRequest


def _check_method(text: str) -> None:
    if text not in (METHOD, "exhaustive"):
        from search.methods.registry import parse_method

        parse_method(text)


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """Options of a search besides those of its query, as given on the command line."""

    pareto: Annotated[
        list[str] | None,
        typer.Option(
            "--pareto",
            help="Show the Pareto front over accuracy and this cost (a device, params, macs, memory, onnx-size, tflite-size); "
            "repeat for a front over several; with --method blockwise or --objective, for a front each.",
        ),
    ] = None
    show: Annotated[list[str] | None, typer.Option("--show", help="Show this cost, too; repeatable.")] = None
    top: Annotated[int, typer.Option("--top", min=1, help="Networks to show.")] = 10
    method: Annotated[
        str,
        typer.Option(
            "--method",
            callback=checked_by(_check_method),
            help="exhaustive looks at every accuracy; others (see 'harness search compare') at --budget of them; blockwise "
            "needs none: it searches a --library of distilled blocks, fine-tunes and exports.",
        ),
    ] = "exhaustive"
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            help="Instead of accuracies: find the networks with the most params or macs, or the highest sum of scores in this "
            "CSV file (columns part,score), in a space of any size, by an integer program.",
        ),
    ] = ""
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="Accuracy evaluations of methods that are not exhaustive.")
    ] = 100
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0
    pool: ProxyPool = 100
    batch: ProxyBatch = None
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify",
            min=1,
            help="Measure this many of the best networks on the devices, at level final, and correct the answer.",
        ),
    ] = None
    wait: WaitFlag = False
    wait_limit: WaitLimit = ""
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all networks within the limits to this CSV file. With --method blockwise: the folder for the trained "
            "network, its models and what repeats it.",
        ),
    ] = None

    @property
    def costs(self) -> tuple[str, ...]:
        """The costs to join besides those of limits and devices."""
        return (*(self.pareto or ()), *(self.show or ()))

    def check(self, inputs: Sequence[str | Path]) -> None:
        """Raise ConfigError for an objective that is none, or an output that cannot be written, before anything is loaded.

        `inputs`: files that are read, which the output may not replace.
        """
        if self.objective:
            from harness.query.cost_names import check_objective

            check_objective(self.objective)
        check_output_file(self.output, ".csv", inputs=[*inputs, self.objective])

    def _shared(self, query: Query) -> dict[str, Any]:
        """Return the fields that every request has. Raises: ConfigError for a text that is no time."""
        wait_s = patience_s(self.wait, self.wait_limit)
        return {"query": query, "pareto": tuple(self.pareto or ()), "verify": self.verify, "wait_s": wait_s}

    def store_request(self, query: Query) -> SearchRequest:
        """Return the request of a search of what a store holds. Raises: ConfigError."""
        from harness.query.run import SearchRequest

        return SearchRequest(
            method=self.method,
            budget=self.budget,
            seed=self.seed,
            proxy_pool=self.pool,
            proxy_batch=self.batch,
            **self._shared(query),
        )

    def objective_request(self, query: Query) -> ObjectiveRequest:
        """Return the request of a search by --objective. Raises: ConfigError."""
        from harness.query.run import ObjectiveRequest

        return ObjectiveRequest(objective=self.objective, top=self.top, **self._shared(query))

    def blockwise_request(self, query: Query, blockwise: BlockwiseOptions) -> BlockwiseRequest:
        """Return the request of a blockwise search. Raises: ConfigError."""
        command = tuple(sys.argv[1:])
        return blockwise.request(seed=self.seed, output=self.output, command=command, **self._shared(query))


takes_search = takes(SearchOptions, "asked")  # gives a command these options
