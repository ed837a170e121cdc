"""Pure parsers of what systems tell about themselves.

Each takes a text and returns a fact, or raises ValueError when the text cannot be read; a fact that the text does not hold is
None, or Absent where there is a reason to tell. Tested by golden answers: a new device's odd output is one more JSON file.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Callable, Sequence

PLAUSIBLE_TEMP_C = (-60.0, 200.0)
# Android's words for a command or a service that is not there, or not for this user, as in Termux.
REFUSED = re.compile(
    r"Permission Denial|Can't find service: \S+|cmd: Can't find service|not found|inaccessible"
)
THRESHOLDS = "Temperature static thresholds from HAL:\n"
# How types of cooling devices begin that hold a processor down for heat. Linux: drivers/thermal/cpufreq_cooling.c,
# devfreq_cooling.c and cpuidle_cooling.c, before 5.13 and since, drivers/acpi/processor_thermal.c, intel_powerclamp.c; and a
# Coral on PCIe. A fan is another.
CLOCK_CAPS = (
    *("thermal-cpufreq-", "cpufreq-", "thermal-devfreq-", "devfreq-", "thermal-idle-", "idle-"),
    *("Processor", "intel_powerclamp", "apex_"),
)

UNTOLD = re.compile(r"\[.*\]|N/A|")  # [N/A], [Not Supported], [Unknown Error]


class Absent(Exception):
    """A thing that a system does not have, or does not tell, and why."""


def parse_switch(text: str) -> bool:
    """Return whether something is enabled."""
    if text not in ("Enabled", "Disabled"):
        raise ValueError("%r is neither Enabled nor Disabled" % text[:80])
    return text == "Enabled"


GPU_FIELDS: tuple[tuple[str, Callable[[str], Any]], ...] = (
    ("index", int),
    ("name", str),
    ("reasons", lambda word: int(word, 16)),
    ("temp_c", float),
    ("clock_mhz", int),
    ("max_clock_mhz", int),
    ("power_w", float),
    ("persistence", parse_switch),
)
"""What `nvidia-smi` is asked of each GPU, in this order."""


def parse_cpu_model(cpuinfo: str) -> str | None:
    """Return the processor's name from /proc/cpuinfo: x86's model name, a board's Model, or an arm part."""
    values = cpuinfo_values(cpuinfo)
    for key in ("model name", "Hardware", "Model"):
        if values.get(key):
            return values[key][0]
    if "CPU part" in values:
        parts = list(dict.fromkeys(values["CPU part"]))
        implementers = values.get("CPU implementer", ["?"])
        return "arm %s: %s" % (implementers[0], ", ".join(parts))
    return None


def parse_cpu_parts(cpuinfo: str) -> dict[int, int]:
    """Return {core: part number} from an arm's /proc/cpuinfo, empty elsewhere."""
    parts: dict[int, int] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        values = cpuinfo_values(block)
        if "processor" in values and "CPU part" in values:
            parts[int(values["processor"][0])] = int(values["CPU part"][0], 16)
    return parts


def cpuinfo_values(text: str) -> dict[str, list[str]]:
    """Return all values of each key of `key : value` lines."""
    values: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        if colon:
            values.setdefault(key.strip(), []).append(value.strip())
    return values


def parse_os_release(text: str) -> str | None:
    """Return the system's name from /etc/os-release."""
    for key in ("PRETTY_NAME", "NAME"):
        match = re.search(r'^%s=["\']?(.*?)["\']?$' % key, text, re.MULTILINE)
        if match and match.group(1):
            return match.group(1)
    return None


def parse_meminfo_bytes(text: str, key: str) -> int | None:
    """Return one line of /proc/meminfo, such as MemAvailable, in bytes."""
    match = re.search(r"^%s:(.*)$" % re.escape(key), text, re.MULTILINE)
    if match is None:
        return None
    value = re.fullmatch(r"\s*(\d+) kB", match.group(1))
    if value is None:
        raise ValueError("%s is %r" % (key, match.group(1).strip()))
    return int(value.group(1)) * 1024


def parse_first_number(text: str) -> float:
    """Return the load of the last minute from /proc/loadavg, or the seconds since boot from /proc/uptime."""
    return float(text.split(" ")[0])


def parse_temp_c(text: str) -> float:
    """Return a thermal zone's temperature; the file holds thousandths, on a few old systems whole degrees."""
    value = int(text)
    temp_c = value / 1000 if abs(value) >= 1000 else float(value)
    if not PLAUSIBLE_TEMP_C[0] <= temp_c <= PLAUSIBLE_TEMP_C[1]:
        raise ValueError("%r is no temperature" % text.strip())
    return temp_c


def parse_trips(trips_c: Sequence[float], text: str) -> int:
    """Return how many trip points a temperature has reached."""
    temp_c = parse_temp_c(text)
    return sum(temp_c >= trip_c for trip_c in trips_c)


