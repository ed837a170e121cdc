"""`harness train`: train networks from scratch and keep their accuracies and weights."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import JsonFlag, SpaceName
from harness.commands.recipe_options import RecipeOptions, takes_recipe
from harness.commands.workers import Workers, takes_workers
from search.training.recipe import PUBLISHED, SHORT, default_recipe
from space.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence


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
            "--output", "-o", help="Folder for results, weights and published files; run again, it goes on."
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

    A training that was stopped goes on after its last whole epoch. The folder then holds the published files of all networks
    trained in it, which 'harness search --accuracies' reads, and weights for 'harness export --checkpoint'.
    """
    from harness.models.names import select_architectures
    from harness.output.training_progress import run_shown
    from harness.output.training_text import counted, print_training, training_document
    from search.training.tasks import load_task
    from search.work.results import Results
    from search.work.training_folder import check_alike, grouped, publish, training_units
    from space import find_space

    config = find_space(space)
    architectures = select_architectures(networks, config)
    recipe = typed.over(default_recipe(task))
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; name a folder")
    runner = workers.runner()
    images = load_task(task, config)
    units, results = training_units(architectures, images, recipe), Results(folder=output)
    check_alike(results, units[0])
    names = {unit.key: str(one) for unit, one in zip(units, architectures, strict=True)}
    jobs = grouped(units, results, together)
    shown = [(_told([names[unit.key] for unit in of]), job) for job, of in jobs]
    error: HarnessError | None = None
    quiet = json_output and not sys.stderr.isatty()
    try:
        run_shown(shown, recipe.epochs, results, runner, quiet=quiet, title=images.name)
    except HarnessError as found:
        error = found
    finally:  # stopped, too: what is finished can be used
        finished, paths, notes = publish(results, units, jobs)
    asked = [finished[unit.key] for unit in units if unit.key in finished]
    if json_output:
        from harness.output.tables import print_json

        print_json(training_document(config.name, images, recipe, asked, units, finished, paths, names))
    else:
        print_training(images, recipe, asked)
    for note in notes:
        typer.echo(note, err=True)
    if paths:
        typer.echo(
            f"{results.folder}: {counted(len(finished), 'network')} in {', '.join(p.name for p in paths)}",
            err=True,
        )
    if error is not None:
        raise error


def _told(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")
