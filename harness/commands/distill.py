"""`harness distill`: a library of blocks that stand in for those of a trained network, its teacher."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.distillation.recipe import DistilRecipe
from space.errors import ConfigError

RESULTS = "results"  # in the library's folder: units of work, done and under way


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
        Path, typer.Option("--output", "-o", help="Folder of the library; run again, it goes on.")
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
    """Train every block of every stage to answer as a trained network's stage does, and sign the blocks.

    All blocks of a stage learn at once, from features that the teacher computes once. 'harness search --method blockwise
    --library FOLDER' then puts networks together from them without training.
    """
    from harness.output.distillation_text import library_document, print_library
    from harness.output.training_progress import run_shown
    from search.distillation.block_library import TEACHER, BlockLibrary, load_library, save_stage, stage_from
    from search.distillation.signing import signed
    from search.training.tasks import load_task
    from search.training.trained_files import load_trained, save_trained, trained_digest
    from search.work.distillations import stage_units
    from search.work.results import Results
    from search.work.training_folder import load_teacher

    trained = load_teacher(teacher, network)
    recipe = typed.over(DistilRecipe())
    config = trained.architecture.config
    source = task or trained.source
    if not source:
        raise ConfigError(f"{teacher}: does not say what it was trained on; name the images with --task")
    images = load_task(source, config)
    stages = sorted(set(stage)) if stage else list(range(config.stages))
    if stages[-1] >= config.stages:
        raise ConfigError(f"--stage {stages[-1]}: space {config.name!r} has stages 0 to {config.stages - 1}")
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; name a folder")
    if (output / TEACHER).exists():
        there = trained_digest(load_trained(output / TEACHER))
        if there != trained_digest(trained):
            raise ConfigError(f"{output} is the library of another teacher; name another --output")
    runner = workers.runner()
    results = Results(folder=output / RESULTS)
    quiet = json_output and not sys.stderr.isatty()

    def say(text: str) -> None:
        if not quiet:
            typer.echo(text, err=True)

    units = stage_units(trained, images, stages, recipe, results)
    done = run_shown(
        [(f"stage {place}", unit) for place, unit in zip(stages, units, strict=True)],
        recipe.epochs,
        results,
        runner,
        quiet=quiet,
        title="distilling",
        line=say,
    )
    save_trained(output / TEACHER, trained)
    made = [stage_from(results.get(done[unit.key])) for unit in units]
    for one in made:
        save_stage(output, one)
    whole = len(made) == config.stages
    library = BlockLibrary(teacher=trained, stages=tuple(made)) if whole else load_library(output)
    signatures = signed(library, images, results.folder, workers.accelerator, say)
    if json_output:
        from harness.output.tables import print_json

        print_json(library_document(library, images, signatures))
    else:
        print_library(library, images, signatures)
    missing = f"; stages {', '.join(map(str, library.missing))} are missing" if library.missing else ""
    say(f"{output}: a library of {config.stages - len(library.missing)} stages{missing}")
