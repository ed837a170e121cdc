"""Conditions of a device: clock tier, hardware name, and signs of throttling before a session and in each slice.

Conditions have the form of docs/protocol.md: an absent probe is an absent key, from which nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from device_agents.facts import CLOCK_CAPS, clock_caps, clock_limits_khz, highest_clocks_khz, lowered_clock
from device_agents.runtimes import uses_accelerator
from harness.records import BlockRun, Configuration, SessionRecord
from space.text import counted

# android.os.PowerManager, THERMAL_STATUS_NONE to THERMAL_STATUS_SHUTDOWN; from light on the system may hold back.
ANDROID_STATUS = ("none", "light", "moderate", "severe", "critical", "emergency", "shutdown")
# `vcgencmd get_throttled`, Raspberry Pi documentation: bits 0 to 3 are now, 16 to 19 since boot.
PI_BITS = {1: "under-voltage", 2: "frequency capped", 4: "throttled", 8: "soft temperature limit"}
PI_SINCE_BOOT = 16  # by how much these bits are shifted
_COOLING = "give the board a heat sink and a fan, and let it cool"
REMEDIES = {
    "under-voltage": "take the board maker's own power supply (a Raspberry Pi's gives 5.1 V and 3 A, a Pi 5's 5 A) and a short, "
    "thick cable, and unplug USB devices that draw from it",
    "frequency capped": f"the firmware holds the clock down for heat or a weak supply: {_COOLING}, and check the supply",
    "throttled": f"the board is at its limit of heat (80 to 85 C), or its supply is weak: {_COOLING}, and check the supply",
    "soft temperature limit": f"{_COOLING}; a Raspberry Pi 3 B+ begins at 60 C, temp_soft_limit=70 in config.txt moves that",
    **dict.fromkeys(CLOCK_CAPS, _COOLING),
    "battery saver": "charge the phone, or switch battery saver off (Settings, Battery)",
    "over-current": "take a stronger power supply, or a lower power mode (jetson_power_mode in devices.toml)",
}
"""What to do about a cause of throttling, by its name; the Raspberry Pi's by https://www.raspberrypi.com/documentation/computers/os.html#get_throttled"""

ANY_THROTTLING = "cool the device, check its power supply, lower its clock"
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
IDLE_PERCENT = 5  # of a GPU's time, that a display takes
HOTTER_C = 3.0  # over the campaign's start: sessions of one campaign begin about equally warm
LOCKED_SHARE = 0.95  # of a locked core's clock: what is read back wavers a little, throttling takes more
SAMPLE_REACH_NS = 1_500_000_000  # samples are taken each second; one may be late
LOCKED, LIMITED = "locked_khz", "max_khz"  # in a configuration's environment
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


def hardware_name(hello: Mapping[str, Any], conditions: Mapping[str, Any], uses_gpu: bool = False) -> str:
    """Return machine and CPU model as reported by the device, e.g. `x86_64 Intel(R) Xeon(R) Processor @ 2.50GHz`.

    uses_gpu: whether the models of NVIDIA's GPUs follow, after a comma each.
    """
    machine = str(hello.get("platform", {}).get("machine", "unknown machine"))
    gpus = gpu_models(conditions) if uses_gpu else []
    return ", ".join([f"{machine} {conditions.get('cpu_model', 'unknown CPU')}", *gpus])


def gpu_models(conditions: Mapping[str, Any]) -> list[str]:
    """Return the different models of NVIDIA's GPUs that a device has."""
    return sorted({str(gpu["name"]) for gpu in _gpus(conditions) if gpu.get("name")})


def environment_line(
    hello: Mapping[str, Any],
    conditions: Mapping[str, Any],
    uses_gpu: bool = False,
    cores: Sequence[int] = (),
) -> str:
    """Return the settings that change how fast models run, as a configuration holds them: variables, a Jetson's power mode, the
    clock that all `cores` are locked to, or that holds their performance governor below what they can, if it is one, boosted
    clocks where they are off, and limits that someone set the used GPU.

    Which GPUs are visible matters where they are unlike and one is used: batch systems choose anew for every job.
    """
    settings = dict(hello.get("variables", {}))
    if not uses_gpu or len(gpu_models(conditions)) < 2:
        settings.pop("CUDA_VISIBLE_DEVICES", None)
    settings |= {"nvpmodel": mode} if (mode := conditions.get("power_mode")) else {}
    settings |= {"boost": "off"} if conditions.get("boost") is False else {}
    name = {"A": LOCKED, "B": LIMITED}.get(clock_tier(conditions, cores), "")
    if name and len(clocks := set(_set_khz(conditions, cores))) == 1 and (khz := clocks.pop()):
        settings[name] = f"{khz:.0f}"
    for gpu in _used(conditions) if uses_gpu else ():
        settings |= {f"gpu_{name}": f"{value:g}" for name, value in _table(gpu.get("limits")).items()}
    return " ".join(f"{name}#{value}" for name, value in sorted(settings.items()))


