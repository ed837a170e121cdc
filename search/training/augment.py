"""The published augmentation of training images as values, in order: RandAugment, flip, crop, normalization, cutout.

It is that of arXiv:2210.07271, after Krizhevsky's and DeVries' practice; `search.training.pixel_ops` computes it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from search.checked import Checked, Range
from space.user_paths import expand_user

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
