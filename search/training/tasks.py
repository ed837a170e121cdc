"""Tasks by name: digits, synthetic images, CIFAR in a user's folder, or a user's own images.

task = load_task("digits", MINI)
task = load_task("synthetic:3", BLOX)
task = load_task("synthetic:3:200/50/200", BLOX)   # images of each class to train, to validate, to test
task = load_task("/data/cifar", BLOX)       # CIFAR-100, as the space has 100 classes
task = load_task("digits+split:0", MINI)    # separate images for each use in a blockwise search, dealt out by seed 0
task = load_task("folder:flowers:fit=crop", BLOX)  # images of one's own: search.training.task_source
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from search.training.cifar import CIFAR10, CIFAR100, holds_cifar, load_cifar
from search.training.digits import load_digits_task
from search.training.image_split import parse_split, separated, undivided_name
from search.training.images import SYNTHETIC, Images, Task, check_fit
from search.training.own_data.tasks import DIGEST_CHARACTERS, load_own_task
from search.training.synthetic_images import PER_CLASS, make_synthetic_task
from search.training.task_source import is_own, parse_seed, parse_source, split_source
from space import SpaceConfig
from space.errors import ConfigError, did_you_mean
from space.user_paths import expand_user

if TYPE_CHECKING:
    from search.training.trained import Trained

__all__ = ["Images", "Task", "check_fit", "check_split", "load_task", "load_task_of"]

MAX_PER_CLASS = 10_000  # images: 100 classes of them fill 3 GB


def load_task(
    source: str | PathLike[str], config: SpaceConfig, log: Callable[[str], None] = lambda line: None
) -> Task:
    """Return the task of a source: `digits`, `synthetic`, `synthetic:SEED[:TRAIN/VAL/TEST]`, a folder with CIFAR, or a user's own
    images, `folder:PATH` or `npz:FILE`; `log` takes a line before those are decoded.

    The task's `source` is the canonical text of the same images on this machine. Digits and synthetic images have the space's
    image size; CIFAR's are 32 pixels wide and are not resized. Of a folder with both sets the one with the space's number of
    classes is read. After a source, `+split:SEED` or
    `+split:SEED:PROFILE/RESCORE/EPOCHS` deals out separate images for each use (`search.training.image_split`).

    Raises:
        ConfigError: there is no such source, its files are not the public ones, or its images and classes are not the space's.
    """
    text, split = split_source(str(source))
    if split is not None:
        return separated(load_task(text, config, log), parse_split(split))
    if text == "digits":
        task, found = load_digits_task(config), text
    elif text == SYNTHETIC or text.startswith(SYNTHETIC + ":"):
        seed, per_class = parse_synthetic(text)
        task = make_synthetic_task(config, seed, per_class)
        found = f"{SYNTHETIC}:{seed}:{'/'.join(map(str, per_class))}"
    elif is_own(text):
        own = parse_source(text)
        task, found = load_own_task(own, config, log), str(own)
    else:
        folder = expand_user(text)
        task, found = _from_folder(folder, config), str(folder.absolute())
    check_fit(task, config)
    return dataclasses.replace(task, source=found)


def load_task_of(trained: Trained, log: Callable[[str], None] = lambda line: None) -> Task:
    """Return the task that a network was trained on, from its source.

    Raises:
        ConfigError: it says none, or the user's own images there are others now; else as `load_task`.
    """
    if not trained.source:
        raise ConfigError(
            f"teacher {trained.architecture}: does not name the images that it was trained on; name the images with --task"
        )
    task = load_task(trained.source, trained.architecture.config, log)
    if task.class_names and task.name != trained.task:
        raise ConfigError(
            f"{trained.source} changed since {trained.architecture} was trained on it: it was {trained.task}, it is {task.name}; "
            "bring back those images, or train on these"
        )
    return task


def check_split(task: Task, teacher: Trained) -> None:
    """Refuse to distill from images that are split otherwise than those that the teacher was trained on.

    The teacher, or the blocks, would have learned from images that choose among networks.

    Raises:
        ConfigError: they are.
    """
    undivided = undivided_name(teacher.task)
    if task.held_out is not None:
        if (task.source, task.name) == (teacher.source, teacher.task):
            return
        learned = "it may have learned from images that this source holds out to choose by"
    elif undivided is not None and _is_of(task, undivided, split_source(teacher.source)[0]):
        learned = "blocks would learn from images that the teacher's source holds out to choose by"
    else:
        return
    was, remedy = f"{teacher.task}, and does not say from where", "train the teacher on this source"
    if teacher.source:
        was = f"{teacher.task}, {teacher.source}"
        remedy = f"leave --task out for the teacher's images, or {remedy}"
    raise ConfigError(
        f"--task {task.source}: is {task.name}, and teacher {teacher.architecture} was trained on {was}: {learned}; {remedy}"
    )


def _is_of(task: Task, name: str, source: str) -> bool:
    """Return whether images without a split are those of a name and source: by their digest, or by their real path, whatever the
    settings."""
    if task.name == name:
        return True
    same = bool(task.class_names) and name.endswith(f"-{task.images_digest[:DIGEST_CHARACTERS]}")
    places = {parse_source(one).path.resolve() if is_own(one) else None for one in (task.source, source)}
    return same or (len(places) == 1 and None not in places)


def parse_synthetic(text: str) -> tuple[int, tuple[int, int, int]]:
    """Return the seed of a synthetic task's source, and its images of each class to train, validate and test.

    Raises:
        ConfigError: the text is no such source.
    """
    remedy = (
        f"the seed is a whole number, as in '{SYNTHETIC}:3', and the images of each class are three, to train, validate and "
        f"test, as in '{SYNTHETIC}:3:200/50/200'"
    )
    given = text.removeprefix(SYNTHETIC).removeprefix(":") if text != SYNTHETIC else "0"
    seed, counts = parse_seed(given, repr(text), remedy)
    if not all(1 <= count <= MAX_PER_CLASS for count in counts or PER_CLASS):
        raise ConfigError(
            f"{text!r}: give 1 to {MAX_PER_CLASS} images of each class to train, to validate and to test"
        )
    return seed, counts or PER_CLASS


def _from_folder(folder: Path, config: SpaceConfig) -> Task:
    if not folder.is_dir():
        near = did_you_mean(str(folder), ("digits", SYNTHETIC))
        raise ConfigError(
            f"{str(folder)!r} is no task{near or ':'} give 'digits', '{SYNTHETIC}', '{SYNTHETIC}:SEED', "
            f"'{SYNTHETIC}:SEED:TRAIN/VAL/TEST' (images of each class), a folder that holds {CIFAR100.archive} or "
            f"{CIFAR10.archive}, or images of your own, 'folder:PATH' with a folder for each class or 'npz:FILE'"
        )
    here = [kind for kind in (CIFAR100, CIFAR10) if holds_cifar(folder, kind)]
    fitting = [kind for kind in here if kind.classes == config.classes]
    if here and not fitting:
        raise ConfigError(
            f"{folder} holds {' and '.join(kind.name for kind in here)} of {' and '.join(str(k.classes) for k in here)} "
            f"classes, space {config.name!r} has {config.classes}; take a task or a space that fits the other"
        )
    if config.image_size != 32 and fitting:
        raise ConfigError(
            f"{folder} holds {fitting[0].name} of images 32 x 32 x 3, space {config.name!r} reads "
            f"{config.image_size} x {config.image_size} x {config.in_channels}; only digits and synthetic images are resized"
        )
    missing = CIFAR10 if config.classes == CIFAR10.classes else CIFAR100
    return load_cifar(folder, fitting[0] if fitting else missing)
