"""Distilled blocks as text and JSON; synthetic values are always marked so."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from harness.output.layout import PrintedTable
from harness.output.tables import print_json, print_table
from harness.output.terminal import console, echo
from space.text import agreeing, counted

if TYPE_CHECKING:
    from harness.training import DistilledBlocks
    from search.distillation.block_library import BlockLibrary
    from search.distillation.signatures import Signatures
    from search.training.images import Task

SHOWN = 3  # blocks of a stage


def print_distillation(found: DistilledBlocks, folder: Path, *, json_output: bool) -> None:
    """Print the best blocks of each stage, or all as JSON, and on standard error, unless that is quiet, what the folder holds."""
    library = found.library
    if json_output:
        print_json(_document(library, found.task, found.signatures))
    else:
        _print_library(library, found.task, found.signatures)
    missing = (
        f"; {agreeing(len(library.missing), 'stage', 'stages')} {', '.join(map(str, library.missing))} missing"
        if library.missing
        else ""
    )
    if not console.is_quiet:
        echo(
            f"{folder}: a library of {counted(library.config.stages - len(library.missing), 'stage')}{missing}",
            err=True,
        )


def _document(library: BlockLibrary, task: Task, signatures: Signatures) -> dict[str, object]:
    """Return plain values; the keys of synthetic values hold the word."""
    word = "synthetic_" if task.synthetic else ""
    return {
        "space": library.config.name,
        "teacher": str(library.teacher.architecture),
        "task": {"name": task.name, "source": task.source, "synthetic": task.synthetic},
        "digest": library.digest,
        "form": library.form,
        "stages": [
            None
            if one is None
            else {
                "stage": one.stage,
                "recipe": dataclasses.asdict(one.recipe),
                "seconds": one.seconds,
                "blocks": [
                    {
                        "block": str(block),
                        **{
                            f"{'' if name in ('params', 'macs') else word}{name}": float(
                                values[one.stage, column]
                            )
                            for name, values in signatures.columns.items()
                        },
                    }
                    for block, column in ((b, library.config.blocks.index(b)) for b in one.blocks)
                ],
            }
            for one in library.stages
        ],
    }


def _print_library(library: BlockLibrary, task: Task, signatures: Signatures) -> None:
    """Print the best blocks of each stage, and how many there are."""
    import numpy as np

    synthetic = " synthetic" if task.synthetic else ""
    config, rows = library.config, []
    change = signatures.column("loss_change")
    for one in library.stages:
        if one is None:
            continue
        columns = np.array([config.blocks.index(block) for block in one.blocks])
        order = columns[np.argsort(change[one.stage, columns], kind="stable")]
        for column in order[:SHOWN]:
            rows.append(
                [
                    str(one.stage),
                    str(config.blocks[column]),
                    *(
                        f"{signatures.column(name)[one.stage, column]:{form}}"
                        for name, form in (
                            ("nsr", ".4f"),
                            ("loss_change", "+.4f"),
                            ("accuracy_change", "+.2f"),
                            ("agreement", ".1f"),
                        )
                    ),
                ]
            )
        rest = f"{counted(len(order), 'block')}, NSR {np.nanmin(one.nsr):.4f} to {np.nanmax(one.nsr):.4f}, {one.seconds:.0f} s"
        rows.append([str(one.stage), rest, "", "", "", ""])
    title = (
        f"blocks of {config.name} distilled from {library.teacher.architecture} on {task.name} ({library.form}); the best by "
        f"loss when placed in the teacher, on {len(task.profile)}{synthetic} {task.profile_name}"
    )
    titles = ["stage", "block", "NSR", "loss", "top-1 points", "same class %"]
    spare = ("same class %", "top-1 points")
    print_table(PrintedTable(title=title, columns=titles, rows=rows, right=(2, 3, 4, 5), spare=spare))
