"""`harness search`: the most accurate networks within limits on any number of devices."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from harness.commands.blockwise_options import (
    METHOD,
    BlockwiseOptions,
    check_method,
    check_objective,
    takes_blockwise,
)
from harness.commands.option_groups import check_none_before
from harness.commands.options import JsonFlag, StoreOption, log, open_store
from harness.commands.query_options import QueryOptions, takes_query
from harness.commands.search_compare import compare
from harness.commands.search_options import SearchOptions, takes_search

if TYPE_CHECKING:
    from harness.blockwise.setup import BlockwiseRequest
    from harness.commands.workers import Workers
    from harness.query.run import ObjectiveRequest, SearchRequest

search = typer.Typer(
    name="search",
    invoke_without_command=True,
    rich_markup_mode=None,
)
search.command()(compare)


@search.callback()
@takes_query
@takes_blockwise
@takes_search
def find(
    context: typer.Context,
    options: QueryOptions,
    blockwise: BlockwiseOptions,
    asked: SearchOptions,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Find the most accurate networks within limits on latency and other costs.

    For example: --accuracies blox-base-0.blox --device pixel --max-latency 8ms. Latencies are measured where they are, and
    predicted elsewhere. With --confidence the upper end of each interval has to meet the limit. With --verify the best ones are
    measured before the answer is given.

    Two searches need no accuracies: --method blockwise scores the blocks that 'harness distill' trained (--library), and
    --objective finds the largest sum over blocks, in a space of any size.
    """
    if context.invoked_subcommand is not None:
        check_none_before(context)
        return
    check_method(context, asked.method)
    if asked.method != METHOD and not asked.objective:
        options.check_accuracies()
    query = options.query(asked.costs)
    if asked.method == METHOD:
        request = asked.blockwise_request(query, blockwise)
        _search_library(request, blockwise.workers, store_url, json_output)
    elif asked.objective:
        check_objective(context)
        _search_sums(asked.objective_request(query), asked.output, store_url, json_output)
    else:
        _search_store(asked.store_request(query), asked, store_url, json_output)


def _search_store(request: SearchRequest, asked: SearchOptions, store_url: str, json_output: bool) -> None:
    """Search what the store holds, and print the answer."""
    from harness.output.progress import ProgressView
    from harness.output.search_text import print_search
    from harness.query.run import run_search

    with open_store(store_url, writes=request.verify is not None) as store:
        found = run_search(request, store, observe=ProgressView, log=log)
    print_search(found, top=asked.top, json_output=json_output, output=asked.output)
    raise typer.Exit(found.exit_status)


def _search_sums(request: ObjectiveRequest, output: Path | None, store_url: str, json_output: bool) -> None:
    """Search a space of any size by sums over blocks, and print the answer."""
    from harness.output.objective_text import print_objective
    from harness.output.progress import ProgressView
    from harness.query.run import search_sums

    with open_store(store_url, writes=request.verify is not None) as store:
        found = search_sums(request, store, observe=ProgressView, log=log)
    print_objective(found, top=request.top, json_output=json_output, output=output)
    raise typer.Exit(found.exit_status)


def _search_library(request: BlockwiseRequest, workers: Workers, store_url: str, json_output: bool) -> None:
    """Search a library of blocks, and print the answer."""
    from harness.blockwise.run import search_library
    from harness.output.blockwise_text import print_blockwise
    from harness.output.progress import ProgressView
    from harness.output.training_progress import TrainingView

    found = search_library(
        request,
        open_store=partial(open_store, store_url, writes=request.verify is not None),
        runner=workers.runner(),
        watch=TrainingView,
        observe=ProgressView,
        log=log,
    )
    print_blockwise(found, json_output=json_output, output=request.output)
    raise typer.Exit(found.exit_status)
