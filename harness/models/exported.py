"""Exported models: architectures with seeded weights, made when a campaign asks for a format."""

from __future__ import annotations

import hashlib
import json
import tempfile
import threading
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, overload, runtime_checkable

import exporters
from exporters import (
    ConversionError,
    ExpectedOutputs,
    Format,
    FragmentLibrary,
    Weights,
)
from exporters.processes import kept_processes
from harness.devices.config import DEFAULT_PRECISION, Precision
from harness.measurement.campaign import Observer
from harness.measurement.workload import Model
from harness.models.accuracy import (
    IMAGES_SUFFIX,
    ModelAccuracy,
    add_to_table,
    measure_accuracy,
    read_table,
    table_row,
    write_calibration,
)
from harness.models.names import select_architecture
from harness.records import PARTS
from harness.version import __version__
from search.training.task_source import is_own
from search.training.tasks import load_task
from space import BLOX, Architecture, Space, SpaceConfig, find_space, user_paths
from space.atomic_files import check_output_file, holds_file, write_file
from space.errors import ConfigError
from space.segments import Segment

if TYPE_CHECKING:
    from search.training.images import Task


def reference_of(config: SpaceConfig) -> Architecture:
    """Return the network of a space that every other one is timed against."""
    return Architecture.parse("/".join(config.layout.reference), config)


def cache_folder() -> Path:
    """Return the folder for exported fragments: $HARNESS_CACHE, or the user's cache folder. Raises: ConfigError for no $HOME."""
    return user_paths.cache_folder("fragments")


def expected_outputs(config: SpaceConfig) -> ExpectedOutputs:
    """Return the expected outputs of a space's networks with seeded weights; torch computes those not known yet."""
    return ExpectedOutputs(cache_dir=cache_folder(), config=config, weights=Weights.seeded(0))


@runtime_checkable
class ExportObserver(Observer, Protocol):
    """An observer of campaigns and of their exports."""

    def export(self, model_format: str, done: int, total: int, name: str) -> None:
        """Report that `done` of `total` fragments of a format are exported, `name` the last."""

    def log(self, text: str) -> None:
        """Show a message that stays visible and is about no single device."""


class ExportedModels:
    """Models of some networks and segments with seeded weights, exported when a campaign asks for them; safe in threads.

    They are of one space: `config`, or that of the first; without both it is Blox. Each takes one image a run; those of
    `at_batch` take more. `expected`: from `expected_outputs`, where several sources share these and torch's process.
    """

    def __init__(
        self,
        architectures: Sequence[Architecture | Segment],
        *,
        on_progress: Callable[[str, int, int, str], None],
        config: SpaceConfig | None = None,
        expected: ExpectedOutputs | None = None,
    ) -> None:
        self._config = config or (architectures[0].config if architectures else BLOX)
        self._expected = expected or expected_outputs(self._config)
        self._architectures = architectures
        self._on_progress = on_progress
        self._libraries: dict[tuple[Format, Precision], FragmentLibrary] = {}
        self._lock = threading.Lock()
        self._batch = 1

    def at_batch(self, batch: int) -> ExportedModels:
        """Return the same models, and their reference, for runs of `batch` images; they are exported only once."""
        found = copy(self)
        found._batch = batch
        return found

    def models(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Sequence[Model]:
        """Return the models, each made on access."""
        library = self._library(model_format, precision)
        return _Models(self._architectures, library, self._expected, self._batch)

    def reference(self, model_format: Format, precision: Precision = DEFAULT_PRECISION) -> Model:
        """Return the reference network's model."""
        library = self._library(model_format, precision)
        reference = reference_of(library.config)
        return to_model(library, reference, _weights_name(library), self._expected, self._batch)

    def _library(self, model_format: Format, precision: Precision) -> FragmentLibrary:
        key = model_format, precision
        with self._lock:
            if key not in self._libraries:
                self._libraries[key] = FragmentLibrary.open(
                    model_format,
                    cache_dir=cache_folder(),
                    config=self._config,
                    weights=Weights.seeded(0),
                    precision=precision,
                    on_progress=lambda done, total, name: self._on_progress(model_format, done, total, name),
                )
            return self._libraries[key]


class _Models(Sequence[Model]):
    def __init__(
        self,
        architectures: Sequence[Architecture | Segment],
        library: FragmentLibrary,
        expected: ExpectedOutputs,
        batch: int,
    ) -> None:
        self._architectures, self._library, self._expected = architectures, library, expected
        self._weights, self._batch = _weights_name(library), batch

    def __len__(self) -> int:
        return len(self._architectures)

    @overload
    def __getitem__(self, index: int) -> Model: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Model]: ...

    def __getitem__(self, index: int | slice) -> Model | Sequence[Model]:
        if isinstance(index, slice):
            return _Models(self._architectures[index], self._library, self._expected, self._batch)
        return to_model(self._library, self._architectures[index], self._weights, self._expected, self._batch)


