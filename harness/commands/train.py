"""`harness train`: train networks from scratch and store their accuracies and weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag, SpaceName, log_progress
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.training.recipe import PUBLISHED, SHORT, Recipe


@takes_workers
@takes_recipe(
    "Recipe as JSON; what it leaves out is as published. [default: as published for CIFAR; for others 20 epochs, batch 64, "
    "learning rate 0.05, augmentation mild, channels last]",
    PUBLISHED,
    SHORT,
)
def train(
    workers: Workers,
    typed: RecipeOptions,
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="ARCH",
            help="Networks: all, sample:N[@SEED], design:K[@SEED], an architecture, hash or index, or file:PATH.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Folder for results, weights and published files; a second run continues the first.",
        ),
    ],
    task: Annotated[
        str,
        typer.Option(
            "--task",
            help="Images: digits, synthetic:SEED[:TRAIN/VAL/TEST] (made up; images of each class), a folder with CIFAR's "
            "binary archive, or your own: folder:PATH with a folder for each class, npz:FILE with arrays x and y, and settings "
            "as in folder:PATH:fit=crop,seed=1; behind it +split:SEED gives a blockwise search images of their own for each "
            "choice.",
        ),
    ] = "digits",
    space: SpaceName = "blox",
    together: Annotated[
        int,
        typer.Option(
            "--together",
            min=1,
            help="Networks trained as one in each job: faster where they are small, and the same to rounding.",
        ),
    ] = 1,
    json_output: JsonFlag = False,
) -> None:
    """Train networks from scratch on images; what is trained already is not trained again.

    A training that was stopped resumes after its last whole epoch. The folder then holds the published files of all networks
    trained in it, which 'harness search --accuracies' reads, and weights for 'harness export --checkpoint'.
    """
    from harness.models.names import check_names

    check_names(networks, space)
    from harness.output.training_progress import TrainingView
    from harness.output.training_text import print_training
    from harness.training import train_networks

    trained = train_networks(
        networks,
        output,
        task=task,
        space=space,
        recipe=typed.given(Recipe),
        together=together,
        runner=workers.runner(),
        watch=TrainingView,
        log=log_progress,
    )
    print_training(trained, output, json_output=json_output)
    if trained.error is not None:
        raise trained.error
