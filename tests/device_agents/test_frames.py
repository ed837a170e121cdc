"""Frames: what both sides write, and what is refused."""

from __future__ import annotations

import os
import struct

import pytest

from device_agents.frames import (
    HEADER_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    FrameError,
    FrameReader,
    FrameWriter,
    encode_frame,
)


def test_a_frame_comes_out_as_it_went_in():
    header = {"id": 1, "verb": "put", "text": "ü\n"}
    assert FrameReader.of(encode_frame(header, b"\0\xff")).take() == (header, b"\0\xff")


def test_the_bytes_are_those_of_the_interface():
    assert encode_frame({"a": 1}, b"xy") == b"HRN1" + struct.pack(">II", 7, 2) + b'{"a":1}xy'


def test_frames_that_arrive_byte_by_byte_are_read_whole():
    data = encode_frame({"id": 1}, b"one") + encode_frame({"id": 2})
    out, into = os.pipe()
    reader = FrameReader(out)
    frames = []
    for index in range(len(data)):
        os.write(into, data[index : index + 1])
        reader.fill()
        frame = reader.take()
        if frame is not None:
            frames.append(frame)
    os.close(into)
    assert reader.read() is None
    os.close(out)
    assert frames == [({"id": 1}, b"one"), ({"id": 2}, b"")]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"GET / HTTP/1.1\r\n", ["HRN1", "GET / HTTP/1.1"]),
        (b"HRNX", ["HRN1", "HRNX"]),
        (struct.pack(">4sII", b"HRN1", HEADER_LIMIT_BYTES + 1, 0), ["header", str(HEADER_LIMIT_BYTES + 1)]),
        (
            struct.pack(">4sII", b"HRN1", 2, PAYLOAD_LIMIT_BYTES + 1),
            ["payload", str(PAYLOAD_LIMIT_BYTES + 1)],
        ),
        (struct.pack(">4sII", b"HRN1", 2, 0) + b"[]", ["object", "[]"]),
        (struct.pack(">4sII", b"HRN1", 2, 0) + b"{]", ["JSON", "{]"]),
        (struct.pack(">4sII", b"HRN1", 2, 0) + b"\xff\xfe", ["JSON"]),
        (struct.pack(">4sII", b"HRN1", 100000, 0) + b"[" * 100000, ["JSON"]),
        (encode_frame({"id": 1})[:-1], ["ended inside a frame"]),
    ],
)
def test_what_is_no_frame_is_an_error_that_says_what_was_read(data, words):
    with pytest.raises(FrameError) as caught:
        FrameReader.of(data).take()
    for word in words:
        assert word in str(caught.value)


def test_a_frame_over_the_limit_is_not_written():
    with pytest.raises(FrameError, match="header"):
        FrameWriter(-1).write({"text": "x" * HEADER_LIMIT_BYTES})
