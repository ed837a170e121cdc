"""Rows as the lists of plain values that two of the formats hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from space.config import SpaceConfig
from space.dataset.model import Dataset
from space.dataset.schema import kinds_of
from space.errors import DatasetError
from space.vectors import is_list


def nested_rows(dataset: Dataset) -> list[list[object]]:
    """Return the rows of a data set: the hash, then a number, text, list or published vector a column."""
    kinds = kinds_of(dataset.dataset_type, tuple(dataset.columns))
    columns: list[Iterable[object]] = [dataset.hashes.tolist()]
    for name, column in dataset.columns.items():
        if isinstance(column, tuple):
            columns.append(item.tolist() if isinstance(item, np.ndarray) else item for item in column)
        elif kinds[name].value == "arch":
            columns.append([[[s[0]], s[1:]] for s in stages] for stages in column.tolist())
        else:
            columns.append(column.tolist())
    return [list(row) for row in zip(*columns, strict=True)]


def flat_vector(nested: object, row: int, name: str, config: SpaceConfig) -> list[list[int]]:
    """Return a published vector, `[[op0], [op1, prev, inp, sc]]` for each stage, as five numbers a stage.

    Raises:
        DatasetError: the value has another form; the message names the row, never the value, which may be endless.
    """
    stages = []
    if is_list(nested, config.stages):
        for stage in nested:
            if not (is_list(stage, 2) and is_list(stage[0], 1) and is_list(stage[1], 4)):
                break
            values = [*stage[0], *stage[1]]
            if not all(type(value) is int and 0 <= value <= 255 for value in values):
                break
            stages.append(values)
    if len(stages) != config.stages:
        raise DatasetError(
            f"row {row}: {name} is not [[op0], [op1, prev, inp, sc]] for each of {config.stages} stages; "
            "the file is damaged: download or write it again"
        )
    return stages
