"""The conditions under which a session runs, read from the system.

Every probe is optional. What is absent is an absent key, never 0 or None; what is there but cannot be read or
parsed is an entry of `probe_errors` instead. Nothing here waits but for the load of a GPU: files and commands with a deadline,
no shell.
"""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Callable, Mapping

from device_agents import facts
from device_agents.environment import find_libc
from device_agents.facts import Absent
from device_agents.gauges import DISCHARGING
from device_agents.nvidia import LOAD_PERIOD_S, ask_gpus, limits_of, load_of, programs_on, used_gpu
from device_agents.readings import MESSAGE_CHARACTERS, Reading, keep, run_with_deadline
from device_agents.sampler import Question, Source

CPU = "sys/devices/system/cpu/cpu%d/cpufreq/%s"
KHZ = {
    "min": "scaling_min_freq",
    "max": "scaling_max_freq",
    "current": "scaling_cur_freq",
    "hardware_max": "cpuinfo_max_freq",
}
THROTTLED_FILE = "sys/devices/platform/soc/soc:firmware/get_throttled"
THROTTLED_COMMAND = ["vcgencmd", "get_throttled"]
SUPPLY_COMMAND = ["vcgencmd", "pmic_read_adc", "EXT5V_V"]  # of a Raspberry Pi 5
SUPPLY_FILE = "proc/device-tree/chosen/power/max_current"
TEGRASTATS = "tegrastats"
THERMAL_COMMAND = ["dumpsys", "thermalservice"]
CLOCKS: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
    ("freq_khz", "scaling_cur_freq", int),
    ("min_khz", "scaling_min_freq", int),
    ("max_khz", "scaling_max_freq", int),
    ("governors", "scaling_governor", facts.parse_word),
)
"""What a sample tells of each measured core's clock: its group, the file, and how it is read."""
# What tells one machine from another of its model, the first that is there: a board's serial number, systemd's id, Termux's
# own host key.
MACHINE_FILES = (
    "proc/device-tree/serial-number",
    "etc/machine-id",
    "data/data/com.termux/files/usr/etc/ssh/ssh_host_ed25519_key.pub",
)
# Whether clocks may go beyond the nominal one, and what says that they may not.
BOOST = (("sys/devices/system/cpu/cpufreq/boost", "0"), ("sys/devices/system/cpu/intel_pstate/no_turbo", "1"))
APEX = "sys/class/apex"  # Corals on PCIe
PROCESS_IDS = "proc/self/ns/pid"
HOSTS_PROCESS_IDS = "pid:[4026531836]"  # Linux's PROC_PID_INIT_INO


