"""The published augmentation of training images, on batches of tensors, with a given random generator.

RandAugment is our own: kornia's draws from the global generator and one pair of ops for a whole batch, from other ops and ranges
than the published recipe; torchvision works on one image at a time. Each op gives the bytes that Pillow gives for the same op and
strength.

Cubuk et al. 2020, "RandAugment", arXiv:1909.13719; the ops are those of AutoAugment, arXiv:1805.09501, in the ranges
that the published recipe trains with. Geometry is computed in 16-bit fixed point as in Pillow, so that it is the
same on every device; pixels from outside are black. Images are uint8 (B, C, S, S); for ops on colors C is 1 or 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Generator, Tensor

from search.training.augment import Augmentation
from space.errors import ConfigError

AHEAD_PIXELS = 8192 * 32 * 32  # of images augmented at once on an accelerator
MAX_SHEAR = 0.3  # columns a row
MAX_TRANSLATION = 150 / 331  # of the image's size
MAX_ROTATION = 30.0  # degrees
MAX_ENHANCEMENT = 0.9  # more or less than the image has
MAX_POSTERIZED_BITS = 4  # of 8 taken away
FIXED = 1 << 16
LUMA = (19595, 38470, 7471)  # ITU-R 601 in 1/65536, as Pillow makes gray of red, green and blue
_OF_COLORS = {"color", "contrast"}
SMOOTH = 13  # the sum of the smoothing kernel: 5 in the middle, 1 around


def apply_op(name: str, images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Apply one op to all images at a strength of 0 to 1 of its range, with a sign, (B,) of 1 and -1, where it has one."""
    return OPS[name](images, strength, signs)


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor of the processor on a device; a copy to CUDA does not wait for what is queued there."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


# --- geometry -------------------------------------------------------------------------------------


