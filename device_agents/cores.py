"""Choice of a session's cores: clusters of like cores, and the cores taken from them."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Iterator

from device_agents.facts import parse_cpu_parts
from device_agents.refusal import Refusal

LIKE_SHARE = 0.9  # highest frequencies of AMD's and Turbo Boost Max 3.0 cores differ by a few %, of unlike cores by more
QUIET_SHARE = 0.02  # a probe of 100 ms on a free core waits for less: kernel threads, interrupts


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
    """Return groups of like cores, fastest first: of one model, highest frequencies within a tenth of their fastest's.

    Where frequencies are not told of all, the model alone counts; where neither is, all cores are one cluster.
    filesystem: what holds `sys` and `proc`.
    """
    frequencies = {core: read_max_freq_khz(core, filesystem) for core in cores}
    if not all(frequencies.values()):
        frequencies = dict.fromkeys(cores, 0)
    models = find_models(cores, filesystem)
    clusters: list[list[int]] = []
    # of one frequency the higher model first: the later and, within one chip, the larger core
    for core in sorted(cores, key=lambda core: (-frequencies[core], -models[core], core)):
        for cluster in clusters:
            fastest = cluster[0]
            if models[core] == models[fastest] and frequencies[core] >= LIKE_SHARE * frequencies[fastest]:
                cluster.append(core)
                break
        else:
            clusters.append([core])
    return [sorted(cluster) for cluster in clusters]


def find_models(cores: list[int], filesystem: Path) -> dict[int, int]:
    """Return a number of each core's model, 0 where the system tells none: arm's CPU part; of Intel's hybrids 1 or 2."""
    try:
        models = parse_cpu_parts((filesystem / "proc/cpuinfo").read_text(errors="replace"))
    except (OSError, ValueError):
        models = {}
    for model, name in ((1, "cpu_atom"), (2, "cpu_core")):
        try:
            text = (filesystem / "sys/devices" / name / "cpus").read_text()
            models.update(dict.fromkeys(parse_core_list(text), model))
        except (OSError, ValueError):
            continue
    return {core: models.get(core, 0) for core in cores}


def find_siblings(cores: list[int], filesystem: Path) -> dict[int, tuple[int, ...]]:
    """Return {core: the hardware threads of its physical core, itself included}; itself alone where that is not told."""
    siblings: dict[int, tuple[int, ...]] = {}
    for core in cores:
        path = filesystem / ("sys/devices/system/cpu/cpu%d/topology/thread_siblings_list" % core)
        try:
            told = parse_core_list(path.read_text())
        except (OSError, ValueError):
            told = []
        siblings[core] = tuple(sorted({core, *told}))
    return siblings


def choose_cores(
    wanted: tuple[int, ...] | None,
    threads: int,
    clusters: list[list[int]],
    siblings: dict[int, tuple[int, ...]],
    waited: dict[int, float | None],
) -> list[int]:
    """Return the cores of a session, one a thread, each on a physical core of its own.

    The quietest of those wanted, or of the fastest cluster that has so many; of equally quiet ones the high end. Two
    hardware threads of one core are taken only of wanted ones, when these leave nothing else. waited: the share of the
    time that a probe of the core waited, or that others have of it (core_probe.lost_shares); unknown comes after all known.

    Raises: Refusal (`bad-request`) when there are not so many, or a wanted one is not there.
    """
    available = sorted(core for cluster in clusters for core in cluster)
    if wanted is None:
        wide = (one for one in clusters if len({siblings.get(core, (core,)) for core in one}) >= threads)
        allowed = next(wide, [])
    else:
        allowed = list(wanted)
    if absent := [core for core in allowed if core not in available]:
        trouble = "job.cores names %s; the agent may use %s" % (absent, available)
    elif len(allowed) >= threads:
        return quietest(allowed, threads, siblings, waited)
    elif wanted is not None:
        trouble = "job.threads is %d on %d core(s); name as many cores" % (threads, len(wanted))
    elif any(len(cluster) >= threads for cluster in clusters):
        shared = sorted(group for group in set(siblings.values()) if len(group) > 1)
        trouble = (
            "job.threads is %d, but no cluster of like cores has so many physical ones (clusters %s; hardware threads of one "
            "core: %s), and two threads on one core disturb each other; ask for fewer, or name the cores"
        ) % (threads, clusters, ", ".join("+".join(map(str, group)) for group in shared))
    else:
        trouble = "job.threads is %d, but no cluster of like cores has so many: %s; ask for fewer, or name the cores"
        trouble %= (threads, clusters)
    raise Refusal("bad-request", "run: " + trouble)


def quietest(
    cores: list[int], count: int, siblings: dict[int, tuple[int, ...]], waited: dict[int, float | None]
) -> list[int]:
    """Return `count` of the cores, by preference on physical cores of their own, then quiet, then of the high end."""
    ordered = sorted(cores, key=lambda core: (*busyness(core, siblings, waited), -core))
    firsts: dict[tuple[int, ...], int] = {}
    for core in ordered:
        firsts.setdefault(siblings.get(core, (core,)), core)
    chosen = list(firsts.values())
    chosen += [core for core in ordered if core not in chosen]
    return sorted(chosen[:count])


def busyness(
    core: int, siblings: dict[int, tuple[int, ...]], waited: dict[int, float | None]
) -> tuple[bool, float]:
    """Return (whether it is not known, by how much above quiet a core is busy): it or a sibling of its."""
    told = [waited.get(one) for one in siblings.get(core, (core,))]
    shares = [share for share in told if share is not None]
    busiest = max(shares, default=0.0)
    return waited.get(core) is None, busiest if busiest > QUIET_SHARE else 0.0


def parse_core_list(text: str) -> list[int]:
    """Return the cores of a list such as `0-3,8`. Raises: ValueError.

    Source: https://docs.kernel.org/admin-guide/cputopology.html
    """
    cores: list[int] = []
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if part:
            cores.extend(range(int(first), int(last or first) + 1))
    return cores


def read_max_freq_khz(core: int, filesystem: Path) -> int:
    """Return a core's highest frequency, 0 where it is not told."""
    path = filesystem / ("sys/devices/system/cpu/cpu%d/cpufreq/cpuinfo_max_freq" % core)
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return 0
