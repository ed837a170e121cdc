"""An exported model as text: its file, and its accuracy beside its network's in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import print_table
from harness.output.terminal import echo

if TYPE_CHECKING:
    from harness.models.exported import ModelFile

MOST_LOSS = 1.0  # points that a model loses without a remark


def print_export(written: ModelFile) -> None:
    """Print accuracies before and after, where they were measured, and on standard error the file."""
    echo(str(written), err=True)
    print_accuracy(written)


def print_accuracy(written: ModelFile, *, only_remark: bool = False) -> None:
    """Print a model's accuracies before and after, where they were measured, and on standard error a remark on a large loss."""
    accuracy = written.accuracy
    if accuracy is None:
        return
    splits = {"validation": accuracy.val, "test": accuracy.test}
    word = " synthetic" if accuracy.synthetic else ""
    title = f"top-1 in % on{word} images of {accuracy.task}"
    after = f"{written.precision} {written.format}"
    rows = [
        [
            name,
            str(one.images),
            f"{one.torch_top1:.2f}",
            f"{one.model_top1:.2f}",
            f"{one.loss:+.2f}",
            str(one.changed),
        ]
        for name, one in splits.items()
    ]
    columns = ["images", "number", "fp32 torch", after, "loss", "classed otherwise"]
    if not only_remark:
        print_table(PrintedTable(title=title, columns=columns, rows=rows))
    worst = max(splits, key=lambda name: splits[name].loss)
    if splits[worst].loss > MOST_LOSS:
        echo(
            f"{after} loses {splits[worst].loss:.2f} points on {worst} images; check that the network was trained on this task, "
            "or train it longer",
            err=True,
        )
