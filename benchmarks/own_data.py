"""Images of one's own: decoding against a plain Pillow loop, and training on them against the built-in task of the same images.

    python benchmarks/own_data.py [--images 1500] [--size 192] [--rounds 3] [--epochs 2]

Decoding: JPEG files of noise, which decodes slower than photographs of the size, become images of 32 x 32 pixels, by a loop that
opens, converts, crops and resizes each; by `load_task`, into a cache that is empty; and again, from the cache. The loop's images
are compared with the task's, so that a way that is fast because it does something else would show. Loading is what a
user waits for: it lists the folder, hashes all files, checks all headers, decodes, writes and splits.

Training: scikit-learn's digits as a folder and as the built-in task, the same network and recipe, one thread; only the epochs are
timed, in processor time. Rounds of all ways alternate, so that a machine whose speed wanders slows all alike; lines show medians.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from machine import describe_machine, option_parser
from PIL import Image, __version__

from search.training.images import Task
from search.training.recipe import SHORT
from search.training.tasks import load_task
from search.training.training import train
from space import TINY, Architecture, SpaceConfig

SMALL = SpaceConfig(name="small", ops=("conv",), widths=(2,), image_size=32, classes=2)
NETWORK = "conv/conv"


def main() -> None:
    """Print both tables."""
    parser = option_parser(__doc__)
    parser.add_argument("--images", type=int, default=1500)
    parser.add_argument("--size", type=int, default=192, help="height of a file's image; it is a third wider")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{describe_machine()}; Pillow {__version__}; medians of {chosen.rounds} rounds")
    with tempfile.TemporaryDirectory() as folder:
        print_decoding(Path(folder), chosen)
        print_training(Path(folder), chosen)


def print_decoding(folder: Path, chosen: argparse.Namespace) -> None:
    """Time the three ways, and print images a second."""
    files = write_jpegs(folder / "noise", chosen.images, chosen.size)
    size_mb = sum(path.stat().st_size for path in files) / 1e6
    source = f"folder:{folder / 'noise'}:fit=crop"
    seconds: dict[str, list[tuple[float, float]]] = {
        "Pillow loop": [],
        "decoded once": [],
        "from the cache": [],
    }
    for number in range(chosen.rounds):
        os.environ["HARNESS_CACHE"] = str(folder / f"cache-{number}")
        plain, loop_s = timed(lambda: [plain_image(path, SMALL.image_size) for path in files])
        task, first_s = timed(lambda: load_task(source, SMALL))
        again, again_s = timed(lambda: load_task(source, SMALL))
        assert {one.tobytes() for one in plain} == all_pixels(task) == all_pixels(again)
        for name, found in zip(seconds, (loop_s, first_s, again_s), strict=True):
            seconds[name].append(found)
    width = chosen.size * 4 // 3
    print(
        f"{len(files)} JPEG files of {width} x {chosen.size} pixels, {size_mb:.0f} MB, to 32 x 32; images a second"
    )
    print(f"{'':16}{'wall':>10}{'processor':>12}   of the loop's (wall)")
    loop_s = statistics.median(wall for wall, _ in seconds["Pillow loop"])
    for name, found in seconds.items():
        wall, used = (statistics.median(column) for column in zip(*found, strict=True))
        print(f"{name:16}{len(files) / wall:10.0f}{len(files) / used:12.0f}{loop_s / wall:14.2f}")


def print_training(folder: Path, chosen: argparse.Namespace) -> None:
    """Time epochs on digits as a folder and built in, and print images a second; that what is learned is the same, tests hold."""
    from factories.image_folders import write_task

    built_in = load_task("digits", TINY)
    write_task(folder / "digits", built_in)
    own = load_task(f"folder:{folder / 'digits'}", TINY)
    recipe, network = replace(SHORT, epochs=chosen.epochs), Architecture.parse(NETWORK, TINY)
    rates: dict[str, list[float]] = {"built in": [], "folder": []}
    for _ in range(chosen.rounds):
        for name, task in (("built in", built_in), ("folder", own)):
            trained = train(network, task, recipe, clock_ns=time.process_time_ns)
            learned_s = sum(epoch.train_ns for epoch in trained.history) / 1e9
            rates[name].append(len(task.train) * chosen.epochs / learned_s)
    ratio = statistics.median(
        one / other for one, other in zip(rates["folder"], rates["built in"], strict=True)
    )
    print(f"digits, {NETWORK} of {TINY.name}, {chosen.epochs} epochs; images a second of processor time")
    for name, found in rates.items():
        print(f"{name:16}{statistics.median(found):10.0f}")
    print(f"folder / built in, median of rounds: {ratio:.3f}")


def write_jpegs(folder: Path, count: int, height: int) -> list[Path]:
    """Write JPEG files of smooth noise in two classes; return their paths."""
    random, found = np.random.default_rng(0), []
    for number in range(count):
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        path = folder / f"class {number % 2}" / f"{number:05}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        large = Image.fromarray(coarse).resize((height * 4 // 3, height), Image.Resampling.BICUBIC)
        noise = random.integers(-20, 21, (height, height * 4 // 3, 1))
        Image.fromarray(np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8)).save(path, quality=90)
        found.append(path)
    return found


def plain_image(path: Path, size: int) -> np.ndarray:
    """Return an image as a loop of Pillow makes it: the middle square, resized."""
    with Image.open(path) as opened:
        image = opened.convert("RGB")
    side = min(image.size)
    left, top = ((length - side) // 2 for length in image.size)
    square = image.crop((left, top, left + side, top + side))
    return np.asarray(square.resize((size, size), Image.Resampling.BILINEAR))


def all_pixels(task: Task) -> set[bytes]:
    """Return all images of a task."""
    return {one.tobytes() for part in (task.train, task.val, task.test) for one in part.images}


def timed(work: Callable[[], Any]) -> tuple[Any, tuple[float, float]]:
    """Return what work gives, and its seconds of wall and processor time."""
    wall, used = time.perf_counter(), time.process_time()
    found = work()
    return found, (time.perf_counter() - wall, time.process_time() - used)


if __name__ == "__main__":
    main()
