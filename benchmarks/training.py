"""Images per second of `train`, against a plain torch loop that augments image by image.

    python benchmarks/training.py [--spaces tiny blox] [--images 0] [--batch 0] [--rounds 3] [--device cpu] [--threads 1]

Both train the same network by the same recipe (the published one but for the batch) on the same images; an epoch of
learning is timed, after one that warms up. The plain loop is a `torch.utils.data.DataLoader` over one image at a time, as
torchvision's examples have it: RandAugment, flip, crop, to tensor, normalize, cutout, each by Pillow or torch. torchvision
itself is not installed; its transforms of images call the same functions of Pillow. The images are drawn at random, synthetic:
nothing is learned here. Below the layouts of a small space stand 15 random networks of it, channels last, each alone and all
together (`harness train --together`). What is reported is the median of the rounds, in which the ways take turns; on a
processor with one thread of torch it is images in a second of processor time, so that other programs count as little as they
can.

On a device of CUDA the loader gets as many processes as there are cores, layouts come in single and mixed precision, and
nvidia-smi is asked for the share of time in which the GPU computed.
"""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from machine import describe_machine, option_parser
from PIL import Image, ImageEnhance, ImageOps
from torch import Tensor
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset

from search.training.augment import OPS
from search.training.batched_training import train_together
from search.training.images import Images, Task
from search.training.recipe import Recipe
from search.training.training import train
from space import Architecture, SpaceConfig, find_space
from space.networks import build_network
from space.selection import select_models

NETWORK = "conv/mbconv-bconv+out/conv+conv"  # all three ops; a space of fewer stages takes the first blocks
SIZES = {
    "blox": (96, 48),
    "mini": (512, 64),
    "tiny": (512, 128),
}  # images of an epoch and of a batch, on a processor
CUDA_SIZES = (25_600, 256)
TOGETHER = 15  # networks
STRENGTH = 14 / 30

Clock = Callable[[], int]


def main() -> None:
    """Print a table of images per second for each space and layout."""
    parser = option_parser(__doc__)
    parser.add_argument("--spaces", nargs="+", default=["tiny", "blox"])
    parser.add_argument("--images", type=int, default=0, help="images of an epoch; 0: some seconds' worth")
    parser.add_argument(
        "--together", nargs="*", default=["tiny"], help="spaces whose networks are trained together, too"
    )
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    on_cpu = chosen.device == "cpu"
    clock = time.process_time_ns if on_cpu and chosen.threads == 1 else time.perf_counter_ns
    workers = 0 if on_cpu else os.cpu_count() or 1
    where = "one core" if chosen.threads == 1 else f"{chosen.threads} threads"
    if not on_cpu:
        where = f"{torch.cuda.get_device_name(chosen.device)}, {workers} loader processes"
    print(f"{describe_machine()}; {where}; torch {torch.__version__}; median of {chosen.rounds} rounds")
    print(f"{'space':6} {'layout':30} {'train':>9} {'plain loop':>11}  images/s   ratio (of each round)")
    for name in chosen.spaces:
        config = find_space(name)
        images, batch = SIZES[name] if on_cpu else CUDA_SIZES
        task = random_task(config, chosen.images or images)
        for label, changes in layouts(config, on_cpu):
            recipe = replace(Recipe(epochs=2, batch=chosen.batch or batch), **changes)
            compare(label, task, config, recipe, chosen.device, workers, chosen.rounds, clock)
        if name in chosen.together:
            recipe = Recipe(epochs=2, batch=chosen.batch or batch, channels_last=True)
            compare_together(task, config, recipe, chosen.device, workers, chosen.rounds, clock)


