"""Energy by a phone's battery gauge through adb: known joules, signs and units, chargers, slow gauges, unknown answers."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest
from factories.records import make_block_run, make_energy_run
from rigs.adb_server import SERIAL, AdbServer, Phone
from rigs.android_answers import NO_CURRENT, battery

from device_agents.block_plans import energy_plan
from device_agents.facts import Absent
from harness.devices.adb.answers import parse_battery, parse_current, parse_gauge
from harness.devices.adb.client import Adb
from harness.devices.adb.clock import ClockOffset, since_boot_ns
from harness.devices.adb.watch import CHANNEL, PhoneWatch, Told, find_gauge, gauge_power_uw, parse_told
from harness.devices.config import SshDevice
from harness.devices.doctor import _sensors
from harness.devices.runtimes import RuntimeUse
from harness.estimates.energy import NoEnergy, energy_of, sensor_of
from harness.records import BlockRun

WHO = "device 'pixel'"
AHEAD_NS = 5_000_000_000
SENSOR = {"kind": "battery", "scope": "all of it", "counters": {}, "powers": [CHANNEL], "source": "adb"}
UNPLUGGED = battery(status=3, usb=False)


def supplies(**changes: object) -> str:
    """Return what a phone's /sys tells: a battery, its gauge's chip once more, and a cable that is not plugged in."""
    values: dict[str, object] = {"type": "Battery", "status": "Discharging"}
    values |= {"current_now": -800_000, "voltage_now": 3_900_000} | changes
    lines = [f"battery {name} {value}\n" for name, value in values.items()]
    lines += ["maxfg type Battery\n", "maxfg current_now -799000\n", "maxfg voltage_now 3890000\n"]
    return "".join([*lines, "usb type USB\n", "usb online 0\n", "usb current_now 0\n"])


def by_sys(watts: float, sign: int = -1) -> str:
    return f"== gauge\n{supplies(current_now=sign * round(watts / 3.9 * 1e6))}"


def by_service(watts: float) -> str:
    voltage = UNPLUGGED.replace("voltage: 4352", "voltage: 4000")
    return f"== gauge\n== current\n{-round(watts / 4 * 1e6)}\n== battery\n{voltage}"


def power_uw(text: str) -> int:
    return gauge_power_uw(*parse_told(text))


def told(text: str, at_ns: int, lasts_ns: int = 60_000_000) -> Told:
    """Return an answer in the middle of which the phone's clock showed `at_ns`."""
    values, absent = parse_told(text)
    from_ns = at_ns + AHEAD_NS - lasts_ns // 2
    return Told(from_ns=from_ns, to_ns=from_ns + lasts_ns, values=values, absent=absent)


def joined(run: BlockRun, answers: list[Told], battery_text: str = UNPLUGGED) -> BlockRun:
    """Return a run joined with what a gauge told beside it, the clocks compared before and after."""
    begin_ns, end_ns = (run.blocks[place].start_ns + AHEAD_NS for place in (0, -1))
    clocks = [ClockOffset(offset_ns=AHEAD_NS, error_ns=10_000_000, known_ns=at) for at in (begin_ns, end_ns)]
    watched = PhoneWatch(Adb(SERIAL, WHO), fixed=False, offset=lambda: clocks[1])
    watched._clocks, watched._gauged = clocks[:1], answers
    watched._before = {"battery": parse_battery(battery_text)}
    watched._conditions = lambda: {"battery": parse_battery(battery_text)}  # type: ignore[method-assign]
    return watched.joined(run)


def trace(say: Callable[[float], str], update_s: float = 1.0, **changes: Any) -> tuple[BlockRun, list[Told]]:
    """Return a run without readings, and what a phone told once a second beside it."""
    whole = make_energy_run(kind="battery", update_s=update_s, **changes)
    plan = energy_plan(update_s)
    assert plan is not None
    second = {round(one["at_ns"] / 1e9): one for one in whole.readings}
    answers = [told(say(one["uw"]["all"] / 1e6), one["at_ns"]) for one in second.values()]
    return replace(whole, plan=asdict(plan), sensor=SENSOR, readings=()), answers


