"""Single columns of the packed format, all rows at once: numbers in few bytes, accuracies in few bits.

A column is packed as its type's text says: `hash`, `str`, `float` (three bytes, millionths), `int` (four bytes),
`arch` (a byte a stage), `b_MIN_MAX_BITS` (an accuracy: the number of images classed right, less MIN, in BITS
bits), or `list[...]` of the two that stand in lists. All numbers are little-endian.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from space.dataset.schema import Kind
from space.errors import DatasetError

FLOAT_UNIT = 1e6  # a float is stored as a whole number of millionths
_MAX_FLOAT = 2**24 - 1
_MAX_BITS = 16  # 45,000 images fit
_ACCURACY = re.compile(r"b_([0-9]{1,5})_([0-9]{1,5})_([0-9]{1,2})")


class PackingError(DatasetError):
    """A number that no `.blox` file holds; `why` says the cause alone."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"{reason}; write .csv, which holds every number")
        self.why = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """Packing of the numbers of a column; `lowest`, `highest` and `bits` are those of accuracies."""

    kind: Kind
    lowest: int = 0
    highest: int = 0
    bits: int = 24

    def __str__(self) -> str:
        text = f"b_{self.lowest}_{self.highest}_{self.bits}" if self.kind.images else self.kind.value
        return f"list[{text}]" if self.kind.is_list else text

    def size_of(self, count: int) -> int:
        """Return the bytes of `count` numbers; they are padded to whole bytes together."""
        return (count * self.bits + 7) // 8


def parse_packing(name: str, text: str, kind: Kind) -> Packing:
    """Read the type of a column of numbers that should hold this kind.

    Raises:
        DatasetError: it is another type, or its bits do not hold its range.
    """
    wanted = str(Packing(kind=kind)) if not kind.images else "list[b_...]" if kind.is_list else "b_..."
    inner = text.removeprefix("list[").removesuffix("]") if kind.is_list else text
    match = _ACCURACY.fullmatch(inner)
    if kind.images and match and text == (f"list[{inner}]" if kind.is_list else inner):
        lowest, highest, bits = map(int, match.groups())
        if lowest <= highest <= kind.images and (highest - lowest).bit_length() <= bits <= _MAX_BITS and bits:
            return Packing(kind=kind, lowest=lowest, highest=highest, bits=bits)
    elif not kind.images and text == wanted:
        return Packing(kind=kind)
    raise DatasetError(
        f"column {name} has type {text[:40]!r} instead of {wanted}"
        f"{f' whose bits hold a range within 0 to {kind.images}' if kind.images else ''}; "
        "the file is damaged: download or write it again"
    )


def packing_of(name: str, kind: Kind, values: NDArray[np.float64]) -> Packing:
    """Return the packing of these numbers, of any shape, in as few bits as their range needs.

    Raises:
        DatasetError: an accuracy is not that of a whole number of images.
    """
    if not kind.images:
        return Packing(kind=kind)
    counts = _counts(name, kind, values)
    lowest, highest = int(counts.min()), int(counts.max())
    bits = max(1, (highest - lowest).bit_length())
    if name.startswith("test_"):
        bits = (bits + 7) // 8 * 8
    return Packing(kind=kind, lowest=lowest, highest=highest, bits=bits)


def pack(name: str, packing: Packing, values: NDArray[np.float64], first_row: int = 1) -> NDArray[np.uint8]:
    """Return the bytes of numbers, (rows, count) -> (rows, bytes).

    Raises:
        DatasetError: a number does not fit; the message names it.
    """
    if packing.kind.images:
        numbers = _counts(name, packing.kind, values) - packing.lowest
    else:
        numbers = _millionths(name, packing.kind, values, first_row)
    packed = np.empty((len(numbers), packing.size_of(numbers.shape[1])), np.uint8)
    for part in _parts(len(numbers)):
        bits = (numbers[part][:, :, None] >> np.arange(packing.bits)) & 1
        packed[part] = np.packbits(bits.astype(np.uint8).reshape(len(bits), -1), axis=1, bitorder="little")
    return packed


def unpack(name: str, packing: Packing, content: NDArray[np.uint8], count: int) -> NDArray[np.float64]:
    """Return numbers from their bytes, (rows, bytes) -> (rows, count).

    Raises:
        DatasetError: an accuracy lies outside its column's range; the message names the number.
    """
    found = np.empty((len(content), count))
    # Eight numbers end where a byte ends, so that each of the eight lies alike in all groups.
    groups = -(-count // 8)
    mask, span = np.uint32((1 << packing.bits) - 1), packing.highest - packing.lowest
    accuracies = _accuracies(packing.kind.images)[packing.lowest :] if packing.kind.images else None
    for part in _parts(len(content)):
        rows = content[part]
        padded = np.zeros((len(rows), groups * packing.bits + 2), np.uint8)
        padded[:, : rows.shape[1]] = rows
        numbers = np.empty((len(rows), groups * 8), np.uint32)
        for place in range(8):
            byte, shift = divmod(place * packing.bits, 8)
            # Two bytes more than the groups have: then the last group's third byte exists, though no bit of it counts.
            low, middle, high = (
                padded[:, byte + i : byte + i + (groups - 1) * packing.bits + 1 : packing.bits]
                for i in range(3)
            )
            wide = low.astype(np.uint32)
            wide |= middle.astype(np.uint32) << np.uint32(8)
            if shift + packing.bits > 16:
                wide |= high.astype(np.uint32) << np.uint32(16)
            wide >>= np.uint32(shift)
            np.bitwise_and(wide, mask, out=numbers[:, place::8])
        numbers = numbers[:, :count]
        if accuracies is None:
            found[part] = numbers / FLOAT_UNIT
            continue
        if numbers.max(initial=0) > span:
            raise DatasetError(
                f"column {name} holds a number above its range to {packing.highest}; "
                "the file is damaged: download or write it again"
            )
        found[part] = accuracies.take(numbers)
    found.setflags(write=False)
    return found


def _parts(rows: int) -> list[slice]:
    """Return slices of rows, few enough that the bits of one fit the caches."""
    return [slice(start, start + 1024) for start in range(0, rows, 1024)]


@lru_cache(maxsize=4)
def _accuracies(images: int) -> NDArray[np.float64]:
    """Return the published accuracy, in percent to three decimals, for each count of images classed right."""
    return np.array([round(count / images * 100, 3) for count in range(images + 1)])


def _counts(name: str, kind: Kind, values: NDArray[np.float64]) -> NDArray[np.int64]:
    counts = np.rint(values * (kind.images / 100)).astype(np.int64)
    other = values[_accuracies(kind.images)[counts] != values]
    if other.size:
        raise PackingError(
            f"{name} = {other.flat[0]} is not the share, to three decimals, of {kind.images} images"
        )
    return counts


def _millionths(name: str, kind: Kind, values: NDArray[np.float64], first_row: int) -> NDArray[np.int64]:
    numbers = np.rint(values * FLOAT_UNIT)
    unfit = np.argwhere((numbers > _MAX_FLOAT) | ((numbers < 1) & kind.positive))
    if unfit.size:
        row, place = unfit[0]
        raise PackingError(
            f"row {row + first_row}: {name} = {values[row, place]} does not fit: a number in a .blox file is at most "
            f"{_MAX_FLOAT / FLOAT_UNIT}, in steps of 0.000001{', and not 0' if kind.positive else ''}"
        )
    return numbers.astype(np.int64)
