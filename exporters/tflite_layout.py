"""TFLite parts whose tables any skeleton can point to at the cost of four bytes a fragment.

A flatbuffer (https://flatbuffers.dev/internals/) refers to everything by relative offsets, so that a block of tables
stays valid wherever it stands; a vector of tables is a vector of such offsets, one for each table. Here the tables
of one kind are written as *rows*: row k's table starts 4 k bytes after the first, and its fields stand in columns,
further on, each 4 bytes wide. As the vector's entries are 4 bytes apart too, table and entry are equally far from
each other in every row: a run of entries is one number, repeated. A skeleton made of such runs is computed in
microseconds and compresses to almost nothing, and the weights stand in ordinary inline buffers.

Positions are relative to the start of the part, which is `ALIGNMENT`-aligned in the model.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

ALIGNMENT = 64  # TFLite's kernels want weights at 16 bytes; 64 is a cache line

# Field numbers in schema.fbs (https://github.com/google-ai-edge/LiteRT, tflite/schema/schema.fbs).
TENSOR_FIELDS = SHAPE, TYPE, BUFFER, NAME, HAS_RANK = (0, 1, 2, 3, 8)
QUANTIZATION = 4  # of tensors, too, in int8
OPERATOR_FIELDS = OPCODE_INDEX, INPUTS, OUTPUTS, OPTIONS_TYPE, OPTIONS = (0, 1, 2, 3, 4)
BUFFER_FIELDS = (DATA,) = (0,)

_MAX_TABLE_BYTES = (1 << 16) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Locate `count` tables written as rows: the first table's position and the order of the columns."""

    start: int
    count: int
    columns: tuple[int, ...]

    def position(self, row: int, field_number: int) -> int:
        """Return where a field of a row stands."""
        return self.start + 4 * self.count * (1 + self.columns.index(field_number)) + 4 * row


@dataclass(frozen=True, slots=True, kw_only=True)
class PartWriter:
    """Write flatbuffer objects one after the other; offsets point forward, so referrers come first."""

    data: bytearray = field(default_factory=bytearray)

    def rows(self, columns: tuple[int, ...], present: Sequence[frozenset[int]]) -> Rows:
        """Write one table for each set of present fields, its fields zero so far, and their vtables.

        Raises:
            ValueError: the rows are too many for a flatbuffer's 16-bit field offsets.
        """
        count = len(present)
        table_bytes = 4 * count * len(columns) + 4
        if table_bytes > _MAX_TABLE_BYTES:
            raise ValueError(f"{count} tables of {len(columns)} fields exceed {_MAX_TABLE_BYTES} bytes")
        vtables = {}
        for fields in sorted(set(present), key=sorted):
            self.align(4)
            vtables[fields] = len(self.data)
            numbers = range(max(fields) + 1) if fields else range(0)
            offsets = [4 * count * (1 + columns.index(n)) if n in fields else 0 for n in numbers]
            vtable = (4 + 2 * len(offsets), table_bytes, *offsets)
            self.data.extend(struct.pack(f"<{len(vtable)}H", *vtable))
        self.align(4)
        rows = Rows(start=len(self.data), count=count, columns=columns)
        self.data.extend(bytes(table_bytes - 4 + 4 * count))
        for k, fields in enumerate(present):
            position = rows.start + 4 * k
            struct.pack_into("<i", self.data, position, position - vtables[fields])
        return rows

    def set_scalar(self, rows: Rows, row: int, field_number: int, value: int) -> None:
        """Set a number, at most 32 bits wide."""
        struct.pack_into("<I", self.data, rows.position(row, field_number), value)

    def set_offset(self, rows: Rows, row: int, field_number: int, target: int) -> None:
        """Point a field to an object that was written after the rows."""
        position = rows.position(row, field_number)
        struct.pack_into("<I", self.data, position, target - position)

    def int_vector(self, values: Sequence[int]) -> int:
        """Write a vector of 32-bit numbers; return its position."""
        self.align(4)
        position = len(self.data)
        self.data.extend(struct.pack(f"<I{len(values)}i", len(values), *values))
        return position

    def byte_vector(self, values: bytes) -> int:
        """Write a vector of bytes whose first byte is aligned to `ALIGNMENT`; return its position."""
        self.data.extend(bytes(-(len(self.data) + 4) % ALIGNMENT))
        position = len(self.data)
        self.data.extend(struct.pack("<I", len(values)) + values)
        return position

    def string(self, text: str) -> int:
        """Write a string; return its position."""
        self.align(4)
        position, encoded = len(self.data), text.encode()
        self.data.extend(struct.pack("<I", len(encoded)) + encoded + b"\0")
        return position

    def table(self, finished: bytes) -> int:
        """Write the table at the root of another finished flatbuffer; return its position."""
        self.align(8)
        position = len(self.data) + int.from_bytes(finished[:4], "little")
        self.data.extend(finished)
        return position

    def align(self, size_bytes: int) -> None:
        """Write zeros up to a multiple of a size."""
        self.data.extend(bytes(-len(self.data) % size_bytes))