def parse_throttled(text: str) -> int:
    """Return the flags of `vcgencmd get_throttled`, or of the firmware's file: 0 to 3 now, 16 to 19 since boot."""
    match = re.fullmatch(r"(?:throttled=0x|0x)?([0-9a-fA-F]+)\s*", text)
    if match is None:
        raise ValueError("%r is no throttle mask" % text[:80])
    return int(match.group(1), 16)


def parse_power_mode(text: str) -> str:
    """Return the mode's name from `nvpmodel -q`."""
    match = re.search(r"NV Power Mode:\s*(\S+)", text)
    if match is None:
        raise ValueError("%r names no power mode" % text[:80])
    return match.group(1)


def parse_power_mode_number(text: str) -> int:
    """Return the mode's number from `nvpmodel -q`, which stands alone in a line."""
    numbers: list[str] = re.findall(r"^\s*(\d+)\s*$", text, re.MULTILINE)
    if len(numbers) != 1:
        raise ValueError("%r has no number of a power mode" % text[:80])
    return int(numbers[0])


def parse_power_models(text: str) -> dict[int, str]:
    """Return {number: name} of the power modes in /etc/nvpmodel.conf."""
    found = re.findall(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+)\s*>", text, re.MULTILINE)
    return {int(number): name for number, name in found}


def parse_alarm(text: str) -> int:
    """Return a sensor's alarm: 1 where it is on, else 0."""
    if text.strip() not in ("0", "1"):
        raise ValueError("%r is no alarm" % text[:80])
    return int(text)


def parse_count(text: str) -> int:
    """Return a count, such as a fan's turns a minute, or how hard a cooling device works (each kind has its own highest)."""
    value = int(text)
    if value < 0:
        raise ValueError("%r is no count" % text.strip())
    return value


def parse_cell(text: str) -> int:
    """Return a number of the device tree, four bytes, read as latin-1."""
    if len(text) != 4:
        raise ValueError("%r are not four bytes" % text[:80])
    return int.from_bytes(text.encode("latin-1"), "big")


def parse_volts(text: str) -> float:
    """Return the voltage that `vcgencmd pmic_read_adc EXT5V_V` reads."""
    match = re.search(r"EXT5V_V volt\(\d+\)=(\d+\.\d+)V", text)
    if match is None:
        raise ValueError("%r tells of no voltage" % text[:80])
    return float(match.group(1))


def parse_tegrastats(line: str) -> dict[str, float]:
    """Return load in % and clock in MHz of a Jetson's GPU and memory from a line of tegrastats, as far as it tells them.

    Clocks are told to root alone by some releases; a GPU of several clusters tells one each, of which the highest counts.
    Source: https://docs.nvidia.com/jetson/archives/r36.3/DeveloperGuide/AT/JetsonLinuxDevelopmentTools/TegrastatsUtility.html
    """
    found: dict[str, float] = {}
    for name, key in (("GR3D_FREQ", "gpu"), ("EMC_FREQ", "memory")):
        match = re.search(r"\b%s (?:(\d+)%%)?(?:@\[?([\d,]+)\]?)?(?= |$)" % name, line.strip())
        if match:
            if match.group(1):
                found[key + "_percent"] = float(match.group(1))
            if match.group(2):
                found[key + "_mhz"] = float(max(int(clock) for clock in match.group(2).split(",") if clock))
    if not found or not re.search(r"\bRAM \d+/\d+MB", line):
        raise ValueError("%r is no line of tegrastats" % line[:80])
    return found


def parse_clock_limits(text: str) -> dict[str, tuple[int, int]]:
    """Return {cpu0 or GPU: (lowest, highest)} from `jetson_clocks --show`, cores in kHz, the GPU in Hz; no core that is off."""
    found = re.findall(r"^\s*(cpu\d+|GPU)\b.*?\bMinFreq=(\d+) MaxFreq=(\d+)", text, re.MULTILINE)
    if not found:
        raise ValueError("%r tells of no clock" % text[:80])
    return {name: (int(low), int(high)) for name, low, high in found}


def parse_thermal_status(text: str) -> int:
    """Return Android's thermal status from `dumpsys thermalservice`: 0 none, 1 light, ... 6 shutdown.

    Raises: Absent where the service is not there (before Android 10) or not shown to this user, or the status says nothing: set
    by hand, or 0 because no sensor or no threshold is behind it, as on some phones however hot they are; ValueError.
    Source: frameworks/base, services/core/java/com/android/server/power/ThermalManagerService.java, dumpInternal.
    """
    match = re.search(r"^\s*Thermal Status: ([0-6])\s*$", text, re.MULTILINE)
    if match is None:
        raise no_answer("dumpsys thermalservice", text)
    if "IsStatusOverride: true" in text:
        raise Absent(
            "its thermal status was set by hand; to have the real one: adb shell cmd thermalservice reset"
        )
    if match.group(1) != "0":
        return int(match.group(1))
    if "HAL Ready: " not in text:
        raise Absent("its thermal status is 0, and nothing is told of a thermal HAL behind it")
    if "HAL Ready: false" in text or "ThermalHAL 1.0" in text:
        raise Absent("its thermal status is always 0: its thermal HAL tells of no throttling")
    if "ThermalHAL " not in text:
        raise Absent(
            "its thermal HAL is its maker's own, of which it is not known whether it tells of throttling"
        )
    _, header, behind = text.replace("\r", "").partition(THRESHOLDS)
    if header and not behind.startswith("\t"):  # a line each, in the words of the HAL's version
        raise Absent("its thermal status is always 0: its thermal HAL has no thresholds")
    return 0


