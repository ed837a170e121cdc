"""Records of measurements: raw times with the conditions they were taken under.

A failed measurement is a `Failure`, never a `SessionRecord` with odd numbers: the two have no common type.
All times are integer nanoseconds of the device's `perf_counter_ns`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from itertools import pairwise
from math import isfinite
from typing import Any, TypeVar

from device_agents.names import CUDA_PROVIDERS, may_use_gpu

STOP_REASONS = ("precision", "plateau", "contended", "cap")
# What a session is for. A network's and a segment's sessions make estimates; a trained network's make those of the one model
# that has its weights; the reference against itself makes the reference latency; a throttled or a contended session was
# measured again, and is kept for whoever wants to look.
PURPOSES = ("network", "segment", "trained", "calibration", "throttled", "contended")
# How the clocks were: locked, by the performance governor, by Android's fixed-performance mode, free (or not known).
CLOCK_TIERS = ("A", "B", "F", "C")
# What a run of blocks is for: the latency of a device that is kept busy, or the energy of an inference. Neither makes an estimate
# of the others.
BLOCK_PURPOSES = ("sustained", "energy")
BLOCK_KINDS = ("network", "reference", "idle")
COMPLETE = "complete"  # how a run of blocks ended, else why it did not come to its end
# What a runtime says that it computes in, whatever precision the model has; `unknown` where it does not say.
ARITHMETICS = ("fp32", "fp16", "int8", "mixed", "unknown")
# The space of configurations that measure model files: no space of networks has this name.
FILE_SPACE = "file"
# In a configuration's weights: behind it stands the digest of the files that hold them, another in each precision.
PARTS = ", parts "

ONE_CALL_PROVIDERS = ("npu", "edgetpu")  # beginnings
# Providers that compute an fp32 model in fp32. Of others no runtime tells: a GPU may take TF32 or fp16.
FP32_PROVIDERS = ("CPUExecutionProvider", "XNNPACK", "builtin", "CPU", "GPU-fp32", "GPU-fp32+CPU")

# Fields of configurations that came later, with the values of all configurations of before; their environment is not known.
_LATER_FIELDS = {"batch": 1, "provider_options": "", "environment": ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """Everything that must be equal before two latencies may be compared or merged.

    `hardware` is what the device says it is (machine, CPU model, and the GPUs of a provider that uses one); `reference` the graph
    hash of the network that every slice alternates with; `precision` the model's, which is not always the `arithmetic`;
    `clock_tier` one of `CLOCK_TIERS`; `batch`: images of one run of the network; `provider_options`: what the provider was told
    beyond its defaults, as `NAME=VALUE` in the order of names, with spaces between; `environment`: the environment variables
    that change how fast models run, as `NAME#DIGEST` of their values in the same way, and a Jetson's power mode.
    """

    device: str
    hardware: str
    runtime: str
    runtime_version: str
    provider: str
    format: str
    precision: str
    threads: int
    cores: tuple[int, ...]
    space: str
    weights: str
    reference: str
    clock_tier: str
    batch: int = 1
    provider_options: str = ""
    environment: str = ""

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise ValueError(f"threads = {self.threads}: at least 1")
        if type(self.batch) is not int or self.batch < 1:
            raise ValueError(f"batch = {self.batch!r}: a number of images, at least 1")
        if self.clock_tier not in CLOCK_TIERS:
            raise ValueError(f"clock_tier = {self.clock_tier!r}: one of {', '.join(CLOCK_TIERS)}")

    @property
    def uses_gpu(self) -> bool:
        """Return whether the provider runs networks on a GPU, whose kernels one core launches."""
        return may_use_gpu(self.provider)

    @property
    def uses_cuda(self) -> bool:
        """Return whether the provider runs networks on an NVIDIA GPU by CUDA."""
        return any(name in self.provider.lower() for name in CUDA_PROVIDERS)

    @property
    def launches_kernels(self) -> bool:
        """Return whether a core launches each kernel of a network by CUDA, which takes it as much longer as it is slower."""
        return self.uses_cuda and self.feels_pace

    @property
    def feels_pace(self) -> bool:
        """Return whether the pace of the processor's core tells on a run, which it computes or hands on op by op.

        It hands a CUDA graph, and a network of an NPU or an Edge TPU, over in one call: then it says nothing of the latency.
        """
        name, *also = self.provider.lower().split("+")
        return "graph" not in also and not name.startswith(ONE_CALL_PROVIDERS)

    @property
    def arithmetic(self) -> str | None:
        """The precision that the provider is known to compute in, None where that is not known."""
        is_known = self.precision == "fp32" and self.provider in FP32_PROVIDERS
        return "fp32" if is_known else None

    @property
    def digest(self) -> str:
        """Return the sha256 hex that names this configuration: of its fields, later ones only where they are not the default."""
        return _digest(self)


@lru_cache(maxsize=1000)
def _digest(configuration: Configuration) -> str:
    fields = asdict(configuration)
    for name, default in _LATER_FIELDS.items():
        if fields[name] == default:
            del fields[name]
    return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """One slice of paired timing: reference, network, reference. Each time is the total of the session's loops, in ns.

    `after_switch_ns` is the network's first run in the slice, which finds the reference's data in the caches. `at_ns` is the
    device's monotonic clock at the start, the same clock as in the session's samples; None in records of before.
    `delays_ns`: how long the threads that compute waited for a core within each run, in the order of `runs_ns`, and `gaps_ns`
    how long between that run and the one before it; both empty where the system does not tell.
    """

    reference_before_ns: tuple[int, ...]
    after_switch_ns: int
    network_ns: tuple[int, ...]
    reference_after_ns: tuple[int, ...]
    at_ns: int | None = None
    delays_ns: tuple[int, ...] = ()
    gaps_ns: tuple[int, ...] = ()

    @property
    def runs_ns(self) -> tuple[int, ...]:
        """Return the times of all runs in the order in which they ran."""
        return (*self.reference_before_ns, self.after_switch_ns, *self.network_ns, *self.reference_after_ns)

    def __post_init__(self) -> None:
        if not self.network_ns or not self.reference_before_ns + self.reference_after_ns:
            raise ValueError("a slice needs runs of the network and of the reference")
        _check_runs("a slice", self)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettledRuns:
    """Runs of the network alone after a session's slices, in a row; the first of them still follow a switch of models.

    The fields mean what they mean in a slice.
    """

    at_ns: int
    network_ns: tuple[int, ...]
    delays_ns: tuple[int, ...] = ()
    gaps_ns: tuple[int, ...] = ()

    @property
    def runs_ns(self) -> tuple[int, ...]:
        """Return the times of all runs in the order in which they ran."""
        return self.network_ns

    def __post_init__(self) -> None:
        if not self.network_ns or self.at_ns is None:
            raise ValueError("settled runs have a beginning and a run")
        _check_runs("settled runs", self)


def _check_runs(what: str, runs: Slice | SettledRuns) -> None:
    """Check times and waits of some runs in a row. Raises: ValueError."""
    times = runs.runs_ns
    if not _are(int, times, least=1):
        raise ValueError(f"{what}: times are positive 64-bit integers of nanoseconds, not {times}")
    if runs.at_ns is not None and (type(runs.at_ns) is not int or not 0 <= runs.at_ns < 1 << 63):
        raise ValueError(f"{what}: at_ns = {runs.at_ns!r}: a time of the device's monotonic clock in ns")
    for name, waits in (("delays_ns", runs.delays_ns), ("gaps_ns", runs.gaps_ns)):
        if waits and len(waits) != len(times):
            raise ValueError(f"{what}: {name} holds {len(waits)} waits for {len(times)} runs")
        if not _are(int, waits, least=0):
            raise ValueError(f"{what}: {name} holds 64-bit integers of nanoseconds from 0 on, not {waits}")


# What a session holds besides its slices, by type.
_TEXTS = (
    *("session_id", "campaign_id", "architecture", "graph_hash", "model_digest", "started_utc"),
    *("agent_digest", "process"),
)
_TIMES_NS = ("load_ns", "first_run_ns", "reference_load_ns", "reference_first_run_ns")
_OBJECTS = ("conditions_before", "conditions_after", "plan", "gate", "scheduling")


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class SessionRecord:
    """Raw measurements of one network by one worker process.

    `process` names the worker process: sessions of one process share what differs from process to process; empty where the
    process measured nothing else. `scheduling` holds what is known of the measured cores: `delay_source` (`schedstat`,
    `cpu-time`, or empty: not known), `baseline_ns` (what pool threads wait in a run of network and reference on a free
    machine), `cores` (those that the session ran on), `request` (how the core was asked for), `probe` (what a pinned probe
    waited just before), `quota_cores`, `steal_s`, `others_busy` (of the busiest other core); empty in records of before.
    `samples` are conditions taken once a second beside the run, each with `at_ns`, and those of another `source` than the agent
    with `at_error_ns`; `gate` says how long the session waited for
    the device to be fit (`waited_s`), what was still against it when it began (`closed`), and which attempt it is (`attempt`).
    `output` are eight sums of each output that the network gave on the agent's fixed input, `expected` those that it should have
    given; empty where nobody knows, and in records of before. Older records have up to eight values of the first output instead.
    `arithmetic`: what the runtime says that it computed in, one of `ARITHMETICS`; `unknown` in records of before.
    `settled`: runs of the network alone for its wall time; None where none were asked for, and in records of before.
    A segment (`purpose`) has its text and key where a network has architecture and graph hash; a trained network has the key
    of its weights in place of the graph hash; a model file (its configuration's space is `FILE_SPACE`) has its name and its key,
    and what was given of its inputs under `inputs` in the plan.
    """

    session_id: str
    campaign_id: str
    configuration: Configuration
    architecture: str
    graph_hash: str
    model_digest: str
    started_utc: str
    elapsed_s: float
    loop_s: float
    stop: str
    load_ns: int
    first_run_ns: int
    reference_load_ns: int
    reference_first_run_ns: int
    network_loops: int
    reference_loops: int
    warmup_network_ns: tuple[int, ...]
    warmup_reference_ns: tuple[int, ...]
    slices: tuple[Slice, ...]
    conditions_before: dict[str, Any]
    conditions_after: dict[str, Any]
    output: tuple[float, ...]
    agent_digest: str
    plan: dict[str, Any]
    purpose: str = "network"
    samples: tuple[dict[str, Any], ...] = ()
    gate: dict[str, Any] = field(default_factory=dict)
    process: str = ""
    scheduling: dict[str, Any] = field(default_factory=dict)
    expected: tuple[float, ...] = ()
    settled: SettledRuns | None = None
    arithmetic: str = "unknown"

    @property
    def cores(self) -> tuple[int, ...]:
        """Return the cores that the session ran on; of a record of before, all that it might have."""
        return tuple(self.scheduling.get("cores", self.configuration.cores))

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise ValueError(f"purpose = {self.purpose!r}: one of {', '.join(PURPOSES)}")
        if not self.slices:
            raise ValueError("a session without a slice is a Failure")
        _check_types(self)
        if self.arithmetic not in ARITHMETICS:
            raise ValueError(f"arithmetic = {self.arithmetic!r}: one of {', '.join(ARITHMETICS)}")
        for name, values in (("output", self.output), ("expected", self.expected)):
            if not all(isinstance(value, int | float) and isfinite(value) for value in values):
                raise ValueError(f"{name} holds finite numbers, not {values}")
        if self.stop not in STOP_REASONS:
            raise ValueError(f"stop = {self.stop!r}: one of {', '.join(STOP_REASONS)}")


def _check_types(session: SessionRecord) -> None:
    """Check that fields of a session are of their types, as whatever computes with it takes them. Raises: ValueError."""
    for name in _TEXTS:
        if not isinstance(getattr(session, name), str):
            raise ValueError(f"{name} = {getattr(session, name)!r}: a text")
    for name in ("elapsed_s", "loop_s"):
        if type(getattr(session, name)) not in (int, float):
            raise ValueError(f"{name} = {getattr(session, name)!r}: a number of seconds")
    counts = [(name, getattr(session, name), 0) for name in _TIMES_NS]
    counts += [(name, getattr(session, name), 1) for name in ("network_loops", "reference_loops")]
    for name in ("warmup_network_ns", "warmup_reference_ns"):
        counts += [(name, time_ns, 1) for time_ns in getattr(session, name)]
    for name, value, least in counts:
        if type(value) is not int or not least <= value < 1 << 63:
            raise ValueError(f"{name} = {value!r}: a 64-bit integer from {least} on")
    objects = [(name, getattr(session, name)) for name in _OBJECTS]
    for name, value in (*objects, *(("samples", sample) for sample in session.samples)):
        if not isinstance(value, dict):
            raise ValueError(f"{name} holds {value!r}: an object is expected")


@dataclass(frozen=True, slots=True, kw_only=True)
class FreshRun:
    """One network loaded and run in a fresh worker that held no other model.

    `peak_bytes`: the worker's peak resident memory from loading on, `empty_bytes` what it held once its runtime was started;
    `is_reset` False where the system does not let a peak begin anew: it then holds what putting the model together took.
    """

    run_id: str
    campaign_id: str
    configuration: Configuration
    architecture: str
    graph_hash: str
    purpose: str
    model_digest: str
    agent_digest: str
    started_utc: str
    model_bytes: int
    empty_bytes: int
    peak_bytes: int
    is_reset: bool
    load_ns: int
    first_run_ns: int

    @property
    def memory_bytes(self) -> int | None:
        """Return the model's memory, its own bytes included; None where the peak holds what putting it together took, too."""
        return self.peak_bytes - self.empty_bytes if self.is_reset else None

    def __post_init__(self) -> None:
        if self.purpose not in PURPOSES:
            raise ValueError(f"purpose = {self.purpose!r}: one of {', '.join(PURPOSES)}")
        _check_positive(self, "model_bytes", "empty_bytes", "peak_bytes", "load_ns", "first_run_ns")
        if self.peak_bytes < self.empty_bytes:
            raise ValueError(
                f"peak_bytes = {self.peak_bytes}: less than the {self.empty_bytes} of an empty worker"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedBlock:
    """Some seconds of a run of blocks, in which the network, its reference or nothing ran, one run right after the other.

    `runs`: how many, None of a block that was broken off. `at_ns`, `runs_ns`: when each of the timed ones began and what it took,
    evenly spread over the block; `delays_ns`: how long its threads waited for a core, empty where the system does not tell.
    `others_busy`: the share of the time in which the busiest other core ran something; `steal_s`: what a hypervisor took of the
    measured ones. All times of the device's monotonic clock.
    """

    which: str
    start_ns: int
    end_ns: int
    runs: int | None
    at_ns: tuple[int, ...] = ()
    runs_ns: tuple[int, ...] = ()
    delays_ns: tuple[int, ...] = ()
    others_busy: float | None = None
    steal_s: float | None = None

    @property
    def seconds(self) -> float:
        """Return how long it took."""
        return (self.end_ns - self.start_ns) / 1e9

    def __post_init__(self) -> None:
        if self.which not in BLOCK_KINDS:
            raise ValueError(f"a block of {self.which!r}: one of {', '.join(BLOCK_KINDS)}")
        if len(self.at_ns) != len(self.runs_ns) or len(self.delays_ns) not in (0, len(self.runs_ns)):
            raise ValueError(
                f"a block has {len(self.at_ns)} beginnings and {len(self.delays_ns)} waits for {len(self.runs_ns)} runs"
            )
        times = (self.start_ns, self.end_ns, *self.at_ns, *self.runs_ns)
        if not _are(int, times, least=1):
            raise ValueError("a block: times are positive 64-bit integers of nanoseconds")
        if not _are(int, self.delays_ns, least=0):
            raise ValueError("a block: waits are 64-bit integers of nanoseconds from 0 on")
        if self.start_ns >= self.end_ns or any(one > two for one, two in pairwise(self.at_ns)):
            raise ValueError(
                f"a block from {self.start_ns} to {self.end_ns} ns: its times do not follow each other"
            )
        if self.runs is not None and (type(self.runs) is not int or self.runs < len(self.runs_ns)):
            raise ValueError(f"a block: {self.runs!r} runs, {len(self.runs_ns)} of them timed")
        for name, value in (("others_busy", self.others_busy), ("steal_s", self.steal_s)):
            if value is not None and type(value) not in (int, float):
                raise ValueError(f"a block: {name} = {value!r}: a number")


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRun:
    """A network and its reference in one worker, in blocks of some seconds: raw, whatever it is for (`purpose`).

    `ended`: `COMPLETE`, or why it did not come to its end; what was measured until then stands. `plan`: what was asked for.
    `samples`: conditions beside it. `scheduling`: `cores`, `delay_source`, and the `probe` of the cores just before.
    `sensor`: the sensor of energy that was read, and its `readings`, each with `at_ns`, and by channel either the counter in
    uJ (`uj`) or the power in uW (`uw`); empty where none was asked.
    """

    run_id: str
    campaign_id: str
    configuration: Configuration
    architecture: str
    graph_hash: str
    purpose: str
    model_digest: str
    agent_digest: str
    started_utc: str
    ended: str
    load_ns: int
    first_run_ns: int
    blocks: tuple[TimedBlock, ...]
    conditions_before: dict[str, Any]
    conditions_after: dict[str, Any]
    plan: dict[str, Any]
    scheduling: dict[str, Any]
    gate: dict[str, Any] = field(default_factory=dict)
    samples: tuple[dict[str, Any], ...] = ()
    sensor: dict[str, Any] = field(default_factory=dict)
    readings: tuple[dict[str, Any], ...] = ()

    @property
    def cores(self) -> tuple[int, ...]:
        """Return the cores that it ran on."""
        return tuple(self.scheduling.get("cores", self.configuration.cores))

    def __post_init__(self) -> None:
        if self.purpose not in BLOCK_PURPOSES:
            raise ValueError(f"purpose = {self.purpose!r}: one of {', '.join(BLOCK_PURPOSES)}")
        if not any(block.which == "network" and block.runs_ns for block in self.blocks):
            raise ValueError("a run of blocks without a timed run of the network is a Failure")
        for before, after in pairwise(self.blocks):
            if before.end_ns > after.start_ns:
                raise ValueError(
                    f"a block ended at {before.end_ns} ns, after the next began at {after.start_ns} ns"
                )
        _check_positive(self, "load_ns", "first_run_ns")
        for name in ("conditions_before", "conditions_after", "plan", "scheduling", "gate", "sensor"):
            if not isinstance(getattr(self, name), dict):
                raise ValueError(f"{name} holds {getattr(self, name)!r}: an object is expected")
        if not _are(int, self.scheduling.get("cores", [])):
            raise ValueError(
                f"scheduling: cores = {self.scheduling['cores']!r}: a list of numbers is expected"
            )
        self._check_readings()

    def _check_readings(self) -> None:
        """Check the samples, and what a sensor of energy said. Raises: ValueError."""
        for name, entries in (("samples", self.samples), ("readings", self.readings)):
            if not all(isinstance(one, dict) and type(one.get("at_ns")) is int for one in entries):
                raise ValueError(f"{name}: objects with their at_ns are expected")
        tables = [self.sensor.get("counters", {})]
        tables += [one.get(kind, {}) for one in self.readings for kind in ("uj", "uw")]
        is_plain = all(isinstance(one, dict) for one in tables)
        if not is_plain or not _are(int, [value for one in tables for value in one.values()]):
            raise ValueError("sensor and readings: integers by name are expected")
        if not _are(str, self.sensor.get("powers", [])):
            raise ValueError(f"sensor: powers = {self.sensor['powers']!r}: a list of names is expected")


def _check_positive(record: FreshRun | BlockRun, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if type(value) is not int or not 0 < value < 1 << 63:
            raise ValueError(f"{name} = {value!r}: a positive 64-bit integer")


def _are(kind: type, values: Any, least: int = -(1 << 63)) -> bool:
    """Return whether values are a list of one type, and where they are integers from `least` on and of 64 bits."""
    if not isinstance(values, list | tuple) or not {*map(type, values)} <= {kind}:
        return False
    return kind is not int or not values or least <= min(values) <= max(values) < 1 << 63


Kept = TypeVar("Kept", SessionRecord, FreshRun, BlockRun)


def of_last_model(records: Sequence[Kept]) -> list[Kept]:
    """Return the records of a network, oldest first, that are of the model measured last, if it has changed under its name."""
    return [record for record in records if record.model_digest == records[-1].model_digest]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A measurement that did not come about.

    `kind` is the protocol's word for the reason, or the harness's: `link-lost`, `conditions-changed`.
    """

    campaign_id: str
    configuration: Configuration
    architecture: str
    graph_hash: str
    kind: str
    message: str
    time_utc: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceLatency:
    """The reference network's latency on a configuration when the device is quiet; makes latencies of ratios.

    Pooled from `sessions` sessions in `visits` visits of the device (0 where that is not known), the last at `measured_utc`.
    `sd`: how far a visit at another hour is off it, a relative standard deviation, None where nothing is known of it;
    `hour_sd`: the part of that which is not of another hour, None where it is not told apart. `never_quiet`: other cores were
    busy, or the core was slow, in every session. `best_paces_ns`: how long a fixed piece of work took at best on these cores
    in any session, by what did it (device_agents.pace); `slowed`: how much longer it took in every session that tells,
    relative, 0 where one was as fast. `core_to_core_ns`: how far apart the cores of several threads were in the quiet sessions,
    None where not known; `gpu_mhz`: the usual clock of the GPU. `machines`: those that it is of, 0 where that is not known.
    """

    configuration: Configuration
    latency_ns: float
    measured_utc: str
    sessions: int = 1
    sd: float | None = None
    hour_sd: float | None = None
    visits: int = 0
    never_quiet: bool = False
    slowed: float = 0.0
    best_paces_ns: Mapping[str, float] = field(default_factory=dict)
    core_to_core_ns: float | None = None
    gpu_mhz: float | None = None
    machines: int = 0

    def __post_init__(self) -> None:
        if not self.latency_ns > 0:
            raise ValueError(f"latency_ns = {self.latency_ns}: must be positive")
        if self.sd is not None and not self.sd >= 0:
            raise ValueError(f"sd = {self.sd}: must not be negative")
