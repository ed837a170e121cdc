"""Which cores a session may use: clusters of like cores, and a choice among them."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from device_agents.facts import parse_cpu_parts
from device_agents.refusal import Refusal


def available_cores() -> list[int]:
    """Return the cores that this process may run on."""
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        return list(range(os.cpu_count() or 1))


@contextmanager
def kept_on(cores: list[int]) -> Iterator[None]:
    """Keep this thread on some cores for a while; without any, or where the system does not let it, as it is."""
    try:
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, cores or before)
    except (AttributeError, OSError):  # not on macOS; refused in some containers and on some phones
        yield
        return
    try:
        yield
    finally:
        with suppress(OSError):  # the system took cores away meanwhile, and has set the rest itself
            os.sched_setaffinity(0, before)


def find_clusters(cores: list[int], filesystem: Path) -> list[list[int]]:
    """Return groups of like cores, fastest first: by highest frequency, else by the model of the core.

    Where neither is told, all cores are one cluster. filesystem: what holds `sys` and `proc`.
    """
    frequencies = {core: read_max_freq_khz(core, filesystem) for core in cores}
    if all(frequencies.values()):
        return group(frequencies, reverse=True)
    try:
        parts = parse_cpu_parts((filesystem / "proc/cpuinfo").read_text(errors="replace"))
    except (OSError, ValueError):
        parts = {}
    # the higher part number is the later and, within one chip, the larger core
    return group({core: parts.get(core, 0) for core in cores}, reverse=True)


def choose_cores(wanted: tuple[int, ...] | None, threads: int, clusters: list[list[int]]) -> list[int]:
    """Return the cores of a job; by default `threads` of the fastest cluster that has so many, from its high end.

    Raises: Refusal (`bad-request`) when there are not so many, or a wanted one is not there.
    """
    available = sorted(core for cluster in clusters for core in cluster)
    if wanted is not None:
        absent = [core for core in wanted if core not in available]
        if absent:
            raise Refusal(
                "bad-request", "run: job.cores names %s; the agent may use %s" % (absent, available)
            )
        if threads > len(wanted):
            raise Refusal(
                "bad-request",
                "run: job.threads is %d on %d core(s); name as many cores" % (threads, len(wanted)),
            )
        return list(wanted)
    for cluster in clusters:
        if len(cluster) >= threads:
            return cluster[-threads:]
    raise Refusal(
        "bad-request",
        "run: job.threads is %d, but no cluster of like cores has so many: %s; ask for fewer, or name the cores"
        % (threads, clusters),
    )


def group(keys: dict[int, int], reverse: bool) -> list[list[int]]:
    """Return the cores by equal key, in the order of the keys."""
    return [
        [core for core in keys if keys[core] == key] for key in sorted(set(keys.values()), reverse=reverse)
    ]


def read_max_freq_khz(core: int, filesystem: Path) -> int:
    """Return a core's highest frequency, 0 where it is not told."""
    path = filesystem / ("sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq" % core)
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
