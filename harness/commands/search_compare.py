"""`harness search compare`: search methods under the same limits, with the same seeds and budget."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import (
    JsonFlag,
    ProxyBatch,
    ProxyPool,
    StoreOption,
)
from harness.commands.proxies import batch_for, proxies_on
from harness.commands.selection import Typed, select, takes_selection
from space.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from harness.commands.joining import Joined
    from harness.commands.progress import ProgressView
    from harness.commands.selection import Selection
    from search.comparing import Comparison
    from search.proxies import Batch

DEFAULT_METHODS = ("random", "evolution", "linear", "programme")  # seconds a search, and no torch


@takes_selection
def compare(
    typed: Typed,
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
        int, typer.Option("--budget", "-b", min=1, help="Accuracy look-ups of a search.")
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
    """Compare how soon search methods find an accurate network within the limits, against the exhaustive answer.

    Regret: how many points the best network found so far lacks of the best of all. Mean over seeds, with its 95 % interval.
    """
    from harness.commands.compared import Scoring, comparison_document, print_comparison
    from harness.commands.plots import check_libraries
    from harness.commands.progress import ProgressView
    from harness.commands.tables import print_json

    named = parse_methods(methods or DEFAULT_METHODS)
    if output is not None:
        check_libraries()
        if output.exists() and not output.is_dir():
            raise ConfigError(f"--output {output}: is a file; name a folder")
    selection = select(typed)
    joined = selection.join(store_url, lambda text: typer.echo(text, err=True))
    _check_some(selection, joined)
    images = batch_for(named, batch, joined.table.config)
    with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:
        found = _compare(selection, joined, named, range(seed, seed + seeds), budget, pool, images, view)
    scored = None if images is None else Scoring(origin=images.origin, images=len(images.labels), pool=pool)
    document = comparison_document(selection, joined, found, scored)
    if output is not None:
        _write(output, found, document)
    if json_output:
        print_json(document)
    else:
        print_comparison(joined, found, scored)
        if output is None:
            typer.echo(
                "the curves: --output DIR writes regret.png, regret.html and regret.json there", err=True
            )
    _check_limits(found)


def parse_methods(texts: Sequence[str]) -> list[str]:
    """Return the methods that the user named, each once. Raises: ConfigError for one that there is not."""
    from search.methods.table import parse_method

    named = [word.strip() for text in texts for word in text.split(",")]
    for text in named:
        parse_method(text)
    return list(dict.fromkeys(named))


def _check_some(selection: Selection, joined: Joined) -> None:
    """Raise ConfigError when no network meets the constraints, with the nearest one and what it would take."""
    from harness.commands.found_text import none_found
    from search.answers import answer
    from search.constraints import allowed

    if not allowed(joined.table, selection.constraints, confident=selection.confident).any():
        found = answer(joined.table, selection.constraints, confident=selection.confident)
        raise ConfigError(none_found(joined.table, found))


def _check_limits(found: Comparison) -> None:
    """Raise HarnessError when a method's answer breaks a limit: it has been shown, and is not to be relied on."""
    if broken := [
        f"{one.method}, seed {r.trace.seed}" for one in found.methods for r in one.runs if not r.meets
    ]:
        raise HarnessError(
            f"answers beyond the limits: {'; '.join(broken)}; this is a defect of the method, report it"
        )


def _compare(
    selection: Selection,
    joined: Joined,
    methods: Sequence[str],
    seeds: Sequence[int],
    budget: int,
    pool: int,
    batch: Batch | None,
    view: ProgressView,
) -> Comparison:
    from search.comparing import compare

    total, done = len(methods) * len(seeds) * budget, 0

    def on_progress(method: str, seed: int, count: int) -> None:
        nonlocal done
        done = count
        view.look_ups("compare", done, total, f"{method}, seed {seed}")

    def on_score(proxy: str, seed: int, count: int) -> None:
        view.look_ups("compare", done, total, f"{proxy}, seed {seed}: {count} networks scored")

    view.look_ups("compare", 0, total, "")
    return compare(
        joined.table,
        selection.constraints,
        methods,
        seeds,
        budget,
        confident=selection.confident,
        pool=pool,
        proxy_of=None if batch is None else proxies_on(joined.table.config, batch, on_score),
        on_progress=on_progress,
    )


def _write(folder: Path, found: Comparison, document: dict[str, object]) -> None:
    """Write the three files, each whole; all are made before the first is written."""
    from harness.commands.plots import regret_png
    from harness.commands.regret_page import regret_html
    from space.atomic_files import write_file

    files = {
        "regret.png": regret_png(found),
        "regret.html": regret_html(found).encode(),
        "regret.json": json.dumps(document, indent=1).encode(),
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {folder}: cannot be made: {error}") from error
    for name, data in files.items():
        write_file(folder / name, data)
        typer.echo(f"{folder / name}: {len(data) / 1e6:.2f} MB", err=True)
