"""A published data file as a value: its header, the networks of its rows, its columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from space.architecture import BLOX
from space.config import SpaceConfig
from space.dataset.columns import Column, as_column, as_numbers
from space.dataset.keys import digests_at, texts_of
from space.dataset.schema import check_extra, kinds_of
from space.errors import DatasetError, did_you_mean, shown


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Dataset:
    """Rows of a published data file, column by column, in the file's order.

    `indices`, int64 (rows,), are the places of the rows' networks in the canonical order. `columns` are given
    as anything that makes an array, and kept so that they cannot be changed: floats and accuracies in percent
    as float64 (rows,), whole numbers as int64 (rows,), `arch_vec` as uint8 (rows, stages, 5) with op0, op1,
    prev, inp, sc of each stage, lists as float64 (rows, length), or as a tuple of arrays where lengths differ,
    texts as a tuple. `extra` are the header's keys that only this type of file has: `device` of latencies,
    `seed`, `epochs`, `dataset` and `part` of trainings.

    Raises:
        DatasetError: a name, a value or an index cannot be; the message names the row, the first being 1.
    """

    dataset_type: str
    indices: NDArray[np.int64]
    columns: Mapping[str, Column]
    extra: Mapping[str, int | str]
    config: SpaceConfig = BLOX

    def __post_init__(self) -> None:
        kinds = kinds_of(self.dataset_type, tuple(self.columns))
        check_extra(self.dataset_type, self.extra)
        indices = _checked_indices(self.indices, self.config)
        columns = {
            name: as_column(name, kind, self.columns[name], indices, self.config)
            for name, kind in kinds.items()
        }
        object.__setattr__(self, "indices", indices)
        object.__setattr__(self, "columns", MappingProxyType(columns))
        object.__setattr__(self, "extra", MappingProxyType(dict(self.extra)))

    def __len__(self) -> int:
        return len(self.indices)

    def array(self, name: str) -> NDArray[Any]:
        """Return a column that is one array: any but texts, and lists of different lengths.

        Raises:
            DatasetError: there is no such column, or it is a tuple.
        """
        if name not in self.columns:
            raise DatasetError(
                f"there is no column {shown(name)}{did_you_mean(name, self.columns, 'the columns are')}"
            )
        column = self.columns[name]
        if isinstance(column, tuple):
            raise DatasetError(f"column {name} is not one array; take columns[{name!r}], a tuple")
        return column

    @property
    def hashes(self) -> NDArray[np.str_]:
        """The graph hashes of the rows, 32 hexadecimal characters each, (rows,)."""
        return texts_of(digests_at(self.indices, self.config))


def bench_dataset(
    device: str, indices: ArrayLike, latencies_s: ArrayLike, config: SpaceConfig = BLOX
) -> Dataset:
    """Return the latencies of a device, in seconds, of the networks at these indices: a `blox-bench-DEVICE` file.

    Raises:
        DatasetError: the device's name cannot be published, an index is no network's or comes twice, or a
            latency is not a number above 0.
    """
    return Dataset(
        dataset_type="benchmarking",
        indices=indices,  # type: ignore[arg-type]  # made into an array there, and so are the latencies
        columns={"latency": latencies_s},  # type: ignore[dict-item]
        extra={"device": device},
        config=config,
    )


def _checked_indices(values: object, config: SpaceConfig) -> NDArray[np.int64]:
    found = as_numbers("indices", values, "iu", 1)
    if not found.size:
        raise DatasetError("holds no row; a data file names at least one network by its index or hash")
    bad = np.flatnonzero((found < 0) | (found >= len(config)))
    if bad.size:
        row = int(bad[0])
        raise DatasetError(
            f"row {row + 1}: index {found[row]}: space {config.name!r} has {len(config)} networks; "
            f"give 0 to {len(config) - 1}"
        )
    indices = found.astype(np.int64)
    order = np.argsort(indices, kind="stable")
    again = order[1:][np.diff(indices[order]) == 0]
    if again.size:
        row = int(again.min())
        first = int(np.flatnonzero(indices == indices[row])[0])
        digest = texts_of(digests_at(indices[[row]], config))[0]
        raise DatasetError(
            f"row {row + 1}: hash {digest} stands in row {first + 1} already; keep one row for a network"
        )
    indices.setflags(write=False)
    return indices
