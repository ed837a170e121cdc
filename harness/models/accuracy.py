"""Accuracy of an exported model, beside that of its network in torch; and the images that int8 is calibrated on."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from exporters import Format, Precision, Weights
from exporters.calibration_images import MOST_IMAGES, save_images
from exporters.conversion import run_network
from exporters.weights import WeightsFile
from space import Architecture, SpaceConfig
from space.atomic_files import locked, write_file
from space.errors import ConfigError
from space.text_files import decoded, read_content

if TYPE_CHECKING:
    from search.training.images import Task

IMAGES_SUFFIX = ".npz"
_MAX_TABLE_BYTES = 1 << 26
_KEYS = ("architecture", "space", "task", "checkpoint")  # of a table, before its accuracies


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitAccuracy:
    """Counts of images that the network in torch, in fp32, and the model class right; and of those that they class otherwise."""

    images: int
    torch_right: int
    model_right: int
    changed: int

    @property
    def torch_top1(self) -> float:
        """The images that the network classes right, in percent."""
        return self.torch_right / self.images * 100

    @property
    def model_top1(self) -> float:
        """The images that the model classes right, in percent."""
        return self.model_right / self.images * 100

    @property
    def loss(self) -> float:
        """Loss of the model, in points; negative where it gains."""
        return self.torch_top1 - self.model_top1


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAccuracy:
    """Accuracies of a model on a task's validation and test images; those of a `synthetic` task carry that word."""

    task: str
    synthetic: bool
    val: SplitAccuracy
    test: SplitAccuracy

    def to_json(self) -> str:
        """Return the counts as JSON, as a model file carries them."""
        return json.dumps(asdict(self))


def write_calibration(path: Path, task: Task) -> Path:
    """Write training images of a task, chosen by seed 0, as a file of calibration images; return its path."""
    count = len(task.train)
    chosen = np.sort(np.random.RandomState(0).permutation(count)[:MOST_IMAGES])  # a stream that numpy keeps
    save_images(path, task.normalized(task.train.images[chosen]))
    return path


def measure_accuracy(
    model: bytes, model_format: Format, architecture: Architecture, weights: Weights, task: Task
) -> ModelAccuracy:
    """Run a model and its network on a task's validation and test images, in a process of its own.

    Raises: ConversionError when a runtime is not installed or fails.
    """
    splits = task.val, task.test
    images = np.concatenate([task.normalized(split.images) for split in splits])
    before, after = run_network(model, model_format, architecture, weights, images)
    labels = np.concatenate([split.labels for split in splits])
    cut = len(task.val)
    return ModelAccuracy(
        task=task.name,
        synthetic=task.synthetic,
        val=_compared(before[:cut], after[:cut], labels[:cut]),
        test=_compared(before[cut:], after[cut:], labels[cut:]),
    )


def _compared(
    before: NDArray[np.float32], after: NDArray[np.float32], labels: NDArray[np.int64]
) -> SplitAccuracy:
    classes, found = before.argmax(axis=1), after.argmax(axis=1)
    return SplitAccuracy(
        images=len(labels),
        torch_right=int((classes == labels).sum()),
        model_right=int(((found == labels) & np.isfinite(after).all(axis=1)).sum()),
        changed=int((classes != found).sum()),
    )


# --- a table for a search -------------------------------------------------------------------------


def read_table(path: Path, config: SpaceConfig, task: Task) -> list[dict[str, str]]:
    """Return the rows of a table of accuracies, none where there is no file yet.

    Raises: ConfigError when it is no such table, or of another space or task.
    """
    if not path.exists():
        return []
    if not path.is_file():  # reading a FIFO without a writer would never end
        raise ConfigError(f"{path}: is no plain file, which a table is read from and written to; name one")
    content = read_content(path, most=_MAX_TABLE_BYTES)
    try:
        reader = csv.DictReader(io.StringIO(decoded(content)))
        rows, titles = list(reader), list(reader.fieldnames or [])
    except (csv.Error, UnicodeDecodeError):
        rows, titles = [], []
    if titles[: len(_KEYS)] != list(_KEYS) or any(None in row or None in row.values() for row in rows):
        raise ConfigError(f"{path}: is no table that 'harness export' wrote; name another file")
    for row in rows:
        for key, own in (("space", config.name), ("task", task.name)):
            if row[key] != own:
                raise ConfigError(
                    f"{path}: holds accuracies of {key} {row[key]!r}, not {own!r}; name another table"
                )
    return rows


def add_to_table(path: Path, config: SpaceConfig, task: Task, added: Mapping[str, str]) -> None:
    """Add a row of `table_row` to a table that `harness search --accuracies` reads, which is made where there is none.

    There is a row a network and a column a metric. A row is of one checkpoint: another one of the same network takes its place.
    Exports that add to the same table at once wait for each other.

    Raises: ConfigError as `read_table`, or when it cannot be written.
    """
    with locked(path):
        _write_table(path, read_table(path, config, task), added)


def _write_table(path: Path, rows: Sequence[Mapping[str, str]], added: Mapping[str, str]) -> None:
    former = next((row for row in rows if row["architecture"] == added["architecture"]), {})
    if former.get("checkpoint") == added["checkpoint"]:
        added = {**former, **added}
    every = [*(row for row in rows if row is not former), added]
    titles = dict.fromkeys(title for row in every for title in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(titles), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(every)
    write_file(path, text.getvalue().encode())


def table_row(
    accuracy: ModelAccuracy,
    checkpoint: WeightsFile,
    model_format: Format,
    precision: Precision,
) -> dict[str, str]:
    """Return a model's row: its accuracies as `val_top1_int8_onnx` and the like, and as `val_top1_torch` before export."""
    network = checkpoint.architecture
    values = (str(network), network.config.name, accuracy.task, checkpoint.sha256)
    word = "synthetic_" if accuracy.synthetic else ""
    splits = (("val", accuracy.val), ("test", accuracy.test))
    return (
        dict(zip(_KEYS, values, strict=True))
        | {f"{word}{name}_top1_torch": f"{split.torch_top1:.4f}" for name, split in splits}
        | {
            f"{word}{name}_top1_{precision}_{model_format}": f"{split.model_top1:.4f}"
            for name, split in splits
        }
    )
