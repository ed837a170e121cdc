"""A phone watched through adb beside a campaign: what only its shell is told, once a second, and the guard's heartbeat.

Samples are dated in the phone's clock, as the agent's are, with `at_error_ns`; they bear `"source": "adb"`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypeVar, final

from device_agents.facts import Absent, parse_thermal_status
from device_agents.gauges import BATTERY_SCOPE, DISCHARGING, battery_power_uw, find_update_s
from harness.devices.adb.answers import (
    SAVERS,
    check_discharging,
    parse_battery,
    parse_battery_saver,
    parse_clocks,
    parse_current,
    parse_fixed_help,
    parse_gauge,
    parse_release,
    parse_screen,
    parse_temperatures,
)
from harness.devices.adb.client import Adb
from harness.devices.adb.clock import ClockOffset, since_boot_ns
from harness.devices.adb.guard import BEAT, FOLDER, SILENCE_S, STATE, FixedPerformance
from harness.devices.answers import check_told
from harness.errors import DeviceError, LinkError
from harness.records import BlockRun, SessionRecord

PERIOD_S = 1.0
# Of what settles before a block: a reading whose time is known less well could be of the block before.
READINGS_ERROR = 0.25
CLOCK_AGE_S = 60.0  # an offset is read again before the next worker once it is older
MAX_ERROR_NS = 1_000_000_000  # a sample whose time is known less well could be another slice's
FRESH_S = 5.0  # what was told longer ago is asked for again
MAX_TICKS = 10_000
Measured = TypeVar("Measured", bound=SessionRecord | BlockRun)
SOURCE = "adb"
CHANNEL = "battery"  # of the gauge's power

_THERMAL = "echo '== thermal'\ndumpsys thermalservice 2>&1\n"
_CLOCKS = """echo '== clocks'
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq; do
    read khz <"$file" && echo "$file $khz"
done 2>/dev/null
"""
_BATTERY = "echo '== battery'\ndumpsys battery 2>&1\n"
_SAVERS = "".join(f"settings get {name} 2>&1\n" for name in SAVERS)
_SLOW = f"""{_BATTERY}echo '== screen'
dumpsys deviceidle get screen 2>&1
echo '== saver'
{_SAVERS}"""
# AOSP lets adb's shell read the battery in /sys, and apps not (system/sepolicy, private/domain.te: sysfs_batteryinfo). Some
# makers keep it from the shell, too; the battery's service then tells what Android itself reads.
_GAUGE = f"""echo '== gauge'
known=
for supply in /sys/class/power_supply/*; do
    kind=
    for name in type scope status online current_now voltage_now; do
        read value <"$supply/$name" || continue
        echo "${{supply##*/}} $name $value"
        if [ "$name" = type ]; then kind=$value; fi
        if [ "$name $kind" = "current_now Battery" ]; then known=1; fi
    done
done 2>/dev/null
if [ -z "$known" ]; then
    echo '== current'
    cmd battery get -f current_now 2>&1
    {_BATTERY}fi
"""
_LOOK = f"""echo '== release'
getprop ro.build.version.release
echo '== fixed'
cmd power help 2>&1
echo '== state'
{STATE}"""
_BEAT = f"echo '== guard'\n{BEAT}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Answers of the phone's shell between two times of this machine's clock, in ns; `absent` ones with the reason."""

    from_ns: int
    to_ns: int
    values: dict[str, Any]
    absent: dict[str, str]


