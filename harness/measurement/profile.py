"""Profiles of a network on a device: times of its nodes by the runtime's own profiler, in groups that add up.

A share is of the whole run with the profiler. A group's time is the sum of its nodes' medians; the rest of the run's
median (the runtime between nodes, and the profiler) is a group of its own, so that the shares add up to one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from device_agents.names import may_use_gpu
from device_agents.throttling import heeded, throttle_signs
from harness.devices.conditions import others_on_idle_gpu
from harness.devices.config import Device
from harness.devices.connection import Connection, new_owner
from harness.devices.runtimes import allowed_cores, choose_runtimes, likely_runtimes
from harness.devices.transports import open_transport
from harness.devices.transports.contract import Transport
from harness.errors import DeviceError
from harness.estimates.outputs import limit_of, why_false
from harness.measurement.events import Connecting
from harness.measurement.workload import Model
from space.errors import HarnessError

OUTSIDE = "outside nodes"
OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One node of the network as the runtime runs it; times in ns, `total_ns` of all runs, `median_ns` of a quiet run."""

    name: str
    op: str
    provider: str
    runs: int
    total_ns: int
    median_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A network's nodes in running order, and the median of a whole run with and without the profiler, in ns.

    All medians are of the `quiet_runs` shortest of the `runs`, of those first in which no thread waited for a core; so many as
    `disturbed_runs` of them waited all the same, None where the device does not tell. `doubts`: what else speaks against the
    times: other programs on the GPU, a device that throttles.
    """

    runtime: str
    version: str
    provider: str
    threads: int
    cores: tuple[int, ...]
    runs: int
    quiet_runs: int
    wall_median_ns: int
    plain_median_ns: int
    nodes: tuple[Node, ...]
    disturbed_runs: int | None = None
    doubts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.runs < 1 or self.wall_median_ns < 1 or self.plain_median_ns < 1 or not self.nodes:
            raise ValueError("a profile has runs, times and nodes")

    @property
    def outside_ns(self) -> int:
        """Return the median of a run minus the medians of its nodes."""
        return self.wall_median_ns - sum(node.median_ns for node in self.nodes)

    @property
    def profiler_share(self) -> float:
        """Return the overhead of the profiler, as a share of a run without it."""
        return self.wall_median_ns / self.plain_median_ns - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Total time of some nodes: ns of a run, and as a share of the whole run with the profiler."""

    name: str
    nodes: int
    time_ns: int
    share: float


def group_nodes(profile: Profile, names: Sequence[str | None]) -> list[Group]:
    """Return the time of the nodes by name, one name for each of `profile.nodes`; None counts as other.

    The groups stand in the order of their first nodes, then what has no name, then the time outside nodes.
    """
    times_ns: dict[str, list[int]] = {}
    for node, name in zip(profile.nodes, names, strict=True):
        times_ns.setdefault(name or OTHER, []).append(node.median_ns)
    if OTHER in times_ns:
        times_ns[OTHER] = times_ns.pop(OTHER)
    groups = [(name, len(found), sum(found)) for name, found in times_ns.items()]
    groups.append((OUTSIDE, 0, profile.outside_ns))
    return [
        Group(name=name, nodes=count, time_ns=time_ns, share=time_ns / profile.wall_median_ns)
        for name, count, time_ns in groups
    ]


def take_profile(
    device: Device,
    model: Model,
    *,
    runtime: str,
    threads: int | None,
    cores: Sequence[int],
    runs: int,
    wait_s: float,
    log: Callable[[str], None],
    connect: Callable[[Device], Transport] = open_transport,
) -> Profile:
    """Profile a model on a device, which is locked during the profile, and waited for `wait_s` at most if it is in use.

    Raises: ConfigError when the request does not fit the device; DeviceError when it cannot be reached, the profile fails, or the
    model's output is false.
    """
    assembly, right = model.assemble(), _right_output(model, log)
    owner, likely = new_owner("harness profile"), likely_runtimes(device, [runtime])
    connection = Connection(device, connect(device), owner=owner, wait_s=wait_s, runtimes=likely)
    try:
        log(str(Connecting()))
        connection.open(on_progress=lambda event: log(str(event)))
        (use,) = choose_runtimes(device, connection.hello, [runtime], [])
        allowed, count = allowed_cores(device, connection.hello, threads, cores)
        log("sending the model")
        connection.client.send_models([assembly])
        log(f"profiling {runs} runs")
        job = {"network": assembly.recipe(), "runtime": use.name, "options": use.options}
        answer = connection.client.profile(job | {"threads": count, "cores": list(allowed), "runs": runs})
        limit = limit_of(model.precision, answer["runtime"]["provider"])
        for output in (answer.get("output", ()), answer.get("profiled_output", ())):
            if why := why_false(model.architecture, output, right, limit):
                raise DeviceError(device.who, why)
        return read_profile(answer)
    finally:
        connection.close()


def _right_output(model: Model, log: Callable[[str], None]) -> Sequence[float]:
    """Return the sums that judge a model's outputs, none where nobody knows them; the reason is logged."""
    try:
        return model.expected() if model.expected is not None else ()
    except HarnessError as error:
        log(f"the output is not judged: {error}")
        return ()


def read_profile(answer: Mapping[str, Any]) -> Profile:
    """Return the profile in an agent's answer."""
    runtime = answer["runtime"]
    same = ("threads", "runs", "quiet_runs", "wall_median_ns", "plain_median_ns")
    return Profile(
        runtime=runtime["name"],
        version=runtime["version"],
        provider=runtime["provider"],
        cores=tuple(answer["cores"]),
        **{name: answer[name] for name in same},
        nodes=tuple(Node(**node) for node in answer["nodes"]),
        disturbed_runs=answer.get("disturbed_runs"),
        doubts=_doubts(answer["conditions_before"], runtime["provider"]),
    )


def _doubts(conditions: Mapping[str, Any], provider: str) -> tuple[str, ...]:
    told = heeded(conditions, may_use_gpu(provider))
    others = others_on_idle_gpu(told)
    return (*throttle_signs(told), *([others] if others else []))
