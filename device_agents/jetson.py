"""A Jetson's power mode and clocks, by NVIDIA's own programs nvpmodel and jetson_clocks: stored, set, put back.

What was found is on disk before anything is changed, so that whoever comes after a process that was killed, or after a loss of
power, can put it back. A power mode outlives a boot, clocks do not.
Source: https://docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/SD/PlatformPowerAndPerformance.html
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from device_agents.facts import (
    parse_clock_limits,
    parse_power_mode,
    parse_power_mode_number,
    parse_power_models,
)
from device_agents.locks import user_name
from device_agents.readings import run_bounded
from device_agents.refusal import Refusal
from device_agents.whole_files import replacing

KIND = "board"  # of refusals
TOOL_S = 20.0  # a Jetson Nano takes 2 s for jetson_clocks
TOOLS = ("nvpmodel", "jetson_clocks")
MODELS_FILE = "etc/nvpmodel.conf"
BOOT_FILE = "proc/sys/kernel/random/boot_id"
QUOTED_CHARACTERS = 400
REBOOT = "Reboot required"


@dataclass(frozen=True)
class Settings:
    """Settings that a campaign asks of a board.

    power_mode: name or number, empty: as it is. clocks: whether to hold them at their highest.
    """

    power_mode: str
    clocks: bool


@dataclass(frozen=True)
class PowerMode:
    """One of nvpmodel's modes."""

    name: str
    number: int


class Jetson:
    """The board's settings. folder: where what was found is kept while it is changed; filesystem: what holds `sys` and `etc`."""

    def __init__(self, folder: Path, filesystem: Path = Path("/")) -> None:
        self._note = folder / "board.json"
        self._clocks = folder / "board-clocks.conf"
        self._filesystem = filesystem

    @property
    def is_changed(self) -> bool:
        """Return whether something is still to be put back."""
        return self._note.exists()

    def apply(self, settings: Settings) -> dict[str, Any]:
        """Store what is there, then set what is asked for; return both modes' names. Raises: Refusal, all put back before."""
        self.restore()
        absent = [tool for tool in TOOLS if shutil.which(tool) is None]
        if absent:
            raise refused(
                "devices.toml asks for a Jetson's power mode or clocks, but there is no %s here; take jetson_power_mode and "
                "jetson_clocks out" % " and no ".join(absent)
            )
        before = now = self._mode()
        wanted = self._find_number(settings.power_mode) if settings.power_mode else before.number
        try:
            self._store(before)
            if wanted != before.number:
                now = self._set_mode(wanted)
            if settings.clocks:
                hold_clocks()
        except (Refusal, OSError) as error:
            self.restore()
            if isinstance(error, Refusal):
                raise
            raise refused("the board's settings: %s" % error) from error
        return {"power_mode": now.name, "before": before.name, "clocks": settings.clocks}

    def restore(self) -> None:
        """Put back what `apply` found, if that has not been done. Raises: Refusal with what failed; it can be tried again."""
        if not self.is_changed:
            return
        try:
            note = json.loads(self._note.read_text())
            found = PowerMode(str(note["name"]), int(note["number"]))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise refused(
                "what the board's settings were cannot be read (%s: %s); set them by hand (sudo nvpmodel -m NUMBER) and "
                "remove that file" % (self._note, error)
            ) from error
        is_same_boot = note.get("boot") == self._boot()
        try:
            if is_same_boot:
                run_tool("jetson_clocks", "--restore", str(self._clocks))
            if self._mode().number != found.number:
                self._set_mode(found.number)
                if is_same_boot:  # a mode sets clocks of its own
                    run_tool("jetson_clocks", "--restore", str(self._clocks))
        except Refusal as refusal:
            raise refused(
                "the board's settings are not put back, its power mode was %s: %s; put it back by hand (sudo nvpmodel -m %d) "
                "and remove %s there" % (found.name, refusal.message, found.number, self._note)
            ) from refusal
        self._note.unlink()
        self._remove_clocks()

    def _store(self, before: PowerMode) -> None:
        self._remove_clocks()  # jetson_clocks would ask whether it may overwrite the file
        run_tool("jetson_clocks", "--store", str(self._clocks))
        if not self._clocks.exists() or not self._clocks.stat().st_size:
            raise refused("jetson_clocks --store %s wrote nothing; nothing was changed" % self._clocks)
        note = {"name": before.name, "number": before.number, "boot": self._boot()}
        with replacing(self._note) as partial, partial.open("w") as file:
            json.dump(note, file)
            file.flush()
            os.fsync(file.fileno())

    def _remove_clocks(self) -> None:
        with suppress(FileNotFoundError):
            self._clocks.unlink()

    def _mode(self) -> PowerMode:
        text = run_tool("nvpmodel", "-q")
        try:
            return PowerMode(parse_power_mode(text), parse_power_mode_number(text))
        except ValueError as error:
            raise refused("nvpmodel -q: %s" % error) from error

    def _find_number(self, wanted: str) -> int:
        if wanted.isdecimal():
            return int(wanted)
        path = self._filesystem / MODELS_FILE
        try:
            modes = parse_power_models(path.read_text(errors="replace"))
        except OSError as error:
            raise refused("the board's power modes cannot be read: %s" % error) from error
        for number, name in modes.items():
            if wanted == name:
                return number
        known = ", ".join("%s (%d)" % (name, number) for number, name in modes.items()) or "none"
        raise refused("jetson_power_mode %r is none of this board's; %s names: %s" % (wanted, path, known))

    def _set_mode(self, number: int) -> PowerMode:
        text = run_tool("nvpmodel", "-m", str(number), check=False)
        now = self._mode()
        if now.number == number:
            return now
        if REBOOT in text:
            raise refused(
                "power mode %d wants a reboot of the board, which harness does not do; set it yourself (sudo nvpmodel -m %d), "
                "or name a mode that does not" % (number, number)
            )
        raise refused("nvpmodel -m %d left power mode %s as it was: %s" % (number, now.name, quoted(text)))

    def _boot(self) -> str:
        try:
            return (self._filesystem / BOOT_FILE).read_text().strip()
        except OSError:
            return ""


