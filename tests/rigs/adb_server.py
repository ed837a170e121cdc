"""A scripted adb server on loopback, for the real `adb` client: its phone's shell runs what it is told, in the test's folder.

The protocol is AOSP's: packages/modules/adb/docs/dev/overview.md, services.md and protocol.md, shell_protocol.h. The phone's
programs `cmd`, `dumpsys` and `getprop` are scripts that answer from files; `/data/local/tmp` and `/sys` are in its folder, too.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from rigs.android_answers import ANSWERS, Answers

SERIAL = "R5CT10ABCDE"
VERSION = 41  # of the protocol between client and server (ADB_SERVER_VERSION)
_LINK = 1 << 16
_STDOUT, _STDERR, _EXIT = 1, 2, 3
_FOLDERS = ("/data/local/tmp", "/sys/devices", "/sys/class")
# What Android has in /system/bin from toybox, and the guard uses.
_TOYBOX = ("cat", "mkdir", "rm", "setsid", "sleep")

_CMD = """#!/bin/sh
echo "$*" >>"$PHONE/asked"
if [ "$1 $2" = "power set-fixed-performance-mode-enabled" ]; then
    if [ -e "$PHONE/refuses" ]; then cat "$PHONE/refuses" >&2; exit 255; fi
    echo "$3" >"$PHONE/mode"
    exit 0
