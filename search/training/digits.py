"""scikit-learn's handwritten digits as a task: real images that need no download.

1,797 images of 8 x 8 pixels and 17 levels (Alpaydin and Kaynak 1998, UCI), small enough for a first try and for tests.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from search.training.images import Images, Task, moments
from space import SpaceConfig

LEVELS = 16  # the brightest pixel
VAL, TEST = 200, 300  # images; the other 1,297 are trained on
CLASSES = 10


def load_digits_task(config: SpaceConfig) -> Task:
    """Return the digits in a space's image size and channels, split by seed 0 into 1,297, 200 and 300 images."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    scaled = resize(digits.images.astype(np.float64) * (255 / LEVELS), config.image_size)
    gray = np.floor(scaled.round(6) + 0.5).astype(np.uint8)  # (n, size, size); no sum's last digit decides
    images = Images(
        images=np.repeat(gray[..., None], config.in_channels, axis=3), labels=digits.target.astype(np.int64)
    )
    order = np.random.RandomState(0).permutation(len(images))  # a stream that numpy keeps as it is
    test, val, train = order[:TEST], order[TEST : TEST + VAL], order[TEST + VAL :]
    mean, std = moments(images.images[train])
    return Task(
        name="digits",
        train=images.at(train),
        val=images.at(val),
        test=images.at(test),
        classes=CLASSES,
        mean=mean,
        std=std,
        synthetic=False,
        origin=f"scikit-learn's digits, resized from 8 to {config.image_size} pixels",
    )


def resize(images: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return images (n, h, w) as (n, size, size): bilinear, and averaged over what a pixel covers where they shrink."""
    rows, columns = (_weights(old, size) for old in images.shape[1:])
    resized: NDArray[np.float64] = rows @ images @ columns.T
    return resized


def _weights(old: int, new: int) -> NDArray[np.float64]:
    """Return the shares, (new, old), that old pixels have in new ones; pixels are sampled at their centers."""
    scale = old / new
    centers = (np.arange(new) + 0.5) * scale
    distance = np.abs(np.arange(old) + 0.5 - centers[:, None]) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    shares: NDArray[np.float64] = weights / weights.sum(axis=1, keepdims=True)
    return shares
