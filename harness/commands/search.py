"""`harness search`: the most accurate networks within limits on any number of devices."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.blockwise_options import (
    METHOD,
    BlockwiseOptions,
    check_method,
    check_objective,
    takes_blockwise,
)
from harness.commands.option_groups import check_none_before
from harness.commands.options import (
    JsonFlag,
    ProxyBatch,
    ProxyPool,
    StoreOption,
    WaitFlag,
    WaitLimit,
    WideFlag,
    is_quiet,
    log,
    open_store,
    patience_s,
)
from harness.commands.query_options import QueryOptions, takes_query
from harness.commands.search_compare import compare
from space.atomic_files import check_output_file

if TYPE_CHECKING:
    from harness.blockwise.setup import BlockwiseRequest
    from harness.commands.workers import Workers
    from harness.query.run import ObjectiveRequest, SearchRequest

search = typer.Typer(
    name="search",
    help="Find the most accurate networks within limits on latency and other costs.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
search.command()(compare)


@search.callback()
@takes_query
@takes_blockwise
def find(
    context: typer.Context,
    options: QueryOptions,
    blockwise: BlockwiseOptions,
    pareto: Annotated[
        list[str] | None,
        typer.Option(
            "--pareto",
            help="Show the Pareto front over accuracy and this cost (a device, params, macs, memory, onnx-size, tflite-size); "
            "repeat for a front over several; with --method blockwise or --objective, for a front each.",
        ),
    ] = None,
    show: Annotated[list[str] | None, typer.Option("--show", help="Show this cost, too; repeatable.")] = None,
    top: Annotated[int, typer.Option("--top", min=1, help="Networks to show.")] = 10,
    method: Annotated[
        str,
        typer.Option(
            "--method",
            help="exhaustive looks at every accuracy; others (see 'harness search compare') at --budget of them; blockwise "
            "needs none: it searches a --library of distilled blocks, fine-tunes and exports.",
        ),
    ] = "exhaustive",
    objective: Annotated[
        str,
        typer.Option(
            "--objective",
            help="Instead of accuracies: find the networks with the most params or macs, or the highest sum of scores in this "
            "CSV file (columns part,score), in a space of any size, by an integer program.",
        ),
    ] = "",
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="Accuracy evaluations of methods that are not exhaustive.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0,
    pool: ProxyPool = 100,
    batch: ProxyBatch = None,
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify",
            min=1,
            help="Measure this many of the best networks on the devices, at level final, and correct the answer.",
        ),
    ] = None,
    wait: WaitFlag = False,
    wait_limit: WaitLimit = "",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all networks within the limits to this CSV file. With --method blockwise: the folder for the trained "
            "network, its models and what repeats it.",
        ),
    ] = None,
    store_url: StoreOption = "",
    wide: WideFlag = False,
    json_output: JsonFlag = False,
) -> None:
    """Find the most accurate networks within limits, e.g. --device pixel --max-latency 8ms --accuracies blox-base-0.blox.

    Latencies are measured where they are, and predicted elsewhere. With --confidence the far end of each interval meets the
    limit. With --verify the best ones are measured before the answer is given.

    With --method blockwise no accuracies are needed: --library names the blocks that 'harness distill' trained. Nor are they with
    --objective, which lists no networks and so searches spaces of any size.
    """
    if context.invoked_subcommand is not None:
        check_none_before(context)
        return
    check_method(context, method)
    if method == METHOD:
        request = blockwise.request(
            options.query([*(pareto or ()), *(show or ())]),
            pareto=pareto or (),
            seed=seed,
            verify=verify,
            wait_s=patience_s(wait, wait_limit),
            output=output,
            command=sys.argv[1:],
        )
        _search_library(request, blockwise.workers, store_url, json_output, wide)
        return
    from harness.query.run import ObjectiveRequest, SearchRequest

    check_output_file(output)
    if objective:
        check_objective(context)
        wanted = ObjectiveRequest(
            query=options.query([*(pareto or ()), *(show or ())]),
            objective=objective,
            top=top,
            pareto=tuple(pareto or ()),
            verify=verify,
            wait_s=patience_s(wait, wait_limit),
        )
        _search_sums(wanted, output, store_url, json_output, wide)
        return
    _search_store(
        SearchRequest(
            query=options.query([*(pareto or ()), *(show or ())]),
            method=method,
            budget=budget,
            seed=seed,
            proxy_pool=pool,
            proxy_batch=batch,
            pareto=tuple(pareto or ()),
            verify=verify,
            wait_s=patience_s(wait, wait_limit),
        ),
        top,
        output,
        store_url,
        json_output,
        wide,
    )


def _search_store(
    request: SearchRequest, top: int, output: Path | None, store_url: str, json_output: bool, wide: bool
) -> None:
    """Search what the store holds, and print the answer."""
    from harness.output.progress import ProgressView
    from harness.output.search_text import print_search
    from harness.query.run import search_store

    with open_store(store_url, writes=request.verify is not None) as store:
        found = search_store(
            request, store, observe=partial(ProgressView, quiet=is_quiet(json_output)), log=log
        )
    print_search(found, top=top, json_output=json_output, output=output, wide=wide)
    raise typer.Exit(found.exit_status)


def _search_sums(
    request: ObjectiveRequest, output: Path | None, store_url: str, json_output: bool, wide: bool
) -> None:
    """Search a space of any size by sums over blocks, and print the answer."""
    from harness.output.objective_text import print_objective
    from harness.output.progress import ProgressView
    from harness.query.run import search_sums

    with open_store(store_url, writes=request.verify is not None) as store:
        found = search_sums(
            request, store, observe=partial(ProgressView, quiet=is_quiet(json_output)), log=log
        )
    print_objective(found, top=request.top, json_output=json_output, output=output, wide=wide)
    raise typer.Exit(found.exit_status)


def _search_library(
    request: BlockwiseRequest, workers: Workers, store_url: str, json_output: bool, wide: bool
) -> None:
    """Search a library of blocks, and print the answer."""
    from harness.blockwise.run import search_library
    from harness.output.blockwise_text import print_blockwise
    from harness.output.progress import ProgressView
    from harness.output.training_progress import TrainingView

    found = search_library(
        request,
        open_store=partial(open_store, store_url, writes=request.verify is not None),
        runner=workers.runner(),
        watch=partial(TrainingView, quiet=False),
        observe=partial(ProgressView, quiet=is_quiet(json_output)),
        log=log,
    )
    print_blockwise(found, json_output=json_output, output=request.output, wide=wide)
    raise typer.Exit(found.exit_status)
