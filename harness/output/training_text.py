"""Trained networks as text and JSON; synthetic values are always marked so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import print_json, print_table
from harness.output.terminal import echo
from space.text import counted

if TYPE_CHECKING:
    from harness.training import TrainedNetworks
    from search.training.images import Task
    from search.work.training_folder import FinishedTraining

MOST_CLASSES = 10  # whose names are shown


def print_training(trained: TrainedNetworks, folder: Path, *, json_output: bool) -> None:
    """Print trained networks, and on standard error the files that hold all of the folder."""
    if json_output:
        print_json(_document(trained))
    else:
        _print_table(trained)
        if trained.task.class_names:
            echo(_images_line(trained.task), err=True)
    for note in trained.notes:
        echo(note, err=True)
    if trained.files:
        published = ", ".join(path.name for path in trained.files)
        echo(f"{folder}: {counted(trained.in_folder, 'network')} in {published}", err=True)


def _images_line(task: Task) -> str:
    """Return a line on a user's own images: where they are from, how many, and the classes."""
    names, counts = task.class_names, [f"{len(getattr(task, part)):,}" for part in ("train", "val", "test")]
    some = ", ".join(names[:MOST_CLASSES]) + (", ..." if len(names) > MOST_CLASSES else "")
    return f"{task.name}: {task.origin}; {'/'.join(counts)} images to train, validate, test; {len(names)} classes: {some}"


def _document(trained: TrainedNetworks) -> dict[str, object]:
    """Return plain values; accuracies are percent."""
    return {
        "space": trained.space,
        "task": trained.task.to_plain(),
        "recipe": trained.recipe.to_plain() | {"digest": trained.recipe.digest},
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
            for one in trained
        ],
        "not_trained": list(trained.not_trained),
        "files": [str(path) for path in trained.files],
    }


def _print_table(trained: TrainedNetworks) -> None:
    """Print a row a trained network: its best epoch, its accuracies, and the seconds that training took."""
    if not trained:
        return
    task, recipe = trained.task, trained.recipe
    count, config = len(trained), trained[0].trained.architecture.config
    title = (
        f"{counted(count, 'network')} of {config.name} trained on {task.name}, {counted(recipe.epochs, 'epoch')}, "
        f"recipe {recipe.digest[:8]}, seed {recipe.seed}; top-1 in % of {len(task.val)} and {len(task.test)}"
        f"{' synthetic' if task.synthetic else ''} images"
    )
    cells: Mapping[str, Callable[[FinishedTraining], str]] = {
        "network": lambda one: str(one.trained.architecture),
        "val top-1": lambda one: f"{one.trained.best.val.top1:.2f}",
        "test top-1": lambda one: f"{one.trained.test.top1:.2f}",
        "best epoch": lambda one: str(one.trained.best.number),
        "seconds": lambda one: f"{one.trained.train_ns / 1e9:.1f}",
    }
    print_table(PrintedTable.of(title, trained, cells, spare=("seconds", "best epoch")))
