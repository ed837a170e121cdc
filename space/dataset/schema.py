"""Schemas of the types of published files: columns, kinds of their values, extra header keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from space.config import SpaceConfig
from space.errors import DatasetError, did_you_mean, shown

KEY_COLUMN = "model_hash"
MAX_LIST = 255  # the packed format counts elements, and characters of a text, in one byte
_MAX_CELL_CHARACTERS = 32  # the longest repr of a float has 24, and two more separate it from the next
_DEVICE = re.compile(r"[a-zA-Z0-9-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """Kind of the values of one column.

    `images` is the number of images behind an accuracy in percent; `positive` refuses 0 as well.
    """

    value: Literal["float", "int", "str", "arch", "accuracy"]
    is_list: bool = False
    images: int = 0
    positive: bool = False

    def max_cells(self, config: SpaceConfig) -> int:
        """Return how many single values a cell of this column can hold."""
        if self.value == "arch":
            return 5 * config.stages
        return MAX_LIST if self.is_list else 1

    def max_characters(self, config: SpaceConfig) -> int:
        """Return a bound of the characters of a cell as text; no pickled cell needs more bytes."""
        each = 2 * MAX_LIST + 2 if self.value == "str" else _MAX_CELL_CHARACTERS
        return _MAX_CELL_CHARACTERS + each * self.max_cells(config)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """Schema of a type of file: the columns it may have (None: any, all of them text) and its header keys."""

    columns: Mapping[str, Kind] | None
    extra: tuple[str, ...]


_IMAGES = {"train": 45_000, "val": 5_000, "test": 10_000}
_FLOAT, _INT, _STR = Kind(value="float"), Kind(value="int"), Kind(value="str")

_TRAINING = {
    f"{split}_{figure}": Kind(
        value="float" if figure == "loss" else "accuracy",
        is_list=split != "test",  # the test images were seen once, the others after every epoch
        images=0 if figure == "loss" else images,
    )
    for split, images in _IMAGES.items()
    for figure in ("top1", "top5", "loss")
}
SCHEMAS: Mapping[str, Schema] = {
    "benchmarking": Schema(columns={"latency": Kind(value="float", positive=True)}, extra=("device",)),
    "training": Schema(
        columns={**_TRAINING, "train_time_s": _INT}, extra=("seed", "epochs", "dataset", "part")
    ),
    "static": Schema(columns={"params": _INT, "flops": _INT, "arch_vec": Kind(value="arch")}, extra=()),
    "env": Schema(columns=None, extra=("seed",)),
}
WHOLE_NUMBERS = ("seed", "epochs")  # extra keys; all others are text


def kinds_of(dataset_type: str, columns: Sequence[str]) -> dict[str, Kind]:
    """Return the kind of each column of a file of this type, in the order given; without the key column.

    Raises:
        DatasetError: the type or a column is unknown, a column comes twice, or there is none.
    """
    if dataset_type not in SCHEMAS:
        raise DatasetError(
            f"dataset_type = {shown(dataset_type)} is unknown{did_you_mean(dataset_type, SCHEMAS, 'it is one of')}"
        )
    known = SCHEMAS[dataset_type].columns
    if not columns or len(set(columns)) < len(columns) or KEY_COLUMN in columns:
        raise DatasetError(
            f"columns {shown(list(columns))} cannot be used; name at least one beside {KEY_COLUMN}, each once"
        )
    for name in columns:
        if known is not None and name not in known:
            raise DatasetError(
                f"column {shown(name)} is unknown in a file of type {dataset_type!r}"
                f"{did_you_mean(name, known, 'its columns are')}"
            )
    return {name: _STR if known is None else known[name] for name in columns}


def check_extra(dataset_type: str, extra: Mapping[str, int | str]) -> None:
    """Check the header keys that only files of this type have.

    Raises:
        DatasetError: a key is missing, or its value is not a whole number, text, or a device's name.
    """
    for key in SCHEMAS[dataset_type].extra:
        if key not in extra:
            raise DatasetError(f"key {key!r} is missing; a file of type {dataset_type!r} must name it")
    for key, value in extra.items():
        if key in WHOLE_NUMBERS:
            if type(value) is not int or value < 0:
                raise DatasetError(f"{key} = {shown(value)} is not a whole number; write 0 or more")
        elif not isinstance(value, str):
            raise DatasetError(f"{key} = {shown(value)} is not text; write it in quotes")
    device = extra.get("device", "")
    if dataset_type == "benchmarking" and not _DEVICE.fullmatch(str(device)):
        raise DatasetError(
            f"device = {shown(device)} cannot be published; a device's name is letters a to z, digits and "
            "hyphens: write pixel-6 for 'Pixel 6'"
        )
