"""`harness study`: search methods and the six questions, on a miniature space whose networks were trained."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import JsonFlag
from harness.commands.workers import Workers, takes_workers
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.study.settings import StudySettings
    from search.study.study import Study

FILES = ("study.md", "study.json", "study-regret.png", "study-correlations.png")


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
            help="A blox-base file of 'harness train', or its folder. [default: 120 networks of tiny on synthetic images]",
        ),
    ] = None,
    settings_file: Annotated[
        Path | None,
        typer.Option(
            "--settings",
            help="A JSON file of settings; study.md shows all of them. [default: about an hour and a half of one core]",
        ),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Some five minutes of one core, to try; its intervals decide little."),
    ] = False,
    json_output: JsonFlag = False,
) -> None:
    """Compare search methods on networks that this project trained, and answer six questions about blockwise search.

    Random search, evolution, predictors, zero-cost proxies, a weight-sharing supernet a stage, DONNA, LANA and blockwise search
    with iteration: regret against cost, rank correlations, each with intervals, and who beats random search.
    """
    from harness.output.plots.regret import check_libraries
    from harness.output.progress import ProgressView
    from harness.output.study_text import print_study
    from search.study.study import run_study
    from search.study.truth import load_truth
    from search.study.unit_runner import UnitRunner
    from search.work.results import Results

    settings = _settings(settings_file, quick)
    check_libraries()
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; name a folder")
    truth = load_truth(settings.config, ground_truth or ())
    runner = workers.runner()
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be made: {error.strerror or error}") from error
    with ProgressView(quiet=json_output and not sys.stderr.isatty()) as view:
        unit_runner = UnitRunner(results=Results(folder=output), runner=runner, log=view.say)
        found = run_study(settings, truth, unit_runner)
    _write(output, found)
    if json_output:
        from harness.output.tables import print_json
        from search.study.report import to_document

        print_json(to_document(found))
    else:
        print_study(found)


def _settings(path: Path | None, quick: bool) -> StudySettings:
    from search.study.settings import QUICK, StudySettings
    from space.text_files import read_text

    if path is None:
        return QUICK if quick else StudySettings()
    if quick:
        raise ConfigError("--quick has settings of its own; leave it or --settings out")
    text = read_text(path, option="--settings")
    try:
        return StudySettings.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"--settings {path}: {error}") from error


def _write(folder: Path, found: Study) -> None:
    """Write the report, the document and the figures, each whole; the numbers before the pictures."""
    from harness.output.plots.study import correlations_png, study_regret_png
    from search.study.report import to_document, to_markdown
    from space.atomic_files import write_file

    report, document, *figures = FILES
    files: dict[str, Callable[[], bytes]] = {
        report: lambda: to_markdown(found, figures).encode(),
        document: lambda: json.dumps(to_document(found), indent=1, allow_nan=False).encode() + b"\n",
        figures[0]: lambda: study_regret_png(found),
        figures[1]: lambda: correlations_png(found),
    }
    for name, make in files.items():
        data = make()
        write_file(folder / name, data)
        typer.echo(f"{folder / name}: {len(data) / 1e3:.0f} kB", err=True)
