"""TCP connections whose deadline holds for resolving the name, too: a resolver that never answers holds nobody."""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Any


def connect_within(hostname: str, port: int, timeout_s: float) -> socket.socket:
    """Return a connection to the first address of a host that answers, within `timeout_s` in all.

    Raises: OSError; TimeoutError when nobody answers in time, of a name that is not resolved in time with a message.
    """
    deadline = time.monotonic() + timeout_s
    last: OSError = TimeoutError(f"the name {hostname!r} stands for no address")
    for family, kind, protocol, _, address in resolve_within(hostname, port, timeout_s):
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            break
        found = socket.socket(family, kind, protocol)
        try:
            found.settimeout(left_s)
            found.connect(address)
            found.settimeout(None)
            return found
        except OSError as error:
            found.close()
            last = error
        except BaseException:
            found.close()
            raise
    raise last


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
