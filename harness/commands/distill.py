"""`harness distill`: distill a library of blocks from a trained network, the teacher."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag, checked_by, log_progress
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.distillation.recipe import DistilRecipe, parse_form
from space.user_paths import check_is_there


@takes_workers
@takes_recipe("Recipe as JSON; what it leaves out has its default.", DistilRecipe())
def distill(
    workers: Workers,
    typed: RecipeOptions,
    teacher: Annotated[
        Path,
        typer.Argument(
            metavar="TEACHER",
            callback=check_is_there,
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
        typer.Option("--stage", min=0, help="Distill this stage only, from 0; repeatable. [default: all]"),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--form",
            callback=checked_by(parse_form),
            help="Distill as a method publishes it: donna (nsr), lana (mse, one epoch) or dna (mse, a supernet a stage with fair "
            "paths); other options still count.",
        ),
    ] = "",
    json_output: JsonFlag = False,
) -> None:
    """Distill every block of every stage from a trained network, and score the blocks.

    All blocks of a stage learn at once, from features that the teacher computes once. 'harness search --method blockwise
    --library FOLDER' then puts networks together from them without training.
    """
    from harness.output.distillation_text import print_distillation
    from harness.output.training_progress import TrainingView
    from harness.training import distill as distill_blocks

    found = distill_blocks(
        teacher,
        output,
        network=network,
        task=task,
        stages=stage or None,
        form=form,
        recipe=typed.given(DistilRecipe),
        runner=workers.runner(),
        device=workers.accelerator,
        log=log_progress,
        watch=TrainingView,
    )
    print_distillation(found, output, json_output=json_output)
