"""Answers of a phone's shell: those of Android 11 to 16 are read, what says nothing is absent with the reason, else an error."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rigs.android_answers import (
    ANSWERS,
    DENIED,
    FIXED_HELP,
    NO_POWER_HAL,
    NO_SERVICE,
    POWER_HELP,
    UNKNOWN_COMMAND,
    Answers,
    battery,
    thermal,
)

from device_agents.facts import Absent, parse_thermal_status
from device_agents.throttling import throttle_signs
from harness.devices.adb.answers import (
    fixed_refusal,
    parse_battery,
    parse_battery_saver,
    parse_clocks,
    parse_fixed_help,
    parse_release,
    parse_screen,
    parse_temperatures,
)
from harness.devices.adb.watch import _heeded, parse_told

EVERY = pytest.mark.parametrize("answers", ANSWERS, ids=lambda answers: f"android{answers.android}")
PARSERS: list[Callable[[str], object]] = [
    parse_thermal_status,
    parse_battery,
    parse_battery_saver,
    parse_screen,
    parse_release,
    parse_fixed_help,
    parse_clocks,
]


@EVERY
def test_each_android_is_read(answers: Answers) -> None:
    files = answers.files
    assert parse_thermal_status(files["thermalservice"]) == 0
    assert parse_temperatures(files["thermalservice"]) == {"BIG": 44.800003, "VIRTUAL-SKIN": 31.25}
    told = parse_battery(files["battery"])
    assert told == {"percent": 85, "status": "Charging", "temp_c": 27.4, "powered_by": ["usb"]} | {
        "voltage_mv": 4352
    }
    assert parse_screen(files["deviceidle"]) in ("on", "off")
    assert parse_release(files["ro.build.version.release"]) == answers.android
    assert parse_fixed_help(files["power-help"])


@pytest.mark.parametrize(
    ("text", "is_on"),
    [
        ("1\nnull\nnull\n", True),
        ("0\r\nnull\r\nnull\r\n", False),
        ("0\n1\nnull\n", True),  # Xiaomi
        ("0\nnull\n4\n", True),  # Huawei
        ("0\n0\n1\n", False),
    ],
)
def test_battery_saver_is_on_or_off(text: str, is_on: bool) -> None:
    assert parse_battery_saver(text) is is_on
    values, absent = parse_told(f"== saver\n{text}")
    assert (values, absent) == ({"battery_saver": is_on}, {})
    assert throttle_signs(_heeded(values)) == ["Android holds back: battery saver"] * is_on


@pytest.mark.parametrize(
    "text",
    [3 * line for line in ("null\n", "cmd: Can't find service: settings\n", "sh: settings: not found\n")],
)
def test_battery_saver_that_is_not_told_is_neither(text: str) -> None:
    with pytest.raises(Absent):
        parse_battery_saver(text)
    assert "battery_saver" not in parse_told(f"== saver\n{text}")[0]


RECORDED = json.loads(Path(__file__).with_name("recorded_answers.json").read_text("utf-8"))
name_of = lambda answer: answer["device"] or answer["url"]  # noqa: E731


@pytest.mark.parametrize(
    "answer", [one for one in RECORDED if one["command"] == "dumpsys thermalservice"], ids=name_of
)
def test_thermal_answers_that_people_published_are_read(answer: dict[str, Any]) -> None:
    assert parse_temperatures(answer["text"]) == answer["temps_c"]
    if isinstance(answer["status"], int):
        assert parse_thermal_status(answer["text"]) == answer["status"]
        return
    with pytest.raises(Absent, match=answer["status"]):
        parse_thermal_status(answer["text"])
    assert parse_thermal_status(answer["text"].replace("Thermal Status: 0", "Thermal Status: 3")) == 3


@pytest.mark.parametrize(
    "answer", [one for one in RECORDED if one["command"] == "dumpsys battery"], ids=name_of
)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_battery_answers_that_people_published_are_read(answer: dict[str, Any], end: str) -> None:
    assert parse_battery(answer["text"].replace("\n", end)) == answer["battery"]


@EVERY
@pytest.mark.parametrize("status", range(7))
def test_every_thermal_status_is_read_from_each_android(answers: Answers, status: int) -> None:
    text = answers.files["thermalservice"].replace("Thermal Status: 0", f"Thermal Status: {status}")
    assert parse_thermal_status(text) == status


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (thermal(override=True), "set by hand"),
        (thermal(3, override=True), "set by hand"),
        (thermal(ready=False), "no throttling"),
        (thermal(hal="ThermalHAL 1.0 connected: yes"), "no throttling"),
        (thermal(thresholds=""), "no thresholds"),
        ("Thermal Status: 0\n", "nothing is told of a thermal HAL"),
        (DENIED, "Permission Denial"),
        (NO_SERVICE, "Can't find service"),
        ("/system/bin/sh: dumpsys: inaccessible or not found\n", "not found"),
    ],
)
def test_a_thermal_status_that_says_nothing_is_absent_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(Absent, match=why):
        parse_thermal_status(text)


def test_a_phone_that_throttles_is_believed_whatever_its_sensors() -> None:
    assert parse_thermal_status(thermal(2, thresholds="")) == 2
    assert parse_thermal_status(thermal(2, hal="ThermalHAL 1.0 connected: yes")) == 2


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
@pytest.mark.parametrize(
    "text", ["", "Thermal Status: 9\n", "Thermal Status: many\n", "<html>", "true false", "\0\0"]
)
def test_an_unknown_answer_is_never_a_value(parse: Callable[[str], object], text: str) -> None:
    with pytest.raises((Absent, ValueError)):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        battery(status=9),
        battery().replace("  level: 85\n", ""),
        battery().replace("scale: 100", "scale: 0"),
        battery().replace("temperature: 274", "temperature: warm"),
        battery().replace("  USB powered: true\n", ""),
        battery().replace("USB powered: true", "USB powered: maybe"),
        battery().replace("Dock powered: false", "Dock powered: "),
    ],
)
def test_a_battery_of_which_a_part_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="harness knows"):
        parse_battery(text)


def test_a_battery_that_was_set_by_hand_is_not_told() -> None:
    by_hand = battery().replace("state:\n", "state:\n  (UPDATES STOPPED -- use 'reset' to restart)\n")
    with pytest.raises(Absent, match="battery reset"):
        parse_battery(by_hand)


def test_clocks_are_those_of_the_cores_that_may_be_read() -> None:
    path = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq {}\n"
    assert parse_clocks(path.format(0, 1803000) + path.format(12, 2850000)) == {"0": 1803000, "12": 2850000}
    with pytest.raises(Absent, match="scaling_cur_freq"):
        parse_clocks("\n")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"refused: {NO_POWER_HAL}", "maker has not built it in"),
        (f"refused: {UNKNOWN_COMMAND}", "Android 11 is the first"),
        ("refused: something else", "something else"),
    ],
)
def test_a_refusal_of_fixed_performance_says_what_the_phone_lacks(text: str, why: str) -> None:
    assert why in fixed_refusal(text)


def test_help_without_the_mode_is_that_of_an_older_android() -> None:
    assert not parse_fixed_help(POWER_HELP)
    assert parse_fixed_help(POWER_HELP + FIXED_HELP)


def test_one_part_that_cannot_be_read_leaves_the_others() -> None:
    values, absent = parse_told(f"== thermal\n{DENIED}== battery\n{battery()}== screen\ntrue\n")
    assert values["battery"]["percent"] == 85
    assert values["screen"] == "on"
    assert list(absent) == ["thermal_status"]


MANY = "".join(
    f"\tTemperature{{mValue=40.0, mType=0, mName=cpu{number}, mStatus=0}}\n" for number in range(600)
)
CLOCK = "/sys/devices/system/cpu/cpu{}/cpufreq/scaling_cur_freq {}\n"


@pytest.mark.parametrize(
    ("part", "text", "key"),
    [
        ("battery", battery().replace("level: 85", f"level: {'9' * 400}"), "battery"),
        ("battery", battery(level=850), "battery"),
        ("battery", battery().replace("temperature: 274", f"temperature: {'9' * 400}"), "battery"),
        ("thermal", thermal(skin_c="1e300"), "temps_c"),
        ("thermal", thermal().replace("from HAL:\n", f"from HAL:\n{MANY}", 1), "temps_c"),
        ("clocks", CLOCK.format(0, "9" * 400), "freq_khz"),
        ("clocks", CLOCK.format("9" * 400, 1), "freq_khz"),
        ("gauge", f"battery type {'x' * 500}\n", "gauge"),
    ],
)
def test_what_no_phone_can_have_is_absent_and_the_reason_is_short(part: str, text: str, key: str) -> None:
    values, absent = parse_told(f"== {part}\n{text}== screen\ntrue\n")
    assert key not in values and values["screen"] == "on"
    assert len(absent[key]) < 600


def test_the_names_of_a_phones_sensors_are_made_printable() -> None:
    text = thermal().replace("BIG", "B\x1b[2JG")
    values, _ = parse_told(f"== thermal\n{text}")
    assert values["temps_c"] == {"B\\x1b[2JG": 44.800003, "VIRTUAL-SKIN": 31.25}
