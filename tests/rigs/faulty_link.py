"""A TCP proxy that spoils the link between a harness and a device, as networks do: slow, late, cut, silent or dead."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator

from harness.devices.transports.ssh import SshTransport

POLL_S = 0.02


class FaultyLink:
    """Forward connections to a port of loopback until told to break them."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 14)  # a silent link takes little
        self.port = int(self._listener.getsockname()[1])
        self._open = threading.Event()
        self._open.set()
        self._is_dead = False
        self._is_over = False
        self._is_refusing = False
        self._cut_after: int | None = None
        self._up_cuts: list[int] = []  # bytes up after which connections are cut, one each
        self.connections = 0
        self.cuts = 0
        self.up_bytes = 0
        self.bytes_per_s = float("inf")  # up
        self.delay_s = 0.0  # each way
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def cut_after(self, down_bytes: int) -> None:
        """Cut the present connection when the device has sent so many more bytes; later ones pass."""
        self._cut_after = down_bytes

    def cut_uploads(self, *up_bytes: int) -> None:
        """Cut the next connections, each when the harness has sent so many bytes over it; later ones pass."""
        self._up_cuts = list(up_bytes)

    def die(self) -> None:
        """Cut what is open and refuse whatever comes."""
        self._is_dead = True
        self._listener.close()

    def refuse(self, is_refusing: bool) -> None:
        """Cut what is open and every new connection at once, or let them pass again."""
        self._is_refusing = is_refusing

    def fall_silent(self) -> None:
        """Forward nothing more on open connections, and leave them open; new ones pass."""
        self._open.clear()
        self._open = threading.Event()
        self._open.set()

    def close(self) -> None:
        """End the proxy."""
        self._is_over = True
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while not self._is_over and not self._is_dead:
            try:
                ready, _, _ = select.select([self._listener], [], [], POLL_S)
                if not ready:
                    continue
                near, _ = self._listener.accept()
            except (OSError, ValueError):  # closed meanwhile
                return
            self.connections += 1
            thread = threading.Thread(target=self._forward, args=(near, self._open))
            self._threads.append(thread)
            thread.start()

    def _forward(self, near: socket.socket, is_open: threading.Event) -> None:
        cut_at = self._up_cuts.pop(0) if self._up_cuts else None
        with (
            contextlib.suppress(ConnectionError),
            near,
            socket.create_connection(("127.0.0.1", self._target_port)) as far,
        ):
            late: deque[tuple[float, socket.socket, bytes]] = deque()  # what is on its way, and where to
            while not (self._is_over or self._is_dead or self._is_refusing):
                if not is_open.wait(POLL_S):
                    continue
                while late and late[0][0] <= time.monotonic():
                    _, goal, data = late.popleft()
                    goal.sendall(data)
                for source in select.select([near, far], [], [], POLL_S / 10 if late else POLL_S)[0]:
                    data = source.recv(int(min(1 << 16, max(1, self.bytes_per_s * POLL_S))))
                    if not data:
                        return
                    if source is near:
                        self.up_bytes += len(data)
                        time.sleep(len(data) / self.bytes_per_s)
                        if cut_at is not None and (cut_at := cut_at - len(data)) <= 0:
                            self.cuts += 1
                            return
                    elif self._is_cut_by(data, near):
                        return
                    goal = far if source is near else near
                    if self.delay_s:
                        late.append((time.monotonic() + self.delay_s, goal, data))
                    else:
                        goal.sendall(data)

    def _is_cut_by(self, data: bytes, near: socket.socket) -> bool:
        if self._cut_after is None:
            return False
        if len(data) < self._cut_after:
            self._cut_after -= len(data)
            return False
        near.sendall(data[: self._cut_after])
        self._cut_after = None
        self.cuts += 1
        return True


@contextlib.contextmanager
def faulty_link(target_port: int) -> Iterator[FaultyLink]:
    """Run a proxy until the block ends."""
    link = FaultyLink(target_port)
    try:
        yield link
    finally:
        link.close()


def narrow(transport: SshTransport) -> None:
    """Shrink a connection's send buffer to a slow network's; loopback's swallows all that a test sends."""
    connection = transport._transports[-1]
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 14)
