"""Conditions of a device as records hold them: hardware, settings, programs beside a run, and the slices that throttling marks.

`device_agents.throttling` has the signs of throttling. An absent probe is an absent key, from which nothing is concluded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from device_agents.facts import CLOCK_CAPS
from device_agents.runtimes import uses_accelerator
from device_agents.throttling import (
    PI_BITS,
    PI_SINCE_BOOT,
    causes_of,
    clock_limits_khz,
    clock_tier,
    gpus_in,
    integer,
    number,
    signs_between,
    signs_by_sample,
    table,
    throttle_signs,
)
from harness.records import BlockRun, Configuration, SessionRecord
from space.text import counted

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
IDLE_PERCENT = 5  # of a GPU's time, that a display takes
SAMPLE_REACH_NS = 1_500_000_000  # samples are taken each second; one may be late
LOCKED, LIMITED = "locked_khz", "max_khz"  # in a configuration's environment
CLOCK_SETTINGS = ("boost", LOCKED, LIMITED, "nvpmodel")  # in it, too: what the processor's clocks are set to


def hardware_name(hello: Mapping[str, Any], conditions: Mapping[str, Any], uses_gpu: bool = False) -> str:
    """Return machine and CPU model as reported by the device, e.g. `x86_64 Intel(R) Xeon(R) Processor @ 2.50GHz`.

    uses_gpu: whether the models of NVIDIA's GPUs follow, after a comma each.
    """
    machine = str(hello.get("platform", {}).get("machine", "unknown machine"))
    gpus = gpu_models(conditions) if uses_gpu else []
    return ", ".join([f"{machine} {conditions.get('cpu_model', 'unknown CPU')}", *gpus])


def gpu_models(conditions: Mapping[str, Any]) -> list[str]:
    """Return the different models of NVIDIA's GPUs that a device has."""
    return sorted({str(gpu["name"]) for gpu in gpus_in(conditions) if gpu.get("name")})


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
        settings |= {f"gpu_{name}": f"{value:g}" for name, value in table(gpu.get("limits")).items()}
    return " ".join(f"{name}#{value}" for name, value in sorted(settings.items()))


def clock_settings(configuration: Configuration) -> list[str]:
    """Return the settings of the processor's clocks in a configuration's environment."""
    return [word for word in configuration.environment.split(" ") if word.partition("#")[0] in CLOCK_SETTINGS]


def others_on_gpu(run: SessionRecord | BlockRun) -> str:
    """Return how many other programs had the GPU open that a run may have used; nothing where there was none, or none is told.

    The run's own worker has ended when conditions are read, and is one of those in a sample.
    """
    around = [gpu for each in (run.conditions_before, run.conditions_after) for gpu in _used(each)]
    counts = [integer(gpu.get("programs")) for gpu in around]
    most = max(0, *counts, *(integer(sample.get("gpu_programs")) - 1 for sample in run.samples))
    return _others(most, around)


def others_on_idle_gpu(conditions: Mapping[str, Any]) -> str:
    """Return the same of conditions in which nothing of harness's own ran."""
    gpus = _used(conditions)
    return _others(max((integer(gpu.get("programs")) for gpu in gpus), default=0), gpus)


def gpu_is_watched(run: SessionRecord) -> bool:
    """Return whether other programs on the GPU that a session used would have been seen: those of CUDA on an NVIDIA GPU.

    Where the session's own worker was not seen in any sample, others would not have been either.
    """
    told = [sample["gpu_programs"] for sample in run.samples if "gpu_programs" in sample]
    is_blind = run.configuration.uses_cuda and told and not any(map(integer, told))
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
    told += [table(run.conditions_before.get("tegrastats")).get("gpu_percent")]
    known = [load for load in map(number, told) if load is not None]
    return bool(known) and max(known) <= IDLE_PERCENT


