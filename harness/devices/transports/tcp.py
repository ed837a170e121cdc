"""TCP connections whose deadline holds for resolving the name, too: a resolver that never answers holds nobody."""

from __future__ import annotations

import errno
import os
import queue
import selectors
import socket
import threading
import time
from collections import deque
from typing import Any

STAGGER_S = 0.25  # an address's time alone; RFC 8305 recommends it


def connect_within(hostname: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connection to the first address of a host that answers, within `timeout_s` in all.

    While an address says nothing the next one is tried beside it after `STAGGER_S`, so that none holds up the others
    (https://www.rfc-editor.org/rfc/rfc8305, section 5).
    Raises: OSError; TimeoutError when nobody answers in time, of a name that is not resolved in time with a message.
    """
    deadline_s = time.monotonic() + timeout_s
    addresses = deque(resolve_within(hostname, port, timeout_s))
    last: OSError = TimeoutError(f"the name {hostname!r} stands for no address")
    with selectors.DefaultSelector() as trying:
        try:
            while addresses or trying.get_map():
                left_s = deadline_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError("timed out")
                if addresses:
                    try:
                        trying.register(_begun(*addresses.popleft()), selectors.EVENT_WRITE)
                    except OSError as error:
                        last = error
                        continue
                for key, _ in trying.select(min(left_s, STAGGER_S) if addresses else left_s):
                    found: socket.socket = key.fileobj  # type: ignore[assignment]
                    trying.unregister(found)
                    if not (code := found.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                        found.setblocking(True)
                        return found
                    found.close()
                    last = OSError(code, os.strerror(code))
        finally:
            for key in trying.get_map().values():
                key.fileobj.close()  # type: ignore[union-attr]
    raise last


def _begun(family: int, kind: int, protocol: int, _name: str, address: Any) -> socket.socket:
    """Return a socket that is being connected to an address. Raises: OSError where that is refused at once."""
    begun = socket.socket(family, kind, protocol)
    try:
        begun.setblocking(False)
        code = begun.connect_ex(address)
        if code not in (0, errno.EINPROGRESS, errno.EWOULDBLOCK):
            raise OSError(code, os.strerror(code))
    except BaseException:
        begun.close()
        raise
    return begun


def resolve_within(hostname: str, port: int, timeout_s: float) -> list[Any]:
    """Return the addresses of a host as `socket.getaddrinfo` does, which itself waits for as long as its resolver does.

    Raises: OSError, TimeoutError. A resolver that hangs keeps a thread of its own, which ends with the process.
    """
    answers: queue.SimpleQueue[list[Any] | Exception] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answers.put(socket.getaddrinfo(hostname, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True, name=f"resolve {hostname}").start()
    try:
        answer = answers.get(timeout=timeout_s)
    except queue.Empty:
        raise TimeoutError(
            f"the name is not resolved within {timeout_s:g} s: write its IP address, or see to the name server"
        ) from None
    if isinstance(answer, Exception):
        raise answer
    return answer
