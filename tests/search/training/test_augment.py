"""Augmentation: each op against Pillow, the statistics of what is random, and all of it from the generator given."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from search.training import pixel_ops
from search.training.augment import MILD, NONE, OPS, Augmentation
from search.training.pixel_ops import (
    Draws,
    augment,
    augment_batches,
    batches_ahead,
    crop,
    cut_out,
    draw,
    flip,
    rand_augment,
)
from space.errors import ConfigError

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.5)


def pictures(size: int = 32, channels: int = 3) -> torch.Tensor:
    """Noise, shades, dim and flat images: (12, channels, size, size)."""
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (6, channels, size, size))
    shade = np.linspace(40, 200, size)[None, None] * np.array([1, 0.7, 0.4])[:channels, None, None]
    shades = np.stack(
        [np.broadcast_to(shade, (channels, size, size)), np.broadcast_to(shade.mT, (channels, size, size))]
    )
    dim = rng.integers(90, 110, (2, channels, size, size))
    flat = np.stack([np.zeros((channels, size, size)), np.full((channels, size, size), 255)])
    return torch.from_numpy(np.concatenate([noise, shades, dim, flat]).astype(np.uint8))


def drawn(images: torch.Tensor, augmentation: Augmentation, seed: int = 0) -> Draws:
    """Return the numbers that augmenting images draws from a fresh generator."""
    return draw(len(images), images.shape[3], augmentation, torch.Generator().manual_seed(seed))


def by_pillow(op: str, image: Image.Image, strength: float, sign: int) -> Image.Image:
    """Apply an op as users of Pillow write it."""

    def affine(*matrix: float) -> Image.Image:
        return image.transform(image.size, Image.Transform.AFFINE, matrix, resample=Image.Resampling.NEAREST)

    translation, enhanced = int(strength * 150 / 331 * image.width), 1 + sign * strength * 0.9
    match op:
        case "shear-x":
            return affine(1, sign * strength * 0.3, 0, 0, 1, 0)
        case "shear-y":
            return affine(1, 0, 0, sign * strength * 0.3, 1, 0)
        case "translate-x":
            return affine(1, 0, -sign * translation, 0, 1, 0)
        case "translate-y":
            return affine(1, 0, 0, 0, 1, -sign * translation)
        case "rotate":
            return image.rotate(sign * strength * 30, resample=Image.Resampling.NEAREST)
        case "brightness":
            return ImageEnhance.Brightness(image).enhance(enhanced)
        case "color":
            return ImageEnhance.Color(image).enhance(enhanced)
        case "contrast":
            return ImageEnhance.Contrast(image).enhance(enhanced)
        case "sharpness":
            return ImageEnhance.Sharpness(image).enhance(enhanced)
        case "posterize":
            return ImageOps.posterize(image, 8 - round(strength * 4))
        case "solarize":
            return ImageOps.solarize(image, 255 * (1 - strength))
        case "autocontrast":
            return ImageOps.autocontrast(image)
        case "equalize":
            return ImageOps.equalize(image)
    assert op == "identity"
    return image


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize(("size", "channels"), [(32, 3), (16, 3), (32, 1)])
def test_each_op_gives_the_bytes_that_pillow_gives(op: str, size: int, channels: int) -> None:
    images = pictures(size, channels)
    signs = torch.tensor([1, -1] * 6)
    for magnitude in (0, 1, 7, 14, 23, 30):
        strength = magnitude / 30
        made = pixel_ops.apply_op(op, images, strength, signs)
        assert made.dtype == torch.uint8 and made.shape == images.shape
        for image, mine, sign in zip(images, made, signs.tolist(), strict=True):
            layers = image.permute(1, 2, 0).numpy()
            original = Image.fromarray(layers if channels == 3 else layers[..., 0])
            theirs = np.asarray(by_pillow(op, original, strength, sign)).reshape(size, size, channels)
            np.testing.assert_array_equal(mine.permute(1, 2, 0).numpy(), theirs, f"{op} at {magnitude}")


def test_the_ops_are_those_of_the_table_and_all_but_one_change_images() -> None:
    assert tuple(pixel_ops.OPS) == OPS and len(OPS) == 14
    images, signs = pictures(), torch.ones(12, dtype=torch.int64)
    same = [op for op in OPS if pixel_ops.apply_op(op, images, 14 / 30, signs).equal(images)]
    assert same == ["identity"]


def test_at_the_published_magnitude_the_strengths_are_the_published_ones() -> None:
    strength = Augmentation().magnitude / (Augmentation().magnitude_bins - 1)
    ramp = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    up = torch.ones(1, dtype=torch.int64)
    assert (pixel_ops.posterize(ramp, strength, up) == ramp // 4 * 4).all()  # 6 of 8 bits
    assert (pixel_ops.solarize(ramp, strength, up) != ramp).nonzero()[0].tolist() == [
        0,
        0,
        8,
        8,
    ]  # from 136 up
    assert pixel_ops.brightness(ramp, strength, up).view(-1)[100] == 142
    wide = torch.arange(32, dtype=torch.uint8).expand(1, 1, 32, 32)
    assert (pixel_ops.translate_x(wide, strength, up)[0, 0, 0] == (torch.arange(32) - 6).clamp(min=0)).all()


def test_rand_augment_draws_every_op_as_often_and_both_signs() -> None:
    images = torch.full((14_000, 1, 4, 4), 100, dtype=torch.uint8)
    chosen = Augmentation(rand_ops=1, ops=("identity", "brightness"))
    values = rand_augment(images, chosen, drawn(images, chosen, 0))[:, 0, 0, 0]
    counts = {int(value): int((values == value).sum()) for value in values.unique()}
    assert counts.keys() == {58, 100, 142}  # 1 less and more 0.42
    assert abs(counts[100] - 7000) < 250 and abs(counts[58] - 3500) < 250 and abs(counts[142] - 3500) < 250


def test_rand_augment_applies_as_many_ops_as_told_one_after_another() -> None:
    images = torch.full((100, 1, 4, 4), 100, dtype=torch.uint8)
    thrice = Augmentation(rand_ops=3, ops=("solarize",), magnitude=30)  # inverts all
    assert (rand_augment(images, thrice, drawn(images, thrice)) == 155).all()
    twice = Augmentation(rand_ops=2, ops=("solarize",), magnitude=30)
    assert (rand_augment(images, twice, drawn(images, twice)) == 100).all()


def test_images_of_a_batch_get_ops_of_their_own() -> None:
    images = pictures()[:1].expand(200, -1, -1, -1)
    varied = rand_augment(images, Augmentation(), drawn(images, Augmentation(), 1))
    assert len({image.numpy().tobytes() for image in varied}) > 80  # of some 25 * 25 outcomes


def test_half_of_the_images_are_mirrored() -> None:
    images = pictures()[:1].expand(4000, -1, -1, -1)
    half, all_of_them = (drawn(images, Augmentation(flip=chance), 2).mirrored for chance in (0.5, 1.0))
    assert half is not None and all_of_them is not None
    flipped = flip(images, half)
    mirrored = (flipped == images.flip(3)).all(dim=(1, 2, 3))
    assert ((flipped == images).all(dim=(1, 2, 3)) ^ mirrored).all()
    assert abs(mirrored.double().mean() - 0.5) < 4 * 0.5 / math.sqrt(4000)
    assert flip(images, all_of_them).equal(images.flip(3))


def test_crops_are_of_every_offset_alike_and_black_comes_in() -> None:
    count, size = 8100, 12
    images = (
        torch.arange(1, size * size + 1, dtype=torch.uint8).view(1, 1, size, size).expand(count, -1, -1, -1)
    )
    moves = drawn(images, Augmentation(crop_padding=10), 3).moves  # 4 pixels of 12
    assert moves is not None
    cropped = crop(images, moves)
    padded = torch.nn.functional.pad(images[0], (4,) * 4)
    tally = torch.zeros(9, 9)
    for down in range(9):
        for right in range(9):
            window = padded[:, down : down + size, right : right + size]
            tally[down, right] = (cropped == window).all(dim=(1, 2, 3)).sum()
    assert tally.sum() == count  # each crop is one of the 81 windows
    expected = count / 81
    assert ((tally - expected) ** 2 / expected).sum() < 128  # chi-squared of 80, 1 in 2000


def test_a_hole_lies_about_any_pixel_and_is_cut_at_the_border() -> None:
    images = torch.ones(20_000, 2, 32, 32)
    middles = drawn(images, Augmentation(), 4).middles
    assert middles is not None
    holes = cut_out(images, 16, middles) == 0
    assert holes[:, 0].equal(holes[:, 1])
    rows, columns = holes[:, 0].any(dim=2), holes[:, 0].any(dim=1)
    assert (holes[:, 0] == (rows[:, :, None] & columns[:, None, :])).all()  # a rectangle
    # Centered on k of 0 to 31 it spans k - 8 to k + 7: the first 8 are cut below, the last 7 above.
    spans = [min(32, k + 8) - max(0, k - 8) for k in range(32)]
    for lengths in (rows.sum(dim=1), columns.sum(dim=1)):
        assert set(lengths.tolist()) == set(spans) and max(spans) == 16
        assert abs(lengths.double().mean() - np.mean(spans)) < 4 * np.std(spans) / math.sqrt(20_000)
    for lines in (rows, columns):  # of 32 middles 9 reach the first pixel, 8 the last
        reached = lines.double().mean(dim=0)
        assert abs(reached[0] - 9 / 32) < 0.013 and abs(reached[31] - 8 / 32) < 0.013
    assert images.min() == 1


def test_all_parts_together_in_order() -> None:
    images, generator = pictures(), torch.Generator().manual_seed(5)
    got = augment(images, Augmentation(), MEAN, STD, generator)
    draws = drawn(images, Augmentation(), 5)
    assert draws.mirrored is not None and draws.moves is not None and draws.middles is not None
    expected = rand_augment(images, Augmentation(), draws)
    expected = crop(flip(expected, draws.mirrored), draws.moves)
    scale = torch.tensor(STD).view(1, 3, 1, 1), torch.tensor(MEAN).view(1, 3, 1, 1)
    assert got.equal(cut_out((expected / 255 - scale[1]) / scale[0], 16, draws.middles))
    assert got.dtype == torch.float32 and got.shape == images.shape and got.is_contiguous()


def test_many_batches_at_once_are_what_one_after_another_would_be() -> None:
    images = pictures()
    for augmentation in (Augmentation(), Augmentation(rand_ops=0, crop_padding=0), NONE):
        one_by_one, at_once = torch.Generator().manual_seed(7), torch.Generator().manual_seed(7)
        expected = [augment(some, augmentation, MEAN, STD, one_by_one) for some in images.split(5)]
        got = augment_batches(images, 5, augmentation, MEAN, STD, at_once)
        assert [len(some) for some in got] == [5, 5, 2]
        assert all(a.equal(b) for a, b in zip(got, expected, strict=True))
        assert at_once.get_state().equal(one_by_one.get_state())


def test_the_pixels_are_those_of_former_releases() -> None:
    # Stored checkpoints go on with them.
    generator = torch.Generator().manual_seed(11)
    digest = hashlib.sha256()
    for size, channels in ((32, 3), (16, 1)):
        for _ in range(3):
            some = augment(
                pictures(size, channels), Augmentation(), MEAN[:channels], STD[:channels], generator
            )
            digest.update(some.numpy().tobytes())
    assert digest.hexdigest()[:16] == "226e0432a51224e4"


def test_only_an_accelerator_augments_many_batches_at_once() -> None:
    assert batches_ahead(torch.empty(0, 3, 32, 32), 256) == 1
    assert batches_ahead(torch.empty(0, 3, 32, 32, device="meta"), 256) == 32
    assert batches_ahead(torch.empty(0, 3, 8, 8, device="meta"), 1 << 20) == 1


def test_the_generator_s_state_decides_and_nothing_else() -> None:
    images, generator = pictures(), torch.Generator().manual_seed(6)
    before, untouched = torch.get_rng_state(), images.clone()
    augment(images, Augmentation(), MEAN, STD, generator)
    state = generator.get_state()
    second = augment(images, Augmentation(), MEAN, STD, generator)
    torch.manual_seed(99)
    resumed = torch.Generator()
    resumed.set_state(state)
    assert augment(images, Augmentation(), MEAN, STD, resumed).equal(second)
    assert resumed.get_state().equal(generator.get_state())
    assert not augment(images, Augmentation(), MEAN, STD, generator).equal(second)
    assert images.equal(untouched)
    torch.set_rng_state(before)
    augment(images, Augmentation(), MEAN, STD, generator)
    assert torch.get_rng_state().equal(before)  # torch's own generator is left alone


def test_as_many_numbers_are_drawn_whatever_the_images_show() -> None:
    states = []
    for images in (pictures(), torch.zeros_like(pictures())):
        generator = torch.Generator().manual_seed(7)
        augment(images, Augmentation(), MEAN, STD, generator)
        states.append(generator.get_state())
    assert states[0].equal(states[1])


def test_with_every_part_off_images_are_only_normalized() -> None:
    images, generator = pictures(), torch.Generator().manual_seed(8)
    state = generator.get_state()
    got = augment(images, NONE, MEAN, STD, generator)
    assert generator.get_state().equal(state)
    expected = (images.double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("off", "same"),
    [
        ({"rand_ops": 2, "ops": ("identity",)}, True),
        ({"rand_ops": 2}, False),
        ({"flip": 1.0}, False),
        ({"crop_padding": 4}, False),
        ({"cutout": 16}, False),
    ],
)
def test_each_part_is_switched_on_alone(off: dict[str, object], same: bool) -> None:
    settings: dict[str, object] = {"rand_ops": 0, "flip": 0, "crop_padding": 0, "cutout": 0, **off}
    images, generator = pictures(), torch.Generator().manual_seed(9)
    plain = augment(images, NONE, MEAN, STD, generator)
    assert augment(images, Augmentation(**settings), MEAN, STD, generator).equal(plain) == same  # type: ignore[arg-type]


def test_pixels_are_scaled_with_the_image() -> None:
    published = Augmentation()
    assert [published.scaled(published.cutout, size) for size in (32, 16, 8, 4)] == [16, 8, 4, 2]
    assert [published.scaled(published.crop_padding, size) for size in (32, 16, 8, 4)] == [4, 2, 1, 1]
    ones = torch.full((300, 1, 16, 16), 255, dtype=torch.uint8)
    hole = augment(ones, Augmentation(rand_ops=0, flip=0, crop_padding=0), (0,), (1,), torch.Generator())
    assert (hole == 0).sum(dim=(1, 2, 3)).max() == 64
    moved = augment(ones, Augmentation(rand_ops=0, flip=0, cutout=0), (0,), (1,), torch.Generator())
    black = (moved == 0).all(dim=2).sum(dim=2)  # columns of each image
    assert set(black.view(-1).tolist()) == {0, 1, 2}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rand_ops": -1}, "rand_ops = -1; give a whole number from 0"),
        ({"magnitude": 31}, "magnitude = 31; give a whole number from 0 to 30"),
        ({"magnitude_bins": 1}, "magnitude_bins = 1"),
        ({"magnitude_bins": "31"}, "magnitude_bins = '31'"),
        ({"flip": 1.5}, "flip = 1.5; give a finite number from 0 to 1"),
        ({"flip": math.nan}, "flip = nan"),
        ({"flip": "0.5"}, "flip = '0.5'"),
        ({"crop_padding": True}, "crop_padding = True"),
        ({"cutout": 65}, "cutout = 65"),
        ({"ops": ("rotat",)}, "there is no 'rotat'; did you mean 'rotate'"),
        ({"ops": ()}, "name at least one op"),
    ],
)
def test_knobs_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Augmentation(**settings)  # type: ignore[arg-type]


def test_other_images_are_refused() -> None:
    generator = torch.Generator()
    for images, message in (
        (pictures().float(), "float32"),
        (pictures()[:, :2], "color and contrast are of gray images or colors, and these have 2 channels"),
        (pictures()[0], "shape"),
        (pictures()[:, :, :16], "16 x 32"),
    ):
        with pytest.raises(ConfigError, match=message):
            augment(images, Augmentation(), MEAN, STD, generator)


def test_images_of_any_number_of_channels_are_augmented_but_by_ops_on_colors() -> None:
    images = pictures()
    five = torch.cat([images, images[:, :2]], 1)  # as a satellite's
    for augmentation in (MILD, Augmentation(ops=("rotate", "equalize", "sharpness"))):
        got = augment(five, augmentation, (0.5,) * 5, (0.2,) * 5, torch.Generator().manual_seed(3))
        plain = augment(images, augmentation, (0.5,) * 3, (0.2,) * 3, torch.Generator().manual_seed(3))
        assert got[:, :3].equal(plain) and got[:, 3:].equal(plain[:, :2])
