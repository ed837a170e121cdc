"""The tasks that networks are trained on, by name: digits, made-up images, or CIFAR in a user's folder.

task = load_task("digits", MINI)
task = load_task("synthetic:3", BLOX)
task = load_task("/data/cifar", BLOX)       # CIFAR-100, as the space has 100 classes
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path

from harness.errors import ConfigError
from search.training.cifar import CIFAR10, CIFAR100, holds_cifar, load_cifar
from search.training.digits import load_digits_task
from search.training.images import TOLD, Images, Task, check_fit
from search.training.made_images import make_synthetic_task
from space import SpaceConfig

__all__ = ["Images", "Task", "check_fit", "load_task"]

MAX_SEED = 2**32 - 1


def load_task(source: str | PathLike[str], config: SpaceConfig) -> Task:
    """Return the task of a source: `digits`, `synthetic`, `synthetic:SEED`, or a folder with CIFAR-10 or CIFAR-100.

    Digits and synthetic images come in the space's image size; CIFAR's are 32 pixels wide and are not resized. Of a
    folder that holds both sets the one with the space's number of classes is read.

    Raises:
        ConfigError: there is no such source, its files are not the public ones, or its images and classes are not the space's.
    """
    text = str(source)
    if text == "digits":
        task = load_digits_task(config)
    elif text == TOLD or text.startswith(TOLD + ":"):
        task = make_synthetic_task(config, _seed(text))
    else:
        task = _from_folder(Path(text), config)
    check_fit(task, config)
    return task


def _seed(text: str) -> int:
    number = text.removeprefix(TOLD).removeprefix(":")
    if text != TOLD and not re.fullmatch(r"[0-9]{1,10}", number):
        raise ConfigError(f"{text!r}: the seed is a whole number, as in '{TOLD}:3'")
    if int(number or 0) > MAX_SEED:
        raise ConfigError(f"{text!r}: the seed is more than {MAX_SEED}")
    return int(number or 0)


def _from_folder(folder: Path, config: SpaceConfig) -> Task:
    if not folder.is_dir():
        raise ConfigError(
            f"{str(folder)!r} is no task: give 'digits', '{TOLD}', '{TOLD}:SEED', or a folder that holds "
            f"{CIFAR100.archive} or {CIFAR10.archive}"
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
