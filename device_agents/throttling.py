"""Signs that a device holds itself back: in its conditions, in samples of them, and between two readings.

The harness judges each session by them, and a packed job what to measure again: so it is one rule, in one place, for Python 3.8.
Conditions have the form of docs/protocol.md: an absent probe is an absent key, from which nothing is concluded.
"""

from __future__ import annotations

from typing import Any, Callable, Mapping, Sequence

from device_agents.facts import CLOCK_CAPS

# android.os.PowerManager, THERMAL_STATUS_NONE to THERMAL_STATUS_SHUTDOWN; from light on the system may hold back.
ANDROID_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# `vcgencmd get_throttled`, Raspberry Pi documentation: bits 0 to 3 are now, 16 to 19 since boot.
PI_BITS = {1: "under-voltage", 2: "frequency capped", 4: "throttled", 8: "soft temperature limit"}
PI_SINCE_BOOT = 16  # by how much these bits are shifted
# Orin's events by NVIDIA's developer guide, "Over-current throttling".
OVER_CURRENT = {"oc1": "under-voltage", "oc2": "over-current on average", "oc3": "over-current in moments"}
# nvml.h, nvmlClocksEventReason*: together 0xEC. Idle (0x1), clocks that someone set (0x2, 0x100) and sync boost (0x10)
# are no throttling.
NVIDIA_BITS = {
    0x04: "power cap",
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "hardware power brake",
}
HOTTER_C = 3.0  # over the campaign's start: sessions of one campaign begin about equally warm
LOCKED_SHARE = 0.95  # of a locked core's clock: what is read back wavers a little, throttling takes more
POLL_S, PATIENCE_S = 5.0, 300.0  # of a wait for a device that is not fit
# What a board keeps in mind of how it was held back: it is compared with the reading before.
MEMORIES = ("throttled", "over_current")


def clock_tier(conditions: Mapping[str, Any], cores: Sequence[int]) -> str:
    """Return the clock tier of the measured cores.

    A locked, B performance governor, F Android's fixed-performance mode, C free or unknown.
    """
    frequencies = conditions.get("freq_khz", {})
    governors = conditions.get("governors", {})
    keys = [str(core) for core in cores]
    locked = [frequencies.get(key, {}) for key in keys]
    if keys and all("min" in f and f.get("min") == f.get("max") for f in locked):
        return "A"
    if keys and all(governors.get(key) == "performance" for key in keys):
        return "B"
    return "F" if conditions.get("fixed_performance") is True else "C"


def throttle_signs(conditions: Mapping[str, Any], cores: Sequence[int] = ()) -> list[str]:
    """Return signs of throttling in the conditions of a device or a sample of them; empty without any.

    `cores`: where their clocks are locked, the present ones are checked, too.
    """
    signs = []
    status = integer(conditions.get("thermal_status"))
    if status > 0:
        name = ANDROID_STATUS[min(status, len(ANDROID_STATUS) - 1)]
        signs.append("Android thermal status %d (%s)" % (status, name))
    if conditions.get("fixed_performance") is False:  # absent where nobody asked for it
        signs.append("Android's fixed-performance mode is off")
    if conditions.get("battery_saver") is True:
        signs.append("Android holds back: battery saver")
    causes = causes_of(integer(conditions.get("throttled")), PI_BITS)
    if causes:
        signs.append("Raspberry Pi throttled: %s" % causes)
    if integer(conditions.get("undervoltage")) and PI_BITS[1] not in causes:
        signs.append("Raspberry Pi's supply: under-voltage")
    cooling = table(conditions.get("cooling"))
    if caps := [kind for kind, state in cooling.items() if kind.startswith(CLOCK_CAPS) and state != 0]:
        signs.append("clocks held down for heat: %s" % ", ".join(caps))
    for index, gpu in enumerate(gpus_in(conditions)):
        causes = causes_of(integer(gpu.get("reasons")), NVIDIA_BITS)
        if causes:
            signs.append("NVIDIA GPU %d throttled: %s" % (index, causes))
    khz = table(conditions.get("freq_khz"))
    now_khz = {core: number(table(khz.get(str(core))).get("current")) for core in cores}
    return signs + slow_cores(now_khz, locked_khz(conditions, cores))


