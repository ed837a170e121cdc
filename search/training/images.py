"""Labeled images and classification tasks, validated when they are made."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from space import SPACES, SpaceConfig
from space.errors import ConfigError
from space.text import counted

SYNTHETIC = "synthetic"  # the word that a made-up task's name carries


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Images:
    """Images, uint8 (n, height, width, channels), and labels, int64 (n,), n of 1 or more; both become read-only.

    Raises:
        ConfigError: the arrays are of another type or shape.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"<Images {self.images.shape}>"

    def __post_init__(self) -> None:
        if self.images.dtype != np.uint8 or self.images.ndim != 4 or not self.images.size:
            raise ConfigError(
                f"images are {self.images.dtype} of shape {self.images.shape}; give uint8 of (n, height, width, channels)"
            )
        if self.labels.dtype != np.int64 or self.labels.shape != self.images.shape[:1]:
            raise ConfigError(
                f"labels are {self.labels.dtype} of shape {self.labels.shape}; give int64 of {self.images.shape[:1]}"
            )
        for key in ("images", "labels"):
            view = getattr(self, key).view()
            view.flags.writeable = False
            object.__setattr__(self, key, view)

    def __len__(self) -> int:
        return len(self.images)

    def at(self, rows: NDArray[np.int64]) -> Images:
        """Return the images at some places (m,)."""
        return Images(images=self.images[rows], labels=self.labels[rows])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Images besides validation images by which a blockwise search chooses, and the seed that dealt them out."""

    seed: int
    profile: Images
    rescore: Images


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Task:
    """A task: images for training, validation and test, and their normalization.

    Validation images (`val`) choose a training's epoch. Blocks are profiled and networks re-scored by images of their own
    where some are `held_out`, and else by the same validation images; test images choose nothing.

    `mean` and `std` are a value a channel, of pixels between 0 and 1; labels run from 0 to below `classes`. `origin` describes
    where the images are from, and `source` is the text by which `search.training.tasks.load_task` loads them on this machine,
    empty if there is none. The name of a `synthetic` task, whose images a program drew, contains that word. `class_names` are
    those of a user's own images, in the order of the labels; built-in tasks have none.

    Raises:
        ConfigError: the parts contradict each other.
    """

    name: str
    train: Images
    val: Images
    test: Images
    classes: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    synthetic: bool
    origin: str
    source: str = ""
    held_out: HeldOut | None = None
    class_names: tuple[str, ...] = ()
    shape: tuple[int, int, int] = field(init=False)  # height, width, channels

    def __post_init__(self) -> None:
        shape = self.train.images.shape[1:]
        object.__setattr__(self, "shape", shape)
        for part in self._parts:
            images: Images = getattr(self, part)
            if images.images.shape[1:] != shape:
                self._refuse(
                    f"{part} images of {images.images.shape[1:]}",
                    f"those of train are {shape}; give one shape",
                )
            outside = (images.labels < 0) | (images.labels >= self.classes)
            if outside.any():
                place = int(np.argmax(outside))
                self._refuse(
                    f"{part} label {images.labels[place]} at place {place}",
                    f"classes are 0 to {self.classes - 1}",
                )
        for key in ("mean", "std"):
            values: tuple[float, ...] = getattr(self, key)
            if len(values) != shape[2] or not np.isfinite(values).all():
                self._refuse(f"{key} {values}", f"give {shape[2]} numbers, one a channel")
        if min(self.std) <= 0:
            self._refuse(f"std {self.std}", "a deviation is more than 0; images of one value teach nothing")
        if self.class_names and len(set(self.class_names)) != self.classes:
            self._refuse(
                counted(len(self.class_names), "class name"), f"give {self.classes} different ones, or none"
            )
        if self.synthetic != (SYNTHETIC in self.name):
            self._refuse(
                f"synthetic = {self.synthetic}",
                f"the names of synthetic tasks, and only theirs, hold {SYNTHETIC!r}",
            )

    @property
    def profile(self) -> Images:
        """The images that blocks are profiled by."""
        return self.val if self.held_out is None else self.held_out.profile

    @property
    def profile_name(self) -> str:
        """Name of the images that blocks are profiled by."""
        return "validation images" if self.held_out is None else "images for profiling"

    @property
    def rescore(self) -> Images:
        """The images that networks are re-scored by, and the answer is chosen by."""
        return self.val if self.held_out is None else self.held_out.rescore

    @property
    def rescore_name(self) -> str:
        """Name of the images that networks are re-scored by."""
        return "validation images" if self.held_out is None else "images for re-scoring"

    @property
    def uses(self) -> dict[str, int]:
        """The number of images of each use: `profile`, `rescore`, `epochs` and `test`."""
        return {
            "profile": len(self.profile),
            "rescore": len(self.rescore),
            "epochs": len(self.val),
            "test": len(self.test),
        }

    @property
    def _parts(self) -> tuple[str, ...]:
        """The parts of which each has images of its own."""
        parts = ("train", "val", "test")
        return parts if self.held_out is None else (*parts, "profile", "rescore")

    @property
    def images_digest(self) -> str:
        """SHA-256 of images and labels, 64 hexadecimal characters; of a user's own of class names and normalization, too."""
        content = hashlib.sha256()
        if self.class_names:  # a user's own: built-in tasks of a name have one normalization
            # The last bits are the processor's.
            rounded = [f"{value:.9g}" for value in (*self.mean, *self.std)]
            content.update(json.dumps([self.class_names, rounded]).encode())
        for images in (getattr(self, part) for part in self._parts):
            for array in (images.images, images.labels):
                content.update(f"{array.dtype} {array.shape}".encode())
                content.update(np.ascontiguousarray(array).data)
        return content.hexdigest()

    def to_plain(self) -> dict[str, Any]:
        """Return a description of the task, without its images, in JSON's types."""
        return {
            "name": self.name,
            "source": self.source,
            "synthetic": self.synthetic,
            "origin": self.origin,
            "sha256": self.images_digest,
            "images": {part: len(getattr(self, part)) for part in ("train", "val", "test")},
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def normalized(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return images (n, height, width, channels) as networks read them: float32 (n, C, H, W), to rounding as in training."""
        mean, std = (np.array(values, np.float32) for values in (self.mean, self.std))
        found = (images / np.float32(255) - mean) / std
        return np.ascontiguousarray(found.transpose(0, 3, 1, 2))

    def _refuse(self, what: str, remedy: str) -> None:
        raise ConfigError(f"task {self.name!r}: {what}; {remedy}")


def check_fit(task: Task, config: SpaceConfig) -> None:
    """Refuse a task whose images or classes are not those that the networks of a space read.

    Raises:
        ConfigError: they are not.
    """
    wanted = (config.image_size, config.image_size, config.in_channels)
    if task.shape != wanted or task.classes != config.classes:
        raise ConfigError(
            f"task {task.name!r} is {_shape_text(task.shape, task.classes)}, space {config.name!r} reads "
            f"{_shape_text(wanted, config.classes)}; take a task or a space that fits the other{_fitting(task.classes)}"
        )


def _fitting(classes: int) -> str:
    names = [name for name, one in SPACES.items() if one.classes == classes]
    return f" ({classes} classes: --space {' or '.join(names)})" if names else ""


def uses_text(task: Task) -> str:
    """Return in words which images, and how many, profile blocks, re-score networks, choose epochs and give final figures."""
    uses = task.uses
    if task.held_out is None:
        return (
            f"{uses['epochs']:,} validation images profile blocks, re-score networks and choose epochs, all three; "
            f"{uses['test']:,} test"
        )
    return (
        f"{uses['profile']:,} profile blocks, {uses['rescore']:,} re-score networks, {uses['epochs']:,} choose epochs, "
        f"{uses['test']:,} test, each apart, by seed {task.held_out.seed}"
    )


def moments(images: NDArray[np.uint8]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return mean and deviation of each channel of images (n, h, w, c), of pixels between 0 and 1.

    Counted in whole numbers, so that no order of summing shows in the last digits.
    """
    means, deviations = [], []
    for channel in range(images.shape[3]):
        counts = np.bincount(images[..., channel].ravel(), minlength=256)
        levels = np.arange(256) / 255
        mean = float(counts @ levels / counts.sum())
        means.append(mean)
        deviations.append(float(np.sqrt(counts @ (levels - mean) ** 2 / counts.sum())))
    return tuple(means), tuple(deviations)


def _shape_text(shape: tuple[int, int, int], classes: int) -> str:
    height, width, channels = shape
    return f"{classes} classes of images {height} x {width} x {channels}"
