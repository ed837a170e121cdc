"""Image files as pixels: every mode and turn, what is resized and how, and what is refused by its file and a remedy."""

from __future__ import annotations

import struct
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from factories.image_folders import draw
from PIL import Image

from search.training.own_data import decoding
from search.training.own_data.decoding import Format, check_image, decode
from search.training.task_source import DataSettings
from space.errors import ConfigError

RAMP = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3  # unlike when it is turned or mirrored
COLORS = np.stack([RAMP, RAMP.T, 255 - RAMP], axis=2)


def form(channels: int = 3, size: int = 8, **settings: Any) -> Format:
    return Format(size=size, channels=channels, settings=DataSettings(**settings))


def file_of(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decoded(image: Image.Image, kind: str = "PNG", how: Format | None = None, **options: Any) -> np.ndarray:
    return decode(file_of(image, kind, **options), how or form(), "a.png")


# --- modes ----------------------------------------------------------------------------------------


def test_colors_and_grays_come_as_they_are() -> None:
    assert (decoded(Image.fromarray(COLORS)) == COLORS).all()
    gray = decoded(Image.fromarray(RAMP))
    assert gray.shape == (8, 8, 3) and (gray == RAMP[..., None]).all()
    assert (decoded(Image.fromarray(RAMP), how=form(channels=1)) == RAMP[..., None]).all()
    bits = decoded(Image.fromarray(RAMP > 90))
    assert (bits[..., 0] == np.where(RAMP > 90, 255, 0)).all()


def test_a_palette_is_looked_up() -> None:
    image = Image.new("P", (8, 8), 1)
    image.putpalette([0, 0, 0, 10, 20, 30])
    assert (decoded(image) == (10, 20, 30)).all()


def test_inks_become_light() -> None:
    pixels = decoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)
    assert pixels[..., 0].min() > 230 and pixels[..., 1:].max() < 25


def test_what_is_transparent_lies_over_the_background() -> None:
    see_through = Image.new("RGBA", (8, 8), (200, 100, 0, 0))
    half = Image.new("RGBA", (8, 8), (200, 100, 0, 128))
    assert (decoded(see_through) == 0).all()
    assert (decoded(see_through, how=form(background="white")) == 255).all()
    assert np.allclose(decoded(half)[0, 0], (100, 50, 0), atol=1)
    assert (decoded(Image.new("LA", (8, 8), (200, 0)), how=form(channels=1)) == 0).all()
    palette = Image.new("P", (8, 8), 0)
    palette.putpalette([250, 0, 0])
    assert (decoded(palette, transparency=0) == 0).all()


def test_colors_are_made_gray_only_where_that_is_asked_for() -> None:
    image = Image.fromarray(COLORS)
    luma = np.asarray(image.convert("L"))
    assert (decoded(image, how=form(channels=1, color="gray"))[..., 0] == luma).all()
    assert (decoded(image, how=form(color="gray")) == luma[..., None]).all()
    with pytest.raises(ConfigError, match=r"a\.png: has colors, the space reads one channel; add color=gray"):
        decoded(image, how=form(channels=1))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_is_turned_as_its_exif_says(orientation: int) -> None:
    upright = Image.fromarray(np.vstack([RAMP, RAMP // 2]))  # 8 wide, 16 high
    turns = [None, 0, 3, 1, 5, 4, 6, 2]  # what undoes each orientation, as Pillow numbers transpositions
    undo = turns[orientation - 1]
    back = {0: 0, 1: 1, 2: 4, 3: 3, 4: 2, 5: 5, 6: 6}
    stored = upright if undo is None else upright.transpose(Image.Transpose(back[undo]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    how = form(fit="crop")
    assert (decoded(stored, how=how, exif=exif) == decoded(upright, how=how)).all()


def test_a_phones_photograph_comes_without_its_preview() -> None:
    image, preview = draw((200, 0, 0), 0), draw((0, 0, 200), 1)
    data = file_of(image, "MPO", save_all=True, append_images=[preview], quality=95)
    assert (decode(data, form(), "a.jpg") == np.asarray(Image.open(BytesIO(data)).convert("RGB"))).all()
    assert decode(data, form(), "a.jpg")[..., 0].min() > 150


# --- sizes ----------------------------------------------------------------------------------------


def test_other_sizes_are_refused_unless_the_task_says_what_to_do() -> None:
    image = draw((9, 9, 9), 0, (12, 8))
    with pytest.raises(ConfigError, match=r"a\.png: 12 x 8 pixels, the space reads 8 x 8; add fit=crop"):
        decoded(image)
    middle = image.crop((2, 0, 10, 8))
    assert (decoded(image, how=form(fit="crop")) == np.asarray(middle)).all()
    stretched = image.resize((8, 8), Image.Resampling.BILINEAR)
    assert (decoded(image, how=form(fit="stretch")) == np.asarray(stretched)).all()
    large = draw((9, 9, 9), 0, (41, 32))
    square = large.crop((4, 0, 36, 32)).resize((8, 8), Image.Resampling.BILINEAR)
    assert (decoded(large, how=form(fit="crop")) == np.asarray(square)).all()


def test_a_turned_image_is_judged_by_its_upright_size() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = draw((0, 0, 0), 0, (8, 12))
    with pytest.raises(ConfigError, match="12 x 8 pixels"):
        check_image(file_of(image, exif=exif), form(), "a.png")


# --- what is no image, or too much of one ---------------------------------------------------------


def bomb(width: int, height: int) -> bytes:
    """Return a PNG file of few bytes that claims many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"0"))
        + chunk(b"IEND", b"")
    )


PNG, JPEG = file_of(Image.fromarray(COLORS)), file_of(draw((1, 2, 3), 0, (64, 64)), "JPEG")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no image that can be read"),
        (b"not an image", "no image that can be read"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n", "no image that can be read"),
        (PNG[:60], "broken image"),
        (PNG[:45] + b"\xff" + PNG[46:], "broken image"),
        (JPEG[: len(JPEG) // 2], "broken image"),
        (bomb(9000, 8000), r"9000 x 8000 pixels, more than 67,108,864 pixels"),
        (bomb(12000, 9000), "is too large; make it smaller"),
        (bomb(60000, 60000), "is too large; make it smaller"),
        (file_of(Image.fromarray(RAMP.astype(np.uint16) * 256)), "save it with 8 bits a channel"),
        (
            file_of(
                Image.fromarray(COLORS), "GIF", save_all=True, append_images=[Image.fromarray(255 - COLORS)]
            ),
            "several frames",
        ),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_the_reason(data: bytes, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        decode(data, form(fit="crop"), "x/a.png")
    assert str(caught.value).startswith("x/a.png") and ";" in str(caught.value)


def test_too_large_an_image_is_refused_by_its_header() -> None:
    with pytest.raises(ConfigError, match="is too large"):
        check_image(bomb(9000, 8000), form(fit="crop"), "a.png")


def test_a_space_of_other_channels_takes_no_image_files() -> None:
    with pytest.raises(ConfigError, match="the space reads 4 channels"):
        decoded(Image.fromarray(COLORS), how=form(channels=4))


def test_without_pillow_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "PIL.Image", None)
    with pytest.raises(ConfigError, match=r"pip install 'harness\[images\]'"):
        decoding.pillow()
