"""A synthetic task: images drawn by a seeded program, hard enough that networks differ, for trials and tests.

A class is a choice of one level each of shape, texture, orientation and hue, so that no attribute alone tells classes
apart. An image shows the class's shape somewhere, of some size, turned, bent, dimmed, in a hue and with a texture near
those of its class, in front of another texture, with noise over all. What a network reaches on it says nothing of
photographs: the task's name and origin say synthetic, and so must whatever is shown of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.training.images import SYNTHETIC, Images, Task, moments
from space import SpaceConfig

PER_CLASS = (450, 50, 100)  # images to train, to validate, to test: the numbers of CIFAR-100
SHAPES = ((0, 0.0), (3, 0.35), (4, 0.3), (5, 0.3), (2, 0.4))  # number of corners or petals, and their height
TEXTURES = 4  # stripes, checks, rings, a shade
ORIENTATIONS = 4  # of the texture against the shape
HUES = 5  # more where the classes need more
NOISE = 0.12  # deviation of each pixel's, for pixels between 0 and 1
CHUNK = 1000  # images drawn at once; the random numbers depend on it, so it is part of the task

Floats = NDArray[np.floating[Any]]  # single precision


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Classes:
    """The levels of each class, int64 (classes,)."""

    shape: NDArray[np.int64]
    texture: NDArray[np.int64]
    orientation: NDArray[np.int64]
    hue: NDArray[np.int64]
    hues: int


def make_synthetic_task(
    config: SpaceConfig, seed: int = 0, per_class: tuple[int, int, int] = PER_CLASS
) -> Task:
    """Draw a synthetic task of a space's classes, image size and channels.

    The same arguments draw the same images. `per_class` are the numbers of images of each class to train, validate and test, part
    of the task's name unless they are the default ones.
    """
    streams = np.random.SeedSequence(seed).spawn(4)
    classes = _draw_classes(np.random.default_rng(streams[0]), config.classes)
    train, val, test = (
        _draw_part(np.random.default_rng(stream), classes, config, count)
        for stream, count in zip(streams[1:], per_class, strict=True)
    )
    mean, std = moments(train.images)
    name = f"{SYNTHETIC}-{seed}" + ("" if per_class == PER_CLASS else "-" + "-".join(map(str, per_class)))
    return Task(
        name=name,
        train=train,
        val=val,
        test=test,
        classes=config.classes,
        mean=mean,
        std=std,
        synthetic=True,
        origin=f"{SYNTHETIC} images of seed {seed}, {'/'.join(map(str, per_class))} of each class, drawn by harness",
    )


def _draw_classes(rng: np.random.Generator, count: int) -> _Classes:
    """Return the levels of `count` different classes."""
    others = len(SHAPES) * TEXTURES * ORIENTATIONS
    hues = max(HUES, -(-count // others))
    codes = rng.permutation(others * hues)[:count]
    levels = np.unravel_index(codes, (len(SHAPES), TEXTURES, ORIENTATIONS, hues))
    shape, texture, orientation, hue = (level.astype(np.int64) for level in levels)
    return _Classes(shape=shape, texture=texture, orientation=orientation, hue=hue, hues=hues)


def _draw_part(rng: np.random.Generator, classes: _Classes, config: SpaceConfig, per_class: int) -> Images:
    """Return images of every class, `per_class` of each, shuffled."""
    labels = rng.permutation(np.repeat(np.arange(config.classes, dtype=np.int64), per_class))
    drawn = [
        _draw(rng, classes, labels[at : at + CHUNK], config.image_size, config.in_channels)
        for at in range(0, len(labels), CHUNK)
    ]
    return Images(images=np.concatenate(drawn), labels=labels)


def _draw(
    rng: np.random.Generator,
    classes: _Classes,
    labels: NDArray[np.int64],
    size: int,
    channels: int,
) -> NDArray[np.uint8]:
    """Return one image of each label, (n, size, size, channels)."""
    n = len(labels)

    def between(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    def level(levels: NDArray[np.int64]) -> Floats:
        return levels[labels].astype(np.float32).reshape(n, 1, 1)

    axis = ((np.arange(size, dtype=np.float32) + 0.5) / size) * 2 - 1  # -1 to 1
    x = axis[None, None, :] - between(-0.3, 0.3)  # (n, 1, s)
    y = axis[None, :, None] - between(-0.3, 0.3)  # (n, s, 1)
    # Bent: (n, s, s)
    x, y = (
        x + between(-0.2, 0.2) * np.sin(3 * y + between(0, 6.28)),
        y + between(-0.2, 0.2) * np.sin(3 * x + between(0, 6.28)),
    )
    turn = between(-0.5, 0.5)  # radians
    u, v = np.cos(turn) * x + np.sin(turn) * y, np.cos(turn) * y - np.sin(turn) * x

    inside = _shape(classes.shape[labels], u, v, between(0.45, 0.75), sharpness=size / 3)  # (n, s, s), 0 to 1
    lean = level(classes.orientation) * np.float32(np.pi / ORIENTATIONS) + between(-0.2, 0.2)
    front = _texture(classes.texture[labels], u, v, lean, between(6, 8), between(0, 6.28))
    behind = (
        np.sin(between(2, 9) * (np.cos(turn * 6) * x + np.sin(turn * 6) * y) + between(0, 6.28)) / 2 + 0.5
    )

    hue = (level(classes.hue) + between(-0.3, 0.3)) / classes.hues
    light = between(0.6, 1.0)
    front_color = _color(hue, channels) * light[..., None]  # (n, 1, 1, channels)
    behind_color = _color(between(0, 1), channels) * between(0.3, 0.8)[..., None]
    image = inside[..., None] * front_color * (0.35 + 0.65 * front[..., None])
    image = image + (1 - inside[..., None]) * behind_color * (0.5 + 0.5 * behind[..., None])
    image += NOISE * rng.standard_normal(image.shape, dtype=np.float32)
    pixels: NDArray[np.uint8] = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
    return pixels


def _shape(kinds: NDArray[np.int64], u: Floats, v: Floats, radius: Floats, sharpness: float) -> Floats:
    """Return each pixel's depth inside its shape, 0 to 1: within a radius that waves with the angle."""
    corners, depth = (
        np.array(column, np.float32)[kinds].reshape(-1, 1, 1) for column in zip(*SHAPES, strict=True)
    )
    edge = radius * (1 + depth * np.cos(corners * np.arctan2(v, u)))
    inside: Floats = np.clip((edge - np.hypot(u, v)) * sharpness + 0.5, 0, 1)
    return inside