def _weights_name(library: FragmentLibrary) -> str:
    """Name weights, exported fragments and how they are put together: the name changes when one does."""
    reference = library.assembly(reference_of(library.config))
    parts = "\n".join((*library.part_digests, library.dictionary or "", reference.digest))
    return f"{library.weights.identity}{PARTS}{hashlib.sha256(parts.encode()).hexdigest()[:12]}"


def to_model(
    library: FragmentLibrary,
    architecture: Architecture | Segment,
    weights: str,
    expected: ExpectedOutputs,
    batch: int = 1,
) -> Model:
    """Return a network or a segment of the library's space as a campaign's model; `weights` is the name of the library's.

    batch: the images of one run.
    """
    return Model(
        architecture=str(architecture),
        graph_hash=architecture.key if isinstance(architecture, Segment) else architecture.graph_hash,
        format=library.format,
        precision=library.precision,
        space=library.config.name,
        weights=weights,
        purpose="segment" if isinstance(architecture, Segment) else "network",
        batch=batch,
        assemble=lambda: library.assembly(architecture, batch),
        expected=lambda: expected.of(str(architecture), library.format, batch),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """One network as a file of a format, with the origin of its weights, and its accuracy where a task was named."""

    path: Path
    network: Architecture
    format: Format
    precision: Precision
    size_bytes: int
    weights: str
    accuracy: ModelAccuracy | None = None

    def __str__(self) -> str:
        size = f"{self.size_bytes / 1e6:.1f} MB"
        precision = "" if self.precision == DEFAULT_PRECISION else f" {self.precision}"
        return f"{self.path}: {self.network} as{precision} {self.format}, {size}, {self.weights}"


def export_network(
    network: str,
    model_format: Format,
    output: Path,
    *,
    precision: Precision = DEFAULT_PRECISION,
    checkpoint: Path | None = None,
    calibration: str = "",
    table: Path | None = None,
    space: str | Path | Space = "blox",
    force: bool = False,
    log: Callable[[str], None] = lambda line: None,
) -> ModelFile:
    """Write one network as a stand-alone model, with the weights of a torch state dict or seeded random ones.

    calibration: a task, as `search.training.tasks.load_task` reads it, or an .npz file of calibration images; int8 takes its
    ranges from either's training images. Of a task the model is run on the validation and test images: its accuracies stand in
    the answer, in the file, and in `table` (see `harness.models.accuracy.add_to_table`).

    Raises: ConfigError when the name or a file cannot be used, or the file is there and not `force`; ConversionError.
    """
    architecture = select_architecture(network, find_space(space))
    named = output.suffix.removeprefix(".")
    if named in exporters.FORMATS and named != model_format:
        raise ConfigError(
            f"{output}: its name is of --format {named}, and {model_format} is asked for; change one of them"
        )
    if holds_file(output) and not force:
        raise ConfigError(f"{output}: exists already; name another file or add --force")
    for path in (output, table):
        check_output_file(path, is_text=False)
    _check_calibration(precision, checkpoint, calibration, table)
    images = Path(calibration) if _is_images_file(calibration) else None
    task = load_task(calibration, architecture.config, log) if calibration and images is None else None
    if table is not None and task is not None:
        # A table that cannot be added to is refused before anything is made.
        read_table(table, architecture.config, task)
    with tempfile.TemporaryDirectory() as folder, kept_processes():
        if task is not None and precision == "int8":
            images = write_calibration(Path(folder) / "images.npz", task)
        weights = Weights.seeded(0)
        if checkpoint is not None:
            weights = Weights.from_checkpoint(checkpoint, architecture, calibration=images)
        if task is not None:
            _check_trained_on(weights, task)
        data, accuracy = make_model(
            architecture,
            model_format,
            weights=weights,
            precision=precision,
            task=task,
            cache_dir=cache_folder(),
        )
    write_file(output, data, error=ConversionError)
    if accuracy is not None and table is not None and task is not None and weights.checkpoint is not None:
        row = table_row(accuracy, weights.checkpoint, model_format, precision)
        add_to_table(table, architecture.config, task, row)
    return ModelFile(
        path=output,
        network=architecture,
        format=model_format,
        precision=precision,
        size_bytes=len(data),
        weights="seeded random weights" if checkpoint is None else f"weights of {checkpoint}",
        accuracy=accuracy,
    )


def make_model(
    architecture: Architecture,
    model_format: Format,
    *,
    weights: Weights,
    precision: Precision,
    task: Task | None,
    cache_dir: Path,
    judged: bool = True,
) -> tuple[bytes, ModelAccuracy | None]:
    """Return a network as a stand-alone model, and its accuracy on a task's validation and test images.

    The model's metadata holds that accuracy, and the classes and normalization of a user's own images. judged: False leaves out
    the run that tells the accuracy. Raises: ConversionError.
    """
    export = partial(
        exporters.standalone,
        architecture,
        model_format,
        weights=weights,
        precision=precision,
        cache_dir=cache_dir,
    )
    notes, accuracy = {"harness.version": __version__}, None
    if task is not None and task.class_names:
        notes["harness.classes"] = json.dumps(task.class_names)
        notes["harness.normalization"] = json.dumps({"mean": task.mean, "std": task.std})
    if task is not None and judged:
        accuracy = measure_accuracy(export(), model_format, architecture, weights, task)
        notes["harness.accuracy"] = accuracy.to_json()
    return export(metadata=notes), accuracy


def _check_calibration(
    precision: Precision, checkpoint: Path | None, calibration: str, table: Path | None
) -> None:
    """Refuse options that contradict each other. Raises: ConfigError."""
    is_file = _is_images_file(calibration)
    if calibration and checkpoint is None:
        raise ConfigError(
            f"--calibration {calibration}: seeded weights know no task; name trained ones with --checkpoint FILE"
        )
    if checkpoint is not None and precision == "int8" and not calibration:
        raise ConfigError(
            "--precision int8: trained weights need images for their ranges; name the task that they are trained on, such as "
            "--calibration digits, or an .npz file of its training images"
        )
    if is_file and precision != "int8":
        raise ConfigError(
            f"--calibration {calibration}: {precision} takes no ranges from images; leave it out, or name a task to have "
            "accuracies"
        )
    if table is not None and (is_file or not calibration):
        raise ConfigError(f"--table {table}: accuracies are of a task; name it, such as --calibration digits")


def _check_trained_on(weights: Weights, task: Task) -> None:
    """Refuse a user's own images where the weights say that they were trained on others, or on these otherwise split.

    Raises: ConfigError; ConversionError when the weights cannot be read.
    """
    from exporters.networks import task_of_checkpoint

    if weights.checkpoint is None or not task.class_names:
        return
    trained_on = task_of_checkpoint(weights.checkpoint)
    if trained_on and trained_on != task.name:
        raise ConfigError(
            f"--calibration {task.source}: is {task.name} now, and {weights.checkpoint.path} was trained on {trained_on}; name "
            "those images, with the settings of the training"
        )


def _is_images_file(calibration: str) -> bool:
    """Return whether a calibration names a file of images, not a task; `npz:FILE` is a task."""
    return calibration.lower().endswith(IMAGES_SUFFIX) and not is_own(calibration)
