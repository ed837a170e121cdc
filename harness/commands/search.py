"""`harness search`: the most accurate networks within limits on any number of devices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.blockwise import (
    METHOD,
    BlockwiseOptions,
    check_method,
    find_blockwise,
    takes_blockwise,
)
from harness.commands.options import DevicesFile, JsonFlag, ProxyBatch, ProxyPool, StoreOption, open_store
from harness.commands.query_options import QueryOptions, takes_query
from harness.commands.search_compare import compare
from space.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable

    from harness.query.answer import SearchAnswer

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
            "repeat for a front over several.",
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
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write all networks within the limits to this CSV file. With --method blockwise: the folder for the trained "
            "network, its models and what repeats it.",
        ),
    ] = None,
    devices_file: DevicesFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Find the most accurate networks within limits, e.g. --device pixel --max-latency 8ms --accuracies blox-base-0.blox.

    Latencies are measured where they are, and predicted elsewhere. With --confidence the far end of each interval meets the
    limit. With --verify the best ones are measured before the answer is given.

    With --method blockwise no accuracies are needed: --library names the blocks that 'harness distill' trained.
    """
    if context.invoked_subcommand is not None:
        _refuse_options(context)
        return
    check_method(context, method)
    if method == METHOD:
        find_blockwise(
            options.query(show or ()),
            blockwise,
            seed=seed,
            verify=verify,
            output=output,
            devices_file=devices_file,
            store_url=store_url,
            json_output=json_output,
        )
        return
    from harness.output.campaigns import print_outcome
    from harness.output.progress import ProgressView
    from harness.output.search_document import answer_document
    from harness.output.search_text import print_answer, print_front
    from harness.output.tables import print_json, write_csv
    from harness.query.rows import network_row
    from harness.query.search import search as run
    from harness.query.verify import searched_configurations, searched_devices, verify_finalists
    from search.methods.registry import parse_method

    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    query = options.query([*(pareto or ()), *(show or ())], with_far=verify is not None)
    parse_method(method)
    status = 0
    with open_store(store_url) as store:

        def run_search(log: Callable[[str], None]) -> SearchAnswer:
            return run(
                query.build_table(store, log),
                query.constraints,
                method=method,
                budget=budget,
                seed=seed,
                confident=query.confident,
                proxy_pool=pool,
                proxy_batch=batch,
                log=_log,
            )

        answer = run_search(_log)
        if verify is not None:
            devices = searched_devices(searched_configurations(answer.table).values(), devices_file)
            with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:
                done = verify_finalists(
                    answer,
                    lambda: run_search(lambda text: None),
                    store,
                    devices,
                    view,
                    count=verify,
                    log=_log,
                )
            answer = done.answer
            for outcome in done.outcomes:
                print_outcome(outcome)
            status = max((outcome.exit_status for outcome in done.outcomes), default=0)
    front = answer.front(pareto).front if pareto else None
    if json_output:
        print_json(answer_document(answer, front, top))
    else:
        print_answer(answer, top)
        if front is not None:
            print_front(answer.table.table, front)
    if output is not None:
        rows = [network_row(answer.table.table, index) for index in answer.answer.ranked.tolist()]
        write_csv(output, rows, list(rows[0]))
        _log(f"{output}: {len(rows):,} networks")
    if status:
        raise typer.Exit(status)


def _log(text: str) -> None:
    typer.echo(text, err=True)


def _refuse_options(context: typer.Context) -> None:
    """Raise ConfigError when options of the search come before a subcommand, which would not see them."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} comes before {context.invoked_subcommand!r}, which has options of its own; write it after"
            )