@pytest.mark.parametrize("say", [by_sys, by_service, lambda watts: by_sys(watts, sign=1)])
def test_known_joules_are_found_by_sys_by_the_service_and_whatever_the_sign(
    say: Callable[[float], str],
) -> None:
    run = joined(*trace(say))
    energy = energy_of(run)
    # 9 W while the network runs 200 times a second, 3 W at rest, 12 W while the reference runs 100 times a second
    assert energy.total.value == pytest.approx(45.0, rel=0.02)
    assert energy.above_idle.value == pytest.approx(30.0, rel=0.03)
    assert energy.reference.value == pytest.approx(120.0, rel=0.02)
    assert sensor_of(run) == "battery (all of it)"
    assert all(0 < one["at_error_ns"] < 500_000_000 for one in run.readings)
    assert "absent" not in run.conditions_after["adb"] or "gauge" not in run.conditions_after["adb"]["absent"]


def test_readings_that_are_dated_too_badly_tell_no_energy() -> None:
    run, answers = trace(by_sys)
    late = [replace(one, to_ns=one.to_ns + 1_000_000_000) for one in answers]
    run = joined(run, late)
    assert run.readings == ()
    assert "dated" in run.conditions_after["adb"]["absent"]["gauge"]
    with pytest.raises(NoEnergy, match="0 readings"):
        energy_of(run)


def test_a_cable_that_is_plugged_in_meanwhile_tells_no_energy_and_why() -> None:
    run, answers = trace(by_sys)
    charging = parse_told(f"== gauge\n{supplies(status='Charging', current_now=900_000)}")
    half = len(answers) // 2
    plugged = [replace(one, values=charging[0], absent=charging[1]) for one in answers[half:]]
    run = joined(run, answers[:half] + plugged)
    assert len(run.readings) == half
    assert "not discharging (Charging)" in run.conditions_after["adb"]["absent"]["gauge"]
    with pytest.raises(NoEnergy, match="fell silent"):
        energy_of(run)


def test_a_phone_that_its_service_calls_plugged_in_gives_no_reading_whatever_sys_says() -> None:
    run = joined(*trace(by_sys), battery_text=battery(status=3))
    assert run.readings == ()
    assert "plugged in (usb" in run.conditions_after["adb"]["absent"]["gauge"]


@pytest.mark.parametrize("which", ["before", "after"])
def test_a_phone_whose_service_does_not_tell_of_chargers_gives_no_reading(which: str) -> None:
    run, answers = trace(by_sys)
    known = {"battery": parse_battery(UNPLUGGED)}
    unknown = {"absent": {"battery": "its battery was set by hand"}}
    watched = PhoneWatch(Adb(SERIAL, WHO), fixed=False, offset=lambda: watched._clocks[0])
    watched._clocks = [
        ClockOffset(offset_ns=AHEAD_NS, error_ns=1, known_ns=run.blocks[0].start_ns + AHEAD_NS)
    ]
    watched._gauged = answers
    watched._before = unknown if which == "before" else known
    watched._conditions = lambda: known if which == "before" else unknown  # type: ignore[method-assign]
    run = watched.joined(run)
    assert run.readings == ()
    reason = run.conditions_after["adb"]["absent"]["gauge"]
    assert reason == "whether the phone is plugged in is not known: its battery was set by hand"


def test_a_gauge_is_read_beside_runs_that_ask_for_it_alone() -> None:
    run, answers = trace(by_sys)
    other = make_block_run(purpose="sustained")
    assert joined(replace(run, sensor={}), answers).readings == ()
    assert joined(other, answers).readings == ()


def test_samples_of_a_long_run_are_dated_by_the_nearer_of_two_looks_at_the_clocks() -> None:
    clocks_text = "== clocks\n/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq 9\n"
    clocks = [ClockOffset(offset_ns=AHEAD_NS, error_ns=1, known_ns=at) for at in (0, 1_500_000_000_000)]
    watched = PhoneWatch(Adb(SERIAL, WHO), fixed=False, offset=lambda: clocks[1])
    watched._clocks = clocks[:1]
    watched._conditions = lambda: {}  # type: ignore[method-assign]
    watched._ticks = [told(clocks_text, at_ns) for at_ns in (0, 500_000_000_000, 1_400_000_000_000)]
    run = watched.joined(make_block_run(purpose="sustained", samples=()))
    assert [one["at_error_ns"] < 600_000_000 for one in run.samples] == [True] * 3


