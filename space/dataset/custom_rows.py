"""Rows packed in as few bytes as their columns need, then compressed: the format `custom` of `.blox` files.

    zlib(u64 bits of what follows | u32 rows | rows)

Columns follow each other in a row, each from a byte's begin: the hash as 16 bytes, last byte of the digest first;
numbers as `space.dataset.packing` tells; a text, or a list, after its length in one byte.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from space.config import SpaceConfig
from space.dataset.columns import Column
from space.dataset.header import Header
from space.dataset.keys import digests_at
from space.dataset.model import Dataset
from space.dataset.packing import Packing, pack, packing_of, parse_packing, unpack
from space.dataset.schema import KEY_COLUMN, MAX_LIST, Kind, kinds_of
from space.errors import DatasetError
from space.hash_table import DIGEST_BYTES

_HEAD_BYTES = 12
_MAX_OPS = 5  # two of them and three flags make a byte of an arch column
_DAMAGED = "the file is damaged: download or write it again"

# The bytes of one column: (rows, bytes), or where lengths differ a list of one array for each row.
_Cells: TypeAlias = NDArray[np.uint8] | list[NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """End of a column in a row: after a fixed number of bytes, or as its first byte tells."""

    name: str
    kind: Kind | None  # None: the hash
    packing: Packing | None = None
    fixed_bytes: int = 0  # 0: after a length

    def size_after(self, length: int) -> int:
        """Return the bytes that follow the length."""
        return self.packing.size_of(length) if self.packing else length

    @property
    def max_bytes(self) -> int:
        return self.fixed_bytes or 1 + self.size_after(MAX_LIST)


def encode(dataset: Dataset) -> tuple[dict[str, str], bytes]:
    """Return the types of the columns, and the rows packed and compressed; floats are rounded to millionths.

    Raises:
        DatasetError: a number does not fit its type; the message names its row.
    """
    kinds = kinds_of(dataset.dataset_type, tuple(dataset.columns))
    types = {KEY_COLUMN: "hash"}
    packed: list[_Cells] = [digests_at(dataset.indices, dataset.config)[:, ::-1]]
    for name, column in dataset.columns.items():
        types[name], cells = _packed(name, kinds[name], column, dataset.config)
        packed.append(cells)
    even = [cells for cells in packed if isinstance(cells, np.ndarray)]
    if len(even) == len(packed):
        rows = np.concatenate(even, axis=1).tobytes()
    else:
        rows = b"".join(cell.tobytes() for row in zip(*packed, strict=True) for cell in row)
    body = len(dataset).to_bytes(4, "little") + rows
    return types, zlib.compress((8 * len(body)).to_bytes(8, "little") + body)


def decode(
    payload: bytes, header: Header, config: SpaceConfig, wanted: Collection[str] | None = None
) -> tuple[NDArray[np.uint8], dict[str, object]]:
    """Return the digests of the rows, (rows, 16), and the values of each wanted column; of all where none is named.

    Raises:
        DatasetError: the bytes are damaged, cut, or more than the space's networks can need.
    """
    fields = _fields(header, config)
    body = _inflated(payload, _HEAD_BYTES + len(config) * sum(field.max_bytes for field in fields))
    rows = int.from_bytes(body[8:_HEAD_BYTES], "little")
    if int.from_bytes(body[:8], "little") != 8 * (len(body) - 8) or not 1 <= rows <= len(config):
        raise DatasetError(
            f"claims {rows} rows and another length than its {len(body)} bytes, or more than the {len(config)} "
            f"networks of space {config.name!r}; {_DAMAGED}"
        )
    content = np.frombuffer(body, np.uint8)[_HEAD_BYTES:]
    hashes, *columns = _split_even(content, rows, fields) or _split_uneven(content, rows, fields)
    assert isinstance(hashes, np.ndarray)
    values = {
        field.name: _unpacked(field, cells, config)
        for field, cells in zip(fields[1:], columns, strict=True)
        if wanted is None or field.name in wanted
    }
    return hashes[:, ::-1], values


def _fields(header: Header, config: SpaceConfig) -> list[_Field]:
    types = header.column_types
    if set(types) != {KEY_COLUMN, *header.columns} or types[KEY_COLUMN] != "hash":
        raise DatasetError(f"has column_types for other columns than its own; {_DAMAGED}")
    fields = [_Field(name=KEY_COLUMN, kind=None, fixed_bytes=DIGEST_BYTES)]
    fixed = {"int": 4, "arch": config.stages, "str": 0}
    for name, kind in kinds_of(header.dataset_type, header.columns).items():
        packing = parse_packing(name, types[name], kind)
        if kind.value in fixed:
            fields.append(_Field(name=name, kind=kind, fixed_bytes=fixed[kind.value]))
        else:
            size = 0 if kind.is_list else packing.size_of(1)
            fields.append(_Field(name=name, kind=kind, packing=packing, fixed_bytes=size))
    return fields


def _inflated(payload: bytes, limit: int) -> bytes:
    stream = zlib.decompressobj()
    try:
        body = stream.decompress(payload, limit + 1)
    except zlib.error as error:
        raise DatasetError(f"its rows cannot be decompressed ({error}); {_DAMAGED}") from error
    if len(body) > limit:
        raise DatasetError(
            f"its rows decompress to more than {limit} bytes, more than rows of these columns can need; "
            "do not trust the file"
        )
    if not stream.eof or stream.unused_data or len(body) < _HEAD_BYTES:
        reason = "goes on after its rows" if stream.unused_data else "was cut: its rows do not end"
        raise DatasetError(f"{reason}; download or write it again")
    return body


def _split_even(content: NDArray[np.uint8], rows: int, fields: list[_Field]) -> list[_Cells] | None:
    """Return the columns' bytes if all rows have the lengths of the first; else None."""
    spans, at = [], 0
    for field in fields:
        if not field.fixed_bytes and at >= len(content):
            return None
        size = field.fixed_bytes or 1 + field.size_after(int(content[at]))
        spans.append((at, at + size))
        at += size
    if at * rows != len(content):
        return None
    table = content.reshape(rows, at)
    for field, (start, _) in zip(fields, spans, strict=True):
        if not field.fixed_bytes and (table[:, start] != table[0, start]).any():
            return None
    return [table[:, start:end] for start, end in spans]


