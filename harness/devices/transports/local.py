"""Transport to this machine: commands run as subprocesses."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import final

from harness.devices.transports.contract import MAX_OUTPUT_BYTES, CompletedCommand
from harness.devices.transports.tail import REST_S, Tail
from harness.errors import DeviceError, LinkError
from space.errors import ConfigError
from space.system_errors import remedy_for
from space.user_paths import expand_user, home_folder

_WRITE_BYTES = 1 << 16
_GRACE_S = 5.0  # an agent whose input ended has this long to go by itself
_STOPPED_S = 0.5  # after Ctrl-C, which ends a command within 2 s


@final
class LocalTransport:
    """Transport that runs commands on this machine, in the home folder as a login shell would."""

    def __init__(self) -> None:
        self._channels: list[LocalChannel] = []

    def connect(self) -> None:
        """Do nothing: this machine is always there."""

    def run(self, argv: Sequence[str], *, stdin: bytes = b"", timeout_s: float = 60.0) -> CompletedCommand:
        """Run a command to its end; see Transport."""
        try:
            channel = _start(argv)
        except FileNotFoundError:
            return CompletedCommand(status=127, stdout=b"", stderr=f"{argv[0]}: not found")
        except OSError as error:
            # No fault of the program.
            if error.errno in (
                errno.EMFILE,
                errno.ENFILE,
                errno.ENOMEM,
                errno.EAGAIN,
            ):
                raise DeviceError(
                    f"this machine: cannot start {argv[0]!r}: {error.strerror}; {remedy_for(error)}"
                ) from error
            return CompletedCommand(status=126, stdout=b"", stderr=f"{argv[0]}: {error.strerror}")
        deadline = time.monotonic() + timeout_s
        writer = threading.Thread(target=channel.feed, args=(stdin, timeout_s), daemon=True)
        writer.start()
        output = bytearray()
        try:
            while data := channel.read(1 << 16, max(0.0, deadline - time.monotonic())):
                output += data
                if len(output) > MAX_OUTPUT_BYTES:
                    raise DeviceError(f"this machine: {argv[0]!r} wrote more than {MAX_OUTPUT_BYTES} bytes")
            status = channel.wait_status(max(0.0, deadline - time.monotonic()))
            return CompletedCommand(status=status, stdout=bytes(output), stderr=channel.finished_stderr())
        except (LinkError, subprocess.TimeoutExpired) as error:
            raise LinkError(f"this machine: {argv[0]!r} did not end within {timeout_s:g} s") from error
        finally:
            channel.kill()
            writer.join()
            channel.close()

    def start(self, argv: Sequence[str]) -> LocalChannel:
        """Start a long-running command; see Transport."""
        try:
            channel = _start(argv)
        except OSError as error:
            remedy = remedy_for(error)
            raise DeviceError(
                f"this machine: cannot start {argv[0]!r}: {error}" + (f"; {remedy}" if remedy else "")
            ) from error
        self._channels.append(channel)
        return channel

    def close(self) -> None:
        """End every command started here."""
        for channel in self._channels:
            channel.close()
        self._channels.clear()


@final
class LocalChannel:
    """The three streams of a subprocess."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin and process.stdout and process.stderr
        self._process, self._stdin, self._stdout = process, process.stdin, process.stdout
        os.set_blocking(self._stdin.fileno(), False)
        self._stderr = process.stderr
        self._has_ended = False
        self._tail = Tail(lambda size: os.read(process.stderr.fileno(), size))  # type: ignore[union-attr]

    def write(self, data: bytes, timeout_s: float) -> None:
        """Write all of `data`; see Channel."""
        deadline = time.monotonic() + timeout_s
        view = memoryview(data)
        try:
            while view:
                left_s = deadline - time.monotonic()
                if left_s <= 0 or not select.select([], [self._stdin], [], left_s)[1]:
                    raise LinkError(f"the agent took no input for {timeout_s:g} s")
                view = view[os.write(self._stdin.fileno(), view[:_WRITE_BYTES]) :]
        except (OSError, ValueError) as error:
            raise LinkError(f"the agent is gone: {error}") from error

    def read(self, size: int, timeout_s: float) -> bytes:
        """Read 1 to `size` bytes; see Channel."""
        try:
            if not select.select([self._stdout], [], [], timeout_s)[0]:
                raise LinkError(f"no sign of life from the agent for {timeout_s:g} s")
            data = os.read(self._stdout.fileno(), size)
            self._has_ended = not data
            return data
        except (OSError, ValueError) as error:
            raise LinkError(f"the agent is gone: {error}") from error

    def feed(self, data: bytes, timeout_s: float) -> None:
        """Write `data` and end the command's input; a command that ended early is no error here, its status tells."""
        with contextlib.suppress(LinkError):
            self.write(data, timeout_s)
        self._stdin.close()

    def wait_status(self, timeout_s: float) -> int:
        """Return the exit status. Raises: subprocess.TimeoutExpired when the command does not end in time."""
        return self._process.wait(timeout_s)

    def kill(self) -> None:
        """End the command at once."""
        self._process.kill()

    def stderr_tail(self) -> str:
        """Return the last 4 KiB of standard error; at the end of the output all of it is awaited."""
        return self._tail.finish(REST_S) if self._has_ended else self._tail.text()

    def finished_stderr(self) -> str:
        """Return the end of standard error once the command has ended."""
        return self._tail.finish(REST_S)

    def close(self) -> None:
        """End the command, gently first; soon where the user stops what it is for."""
        self._stdin.close()
        try:
            self._process.wait(_STOPPED_S if isinstance(sys.exception(), KeyboardInterrupt) else _GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._tail.finish(1.0)
        self._stdout.close()
        self._stderr.close()


def _start(argv: Sequence[str]) -> LocalChannel:
    try:
        home, program = home_folder(), str(expand_user(argv[0])) if argv[0].startswith("~/") else argv[0]
    except ConfigError as error:
        raise DeviceError(f"this machine: {error}") from error
    try:
        process = subprocess.Popen(
            [program, *argv[1:]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            cwd=home,
            start_new_session=True,  # Ctrl-C is the harness's to handle
        )
    except UnicodeEncodeError as error:
        told = f"the locale here has no characters for {str(error.object)[:80]!r}; set LC_ALL=C.UTF-8"
        raise DeviceError(f"this machine: cannot start {argv[0]!r}: {told}") from error
    return LocalChannel(process)
