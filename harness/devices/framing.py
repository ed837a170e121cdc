"""Frames from an agent on a channel, with deadlines; `device_agents.frames` has their form.

docs/protocol.md holds the protocol. Whatever else arrives is an error that says what.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from device_agents.frames import HEADER_LIMIT_BYTES, MAGIC, PREAMBLE, PREFIX, encode_frame
from harness.devices.transports.contract import Channel
from harness.errors import LinkError
from space.text import counted, printable, uncolored

MAX_PREAMBLE_BYTES = 1 << 16

_PIECE_BYTES = 1 << 18
_SURROGATE = re.compile(rb"\\u[dD]")


class FrameStream:
    """Frames on a channel, with a deadline on every wait."""

    def __init__(self, channel: Channel, who: str = "") -> None:
        self._channel = channel
        self._who = [who] if who else []
        self._buffer = bytearray()
        self.received_bytes = 0

    def wait_for_preamble(self, timeout_s: float) -> None:
        """Skip what a login shell printed, up to the agent's first line.

        Raises: LinkError quoting what came instead.
        """
        deadline = time.monotonic() + timeout_s
        while PREAMBLE not in self._buffer:
            if len(self._buffer) > MAX_PREAMBLE_BYTES:
                raise LinkError(*self._who, f"no agent answered but {bytes(self._buffer[:80])!r}...")
            self._fill(deadline, "the agent's first line")
        del self._buffer[: self._buffer.index(PREAMBLE) + len(PREAMBLE)]

    def write(self, header: dict[str, Any], payload: bytes = b"", *, timeout_s: float = 60.0) -> int:
        """Write one frame and return its size in bytes; `timeout_s` bounds each 256 KiB, so that a connection may be slow."""
        frame = encode_frame(header, payload)
        for start in range(0, len(frame), _PIECE_BYTES):
            self._channel.write(frame[start : start + _PIECE_BYTES], timeout_s)
        return len(frame)

    def read(self, timeout_s: float) -> dict[str, Any]:
        """Read one frame and return its header; `timeout_s` bounds the silence before it begins and again its transfer.

        Raises: LinkError at the end of input, on silence, or for bytes that are no frame; an agent sends no payload.
        """
        self._need(PREFIX.size, timeout_s)
        magic, header_size, payload_size = PREFIX.unpack_from(self._buffer)
        if magic != MAGIC:
            raise self._broken(f"expected a frame, read {bytes(self._buffer[:24])!r}")
        if header_size > HEADER_LIMIT_BYTES or payload_size:
            raise self._broken(f"a frame of {header_size} + {payload_size} bytes")
        size = PREFIX.size + header_size
        self._need(size, timeout_s)
        text = bytes(self._buffer[PREFIX.size : size])
        del self._buffer[:size]
        self.received_bytes += size
        try:
            header = json.loads(text)
            if _SURROGATE.search(text):  # half a pair is no text: neither a database nor a terminal takes it
                header = json.loads(json.dumps(header, ensure_ascii=False).encode("utf-8", "replace"))
        except (ValueError, RecursionError) as error:
            raise self._broken(f"header is no JSON: {text[:80]!r}") from error
        if not isinstance(header, dict):
            raise self._broken(f"header is no object: {text[:80]!r}")
        return header

    def _broken(self, how: str) -> LinkError:
        return LinkError(*self._who, f"the agent broke the protocol: {how}")

    def _need(self, size: int, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        while len(self._buffer) < size:
            self._fill(deadline, "a frame")

    def _fill(self, deadline: float, waiting_for: str) -> None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise LinkError(
                *self._who,
                f"the agent sent {waiting_for} too slowly; {counted(len(self._buffer), 'byte')} came in time",
            )
        data = self._channel.read(1 << 16, left_s)
        if not data:
            tail = self._channel.stderr_tail()
            said = f"; it said: {printable(uncolored(tail), keep=chr(10))}" if tail else ""
            raise LinkError(*self._who, f"the agent ended while {waiting_for} was awaited{said}")
        self._buffer += data