def test_a_battery_of_any_name_is_read_and_its_gauges_chip_is_not_added_to_it() -> None:
    assert parse_gauge(supplies()) == {"current_ua": -800_000, "voltage_uv": 3_900_000}
    assert parse_gauge(supplies().replace("battery ", "BAT1 "))["current_ua"] == -800_000


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (supplies(status="Charging"), r"not discharging \(Charging\).*adb connect"),
        (supplies(status="Full"), r"not discharging \(Full\)"),
        (
            supplies().replace("usb online 0", "usb online 1"),
            r"plugged in \(usb; Discharging\).*Wireless debugging",
        ),
        (supplies().replace("battery status Discharging\n", ""), r"not discharging \(unknown\)"),
        ("usb type USB\nusb online 0\n", "may read no current"),
        ("", "may read no current"),
    ],
)
def test_a_battery_that_does_not_give_all_that_the_phone_takes_is_refused(text: str, why: str) -> None:
    with pytest.raises(Absent, match=why):
        parse_gauge(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (by_sys(0.003), "no plausible number of uA"),  # mA in place of uA
        (by_sys(0), "current_now = 0"),
        (f"== gauge\n{supplies(voltage_now=3900)}", "no plausible number of uV"),
        (by_service(9).replace("voltage: 4000", "voltage: 4"), "no plausible number of uV"),
        (by_service(9).replace("  voltage: 4000\n", ""), "no plausible number of uV"),
    ],
)
def test_a_current_or_voltage_of_another_unit_is_no_power(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        power_uw(text)


@pytest.mark.parametrize(
    "text",
    [
        supplies(current_now="many"),
        supplies() + "battery health\n",
        "<html>\n",
        supplies(current_now=""),
        "\0",
    ],
)
def test_an_unknown_answer_of_sys_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match=r"no property|no number"):
        parse_gauge(text)


@pytest.mark.parametrize(
    ("text", "error", "why"),
    [
        (NO_CURRENT, Absent, "Android 15 is the first"),
        ("", Absent, "Android 15 is the first"),
        ("cmd: Can't find service: battery\n", Absent, "Can't find service"),
        ("-512 mA\n", ValueError, "does not know"),
        ("-512000\n-512000\n", ValueError, "does not know"),
    ],
)
def test_an_answer_of_the_service_is_a_number_alone_or_none(
    text: str, error: type[Exception], why: str
) -> None:
    assert parse_current(" -512000\n") == -512_000
    with pytest.raises(error, match=why):
        parse_current(text)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (("USB powered: false", "USB powered: true"), r"plugged in \(usb"),
        (("status: 3", "status: 4"), r"not discharging \(Not charging\)"),
        (("  level: 85\n", ""), "harness knows"),
    ],
)
def test_the_services_current_counts_only_where_the_service_says_that_the_battery_gives_it(
    change: tuple[str, str], why: str
) -> None:
    with pytest.raises(Absent, match=why):
        power_uw(by_service(9).replace(*change))


def clock_of(measure: Callable[[int], None], step_s: float) -> Callable[[], float]:
    """Return a clock that moves by a step at each look, at which the phone's gauge measures anew."""
    numbers = iter(range(100_000))

    def clock() -> float:
        number = next(numbers)
        measure(number)
        return number * step_s

    return clock