def _others(count: int, gpus: Sequence[Mapping[str, Any]]) -> str:
    if count:
        return f"{counted(count, 'other program')} had the GPU open"
    busy = max((integer(gpu.get("busy_percent")) for gpu in gpus), default=0)
    return (
        f"programs that nvidia-smi does not list here kept the GPU busy, {busy} %,"
        if busy > IDLE_PERCENT
        else ""
    )


def _used(conditions: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the GPU that a worker uses, alone in a list: the one that is marked so, in records of before the first."""
    gpus = gpus_in(conditions)
    return [gpu for gpu in gpus if gpu.get("used") is True] or gpus[:1]


def earlier_throttling(conditions: Mapping[str, Any]) -> str:
    """Return the causes that held a Raspberry Pi back since its start but do not now; empty where there are none."""
    mask = integer(conditions.get("throttled"))
    return causes_of(mask >> PI_SINCE_BOOT & ~mask, PI_BITS)


def throttle_remedy(signs: Sequence[str]) -> str:
    """Return the remedy for signs of throttling: of each cause whose remedy is known, else of any."""
    causes = [cause for sign in signs for cause in sign.partition(": ")[2].split(", ")]
    known = [remedy for name, remedy in REMEDIES.items() if any(cause.startswith(name) for cause in causes)]
    return "; ".join(dict.fromkeys(known)) or ANY_THROTTLING


def marked_slices(session: SessionRecord) -> tuple[bool, ...]:
    """Return for each slice whether the device throttled, from samples taken during it.

    A slice is judged, for each source of samples, by those taken within it and by the nearest before and after, each at most
    1.5 s away; a sample whose time is uncertain counts for all times that it may be of. In clock tier A a measured core below
    95 % of its locked clock counts as throttled. Without samples, or without times, nothing is marked.
    """
    sources: dict[str, list[tuple[int, int, bool]]] = {}
    for sample, signs in signs_of_samples(session):
        at_ns, error_ns = integer(sample["at_ns"]), integer(sample.get("at_error_ns"))
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


def stayed_as_set(session: SessionRecord) -> bool:
    """Return whether a session's last sample says that its device was still set as before it: as far as settings are in files.

    A power mode, and limits of a GPU, are told by programs, which no sample asks.
    """

    def set_to(told: Mapping[str, Any]) -> list[object]:
        settings = table(told.get("governors")), clock_limits_khz(told, "min"), clock_limits_khz(told)
        return [told.get("boost"), *(one.get(str(core)) for one in settings for core in session.cores)]

    before, own = session.conditions_before, [one for one in session.samples if "source" not in one]
    is_told = not before.get("power_mode") and not session.configuration.uses_gpu
    return is_told and set_to(before) == set_to(own[-1] if own else {})


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
    tier = session.configuration.clock_tier
    return signs_by_sample(session.conditions_before, session.samples, session.cores, tier)


def _is_marked(samples: Sequence[tuple[int, int, bool]], start_ns: int, end_ns: int) -> bool:
    """Return whether a sample within or next to the time from start to end shows throttling.

    samples: of one source, sorted: the first and last time that each may be of, and whether it shows throttling.
    """
    before = [sample for sample in samples if start_ns - SAMPLE_REACH_NS <= sample[1] < start_ns][-1:]
    within = [sample for sample in samples if sample[1] >= start_ns and sample[0] <= end_ns]
    after = [sample for sample in samples if end_ns < sample[0] <= end_ns + SAMPLE_REACH_NS][:1]
    return any(sign for _, _, sign in before + within + after)


def _set_khz(conditions: Mapping[str, Any], cores: Sequence[int]) -> list[float | None]:
    """Return the clock of each core that is locked, or its highest where that is below what the core can; None of others."""
    found = []
    for limits in (table(table(conditions.get("freq_khz")).get(str(core))) for core in cores):
        low, high, most = (number(limits.get(name)) for name in ("min", "max", "hardware_max"))
        is_set = high is not None and (high == low or (most is not None and high < most))
        found.append(high if is_set else None)
    return found
