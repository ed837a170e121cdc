"""The `adb` program of this machine, for one phone: commands with deadlines, each argument quoted in one place.

Only what `adb devices` calls a device is talked to; every other state is an error with its remedy.
Sources: https://android.googlesource.com/platform/packages/modules/adb (docs/user/adb.1.md; adb.cpp, ConnectionState).
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from device_agents.readings import Flood, run_bounded
from harness.devices.destination import check_serial
from harness.devices.transports.contract import MAX_OUTPUT_BYTES, CompletedCommand
from harness.errors import DeviceError, LinkError
from space.errors import did_you_mean

COMMAND_TIMEOUT_S = 15.0  # the first command of a day starts adb's server, which looks for devices
SHELL_TIMEOUT_S = 10.0
PUSH_TIMEOUT_S = 600.0  # 2 GB over USB 2
_PORT = re.compile(r"[0-9]{1,5}")
_LISTED = re.compile(r"([^\t]+)\t(.+)")
# Told last: where the cable is pulled, adb takes what had come for all, and the status for 0.
_TELL_STATUS = '; status=$?; echo; echo "== status $status"'
_STATUS = re.compile(rb"\r?\n== status ([0-9]{1,3})\r?\n\Z")

_ACCEPT = "unlock the phone and accept this computer's key there ('Allow USB debugging?')"
_PLUG_IN = "switch on USB debugging on the phone (Settings, Developer options), plug it in and accept this computer's key there"
_LINK_REMEDIES = {
    "offline": "unlock the phone and plug it in again, or: adb reconnect offline",
    "authorizing": "wait a moment, then try again",
    "connecting": "wait a moment, then try again",
}
_REMEDIES = {
    "unauthorized": f"{_ACCEPT}; where it does not ask: adb kill-server, then plug it in again",
    "no permissions": "this account may not open the phone's USB port: install udev's rules (Debian: apt install "
    "android-sdk-platform-tools-common), log in again, then: adb kill-server",
    **dict.fromkeys(
        ("bootloader", "recovery", "rescue", "sideload", "host"),
        "start Android on it: adb reboot, or its power button",
    ),
}


def shell_line(argv: Sequence[str]) -> str:
    """Return an argument vector as one line for Android's shell, which reads quotes as POSIX says.

    `adb shell` itself joins its arguments with spaces and quotes none, so it is given this line alone.
    Raises: ValueError for NUL, which no argument can hold.
    """
    if any("\0" in argument for argument in argv):
        raise ValueError(f"an argument of {argv[0]!r} holds NUL, which no command can be given")
    return shlex.join(argv)


class Adb:
    """The phone of this serial number, by the `adb` program. `who` names the device for people."""

    def __init__(self, serial: str, who: str) -> None:
        check_serial(serial)
        self.serial = serial
        self.who = who

    def version(self) -> str:
        """Return the version of the adb program. Raises: DeviceError where it is absent."""
        found = re.search(r"^Version (\S+)", self._adb(["version"]), re.MULTILINE)
        if found is None:
            raise DeviceError(self.who, "'adb version' names no version; install Android's platform tools")
        return found[1]

    def check(self) -> None:
        """Check that adb sees the phone and may use it.

        Raises: DeviceError with what to do; LinkError where the phone may come back by itself.
        """
        check_listing(self.serial, self._adb(["devices"]), self.who)

    def shell(self, argv: Sequence[str], *, timeout_s: float = SHELL_TIMEOUT_S) -> CompletedCommand:
        """Run a command in the phone's shell. Raises: LinkError when adb does not reach the phone, or loses it meanwhile."""
        done = self._run(["-s", self.serial, "shell", shell_line(argv) + _TELL_STATUS], timeout_s)
        status = _STATUS.search(done.stdout)
        if status is None:
            raise LinkError(
                self.who, f"adb: {_first_line(done.stderr) or f'the answer to {argv[0]!r} broke off'}"
            )
        return CompletedCommand(
            status=int(status[1]), stdout=done.stdout[: status.start()], stderr=done.stderr
        )

    def script(self, script: str, *arguments: str, timeout_s: float = SHELL_TIMEOUT_S) -> str:
        """Return the output of a shell script on the phone. Raises: as `shell`."""
        return self.shell(["sh", "-c", script, "harness", *arguments], timeout_s=timeout_s).text

    def push(self, path: Path, there: str) -> None:
        """Copy a file to the phone. Raises: LinkError."""
        self._adb(["-s", self.serial, "push", str(path), there], PUSH_TIMEOUT_S)

    def forward(self, port: int) -> int:
        """Forward a free port of this machine's loopback to a port of the phone; return it. Raises: DeviceError."""
        said = self._adb(["-s", self.serial, "forward", "tcp:0", f"tcp:{port}"]).strip()
        if not _PORT.fullmatch(said) or not 0 < int(said) < 1 << 16:
            raise DeviceError(
                self.who,
                f"'adb forward tcp:0' answered {said!r}, no port; adb of platform tools 24 or later is needed",
            )
        return int(said)

    def end_forward(self, local_port: int) -> None:
        """End a forwarding. Raises: DeviceError, also where a pulled cable has ended it already."""
        self._adb(["-s", self.serial, "forward", "--remove", f"tcp:{local_port}"])

    def _adb(self, arguments: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S) -> str:
        """Return adb's own answer. Raises: DeviceError."""
        done = self._run(arguments, timeout_s)
        if done.status != 0:
            raise LinkError(self.who, f"adb: {_first_line(done.stderr) or f'status {done.status}'}")
        return done.text

    def _run(self, arguments: Sequence[str], timeout_s: float) -> CompletedCommand:
        program = shutil.which("adb")
        if program is None:
            raise DeviceError(
                self.who,
                "there is no program 'adb' on this machine; install Android's platform tools "
                "(Debian: apt install adb; macOS: brew install android-platform-tools), or leave out adb = ...",
            )
        try:
            done = run_bounded([program, *arguments], timeout_s, MAX_OUTPUT_BYTES)
        except subprocess.TimeoutExpired as error:
            raise LinkError(
                self.who, f"adb did not answer within {timeout_s:g} s; is its cable loose?"
            ) from error
        except Flood as error:
            raise DeviceError(
                self.who, f"the phone's shell wrote more than {MAX_OUTPUT_BYTES} bytes"
            ) from error
        except OSError as error:
            raise DeviceError(self.who, f"{program} cannot be started: {error.strerror}") from error
        return CompletedCommand(
            status=done.returncode, stdout=done.stdout, stderr=done.stderr.decode("utf-8", "replace").strip()
        )


