"""`harness search`: the most accurate networks within limits on any number of devices."""

from __future__ import annotations

from functools import partial
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
    from harness.blockwise.request import BlockwiseRequest
    from harness.commands.workers import Workers
    from harness.query.query import Query
    from harness.store import Store

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
    if asked.method == METHOD:
        _search_library(
            _library_request(options, blockwise, asked, store_url), blockwise.workers, store_url, json_output
        )
        return
    if asked.objective:
        check_objective(context)
    else:
        options.check_accuracies()
    asked.check(options.inputs)
    with open_store(store_url, writes=asked.verify is not None) as store:
        options.check_stored(store, asked.costs)
        search_it = _search_sums if asked.objective else _search_store
        search_it(options.query(asked.costs), asked, store, json_output)


def _search_store(query: Query, asked: SearchOptions, store: Store, json_output: bool) -> None:
    """Search what the store holds, and print the answer."""
    from harness.output.progress import ProgressView
    from harness.output.search_text import print_search
    from harness.query.run import run_search

    found = run_search(asked.store_request(query), store, observe=ProgressView, log=log)
    print_search(found, top=asked.top, json_output=json_output, output=asked.output)
    raise typer.Exit(found.exit_status)


def _search_sums(query: Query, asked: SearchOptions, store: Store, json_output: bool) -> None:
    """Search a space of any size by sums over blocks, and print the answer."""
    from harness.output.objective_text import print_objective
    from harness.output.progress import ProgressView
    from harness.query.run import search_sums

    found = search_sums(asked.objective_request(query), store, observe=ProgressView, log=log)
    print_objective(found, top=asked.top, json_output=json_output, output=asked.output)
    raise typer.Exit(found.exit_status)


def _library_request(
    options: QueryOptions, blockwise: BlockwiseOptions, asked: SearchOptions, store_url: str
) -> BlockwiseRequest:
    """Return the request of a search of a library, once all that it names is there. Raises: ConfigError."""
    from search.training.sealed_head import check_library

    blockwise.check()
    with open_store(store_url) as store:
        options.check_stored(store, asked.costs)
    request = asked.blockwise_request(options.query(asked.costs), blockwise)
    check_library(request.library)
    return request


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