def layouts(config: SpaceConfig, on_cpu: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the layouts, and on an accelerator the precisions, that are compared, with what they set in the recipe."""
    for last in (False, True):
        label = "channels last" if last else "channels first"
        yield label, {"channels_last": last}
        if not on_cpu:
            yield f"{label}, mixed precision", {"channels_last": last, "mixed_precision": True}


def compare(
    label: str,
    task: Task,
    config: SpaceConfig,
    recipe: Recipe,
    device: str,
    workers: int,
    rounds: int,
    clock: Clock,
) -> None:
    """Time both in turns and print a line."""
    architecture = Architecture.parse("/".join(NETWORK.split("/")[: config.stages]), config)
    ours, plain, busy = [], [], []
    for _ in range(rounds):
        with utilization(device) as shares:
            trained = train(architecture, task, recipe, device=device, clock_ns=clock)
        busy.append(shares)
        ours.append(len(task.train) / trained.history[-1].train_ns * 1e9)
        plain.append(plain_rate(architecture, task, recipe, device, workers, clock))
    ratios = " ".join(f"{mine / other:.2f}" for mine, other in zip(ours, plain, strict=True))
    mine, other = statistics.median(ours), statistics.median(plain)
    print(
        f"{config.name:6} {label:30} {mine:9.1f} {other:11.1f}  {mine / other:16.2f}   ({ratios})", flush=True
    )
    if device != "cpu":
        seen = [share for shares in busy for share in shares]
        print(
            f"       GPU busy while `train` ran: {statistics.mean(seen):.0f} % of the time"
            if seen
            else "       no nvidia-smi"
        )


def compare_together(
    task: Task, config: SpaceConfig, recipe: Recipe, device: str, workers: int, rounds: int, clock: Clock
) -> None:
    """Time networks trained together, each alone by `train`, and each by the plain loop, in turns; print two lines."""
    architectures = select_models(f"sample:{TOGETHER}@0", config)
    together, alone, plain = [], [], []
    for _ in range(rounds):
        one = train_together(architectures, task, recipe, device=device, clock_ns=clock)[0]
        together.append(len(task.train) / one.history[-1].train_ns * 1e9)
        each = [
            train(a, task, recipe, device=device, clock_ns=clock).history[-1].train_ns for a in architectures
        ]
        alone.append(len(task.train) / statistics.mean(each) * 1e9)
        rates = [plain_rate(a, task, recipe, device, workers, clock) for a in architectures]
        plain.append(statistics.harmonic_mean(rates))
    usual = statistics.median(plain)
    for label, found in (
        (f"{TOGETHER} networks, each alone", alone),
        (f"{TOGETHER} networks together", together),
    ):
        ratios = " ".join(f"{one / other:.2f}" for one, other in zip(found, plain, strict=True))
        mine = statistics.median(found)
        print(
            f"{config.name:6} {label:30} {mine:9.1f} {usual:11.1f}  {mine / usual:16.2f}   ({ratios})",
            flush=True,
        )


def random_task(config: SpaceConfig, count: int) -> Task:
    """Return synthetic images of random bytes; to validate and to test there are a few."""
    rng = np.random.default_rng(0)

    def some(images: int) -> Images:
        shape = (images, config.image_size, config.image_size, config.in_channels)
        return Images(
            images=rng.integers(0, 256, shape, dtype=np.uint8), labels=rng.integers(0, config.classes, images)
        )

    return Task(
        name="synthetic noise",
        train=some(count),
        val=some(4),
        test=some(4),
        classes=config.classes,
        mean=(0.5,) * config.in_channels,
        std=(0.29,) * config.in_channels,
        synthetic=True,
        origin="drawn for a benchmark",
    )


@contextmanager
def utilization(device: str) -> Iterator[list[float]]:
    """Yield a list that fills, twice a second, with the percentage of time in which the GPU computed."""
    shares: list[float] = []
    over = threading.Event()

    def watch() -> None:
        command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
        while not over.wait(0.5):
            try:
                answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout
                shares.append(float(answer.splitlines()[0]))
            except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
                return

    thread = threading.Thread(target=watch)
    if device != "cpu":
        thread.start()
    try:
        yield shares
    finally:
        over.set()
        if thread.ident:
            thread.join()


# --- the plain loop -------------------------------------------------------------------------------


def plain_rate(
    architecture: Architecture, task: Task, recipe: Recipe, device: str, workers: int, clock: Clock
) -> float:
    """Return the images per second of the last epoch of an ordinary training loop."""
    layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    network = build_network(architecture).to(device).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(
        network.parameters(),
        lr=recipe.learning_rate,
        momentum=recipe.momentum,
        weight_decay=recipe.weight_decay,
    )
    loader = DataLoader(
        PlainImages(task, recipe),
        batch_size=recipe.batch,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=device != "cpu",
    )
    network.train()
    begin = 0
    for _ in range(recipe.epochs):
        begin = clock()
        for batch, classes in loader:
            images = batch.to(device, memory_format=layout, non_blocking=True)
            labels = classes.to(device, non_blocking=True)
            with torch.autocast(images.device.type, torch.bfloat16, enabled=recipe.mixed_precision):
                logits = network(images)
            loss = cross_entropy(logits.float(), labels)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        if device != "cpu":
            torch.cuda.synchronize()
    return len(task.train) / (clock() - begin) * 1e9


class PlainImages(Dataset[tuple[Tensor, int]]):
    """Augment an image when it is asked for, as torchvision's transforms of images do."""

    def __init__(self, task: Task, recipe: Recipe) -> None:
        self.images, self.labels = task.train.images, task.train.labels
        self.mean, self.std = (torch.tensor(values).view(-1, 1, 1) for values in (task.mean, task.std))
        self.padding = recipe.augmentation.scaled(recipe.augmentation.crop_padding, task.shape[0])
        self.hole = recipe.augmentation.scaled(recipe.augmentation.cutout, task.shape[0])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, place: int) -> tuple[Tensor, int]:
        image = Image.fromarray(self.images[place])
        for _ in range(2):
            image = changed(image, random.choice(OPS), random.choice((1, -1)))
        if random.random() < 0.5:
            image = ImageOps.mirror(image)
        size, padding = image.width, self.padding
        left, upper = random.randint(0, 2 * padding), random.randint(0, 2 * padding)
        image = ImageOps.expand(image, padding).crop((left, upper, left + size, upper + size))
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).float().div(255)  # (C, S, S)
        pixels = (pixels - self.mean) / self.std
        row, column = random.randrange(size) - self.hole // 2, random.randrange(size) - self.hole // 2
        pixels[:, max(row, 0) : max(row + self.hole, 0), max(column, 0) : max(column + self.hole, 0)] = 0
        return pixels, int(self.labels[place])


