"""`harness train`: train networks from scratch and store their accuracies and weights."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import JsonFlag, SpaceName
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.training.recipe import PUBLISHED, SHORT, default_recipe


@takes_workers
@takes_recipe(
    "Recipe as JSON; what it leaves out is as published. [default: as published; for digits and synthetic images 20 epochs, "
    "batch 64, learning rate 0.05, augmentation mild, channels last]",
    PUBLISHED,
    SHORT,
)
def train(
    typed: RecipeOptions,
    workers: Workers,
    networks: Annotated[
        list[str],
        typer.Argument(
            metavar="ARCH...",
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
            help="Images: digits, synthetic:SEED[:TRAIN/VAL/TEST] (made up; images of each class), or a folder with CIFAR's "
            "binary archive.",
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
    from harness.models.names import select_architectures
    from harness.output.training_progress import run_shown
    from harness.output.training_text import counted, print_training, training_document
    from harness.training import train_networks
    from search.training.tasks import load_task
    from space import find_space

    config = find_space(space)
    architectures = select_architectures(networks, config)
    recipe = typed.over(default_recipe(task))
    images = load_task(task, config)
    quiet = json_output and not sys.stderr.isatty()
    trained = train_networks(
        architectures,
        images,
        recipe,
        output,
        together=together,
        run=partial(run_shown, runner=workers.runner(), quiet=quiet),
    )
    if json_output:
        from harness.output.tables import print_json

        print_json(training_document(config.name, trained))
    else:
        print_training(trained)
    for note in trained.notes:
        typer.echo(note, err=True)
    if trained.files:
        published = ", ".join(path.name for path in trained.files)
        typer.echo(f"{output}: {counted(trained.in_folder, 'network')} in {published}", err=True)
    if trained.error is not None:
        raise trained.error
