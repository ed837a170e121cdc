"""`harness train`: train networks from scratch and keep their accuracies and weights."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import JsonFlag, SpaceName
from harness.commands.recipes import Typed, choose_recipe, takes_recipe
from harness.commands.workers import Workers, takes_workers
from space.errors import ConfigError, HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.commands.trained_networks import Finished
    from search.training.images import Task
    from search.training.recipe import Recipe
    from search.work.unit import Unit


@takes_workers
@takes_recipe
def train(
    typed: Typed,
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
    from harness.commands.trained_networks import (
        check_alike,
        collect,
        grouped,
        stored_units,
        training_units,
        write_published,
    )
    from harness.commands.training_view import TrainingView
    from harness.models.names import select_architectures
    from search.training.tasks import load_task
    from search.work.results import Results
    from search.work.running import run_units
    from search.work.trainings_together import KIND as TOGETHER
    from search.work.trainings_together import keep_each
    from space import find_space

    config = find_space(space)
    architectures = select_architectures(networks, config)
    recipe = choose_recipe(task, typed)
    if output.exists() and not output.is_dir():
        raise ConfigError(f"--output {output}: is a file; name a folder")
    runner = workers.runner()
    images = load_task(task, config)
    units, results = training_units(architectures, images, recipe), Results(folder=output)
    check_alike(results, units[0])
    names = {unit.key[:12]: str(one) for unit, one in zip(units, architectures, strict=True)}
    jobs_of = grouped(units, results, together)
    shown = {job.key[:12]: _told([names[unit.key[:12]] for unit in of]) for job, of in jobs_of}
    error: HarnessError | None = None
    quiet = json_output and not sys.stderr.isatty()
    try:
        with TrainingView(shown, recipe.epochs, quiet=quiet, title=images.name) as view:
            for job, _ in jobs_of:
                if results.result_of(job):
                    view.skip(job.key)
            try:
                run_units([job for job, _ in jobs_of], results, runner, view.tell)
            except HarnessError as found:
                error = type(found)(view.named(str(found)))
                error.__cause__ = found
    finally:  # stopped, too: what is finished can be used
        for job, of in jobs_of:
            if job.kind == TOGETHER and results.result_of(job):
                keep_each(job, of, results)
        finished = collect(results, {unit.key: unit for unit in [*stored_units(results), *units]}.values())
        paths, notes = write_published(results.folder, finished.values())
    asked = [finished[unit.key] for unit in units if unit.key in finished]
    if json_output:
        from harness.commands.tables import print_json

        print_json(_document(config.name, images, recipe, asked, units, finished, paths, names))
    else:
        _print(images, recipe, asked)
    for note in notes:
        typer.echo(note, err=True)
    if paths:
        typer.echo(
            f"{results.folder}: {_counted(len(finished), 'network')} in {', '.join(p.name for p in paths)}",
            err=True,
        )
    if error is not None:
        raise error


def _document(
    space: str,
    task: Task,
    recipe: Recipe,
    asked: Sequence[Finished],
    units: Sequence[Unit],
    finished: dict[str, Finished],
    paths: Sequence[Path],
    names: dict[str, str],
) -> dict[str, object]:
    """Return plain values; accuracies are percent."""
    return {
        "space": space,
        "task": {
            "name": task.name,
            "source": task.source,
            "synthetic": task.synthetic,
            "origin": task.origin,
        },
        "recipe": dataclasses.asdict(recipe) | {"digest": recipe.digest},
        "networks": [
            {
                "architecture": str(one.trained.architecture),
                "graph_hash": one.trained.architecture.graph_hash,
                "index": one.trained.architecture.index,
                "best_epoch": one.trained.best.number,
                "synthetic": one.trained.synthetic,
                "val_top1": one.trained.best.val.top1,
                "test_top1": one.trained.test.top1,
                "train_s": one.trained.train_ns / 1e9,
                "weights": str(one.weights),
            }
            for one in asked
        ],
        "not_trained": [names[unit.key[:12]] for unit in units if unit.key not in finished],
        "files": [str(path) for path in paths],
    }


def _print(task: Task, recipe: Recipe, asked: Sequence[Finished]) -> None:
    from harness.commands.tables import print_table

    if not asked:
        return
    count, config = len(asked), asked[0].trained.architecture.config
    print_table(
        f"{_counted(count, 'network')} of {config.name} trained on {task.name}, {_counted(recipe.epochs, 'epoch')}, "
        f"recipe {recipe.digest[:8]}, seed {recipe.seed}; top-1 in % of {len(task.val)} and {len(task.test)}"
        f"{' synthetic' if task.synthetic else ''} images",
        ["network", "best epoch", "val top-1", "test top-1", "seconds"],
        [
            [
                str(one.trained.architecture),
                str(one.trained.best.number),
                f"{one.trained.best.val.top1:.2f}",
                f"{one.trained.test.top1:.2f}",
                f"{one.trained.train_ns / 1e9:.1f}",
            ]
            for one in asked
        ],
    )


def _told(names: Sequence[str]) -> str:
    return names[0] + (f" and {len(names) - 1} more" if len(names) > 1 else "")


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
