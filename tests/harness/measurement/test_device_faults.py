"""What breaks on a device or on the way to it: a clear error or a Failure, and the rest of the campaign goes on."""

from __future__ import annotations

import os
import random
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from rigs.faulty_link import FaultyLink, faulty_link, narrow
from rigs.short_campaigns import NETWORKS, Saboteur, await_no_process, await_processes, processes
from rigs.sleeping_models import SLEEPING, SleepingModels, measure, sleeping_installed
from rigs.small_disk import SmallDisk, small_disk
from rigs.sshd import Sshd, start_sshd
from rigs.watcher import Watcher

from harness.devices import connection
from harness.devices.client import AgentClient, Deployment, deploy
from harness.devices.connection import Connection
from harness.devices.framing import FrameStream
from harness.devices.transports.ssh import SshTransport
from harness.errors import DeviceError, LinkError
from harness.measurement.events import Event, Measuring, Preparing, Reconnecting, SessionDone
from harness.store import Store

pytestmark = pytest.mark.ssh


@dataclass(frozen=True)
class Ground:
    """A server whose device holds agent and weights, and a store that holds a session."""

    server: Sshd
    root: str
    store: Path


@pytest.fixture(scope="module", autouse=True)
def runtime() -> Iterator[None]:
    with sleeping_installed():
        yield


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    folder = tmp_path_factory.mktemp("ground")
    with start_sshd(folder / "sshd") as server:
        store = Store(str(folder / "store.sqlite"))
        root = str(folder / "root")
        outcome = measure(server.device(root=root), store, ["bconv/bconv/conv"])
        assert outcome.measured == 1
        store.close()
        yield Ground(server, root, folder / "store.sqlite")


@pytest.fixture
def store(ground: Ground, tmp_path: Path) -> Iterator[Store]:
    store = Store(str(shutil.copy(ground.store, tmp_path / "store.sqlite")))
    yield store
    store.close()


@pytest.fixture
def link(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyLink]:
    monkeypatch.setattr("harness.devices.connection.RECONNECT_WAITS_S", (0.05, 0.1))
    with faulty_link(ground.server.port) as link:
        yield link


def once(action: object, kind: type = Measuring) -> Watcher:
    """Return an observer that acts when the first network was measured, or at the first event of another kind."""
    left = [action]

    def act(event: Event) -> None:
        if isinstance(event, kind) and left:
            left.pop()()  # type: ignore[operator]

    return Watcher(act)


def test_a_worker_that_is_killed_is_one_failure(ground: Ground, store: Store) -> None:
    with Saboteur(signal.SIGKILL, ground.root, "worker") as saboteur:
        outcome = measure(ground.server.device(root=ground.root), store)
    assert len(saboteur.hit) == 1
    assert (outcome.measured, outcome.error) == (1, None)
    (failure,) = outcome.failures
    assert (failure.kind, failure.architecture in NETWORKS) == ("worker-killed", True)
    assert "SIGKILL" in failure.message
    assert store.failures() == [failure]
    again = measure(ground.server.device(root=ground.root), store)
    assert (again.measured, again.reused, again.failures) == (1, 1, [])


def test_a_worker_that_hangs_is_ended_and_one_failure(ground: Ground, store: Store) -> None:
    options = replace(SLEEPING, silence_s=4.0)
    with Saboteur(signal.SIGSTOP, ground.root, "worker") as saboteur:
        outcome = measure(ground.server.device(root=ground.root), store, options=options)
    assert (outcome.measured, outcome.error) == (1, None)
    (failure,) = outcome.failures
    assert failure.kind == "worker-silent"
    assert "4 s" in failure.message
    assert saboteur.hit[0] not in processes(ground.root)


def test_an_agent_that_is_killed_is_started_again_and_nothing_is_lost(ground: Ground, store: Store) -> None:
    watcher = Watcher()
    with Saboteur(signal.SIGKILL, ground.root, "serve", when=(ground.root, "worker")) as saboteur:
        outcome = measure(ground.server.device(root=ground.root), store, observer=watcher)
    assert len(saboteur.hit) == 1
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    assert watcher.of(Reconnecting)
    await_no_process(ground.root, timeout_s=5)