def changed(image: Image.Image, op: str, sign: int) -> Image.Image:
    """Apply one of RandAugment's ops at the published strength."""

    def moved(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.NEAREST)

    far, enhanced = int(STRENGTH * 150 / 331 * image.width), 1 + sign * STRENGTH * 0.9
    plain: dict[str, Callable[[], Image.Image]] = {
        "identity": lambda: image,
        "shear-x": lambda: moved(1, sign * STRENGTH * 0.3, 0, 0, 1, 0),
        "shear-y": lambda: moved(1, 0, 0, sign * STRENGTH * 0.3, 1, 0),
        "translate-x": lambda: moved(1, 0, -sign * far, 0, 1, 0),
        "translate-y": lambda: moved(1, 0, 0, 0, 1, -sign * far),
        "rotate": lambda: image.rotate(sign * STRENGTH * 30, resample=Image.Resampling.NEAREST),
        "brightness": lambda: ImageEnhance.Brightness(image).enhance(enhanced),
        "color": lambda: ImageEnhance.Color(image).enhance(enhanced),
        "contrast": lambda: ImageEnhance.Contrast(image).enhance(enhanced),
        "sharpness": lambda: ImageEnhance.Sharpness(image).enhance(enhanced),
        "posterize": lambda: ImageOps.posterize(image, 8 - round(STRENGTH * 4)),
        "solarize": lambda: ImageOps.solarize(image, int(255 * (1 - STRENGTH))),
        "autocontrast": lambda: ImageOps.autocontrast(image),
        "equalize": lambda: ImageOps.equalize(image),
    }
    return plain[op]()


if __name__ == "__main__":
    main()
