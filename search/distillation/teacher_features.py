"""Input and output feature maps of a teacher's stage: computed once, kept in memory or on disk, shared by all blocks.

Shapes at the line ends are (images, channels, height, width). Features are stored channels last, whatever layout the layers take.
"""

from __future__ import annotations

import math
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import IO

import numpy as np
import torch
from torch import Generator, Tensor

from search.training.augment import NONE, Augmentation
from search.training.images import Images, Task, check_fit
from search.training.pixel_ops import augment, normalize
from search.training.stacked_modules import channels_first
from search.training.trained import Trained, network_of
from space.definition import check_code
from space.errors import ConfigError
from space.networks import AnyNetwork, Network
from space.stages import SpaceStage

MEMORY_BYTES = 2 << 30  # of features held in memory; more goes to a file
BATCH = 256  # images that the teacher sees at once
_SHARE = 0.25  # of a GPU's free memory for features
# Of the mean over channels: errors are divided by it, and a nearly constant channel would be the only one that counts.
_LEAST_VARIANCE = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class StageTask:
    """Stage of a teacher, and the task whose images it sees; feature maps of more than `memory_bytes` lie on disk."""

    teacher: Trained
    task: Task
    stage: int
    device: str = "cpu"
    memory_bytes: int = MEMORY_BYTES

    @property
    def place(self) -> SpaceStage:
        """The stage in the teacher's space.

        Raises:
            ConfigError: the space has no such stage, its code has changed, or the task does not fit it.
        """
        config = self.teacher.architecture.config
        check_fit(self.task, config)
        check_code(config)
        return SpaceStage(config, self.stage)


@dataclass(frozen=True, slots=True, kw_only=True)
class Views:
    """Passes of a teacher over all images, each with random augmentation of its own."""

    count: int = 1
    augmentation: Augmentation = NONE
    seed: int = 0


PLAIN = Views()  # one view, not augmented


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FeatureMaps:
    """Feature maps of a stage, `inputs` (n, C, H, W) and `targets` (n, C', H', W'), float32, on the processor if not `near`.

    `variance` (C',) is that of each channel of the targets, by which errors are divided; a nearly constant channel has a small
    part of the mean over channels instead.
    """

    inputs: Tensor
    targets: Tensor
    variance: Tensor

    def __len__(self) -> int:
        return len(self.inputs)

    def near(self, device: torch.device) -> FeatureMaps:
        """Return the maps on a CUDA device where they take at most a quarter of its free memory, and else as they are."""
        size_bytes = self.inputs.nbytes + self.targets.nbytes
        if device.type != "cuda" or size_bytes > torch.cuda.mem_get_info(device)[0] * _SHARE:
            return self
        return replace(self, inputs=self.inputs.to(device), targets=self.targets.to(device))


def teacher_network(teacher: Trained, device: str = "cpu") -> AnyNetwork:
    """Return a trained network with its weights, in evaluation mode, on a device: channels last where its layers are known."""
    network = network_of(teacher.architecture, teacher.weights)
    layout = torch.channels_last if isinstance(network, Network) else torch.preserve_format
    return network.to(device, memory_format=layout).eval()  # type: ignore[call-overload, no-any-return]


@contextmanager
def teacher_features(
    stage_task: StageTask, part: str = "train", views: Views = PLAIN
) -> Iterator[FeatureMaps]:
    """Give the features of a stage on a part of the images, such as `train` or `profile`: one pass of the teacher a view.

    Features of more than `memory_bytes` lie in a temporary file, which is removed afterwards.

    Raises:
        ConfigError: as `StageTask.place`, or the file cannot be written.
    """
    place, task = stage_task.place, stage_task.task
    images: Images = getattr(task, part)
    count = views.count * len(images)
    shapes = [
        (count, rows, columns, channels)  # channels last
        for channels, rows, columns in (place.input_shape, place.output_shape)
    ]
    network = teacher_network(stage_task.teacher, stage_task.device)
    pixels = torch.tensor(images.images, device=stage_task.device).permute(0, 3, 1, 2)
    batches = _batches(pixels, task, views)
    total = 4 * sum(math.prod(shape) for shape in shapes)
    if total <= stage_task.memory_bytes:
        inputs, targets = (torch.empty(shape) for shape in shapes)
        yield _filled(inputs, targets, network, stage_task.stage, batches)
        return
    with _file_of(total) as file:
        whole = torch.from_numpy(np.memmap(file, np.float32, "r+"))
        first, second = torch.split(whole, [math.prod(shape) for shape in shapes])
        yield _filled(first.view(shapes[0]), second.view(shapes[1]), network, stage_task.stage, batches)


def _file_of(size_bytes: int) -> IO[bytes]:
    """Open a file without a name, all of its bytes reserved: on a full disk a mapped file would kill the process later."""
    try:
        file = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        try:
            os.posix_fallocate(file.fileno(), 0, size_bytes)
        except OSError:
            file.close()
            raise
    except OSError as e:
        raise ConfigError(
            f"{tempfile.gettempdir()}: {size_bytes:,} bytes of the teacher's features cannot be kept there: "
            f"{e.strerror or e}; free space there, or allow more memory"
        ) from e
    return file


def _batches(pixels: Tensor, task: Task, views: Views) -> Iterator[Tensor]:
    """Yield a network's inputs from images (n, C, H, W), `BATCH` at a time, view after view."""
    noise = Generator().manual_seed(views.seed)
    for _ in range(views.count):
        for begin in range(0, len(pixels), BATCH):
            some = pixels[begin : begin + BATCH]
            if views.augmentation == NONE:
                yield normalize(some, task.mean, task.std)
            else:
                yield augment(some, views.augmentation, task.mean, task.std, noise)


@torch.no_grad()
def _filled(
    inputs: Tensor, targets: Tensor, network: AnyNetwork, stage: int, batches: Iterator[Tensor]
) -> FeatureMaps:
    """Fill (n, H, W, C) and (n, H', W', C') with a stage's inputs and outputs, and return them as feature maps."""
    stages, is_known = network.stages, isinstance(network, Network)
    place = 0
    for x in batches:
        x = network.stem(x.contiguous(memory_format=torch.channels_last) if is_known else channels_first(x))
        for before in stages[:stage]:
            x = before(x)
        rows = slice(place, place + len(x))
        inputs[rows] = x.permute(0, 2, 3, 1).cpu()
        targets[rows] = stages[stage](x).permute(0, 2, 3, 1).cpu()
        place += len(x)
    return FeatureMaps(
        inputs=inputs.permute(0, 3, 1, 2), targets=targets.permute(0, 3, 1, 2), variance=_variance(targets)
    )


def _variance(targets: Tensor) -> Tensor:
    """Return the variance of each channel of (n, h, w, c), (c,), summed in double precision piece by piece."""
    total = torch.zeros(2, targets.shape[3], dtype=torch.float64)
    for begin in range(0, len(targets), BATCH):
        piece = targets[begin : begin + BATCH].double().flatten(0, 2)
        total += torch.stack([piece.sum(0), piece.square().sum(0)])
    count = targets[..., 0].numel()
    mean, square = total / count
    variance = (square - mean.square()).clamp(min=0)
    least = max(float(variance.mean()) * _LEAST_VARIANCE, torch.finfo(torch.float32).tiny)
    floored: Tensor = variance.clamp(min=least).float()
    return floored
