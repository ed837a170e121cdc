"""`harness search compare`: compare search methods under the same limits, with the same seeds and budget."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import (
    FigureFile,
    JsonFlag,
    ProxyBatch,
    ProxyPool,
    StoreOption,
    log,
    open_store,
)
from harness.commands.query_options import QueryOptions, takes_query


@takes_query
def compare(
    options: QueryOptions,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="Methods, repeatable or joined by commas; METHOD+PROXY begins with the networks that a zero-cost proxy prefers, "
            "PROXY alone asks in its order. [default: random,evolution,linear,ilp]",
        ),
    ] = None,
    budget: Annotated[
        int, typer.Option("--budget", "-b", min=1, help="Accuracy evaluations of a search.")
    ] = 100,
    seeds: Annotated[
        int, typer.Option("--seeds", "-n", min=1, max=1000, help="Searches of each method, a seed each.")
    ] = 10,
    seed: Annotated[int, typer.Option("--seed", min=0, help="The first of the seeds.")] = 0,
    pool: ProxyPool = 100,
    batch: ProxyBatch = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write regret.png, regret.html and regret.json to this folder."),
    ] = None,
    figure: FigureFile = None,
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare search methods by regret against the exhaustive answer, within the limits.

    Regret: accuracy of the best network minus the best found so far, in percentage points; mean over seeds, 95 % interval.
    """
    options.check_accuracies()
    from harness.output.plots.pictures import check_figures
    from search.methods.registry import parse_methods

    named = parse_methods(methods or ())
    check_figures(output, figure)
    with open_store(store_url) as store:
        options.check_stored(store)
        from harness.output.comparison import print_comparison
        from harness.output.progress import ProgressView
        from harness.query.run import CompareRequest, compare_on_store

        request = CompareRequest(
            query=options.query(),
            methods=named,
            budget=budget,
            seeds=seeds,
            seed=seed,
            pool=pool,
            batch=batch,
        )
        with ProgressView() as view:
            found = compare_on_store(
                request, store, on_progress=partial(view.evaluations, "compare"), log=log
            )
    print_comparison(found, json_output=json_output, output=output, figure=figure)
    if found.error is not None:
        raise found.error