def test_an_agent_that_is_stopped_is_ended_and_another_goes_on(
    ground: Ground, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signal that asks it to end waits until it goes on, and it holds the device's lock."""
    monkeypatch.setattr("harness.devices.client.SILENCE_S", 3.0)
    monkeypatch.setattr(connection, "GRACE_S", 3.0)
    with Saboteur(signal.SIGSTOP, ground.root, "serve", when=(ground.root, "worker")) as saboteur:
        outcome = measure(ground.server.device(root=ground.root), store)
    assert len(saboteur.hit) == 1
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    await_no_process(ground.root, timeout_s=5)


def test_a_network_that_takes_the_agent_down_twice_is_a_failure(ground: Ground, store: Store) -> None:
    with Saboteur(signal.SIGKILL, ground.root, "serve", when=(ground.root, "worker"), times=2):
        outcome = measure(ground.server.device(root=ground.root), store)
    assert (outcome.measured, outcome.error) == (1, None)
    assert [failure.kind for failure in outcome.failures] == ["link-lost"]


def test_a_link_cut_in_the_middle_of_a_frame_is_taken_up_again(
    ground: Ground, store: Store, link: FaultyLink
) -> None:
    device = ground.server.device(root=ground.root, port=link.port)
    watcher = once(lambda: link.cut_after(300))
    outcome = measure(device, store, observer=watcher)
    assert link.cuts == 1
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    assert watcher.of(Reconnecting)
    assert sorted(store.session_counts(outcome.uses[0].configuration).values()) == [1, 1, 1]


def test_a_link_that_stays_dead_ends_the_campaign_and_keeps_what_was_measured(
    ground: Ground, store: Store, link: FaultyLink
) -> None:
    watcher = Watcher()
    device = ground.server.device(root=ground.root, port=link.port)

    def die(event: Event) -> None:
        if isinstance(event, Measuring) and SessionDone() in watcher.done:
            link.die()

    watcher.on_event = die
    outcome = measure(device, store, observer=watcher)
    assert isinstance(outcome.error, DeviceError)
    assert outcome.error.exit_status == 3
    assert "device 'board': lost, 3 attempts" in str(outcome.error)
    assert "the same command goes on from here" in str(outcome.error)
    assert outcome.measured == 1
    kept = {s.session_id for s in store.sessions(outcome.uses[0].configuration)}
    outcome = measure(ground.server.device(root=ground.root), store)
    assert (outcome.measured, outcome.reused) == (1, 1)
    assert kept < {s.session_id for s in store.sessions(outcome.uses[0].configuration)}


def test_the_last_wait_is_followed_by_an_attempt(
    ground: Ground, store: Store, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A board that is back during the longest wait is found."""
    monkeypatch.setattr("harness.devices.connection.RECONNECT_WAITS_S", (1.5,))
    device = ground.server.device(root=ground.root, port=link.port)
    back = threading.Timer(0.8, link.refuse, [False])
    watcher = once(lambda: (link.refuse(True), back.start()))
    outcome = measure(device, store, observer=watcher)
    back.join()
    assert (outcome.measured, outcome.error) == (2, None)


def test_a_link_that_falls_silent_is_left_and_its_agent_ended(
    ground: Ground, store: Store, link: FaultyLink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The device has not noticed that the connection is gone: its agent still holds the lock."""
    monkeypatch.setattr("harness.devices.client.SILENCE_S", 3.0)
    device = ground.server.device(root=ground.root, port=link.port)
    stale: list[int] = []

    def fall_silent() -> None:
        await_processes(ground.root, "worker")
        stale.extend(processes(ground.root, "serve"))
        link.fall_silent()

    thread = threading.Thread(target=fall_silent)
    thread.start()
    watcher = Watcher()
    outcome = measure(device, store, observer=watcher)
    thread.join()
    assert (outcome.measured, outcome.failures, outcome.error) == (2, [], None)
    assert any("no sign of life for 3 s" in str(event) for _, event in watcher.events), watcher.events
    assert stale and not set(stale) & set(processes(ground.root, "serve"))


def test_a_part_that_was_damaged_on_the_device_is_sent_again(ground: Ground, store: Store) -> None:
    device = ground.server.device(root=ground.root)
    (digest,) = SleepingModels().reference().assemble().parts
    path = Path(ground.root) / "parts" / digest[:2] / digest
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    outcome = measure(device, store, NETWORKS[:1])
    assert (outcome.measured, outcome.failures, outcome.error) == (1, [], None)
    assert outcome.sent_bytes > 0
    data[100] ^= 1
    assert path.read_bytes() == data


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with small_disk(tmp_path / "small disk", 64 << 20) as disk:
        yield disk


def test_a_device_without_room_for_the_agent_says_what_to_do(
    ground: Ground, store: Store, disk: SmallDisk
) -> None:
    disk.fill(leave_bytes=8192)
    with pytest.raises(DeviceError, match=r"cannot be stored in .*No space left.*root = ") as caught:
        measure(ground.server.device(root=str(disk.folder)), store)
    assert caught.value.exit_status == 3
    assert not [path for path in disk.folder.iterdir() if "agent" in path.name], (
        "nothing half-written is left"
    )


def test_a_disk_that_fills_up_is_a_failure_with_the_remedy(
    ground: Ground, store: Store, disk: SmallDisk
) -> None:
    watcher = once(lambda: disk.fill(leave_bytes=100_000), Preparing)
    device = ground.server.device(root=str(disk.folder))
    outcome = measure(device, store, NETWORKS[:1], observer=watcher)
    assert outcome.measured == 0
    assert [failure.kind for failure in outcome.failures] == ["disk-full"]
    assert "free some" in outcome.failures[0].message
    disk.free()
    assert measure(device, store, NETWORKS[:1]).measured == 1, "and with room it goes on"


def test_a_disk_too_small_for_a_network_says_so(ground: Ground, store: Store, disk: SmallDisk) -> None:
    disk.fill(leave_bytes=6 << 20)
    outcome = measure(ground.server.device(root=str(disk.folder)), store, weight_bytes=4 << 20)
    assert outcome.measured == 0 and outcome.failures
    for failure in outcome.failures:
        assert "free" in failure.message and "disk" in failure.message


def test_a_second_campaign_is_told_who_holds_the_device(
    ground: Ground, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "GRACE_S", 0.6)
    device = ground.server.device(root=ground.root)
    for end in ("close", "kill"):
        transport = SshTransport(device)
        holder = AgentClient.start(transport, device, deploy(transport, device))
        holder.lock("harness on the lab's machine, process 7")
        if end == "close":
            pattern = 'in use by "harness on the lab\'s machine, process 7".*wait for it, or end that process'
            with pytest.raises(DeviceError, match=pattern):
                measure(device, store)
            holder.close()
        else:
            os.kill(processes(ground.root, "serve")[0], signal.SIGKILL)
        second = Connection(device, SshTransport(device), owner="harness elsewhere", wait_s=5.0)
        second.open()
        second.close()
        transport.close()


def test_an_agent_that_ends_at_once_is_quoted(ground: Ground, tmp_path: Path) -> None:
    device = ground.server.device()
    transport = SshTransport(device)
    broken = tmp_path / "agent.pyz"
    broken.write_text("raise SystemExit('no such thing')")
    ends = Deployment(
        python=device.python,
        python_version=(3, 11, 0),
        executable=device.python,
        root="/",
        path=str(broken),
        digest="",
        sent_bytes=0,
    )
    with pytest.raises(LinkError, match=r"device 'board'.*no such thing"):
        AgentClient.start(transport, device, ends)
    with pytest.raises(DeviceError, match=r"device 'board'.*in '/' is gone at the next login"):
        AgentClient.start(transport, device, replace(ends, path="/no such/agent.pyz"))
    transport.close()


def test_a_slow_link_is_no_broken_one(ground: Ground, link: FaultyLink) -> None:
    """A part may take longer than the time within which something must move."""
    transport = SshTransport(ground.server.device(port=link.port))
    channel = transport.start([sys.executable, "-c", "import sys; print(len(sys.stdin.buffer.read()))"])
    narrow(transport)
    link.bytes_per_s = 2e6
    payload = random.Random(0).randbytes(4_000_000)
    started = time.monotonic()
    size = FrameStream(channel).write({"verb": "put"}, payload, timeout_s=1.0)
    assert time.monotonic() - started > 1.0
    channel.feed(b"", 5.0)
    assert channel.read(100, 10.0) == f"{size}\n".encode()
    transport.close()