def refused(message: str) -> Refusal:
    """Return the refusal of settings that cannot be had."""
    return Refusal(KIND, message)


def hold_clocks() -> None:
    """Hold all clocks at their highest. Raises: Refusal where a processor's or the GPU's is still free."""
    run_tool("jetson_clocks")
    try:
        limits = parse_clock_limits(run_tool("jetson_clocks", "--show"))
    except ValueError as error:
        raise refused("jetson_clocks --show: %s" % error) from error
    free = ["%s (%d to %d)" % (name, low, high) for name, (low, high) in limits.items() if low != high]
    if free:
        raise refused("jetson_clocks left the clocks of %s free" % ", ".join(free))


def run_tool(name: str, *arguments: str, check: bool = True) -> str:
    """Run a program as root, without a question asked, and return all that it prints. Raises: Refusal where it fails.

    sudo's own memory of a password (`-k`) does not count: it may be over when the settings are to be put back.
    """
    command = [shutil.which(name) or name, *arguments]
    if os.geteuid() != 0:
        command = ["sudo", "-k", "-n", *command]
    try:
        done = run_bounded(command, TOOL_S, stderr=subprocess.STDOUT)
    except (OSError, subprocess.SubprocessError) as error:
        raise refused("%s: %s" % (name, error)) from error
    text = done.stdout.decode("utf-8", "replace")
    if "sudo:" in text and done.returncode:
        raise refused("%s needs root: %s; permit it: %s" % (name, quoted(text), permit()))
    # jetson_clocks tells of some failures only in words
    if check and (done.returncode or re.search(r"^Error", text, re.MULTILINE)):
        asked = " ".join((name, *arguments))
        raise refused("%s ended with status %d: %s" % (asked, done.returncode, quoted(text)))
    return text


def permit() -> str:
    """Return the command that lets this user run the programs as root."""
    paths = ", ".join(shutil.which(tool) or tool for tool in TOOLS)
    line = "%s ALL=(root) NOPASSWD: %s" % (user_name(os.getuid()), paths)
    return "echo '%s' | sudo tee /etc/sudoers.d/harness" % line


def quoted(text: str) -> str:
    """Return the end of what a program printed, in one line."""
    return (
        " / ".join(line.strip() for line in text.splitlines() if line.strip())[-QUOTED_CHARACTERS:]
        or "no word"
    )
