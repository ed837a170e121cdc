"""Separate images for each use in a blockwise search, cut by seed from a task's validation and training images.

    task = separated(load_task("digits", TINY), parse_split("0"))        # as load_task("digits+split:0", TINY)
    len(task.profile), len(task.rescore), len(task.val), len(task.test)   # 200, 200, 200, 300

Choosing and reporting by the same images reports too much, for the best of many is partly the luckiest. So blocks are profiled,
finalists re-scored and epochs chosen by different images each, and test images, which choose nothing, give the reported figures.
Test images are not split; validation images are dealt out, and training images where those are too few. Validation images beyond
the numbers asked for are not used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import numpy as np

from search.training.images import HeldOut, Images, Task, moments
from search.training.task_source import MARK, parse_seed
from space.errors import ConfigError
from space.indexing import IndexArray
from space.text import counted

FEWEST = 100  # images of a use: of fewer the 95 % interval of an accuracy is up to 20 points wide
USUAL = 200  # images of a use at least, where the user gives no numbers


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSplit:
    """Split of images: by `seed`, with the numbers to profile blocks, to re-score networks and to choose epochs.

    `sizes` is None for a third of the validation images each, and `USUAL` at least.
    """

    seed: int
    sizes: tuple[int, int, int] | None = None

    def sizes_for(self, task: Task) -> tuple[int, int, int]:
        """Return the number of images of each use."""
        each = max(len(task.val) // 3, USUAL)
        return self.sizes or (each, each, each)


def parse_split(text: str) -> ImageSplit:
    """Return the split of `SEED` or `SEED:PROFILE/RESCORE/EPOCHS`. Raises: ConfigError when the text is none."""
    remedy = (
        f"give a seed, as in 'digits{MARK}0', and, where the usual numbers are not wanted, the images to profile blocks, to "
        f"re-score networks and to choose epochs, as in 'digits{MARK}0:200/200/200'"
    )
    seed, sizes = parse_seed(text, f"'{MARK}{text}'", remedy)
    return ImageSplit(seed=seed, sizes=sizes)


def separated(task: Task, split: ImageSplit) -> Task:
    """Return a task whose images are dealt out, disjoint; its source, if it has one, names the split in full.

    Training images that are not dealt out are trained on; validation images that are not are left out, and its origin says how
    many.

    Raises:
        ConfigError: a use has fewer than `FEWEST` images, or more than half of the training images would be taken.
    """
    sizes = split.sizes_for(task)
    if min(*sizes, len(task.test)) < FEWEST:
        raise ConfigError(
            f"task {task.name!r}: {_sizes(sizes)}, {len(task.test):,} to test: of fewer than {FEWEST} an accuracy is hardly "
            f"known; give {FEWEST} or more of each"
        )
    lacking = max(0, sum(sizes) - len(task.val))
    if lacking > len(task.train) // 2:
        raise ConfigError(
            f"task {task.name!r}: {_sizes(sizes)}: beside its {len(task.val):,} validation images that takes {lacking:,} of its "
            f"{len(task.train):,} training images, more than half; give fewer, such as {MARK}{split.seed}:"
            f"{FEWEST}/{FEWEST}/{FEWEST}"
        )
    draw = np.random.RandomState(split.seed)  # a stream that numpy keeps as it is
    order = draw.permutation(len(task.train))
    train = task.train.at(np.sort(order[lacking:])) if lacking else task.train
    pool = _joined(task.val, task.train, order[:lacking])
    dealt = draw.permutation(len(pool))[: sum(sizes)]
    profile, rescore, epochs = (pool.at(rows) for rows in np.split(dealt, np.cumsum(sizes)[:2]))
    is_own = np.allclose((*task.mean, *task.std), np.concatenate(moments(task.train.images)))
    # One that was given stays.
    mean, std = moments(train.images) if lacking and is_own else (task.mean, task.std)
    left = max(0, len(task.val) - sum(sizes))
    left_out = f", {counted(left, 'validation image')} left out" if left else ""
    numbers = f"{split.seed}:{'/'.join(map(str, sizes))}"
    return replace(
        task,
        name=f"{task.name}-split-{re.sub('[:/]', '-', numbers)}",
        train=train,
        val=epochs,
        held_out=HeldOut(seed=split.seed, profile=profile, rescore=rescore),
        mean=mean,
        std=std,
        origin=f"{task.origin}, dealt out by seed {split.seed}{left_out}",
        source=f"{task.source}{MARK}{numbers}" if task.source else "",
    )


def undivided_name(name: str) -> str | None:
    """Return the name of the task that one of this name was cut from, None where it was not."""
    match = re.fullmatch(r"(.+)-split(?:-[0-9]+){4}", name)
    return match[1] if match else None


def _sizes(sizes: tuple[int, int, int]) -> str:
    profile, rescore, epochs = sizes
    return (
        f"{profile:,} images to profile blocks, {rescore:,} to re-score networks, {epochs:,} to choose epochs"
    )


def _joined(first: Images, second: Images, rows: IndexArray) -> Images:
    """Return all images of the first, and the rows of the second after them."""
    return Images(
        images=np.concatenate([first.images, second.images[rows]]),
        labels=np.concatenate([first.labels, second.labels[rows]]),
    )
