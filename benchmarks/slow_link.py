"""An upload over a slow, late link that is cut in the middle: how long it takes, and what is sent twice.

    python benchmarks/slow_link.py [--rate 20000] [--delay 0.15] [--size 1000000] [--parts 4] [--cuts 1]

A real sshd on loopback behind a relay that lets so many bytes a second pass upward, each `delay` s late (and the answers, too),
and cuts the connection after equal shares of the way; the real agent takes the parts, random bytes that no compression shrinks.
"Again": bytes of parts that the device had already and that were sent once more; there must be none. "Lost": what was on its
way when the link was cut.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from machine import option_parser
from rigs.faulty_link import FaultyLink, faulty_link, narrow
from rigs.sshd import Sshd, start_sshd

from harness.devices.client import AgentClient, deploy
from harness.devices.connection import Connection, new_owner
from harness.devices.link import OnConnecting
from harness.devices.transports import open_transport
from harness.measurement.uploads import send_parts
from space.assembly import Assembly


def made_up_model(size_bytes: int, count: int) -> Assembly:
    """Return a model of `count` parts of random bytes, `size_bytes` together."""
    parts = [random.Random(seed).randbytes(size_bytes // count) for seed in range(count)]
    held = {hashlib.sha256(part).hexdigest(): part for part in parts}
    return Assembly(
        format="onnx",
        alignment=1,
        skeleton=b"skeleton",
        parts=tuple(held),
        dictionary=None,
        digest="",
        read_part=held.__getitem__,
    )


def held_bytes(root: Path) -> dict[str, int]:
    """Return how many bytes of each part a device's folder holds, whole or not."""
    return {file.name: file.stat().st_size for file in (root / "parts").rglob("*") if len(file.name) == 64}


class Watched(Connection):
    """A connection that notes what the device held of each part when it was opened anew."""

    def __init__(self, *arguments: Any, root: Path, on_cut: Callable[[str], None], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.root, self.on_cut, self.held = root, on_cut, [dict[str, int]()]

    def reopen(self, on_progress: OnConnecting, cancel: threading.Event) -> None:
        super().reopen(on_progress, cancel)
        self.held.append(held_bytes(self.root))
        self.on_cut(f"reconnected; the device has {sum(self.held[-1].values()):,} bytes of parts")


def upload(server: Sshd, link: FaultyLink, model: Assembly, cuts: int, rate: float, delay_s: float) -> int:
    """Send a model over the link and print what that took; return the bytes that were sent though the device had them."""
    root = server.folder / "root"
    near = server.device(root=str(root))
    transport = open_transport(near)
    deploy(transport, near)  # the agent is there already: this is about parts
    transport.close()
    again = 0
    chunks: list[tuple[str, int, int, int]] = []  # part, begin, end, and over which connection
    device = server.device(port=link.port, root=str(root))
    transport = open_transport(device)
    begun_s = time.monotonic()

    def say(what: object) -> None:
        print(f"{time.monotonic() - begun_s:6.1f} s  {what}", flush=True)

    watched = Watched(device, transport, owner=new_owner("slow link"), root=root, on_cut=say)
    post = AgentClient._post_sized

    def noted(client: AgentClient, verb: str, payload: bytes, **fields: Any) -> Any:
        begin = fields.get("offset", 0)
        chunks.append(
            (
                fields["digest"],
                begin,
                begin + fields.get("chunk_bytes", fields["size_bytes"]),
                len(watched.held) - 1,
            )
        )
        return post(client, verb, payload, **fields)

    AgentClient._post_sized = noted  # type: ignore[method-assign]
    link.bytes_per_s, link.delay_s = rate, delay_s
    size_bytes = sum(len(model.read_part(part)) for part in model.parts)
    link.cut_uploads(*[size_bytes // (cuts + 1)] * cuts)
    watched.open()
    narrow(transport)
    send_parts(watched, [model], say, threading.Event())
    took_s = time.monotonic() - begun_s
    watched.close()
    for digest, begin, end, number in chunks:
        had = watched.held[number].get(digest, 0)
        again += max(0, min(end, had) - begin)
    sent = sum(end - begin for _, begin, end, _ in chunks)
    whole = size_bytes + len(model.skeleton)
    print(
        f"{whole:,} bytes in {took_s:.1f} s, {whole / took_s / 1e3:.1f} KB/s of {rate / 1e3:g}; {link.cuts} cuts, "
        f"{link.up_bytes:,} bytes upward in all; counted as sent: {watched.sent_bytes:,}; "
        f"lost on the way: {sent - whole - again:,}; again: {again:,}"
    )
    stored = held_bytes(root)
    if (
        any(hashlib.sha256(_read(root, name)).hexdigest() != name for name in stored)
        or sum(stored.values()) != whole
    ):
        raise SystemExit("the device does not hold what was sent")
    return again


def _read(root: Path, digest: str) -> bytes:
    return (root / "parts" / digest[:2] / digest).read_bytes()


def main() -> int:
    """Run one upload; status 1 where something was sent that the device had."""
    parser = option_parser(__doc__)
    parser.add_argument("--rate", type=float, default=20_000.0, help="bytes a second upward")
    parser.add_argument("--delay", type=float, default=0.15, help="s each way")
    parser.add_argument("--size", type=int, default=1_000_000, help="bytes of parts")
    parser.add_argument("--parts", type=int, default=4, help="how many parts")
    parser.add_argument("--cuts", type=int, default=1)
    given = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        start_sshd(Path(folder)) as server,
        faulty_link(server.port) as link,
    ):
        model = made_up_model(given.size, given.parts)
        return int(upload(server, link, model, given.cuts, given.rate, given.delay) > 0)


if __name__ == "__main__":
    sys.exit(main())
