"""Images held in Python, arrays or torch's datasets, as a task. They are kept in a file, which units of work read.

task_in_memory((images, labels), config, folder)
task_in_memory({"train": dataset, "test": other}, config, folder)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from search.training.images import Images, Task
from search.training.own_data.arrays import (
    checked_classes,
    checked_part,
    whole_number,
    write_parts,
)
from search.training.own_data.cache import Log
from search.training.own_data.decoding import plain_image
from search.training.own_data.folders import ALL, PARTS
from search.training.own_data.tasks import fitted_parts, own_task, tell_repeats
from search.training.task_source import MARK, DataSettings, OwnSource
from space import SpaceConfig
from space.errors import ConfigError, shown
from space.text import counted

MAX_IMAGES = 2_000_000


@runtime_checkable
class LabeledImages(Protocol):
    """Images by place, each with its label, as a map-style `torch.utils.data.Dataset` gives them.

    An image is a Pillow image of 8 bits a channel, an array (height, width[, channels]), or a tensor (channels, height, width):
    uint8, or floats from 0 to 1 as torchvision's `ToTensor` makes them, which become 8 bits. `classes`, where there are, are the
    names of the classes.
    """

    def __len__(self) -> int: ...

    def __getitem__(self, place: int, /) -> Any: ...


OnePart = tuple[Any, Any] | LabeledImages
InMemory = Task | OnePart | Mapping[str, OnePart]


def task_in_memory(given: InMemory, config: SpaceConfig, folder: Path, log: Log = lambda line: None) -> Task:
    """Return images held in Python as a task, and keep them as a file in a folder: all images, or parts `train`, `val`, `test`.

    Images are a pair of arrays, uint8 (n, height, width[, channels]) and labels (n,), or a dataset. Missing parts are split by
    seed 0, as those of a folder. A `Task` with a source is returned as it is.

    Raises:
        ConfigError: an image, a label or a part cannot be used, a task without a source has images held out, or the file cannot
            be written.
    """
    settings, stem = DataSettings(), "arrays"
    if isinstance(given, Task):
        if given.source:
            return given
        if given.held_out:
            seed = given.held_out.seed
            raise ConfigError(
                f"task {given.name!r} has images held out by seed {seed}, which its file would not keep separate; give the task "
                f"undivided, then name the split behind its source, as in 'npz:FILE{MARK}{seed}'"
            )
        parts = {part: getattr(given, part) for part in PARTS}
        classes = given.class_names or tuple(map(str, range(given.classes)))
        mean, std = (tuple(map(float, values)) for values in (given.mean, given.std))  # they may be numpy's
        settings, stem = DataSettings(mean=mean, std=std), given.name
    else:
        classes, parts = _given_parts(given)
    source = OwnSource(kind="npz", path=folder.absolute() / f"{stem}.npz", settings=settings)
    task = own_task(source, classes, fitted_parts(source, classes, parts, config, log))
    tell_repeats(task, log)
    source = replace(source, path=source.path.with_name(f"{task.name}.npz"))
    write_parts(source.path, classes, parts)
    return replace(task, source=str(source), origin=task.origin.replace(f"{stem}.npz", source.path.name))


def _given_parts(given: OnePart | Mapping[str, OnePart]) -> tuple[tuple[str, ...], dict[str, Images]]:
    """Return the names of classes and the parts. Raises: ConfigError."""
    named = given if isinstance(given, Mapping) else {ALL: given}
    if isinstance(given, Mapping) and ("train" not in given or not set(given) <= set(PARTS)):
        raise ConfigError(
            f"task: parts are {shown(list(given))}; give train and, where they are split, val and test"
        )
    parts = {
        part: _given_part(one, f"task: {part}") for part, one in cast(Mapping[str, OnePart], named).items()
    }
    told = {part: np.asarray(getattr(one, "classes", ()), object).tolist() for part, one in named.items()}
    said = {part: names for part, names in told.items() if names}
    first = next(iter(said), "")
    for part, names in said.items():
        if names != said[first]:
            raise ConfigError(
                f"task: the classes of {part} are {shown(names)}, those of {first} {shown(said[first])}: a label would be of one "
                "class here and of another there; give all parts the same classes in the same order"
            )
    return checked_classes(said.get(first), parts, "task"), parts


def _given_part(given: OnePart, what: str) -> Images:
    if isinstance(given, tuple | list):
        if len(given) != 2:
            raise ConfigError(f"{what}: {counted(len(given), 'thing')}; give images and labels, or a dataset")
        images, labels = map(np.asarray, given)
        return checked_part(images, labels, f"{what}: images", f"{what}: labels")
    if not isinstance(given, LabeledImages):
        raise ConfigError(
            f"{what} is {type(given).__name__}; give a source such as 'folder:PATH', a pair of arrays or a dataset with a length"
        )
    return _of_dataset(given, what)


def _of_dataset(dataset: LabeledImages, what: str) -> Images:
    count = len(dataset)
    if not 0 < count <= MAX_IMAGES:
        raise ConfigError(f"{what}: the dataset has {count:,} images; give 1 to {MAX_IMAGES:,}")
    images, labels = list[NDArray[np.uint8]](), list[int]()
    for place in range(count):
        pixels, label = _item(dataset, place, f"{what}: image {place}")
        if images and pixels.shape != images[0].shape:
            raise ConfigError(
                f"{what}: image {place} is {pixels.shape}, the first one {images[0].shape}; resize them in the dataset"
            )
        images.append(pixels)
        labels.append(label)
    if any(
        not np.array_equal(_item(dataset, place, what)[0], images[place]) for place in range(min(count, 8))
    ):
        raise ConfigError(
            f"{what}: the dataset gives other pixels each time; leave random transforms out: the recipe augments images"
        )
    return checked_part(np.stack(images), np.array(labels, np.int64), f"{what}: images", f"{what}: labels")


def _item(dataset: LabeledImages, place: int, what: str) -> tuple[NDArray[np.uint8], int]:
    item = dataset[place]
    if not isinstance(item, tuple | list) or len(item) != 2:
        raise ConfigError(f"{what} is {type(item).__name__}; a dataset gives pairs of image and label")
    return _pixels(item[0], what), whole_number(item[1], what)


def _pixels(image: Any, what: str) -> NDArray[np.uint8]:
    if hasattr(image, "convert"):  # Pillow's
        return np.asarray(plain_image(image, what), np.uint8)
    pixels = np.asarray(image)
    if hasattr(image, "detach") and pixels.ndim == 3:  # torch's, channels first
        pixels = pixels.transpose(1, 2, 0)
    if pixels.dtype.kind == "f":
        if not (pixels.size and pixels.min() >= 0 and pixels.max() <= 1):
            raise ConfigError(
                f"{what} has floats beyond 0 and 1; give pixels as they are and leave normalization out: harness normalizes by "
                "the training images"
            )
        pixels = np.floor(pixels * 255 + 0.5).astype(np.uint8)
    if pixels.dtype != np.uint8 or pixels.ndim not in (2, 3):
        raise ConfigError(
            f"{what} is {pixels.dtype} of shape {pixels.shape}; give uint8, or floats from 0 to 1, of one image"
        )
    return pixels
