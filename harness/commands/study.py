"""`harness study`: search methods and the six questions, on a miniature space whose networks were trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import FigureFile, JsonFlag
from harness.commands.workers import Workers, takes_workers
from space.user_paths import check_are_there


@takes_workers
def study(
    workers: Workers,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", help="Folder for results, tables and figures; a second run continues the first."
        ),
    ] = Path("study"),
    ground_truth: Annotated[
        list[Path] | None,
        typer.Option(
            "--ground-truth",
            callback=check_are_there,
            help="A blox-base file of 'harness train', or its folder. [default: 120 networks of tiny on synthetic images]",
        ),
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="A JSON file of settings; study.md shows all of them. [default: some two hours of one core]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Some five minutes of one core, to try; its intervals decide little."),
    ] = False,
    figure: FigureFile = None,
    correlations: Annotated[
        Path | None,
        typer.Option(
            "--correlations-figure",
            metavar="FILE",
            help="Write the figure of rank correlations in the same way.",
        ),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Compare search methods on networks that this project trained, and answer six questions about blockwise search.

    Random search, evolution, predictors, zero-cost proxies, a weight-sharing supernet a stage, DONNA, LANA and blockwise search
    with iteration: regret against cost, rank correlations, each with intervals, and who beats random search.
    """
    from harness.output.plots.pictures import check_figures
    from search.study.settings import parse_settings

    settings = parse_settings(settings_file, quick)
    check_figures(output, figure, correlations)
    from harness.output.progress import ProgressView
    from harness.output.study_text import print_study
    from search.study.study import study_folder

    with ProgressView() as view:
        found = study_folder(settings, ground_truth or (), output, workers.runner(), view.log)
    print_study(found, output, json_output=json_output, figure=figure, correlations=correlations)
