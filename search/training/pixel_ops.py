"""RandAugment's ops on batches of bytes, each giving the bytes that Pillow gives for the same op and strength.

Cubuk et al. 2020, "RandAugment", arXiv:1909.13719; the ops are those of AutoAugment, arXiv:1805.09501, in the ranges
that the published recipe trains with. Geometry is computed in 16-bit fixed point as in Pillow, so that it is the
same on every device; pixels from outside are black. Images are uint8 (B, C, S, S), C is 1 or 3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

MAX_SHEAR = 0.3  # columns a row
MAX_TRANSLATION = 150 / 331  # of the image's size
MAX_ROTATION = 30.0  # degrees
MAX_ENHANCEMENT = 0.9  # more or less than the image has
MAX_POSTERIZED_BITS = 4  # of 8 taken away
FIXED = 1 << 16
LUMA = (19595, 38470, 7471)  # ITU-R 601 in 1/65536, as Pillow makes gray of red, green and blue
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


def _identity(images: Tensor, strength: float, signs: Tensor) -> Tensor:
    return images


OPS: Mapping[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "identity": _identity,
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