class Probes:
    """Read one system's conditions. filesystem: what holds `sys`, `proc` and `etc`, for tests a folder."""

    def __init__(
        self, filesystem: Path = Path("/"), run_command: Callable[[list[str]], str] | None = None
    ) -> None:
        self._filesystem = filesystem
        self._run_command = run_command or run_with_deadline
        self._fixed: dict[str, Any] | None = None
        self._silent: set[tuple[str, ...]] = set()  # commands that have nothing to tell here
        self._gpu_command: list[str] | None = None

    def conditions(
        self,
        cores: list[int],
        gpus: bool = True,
        variables: Mapping[str, str] = os.environ,
        device_id: int = 0,
    ) -> dict[str, Any]:
        """Return the conditions now, frequencies and governors of `cores` alone.

        gpus: whether to ask for NVIDIA's GPUs, which takes a tenth of a second. A worker with these `variables` uses one of them:
        `device_id` counts those that are visible to it.
        """
        reading = Reading(self._filesystem)
        values: dict[str, Any] = {"time_utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
        values.update(self.fixed())
        reading.file(values, "uptime_s", "proc/uptime", facts.parse_first_number)
        for key, line in (("memory_total_bytes", "MemTotal"), ("memory_available_bytes", "MemAvailable")):
            reading.file(values, key, "proc/meminfo", partial(facts.parse_meminfo_bytes, key=line))
        self._read_cores(reading, values, cores)
        self._read_watched(reading, values)
        self._read_battery(reading, values)
        self._read_fans(reading, values)
        self._read_supply(reading, values)
        self._read_command(reading, values, "power_mode", ["nvpmodel", "-q"], facts.parse_power_mode)
        tegrastats = [TEGRASTATS, "--interval", "100"]
        self._read_command(reading, values, "tegrastats", tegrastats, facts.parse_tegrastats)
        self._read_command(reading, values, "thermal_status", THERMAL_COMMAND, facts.parse_thermal_status)
        if gpus:
            self._read_gpus(reading, values, variables, device_id)
        errors = dict(values.pop("probe_errors", {}), **reading.errors)
        if errors:
            values["probe_errors"] = errors
        return values

    def used_gpu(self, variables: Mapping[str, str], device_id: int) -> int:
        """Return the number of the NVIDIA GPU that a worker uses. Raises: as `nvidia.used_gpu`, and Absent without any."""
        gpus = facts.parse_gpus(ask_gpus(self._run_command)[1])
        return used_gpu(variables, device_id, gpus, self._run_command)

    def sources(self, cores: list[int]) -> list[Source]:
        """Return the files that a sample reads."""
        sources = [
            Source(group, str(core), CPU % (core, file), parse)
            for group, file, parse in CLOCKS
            for core in cores
        ]
        # Of both files the one that conditions are of: a sample tells the higher of two values.
        boosts = [(file, off) for file, off in BOOST if (self._filesystem / file).exists()][-1:]
        sources += [Source("", "boost", file, partial(facts.parse_boost, off)) for file, off in boosts]
        for one in watched(Reading(self._filesystem)):
            if one.group != "cooling" or one.key.startswith(facts.CLOCK_CAPS):  # a fan holds no clock down
                sources.append(one)
        return [replace(one, path=str(self._filesystem / one.path)) for one in sources]

    def questions(self, conditions: dict[str, Any]) -> list[Question]:
        """Return the commands that a sample runs: those that had an answer for the conditions before."""
        questions = []
        if "throttled" in conditions and not (self._filesystem / THROTTLED_FILE).exists():
            take = partial(named, "throttled", facts.parse_throttled)
            questions.append(Question(tuple(THROTTLED_COMMAND), take))
        if "thermal_status" in conditions:
            take = partial(named, "thermal_status", facts.parse_thermal_status)
            questions.append(Question(tuple(THERMAL_COMMAND), take))
        if "tegrastats" in conditions:
            take = partial(named, "tegrastats", facts.parse_tegrastats)
            questions.append(Question((TEGRASTATS, "--interval", "1000"), take, is_endless=True))
        for gpu in conditions.get("gpus", []):
            if gpu.get("used") and self._gpu_command is not None:
                questions.append(Question(tuple(self._gpu_command), partial(one_gpu, gpu["index"])))
            if "programs" in gpu:
                take = partial(named, "gpu_programs", facts.parse_gpu_programs)
                questions.append(Question(tuple(programs_on(gpu["index"])), take))
        return questions

    def fixed(self) -> dict[str, Any]:
        """Return the facts that stay the same while the agent runs: processor, system, phone model."""
        if self._fixed is None:
            reading = Reading(self._filesystem)
            values: dict[str, Any] = {}
            reading.file(values, "cpu_model", "proc/cpuinfo", facts.parse_cpu_model)
            reading.file(
                values, "board", "proc/device-tree/model", lambda text: facts.parse_word(text.strip("\0\n"))
            )
            reading.file(values, "os", "etc/os-release", facts.parse_os_release)
            for key, name in (
                ("android", "ro.build.version.release"),
                ("phone", "ro.product.model"),
                ("soc", "ro.soc.model"),
            ):
                self._read_command(reading, values, key, ["getprop", name], parse_property)
            if reading.errors:
                values["probe_errors"] = reading.errors
            for path in MACHINE_FILES:
                if "machine_id" not in values:
                    read = Reading(self._filesystem)  # what is withheld here, another file may tell
                    read.file(values, "machine_id", path, facts.parse_machine_id)
            self._fixed = values
        return dict(self._fixed)

    def platform(self) -> dict[str, Any]:
        """Return the part of `hello` on the system."""
        name = platform.uname()
        values: dict[str, Any] = {"system": name.system, "release": name.release, "machine": name.machine}
        values["bits"] = str(8 * struct.calcsize("P"))  # of this Python
        keep(values, libc=find_libc(self._filesystem)[0])
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
            for key, file in KHZ.items():
                reading.file(khz, key, CPU % (core, file), int, "freq_khz")
            if khz:
                frequencies[str(core)] = khz
        for file, off in BOOST:
            reading.file(values, "boost", file, partial(facts.parse_boost, off))
        keep(values, governors=governors, freq_khz=frequencies)

    def _read_watched(self, reading: Reading, values: dict[str, Any]) -> None:
        for one in watched(reading):
            found: dict[str, Any] = {}
            reading.file(found, one.key, one.path, one.parse, one.group or one.key)
            if found:
                group = values.setdefault(one.group, {}) if one.group else values
                group[one.key] = max(
                    found[one.key], group.get(one.key, found[one.key])
                )  # of several of one name
        if "throttled" not in values:
            self._read_command(reading, values, "throttled", THROTTLED_COMMAND, facts.parse_throttled)

    def _read_gpus(
        self, reading: Reading, values: dict[str, Any], variables: Mapping[str, str], device_id: int
    ) -> None:
        def ask() -> str:
            self._gpu_command, text = ask_gpus(self._run_command)
            return text

        reading.take(values, "gpus", ask, facts.parse_gpus, "gpus")
        for gpu in self._used(reading, values.get("gpus", []), variables, device_id):
            gpu["used"] = True
            ask = partial(
                self._gpu_load, load_of(gpu["index"])
            )  # of programs that draw, too, which are listed nowhere
            reading.take(gpu, "busy_percent", ask, facts.parse_percent, "gpu_load")
            ask = partial(self._run_command, limits_of(gpu["index"]))
            reading.take(gpu, "limits", ask, facts.parse_gpu_limits, "gpu_limits")
            if not self._has_own_process_ids():  # else nvidia-smi lists no program of others
                ask = partial(self._run_command, programs_on(gpu["index"]))
                reading.take(gpu, "programs", ask, facts.parse_gpu_programs, "gpus")

    def _used(
        self, reading: Reading, gpus: list[dict[str, Any]], variables: Mapping[str, str], device_id: int
    ) -> list[dict[str, Any]]:
        """Return the GPU that a worker uses, alone in a list; none where that is not known, which is noted."""
        try:
            index = used_gpu(variables, device_id, gpus, self._run_command) if gpus else None
        except (Absent, OSError, ValueError, subprocess.SubprocessError) as error:
            reading.errors["used_gpu"] = str(error)[:MESSAGE_CHARACTERS]
            return []
        return [gpu for gpu in gpus if gpu["index"] == index]

    def _has_own_process_ids(self) -> bool:
        """Return whether this system is a container whose process ids are not the host's; where nothing tells, it is none."""
        try:
            link = os.readlink(str(self._filesystem / PROCESS_IDS))  # noqa: PTH115 - Path has it from Python 3.9 on
            return link != HOSTS_PROCESS_IDS
        except OSError:
            return False

    def _gpu_load(self, command: list[str]) -> str:
        """Return a GPU's load in %, asked for again where it may be that of a worker that has just ended."""
        text = self._run_command(command)
        if text.strip() in ("", "0"):
            return text
        time.sleep(LOAD_PERIOD_S)
        return self._run_command(command)

    def _read_battery(self, reading: Reading, values: dict[str, Any]) -> None:
        battery: dict[str, Any] = {}
        for supply in reading.folders("sys/class/power_supply", "*"):
            kind: dict[str, str] = {}
            for key in ("type", "scope"):
                reading.file(kind, key, "%s/%s" % (supply, key), facts.parse_word, "battery")
            # A mouse's is a device's.
            is_own = kind.get("type") == "Battery" and kind.get("scope") != "Device"
            # One of several that runs down tells the most.
            if is_own and battery.get("status") != DISCHARGING:
                reading.file(battery, "percent", "%s/capacity" % supply, facts.parse_percent, "battery")
                reading.file(battery, "status", "%s/status" % supply, facts.parse_word, "battery")
        keep(values, battery=battery)

    def _read_fans(self, reading: Reading, values: dict[str, Any]) -> None:
        fans: dict[str, int] = {}
        for name, folders in hwmon_folders(reading).items():
            for file in (file for folder in folders for file in reading.folders(folder, "fan*_input")):
                key = "%s %s" % (name, Path(file).name.split("_")[0])
                reading.file(fans, key, file, facts.parse_count, "fans_rpm")
        keep(values, fans_rpm=fans)

    def _read_supply(self, reading: Reading, values: dict[str, Any]) -> None:
        """Read what a Raspberry Pi 5 has agreed on with its supply, and what arrives of it."""
        supply: dict[str, Any] = {}
        reading.file(supply, "max_ma", SUPPLY_FILE, facts.parse_cell, "supply", "latin-1")
        if supply:  # other boards' firmware has no such command
            self._read_command(reading, supply, "volts", SUPPLY_COMMAND, facts.parse_volts)
        keep(values, supply=supply)

    def _read_command(
        self,
        reading: Reading,
        values: dict[str, Any],
        key: str,
        command: list[str],
        parse: Callable[[str], Any],
    ) -> None:
        if tuple(command) in self._silent:
            return
        reading.take(values, key, lambda: self._run_command(command), parse, key)
        if key not in values and key not in reading.errors:
            self._silent.add(tuple(command))


def watched(reading: Reading) -> list[Source]:
    """Return the files, by their paths below the root, whose facts conditions and samples have alike.

    A Pi's mask and alarm of under-voltage, temperatures, how hard cooling devices work, how often a Jetson was held back.
    """
    alarms = ["%s/in0_lcrit_alarm" % folder for folder in hwmon_folders(reading).get("rpi_volt", [])]
    return [
        *(
            Source("temps_c", name, "%s/temp" % zone, facts.parse_temp_c)
            for name, zone in thermal_zones(reading).items()
        ),
        Source("", "throttled", THROTTLED_FILE, facts.parse_throttled),
        *(Source("", "undervoltage", file, facts.parse_alarm) for file in alarms),
        *(Source("cooling", kind, file, parse) for kind, file, parse in cooling_devices(reading)),
        *(
            Source("over_current", key, file, facts.parse_count)
            for key, file in over_current_counts(reading).items()
        ),
        Source("", "load_1m", "proc/loadavg", facts.parse_first_number),
    ]


def hwmon_folders(reading: Reading) -> dict[str, list[str]]:
    """Return {name: folders} of the sensors' chips."""
    found: dict[str, list[str]] = {}
    for folder in reading.folders("sys/class/hwmon", "hwmon*"):
        name: dict[str, str] = {}
        reading.file(name, "name", "%s/name" % folder, facts.parse_word, "hwmon")
        if name:
            found.setdefault(name["name"], []).append(folder)
    return found


def over_current_counts(reading: Reading) -> dict[str, str]:
    """Return {name: file} of the counts of how often a Jetson was held back for its supply's sake."""
    folders = (folder for folders in hwmon_folders(reading).values() for folder in folders)
    files = (file for folder in folders for file in reading.folders(folder, "oc*_event_cnt"))
    return {Path(file).name.split("_")[0]: file for file in files}


def cooling_devices(reading: Reading) -> list[tuple[str, str, Callable[[str], int]]]:
    """Return the type of each cooling device, the file that tells how hard it works, and its parser."""
    # A Coral on PCIe halves its clock at each of its trip points. https://coral.ai/docs/pcie-parameters/
    found: list[tuple[str, str, Callable[[str], int]]] = []
    for folder in reading.folders("sys/class/thermal", "cooling_device*"):
        kind: dict[str, str] = {}
        reading.file(kind, "type", "%s/type" % folder, facts.parse_word, "cooling")
        if kind:
            found.append((kind["type"], "%s/cur_state" % folder, facts.parse_count))
    for folder in reading.folders(APEX, "apex_*"):
        trips_c: dict[str, float] = {}
        for file in reading.folders(folder, "trip_point*_temp"):
            reading.file(trips_c, file, file, facts.parse_temp_c, "cooling")
        if trips_c:
            parse = partial(facts.parse_trips, list(trips_c.values()))
            found.append((Path(folder).name, "%s/temp" % folder, parse))
    return found


def thermal_zones(reading: Reading) -> dict[str, str]:
    """Return {name: folder} of the thermal zones and Corals, a name that comes again with its zone's."""
    zones: dict[str, str] = {}
    for zone in reading.folders("sys/class/thermal", "thermal_zone*"):
        name: dict[str, str] = {}
        reading.file(name, "type", "%s/type" % zone, facts.parse_word, "temps_c")
        key = name.get("type", Path(zone).name)
        zones["%s.%s" % (key, Path(zone).name) if key in zones else key] = zone
    for folder in reading.folders(APEX, "apex_*"):
        zones[Path(folder).name] = folder
    return zones


def named(key: str, parse: Callable[[str], Any], text: str) -> dict[str, Any]:
    """Return a fact under its name, nothing where the text holds none."""
    value = parse(text)
    return {} if value is None else {key: value}


def one_gpu(index: int, text: str) -> dict[str, Any]:
    """Return a sample's values of the GPU that a worker uses. Raises: ValueError."""
    gpu = next((one for one in facts.parse_gpus(text) if one.get("index") == index), {})
    keys = {"reasons": "gpu_reasons", "temp_c": "gpu_temp_c", "clock_mhz": "gpu_clock_mhz"}
    return {name: gpu[key] for key, name in keys.items() if key in gpu}


def parse_property(text: str) -> str | None:
    """Return an Android property; one that is not set is an empty line."""
    return facts.parse_word(text) if text.strip() else None