def no_answer(command: str, text: str) -> Exception:
    """Return the exception for an answer of Android's shell in which the wanted line is not: Absent, or ValueError."""
    if refusal := REFUSED.search(text):
        line = next(line for line in text.splitlines() if refusal.group(0) in line)
        return Absent("%r says: %s" % (command, line.strip()[:120]))
    return ValueError("%r answered %r, which harness does not know" % (command, text[:80]))


def parse_gpus(text: str) -> list[dict[str, Any]]:
    """Return the GPUs that nvidia-smi lists, one a line, in the order of GPU_FIELDS.

    `reasons` is the mask of why the clock is as it is. What a GPU does not tell is left out.
    Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlClocksEventReasons.html
    """
    return [parse_gpu(line) for line in text.splitlines() if line.strip()]


def parse_gpu_programs(text: str) -> int:
    """Return how many programs nvidia-smi lists by their process ids. Raises: ValueError for what it cannot tell."""
    words = [line.strip() for line in text.splitlines() if line.strip()]
    if not all(word.isdecimal() for word in words):
        raise ValueError("%r are no process ids" % text.strip()[:120])
    return len(words)


def parse_gpu(line: str) -> dict[str, Any]:
    """Return one GPU. Raises: ValueError."""
    words = [word.strip() for word in line.split(",")]
    if len(words) != len(GPU_FIELDS):
        raise ValueError("%r has %d fields, not %d" % (line[:120], len(words), len(GPU_FIELDS)))
    gpu: dict[str, Any] = {}
    for index, (key, parse) in enumerate(GPU_FIELDS):
        word = words[index]
        if not UNTOLD.fullmatch(word):
            gpu[key] = parse(word)
    return gpu


def parse_gpu_limits(text: str) -> dict[str, float] | None:
    """Return those of a GPU's limits, of power in W and of its clock in MHz, that were set to other than the default, if any."""
    words = [word.strip() for word in text.strip().split(",")]
    if len(words) != 4:
        raise ValueError("%r has %d fields, not 4" % (text[:120], len(words)))
    limits: dict[str, float] = {}
    for place, name in enumerate(("power_w", "clock_mhz")):
        now, default = words[2 * place : 2 * place + 2]
        if not (UNTOLD.fullmatch(now) or UNTOLD.fullmatch(default)) and float(now) != float(default):
            limits[name] = float(now)
    return limits or None


def parse_percent(text: str) -> int:
    """Return a battery's charge, or a GPU's load."""
    value = int(text)
    if not 0 <= value <= 100:
        raise ValueError("%r is no percentage" % text.strip())
    return value


def parse_boost(off: str, text: str) -> bool:
    """Return whether clocks may be boosted; `off` says that they may not."""
    if text.strip() not in ("0", "1"):
        raise ValueError("%r is neither 0 nor 1" % text[:80])
    return text.strip() != off


def parse_word(text: str) -> str:
    """Return a word that stands alone in a file, such as a governor."""
    word = text.strip()
    if not word or len(word) > 200:
        raise ValueError("%r is no word" % text[:80])
    return word


def parse_machine_id(text: str) -> str | None:
    """Return a digest of a number, an id or a public key that a machine alone has; None where none is set."""
    word = text.strip("\0\n\r ")
    if not word.strip("0") or word.lower() in ("unknown", "uninitialized"):
        return None
    return hashlib.sha256(("harness " + word).encode()).hexdigest()[:16]


def parse_oom_kills(vmstat: str) -> int | None:
    """Return how often the kernel ended a process for want of memory, from /proc/vmstat."""
    match = re.search(r"^oom_kill (\d+)$", vmstat, re.MULTILINE)
    return int(match.group(1)) if match else None


def parse_waited_ns(schedstat: str) -> int | None:
    """Return how long a thread was ready but had no core, from /proc/PID/task/TID/schedstat.

    Source: https://docs.kernel.org/scheduler/sched-stats.html (run, waited, timeslices); a kernel that keeps no
    account says 0 to all three.
    """
    run_ns, waited_ns, _ = (int(word) for word in schedstat.split())
    return waited_ns if run_ns else None