@final
class PhoneWatch:
    """A phone that is watched while a device is connected. `offset` reads the clocks' offset, over SSH."""

    def __init__(
        self,
        adb: Adb,
        *,
        fixed: bool,
        offset: Callable[[], ClockOffset],
        now_ns: Callable[[], int] = since_boot_ns,
        period_s: float = PERIOD_S,
        silence_s: float = SILENCE_S,
    ) -> None:
        self._adb, self._fixed, self._offset, self._now_ns = adb, fixed, offset, now_ns
        self._period_s = period_s
        self._mode = FixedPerformance(adb, silence_s=silence_s, period_s=min(period_s, PERIOD_S))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name=f"adb {adb.serial}", daemon=True)
        self._lock = threading.Lock()
        self._ticks: list[Told] = []
        self._gauged: list[Told] = []
        self._is_gauged = False
        self._latest: Told | None = None
        self._trouble = ""
        self._clocks: list[ClockOffset] = []  # before a worker, and after it where that disturbs nothing
        self._before: dict[str, Any] = {}
        self._beats = 0
        self.taken = 0  # answers, once a second

    def open(self) -> None:
        """Begin to watch; switch fixed-performance mode on where it is asked for, else off where a killed run left it on.

        Raises: DeviceError where the phone refuses; LinkError.
        """
        if self._fixed:
            self._mode.start()
        else:
            self._mode.end()
        self._thread.start()

    def close(self) -> None:
        """End the watch and fixed-performance mode. Where adb does not reach the phone any more, the guard there ends it.

        Raises: DeviceError where the phone does not switch it off, with what to do.
        """
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._fixed:
            with suppress(LinkError):
                self._mode.end()

    def begin(self, *, gauge: bool = False) -> None:
        """Take the conditions before a worker, and read the clocks' offset where it is not fresh. Raises: LinkError.

        `gauge`: the battery's gauge is read beside the worker, too.
        """
        if not self._clocks or self._now_ns() - self._clocks[-1].known_ns > CLOCK_AGE_S * 1e9:
            self._clocks.append(self._offset())
        del self._clocks[:-1]
        self._before = self._conditions()
        with self._lock:
            self._ticks.clear()
            self._gauged.clear()
            self._is_gauged = gauge

    def energy_sensor(self) -> dict[str, Any]:
        """Return the battery's gauge as an agent tells a sensor of energy, or the reasons why it cannot be read."""
        return find_gauge(self._adb)

    def beside(self, conditions: Mapping[str, Any]) -> dict[str, Any]:
        """Return a device's conditions with what adb told, some seconds ago at most; what the device tells itself wins."""
        latest = self._latest
        if latest is None or self._now_ns() - latest.to_ns > FRESH_S * 1e9:
            latest = self._ask(_THERMAL)
        return _heeded(latest.values) | dict(conditions)

    def joined(self, session: Measured) -> Measured:
        """Return a session, or a run of blocks, with samples that adb told since the one before, and conditions around it."""
        with self._lock:
            ticks, self._ticks = self._ticks, []
            gauged, self._gauged = self._gauged, []
        after = self._conditions()
        further: dict[str, Any] = {}
        if isinstance(session, BlockRun):
            with suppress(LinkError):
                self._clocks.append(self._offset())
            if session.sensor.get("source") == SOURCE:
                further["readings"] = self._readings(session.plan["settle_s"], gauged, after)
        samples = [sample for tick in ticks if (sample := self._sample(tick)) is not None]
        if not samples:
            reason = self._trouble or "no answer in this session was dated well enough"
            after.setdefault("absent", {})["samples"] = reason
        everything = sorted([*session.samples, *samples], key=lambda sample: int(sample.get("at_ns", 0)))
        joined = replace(
            session,
            samples=tuple(everything),
            conditions_before=_heeded(self._before) | session.conditions_before | {SOURCE: self._before},
            conditions_after=_heeded(after) | session.conditions_after | {SOURCE: after},
            **further,
        )
        self._before = after
        return joined

    def _readings(
        self, settle_s: float, gauged: Sequence[Told], after: dict[str, Any]
    ) -> tuple[dict[str, Any], ...]:
        """Return the readings of what the gauge told; none, with the reason in `after`, where the phone was plugged in."""
        trouble, readings = "", []
        for tick in gauged:
            dated = self._dated(tick, READINGS_ERROR * settle_s * 1e9)
            try:
                uw = gauge_power_uw(tick.values, tick.absent)
            except (Absent, ValueError) as error:
                trouble = str(error)
                continue
            if dated is not None:
                readings.append(dated | {"uj": {}, "uw": {CHANNEL: uw}})
        try:
            for conditions in (self._before, after):
                check_unplugged(conditions, conditions.get("absent", {}))
        except Absent as error:
            trouble, readings = str(error), []
        if trouble or not readings:
            after.setdefault("absent", {})["gauge"] = trouble or "none of its readings was dated well enough"
        return tuple(readings)

    def _sample(self, tick: Told) -> dict[str, Any] | None:
        dated = self._dated(tick, MAX_ERROR_NS) if tick.values else None
        return None if dated is None else dated | {"source": SOURCE, **tick.values}

    def _dated(self, tick: Told, most_ns: float) -> dict[str, Any] | None:
        """Return when something was told in the phone's clock, None where that is known less well than `most_ns`."""
        times = [clock.on_phone(tick.from_ns, tick.to_ns) for clock in self._clocks]
        at_ns, error_ns = min(times, key=lambda time: time[1], default=(-1, 0))
        return None if error_ns > most_ns or at_ns < 0 else {"at_ns": at_ns, "at_error_ns": error_ns}

    def _conditions(self) -> dict[str, Any]:
        """Return the phone's present conditions, the slow ones too, and those it does not tell under `absent`."""
        told = self._ask(_THERMAL + _CLOCKS + _SLOW)
        return told.values | ({"absent": told.absent} if told.absent else {})

    def _watch(self) -> None:
        """Ask once a second until the end; keep what was told for the session that it falls into."""
        while not self._stop.wait(self._period_s):
            gauged = self._ask(_GAUGE) if self._is_gauged else None  # by itself, to be dated well
            told = self._ask(_THERMAL + _CLOCKS)
            with self._lock:
                self._latest = told
                self._ticks.append(told)
                self._gauged += [gauged] if gauged is not None else []
                for kept in (self._ticks, self._gauged):
                    del kept[:-MAX_TICKS]
                self.taken += 1
            if self._fixed and told.values.get("fixed_performance") is False:
                self._restart()

    def _restart(self) -> None:
        try:
            self._mode.start()
        except DeviceError as error:
            self._trouble = str(error)

    def _ask(self, script: str) -> Told:
        """Ask the phone's shell for what a script prints, in parts. What cannot be reached or read is absent, with the reason."""
        with self._lock:
            self._beats += 1
            beat = str(self._beats)
        from_ns = self._now_ns()
        try:
            text = self._adb.script((_BEAT * self._fixed) + script, FOLDER, beat)
        except DeviceError as error:
            self._trouble = str(error)
            return Told(from_ns=from_ns, to_ns=self._now_ns(), values={}, absent={"adb": str(error)})
        self._trouble = ""
        values, absent = parse_told(text)
        return Told(from_ns=from_ns, to_ns=self._now_ns(), values=values, absent=absent)


