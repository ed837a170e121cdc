"""Read a pickle of lists, tuples, numbers and text, and of nothing else.

A pickle is a program for a small stack machine. Here the machine knows only the instructions that build plain
values: there is none that names a class, calls a function or asks for memory before it reads what fills it. So
nothing that a file says can run, and its work is bounded by its length. Protocols 2 to 5
(https://github.com/python/cpython/blob/main/Lib/pickletools.py).
"""

from __future__ import annotations

import re
import struct

import numpy as np

from space.errors import DatasetError

# A run of floats that ends a list, or a frame that another float or the list's end follows, is read at once
# and stays one array on the stack; lists of 200 epochs would otherwise take 200 steps each. The quantifier
# gives nothing back, so that a run that ends otherwise costs no more than its length.
_FLOATS = re.compile(rb"(?:G.{8}){16,255}+(?=e|\x95.{8}[Ge])", re.DOTALL)
# The begin of a row: a list and a hash, both remembered. Five instructions at once halve the time of a file.
_ROW = re.compile(rb"\]\x94\(\x8c\x20(.{32})\x94", re.DOTALL)
_FLOAT = np.dtype([("code", "u1"), ("value", ">f8")])
_READ_FLOAT = struct.Struct(">d").unpack_from
_STOP = 0x2E
_SIZES = {  # of the argument of an instruction, in bytes; of a text that of its length
    **{0x80: 1, 0x95: 8},  # PROTO, FRAME
    **{0x4B: 1, 0x4D: 2, 0x4A: 4, 0x8A: 1},  # BININT1, BININT2, BININT, LONG1
    **{0x8C: 1, 0x58: 4, 0x8D: 8},  # SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
    **{0x71: 1, 0x72: 4, 0x68: 1, 0x6A: 4},  # BINPUT, LONG_BINPUT, BINGET, LONG_BINGET
}
_DAMAGED = "the file is damaged, or was not written by this format's writer: use .csv or .blox"


def load_plain(data: bytes, max_steps: int) -> object:
    """Return the value that a pickle holds; a list of 16 or more floats may hold them as float64 arrays, in pieces.

    Raises:
        DatasetError: an instruction makes something else, the program is damaged or cut, or it takes more than
            `max_steps` instructions; the message names the byte of the pickle.
    """
    machine = _Machine(data)
    try:
        for _ in range(max_steps):
            code = data[machine.at]
            machine.at += 1
            if code == _STOP:
                return machine.result()
            machine.step(code)
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise DatasetError(f"its pickle makes no sense at byte {machine.at}; {_DAMAGED}") from error
    raise DatasetError(f"its pickle takes more than {max_steps} steps, more than such rows need; {_DAMAGED}")


class _Machine:
    """A program, where it is read on, the values that it has made, the marks among them, and those kept by number."""

    __slots__ = ("at", "data", "marks", "memo", "stack")

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        self.stack: list[object] = []
        self.marks: list[int] = []
        self.memo: dict[int, object] = {}

    def result(self) -> object:
        """Return the one value at the program's end. Raises: IndexError: it is not so."""
        if len(self.stack) != 1 or self.marks or self.at != len(self.data):
            raise IndexError
        return self.stack[0]

    def step(self, code: int) -> None:  # noqa: C901, PLR0912 - a case an instruction
        """Do what an instruction says. Raises: DatasetError: it makes no plain value; IndexError, KeyError: it cannot be done."""
        match code:
            case 0x5D:  # EMPTY_LIST
                self._empty_list()
            case 0x47:  # BINFLOAT
                self._float()
            case 0x94:  # MEMOIZE
                self.memo[len(self.memo)] = self.stack[-1]
            case 0x8C | 0x58 | 0x8D:  # texts
                self.stack.append(self._bytes(self._argument(code)).decode())
            case 0x28:  # MARK
                self.marks.append(len(self.stack))
            case 0x65:  # APPENDS
                items = self._marked()
                self._list().extend(items)
            case 0x61:  # APPEND
                item = self.stack.pop()
                self._list().append(item)
            case 0x4B | 0x4D:  # unsigned numbers
                self.stack.append(self._argument(code))
            case 0x4A:  # BININT
                self.stack.append(_signed(self._bytes(_SIZES[code])))
            case 0x8A:  # LONG1
                self.stack.append(_signed(self._bytes(self._argument(code))))
            case 0x29:  # EMPTY_TUPLE
                self.stack.append(())
            case 0x85 | 0x86 | 0x87:  # TUPLE1, TUPLE2, TUPLE3
                items = [self.stack.pop() for _ in range(code - 0x84)]
                self.stack.append(tuple(reversed(items)))
            case 0x74:  # TUPLE
                self.stack.append(tuple(self._marked()))
            case 0x71 | 0x72:  # BINPUT, LONG_BINPUT
                self.memo[self._argument(code)] = self.stack[-1]
            case 0x68 | 0x6A:  # BINGET, LONG_BINGET
                self.stack.append(self.memo[self._argument(code)])
            case 0x80 | 0x95:  # PROTO, FRAME
                self._argument(code)
            case _:
                raise DatasetError(
                    f"byte {self.at} of its pickle is instruction 0x{code:02x}, which makes more than lists, "
                    "tuples, numbers and text: it may run code, so nothing was read; use .csv or .blox"
                )

    def _empty_list(self) -> None:
        empty: list[object] = []
        self.stack.append(empty)
        if begin := _ROW.match(self.data, self.at - 1):
            self.memo[len(self.memo)] = empty
            self.marks.append(len(self.stack))
            self.stack.append(begin[1].decode())
            self.memo[len(self.memo)] = self.stack[-1]
            self.at = begin.end()

    def _float(self) -> None:
        data, at = self.data, self.at
        if data[at + 8] == data[at - 1] and (run := _FLOATS.match(data, at - 1)):
            packed = np.frombuffer(data, _FLOAT, len(run[0]) // 9, at - 1)
            self.stack.append(packed["value"].astype(np.float64))
            self.at = run.end()
        else:
            self.stack.append(_READ_FLOAT(data, at)[0])
            self.at += 8

    def _argument(self, code: int) -> int:
        return int.from_bytes(self._bytes(_SIZES[code]), "little")

    def _bytes(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.data):
            raise IndexError
        found = self.data[self.at : end]
        self.at = end
        return found

    def _marked(self) -> list[object]:
        """Take the values since the last mark from the stack."""
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _list(self) -> list[object]:
        value = self.stack[-1]
        if not isinstance(value, list):
            raise IndexError
        return value


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)