def _texture(
    kinds: NDArray[np.int64],
    u: Floats,
    v: Floats,
    lean: Floats,
    frequency: Floats,
    phase: Floats,
) -> Floats:
    """Return the brightness of each pixel's texture, 0 to 1, leaning by an angle in radians."""
    across, along = np.cos(lean) * u + np.sin(lean) * v, np.cos(lean) * v - np.sin(lean) * u
    stripes = np.sin(frequency * across * 1.5 + phase)
    checks = stripes * np.sin(frequency * along * 0.8)  # longer one way, so that a quarter turn shows
    rings = np.sin(frequency * np.hypot(across * 1.6, along) * 1.5 + phase)
    shade = 1.5 * across  # from one side to the other
    every = np.stack([stripes, checks, rings, shade])  # (textures, n, s, s)
    chosen: Floats = every[kinds, np.arange(len(kinds))]
    return np.clip(chosen / 2 + 0.5, 0, 1)


def _color(hue: Floats, channels: int) -> Floats:
    """Return a color of each hue, (n, 1, 1) of turns, as (n, 1, 1, channels) between 0.1 and 1."""
    place = 2 * np.pi * (hue[..., None] - np.arange(channels, dtype=np.float32) / max(channels, 2))
    color: Floats = (0.55 + 0.45 * np.cos(place)).astype(np.float32)
    return color
