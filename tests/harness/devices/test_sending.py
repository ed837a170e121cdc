"""Sending of parts: chunks that fit the link, and going on where a broken link left off. The agent is the real one."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from factories.sent_models import assembly_of, sha256
from rigs.faulty_link import FaultyLink, faulty_link
from rigs.sshd import Sshd, start_sshd

from harness.devices import client as client_module
from harness.devices import sending
from harness.devices.client import AgentClient, Deployment, deploy
from harness.devices.config import Device, LocalDevice
from harness.devices.sending import (
    FIRST_CHUNK_BYTES,
    MAX_CHUNK_BYTES,
    MIN_CHUNK_BYTES,
    Part,
    PartSender,
    parts_of,
)
from harness.devices.transports import open_transport
from harness.errors import AgentError, LinkError


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that do not shrink: a mebibyte of them, as often as it takes."""
    return (random.Random(seed).randbytes(min(size, 1 << 20)) * (size // (1 << 20) + 1))[:size]


def part(data: bytes) -> Part:
    return Part(digest=sha256(data), read=lambda: data, dictionary=None, read_dictionary=None)


class Wire:
    """A link of some bytes a second and some delay, and a device that keeps what comes over it; its clock is its own."""

    def __init__(self, bytes_per_s: float, delay_s: float = 0.0) -> None:
        self.bytes_per_s, self.delay_s, self.clock_s = bytes_per_s, delay_s, 0.0
        self.free_s = 0.0  # when all that was sent is across
        self.on_way: list[int] = []  # requests that wait for their answers
        self.most_on_way = 0
        self.sizes: list[int] = []
        self.errors: list[Exception | None] = []

    def post(self, verb: str, payload: bytes, **fields: Any) -> tuple[int, Callable[[], None]]:
        self.free_s = max(self.free_s, self.clock_s) + len(payload) / self.bytes_per_s
        arrives_s = self.free_s + self.delay_s
        error = self.errors.pop(0) if self.errors else None
        self.on_way.append(len(payload))
        self.most_on_way = max(self.most_on_way, len(self.on_way))

        def answered() -> None:
            self.on_way.pop(0)
            self.clock_s = max(self.clock_s, arrives_s)
            if error is not None:
                raise error
            self.sizes.append(len(payload))

        return len(payload), answered

    def sender(self) -> PartSender:
        return PartSender(self.post, clock_s=lambda: self.clock_s)


@pytest.mark.parametrize(
    ("bytes_per_s", "chunk_bytes", "size"),
    [(1e3, MIN_CHUNK_BYTES, 1 << 20), (2e5, 3e5, 4 << 20), (1e9, MAX_CHUNK_BYTES, 16 << 20)],
)
def test_a_chunk_takes_about_as_long_whatever_the_link(
    bytes_per_s: float, chunk_bytes: float, size: int
) -> None:
    wire = Wire(bytes_per_s)
    wire.sender().send_part(part(noise(size)), 0, lambda offset: None)
    assert wire.sizes[0] == FIRST_CHUNK_BYTES
    assert wire.sizes[-2] == pytest.approx(chunk_bytes, rel=0.01)
    assert sum(wire.sizes) == size


def test_a_link_that_takes_long_to_answer_is_busy_meanwhile() -> None:
    size = 4 << 20
    wire = Wire(1e5, delay_s=0.3)
    wire.sender().send_part(part(noise(size)), 0, lambda offset: None)
    assert sum(wire.sizes) == size
    assert wire.clock_s < 1.02 * size / 1e5 + 0.6, "and not 20 % longer"
    assert wire.most_on_way == sending.AHEAD and wire.on_way == []


def test_small_parts_do_not_wait_for_the_answers_of_those_before() -> None:
    wire, told = Wire(1e5, delay_s=0.3), list[tuple[int, int]]()
    parts = [part(noise(2000, seed)) for seed in range(500)]
    wire.sender().send(parts, {}, lambda done, total: told.append((done, total)))
    assert wire.clock_s < 1.1 * 1e6 / 1e5 + 0.6, "and not 0.3 s more for each of 500"
    assert wire.most_on_way <= sending.SMALL_AHEAD and wire.on_way == []
    assert told == [(2000 * count, 1_000_000) for count in range(1, 501)]
    slow = Wire(1000.0)
    slow.sender().send(parts[:100], {}, lambda done, total: None)
    assert slow.most_on_way * 2000 <= sending.AHEAD * FIRST_CHUNK_BYTES + 2000, (
        "a slow link's answers are not far off"
    )


def test_a_small_part_that_is_refused_ends_the_upload_and_answers_of_those_behind_it_are_read() -> None:
    wire = Wire(1e6)
    wire.errors = [None, AgentError("disk-full", "no room"), AgentError("part-missing", "its dictionary")]
    sender = wire.sender()
    with pytest.raises(AgentError, match="no room"):
        sender.send([part(noise(1000, seed)) for seed in range(5)], {}, lambda done, total: None)
    assert wire.on_way == [] and sender.sent_bytes == 3000
    assert not any(sender.unanswered.values()), "each is answered"


def test_what_was_sent_behind_a_chunk_that_is_refused_is_waited_for_and_sent_again() -> None:
    wire = Wire(1e6)
    late = AgentError("out-of-step", "", {"received_bytes": 0})
    wire.errors = [AgentError("damaged", "", {}), late]
    wire.sender().send_part(part(noise(100_000)), 0, lambda offset: None)
    assert sum(wire.sizes) == 100_000 and wire.on_way == [], "one correction for both"


def test_a_part_of_which_all_is_there_unfinished_is_ended_by_a_chunk_of_nothing() -> None:
    wire, told = Wire(1e6), list[int]()
    wire.sender().send_part(part(noise(100_000)), 100_000, told.append)
    assert (len(wire.sizes), told) == (1, [100_000])


def test_what_came_though_its_answer_did_not_is_counted_once_the_device_says_so() -> None:
    wire = Wire(1e6)
    wire.errors = [None, LinkError("cut"), None]
    first = wire.sender()
    data = [part(noise(100_000, seed)) for seed in (1, 2)]
    with pytest.raises(LinkError):
        first.send(data, {}, lambda done, total: None)
    assert first.sent_bytes == FIRST_CHUNK_BYTES
    assert len(first.unanswered[data[0].digest]) == 2, "one lost its answer, one was behind it"
    came = first.unanswered[data[0].digest][0][0]
    for missing, received, sent in (
        ({data[0].digest}, {data[0].digest: came}, came - FIRST_CHUNK_BYTES),
        (set(), {}, 100_000 - FIRST_CHUNK_BYTES),
        ({data[0].digest}, {}, 0),
    ):
        unanswered = {digest: list(chunks) for digest, chunks in first.unanswered.items()}
        second = PartSender(wire.post, unanswered=unanswered)
        second.settle([one.digest for one in data], missing, received)
        assert (second.sent_bytes, second.unanswered) == (sent, {})


def test_waits_grow_with_the_size_and_not_without_end() -> None:
    assert sending.patience_s(32_768) == pytest.approx(32.8, rel=0.01)
    assert sending.patience_s(MAX_CHUNK_BYTES) == sending.patience_s(1 << 40) < 132


def test_progress_counts_what_was_there_before() -> None:
    wire, told = Wire(1e5), list[tuple[int, int]]()
    parts = [part(noise(100_000, seed)) for seed in (1, 2)] + [part(b"small")]
    wire.sender().send(parts, {parts[0].digest: 60_000}, lambda done, total: told.append((done, total)))
    assert sum(wire.sizes[:-1]) == 140_000
    assert told[0][0] > 60_000
    assert [done for done, _ in told] == sorted(done for done, _ in told)
    assert told[-1] == (200_005, 200_005)
    assert {total for _, total in told} == {200_005}


def test_a_device_that_has_more_or_less_than_it_said_is_followed_and_not_for_ever() -> None:
    wire = Wire(1e6)
    off = AgentError("out-of-step", "", {"received_bytes": 90_000})
    wire.errors = [off, off]  # what was sent behind it is refused, too
    wire.sender().send_part(part(noise(100_000)), 0, lambda offset: None)
    assert wire.sizes == [10_000]
    for details in (
        {},
        {"received_bytes": -1},
        {"received_bytes": "9"},
        {"received_bytes": 1 << 40},
        {"received_bytes": True},
    ):
        wire.errors = [AgentError("out-of-step", "", details)]
        with pytest.raises(AgentError):
            wire.sender().send_part(part(noise(100_000)), 0, lambda offset: None)
    wire.errors = [off, AgentError("out-of-step", "", {"received_bytes": 5})] * 50
    with pytest.raises(AgentError):
        wire.sender().send_part(part(noise(100_000)), 0, lambda offset: None)
    wire.errors = [AgentError("damaged", "")] * 50
    with pytest.raises(AgentError):
        wire.sender().send_part(part(noise(100_000)), 0, lambda offset: None)


def test_parts_are_sent_once_and_dictionaries_before_what_needs_them() -> None:
    dictionary, weights = b"words" * 100, noise(1000)
    models = [assembly_of(skeleton, weights, dictionary=dictionary) for skeleton in (b"one", b"two")]
    assert list(parts_of(models)) == [sha256(d) for d in (dictionary, weights, b"one", b"two")]
    assert [one.read() for one in parts_of(models).values()] == [dictionary, weights, b"one", b"two"]


@contextmanager
def connected(device: Device, deployment: Deployment | None = None) -> Iterator[AgentClient]:
    transport = open_transport(device)
    transport.connect()
    client = AgentClient.start(transport, device, deployment or deploy(transport, device))
    try:
        yield client
    finally:
        client.close()
        transport.close()


@pytest.mark.device
def test_the_real_agent_takes_chunks_and_says_how_far_it_has_a_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = assembly_of(
        b"x" * 1000, noise(300_000), noise(100_000, 1), bytes(500_000), dictionary=b"x" * 5000
    )
    device = LocalDevice(name="here", root=str(tmp_path / "root"))
    stop = RuntimeError("the user has had enough")
    with connected(device) as client, pytest.raises(RuntimeError):
        client.send_models([model], lambda done, total: _raise(stop) if done > 60_000 else None)
    first = client.sent_bytes
    with connected(device) as client:
        told: list[int] = []
        client.send_models([model], lambda done, total: told.append(done))
        assert told[0] > 60_000 + FIRST_CHUNK_BYTES, "it went on behind what had come"
        assert client.sent_bytes + first < 420_000, "nothing twice; zeros shrink"
        assert client.send_models([model]) == 0
        client.forget_parts()
        assert client.send_models([model]) == 0
    parts = tmp_path / "root/parts"
    for data in (noise(300_000), noise(100_000, 1), bytes(500_000), b"x" * 1000, b"x" * 5000):
        assert (parts / sha256(data)[:2] / sha256(data)).read_bytes() == data
    assert list((parts / "unfinished").iterdir()) == []


def _raise(error: Exception) -> None:
    raise error


@pytest.mark.device
def test_an_unfinished_part_that_rotted_is_sent_anew(tmp_path: Path) -> None:
    data = noise(200_000)
    device = LocalDevice(name="here", root=str(tmp_path / "root"))
    unfinished = tmp_path / "root/parts/unfinished" / sha256(data)
    unfinished.parent.mkdir(parents=True)
    with connected(device) as client:
        for rotten in (bytes(150_000), data[:-1] + b"x", noise(300_000, 7)):
            unfinished.write_bytes(rotten)
            client.send_models([assembly_of(b"skeleton", data)])
            stored = tmp_path / "root/parts" / sha256(data)[:2] / sha256(data)
            assert stored.read_bytes() == data
            stored.unlink()
            client.forget_parts()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    with start_sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture
def link(server: Sshd) -> Iterator[FaultyLink]:
    with faulty_link(server.port) as link:
        yield link


@pytest.mark.ssh
def test_a_slow_link_that_is_cut_again_and_again_gets_a_part_across_and_nothing_twice(
    server: Sshd, link: FaultyLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty times as fast as the worst that is meant, with waits as much shorter: 400 KB/s, 15 ms there and back."""
    monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 1.0)
    monkeypatch.setattr(sending, "LEAST_BYTES_PER_S", 100_000)
    transport = open_transport(server.device(root=str(tmp_path / "root")))
    deployment = deploy(transport, server.device(root=str(tmp_path / "root")))
    transport.close()
    device = server.device(port=link.port, root=str(tmp_path / "root"))
    data = noise(150_000)
    model = assembly_of(b"skeleton", data)
    link.bytes_per_s, link.delay_s = 400e3, 0.0075
    link.cut_uploads(60_000, 60_000)
    sent, tries = 0, 0
    while True:
        tries += 1
        try:
            with connected(device, deployment) as client:
                try:
                    client.send_models([model])
                    break
                finally:
                    sent += client.sent_bytes
        except LinkError:
            assert tries < 5
    assert (tries, link.cuts) == (3, 2)
    assert sent < 152_000, "nothing that was answered is sent again"
    assert (tmp_path / "root/parts" / sha256(data)[:2] / sha256(data)).read_bytes() == data


@pytest.mark.ssh
def test_an_answer_is_awaited_longer_than_usual_while_the_least_rate_is_kept(
    server: Sshd, link: FaultyLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with connected(server.device(port=link.port, root=str(tmp_path / "root"))) as client:
        monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 1.0)
        monkeypatch.setattr(sending, "LEAST_BYTES_PER_S", 8000)
        link.bytes_per_s = 16_000.0  # 2 s for the first chunk
        assert client.send_models([assembly_of(b"skeleton", noise(40_000))]) > 40_000
        link.bytes_per_s = float("inf")


@pytest.mark.ssh
def test_a_link_below_the_least_rate_counts_as_broken(
    server: Sshd, link: FaultyLink, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = server.device(port=link.port, root=str(tmp_path / "root"))
    with connected(device) as client:
        monkeypatch.setattr(client_module, "ANSWER_TIMEOUT_S", 0.2)
        monkeypatch.setattr(sending, "LEAST_BYTES_PER_S", 100_000)
        link.bytes_per_s = 5000.0
        started = time.monotonic()
        with pytest.raises(LinkError):
            client.send_models([assembly_of(b"skeleton", noise(400_000))])
        assert time.monotonic() - started < 40, "half of what all would have taken"
        link.bytes_per_s = float("inf")