def look_at_phone(adb: Adb) -> tuple[dict[str, Any], dict[str, str]]:
    """Return a phone's facts and state, and the reasons for absent ones; nothing is changed.

    `fixed_known`: whether its Android knows fixed-performance mode; `fixed_state`: `off`, `guarded` by a campaign, or `left` on.
    Raises: LinkError.
    """
    return parse_told(adb.script(_THERMAL + _CLOCKS + _SLOW + _LOOK, FOLDER))


def slow_conditions(adb: Adb) -> dict[str, Any]:
    """Return the battery, the screen and battery saver of a phone, as far as its shell tells them. Raises: LinkError."""
    return _heeded(parse_told(adb.script(_SLOW))[0])


def find_gauge(adb: Adb, clock_s: Callable[[], float] = time.monotonic) -> dict[str, Any]:
    """Return the gauge of a phone's battery as an agent tells a sensor of energy: how often it measures, or why not."""

    def look() -> tuple[dict[str, Any], dict[str, str]]:
        return parse_told(adb.script(_GAUGE))

    def latest() -> int | None:
        with suppress(DeviceError, Absent, ValueError):
            return gauge_current_ua(*look())
        return None

    try:
        check_unplugged(*parse_told(adb.script(_BATTERY)))
        gauge_power_uw(*look())
        update_s = find_update_s(latest, clock_s)
    except (DeviceError, Absent, ValueError) as error:
        return {"reasons": [f"battery by adb: {error}"]}
    sensor = {
        "kind": "battery",
        "scope": BATTERY_SCOPE,
        "counters": {},
        "powers": [CHANNEL],
        "source": SOURCE,
    }
    # It is read once a second, however often it measures.
    return {"sensor": sensor, "reasons": []} | (
        {} if update_s is None else {"update_s": max(update_s, PERIOD_S)}
    )