def throttle_signs(conditions: Mapping[str, Any], cores: Sequence[int] = ()) -> list[str]:
    """Return signs of throttling in the conditions of a device or a sample of them; empty without any.

    `cores`: where their clocks are locked, the present ones are checked, too.
    """
    signs = []
    status = _integer(conditions.get("thermal_status"))
    if status > 0:
        name = ANDROID_STATUS[min(status, len(ANDROID_STATUS) - 1)]
        signs.append(f"Android thermal status {status} ({name})")
    if conditions.get("fixed_performance") is False:  # absent where nobody asked for it
        signs.append("Android's fixed-performance mode is off")
    if conditions.get("battery_saver") is True:
        signs.append("Android holds back: battery saver")
    causes = _causes(_integer(conditions.get("throttled")), PI_BITS)
    if causes:
        signs.append(f"Raspberry Pi throttled: {causes}")
    if _integer(conditions.get("undervoltage")) and PI_BITS[1] not in causes:
        signs.append("Raspberry Pi's supply: under-voltage")
    if caps := clock_caps(_table(conditions.get("cooling"))):
        signs.append(f"clocks held down for heat: {', '.join(caps)}")
    for index, gpu in enumerate(_gpus(conditions)):
        causes = _causes(_integer(gpu.get("reasons")), NVIDIA_BITS)
        if causes:
            signs.append(f"NVIDIA GPU {index} throttled: {causes}")
    khz = _table(conditions.get("freq_khz"))
    now_khz = {core: number(_table(khz.get(str(core))).get("current")) for core in cores}
    return signs + _slow_cores(now_khz, _locked_khz(conditions, cores))


def others_on_gpu(run: SessionRecord | BlockRun) -> str:
    """Return how many other programs had the GPU open that a run may have used; nothing where there was none, or none is told.

    The run's own worker has ended when conditions are read, and is one of those in a sample.
    """
    around = [gpu for each in (run.conditions_before, run.conditions_after) for gpu in _used(each)]
    counts = [_integer(gpu.get("programs")) for gpu in around]
    most = max(0, *counts, *(_integer(sample.get("gpu_programs")) - 1 for sample in run.samples))
    return _others(most, around)


def others_on_idle_gpu(conditions: Mapping[str, Any]) -> str:
    """Return the same of conditions in which nothing of harness's own ran."""
    gpus = _used(conditions)
    return _others(max((_integer(gpu.get("programs")) for gpu in gpus), default=0), gpus)


def gpu_is_watched(run: SessionRecord) -> bool:
    """Return whether other programs on the GPU that a session used would have been seen: those of CUDA on an NVIDIA GPU.

    Where the session's own worker was not seen in any sample, others would not have been either.
    """
    told = [sample["gpu_programs"] for sample in run.samples if "gpu_programs" in sample]
    is_blind = run.configuration.uses_cuda and told and not any(map(_integer, told))
    return not is_blind and any("programs" in gpu for gpu in _used(run.conditions_before))


def may_be_shared(configuration: Configuration) -> bool:
    """Return whether other programs may compute beside a session, where no core shows it.

    Not on an Edge TPU, which its driver gives to one process alone, nor where OpenVINO is left on the CPU, its default.
    """
    name, options = configuration.provider.lower(), configuration.provider_options.lower().split()
    devices = [option for option in options if option.startswith("device_type=")]
    is_on_cpu = name.startswith("openvino") and devices in ([], ["device_type=cpu"])
    return uses_accelerator(name) and not is_on_cpu and not name.startswith("edgetpu")


def gpu_was_idle(run: SessionRecord) -> bool:
    """Return whether the GPU is known to have computed next to nothing just before a session."""
    told = [gpu["busy_percent"] for gpu in _used(run.conditions_before) if "busy_percent" in gpu]
    told += [_table(run.conditions_before.get("tegrastats")).get("gpu_percent")]
    known = [load for load in map(number, told) if load is not None]
    return bool(known) and max(known) <= IDLE_PERCENT


def _others(count: int, gpus: Sequence[Mapping[str, Any]]) -> str:
    if count:
        return f"{counted(count, 'other program')} had the GPU open"
    busy = max((_integer(gpu.get("busy_percent")) for gpu in gpus), default=0)
    return (
        f"programs that nvidia-smi does not list here kept the GPU busy, {busy} %,"
        if busy > IDLE_PERCENT
        else ""
    )


