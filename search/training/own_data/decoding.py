"""Image files as pixels of one size, by Pillow, which is imported when the first one is read.

Formats that run programs or scripts (EPS, PDF ...) are not opened. Orientation (EXIF), palette, transparency and colors are
resolved before an image is resized.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from search.training.task_source import DataSettings
from space.errors import ConfigError
from space.text import reason_of

if TYPE_CHECKING:
    from PIL.Image import Image

FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
MAX_PIXELS = 1 << 26  # of one image: 8192 x 8192; a file of some KB may claim more than memory holds
VERSION = 1  # counted up when the same file and settings give other pixels
_EIGHT_BITS = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr")
_GRAY = ("1", "L", "LA")
_TRANSPARENT = ("LA", "PA", "RGBA")
_ORIENTATION, _TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: stored with rows for columns
# Errors of Pillow seen for damaged files.
_BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, MemoryError),
    *(struct.error, zlib.error, RuntimeError, AttributeError, Warning),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """Format of the images: square ones of `size` pixels with `channels`, uint8, by settings."""

    size: int
    channels: int
    settings: DataSettings

    @property
    def shape(self) -> tuple[int, int, int]:
        """Height, width and channels."""
        return self.size, self.size, self.channels


def pillow() -> ModuleType:
    """Return the module of Pillow's images. Raises: ConfigError when it is not installed."""
    try:
        return import_module("PIL.Image")
    except ImportError as error:
        raise ConfigError("images are read by Pillow: pip install 'harness[images]'") from error


def check_image(data: bytes, form: Format, name: str) -> None:
    """Refuse an image file by its header, before its pixels are read. Raises: ConfigError as `decode`."""
    with _opened(data, name) as image:
        _check(image, form, name)


def decode(data: bytes, form: Format, name: str) -> NDArray[np.uint8]:
    """Return an image file's pixels, (size, size, channels); `name` is for messages.

    Raises:
        ConfigError: it is no image, broken, too large, of several frames or more than 8 bits, or of a size or colors that the
            settings refuse.
    """
    with _opened(data, name) as image:
        _check(image, form, name)
        return pixels_of(image, form, name)


def pixels_of(image: Image, form: Format, name: str) -> NDArray[np.uint8]:
    """Return a Pillow image as pixels, (size, size, channels): as `plain_image` makes it, in the wanted colors, then resized.

    Raises:
        ConfigError: as `plain_image`.
    """
    image = plain_image(image, name, form.settings.background)
    if form.settings.color == "gray" or form.channels == 1:
        image = image.convert("L")
    size = (form.size, form.size)
    if image.size != size and form.settings.fit == "crop":
        image = image.crop(_middle(image.size))
    if image.size != size:
        image = image.resize(size, pillow().Resampling.BILINEAR)
    pixels = np.asarray(image, np.uint8).reshape(*size, -1)
    return np.broadcast_to(pixels, form.shape)  # a gray image has equal channels


def plain_image(image: Image, name: str, background: str = "black") -> Image:
    """Return a Pillow image in gray, mode L, or colors, RGB: upright, opaque over the background, its palette looked up.

    Raises:
        ConfigError: it has more than 8 bits a channel; the message begins with its name.
    """
    _check_bits(image, name)
    if image.getexif().get(_ORIENTATION, 1) != 1:
        image = import_module("PIL.ImageOps").exif_transpose(image)
    mode = "L" if image.mode in _GRAY else "RGB"
    if image.mode in _TRANSPARENT or "transparency" in image.info:
        over = image.convert("RGBA")
        image = pillow().alpha_composite(pillow().new("RGBA", image.size, background), over)
    return image.convert(mode)


def _middle(size: tuple[int, int]) -> tuple[int, int, int, int]:
    """Return the largest square in the middle of an image: left, top, right, bottom, in whole pixels."""
    side = min(size)
    left, top = ((length - side) // 2 for length in size)
    return left, top, left + side, top + side


@contextmanager
def _opened(data: bytes, name: str) -> Iterator[Image]:
    library = pillow()
    try:
        with library.open(BytesIO(data), formats=FORMATS) as image:
            yield image
    except (library.DecompressionBombError, library.DecompressionBombWarning) as error:
        raise _too_large(name, reason_of(error)) from error
    except library.UnidentifiedImageError as error:
        raise ConfigError(
            f"{name} is no image that can be read ({', '.join(FORMATS)}); remove it, or save it as one of these"
        ) from error
    except _BROKEN as error:
        raise ConfigError(f"{name} is a broken image ({reason_of(error)}); mend or remove it") from error


def _check(image: Image, form: Format, name: str) -> None:
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width} x {height} pixels")
    _check_bits(image, name)
    # A phone's JPEG: its photograph, then a preview.
    if getattr(image, "is_animated", False) and image.format != "MPO":
        raise ConfigError(f"{name} has several frames; save the one that is meant")
    if image.getexif().get(_ORIENTATION) in _TURNED:
        width, height = height, width
    refuse_unfit((width, height), image.mode not in _GRAY, form, name)


def _check_bits(image: Image, name: str) -> None:
    if image.mode not in _EIGHT_BITS:
        raise ConfigError(
            f"{name} has pixels of mode {image.mode!r}; save it with 8 bits a channel, in RGB or gray"
        )


def refuse_unfit(size: tuple[int, int], has_colors: bool, form: Format, what: str) -> None:
    """Refuse a width and height, or colors, that do not fit under the settings. Raises: ConfigError."""
    width, height = size
    if form.settings.fit == "exact" and (width, height) != (form.size, form.size):
        raise ConfigError(
            f"{what}: {width} x {height} pixels, the space reads {form.size} x {form.size}; add fit=crop (the middle square, "
            "resized) or fit=stretch to the task"
        )
    if form.channels not in (1, 3):
        raise ConfigError(
            f"{what}: the space reads {form.channels} channels, and images become 1 or 3; give arrays of just its shape"
        )
    if form.channels == 1 and form.settings.color == "keep" and has_colors:
        raise ConfigError(f"{what}: has colors, the space reads one channel; add color=gray to the task")


def _too_large(name: str, what: str) -> ConfigError:
    return ConfigError(f"{name}: {what}, more than {MAX_PIXELS:,} pixels, is too large; make it smaller")
