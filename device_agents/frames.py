"""Length-framed JSON headers with an optional binary payload, over a pair of file descriptors."""

from __future__ import annotations

import json
import os
import select
import struct
import sys
from typing import Any

PREAMBLE = b"HARNESS-AGENT 1\n"
MAGIC = b"HRN1"
PREFIX = struct.Struct(">4sII")  # magic, bytes of the header, bytes of the payload
HEADER_LIMIT_BYTES = 1 << 20
PAYLOAD_LIMIT_BYTES = 64 << 20
READ_BYTES = 1 << 20


class FrameError(ValueError):
    """Bytes that are no frame, or over the limits of one; nothing after them can be understood."""


def claim_stdout() -> int:
    """Return a descriptor for frames, and send everything else that is printed to stderr.

    A runtime that prints, from Python or from C, can then not get between two frames.
    """
    frames_fd = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return frames_fd


def claim_frames(frames_fd: int) -> int:
    """Return a descriptor for frames that this process was started with, kept from processes that it starts."""
    os.set_inheritable(frames_fd, False)
    sys.stdout = sys.stderr  # what is printed is not held back until the end
    return frames_fd


class FrameWriter:
    """Write frames to a descriptor, each whole."""

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write(self, header: dict[str, Any], payload: bytes = b"") -> None:
        """Write one frame. Raises: OSError when the other side is gone, FrameError when it is too large."""
        self.write_bytes(encode_frame(header, payload))

    def write_bytes(self, data: bytes) -> None:
        """Write bytes that are frames, or the preamble."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._fd, view) :]


class FrameReader:
    """Read frames from a descriptor, either waiting (`read`) or beside a selector (`fill`, then `take`)."""

    def __init__(self, fd: int, wake_fd: int | None = None) -> None:
        """wake_fd: becomes readable when a signal has arrived, so that waiting for a frame ends."""
        self.fd = fd
        self.ended = False
        self._wake_fd = wake_fd
        self._buffer = bytearray()

    @classmethod
    def of(cls, data: bytes) -> FrameReader:
        """Return a reader of bytes that are here already."""
        reader = cls(-1)
        reader._buffer += data
        reader.ended = True
        return reader

    def read(self, patience_s: float | None = None) -> tuple[dict[str, Any], bytes] | None:
        """Wait for the next frame; None at the end of input, or once nothing came for so long. Raises: FrameError."""
        while True:
            frame = self.take()
            if frame is not None or self.ended:
                return frame
            # a signal that arrives just before a read begins is handled only when the read is over
            awaited = [self.fd] if self._wake_fd is None else [self.fd, self._wake_fd]
            if not select.select(awaited, [], [], patience_s)[0]:
                return None
            self.fill()

    def fill(self) -> None:
        """Read once what is there, and note the end of input."""
        data = os.read(self.fd, READ_BYTES)
        self.ended = not data
        self._buffer += data

    @property
    def is_full(self) -> bool:
        """Return whether more than any one frame waits here, so that reading on would only fill memory."""
        return len(self._buffer) > PREFIX.size + HEADER_LIMIT_BYTES + PAYLOAD_LIMIT_BYTES

    def take(self) -> tuple[dict[str, Any], bytes] | None:
        """Return the next frame if it is here whole, else None. Raises: FrameError."""
        buffer = self._buffer
        start = bytes(buffer[: len(MAGIC)])
        if not MAGIC.startswith(start):
            raise FrameError(
                "expected a frame, which begins with %r, but read %r" % (MAGIC, bytes(buffer[:40]))
            )
        if len(buffer) >= PREFIX.size:
            _, header_bytes, payload_bytes = PREFIX.unpack_from(buffer)
            check_sizes(header_bytes, payload_bytes)
            header_end = PREFIX.size + header_bytes
            end = header_end + payload_bytes
            if len(buffer) >= end:
                header = decode_header(bytes(buffer[PREFIX.size : header_end]))
                payload = bytes(memoryview(buffer)[header_end:end])
                del buffer[:end]
                return header, payload
        if self.ended and buffer:
            raise FrameError("the input ended inside a frame, after %d of its bytes" % len(buffer))
        return None


def encode_frame(header: dict[str, Any], payload: bytes = b"") -> bytes:
    """Return a frame's bytes. Raises: FrameError when it is over the limits."""
    text = json.dumps(header, separators=(",", ":"), allow_nan=False).encode("utf-8")
    check_sizes(len(text), len(payload))
    return PREFIX.pack(MAGIC, len(text), len(payload)) + text + payload


def check_sizes(header_bytes: int, payload_bytes: int) -> None:
    """Refuse a frame over the limits. Raises: FrameError."""
    for name, size, limit in (
        ("header", header_bytes, HEADER_LIMIT_BYTES),
        ("payload", payload_bytes, PAYLOAD_LIMIT_BYTES),
    ):
        if size > limit:
            raise FrameError("a frame's %s of %d bytes is over the limit of %d" % (name, size, limit))


def decode_header(text: bytes) -> dict[str, Any]:
    """Parse a header. Raises: FrameError when it is not a JSON object in UTF-8."""
    try:
        header = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise FrameError("a frame's header is not JSON (%s): %r" % (error, text[:80])) from error
    if not isinstance(header, dict):
        raise FrameError("a frame's header is not a JSON object: %r" % text[:80])
    return header
