"""Protobuf's wire format, as much of it as ONNX skeletons need: fields written, and a message cut into its fields.

https://protobuf.dev/programming-guides/encoding/. Needs no protobuf library, so that linking stays free of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5
_FIXED_BYTES = {_FIXED_64: 8, _FIXED_32: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageField:
    """One field of a message: its number, its bytes as they are, and the content of a `bytes` field.

    `content` is empty for numbers.
    """

    number: int
    raw: bytes = field(repr=False)
    content: bytes = field(repr=False)


def number_field(number: int, value: int) -> bytes:
    """Return a field that holds a number of 0 or more."""
    return _varint(number << 3 | _VARINT) + _varint(value)


def bytes_field(number: int, content: bytes) -> bytes:
    """Return a field that holds a text, bytes or a message."""
    return _varint(number << 3 | _BYTES) + _varint(len(content)) + content


def split_fields(message: bytes) -> Iterator[MessageField]:
    """Yield the fields of a message in order; their `raw` bytes joined are the message.

    Raises:
        ValueError: the bytes are no message.
    """
    at = 0
    while at < len(message):
        start = at
        tag, at = _read_varint(message, at)
        kind, content = tag & 7, b""
        if kind == _VARINT:
            _, at = _read_varint(message, at)
        elif kind == _BYTES:
            size_bytes, at = _read_varint(message, at)
            content = message[at : at + size_bytes]
            at += size_bytes
        elif kind in _FIXED_BYTES:
            at += _FIXED_BYTES[kind]
        else:
            raise ValueError(f"protobuf message: byte {start} begins a field of the unknown kind {kind}")
        if at > len(message):
            raise ValueError(f"protobuf message: the field at byte {start} ends behind the message")
        yield MessageField(number=tag >> 3, raw=message[start:at], content=content)


def changed(message: bytes, path: tuple[int, ...], change: Callable[[bytes], bytes]) -> bytes:
    """Return a message in which the messages at the end of a path of field numbers are changed. Raises: as `split_fields`."""
    if not path:
        return change(message)
    return b"".join(
        bytes_field(field.number, changed(field.content, path[1:], change))
        if field.number == path[0]
        else field.raw
        for field in split_fields(message)
    )


def _varint(value: int) -> bytes:
    """Write 7 bits a byte, the lowest first, the top bit set on all bytes but the last."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            return value, at
    raise ValueError("protobuf message: ends within a number")
