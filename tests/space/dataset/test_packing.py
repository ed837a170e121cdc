"""Numbers of every number of bits are packed and unpacked as the format says, against plain arithmetic."""

from __future__ import annotations

import random

import numpy as np
import pytest

from space.dataset.packing import Packing, pack, unpack
from space.dataset.schema import Kind
from space.errors import DatasetError

TRAIN = Kind(value="accuracy", is_list=True, images=45_000)
LOSS = Kind(value="float", is_list=True)
LOWEST = 120  # of 45,000 images


@pytest.mark.parametrize("bits", range(1, 17))
@pytest.mark.parametrize("count", [1, 7, 8, 9, 200, 255])
def test_accuracies_of_every_number_of_bits_are_those_of_one_long_number(bits: int, count: int) -> None:
    draw = random.Random(bits * 1000 + count)
    top = min(2**bits - 1, 45_000 - LOWEST)
    packing = Packing(kind=TRAIN, lowest=LOWEST, highest=LOWEST + top, bits=bits)
    rows = [[draw.choice((0, top, draw.randint(0, top))) for _ in range(count)] for _ in range(3)]
    wanted = [[round((number + LOWEST) / 45_000 * 100, 3) for number in row] for row in rows]
    longs = [sum(number << bits * place for place, number in enumerate(row)) for row in rows]
    size = -(-count * bits // 8)
    content = np.frombuffer(b"".join(long.to_bytes(size, "little") for long in longs), np.uint8).reshape(
        3, size
    )
    assert unpack("train_top1", packing, content, count).tolist() == wanted
    assert pack("train_top1", packing, np.array(wanted)).tobytes() == content.tobytes()


@pytest.mark.parametrize("count", [1, 5, 200])
def test_losses_are_millionths_in_three_bytes(count: int) -> None:
    draw = random.Random(count)
    numbers = [draw.choice((0, 2**24 - 1, draw.randrange(2**24))) for _ in range(count)]
    content = np.frombuffer(b"".join(number.to_bytes(3, "little") for number in numbers), np.uint8)[
        np.newaxis
    ]
    assert unpack("train_loss", Packing(kind=LOSS), content, count).tolist() == [[n / 1e6 for n in numbers]]


@pytest.mark.parametrize("place", [0, 1, 8, 198, 199])
def test_a_number_above_its_columns_range_is_refused_wherever_it_stands(place: int) -> None:
    packing = Packing(kind=TRAIN, lowest=LOWEST, highest=LOWEST + 100, bits=7)
    numbers = [0] * 200
    for number, refused in ((100, False), (101, True)):
        numbers[place] = number
        long = sum(n << 7 * i for i, n in enumerate(numbers))
        content = np.frombuffer(long.to_bytes(175, "little"), np.uint8)[np.newaxis]
        if refused:
            with pytest.raises(DatasetError, match="above its range to 220"):
                unpack("train_top1", packing, content, 200)
        else:
            assert unpack("train_top1", packing, content, 200)[0, place] == round(220 / 45_000 * 100, 3)


def test_bits_beyond_the_last_number_do_not_count() -> None:
    packing = Packing(kind=TRAIN, lowest=LOWEST, highest=LOWEST + 4, bits=3)
    # One number 4, then bits that would be a number above the range.
    content = np.array([[0b11111100]], np.uint8)
    assert unpack("train_top1", packing, content, 1).tolist() == [[round(124 / 45_000 * 100, 3)]]