@pytest.mark.adb
def test_a_phones_gauge_is_found_through_adb_and_read_beside_a_run(phone: Phone, server: AdbServer) -> None:
    phone.use_androids_programs()
    phone.answer("battery", UNPLUGGED)
    battery_properties = {"type": "Battery", "status": "Discharging", "voltage_now": 3_900_000}

    def measure(number: int) -> None:
        phone.supply("battery", **battery_properties, current_now=-800_000 - number)

    measure(0)
    found = find_gauge(Adb(SERIAL, WHO), clock_of(measure, 0.3))
    assert found["sensor"] == SENSOR | {"scope": "the whole device, screen and radios too"}
    assert found["update_s"] == 1.0, "it is read once a second at most"
    offset = ClockOffset(offset_ns=0, error_ns=1000, known_ns=since_boot_ns())
    watched = PhoneWatch(Adb(SERIAL, WHO), fixed=False, offset=lambda: offset, period_s=0.05)
    watched.open()
    try:
        watched.begin(gauge=True)
        await_that(lambda: len(watched._gauged) >= 3)
        run = watched.joined(make_block_run(purpose="energy", sensor=SENSOR, plan={"settle_s": 100.0}))
        watched.begin()
        await_ticks(watched, 2)  # the first may still read what was asked for before
        read = len(watched._gauged)
        await_ticks(watched, 2)
        assert len(watched._gauged) == read, "nobody asked for it any more"
    finally:
        watched.close()
    assert len(run.readings) >= 3
    assert {round(one["uw"][CHANNEL], -5) for one in run.readings} == {3_100_000}
    assert all("gauge" not in one for one in run.samples)


def await_ticks(watched: PhoneWatch, count: int) -> None:
    before = watched.taken
    await_that(lambda: watched.taken >= before + count)


def await_that(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s, "the phone was not asked"
        time.sleep(0.02)


@pytest.mark.adb
def test_a_phone_that_keeps_sys_from_its_shell_is_read_by_the_batterys_service(
    phone: Phone, server: AdbServer
) -> None:
    phone.use_androids_programs()
    phone.answer("battery", UNPLUGGED)
    phone.supply("usb", type="USB", online=0, current_now=0)  # no current of a battery
    clock = clock_of(lambda number: phone.answer("current_now", f"{-512_000 - number}\n"), 2.5)
    assert find_gauge(Adb(SERIAL, WHO), clock)["update_s"] == 2.5


@pytest.mark.adb
@pytest.mark.parametrize(
    ("set_up", "why"),
    [
        (lambda phone: phone.answer("battery", battery()), "plugged in (usb"),
        (lambda phone: phone.answer("current_now", NO_CURRENT), "Android 15 is the first"),
        (lambda phone: phone.answer("current_now", "soon\n"), "does not know"),
        (lambda phone: phone.answer("current_now", "-512\n"), "no plausible number of uA"),
    ],
)
def test_a_phone_whose_current_is_not_known_says_why_and_what_to_do(
    phone: Phone, server: AdbServer, set_up: Callable[[Phone], None], why: str
) -> None:
    phone.answer("battery", UNPLUGGED)
    set_up(phone)
    found = find_gauge(Adb(SERIAL, WHO))
    assert "sensor" not in found
    (reason,) = found["reasons"]
    assert reason.startswith("battery by adb: ") and why in reason


@pytest.mark.adb
def test_a_gauge_that_stands_still_is_not_called_fast_and_a_pulled_cable_is_a_reason(
    phone: Phone, server: AdbServer
) -> None:
    phone.answer("battery", UNPLUGGED)
    times = iter(range(0, 10_000, 20))
    found = find_gauge(Adb(SERIAL, WHO), lambda: float(next(times)))
    assert "sensor" in found and "update_s" not in found
    server.unplug()
    assert re.search("adb: .*not found", find_gauge(Adb(SERIAL, WHO))["reasons"][0])


@pytest.mark.adb
def test_a_phones_gauge_is_told_where_its_agent_has_no_sensor(phone: Phone, server: AdbServer) -> None:
    class Client:
        def energy_sensor(self, provider: str) -> dict[str, Any]:
            return {"reasons": ["battery: none"]}

    class Held:
        client = Client()

    use = RuntimeUse(name="tflite", version="2", provider="XNNPACK", format="tflite")
    pixel = SshDevice(name="pixel", adb=SERIAL)
    (check,) = _sensors(pixel, Held(), [use])  # type: ignore[arg-type]
    assert check.status == "warn"
    assert "battery: none; battery by adb: the phone is plugged in (usb" in check.found
    assert "adb connect" in check.found