def signs_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the causes that held a board back between two readings of its conditions, by marks and counts that it keeps."""
    now = integer(after.get("throttled"))
    marks = now & ~integer(before.get("throttled")) if "throttled" in before else 0
    causes = causes_of(marks >> PI_SINCE_BOOT, PI_BITS)
    signs = ["Raspberry Pi throttled meanwhile: %s" % causes] if causes else []
    counts_before, counts = table(before.get("over_current")), table(after.get("over_current"))
    for name, what in OVER_CURRENT.items():
        more = integer(counts.get(name)) - integer(counts_before.get(name))
        if name in counts_before and more > 0:
            signs.append("Jetson held back %d times: %s" % (more, what))
    return signs


def signs_by_sample(
    before: Mapping[str, Any], samples: Sequence[Mapping[str, Any]], cores: Sequence[int], tier: str
) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return the samples of a session that have a time, each with the signs of throttling in it.

    before: the conditions before the session. cores: those that it measured on; tier: the clock tier that they had.
    """
    is_fixed = tier in ("A", "B")  # then any other clock counts already
    locked = locked_khz(before, cores if tier == "A" else ())
    highest_khz = highest_clocks_khz(() if is_fixed else (before, *samples), [str(core) for core in cores])
    found: list[tuple[Mapping[str, Any], list[str]]] = []
    latest = before
    for sample in samples:
        if "at_ns" in sample:
            khz = table(sample.get("freq_khz"))
            signs = throttle_signs(sample)
            signs += slow_cores({core: number(khz.get(str(core))) for core in locked}, locked)
            signs += clocks_set_anew(before, sample, cores, tier) if is_fixed else []
            signs += switched(before, sample, () if is_fixed else cores)
            signs += [slower] if (slower := lowered_clock(sample, highest_khz)) else []
            found.append((sample, signs + signs_between(latest, sample)))
            latest = remembered(latest, sample)
    return found