def check_unplugged(values: Mapping[str, Any], absent: Mapping[str, str]) -> None:
    """Check that the battery's service tells of no charger. Raises: Absent, also where it tells nothing."""
    if "battery" not in values:
        reason = absent.get("battery") or absent.get("adb") or "its battery's service told nothing"
        raise Absent(f"whether the phone is plugged in is not known: {reason}")
    check_discharging(DISCHARGING, values["battery"]["powered_by"])


def gauge_current_ua(values: Mapping[str, Any], absent: Mapping[str, str]) -> int:
    """Return the current of what a gauge told, by /sys or else by the battery's service. Raises: Absent."""
    if "gauge" in values:
        return int(values["gauge"]["current_ua"])
    if "current_ua" in values:
        return int(values["current_ua"])
    raise Absent(
        "; ".join(absent.get(name, "") for name in ("adb", "gauge", "current_ua") if absent.get(name))
    )


def gauge_power_uw(values: Mapping[str, Any], absent: Mapping[str, str]) -> int:
    """Return the power in uW that a phone's battery gives. Raises: Absent where that is not all it takes; ValueError."""
    current_ua = gauge_current_ua(values, absent)
    if "gauge" in values:
        return battery_power_uw(current_ua, values["gauge"]["voltage_uv"])
    battery = values.get("battery", {})
    check_discharging(battery.get("status", absent.get("battery", "unknown")), battery.get("powered_by", ()))
    return battery_power_uw(current_ua, 1000 * battery.get("voltage_mv", 0))


def parse_told(text: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the parts of an answer (`== NAME` before each), and the reasons for absent ones."""
    values: dict[str, Any] = {}
    absent: dict[str, str] = {}
    parts = _parts(text)
    if "thermal" in parts:  # one answer holds both
        parts["temperatures"] = parts["thermal"]
    for name, (key, parse) in _PARSERS.items():
        if name not in parts:
            continue
        try:
            if (value := parse(parts[name])) != {}:
                values[key] = check_told(key, value)
        except (Absent, ValueError) as error:
            absent[key] = str(error)
    return values, absent


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    name = ""
    for line in text.replace("\r\n", "\n").splitlines(keepends=True):
        if line.startswith("== "):
            name = line[3:].strip()
            parts[name] = ""
        elif name:
            parts[name] += line
    return parts


def _word(text: str, known: tuple[str, ...]) -> str:
    if text.strip() not in known:
        raise ValueError(f"the guard of fixed-performance mode answered {text[:80]!r}")
    return text.strip()


_PARSERS: dict[str, tuple[str, Callable[[str], Any]]] = {
    "guard": ("fixed_performance", lambda text: _word(text, ("on", "off")) == "on"),
    "thermal": ("thermal_status", parse_thermal_status),
    "temperatures": ("temps_c", parse_temperatures),
    "clocks": ("freq_khz", parse_clocks),
    "gauge": ("gauge", parse_gauge),
    "current": ("current_ua", parse_current),
    "battery": ("battery", parse_battery),
    "screen": ("screen", parse_screen),
    "saver": ("battery_saver", parse_battery_saver),
    "release": ("android", parse_release),
    "fixed": ("fixed_known", parse_fixed_help),
    "state": ("fixed_state", lambda text: _word(text, ("off", "guarded", "left"))),
}


def _heeded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the conditions that gates, clock tiers and findings use."""
    heeded = ("thermal_status", "fixed_performance", "battery_saver", "battery", "screen")
    return {key: values[key] for key in heeded if key in values}
