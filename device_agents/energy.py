"""Sensors of energy: which one a system has, and its readings beside a run.

One sensor is read, the one that is nearest to what computes; what it holds is its `scope`. What has no sensor, or one that this
user may not read, has reasons instead: nothing is estimated from clocks or loads.
"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter_ns
from typing import Any, Callable

from device_agents.facts import Absent
from device_agents.gauges import BATTERY_SCOPE, DISCHARGING, battery_power_uw
from device_agents.nvidia import uses_gpu
from device_agents.readings import read_text
from device_agents.runtimes import PROCESSOR

# Zones of a processor's own counters that hold no part of each other. https://docs.kernel.org/power/powercap/powercap.html
RAPL_ZONES = ("package-", "dram")
# Rails that a whole Jetson takes its power from, the first holds the most; without one there is no sum but that of all rails.
# Jetson Linux Developer Guide, "Platform Power and Performance", power monitors (INA3221).
# VIN is a Thor's, with its carrier board: https://github.com/rbonghi/jetson_stats/pull/900 and
# https://forums.developer.nvidia.com/t/question-about-power-monitor-with-additional-load-on-jetson-thor/366461
WHOLE_RAILS = ("VIN", "VDD_IN", "POM_5V_IN")
# Of an AGX Orin, taken from VIN_SYS_5V0, whose power holds its own. The same guide, "Jetson AGX Orin Series".
PART_RAILS = ("VDDQ_VDD2_1V8AO",)
INA_CHANNELS = (1, 2, 3)  # in4 to in7 are shunt voltages. https://docs.kernel.org/hwmon/ina3221.html


class Meter:
    """One sensor: `counters` count energy in uJ and begin again at `ranges` (0: never), `powers` tell uW, each by its name.

    `latest`: what changes whenever it measures anew; all that it tells where nothing is named.
    """

    def __init__(
        self,
        kind: str,
        scope: str,
        counters: dict[str, Callable[[], int]],
        powers: dict[str, Callable[[], int]],
        ranges: dict[str, int],
        latest: Callable[[], Any] | None = None,
    ) -> None:
        self.kind, self.scope = kind, scope
        self._counters, self._powers, self._ranges = counters, powers, ranges
        self._latest = latest
        self._period_s = 0.0
        self.due_s = float("inf")

    def describe(self) -> dict[str, Any]:
        """Return the sensor's description, for the record."""
        told: dict[str, Any] = {"kind": self.kind, "scope": self.scope, "powers": sorted(self._powers)}
        return dict(told, counters={name: self._ranges.get(name, 0) for name in sorted(self._counters)})

    def open(self, now_s: float, period_s: float) -> None:
        """Begin to read it each period."""
        self._period_s, self.due_s = period_s, now_s

    def step(self, now_s: float) -> dict[str, Any] | None:
        """Return a reading that is due; nothing where the sensor does not answer, or no longer tells what the device takes."""
        if now_s < self.due_s:
            return None
        self.due_s = now_s + self._period_s
        return self.read()

    def read(self) -> dict[str, Any] | None:
        """Return a reading, None where a channel cannot be read."""
        begin_ns = perf_counter_ns()
        try:
            uj = {name: read() for name, read in self._counters.items()}
            uw = {name: read() for name, read in self._powers.items()}
        except (Absent, OSError, ValueError):
            return None
        return {"event": "energy", "at_ns": (begin_ns + perf_counter_ns()) // 2, "uj": uj, "uw": uw}

    def latest(self) -> Any:
        """Return a value that changes with each measurement of the sensor, None where it cannot be read."""
        if self._latest is None:
            reading = self.read()
            return None if reading is None else (reading["uj"], reading["uw"])
        try:
            return self._latest()
        except (Absent, OSError, ValueError):
            return None


def find_meter(
    filesystem: Path, provider: str, open_gpu: Callable[[], dict[str, Any]]
) -> tuple[Meter | None, list[str]]:
    """Return the sensor to read for what a runtime's provider computes on, and why others are not read.

    open_gpu: opens the NVIDIA GPU that a worker uses (device_agents.nvidia).
    """
    reasons: list[str] = []
    whole: tuple[Callable[[], Meter], ...] = (lambda: ina3221(filesystem), lambda: battery(filesystem))
    if uses_gpu(provider):
        finders = (lambda: gpu(open_gpu), *whole)
    elif provider.lower().startswith(PROCESSOR):
        finders = (lambda: rapl(filesystem), *whole)
    else:
        reasons.append("RAPL: a processor's counter need not hold what %s computes on" % provider)
        finders = whole
    for find in finders:
        try:
            return find(), reasons
        except Absent as absent:
            reasons.append(str(absent))
        except (OSError, ValueError) as error:
            reasons.append(str(error))
    return None, reasons


def rapl(filesystem: Path) -> Meter:
    """Return the counters of an Intel or AMD processor. Raises: Absent, OSError, ValueError."""
    counters: dict[str, Callable[[], int]] = {}
    ranges: dict[str, int] = {}
    for zone in sorted((filesystem / "sys/class/powercap").glob("intel-rapl:*")):
        name = read_text(zone / "name").strip()
        if not name.startswith(RAPL_ZONES):
            continue
        key = "%s (%s)" % (name, zone.name) if name in counters else name
        counters[key] = integer_of(zone / "energy_uj")
        ranges[key] = int(read_text(zone / "max_energy_range_uj"))
        try:
            counters[key]()
        except PermissionError:
            raise Absent(
                "RAPL: only root may read %s (Linux 5.10 on): chmod a+r it, until the next boot"
                % (zone / "energy_uj")
            ) from None
    if not counters:
        raise Absent("RAPL: no processor's counter in /sys/class/powercap")
    return Meter("rapl", "processor packages and their memory, of the whole machine", counters, {}, ranges)


def gpu(open_gpu: Callable[[], dict[str, Any]]) -> Meter:
    """Return an NVIDIA GPU's counter, or its power where it has none. Raises: Absent."""
    found = open_gpu()
    if "energy_mj" in found:
        read_mj = found["energy_mj"]
        return Meter("nvml", "the whole GPU board", {"GPU": lambda: 1000 * read_mj()}, {}, {})
    read_mw = found["power_mw"]
    return Meter("nvml", "the whole GPU board", {}, {"GPU": lambda: 1000 * read_mw()}, {})


def ina3221(filesystem: Path) -> Meter:
    """Return the power monitor of a Jetson: the rail of the whole module, else all rails. Raises: Absent, OSError."""
    rails: dict[str, Callable[[], int]] = {}
    for folder in sorted((filesystem / "sys/class/hwmon").glob("hwmon*")):
        rails.update(rails_of(folder))
    if not rails:
        raise Absent("INA3221: no such power monitor in /sys/class/hwmon")
    whole = next(({label: rails[label]} for label in WHOLE_RAILS if label in rails), {})
    counted = whole or {label: read for label, read in rails.items() if label not in PART_RAILS} or rails
    for read in counted.values():
        read()
    kind = "ina238" if "VIN" in counted else "ina3221"
    return Meter(kind, "rails %s of the board" % ", ".join(sorted(counted)), {}, counted, {})


def rails_of(folder: Path) -> dict[str, Callable[[], int]]:
    """Return readers of the rails, in uW, that a power monitor of a Jetson's watches; none of another chip's. Raises: OSError."""
    chip = read_optional(folder / "name")
    label = read_optional(folder / "label")
    if chip == "ina238" and label in WHOLE_RAILS:  # of one rail, whose power it tells itself
        return {label: integer_of(folder / "power1_input")}
    rails: dict[str, Callable[[], int]] = {}
    for number in INA_CHANNELS if chip == "ina3221" else ():
        try:
            label = read_text(folder / ("in%d_label" % number)).strip()
        except Absent:
            continue
        if read_optional(folder / ("in%d_enable" % number), "1") == "0" or label in ("", "NC"):
            continue
        millivolts = integer_of(folder / ("in%d_input" % number))
        milliamperes = integer_of(folder / ("curr%d_input" % number))
        rails[label] = product_of(millivolts, milliamperes)
    return rails


def battery(filesystem: Path) -> Meter:
    """Return a battery's gauge while it discharges. Raises: Absent, OSError, ValueError.

    Drivers differ in the sign of a current that leaves the battery; as it is discharging, the sign tells nothing more.
    """
    folder = filesystem / "sys/class/power_supply"
    names = [
        supply.name
        for supply in sorted(folder.glob("*"))
        if read_optional(supply / "type") == "Battery" and read_optional(supply / "scope") != "Device"
    ]  # a mouse's is a device's
    if not names:
        raise Absent("battery: none in /sys/class/power_supply that this user may read")
    # Some phones list that one a second time, by its gauge's chip.
    if len(names) > 1 and "battery" not in names:
        raise Absent("battery: there are several (%s), each of which may give a part" % ", ".join(names))
    supply = folder / ("battery" if "battery" in names else names[0])
    status = read_optional(supply / "status")
    if status != DISCHARGING:
        raise Absent(
            "battery: it is not discharging (%s), so its current is not what the device takes" % status
        )
    read, latest = gauge_of(supply)
    read()
    return Meter("battery", BATTERY_SCOPE, {}, {supply.name: read}, {}, latest)


def gauge_of(supply: Path) -> tuple[Callable[[], int], Callable[[], int]]:
    """Return a reader of a battery's output in uW, and the value of it that its gauge measures.

    Power is the product of current and voltage where both are told: `power_now` of some phones is what the charger could give.
    The first raises Absent once the battery is no longer discharging.
    """
    watched = supply / ("current_now" if (supply / "current_now").exists() else "power_now")
    measured, microvolts = integer_of(watched), integer_of(supply / "voltage_now")

    def read() -> int:
        if read_optional(supply / "status") != DISCHARGING:
            raise Absent("battery: it is no longer discharging")
        if watched.name == "power_now":
            return abs(measured())
        return battery_power_uw(measured(), microvolts())

    return read, measured


def integer_of(path: Path) -> Callable[[], int]:
    """Return a reader of a file's number."""
    return lambda: int(read_text(path))


def product_of(one: Callable[[], int], other: Callable[[], int]) -> Callable[[], int]:
    """Return a reader of the product of two numbers."""
    return lambda: one() * other()


def read_optional(path: Path, default: str = "") -> str:
    """Return a file's word; the default where it is not there."""
    try:
        return read_text(path).strip()
    except (Absent, OSError):
        return default
