"""The published augmentation of training images, on batches of tensors, with a given random generator.

In order: RandAugment, flip, crop, normalization, cutout (arXiv:2210.07271, after Krizhevsky's and DeVries' practice).
RandAugment is our own, in `search.training.pixel_ops`: kornia's draws from the global generator and one pair of ops for
a whole batch, from other ops and ranges than the published recipe; torchvision works on one image at a time.
torch is imported when a batch is augmented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar

from search.checked import Checked, Range
from space.errors import ConfigError

if TYPE_CHECKING:
    from torch import Generator, Tensor

REFERENCE_PX = 32  # the image size that crop_padding and cutout are given for

# RandAugment's ops as the published recipe draws them.
OPS = (
    "identity",
    "shear-x",
    "shear-y",
    "translate-x",
    "translate-y",
    "rotate",
    "brightness",
    "color",
    "contrast",
    "sharpness",
    "posterize",
    "solarize",
    "autocontrast",
    "equalize",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation(Checked):
    """Augmentation of training images; the defaults are the published ones, and 0 disables a part.

    `rand_ops` ops are drawn for each image, with replacement, from `ops`, all at strength `magnitude` of the
    `magnitude_bins` from 0 up (RandAugment, arXiv:1909.13719); `flip` is the chance of mirroring left and right. A crop of
    the image's size is taken from the image with `crop_padding` black pixels around it, and a square of `cutout` pixels
    about a random pixel is set to the mean color, as far as it lies in the image (arXiv:1708.04552). These two are pixels
    of 32 x 32 images: of other sizes they are scaled and rounded.

    Raises:
        ConfigError: a value is out of its range.
    """

    NAME: ClassVar[str] = "augmentation"

    rand_ops: Annotated[int, Range(least=0, most=100)] = 2
    magnitude: Annotated[int, Range(least=0)] = 14
    magnitude_bins: Annotated[int, Range(least=2, most=1000)] = 31
    ops: Annotated[tuple[str, ...], OPS] = OPS
    flip: Annotated[float, Range(least=0, most=1)] = 0.5
    crop_padding: Annotated[int, Range(least=0, most=REFERENCE_PX)] = 4
    cutout: Annotated[int, Range(least=0, most=2 * REFERENCE_PX)] = 16

    def check(self) -> None:
        """Refuse fields that do not go together. Raises: ConfigError."""
        if self.magnitude >= self.magnitude_bins:
            raise self.refusal("magnitude", f"give a whole number from 0 to {self.magnitude_bins - 1}")
        if not self.ops:
            raise self.refusal("ops", "name at least one op, or set rand_ops to 0")

    def scaled(self, pixels: int, size: int) -> int:
        """Return what a length given for 32-pixel images is in images of `size` pixels; halves are rounded up."""
        return math.floor(pixels * size / REFERENCE_PX + 0.5)


NONE = Augmentation(rand_ops=0, flip=0, crop_padding=0, cutout=0)
MILD = Augmentation(rand_ops=0, flip=0, crop_padding=4, cutout=0)  # moved by up to an eighth of the image
AUGMENTATIONS: Mapping[str, Augmentation] = {"published": Augmentation(), "mild": MILD, "none": NONE}


def augment(
    images: Tensor,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    generator: Generator,
) -> Tensor:
    """Return images, uint8 (B, C, S, S) of 1 or 3 channels on any device, augmented and normalized: float32, same shape.

    All random numbers come from the generator, which is on the processor, so that they are the same whatever device holds
    the images; how many are drawn depends on the batch's size and the augmentation alone. The images stay as they are.

    Raises:
        ConfigError: the images or the generator are of another kind.
    """
    _check(images, generator)
    size = images.shape[3]
    if augmentation.rand_ops:
        images = rand_augment(images, augmentation, generator)
    if augmentation.flip:
        images = flip(images, augmentation.flip, generator)
    if padding := augmentation.scaled(augmentation.crop_padding, size):
        images = crop(images, padding, generator)
    normal = normalize(images, mean, std)
    if hole := augmentation.scaled(augmentation.cutout, size):
        normal = cut_out(normal, hole, generator)
    return normal


def rand_augment(images: Tensor, augmentation: Augmentation, generator: Generator) -> Tensor:
    """Apply `rand_ops` random ops to each image, uint8 (B, C, S, S); the sign of a strength that has one is random too."""
    import torch

    from search.training.pixel_ops import apply_op

    strength = augmentation.magnitude / (augmentation.magnitude_bins - 1)
    count, device = len(images), images.device
    for _ in range(augmentation.rand_ops):
        choice = torch.randint(len(augmentation.ops), (count,), generator=generator)
        signs = 1 - 2 * torch.randint(2, (count,), generator=generator)
        changed = images.clone()
        for place, op in enumerate(augmentation.ops):
            rows = (choice == place).nonzero()[:, 0]
            if len(rows) and op != "identity":
                there = rows.to(device)
                changed[there] = apply_op(op, images[there], strength, signs[rows])
        images = changed
    return images


def flip(images: Tensor, chance: float, generator: Generator) -> Tensor:
    """Mirror each image (B, C, H, W) left and right with a chance."""
    import torch

    mirrored = torch.rand(len(images), generator=generator) < chance
    return torch.where(mirrored.to(images.device)[:, None, None, None], images.flip(3), images)


def crop(images: Tensor, padding: int, generator: Generator) -> Tensor:
    """Move each image, uint8 (B, C, H, W), by up to `padding` pixels each way, every way as likely; black comes in."""
    import torch

    from search.training.pixel_ops import affine

    count = len(images)
    right, down = torch.randint(-padding, padding + 1, (2, count), generator=generator).double()
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return affine(images, torch.stack([one, zero, right, zero, one, down], dim=1))


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8 images (B, C, H, W) as float32, less the mean and over the deviation of each channel."""
    import torch

    center, spread = (
        torch.tensor(values, dtype=torch.float32, device=images.device).view(1, -1, 1, 1)
        for values in (mean, std)
    )
    return (images / 255 - center) / spread


def cut_out(images: Tensor, hole: int, generator: Generator) -> Tensor:
    """Set a square of `hole` pixels about a random pixel of each image (B, C, H, W) to 0, as far as it is inside."""
    import torch

    count, _, height, width = images.shape
    inside = []
    for length in (height, width):
        first = torch.randint(length, (count,), generator=generator).to(images.device)[:, None] - hole // 2
        place = torch.arange(length, device=images.device)
        inside.append((place >= first) & (place < first + hole))  # (B, length)
    rows, columns = inside
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _check(images: Tensor, generator: Generator) -> None:
    import torch

    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ConfigError(
            f"images to augment are {images.dtype} of shape {tuple(images.shape)}; give uint8 of (B, 1 or 3, S, S)"
        )
    if images.shape[2] != images.shape[3]:
        raise ConfigError(
            f"images to augment are {images.shape[2]} x {images.shape[3]} pixels; give square ones"
        )
    if generator.device.type != "cpu":
        raise ConfigError(
            f"the generator is on {generator.device}; make it with torch.Generator(), on the processor"
        )
