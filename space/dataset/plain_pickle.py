"""Read a pickle of lists, tuples, numbers and text, and of nothing else.

A pickle is a program for a small stack machine. Here the machine knows only the instructions that build plain
values: there is none that names a class, calls a function or asks for memory before it reads what fills it. So
nothing that a file says can run, and its work is bounded by its length. Protocols 2 to 5
(https://github.com/python/cpython/blob/main/Lib/pickletools.py).
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

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
_DAMAGED = "the file is damaged, or was not written by this format's writer: use .csv or .blox"


def load_plain(data: bytes, max_steps: int) -> object:
    """Return the value that a pickle holds; a list of 16 or more floats may hold them as float64 arrays, in pieces.

    Raises:
        DatasetError: an instruction makes something else, the program is damaged or cut, or it takes more than
            `max_steps` instructions; the message names the byte of the pickle.
    """
    stack: list[object] = []
    marks: list[int] = []
    memo: dict[int, object] = {}
    at = 0
    try:
        for _ in range(max_steps):
            code = data[at]
            at += 1
            if code == 0x5D:  # EMPTY_LIST
                empty: list[object] = []
                stack.append(empty)
                if begin := _ROW.match(data, at - 1):
                    memo[len(memo)] = empty
                    marks.append(len(stack))
                    stack.append(begin[1].decode())
                    memo[len(memo)] = stack[-1]
                    at = begin.end()
            elif code == 0x47:  # BINFLOAT
                run = _FLOATS.match(data, at - 1) if data[at + 8] == 0x47 else None
                if run:
                    packed = np.frombuffer(data, _FLOAT, len(run[0]) // 9, at - 1)
                    stack.append(packed["value"].astype(np.float64))
                    at = run.end()
                else:
                    stack.append(_READ_FLOAT(data, at)[0])
                    at += 8
            elif code == 0x94:  # MEMOIZE
                memo[len(memo)] = stack[-1]
            elif code in _TEXT_SIZES:
                size = _TEXT_SIZES[code]
                count = int.from_bytes(_bytes(data, at, size), "little")
                stack.append(_bytes(data, at + size, count).decode())
                at += size + count
            elif code == 0x28:  # MARK
                marks.append(len(stack))
            elif code == 0x65:  # APPENDS
                start = marks.pop()
                items = stack[start:]
                del stack[start:]
                _list(stack[-1]).extend(items)
            elif code == 0x61:  # APPEND
                item = stack.pop()
                _list(stack[-1]).append(item)
            elif code in _NUMBERS:
                size, read = _NUMBERS[code]
                stack.append(read(_bytes(data, at, size)))
                at += size
            elif code == 0x8A:  # LONG1
                size = data[at]
                stack.append(int.from_bytes(_bytes(data, at + 1, size), "little", signed=True))
                at += 1 + size
            elif code == 0x29:  # EMPTY_TUPLE
                stack.append(())
            elif code in (0x85, 0x86, 0x87):  # TUPLE1, TUPLE2, TUPLE3
                start = len(stack) - (code - 0x84)
                if start < 0:
                    raise IndexError
                stack[start:] = [tuple(stack[start:])]
            elif code == 0x74:  # TUPLE
                start = marks.pop()
                stack[start:] = [tuple(stack[start:])]
            elif code in _PUTS:
                memo[int.from_bytes(_bytes(data, at, _PUTS[code]), "little")] = stack[-1]
                at += _PUTS[code]
            elif code in _GETS:
                stack.append(memo[int.from_bytes(_bytes(data, at, _GETS[code]), "little")])
                at += _GETS[code]
            elif code in _IGNORED:
                _bytes(data, at, _IGNORED[code])
                at += _IGNORED[code]
            elif code == 0x2E:  # STOP
                if len(stack) != 1 or marks or at != len(data):
                    raise IndexError
                return stack[0]
            else:
                raise DatasetError(
                    f"byte {at} of its pickle is instruction 0x{code:02x}, which makes more than lists, "
                    "tuples, numbers and text: it may run code, so nothing was read; use .csv or .blox"
                )
    except (IndexError, KeyError, struct.error, UnicodeDecodeError) as error:
        raise DatasetError(f"its pickle makes no sense at byte {at}; {_DAMAGED}") from error
    raise DatasetError(f"its pickle takes more than {max_steps} steps, more than such rows need; {_DAMAGED}")


def _bytes(data: bytes, at: int, count: int) -> bytes:
    if at + count > len(data):
        raise IndexError
    return data[at : at + count]


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise IndexError
    return value


def _unsigned(content: bytes) -> int:
    return int.from_bytes(content, "little")


def _signed(content: bytes) -> int:
    return int.from_bytes(content, "little", signed=True)


_NUMBERS: dict[int, tuple[int, Callable[[bytes], int]]] = {
    0x4A: (4, _signed),  # BININT
    0x4B: (1, _unsigned),  # BININT1
    0x4D: (2, _unsigned),  # BININT2
}
_TEXT_SIZES = {0x8C: 1, 0x58: 4, 0x8D: 8}  # SHORT_BINUNICODE, BINUNICODE, BINUNICODE8: bytes of the length
_PUTS = {0x71: 1, 0x72: 4}  # BINPUT, LONG_BINPUT: bytes of the place
_GETS = {0x68: 1, 0x6A: 4}  # BINGET, LONG_BINGET
_IGNORED = {0x80: 1, 0x95: 8}  # PROTO, FRAME: bytes of the argument