fi
if [ "$1 $2 $3 $4" = "battery get -f current_now" ]; then cat "$PHONE/answers/current_now"; exit 0; fi
if [ "$1 $2" = "power help" ]; then cat "$PHONE/answers/power-help"; exit 0; fi
echo "Unknown command: $2"
exit 255
"""
_DUMPSYS = '#!/bin/sh\ncat "$PHONE/answers/$1"\n'
_GETPROP = '#!/bin/sh\ncat "$PHONE/answers/$1"\n'
_SETTINGS = '#!/bin/sh\ncat "$PHONE/answers/$3"\n'


def need_adb() -> None:
    """Skip the test with the reason where the adb client is absent."""
    if shutil.which("adb") is None:
        pytest.skip("the adb client is not installed (Debian: apt install adb)")


class Phone:
    """A phone in a folder. `ports`: what its TCP ports lead to on this machine; `state`: as `adb devices` says it."""

    def __init__(self, folder: Path, answers: Answers = ANSWERS[-1], *, serial: str = SERIAL) -> None:
        self.folder, self.serial = folder, serial
        self.state = "device"
        self.ports: dict[int, int] = {}
        for name in ("bin", "answers", "data/local/tmp"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        programs = (("cmd", _CMD), ("dumpsys", _DUMPSYS), ("getprop", _GETPROP), ("settings", _SETTINGS))
        for name, text in programs:
            (folder / "bin" / name).write_text(text)
            (folder / "bin" / name).chmod(0o755)
        for name, text in answers.files.items():
            self.answer(name, text)
        for core, khz in answers.clocks_khz.items():
            path = folder / f"sys/devices/system/cpu/cpu{core}/cpufreq"
            path.mkdir(parents=True)
            (path / "scaling_cur_freq").write_text(f"{khz}\n")

    def answer(self, name: str, text: str) -> None:
        """Let `dumpsys` or `getprop` answer so when asked for `name`."""
        (self.folder / "answers" / name).write_text(text)

    def supply(self, supply: str, **properties: object) -> None:
        """Let a power supply have these properties in /sys."""
        folder = self.folder / "sys/class/power_supply" / supply
        folder.mkdir(parents=True, exist_ok=True)
        for name, value in properties.items():
            (folder / f"{name}.new").write_text(f"{value}\n")
            (folder / f"{name}.new").replace(folder / name)  # who reads meanwhile reads one or the other

    def use_androids_programs(self) -> None:
        """Give the phone Android's shell and tools, mksh and toybox, or skip the test where this machine has none."""
        for name, program in (("sh", "mksh"), *((name, "toybox") for name in _TOYBOX)):
            found = shutil.which(program)
            if found is None:
                pytest.skip(f"{program} is not installed (Debian: apt install {program})")
            (self.folder / "bin" / name).symlink_to(found)

    @property
    def mode(self) -> str:
        """Whether fixed-performance mode is on, as it was last set; empty where nobody ever set it."""
        path = self.folder / "mode"
        return path.read_text().strip() if path.exists() else ""

    def guards(self) -> list[int]:
        """Return the processes of guards of this phone: leaders of sessions, as their forks are not."""
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                with contextlib.suppress(OSError):
                    words = (entry / "cmdline").read_bytes().split(b"\0")
                    session = (entry / "stat").read_text().rpartition(")")[2].split()[3]
                    is_guard = b"harness-guard" in words and str(self.folder).encode() in b"\0".join(words)
                    if is_guard and session == entry.name:
                        found.append(int(entry.name))
        return found

    def restart(self) -> None:
        """Restart: all processes end, and the mode with them."""
        self.end_processes()
        (self.folder / "mode").write_text("false\n")

    def end_processes(self) -> None:
        """End the guards without a chance to do anything, as adbd's end does."""
        for pid in self.guards():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)

    @staticmethod
    def run_anywhere(line: str) -> bytes:
        """Return the output of a line in a shell of no phone in particular."""
        return subprocess.run(["/bin/sh", "-c", line], capture_output=True, timeout=60, check=True).stdout

    def run(self, line: str) -> tuple[int, bytes, bytes]:
        """Run a line in the phone's shell; return status, output and errors."""
        for folder in _FOLDERS:
            line = line.replace(folder, f"{self.folder}{folder}")
        environment = {"PATH": f"{self.folder}/bin:/usr/bin:/bin", "PHONE": str(self.folder)}
        shell = shutil.which("sh", path=environment["PATH"])
        assert shell is not None
        process = subprocess.Popen(
            [shell, "-c", line],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        output, errors = process.communicate(timeout=60)
        # What the shell leaves behind in its session ends with it.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        return process.returncode % 256, output.replace(str(self.folder).encode(), b""), errors


class AdbServer:
    """The server. `asked` holds the services that clients asked for; `forwards` the ports that it listens on."""

    def __init__(self, phones: list[Phone]) -> None:
        self.phones = phones
        self.asked: list[str] = []
        self.lost_bytes = 0  # of each file that is put on a phone
        self.most_files: int | None = None  # in a folder of a phone whose storage is full beyond
        self.cuts: list[int] = []  # after how many bytes the cable is loose in the next answers of a shell
        self.forwards: dict[int, socket.socket] = {}
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._in_thread(self._accept, self._listener, self._serve)

    def environment(self) -> Mapping[str, str]:
        """Return what leads adb clients to this server."""
        return {"ANDROID_ADB_SERVER_PORT": str(self.port)}

    def unplug(self) -> None:
        """Pull the cable: adb sees no phone, forwardings and what goes through them end."""
        self.phones = []
        for listener in self.forwards.values():
            _shut(listener)
        self.forwards.clear()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the server and what it started on the phones."""
        phones = self.phones
        self.unplug()
        _shut(self._listener)
        for phone in phones:
            phone.end_processes()

    def _in_thread(self, call, *arguments) -> None:  # type: ignore[no-untyped-def]
        threading.Thread(target=call, args=arguments, daemon=True).start()

    def _accept(self, listener: socket.socket, serve) -> None:  # type: ignore[no-untyped-def]
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:  # closed
                return
            self._in_thread(serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        """Answer one client; a service of the phone comes on the connection that chose the phone."""
        phone: Phone | None = None
        with connection, contextlib.suppress(OSError, ValueError):
            while True:
                service = _exactly(connection, int(_exactly(connection, 4), 16)).decode()
                self.asked.append(service)
                if phone is not None and not service.startswith("host"):
                    self._on_phone(connection, phone, service)
                    connection.shutdown(socket.SHUT_WR)
                    # Its word that no input comes; else closing drops what was sent.
                    while connection.recv(_LINK):
                        pass
                    return
                if service.startswith(("host:transport:", "host:tport:serial:")):
                    phone = self._choose(connection, service.split(":", 3 if "tport" in service else 2)[-1])
                    if phone is None:
                        return
                    connection.sendall(b"OKAY" + (struct.pack("<Q", 1) if "tport" in service else b""))
                    continue
                # Newer clients choose the phone first, older ones name it in the service.
                if phone is not None:
                    service = f"host-serial:{phone.serial}:{service.removeprefix('host:')}"
                self._host(connection, service)
                return

    def _choose(self, connection: socket.socket, serial: str) -> Phone | None:
        """Return the phone of a serial number; where it is not ready the client is told so, in adb's words."""
        found = [phone for phone in self.phones if phone.serial == serial]
        if not found:
            _fail(connection, f"device '{serial}' not found")
        elif len(found) > 1:
            _fail(connection, "more than one device/emulator")
        elif found[0].state != "device":
            _fail(connection, f"device {found[0].state}")
        else:
            return found[0]
        return None

    def _host(self, connection: socket.socket, service: str) -> None:
        if service == "host:version":
            _tell(connection, f"{VERSION:04x}")
        elif service in ("host:devices", "host:devices-l"):
            _tell(connection, "".join(f"{phone.serial}\t{phone.state}\n" for phone in self.phones))
        elif service in ("host:features", "host:host-features") or service.endswith(":features"):
            _tell(connection, "shell_v2,cmd,stat_v2")
        elif service.startswith("host-serial:"):
            self._of_serial(connection, service.removeprefix("host-serial:"))
        else:
            _fail(connection, f"unknown host service {service!r}")

    def _of_serial(self, connection: socket.socket, rest: str) -> None:
        serial, _, service = rest.partition(":")
        if service.startswith("killforward:tcp:"):
            listener = self.forwards.pop(int(service.rpartition(":")[2]), None)
            if listener is None:
                _fail(connection, "listener not found")
                return
            _shut(listener)
            connection.sendall(b"OKAYOKAY")
            return
        phone = self._choose(connection, serial)
        if phone is None:
            return
        if service.startswith("forward:tcp:0;tcp:"):
            port = int(service.rpartition(":")[2])
            listener = socket.create_server(("127.0.0.1", 0))
            self.forwards[listener.getsockname()[1]] = listener
            self._in_thread(self._accept, listener, lambda near: self._join(near, phone.ports.get(port)))
            text = str(listener.getsockname()[1])
            connection.sendall(b"OKAYOKAY" + f"{len(text):04x}{text}".encode())
        else:
            _fail(connection, f"unknown service {service!r}")

    def _join(self, near: socket.socket, port: int | None) -> None:
        """Lead a connection to a port of this machine; where the phone's port is closed it ends at once, as adb lets it."""
        try:
            far = socket.create_connection(("127.0.0.1", port or 1))
        except OSError:
            near.close()
            return
        self._open |= {near, far}
        back = threading.Thread(target=self._copy, args=(far, near), daemon=True)
        back.start()
        self._copy(near, far)
        back.join()
        self._open -= {near, far}
        for end in (near, far):
            end.close()

    def _copy(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(_LINK):
                other.sendall(data)
        for end in (one, other):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _on_phone(self, connection: socket.socket, phone: Phone, service: str) -> None:
        """Run a service of the phone: a shell line, in either protocol, or files that are put there."""
        name, _, line = service.partition(":")
        if name == "sync":
            connection.sendall(b"OKAY")
            self._sync(connection, phone)
            return
        if name.split(",")[0] != "shell":
            _fail(connection, "closed")
            return
        connection.sendall(b"OKAY")
        status, output, errors = phone.run(line)
        answer = output + errors
        if "v2" in name.split(","):
            told = ((_STDOUT, output), (_STDERR, errors), (_EXIT, bytes([status])))
            answer = b"".join(struct.pack("<BI", kind, len(data)) + data for kind, data in told if data)
        connection.sendall(answer[: self.cuts.pop(0)] if self.cuts else answer)

    def _sync(self, connection: socket.socket, phone: Phone) -> None:
        """Take files as `adb push` sends them, by the first version of the protocol: packages/modules/adb/SYNC.TXT."""
        while True:
            kind, size = struct.unpack("<4sI", _exactly(connection, 8))
            if kind == b"QUIT":
                return
            told = _exactly(connection, size).decode()
            path = phone.folder / told.rpartition(",")[0].lstrip("/")
            if kind in (b"STAT", b"LST2", b"STA2"):  # nothing is there
                connection.sendall(
                    b"STAT" + bytes(12) if kind == b"STAT" else kind + struct.pack("<I", 2) + bytes(64)
                )
                continue
            if kind != b"SEND":
                connection.sendall(b"FAIL" + struct.pack("<I", 7) + b"unknown")
                return
            data = b""
            while (packet := struct.unpack("<4sI", _exactly(connection, 8)))[0] == b"DATA":
                data += _exactly(connection, packet[1])
            if self.most_files is not None and len(list(path.parent.iterdir())) >= self.most_files:
                said = b"write failed: No space left on device"
                connection.sendall(b"FAIL" + struct.pack("<I", len(said)) + said)
                return
            path.write_bytes(data[: len(data) - self.lost_bytes])
            connection.sendall(b"OKAY" + bytes(4))


@contextmanager
def start_adb_server(*phones: Phone) -> Iterator[AdbServer]:
    """Run a server with these phones until the block ends."""
    server = AdbServer(list(phones))
    try:
        yield server
    finally:
        server.close()
        for phone in phones:
            phone.end_processes()


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise OSError("the client hung up")
        data += piece
    return data


def _tell(connection: socket.socket, text: str) -> None:
    connection.sendall(b"OKAY" + f"{len(text):04x}{text}".encode())


def _fail(connection: socket.socket, text: str) -> None:
    connection.sendall(b"FAIL" + f"{len(text):04x}{text}".encode())


def _shut(listener: socket.socket) -> None:
    with contextlib.suppress(OSError):
        listener.shutdown(socket.SHUT_RDWR)  # wakes who accepts
    listener.close()
