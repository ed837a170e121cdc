"""The conditions under which a session runs, read from the system.

Every probe is optional. What is absent is an absent key, never 0 or None; what is there but cannot be read or
parsed is an entry of `probe_errors` instead. Nothing here waits: files and commands with a deadline, no shell.
"""

from __future__ import annotations

import platform
import time
from functools import partial
from pathlib import Path
from typing import Any, Callable

from device_agents import facts
from device_agents.readings import Absent, Reading, keep, present, run_with_deadline

CPU = "sys/devices/system/cpu/cpu%d/cpufreq/%s"
THROTTLED_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"


class Probes:
    """Read one system's conditions. filesystem: what holds `sys`, `proc` and `etc`, for tests a folder."""

    def __init__(
        self, filesystem: Path = Path("/"), run_command: Callable[[list[str]], str] | None = None
    ) -> None:
        self._filesystem = filesystem
        self._run_command = run_command or run_with_deadline
        self._fixed: dict[str, Any] | None = None

    def conditions(self, cores: list[int]) -> dict[str, Any]:
        """Return the conditions now, frequencies and governors of `cores` alone."""
        reading = Reading(self._filesystem)
        values: dict[str, Any] = {"time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        values.update(self.fixed())
        reading.file(values, "uptime_s", "proc/uptime", facts.parse_uptime_s)
        reading.file(values, "load_1m", "proc/loadavg", facts.parse_load_1m)
        for key, line in (("memory_total_bytes", "MemTotal"), ("memory_available_bytes", "MemAvailable")):
            reading.file(values, key, "proc/meminfo", partial(memory, line))
        self._read_cores(reading, values, cores)
        self._read_temps(reading, values)
        self._read_battery(reading, values)
        self._read_throttled(reading, values)
        self._read_command(reading, values, "power_mode", ["nvpmodel", "-q"], facts.parse_power_mode)
        errors = dict(values.pop("probe_errors", {}), **reading.errors)
        if errors:
            values["probe_errors"] = errors
        return values

    def fixed(self) -> dict[str, Any]:
        """Return what does not change while the agent runs: processor, system, phone model."""
        if self._fixed is None:
            reading = Reading(self._filesystem)
            values: dict[str, Any] = {}
            reading.file(
                values, "cpu_model", "proc/cpuinfo", lambda text: present(facts.parse_cpu_model(text))
            )
            reading.file(
                values, "board", "proc/device-tree/model", lambda text: facts.parse_word(text.strip("\0\n"))
            )
            reading.file(values, "os", "etc/os-release", lambda text: present(facts.parse_os_release(text)))
            for key, name in (
                ("android", "ro.build.version.release"),
                ("phone", "ro.product.model"),
                ("soc", "ro.soc.model"),
            ):
                self._read_command(reading, values, key, ["getprop", name], parse_property)
            if reading.errors:
                values["probe_errors"] = reading.errors
            self._fixed = values
        return dict(self._fixed)

    def platform(self) -> dict[str, Any]:
        """Return what `hello` says of the system."""
        name = platform.uname()
        values: dict[str, Any] = {"system": name.system, "release": name.release, "machine": name.machine}
        values.update(self.fixed())
        values.pop("probe_errors", None)
        return values

    def oom_kills(self) -> int | None:
        """Return how often the kernel has ended a process for want of memory, None where it does not tell."""
        try:
            return facts.parse_oom_kills((self._filesystem / "proc/vmstat").read_text())
        except OSError:
            return None

    def _read_cores(self, reading: Reading, values: dict[str, Any], cores: list[int]) -> None:
        governors: dict[str, str] = {}
        frequencies: dict[str, dict[str, int]] = {}
        for core in cores:
            reading.file(
                governors, str(core), CPU % (core, "scaling_governor"), facts.parse_word, "governors"
            )
            khz: dict[str, int] = {}
            for key, file in (
                ("min", "scaling_min_freq"),
                ("max", "scaling_max_freq"),
                ("current", "scaling_cur_freq"),
            ):
                reading.file(khz, key, CPU % (core, file), int, "freq_khz")
            reading.file(khz, "hardware_max", CPU % (core, "cpuinfo_max_freq"), int, "freq_khz")
            if khz:
                frequencies[str(core)] = khz
        keep(values, governors=governors, freq_khz=frequencies)

    def _read_temps(self, reading: Reading, values: dict[str, Any]) -> None:
        temps: dict[str, float] = {}
        for zone in reading.folders("sys/class/thermal", "thermal_zone*"):
            name: dict[str, str] = {}
            reading.file(name, "type", "%s/type" % zone, facts.parse_word, "temps_c")
            key = name.get("type", Path(zone).name)
            if key in temps:
                key = "%s.%s" % (key, Path(zone).name)
            reading.file(temps, key, "%s/temp" % zone, facts.parse_temp_c, "temps_c")
        keep(values, temps_c=temps)

    def _read_battery(self, reading: Reading, values: dict[str, Any]) -> None:
        battery: dict[str, Any] = {}
        for supply in reading.folders("sys/class/power_supply", "*"):
            kind: dict[str, str] = {}
            reading.file(kind, "type", "%s/type" % supply, facts.parse_word, "battery")
            if kind.get("type") == "Battery" and not battery:
                reading.file(battery, "percent", "%s/capacity" % supply, facts.parse_percent, "battery")
                reading.file(battery, "status", "%s/status" % supply, facts.parse_word, "battery")
        keep(values, battery=battery)

    def _read_throttled(self, reading: Reading, values: dict[str, Any]) -> None:
        reading.file(values, "throttled", THROTTLED_FILE, facts.parse_throttled)
        if "throttled" not in values:
            self._read_command(
                reading, values, "throttled", ["vcgencmd", "get_throttled"], facts.parse_throttled
            )

    def _read_command(
        self,
        reading: Reading,
        values: dict[str, Any],
        key: str,
        command: list[str],
        parse: Callable[[str], Any],
    ) -> None:
        reading.take(values, key, lambda: self._run_command(command), parse, key)


def parse_property(text: str) -> str:
    """Return an Android property; one that is not set is an empty line."""
    if not text.strip():
        raise Absent()
    return facts.parse_word(text)


def memory(line: str, text: str) -> int:
    """Return a line of /proc/meminfo. Raises: Absent, ValueError."""
    return int(present(facts.parse_meminfo_bytes(text, line)))
