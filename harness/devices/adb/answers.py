"""Parsers of a phone shell's answers: values are taken as they are, and unknown ones never guessed.

Each parser knows the texts of Android 11 to 16: tests/rigs/android_answers.py has their forms by AOSP's sources, and
tests/harness/devices/adb/recorded_answers.json what phones answered, as public reports have it. What the phone does
not tell is `Absent` with the reason; a text of another form is a ValueError.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import isfinite
from typing import Any

from device_agents.facts import Absent, no_answer
from device_agents.gauges import DISCHARGING

_TEMPERATURE = re.compile(r"\tTemperature\{mValue=([^,]+), mType=(-?\d+), mName=([^,}]*), mStatus=\d+\}")
# android.os.Temperature: -1 is unknown; 6, 7 and 8 are voltage, current and charge of the battery, no temperatures.
_NO_TEMPERATURES = ("-1", "6", "7", "8")
_FREQUENCY = re.compile(r"/sys/devices/system/cpu/cpu(\d+)/cpufreq/scaling_cur_freq (\d+)")
# android.os.BatteryManager, BATTERY_STATUS_UNKNOWN to BATTERY_STATUS_FULL, in the words of Linux's power_supply class.
_BATTERY = {"1": "Unknown", "2": "Charging", "3": "Discharging", "4": "Not charging", "5": "Full"}
_SUPPLY = re.compile(r"(\S{1,80}) (type|scope|status|online|current_now|voltage_now) (.{0,80})")
# The beginnings of types, as healthd knows them: BatteryMonitor.cpp.
_CHARGERS = (
    "Mains",
    "USB",
    "Wireless",
    "Dock",
)
_PLUGGED_IN = (
    "so its current is not what the phone takes; pull the cable and reach it without one: Wireless debugging (Settings, "
    "Developer options; Android 11 on), then 'adb pair' and 'adb connect', and adb = \"ADDRESS:PORT\" in devices.toml"
)
_SOURCES = {"AC powered": "ac", "USB powered": "usb", "Wireless powered": "wireless", "Dock powered": "dock"}
_LATER_SOURCES = {"Dock powered": "false"}  # of Android 13 on, and what phones of before have of it
_TRUTH = {"true": True, "false": False}
# Where Android keeps battery saver, then Xiaomi and Huawei, whose own leave Android's as it is; with the value that means on.
# https://github.com/react-native-device-info/react-native-device-info/issues/1514, and Organic Maps' PowerManagment.java.
SAVERS = {"global low_power": "1", "system POWER_SAVE_MODE_OPEN": "1", "system SmartModeStatus": "4"}


def parse_temperatures(text: str) -> dict[str, float]:
    """Return the temperatures in C that `dumpsys thermalservice` read just now, by sensor; empty where it has none.

    Those that it remembers are left out, as are sensors of an unknown type, or of another thing than temperature.
    """
    _, _, now = text.replace("\r", "").partition("Current temperatures from HAL:\n")
    found = {}
    for line in now.split("\n"):
        match = _TEMPERATURE.fullmatch(line)
        if match is None:
            break
        if match[2] not in _NO_TEMPERATURES and isfinite(value := float(match[1])):
            found[match[3]] = value
    return found


def parse_clocks(text: str) -> dict[str, int]:
    """Return the clocks in kHz of the cores, by id, from lines of file and value. Raises: Absent without any; ValueError."""
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise Absent("its shell may read no scaling_cur_freq of a core")
    found = {}
    for line in lines:
        match = _FREQUENCY.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{line[:80]!r} is no clock of a core")
        found[match[1]] = int(match[2])
    return found


def parse_battery(text: str) -> dict[str, Any]:
    """Return `percent`, `status`, `temp_c`, `powered_by` and, where it is told, `voltage_mv` of `dumpsys battery`.

    Makers print more, between these lines and behind: those of two spaces count, up to an empty line or the title of a log.
    Raises: Absent, ValueError. Source: services/core/java/com/android/server/BatteryService.java, dumpInternal.
    """
    _, header, rest = text.replace("\r", "").partition("Current Battery Service state:\n")
    if not header:
        raise no_answer("dumpsys battery", text)
    fields: dict[str, str] = {}
    for line in rest.split("\n"):
        if not line or line.startswith("["):
            break
        key, separator, value = line[2:].partition(": ")
        if separator and line.startswith("  "):
            fields[key] = value
    if "(UPDATES STOPPED" in rest:
        raise Absent("its battery was set by hand; to have the real one: adb shell dumpsys battery reset")
    try:
        percent = 100 * int(fields["level"]) / int(fields["scale"])
        status, temp_c = _BATTERY[fields["status"]], int(fields["temperature"]) / 10
        sources = [
            name
            for key, name in _SOURCES.items()
            if _TRUTH[fields[key] if key in fields else _LATER_SOURCES[key]]
        ]
    except (KeyError, ValueError, ArithmeticError) as error:
        raise ValueError(f"'dumpsys battery' has no {error} that harness knows") from error
    told = {"percent": round(percent), "status": status, "temp_c": temp_c, "powered_by": sources}
    voltage = fields.get("voltage", "")
    return told | ({"voltage_mv": int(voltage)} if voltage.isdecimal() else {})


def parse_gauge(text: str) -> dict[str, int]:
    """Return `current_ua` and `voltage_uv` of the battery in lines of supply, property and value of /sys/class/power_supply.

    Raises: Absent where it is not discharging, something charges it, or its current is kept from the shell; ValueError.
    """
    supplies: dict[str, dict[str, str]] = {}
    for line in text.splitlines():
        match = _SUPPLY.fullmatch(line.strip())
        if match is None:
            raise ValueError(f"{line[:80]!r} is no property of a power supply")
        supplies.setdefault(match[1], {})[match[2]] = match[3]
    batteries = {
        name: one
        for name, one in supplies.items()
        if one.get("type") == "Battery"
        and one.get("scope") != "Device"
        and {"current_now", "voltage_now"} <= one.keys()
    }
    if not batteries:
        raise Absent("its shell may read no current of a battery in /sys/class/power_supply")
    # Some phones list their gauge a second time, by its chip's name.
    battery = batteries.get("battery") or min(batteries.items())[1]
    chargers = [
        name
        for name, one in supplies.items()
        if one.get("type", "").startswith(_CHARGERS) and one.get("online", "0") != "0"
    ]
    check_discharging(battery.get("status", "unknown"), chargers)
    try:
        return {"current_ua": int(battery["current_now"]), "voltage_uv": int(battery["voltage_now"])}
    except ValueError as error:
        raise ValueError(f"its battery's gauge tells no number: {error}") from error


def parse_current(text: str) -> int:
    """Return the current in uA that `cmd battery get -f current_now` tells, which Android 15 is the first to know.

    Raises: Absent, ValueError. Source: services/core/java/com/android/server/BatteryService.java, Shell.
    """
    if not text.strip() or "Unknown get option" in text:
        raise Absent(
            "its Android does not tell the battery's current: Android 15 is the first, and its maker may have left it out"
        )
    if not re.fullmatch(r"-?\d{1,18}", text.strip()):
        raise no_answer("cmd battery get -f current_now", text)
    return int(text)


def check_discharging(status: str, chargers: Sequence[str]) -> None:
    """Check that a battery gives all that a phone takes. Raises: Absent with the remedy."""
    if chargers:
        raise Absent(f"the phone is plugged in ({', '.join(chargers)}; {status}), {_PLUGGED_IN}")
    if status != DISCHARGING:
        raise Absent(f"it is not discharging ({status}), {_PLUGGED_IN}")


def parse_screen(text: str) -> str:
    """Return `on` or `off` from `dumpsys deviceidle get screen`.

    Raises: Absent, ValueError. Source: DeviceIdleController.java, Shell command `get screen`, which prints mScreenOn.
    """
    word = text.strip()
    if word not in ("true", "false"):
        raise no_answer("dumpsys deviceidle get screen", text)
    return "on" if word == "true" else "off"


def parse_battery_saver(text: str) -> bool:
    """Return whether battery saver is on, from a line of `settings get` for each of `SAVERS`.

    Raises: Absent where it was never set, ValueError. Source: frameworks/base, core/java/android/provider/Settings.java,
    Global.LOW_POWER_MODE; services/core/java/com/android/server/power/batterysaver/BatterySaverStateMachine.java sets it.
    """
    words = text.replace("\r", "").strip().split("\n")
    if len(words) != len(SAVERS) or words[0] not in ("0", "1", "null"):
        raise no_answer("settings get global low_power", text)
    if any(word == on for word, on in zip(words, SAVERS.values(), strict=True)):
        return True
    if words[0] == "null":
        raise Absent("its Android does not tell whether battery saver is on")
    return False


def parse_release(text: str) -> str:
    """Return Android's version from `getprop ro.build.version.release`. Raises: ValueError."""
    if not re.fullmatch(r"[0-9A-Za-z.]{1,20}", text.strip()):
        raise ValueError(f"{text[:80]!r} is no version of Android")
    return text.strip()


def parse_fixed_help(text: str) -> bool:
    """Return whether `cmd power help` knows fixed-performance mode; the phone may refuse it all the same. Raises: ValueError."""
    if "Power manager (power) commands:" not in text:
        raise no_answer("cmd power help", text)
    return "set-fixed-performance-mode-enabled" in text


def fixed_refusal(text: str) -> str:
    """Return for people why `cmd power set-fixed-performance-mode-enabled true` failed.

    Source: services/core/java/com/android/server/power/PowerManagerShellCommand.java; before Android 11 the command is unknown.
    """
    if "Failed to set FIXED_PERFORMANCE mode" in text:
        return "its maker has not built it in (no Power HAL that knows it)"
    if "Unknown command" in text:
        return "its Android has no such mode: Android 11 is the first"
    return f"it answered {text.strip()[:120]!r}"
