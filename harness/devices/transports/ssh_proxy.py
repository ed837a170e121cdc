"""A ProxyCommand of ~/.ssh/config: a command whose standard streams are the connection to a host."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import final

from harness.devices.transports.tail import Tail
from harness.errors import LinkError

_END_S = 2.0


@final
class ProxyCommand:
    """A running proxy command; `socket` is this end of its streams."""

    def __init__(self, command: str, who: str) -> None:
        self.socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.PIPE,
                start_new_session=True,  # Ctrl-C is the harness's to handle
            )
        except OSError as error:
            self.socket.close()
            raise LinkError(who, f"its ProxyCommand cannot be started: {error}") from error
        finally:
            theirs.close()
        stderr = self._process.stderr
        assert stderr is not None
        self._stderr = stderr
        self._tail = Tail(lambda size: os.read(stderr.fileno(), size))

    def said(self) -> str:
        """Return the end of what the command wrote to standard error, for a message."""
        text = self._tail.finish(0.5)
        return f"; its ProxyCommand said: {text}" if text else ""

    def close(self) -> None:
        """End the command and all that it started."""
        self.socket.close()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._tail.finish(1.0)
        self._stderr.close()
