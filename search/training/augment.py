"""The published augmentation of training images, on batches of tensors, with a given random generator.

In order: RandAugment, flip, crop, normalization, cutout (arXiv:2210.07271, after Krizhevsky's and DeVries' practice).
RandAugment is our own, in `search.training.pixel_ops`: kornia's draws from the global generator and one pair of ops for
a whole batch, from other ops and ranges than the published recipe; torchvision works on one image at a time.
torch is imported when a batch is augmented.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, ClassVar

from search.checked import Checked, Range
from space.errors import ConfigError
from space.user_paths import expand_user

if TYPE_CHECKING:
    from torch import Generator, Tensor

AHEAD_PIXELS = 8192 * 32 * 32  # of images augmented at once on an accelerator
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

    @classmethod
    def named(cls) -> Mapping[str, Augmentation]:
        """Return the augmentations that a name may stand for."""
        return AUGMENTATIONS

    def scaled(self, pixels: int, size: int) -> int:
        """Return a length given for 32-pixel images, scaled to images of `size` pixels; halves are rounded up."""
        return math.floor(pixels * size / REFERENCE_PX + 0.5)


NONE = Augmentation(rand_ops=0, flip=0, crop_padding=0, cutout=0)
MILD = Augmentation(rand_ops=0, flip=0, crop_padding=4, cutout=0)  # moved by up to an eighth of the image
AUGMENTATIONS: Mapping[str, Augmentation] = {"published": Augmentation(), "mild": MILD, "none": NONE}


def parse_augmentation(text: str) -> Augmentation:
    """Return the augmentation of a name, or of a file of --augmentation. Raises: ConfigError."""
    if text.lower().endswith(".json"):
        return Augmentation.from_file(expand_user(text), option="--augmentation")
    return Augmentation.from_plain(text, "--augmentation")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Random numbers of B images, on the processor; None for a part that is off.

    `ops` and `signs` are (rand_ops, B), `mirrored` (B,), `moves` to the right and down and the holes' `middles` (2, B).
    """

    ops: Tensor | None
    signs: Tensor | None
    mirrored: Tensor | None
    moves: Tensor | None
    middles: Tensor | None


def draw(count: int, size: int, augmentation: Augmentation, generator: Generator) -> Draws:
    """Draw the numbers of a batch of `count` images of `size` pixels."""
    import torch

    def whole(least: int, end: int, *shape: int) -> Tensor:
        return torch.randint(least, end, shape, generator=generator)

    rounds = [
        (whole(0, len(augmentation.ops), count), whole(0, 2, count)) for _ in range(augmentation.rand_ops)
    ]
    mirrored = torch.rand(count, generator=generator) < augmentation.flip if augmentation.flip else None
    padding, hole = (augmentation.scaled(n, size) for n in (augmentation.crop_padding, augmentation.cutout))
    return Draws(
        ops=torch.stack([ops for ops, _ in rounds]) if rounds else None,
        signs=torch.stack([1 - 2 * signs for _, signs in rounds]) if rounds else None,
        mirrored=mirrored,
        moves=whole(-padding, padding + 1, 2, count) if padding else None,
        middles=torch.stack([whole(0, size, count), whole(0, size, count)]) if hole else None,
    )


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
    (batch,) = augment_batches(images, len(images), augmentation, mean, std, generator)
    return batch


def augment_batches(
    images: Tensor,
    batch: int,
    augmentation: Augmentation,
    mean: Sequence[float],
    std: Sequence[float],
    generator: Generator,
) -> Sequence[Tensor]:
    """Return `augment` of the images batch by batch, all computed at once.

    Raises:
        ConfigError: as `augment`.
    """
    import torch

    _check(images, generator)
    size = images.shape[3]
    each = [draw(len(some), size, augmentation, generator) for some in torch.split(images, batch)]

    def all_of(name: str) -> Tensor | None:
        parts = [getattr(one, name) for one in each]
        return None if parts[0] is None else torch.cat(parts, dim=-1)

    draws = Draws(**{one.name: all_of(one.name) for one in fields(Draws)})
    return torch.split(augmented(images, augmentation, mean, std, draws), batch)


def batches_ahead(images: Tensor, batch: int) -> int:
    """Return how many batches of such images, (n, C, S, S), to augment at once: one, but on an accelerator many.

    For any number of images the host launches some 540 kernels in 20 ms, while an accelerator waits (docs/evidence/gpu.md).
    """
    if images.device.type == "cpu":
        return 1
    return max(1, AHEAD_PIXELS // (batch * images.shape[2] * images.shape[3]))


def augmented(
    images: Tensor, augmentation: Augmentation, mean: Sequence[float], std: Sequence[float], draws: Draws
) -> Tensor:
    """Return images as `augment` does, by numbers drawn before."""
    if draws.ops is not None:
        images = rand_augment(images, augmentation, draws)
    if draws.mirrored is not None:
        images = flip(images, draws.mirrored)
    if draws.moves is not None:
        images = crop(images, draws.moves)
    normal = normalize(images, mean, std)
    if draws.middles is not None:
        normal = cut_out(normal, augmentation.scaled(augmentation.cutout, images.shape[3]), draws.middles)
    return normal


def rand_augment(images: Tensor, augmentation: Augmentation, draws: Draws) -> Tensor:
    """Apply the drawn ops to each image, uint8 (B, C, S, S)."""
    from search.training.pixel_ops import apply_op, sent

    assert draws.ops is not None and draws.signs is not None
    strength = augmentation.magnitude / (augmentation.magnitude_bins - 1)
    for choice, signs in zip(draws.ops, draws.signs, strict=True):
        changed = images.clone()
        for place, op in enumerate(augmentation.ops):
            rows = (choice == place).nonzero()[:, 0]
            if len(rows) and op != "identity":
                there = sent(rows, images.device)
                changed[there] = apply_op(op, images[there], strength, signs[rows])
        images = changed
    return images


def flip(images: Tensor, mirrored: Tensor) -> Tensor:
    """Mirror images (B, C, H, W) left and right where `mirrored` (B,) says so."""
    import torch

    from search.training.pixel_ops import sent

    return torch.where(sent(mirrored, images.device)[:, None, None, None], images.flip(3), images)


def crop(images: Tensor, moves: Tensor) -> Tensor:
    """Move each image, uint8 (B, C, H, W), to the right and down by `moves` (2, B) pixels; black comes in."""
    import torch

    from search.training.pixel_ops import affine

    right, down = moves.double()
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return affine(images, torch.stack([one, zero, right, zero, one, down], dim=1))


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8 images (B, C, H, W) as float32, less the mean and over the deviation of each channel."""
    import torch

    from search.training.pixel_ops import sent

    center, spread = (
        sent(torch.tensor(values, dtype=torch.float32), images.device).view(1, -1, 1, 1)
        for values in (mean, std)
    )
    # By a plain 255, CUDA would multiply with its rounded inverse.
    white = torch.full((), 255.0, device=images.device)
    return (images / white - center) / spread


def cut_out(images: Tensor, hole: int, middles: Tensor) -> Tensor:
    """Set a square of `hole` pixels about `middles`, row and column (2, B), of images (B, C, H, W) to 0, cut at the border."""
    import torch

    from search.training.pixel_ops import sent

    inside = []
    for middle, length in zip(sent(middles, images.device), images.shape[2:], strict=True):
        first = middle[:, None] - hole // 2
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
