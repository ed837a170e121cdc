"""Axes that stand in another order than torch's, against numpy."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
import pytest

pytestmark = pytest.mark.converter  # the module imports tensorflow


def in_torch_order(value: Any) -> Any:
    return np.transpose(value.tensor, [value.order.index(axis) for axis in range(len(value.order))])


def random_shape(rng: random.Random, size: int) -> list[int]:
    """Return sizes whose product is that of a tensor, some of them 1."""
    found = list[int]()
    while size > 1:
        found.append(rng.choice([k for k in range(2, size + 1) if size % k == 0]))
        size //= found[-1]
    for _ in range(rng.randint(0, 2)):
        found.insert(rng.randint(0, len(found)), 1)
    return found or [1]


def shuffled(rng: random.Random, count: int) -> list[int]:
    return rng.sample(range(count), count)


def test_views_and_permutations_give_numpys_numbers_in_whatever_order_axes_stand() -> None:
    from exporters.tensorflow_values import Value, arranged, permuted, reshaped

    rng = random.Random(0)
    for _ in range(1000):
        shape = [rng.choice([1, 2, 3, 4, 6]) for _ in range(rng.randint(1, 5))]
        array, order = np.arange(math.prod(shape)).reshape(shape), shuffled(rng, len(shape))
        value = Value(tensor=array.transpose(order), order=tuple(order))
        for _ in range(3):
            axes = shuffled(rng, array.ndim)
            array, value = array.transpose(axes), permuted(value, axes)
            new = random_shape(rng, array.size)
            array, value = array.reshape(new), reshaped(value, new)
            assert value.shape == array.shape and np.array_equal(in_torch_order(value), array)
        order = shuffled(rng, array.ndim)
        assert np.array_equal(in_torch_order(arranged(value, order)), array)


def test_tensors_are_broadcast_as_numpy_does() -> None:
    from exporters.tensorflow_values import Value, together

    rng = random.Random(0)
    for _ in range(1000):
        sizes = [rng.choice([1, 2, 3]) for _ in range(rng.randint(1, 4))]
        arrays, values = [], []
        for _ in range(2):
            rank = rng.randint(0, len(sizes))
            shape = [rng.choice([1, size]) for size in sizes[len(sizes) - rank :]]
            arrays.append(np.arange(math.prod(shape)).reshape(shape))
            order = shuffled(rng, rank)
            values.append(Value(tensor=arrays[-1].transpose(order), order=tuple(order)))
        (first, second), axes = together(values)
        found = 100 * first + second
        found = found.reshape((1,) * (len(axes) - found.ndim) + found.shape)
        expected = 100 * arrays[0] + arrays[1]
        assert np.array_equal(in_torch_order(Value(tensor=found, order=axes)), expected)


def test_constants_alone_keep_their_axes() -> None:
    from exporters.tensorflow_values import constant, together

    (scale, two), order = together([constant(np.ones((1, 3, 1, 1))), constant(2.0)])
    assert (scale * two).ndim == len(order) == 4


def test_a_permutation_and_its_inverse_move_nothing() -> None:
    from exporters.tensorflow_values import CHANNELS_LAST, Value, permuted

    value = Value(tensor=np.zeros((1, 9, 12, 8)), order=CHANNELS_LAST)
    there = permuted(value, (0, 2, 3, 1))
    assert there.order == (0, 1, 2, 3) and there.tensor is value.tensor
    assert permuted(there, (0, 3, 1, 2)).order == CHANNELS_LAST