def check_listing(serial: str, listing: str, who: str) -> None:
    """Check that the answer of `adb devices` has a device of this serial number that is ready.

    Raises: DeviceError with the remedy; LinkError for a state that ends by itself, or a phone that may be plugged in again.
    """
    lines = listing.replace("\r", "").split("\n")
    if "List of devices attached" not in lines:
        raise DeviceError(who, f"'adb devices' answered {listing[:80]!r}, which is no list of devices")
    found = [
        _LISTED.fullmatch(line.strip(" ")) for line in lines[lines.index("List of devices attached") + 1 :]
    ]
    states = [(one[1], one[2]) for one in found if one is not None]
    own = [state for name, state in states if name == serial]
    if not own:
        others = [name for name, _ in states]
        seen = f"it sees {', '.join(others)}{did_you_mean(serial, others)}" if others else "it sees none"
        raise LinkError(who, f"adb sees no device {serial!r}, {seen}; {_PLUG_IN}")
    if len(own) > 1:
        raise DeviceError(
            who,
            f"adb sees {len(own)} devices of serial number {serial!r}; unplug all but one, for it cannot tell them apart",
        )
    state = "no permissions" if own[0].startswith("no permissions") else own[0]
    if state == "device":
        return
    if state in _LINK_REMEDIES:
        raise LinkError(who, f"adb says that {serial!r} is {state}; {_LINK_REMEDIES[state]}")
    remedy = _REMEDIES.get(state, "no state that harness knows; see what 'adb devices' says of it")
    raise DeviceError(who, f"adb says of {serial!r}: {state}; {remedy}")


def _first_line(text: str) -> str:
    """Return the first line of what adb said, without its own name and words on its server's start or other version."""
    own = ("*", "adb server version")
    lines = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith(own)]
    return re.sub(r"^(adb: )?(error: )?", "", lines[0]) if lines else ""