def remembered(conditions: Mapping[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    """Return conditions with what a board has in mind by a sample."""
    return dict(conditions, **{name: sample[name] for name in MEMORIES if name in sample})


def closed_gates(conditions: Mapping[str, Any], start_conditions: Mapping[str, Any]) -> dict[str, str]:
    """Return reasons against a session now, by what stays the same while numbers in them change: signs of throttling, and parts
    over 3 C hotter, or a core that may run slower, than at the campaign's start.

    Only temperatures, and highest clocks of cores, that both conditions have are compared.
    """
    before_c, now_c = temperatures_c(start_conditions), temperatures_c(conditions)
    gates = {sign: sign for sign in throttle_signs(conditions)}
    for name, c in now_c.items():
        if name in before_c and c > before_c[name] + HOTTER_C:
            gates[name] = "%s at %.1f C, %.1f C over the campaign's start" % (name, c, c - before_c[name])
    if slow := lowered_clock(conditions, clock_limits_khz(start_conditions)):
        gates["clock limit"] = slow
    return gates


class Gate:
    """Readiness check before each session: the device is neither throttled nor hotter than at the start.

    A wait that ran out in vain is not repeated, for some boards settle warmer and some supplies never suffice: the temperatures
    that it ended with count as the start from then on, and a device that was throttled all the while is let through at once, each
    session flagged, until it is seen unthrottled. fresh_s: for how long what was noted spares a probe; of a record, whose probes
    are there, for no time.
    """

    def __init__(
        self, start_conditions: Mapping[str, Any], clock_s: Callable[[], float], fresh_s: float = POLL_S
    ) -> None:
        self._start_conditions = start_conditions
        self._clock_s, self._fresh_s = clock_s, fresh_s
        self._patience_s = PATIENCE_S
        self.note({})

    def note(self, conditions: Mapping[str, Any]) -> None:
        """Take conditions of just now; none where the latest are too old to trust."""
        self._known, self._known_s = conditions, self._clock_s()

    @property
    def is_told(self) -> bool:
        """Whether the latest conditions are known."""
        return bool(self._known)

    def wait(
        self,
        probe: Callable[[], Mapping[str, Any]],
        tell: Callable[[Mapping[str, str]], object],
        pause: Callable[[float], object],
        uses_gpu: bool = False,
    ) -> dict[str, Any]:
        """Wait until the device is ready for a session.

        While its conditions close the gate, `tell` is told the reasons and `probe` asked anew, for as long as its patience lasts.
        `pause` waits so many seconds; where it returns something true, the device is asked no more.
        Returns `waited_s` and, in `closed`, the reasons left against the session, which then runs, flagged hot.
        """
        waited_s = 0.0
        is_known = self._known and ("gpus" in self._known or not uses_gpu)  # sessions on the CPU ask no GPU
        is_known = is_known and self._clock_s() - self._known_s < self._fresh_s
        conditions = heeded(self._known if is_known else probe(), uses_gpu)
        closed = closed_gates(conditions, self._start_conditions)
        while closed and waited_s < self._patience_s:
            tell(closed)
            if pause(POLL_S):
                return {"waited_s": waited_s, "closed": list(closed.values())}
            waited_s += POLL_S
            conditions = heeded(probe(), uses_gpu)
            closed = closed_gates(conditions, self._start_conditions)
        if closed:
            self._start_conditions = conditions
        self._patience_s = 0.0 if closed and closed_gates(conditions, conditions) else PATIENCE_S
        return {"waited_s": waited_s, "closed": list(closed.values())}


def heeded(conditions: Mapping[str, Any], uses_gpu: bool) -> dict[str, Any]:
    """Return the conditions that matter to a session: of GPUs those of one that uses one."""
    return {key: value for key, value in conditions.items() if key != "gpus" or uses_gpu}


def clock_limits_khz(told: Mapping[str, Any], which: str = "max") -> dict[str, float]:
    """Return the highest clock (or the lowest, `min`) that each core may run at, in conditions or a sample of them.

    Nothing for what is no number.
    """
    limits = told.get(which + "_khz")  # of a sample
    if limits is None:
        limits = {core: table(one).get(which) for core, one in table(told.get("freq_khz")).items()}
    return {core: khz for core, khz in table(limits).items() if type(khz) in (int, float)}


def highest_clocks_khz(told: Sequence[Mapping[str, Any]], cores: Sequence[str]) -> dict[str, float]:
    """Return the highest clock that each of the cores was ever allowed, in conditions and samples of them."""
    limits = [clock_limits_khz(one) for one in told]
    known = {core: [one[core] for one in limits if core in one] for core in cores}
    return {core: max(khz) for core, khz in known.items() if khz}


def lowered_clock(told: Mapping[str, Any], highest_khz: Mapping[str, float]) -> str:
    """Return which core may run slower than it might, and at what: the one that lost most; empty where none does."""
    limits = clock_limits_khz(told)
    lowered = [core for core, khz in limits.items() if 0 < khz < highest_khz.get(core, 0)]
    if not lowered:
        return ""
    core = min(lowered, key=lambda core: (limits[core] / highest_khz[core], core))
    mhz = limits[core] / 1e3, highest_khz[core] / 1e3
    return "core %s may run at %.0f MHz, at other times at %.0f MHz" % (core, *mhz)


def clocks_set_anew(
    before: Mapping[str, Any], sample: Mapping[str, Any], cores: Sequence[int], tier: str
) -> list[str]:
    """Return how the measured cores' clocks are no longer as tier A or B says; nothing where a sample does not tell."""
    governors, least, most = (table(sample.get(name)) for name in ("governors", "min_khz", "max_khz"))
    keys = [str(core) for core in cores]
    if not all(key in known for key in keys for known in (governors, least, most)):
        return []
    freq_khz = {key: {"min": least[key], "max": most[key]} for key in keys}
    now_tier = clock_tier({"governors": governors, "freq_khz": freq_khz}, cores)
    if now_tier != tier:
        return ["clocks were set anew meanwhile: tier %s, not %s" % (now_tier, tier)]
    then = table(before.get("freq_khz"))
    limits = {key: (number(table(then.get(key)).get("max")), number(most[key])) for key in keys}
    return [
        "core %s may run at %.0f MHz, before at %.0f MHz" % (key, khz / 1e3, was / 1e3)
        for key, (was, khz) in limits.items()
        if was is not None and khz is not None and khz != was
    ]


def switched(before: Mapping[str, Any], sample: Mapping[str, Any], cores: Sequence[int]) -> list[str]:
    """Return which cores' governors, and whether boosted clocks, were set anew; nothing where a sample does not tell."""
    then, now = table(before.get("governors")), table(sample.get("governors"))
    signs = [
        "core %s has governor %s, before %s" % (core, now[core], then[core])
        for core in map(str, cores)
        if core in then and core in now and now[core] != then[core]
    ]
    boosted = sample.get("boost")
    if isinstance(boosted, bool) and before.get("boost") is (not boosted):
        signs.append("boosted clocks were switched %s meanwhile" % ("on" if boosted else "off"))
    return signs


def slow_cores(now_khz: Mapping[int, float | None], locked: Mapping[int, float]) -> list[str]:
    """Return which cores run slower than they are locked at, and at what."""
    return [
        "core %d at %.0f MHz, locked at %.0f MHz" % (core, khz / 1e3, least / 1e3)
        for core, least in locked.items()
        if (khz := now_khz[core]) is not None and khz < LOCKED_SHARE * least
    ]


def locked_khz(conditions: Mapping[str, Any], cores: Sequence[int]) -> dict[int, float]:
    """Return the clocks of the locked cores, whose minimum is their maximum."""
    khz = table(conditions.get("freq_khz"))
    locked = {}
    for core in cores:
        limits = table(khz.get(str(core)))
        low, high = number(limits.get("min")), number(limits.get("max"))
        if low is not None and low == high:
            locked[core] = low
    return locked


def temperatures_c(conditions: Mapping[str, Any]) -> dict[str, float]:
    """Return the temperatures in conditions by sensor, GPUs among them."""
    found = {str(zone): number(c) for zone, c in table(conditions.get("temps_c")).items()}
    found.update(
        {"GPU %d" % index: number(gpu.get("temp_c")) for index, gpu in enumerate(gpus_in(conditions))}
    )
    return {name: c for name, c in found.items() if c is not None}


def gpus_in(conditions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the GPUs of conditions, or the one of a sample, whose keys begin with `gpu_`."""
    gpus = conditions.get("gpus")
    if isinstance(gpus, (list, tuple)):
        return [table(gpu) for gpu in gpus]
    return [{key[len("gpu_") :]: value for key, value in conditions.items() if key.startswith("gpu_")}]


def causes_of(mask: int, bits: Mapping[int, str]) -> str:
    """Return the names of the bits in a mask."""
    return ", ".join(name for bit, name in bits.items() if mask & bit)


def table(value: Any) -> Mapping[str, Any]:
    """Return a value that a device sent as a table, empty where it is none."""
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """Return a value that a device sent as a number, None where it is none."""
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def integer(value: Any) -> int:
    """Return a value that a device sent as an integer, 0 where it is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
