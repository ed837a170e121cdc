"""`harness search compare`: compare search methods under the same limits, with the same seeds and budget."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import JsonFlag, ProxyBatch, ProxyPool, StoreOption, open_store
from harness.commands.query_options import QueryOptions, takes_query
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.methods.comparison import MethodComparison

DEFAULT_METHODS = ("random", "evolution", "linear", "ilp")  # seconds a search, and no torch


@takes_query
def compare(
    options: QueryOptions,
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="Methods, repeatable or joined by commas; METHOD+PROXY begins with the networks that a zero-cost proxy prefers, "
            f"PROXY alone asks in its order. [default: {','.join(DEFAULT_METHODS)}]",
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
    store_url: StoreOption = "",
    json_output: JsonFlag = False,
) -> None:
    """Compare search methods by regret against the exhaustive answer, within the limits.

    Regret: accuracy of the best network minus the best found so far, in percentage points; mean over seeds, 95 % interval.
    """
    from harness.output.comparison import Scoring, comparison_document, print_comparison
    from harness.output.plots.regret import check_libraries
    from harness.output.progress import ProgressView
    from harness.output.tables import print_json
    from harness.query.search import batch_for, check_any, check_limits, compare_methods

    named = parse_methods(methods or DEFAULT_METHODS)
    if output is not None:
        check_libraries()
        if output.exists() and not output.is_dir():
            raise ConfigError(f"--output {output}: is a file; name a folder")
    query = options.query()
    with open_store(store_url) as store:
        table = query.build_table(store, lambda text: typer.echo(text, err=True))
    check_any(table.table, query.constraints, confident=query.confident)
    images = batch_for(named, batch, table.table.config)
    total, done = len(named) * seeds * budget, 0
    with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:

        def on_progress(method: str, seed: int, count: int) -> None:
            nonlocal done
            done = count
            view.evaluations("compare", done, total, f"{method}, seed {seed}")

        def on_score(proxy: str, seed: int, count: int) -> None:
            view.evaluations("compare", done, total, f"{proxy}, seed {seed}: {count} networks scored")

        view.evaluations("compare", 0, total, "")
        found = compare_methods(
            table.table,
            query.constraints,
            named,
            range(seed, seed + seeds),
            budget=budget,
            confident=query.confident,
            pool=pool,
            batch=images,
            on_progress=on_progress,
            on_score=on_score,
        )
    scored = None if images is None else Scoring(origin=images.origin, images=len(images.labels), pool=pool)
    document = comparison_document(query, table, found, scored)
    if output is not None:
        _write(output, found, document)
    if json_output:
        print_json(document)
    else:
        print_comparison(table, found, scored)
        if output is None:
            typer.echo(
                "the curves: --output DIR writes regret.png, regret.html and regret.json there", err=True
            )
    check_limits(found)


def parse_methods(texts: Sequence[str]) -> list[str]:
    """Return the methods named on the command line, each once. Raises: ConfigError for an unknown one."""
    from search.methods.registry import parse_method

    named = [word.strip() for text in texts for word in text.split(",")]
    for text in named:
        parse_method(text)
    return list(dict.fromkeys(named))


def _write(folder: Path, found: MethodComparison, document: dict[str, object]) -> None:
    """Write the three files, each whole; the numbers before the pictures, which rest on other libraries."""
    from harness.output.plots.regret import regret_png
    from harness.output.plots.regret_page import regret_html
    from space.atomic_files import write_file

    files: dict[str, Callable[[], bytes]] = {
        "regret.json": lambda: json.dumps(document, indent=1).encode(),
        "regret.html": lambda: regret_html(found).encode(),
        "regret.png": lambda: regret_png(found),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be made: {error}") from error
    for name, make in files.items():
        data = make()
        write_file(folder / name, data)
        typer.echo(f"{folder / name}: {len(data) / 1e6:.2f} MB", err=True)