def shear_x(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Move each row by its height, about the upper left corner."""
    return _moved(images, 1, signs.double() * strength * MAX_SHEAR)


def shear_y(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Move each column by its place, about the upper left corner."""
    return _moved(images, 3, signs.double() * strength * MAX_SHEAR)


def translate_x(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Move to a side, by whole pixels."""
    return _moved(images, 2, -signs.double() * int(strength * MAX_TRANSLATION * images.shape[3]))


def translate_y(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Move up or down, by whole pixels."""
    return _moved(images, 5, -signs.double() * int(strength * MAX_TRANSLATION * images.shape[2]))


def _moved(images: Tensor, place: int, by: Tensor) -> Tensor:
    """Apply the identity with one number of each image's matrix, at `place`, replaced: `by`, (B,)."""
    matrices = torch.tensor([1, 0, 0, 0, 1, 0], dtype=torch.float64).repeat(len(by), 1)
    matrices[:, place] = by
    return affine(images, matrices)


def rotate(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Turn about the middle; a positive sign turns counter-clockwise."""
    angles = -signs.double() * math.radians(strength * MAX_ROTATION)
    cos, sin = angles.cos(), angles.sin()
    middle_x, middle_y = images.shape[3] / 2, images.shape[2] / 2
    return affine(
        images,
        torch.stack(
            [
                cos,
                sin,
                middle_x - cos * middle_x - sin * middle_y,
                -sin,
                cos,
                middle_y + sin * middle_x - cos * middle_y,
            ],
            dim=1,
        ),
    )


def affine(images: Tensor, matrices: Tensor) -> Tensor:
    """Fetch each pixel (x, y) from (a x + b y + c, d x + e y + f), matrices float64 (B, 6) on the processor, nearest."""
    count, channels, height, width = images.shape
    a, b, c, d, e, f = matrices.unbind(1)
    fixed = torch.stack([a, b, c + (a + b) / 2, d, e, f + (d + e) / 2])  # at the centers of pixels
    a, b, c, d, e, f = sent((fixed * FIXED + 0.5).floor().long(), images.device)[:, :, None, None].unbind(0)
    x = torch.arange(width, device=images.device)[None, None, :]
    y = torch.arange(height, device=images.device)[None, :, None]
    from_x, from_y = (a * x + b * y + c) >> 16, (d * x + e * y + f) >> 16  # (B, H, W)
    inside = (from_x >= 0) & (from_x < width) & (from_y >= 0) & (from_y < height)
    places = torch.where(inside, from_y * width + from_x, 0).view(count, 1, -1).expand(-1, channels, -1)
    fetched = images.reshape(count, channels, -1).gather(2, places).view_as(images)
    return fetched * inside[:, None]


# --- blending with a plainer image ----------------------------------------------------------------


def brightness(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Lighten or darken."""
    return _blend(torch.zeros_like(images), images, strength, signs)


def color(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Make colors stronger or weaker."""
    return _blend(_gray(images).expand_as(images), images, strength, signs)


def contrast(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Spread brightness from its mean, or draw it there."""
    gray = _gray(images)
    pixels = gray[0].numel()
    total = gray.long().sum(dim=(1, 2, 3), keepdim=True)
    mean = (2 * total + pixels) // (2 * pixels)  # rounded, halves up
    return _blend(mean.to(torch.uint8).expand_as(images), images, strength, signs)


def sharpness(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Sharpen or smooth; the outermost pixels stay."""
    whole = images.int()
    smooth = whole.clone()
    if min(images.shape[2:]) > 2:
        rows = whole[:, :, :-2] + whole[:, :, 1:-1] + whole[:, :, 2:]  # (B, C, H - 2, W)
        around = rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]  # (B, C, H - 2, W - 2)
        inner = around + 4 * whole[:, :, 1:-1, 1:-1]
        smooth[:, :, 1:-1, 1:-1] = (2 * inner + SMOOTH) // (2 * SMOOTH)
    return _blend(smooth.to(torch.uint8), images, strength, signs)


def _blend(plain: Tensor, images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Return plain + factor * (image - plain), cut to bytes, factors about 1 by strength and sign."""
    factors = sent((1 + signs.double() * strength * MAX_ENHANCEMENT).float(), images.device)[
        :, None, None, None
    ]
    start = plain.float()
    return (start + factors * (images.float() - start)).clamp(0, 255).to(torch.uint8)


def _gray(images: Tensor) -> Tensor:
    """Return the brightness (B, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    weights = sent(torch.tensor(LUMA, dtype=torch.int32), images.device).view(1, 3, 1, 1)
    summed = (images.int() * weights).sum(dim=1, keepdim=True, dtype=torch.int32)
    return ((summed + (1 << 15)) >> 16).to(torch.uint8)


# --- tables of values -----------------------------------------------------------------------------


def posterize(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Keep the high bits of each value."""
    taken = round(strength * MAX_POSTERIZED_BITS)
    return images & (0xFF << taken & 0xFF)


def solarize(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Invert the values from a threshold up, which falls from 255 to 0."""
    return torch.where(images >= 255 * (1 - strength), 255 - images, images)


def autocontrast(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Stretch each channel of an image so that its values reach from 0 to 255."""
    low, high = images.amin(dim=(2, 3), keepdim=True).double(), images.amax(dim=(2, 3), keepdim=True).double()
    width = (high - low).clamp(min=1)
    scale = torch.full_like(width, 255) / width  # 255 / width would multiply by the rounded inverse
    stretched = (images * scale + -low * scale).clamp(0, 255).to(torch.uint8)
    return torch.where(high > low, stretched, images)


def equalize(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    """Spread the values of each channel of an image so that all are about as frequent."""
    flat = images.reshape(-1, images.shape[2] * images.shape[3]).long()  # (B * C, H * W)
    counts = torch.zeros(len(flat), 256, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, flat, torch.ones_like(flat))
    brightest = counts.gather(1, flat.amax(dim=1, keepdim=True))
    step = (flat.shape[1] - brightest) // 255  # pixels a level
    below = counts.cumsum(dim=1) - counts
    levels = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    spread = levels.gather(1, flat)
    return torch.where(step > 0, spread, flat).to(torch.uint8).view_as(images)


OPS: Mapping[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "identity": lambda images, strength, signs: images,
    "shear-x": shear_x,
    "shear-y": shear_y,
    "translate-x": translate_x,
    "translate-y": translate_y,
    "rotate": rotate,
    "brightness": brightness,
    "color": color,
    "contrast": contrast,
    "sharpness": sharpness,
    "posterize": posterize,
    "solarize": solarize,
    "autocontrast": autocontrast,
    "equalize": equalize,
}


# --- augmentation of batches -----------------------------------------------------------------------


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
    """Return images, uint8 (B, C, S, S) on any device, augmented and normalized: float32, same shape.

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
    _check(images, augmentation, generator)
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
    return torch.where(sent(mirrored, images.device)[:, None, None, None], images.flip(3), images)


def crop(images: Tensor, moves: Tensor) -> Tensor:
    """Move each image, uint8 (B, C, H, W), to the right and down by `moves` (2, B) pixels; black comes in."""
    right, down = moves.double()
    one, zero = torch.ones_like(right), torch.zeros_like(right)
    return affine(images, torch.stack([one, zero, right, zero, one, down], dim=1))


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return uint8 images (B, C, H, W) as float32, less the mean and over the deviation of each channel."""
    center, spread = (
        sent(torch.tensor(values, dtype=torch.float32), images.device).view(1, -1, 1, 1)
        for values in (mean, std)
    )
    # By a plain 255, CUDA would multiply with its rounded inverse.
    white = torch.full((), 255.0, device=images.device)
    return (images / white - center) / spread


def cut_out(images: Tensor, hole: int, middles: Tensor) -> Tensor:
    """Set a square of `hole` pixels about `middles`, row and column (2, B), of images (B, C, H, W) to 0, cut at the border."""
    inside = []
    for middle, length in zip(sent(middles, images.device), images.shape[2:], strict=True):
        first = middle[:, None] - hole // 2
        place = torch.arange(length, device=images.device)
        inside.append((place >= first) & (place < first + hole))  # (B, length)
    rows, columns = inside
    return images.masked_fill((rows[:, :, None] & columns[:, None, :])[:, None], 0.0)


def _check(images: Tensor, augmentation: Augmentation, generator: Generator) -> None:
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise ConfigError(
            f"images to augment are {images.dtype} of shape {tuple(images.shape)}; give uint8 of (B, C, S, S)"
        )
    of_colors = sorted(_OF_COLORS.intersection(augmentation.ops)) if augmentation.rand_ops else []
    if of_colors and images.shape[1] not in (1, 3):
        raise ConfigError(
            f"augmentation: {' and '.join(of_colors)} are of gray images or colors, and these have {images.shape[1]} channels; "
            "give other ops, or augmentation mild or none"
        )
    if images.shape[2] != images.shape[3]:
        raise ConfigError(
            f"images to augment are {images.shape[2]} x {images.shape[3]} pixels; give square ones"
        )
    if generator.device.type != "cpu":
        raise ConfigError(
            f"the generator is on {generator.device}; make it with torch.Generator(), on the processor"
        )
