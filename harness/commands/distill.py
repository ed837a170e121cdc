"""`harness distill`: distil a library of blocks from a trained network, the teacher."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.distillation.recipe import DistilRecipe


@takes_workers
@takes_recipe("Recipe as JSON; what it leaves out has its default.", DistilRecipe())
def distill(
    typed: RecipeOptions,
    workers: Workers,
    teacher: Annotated[
        Path,
        typer.Argument(
            metavar="TEACHER",
            help="A trained network: the folder of 'harness train', or a file of one network.",
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the library; a second run continues the first.")
    ],
    network: Annotated[
        str,
        typer.Option("--network", help="The teacher among those in the folder. [default: the most accurate]"),
    ] = "",
    task: Annotated[
        str, typer.Option("--task", help="Images, as in 'harness train'. [default: the teacher's]")
    ] = "",
    stage: Annotated[
        list[int] | None,
        typer.Option("--stage", min=0, help="Distil this stage only, from 0; repeatable. [default: all]"),
    ] = None,
    json_output: JsonFlag = False,
) -> None:
    """Distil every block of every stage from a trained network, and score the blocks.

    All blocks of a stage learn at once, from features that the teacher computes once. 'harness search --method blockwise
    --library FOLDER' then puts networks together from them without training.
    """
    from harness.output.distillation_text import library_document, print_library
    from harness.output.training_progress import run_shown
    from harness.training import distil_library
    from search.work.training_folder import load_teacher

    trained = load_teacher(teacher, network)
    recipe = typed.over(DistilRecipe())
    quiet = json_output and not sys.stderr.isatty()

    def log(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    found = distil_library(
        trained,
        task,
        stage or (),
        recipe,
        output,
        device=workers.accelerator,
        run=partial(run_shown, runner=workers.runner(), quiet=quiet, line=log),
        log=log,
    )
    library = found.library
    if json_output:
        from harness.output.tables import print_json

        print_json(library_document(library, found.task, found.signatures))
    else:
        print_library(library, found.task, found.signatures)
    missing = f"; stages {', '.join(map(str, library.missing))} are missing" if library.missing else ""
    log(f"{output}: a library of {library.config.stages - len(library.missing)} stages{missing}")
