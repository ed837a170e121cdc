"""`harness search`: the most accurate networks within limits on any number of devices."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.blockwise_options import METHOD, Blockwise, check_method, takes_blockwise
from harness.commands.options import (
    DevicesFile,
    JsonFlag,
    ProxyBatch,
    ProxyPool,
    StoreOption,
)
from harness.commands.proxies import batch_for
from harness.commands.search_compare import compare
from harness.commands.selection import Typed, select, takes_selection
from harness.commands.solving import EXHAUSTIVE, Manner, solve
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.commands.joining import Joined
    from harness.commands.selection import Selection
    from search.answers import Answer
    from search.methods.contract import Trace


search = typer.Typer(
    name="search",
    help="Find the most accurate networks within limits on latency and other costs.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
search.command()(compare)


@search.callback()
@takes_selection
@takes_blockwise
def find(
    context: typer.Context,
    typed: Typed,
    blockwise: Blockwise,
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
    ] = EXHAUSTIVE,
    budget: Annotated[
        int, typer.Option("--budget", min=1, help="Accuracy look-ups of methods that are not exhaustive.")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of the method.")] = 0,
    pool: ProxyPool = 100,
    batch: ProxyBatch = None,
    verify: Annotated[
        int | None,
        typer.Option(
            "--verify",
            min=1,
            help="Measure so many of the best networks on the devices, at level final, and correct the answer.",
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
        from harness.commands.blockwise import Request, find_blockwise

        request = Request(
            show=tuple(show or ()),
            seed=seed,
            verify=verify,
            output=output,
            devices_file=devices_file,
            store_url=store_url,
            json_output=json_output,
        )
        find_blockwise(typed, blockwise, request, _say)
        return
    from search.methods.table import parse_method

    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"{output}: no folder {str(output.parent)!r}; make it first")
    selection = replace(select(typed, [*(pareto or ()), *(show or ())]), with_far=verify is not None)
    parse_method(method)
    joined = selection.join(store_url, _say)
    how = Manner(
        method=method,
        budget=budget,
        seed=seed,
        pool=pool,
        batch=batch_for([method], batch, joined.table.config),
    )
    answer, trace = solve(selection, joined, how, _say)
    verified: frozenset[int] | None = None
    status = 0
    if verify is not None:
        from harness.commands.verify import verify_finalists

        outcome = verify_finalists(
            selection,
            joined,
            lambda again: solve(selection, again, how, _say)[0],
            count=verify,
            devices_file=devices_file,
            store_url=store_url,
            quiet=json_output and not sys.stderr.isatty(),
            say=_say,
        )
        joined, answer, verified, status = outcome.joined, outcome.answer, outcome.verified, outcome.status
    _show(selection, joined, answer, trace, verified, pareto or [], top, json_output)
    if output is not None:
        from harness.commands.found import network_document
        from harness.commands.tables import write_csv

        rows = [network_document(joined.table, index) for index in answer.ranked.tolist()]
        write_csv(output, rows, list(rows[0]))
        typer.echo(f"{output}: {len(rows):,} networks", err=True)
    if status:
        raise typer.Exit(status)


def _show(
    selection: Selection,
    joined: Joined,
    answer: Answer,
    trace: Trace | None,
    verified: frozenset[int] | None,
    pareto: list[str],
    top: int,
    json_output: bool,
) -> None:
    from harness.commands.found import answer_document
    from harness.commands.found_text import print_answer, print_front
    from harness.commands.tables import print_json
    from search.constraints import allowed
    from search.pareto import pareto_front

    front = None
    if pareto:
        mask = allowed(joined.table, selection.constraints, confident=selection.confident)
        front = pareto_front(joined.table, pareto, mask)
    if json_output:
        print_json(answer_document(joined, answer, trace, verified, front, top))
        return
    print_answer(joined, answer, trace, verified, top)
    if front is not None:
        print_front(joined.table, front)


def _say(text: str) -> None:
    typer.echo(text, err=True)


def _refuse_options(context: typer.Context) -> None:
    """Raise ConfigError when options of the search stand before a subcommand, which would not see them."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise ConfigError(
                f"{option} stands before {context.invoked_subcommand!r}, which has options of its own; write it after"
            )
