"""Frames: whatever arrives is a frame, or an error that says what arrived."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agents.frames import HEADER_LIMIT_BYTES, PAYLOAD_LIMIT_BYTES, PREAMBLE
from harness.devices.framing import MAX_PREAMBLE_BYTES, FrameStream
from harness.errors import LinkError


class PlayedChannel:
    """A channel that plays pieces of input and keeps what is written."""

    def __init__(self, pieces: Iterable[bytes], stderr: str = "", pause_s: float = 0.0) -> None:
        self._pieces = [piece for piece in pieces if piece]
        self._stderr, self._pause_s = stderr, pause_s
        self.written = b""

    def write(self, data: bytes, timeout_s: float) -> None:
        self.written += data

    def read(self, size: int, timeout_s: float) -> bytes:
        assert timeout_s > 0
        time.sleep(self._pause_s)
        if not self._pieces:
            return b""
        piece = self._pieces[0][:size]
        self._pieces[0] = self._pieces[0][size:]
        if not self._pieces[0]:
            del self._pieces[0]
        return piece

    def stderr_tail(self) -> str:
        return self._stderr

    def close(self) -> None:
        pass


def frame(text: bytes, payload: bytes = b"", magic: bytes = b"HRN1") -> bytes:
    """Return a frame, from the interface and not from the code under test."""
    return struct.pack(">4sII", magic, len(text), len(payload)) + text + payload


def stream(*pieces: bytes, stderr: str = "") -> FrameStream:
    return FrameStream(PlayedChannel(pieces, stderr))


def cut(data: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


HEADERS = st.dictionaries(st.text(max_size=5), st.integers() | st.text(max_size=20) | st.none(), max_size=4)


@given(header=HEADERS)
def test_what_one_end_writes_the_other_reads(header: dict[str, object]) -> None:
    channel = PlayedChannel([])
    size = FrameStream(channel).write(header)
    assert size == len(channel.written)
    frames = stream(channel.written)
    assert (frames.read(1), frames.received_bytes) == (header, size)


def test_a_frame_is_laid_out_as_the_interface_says() -> None:
    channel = PlayedChannel([])
    FrameStream(channel).write({"id": 1, "verb": "put"}, b"payload")
    assert channel.written[:12] == b"HRN1" + len(channel.written[12:-7]).to_bytes(4, "big") + b"\0\0\0\x07"
    assert json.loads(channel.written[12:-7]) == {"id": 1, "verb": "put"}
    assert channel.written.endswith(b"payload")


@given(
    sent=st.lists(HEADERS, max_size=4),
    noise=st.binary(max_size=50).filter(lambda noise: PREAMBLE[:1] not in noise),
    places=st.lists(st.integers(0, 10_000), max_size=20),
)
def test_input_may_come_in_any_pieces(sent: list[dict[str, object]], noise: bytes, places: list[int]) -> None:
    data = noise + PREAMBLE + b"".join(frame(json.dumps(header).encode()) for header in sent)
    frames = FrameStream(PlayedChannel(cut(data, places)))
    frames.wait_for_preamble(5)
    assert [frames.read(5) for _ in sent] == sent


def test_input_may_come_byte_by_byte() -> None:
    data = b"motd\n" + PREAMBLE + frame(b'{"id":1}') + frame(b"{}")
    frames = FrameStream(PlayedChannel([bytes([byte]) for byte in data]))
    frames.wait_for_preamble(5)
    assert frames.read(5) == {"id": 1}
    assert frames.read(5) == {}


def test_noise_before_the_first_line_is_skipped_up_to_64_kib() -> None:
    frames = stream(b"x" * MAX_PREAMBLE_BYTES, PREAMBLE + frame(b"{}"))
    frames.wait_for_preamble(5)
    assert frames.read(5) == {}
    endless = FrameStream(PlayedChannel([b"Welcome to Linux\n" * 10] * 10_000))
    with pytest.raises(LinkError, match="no agent answered but b'Welcome to Linux"):
        endless.wait_for_preamble(5)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (frame(b"{}", magic=b"HRN2"), r"expected a frame, read b'HRN2"),
        (b"Traceback (most recent call last)", "expected a frame, read b'Traceback"),
        (frame(b"{'id': 1}"), "header is no JSON: b\"{'id': 1}\""),
        (frame(b""), "header is no JSON"),
        (frame(b"\xff\xfe"), "header is no JSON"),
        (frame(b"[1]"), r"header is no object: b'\[1\]'"),
        (frame(b"[" * 100_000), "header is no JSON"),
        (frame(b'{"id":' + b"9" * 5000 + b"}"), "header is no JSON"),
        (
            struct.pack(">4sII", b"HRN1", HEADER_LIMIT_BYTES + 1, 0),
            f"a frame of {HEADER_LIMIT_BYTES + 1} \\+ 0 bytes",
        ),
        (frame(b"{}", b"x"), r"a frame of 2 \+ 1 bytes"),
        (struct.pack(">4sII", b"HRN1", 2**32 - 1, 2**32 - 1), "4294967295"),
    ],
)
def test_bytes_that_are_no_frame_break_the_link_and_are_shown(data: bytes, message: str) -> None:
    with pytest.raises(LinkError, match=message):
        stream(data).read(1)


def test_text_that_cannot_be_stored_or_shown_is_made_plain() -> None:
    header = stream(frame(rb'{"message": "no file \udcff\uDCFE", "face": "\ud83d\ude42"}')).read(1)
    assert header == {"message": "no file ??", "face": "🙂"}


@pytest.mark.parametrize("kept", [0, 1, 11, 12, 13, 15])
def test_the_end_of_input_quotes_what_the_agent_said_last(kept: int) -> None:
    data = frame(b'{"identity":1}')
    with pytest.raises(LinkError, match="ended while a frame was awaited; it said: no module named zipapp"):
        stream(data[:kept], stderr="no module named zipapp").read(1)
    with pytest.raises(LinkError, match=r"awaited$"):
        stream(data[:kept]).read(1)


def test_the_end_of_input_before_the_first_line_is_told() -> None:
    with pytest.raises(LinkError, match="ended while the agent's first line was awaited; it said: boom"):
        stream(b"HARNESS-AG", stderr="boom").wait_for_preamble(1)


@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_broken_link(data: bytes) -> None:
    for mangled in (data, b"HRN1" + data, b"HRN1\0\0\0\x02\0\0\0\0" + data):
        try:
            assert isinstance(stream(mangled).read(1), dict)
        except LinkError as error:
            assert len(str(error)) < 600


def test_a_peer_that_dribbles_does_not_outlast_the_deadline() -> None:
    data = PREAMBLE + frame(b"{" + b" " * 5000 + b"}")
    dribble = FrameStream(PlayedChannel([bytes([byte]) for byte in data], pause_s=0.002))
    dribble.wait_for_preamble(5)
    started = time.monotonic()
    with pytest.raises(LinkError):
        dribble.read(0.2)
    assert time.monotonic() - started < 3


def test_a_frame_over_the_limits_is_not_written() -> None:
    channel = PlayedChannel([])
    for header, payload in (({"a": "x" * HEADER_LIMIT_BYTES}, b""), ({}, bytes(PAYLOAD_LIMIT_BYTES + 1))):
        with pytest.raises(ValueError, match="over the limit of"):
            FrameStream(channel).write(header, payload)
    assert channel.written == b""