def _used(conditions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the GPU that a worker uses, alone in a list: the one that is marked so, in records of before the first."""
    gpus = _gpus(conditions)
    return [gpu for gpu in gpus if gpu.get("used") is True] or gpus[:1]


def signs_between(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return the causes that held a board back between two readings of its conditions, by marks and counts that it keeps."""
    since = (
        _integer(after.get("throttled")) & ~_integer(before.get("throttled")) if "throttled" in before else 0
    )
    causes = _causes(since >> PI_SINCE_BOOT, PI_BITS)
    signs = [f"Raspberry Pi throttled meanwhile: {causes}"] if causes else []
    counts_before, counts = _table(before.get("over_current")), _table(after.get("over_current"))
    for name, what in OVER_CURRENT.items():
        more = _integer(counts.get(name)) - _integer(counts_before.get(name))
        if name in counts_before and more > 0:
            signs.append(f"Jetson held back {more} times: {what}")
    return signs


def earlier_throttling(conditions: Mapping[str, Any]) -> str:
    """Return the causes that held a Raspberry Pi back since its start but do not now; empty where there are none."""
    mask = _integer(conditions.get("throttled"))
    return _causes(mask >> PI_SINCE_BOOT & ~mask, PI_BITS)


def throttle_remedy(signs: Sequence[str]) -> str:
    """Return the remedy for signs of throttling: of each cause whose remedy is known, else of any."""
    causes = [cause for sign in signs for cause in sign.partition(": ")[2].split(", ")]
    known = [remedy for name, remedy in REMEDIES.items() if any(cause.startswith(name) for cause in causes)]
    return "; ".join(dict.fromkeys(known)) or ANY_THROTTLING


def closed_gates(conditions: Mapping[str, Any], start_conditions: Mapping[str, Any]) -> dict[str, str]:
    """Return reasons against a session now, by what stays the same while numbers in them change: signs of throttling, and parts
    over 3 C hotter, or a core that may run slower, than at the campaign's start.

    Only temperatures, and highest clocks of cores, that both conditions have are compared.
    """
    before_c, now_c = _temperatures_c(start_conditions), _temperatures_c(conditions)
    hot = {
        name: f"{name} at {now_c[name]:.1f} C, {now_c[name] - before_c[name]:.1f} C over the campaign's start"
        for name in now_c
        if name in before_c and now_c[name] > before_c[name] + HOTTER_C
    }
    slow = lowered_clock(conditions, clock_limits_khz(start_conditions))
    return {sign: sign for sign in throttle_signs(conditions)} | hot | ({"clock limit": slow} if slow else {})


def marked_slices(session: SessionRecord) -> tuple[bool, ...]:
    """Return for each slice whether the device throttled, from samples taken during it.

    A slice is judged, for each source of samples, by those taken within it and by the nearest before and after, each at most
    1.5 s away; a sample whose time is uncertain counts for all times that it may be of. In clock tier A a measured core below
    95 % of its locked clock counts as throttled. Without samples, or without times, nothing is marked.
    """
    sources: dict[str, list[tuple[int, int, bool]]] = {}
    for sample, signs in signs_of_samples(session):
        at_ns, error_ns = _integer(sample["at_ns"]), _integer(sample.get("at_error_ns"))
        sources.setdefault(str(sample.get("source", "")), []).append(
            (at_ns - error_ns, at_ns + error_ns, bool(signs))
        )
    marks = []
    for piece in session.slices:
        if piece.at_ns is None:
            marks.append(False)
            continue
        times_ns = (
            *piece.reference_before_ns,
            piece.after_switch_ns,
            *piece.network_ns,
            *piece.reference_after_ns,
        )
        end_ns = piece.at_ns + sum(times_ns)
        marks.append(any(_is_marked(sorted(taken), piece.at_ns, end_ns) for taken in sources.values()))
    return tuple(marks)


def session_signs(session: SessionRecord) -> list[str]:
    """Return the signs of throttling around a session and in the samples within, each once; empty without any."""
    cores = session.cores if session.configuration.clock_tier == "A" else ()
    signs = [
        *throttle_signs(session.conditions_before, cores),
        *throttle_signs(session.conditions_after, cores),
        *signs_between(session.conditions_before, session.conditions_after),
    ]
    return [*dict.fromkeys((*signs, *(sign for _, found in signs_of_samples(session) for sign in found)))]


def signs_of_samples(session: SessionRecord | BlockRun) -> list[tuple[Mapping[str, Any], list[str]]]:
    """Return the samples of a session that have a time, each with the signs of throttling in it."""
    measured = session.cores if session.configuration.clock_tier == "A" else ()
    locked_khz = _locked_khz(session.conditions_before, measured)
    is_fixed = session.configuration.clock_tier in ("A", "B")  # then any other clock counts already
    told = () if is_fixed else (session.conditions_before, *session.samples)
    highest_khz = highest_clocks_khz(told, [str(core) for core in session.cores])
    found: list[tuple[Mapping[str, Any], list[str]]] = []
    before: Mapping[str, Any] = session.conditions_before
    for sample in session.samples:
        if "at_ns" in sample:
            khz = _table(sample.get("freq_khz"))
            slow = _slow_cores({core: number(khz.get(str(core))) for core in locked_khz}, locked_khz)
            signs = throttle_signs(sample) + slow + _clocks_set_anew(session, sample)
            signs += [slower] if (slower := lowered_clock(sample, highest_khz)) else []
            found.append((sample, signs + signs_between(before, sample)))
            before = {**before, **{name: sample[name] for name in MEMORIES if name in sample}}
    return found


def _clocks_set_anew(session: SessionRecord | BlockRun, sample: Mapping[str, Any]) -> list[str]:
    """Return how the measured cores' clocks are no longer as tier A or B says; nothing where a sample does not tell."""
    tier, cores = session.configuration.clock_tier, session.cores
    governors, least, most = (_table(sample.get(name)) for name in ("governors", "min_khz", "max_khz"))
    keys = [str(core) for core in cores]
    if tier not in ("A", "B") or not all(key in table for key in keys for table in (governors, least, most)):
        return []
    now = {
        "governors": governors,
        "freq_khz": {key: {"min": least[key], "max": most[key]} for key in keys},
    }
    if (now_tier := clock_tier(now, cores)) != tier:
        return [f"clocks were set anew meanwhile: tier {now_tier}, not {tier}"]
    then = _table(session.conditions_before.get("freq_khz"))
    limits = {key: (number(_table(then.get(key)).get("max")), number(most[key])) for key in keys}
    return [
        f"core {key} may run at {khz / 1e3:.0f} MHz, before at {was / 1e3:.0f} MHz"
        for key, (was, khz) in limits.items()
        if was is not None and khz is not None and khz != was
    ]


def _is_marked(samples: Sequence[tuple[int, int, bool]], start_ns: int, end_ns: int) -> bool:
    """Return whether a sample within or next to the time from start to end shows throttling.

    samples: of one source, sorted: the first and last time that each may be of, and whether it shows throttling.
    """
    before = [sample for sample in samples if start_ns - SAMPLE_REACH_NS <= sample[1] < start_ns][-1:]
    within = [sample for sample in samples if sample[1] >= start_ns and sample[0] <= end_ns]
    after = [sample for sample in samples if end_ns < sample[0] <= end_ns + SAMPLE_REACH_NS][:1]
    return any(sign for _, _, sign in before + within + after)


def _slow_cores(now_khz: Mapping[int, float | None], locked_khz: Mapping[int, float]) -> list[str]:
    return [
        f"core {core} at {khz / 1e3:.0f} MHz, locked at {locked / 1e3:.0f} MHz"
        for core, locked in locked_khz.items()
        if (khz := now_khz[core]) is not None and khz < LOCKED_SHARE * locked
    ]


def _set_khz(conditions: Mapping[str, Any], cores: Sequence[int]) -> list[float | None]:
    """Return the clock of each core that is locked, or its highest where that is below what the core can; None of others."""
    found = []
    for limits in (_table(_table(conditions.get("freq_khz")).get(str(core))) for core in cores):
        low, high, most = (number(limits.get(name)) for name in ("min", "max", "hardware_max"))
        is_set = high is not None and (high == low or (most is not None and high < most))
        found.append(high if is_set else None)
    return found


def _locked_khz(conditions: Mapping[str, Any], cores: Sequence[int]) -> dict[int, float]:
    """Return the clocks of the locked cores, whose minimum is their maximum."""
    table = _table(conditions.get("freq_khz"))
    locked = {}
    for core in cores:
        limits = _table(table.get(str(core)))
        low, high = number(limits.get("min")), number(limits.get("max"))
        if low is not None and low == high:
            locked[core] = low
    return locked


def _temperatures_c(conditions: Mapping[str, Any]) -> dict[str, float]:
    found = {str(zone): number(c) for zone, c in _table(conditions.get("temps_c")).items()}
    found |= {f"GPU {index}": number(gpu.get("temp_c")) for index, gpu in enumerate(_gpus(conditions))}
    return {name: c for name, c in found.items() if c is not None}


def _gpus(conditions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the GPUs of conditions, or the one of a sample, whose keys begin with `gpu_`."""
    gpus = conditions.get("gpus")
    if isinstance(gpus, list | tuple):
        return [_table(gpu) for gpu in gpus]
    return [{key.removeprefix("gpu_"): value for key, value in conditions.items() if key.startswith("gpu_")}]


def _causes(mask: int, bits: Mapping[int, str]) -> str:
    return ", ".join(name for bit, name in bits.items() if mask & bit)


def _table(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def number(value: Any) -> float | None:
    """Return a value that a device sent as a number, None where it is none."""
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _integer(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) else 0