def _split_uneven(content: NDArray[np.uint8], rows: int, fields: list[_Field]) -> list[_Cells]:
    found: list[list[NDArray[np.uint8]]] = [[] for _ in fields]
    at, body = 0, content.tobytes()
    for row in range(1, rows + 1):
        for field, cells in zip(fields, found, strict=True):
            size = field.fixed_bytes or 1 + field.size_after(body[at] if at < len(body) else 0)
            cells.append(content[at : at + size])
            at += size
        if at > len(body):
            raise DatasetError(f"row {row} of {rows} reaches beyond the last byte; {_DAMAGED}")
    if at != len(body):
        raise DatasetError(f"goes on for {len(body) - at} bytes after its {rows} rows; {_DAMAGED}")
    return [
        np.stack(cells) if field.fixed_bytes else cells for field, cells in zip(fields, found, strict=True)
    ]


def _packed(name: str, kind: Kind, column: Column, config: SpaceConfig) -> tuple[str, _Cells]:
    """Return a column's type and bytes."""
    if kind.value == "str":
        return "str", [np.frombuffer(bytes([len(text)]) + text.encode("ascii"), np.uint8) for text in column]
    if isinstance(column, tuple):
        packing = packing_of(name, kind, np.concatenate(column))
        return str(packing), [
            np.insert(pack(name, packing, values[np.newaxis], first_row=row)[0], 0, len(values))
            for row, values in enumerate(column, start=1)
        ]
    if kind.value == "int":
        return "int", column.astype("<u4").view(np.uint8).reshape(-1, 4)
    if kind.value == "arch":
        if len(config.ops) > _MAX_OPS:
            raise DatasetError(
                f"column {name}: {len(config.ops)} ops do not fit a byte a stage; write .csv, which holds them"
            )
        op0, op1, prev, inp, sc = np.moveaxis(column, 2, 0)
        return "arch", ((op0 * len(config.ops) + op1) << 3) | (prev << 2) | (inp << 1) | sc
    packing = packing_of(name, kind, column)
    cells = pack(name, packing, column.reshape(len(column), -1))
    if kind.is_list:
        cells = np.insert(cells, 0, column.shape[1], axis=1)
    return str(packing), cells


def _unpacked(field: _Field, cells: _Cells, config: SpaceConfig) -> object:
    """Return a column's values from its bytes."""
    kind = field.kind
    assert kind is not None
    if kind.value == "str":
        try:
            return [cell[1:].tobytes().decode("ascii") for cell in cells]
        except UnicodeDecodeError as error:
            raise DatasetError(f"column {field.name} holds text that is not ASCII; {_DAMAGED}") from error
    if not isinstance(cells, np.ndarray):
        assert field.packing is not None
        return [unpack(field.name, field.packing, cell[np.newaxis, 1:], int(cell[0]))[0] for cell in cells]
    if kind.value == "int":
        return np.ascontiguousarray(cells).view("<u4").reshape(-1).astype(np.int64)
    if kind.value == "arch":
        ops, flags = np.divmod(cells[:, :, np.newaxis], 8)
        parts = [*np.divmod(ops, len(config.ops)), flags >> 2, (flags >> 1) & 1, flags & 1]
        return np.concatenate(parts, axis=2)
    assert field.packing is not None
    if kind.is_list:
        return unpack(field.name, field.packing, cells[:, 1:], int(cells[0, 0]))
    return unpack(field.name, field.packing, cells, 1).reshape(-1)
