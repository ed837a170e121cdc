"""Checks of all that an agent sends: each answer, event and condition, at this one place, before anything else sees it.

The agent is foreign: its device may be broken, or lie. What does not fit these models is a BadAnswer that names the field and
the value; fields that no model has are dropped, texts are made printable and cut, numbers are finite and within bounds.
docs/protocol.md describes the protocol; docs/protocol.schema.json is made of these models.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from harness.records import ARITHMETICS, BLOCK_KINDS, STOP_REASONS
from space.text import printable, uncolored

MAX_CORES = 4096
MAX_NODES = 4000  # of a profile
MAX_RUNS = 4096  # of a slice, or of a model's warm-up
MAX_PACES = 1024  # of a session
MAX_MESSAGE = 4096  # characters
MAX_NAME = 300
MAX_QUOTED = 120  # characters of a value in an error

_MAX_INTEGER = 1 << 63


def _cut(text: Any) -> Any:
    return uncolored(text)[:MAX_MESSAGE] if isinstance(text, str) else text


Name = Annotated[str, Field(max_length=MAX_NAME), AfterValidator(printable)]
Message = Annotated[str, BeforeValidator(_cut), AfterValidator(lambda text: printable(text, keep="\n\t"))]
Core = Annotated[int, Field(ge=0, lt=MAX_CORES)]
Cores = Annotated[list[Core], Field(max_length=MAX_CORES)]
CoreText = Annotated[str, Field(pattern=r"^[0-9]{1,4}$")]
Count = Annotated[int, Field(ge=0, lt=_MAX_INTEGER)]
Integer = Annotated[int, Field(gt=-_MAX_INTEGER, lt=_MAX_INTEGER)]
Positive = Annotated[int, Field(gt=0, lt=_MAX_INTEGER)]
Finite = Annotated[float, Field(gt=-1e18, lt=1e18, allow_inf_nan=False)]
Nanoseconds = Annotated[float, Field(ge=0, lt=1e12, allow_inf_nan=False)]
Seconds = Annotated[float, Field(ge=0, lt=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Celsius = Annotated[float, Field(ge=-300, le=2000)]
Times = Annotated[list[Positive], Field(max_length=MAX_RUNS)]
Waits = Annotated[list[Count], Field(max_length=MAX_RUNS)]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
# Eight of each of up to eight outputs, of a batch of each of up to 64 groups of images.
Sums = Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(max_length=4096)]

Version = Annotated[list[Annotated[int, Field(ge=0, lt=1000)]], Field(min_length=3, max_length=3)]
Packages = Annotated[dict[Name, Name], Field(max_length=1000)]


class BadAnswer(ValueError):
    """Answer of an agent that does not follow the protocol; the message names verb or event, field and value."""


class Said(BaseModel):
    """Base of an agent's answers; unknown fields are dropped, types are exact."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Boot(Said):
    """The device's answer before there is an agent."""

    present: bool
    zlib: bool
    path: Annotated[Message, Field(max_length=MAX_MESSAGE)]
    root: Message
    error: Message
    python: Version
    executable: Message
    others: list[Message] = []  # Pythons that would do, where this one is too old


class FoundRuntime(Said):
    """A runtime that works on the device."""

    name: Name
    package: Name
    version: Name
    formats: Annotated[list[Name], Field(max_length=16)]
    providers: Annotated[list[Name], Field(max_length=64)]


class BrokenRuntime(Said):
    """A runtime that is installed and cannot be used."""

    name: Name
    message: Message


class Environment(Said):
    """Packages that harness installed for runtimes, of which Python, and whether the agent's own uses them."""

    packages: Packages = {}
    executable: Message = ""
    version: Name = ""
    is_used: bool = False


class InstallNote(Said):
    """A device's note on the packages that harness installed: for which runtimes, and how."""

    executable: Message
    version: Version
    packages: Packages
    runtimes: Annotated[list[Name], Field(max_length=64)]
    how: Name
    pkg: Annotated[list[Name], Field(max_length=64)] = []


class Survey(Said):
    """Facts by which packages for a device's Python are chosen."""

    executable: Message
    implementation: Name
    version: Version
    free_threaded: bool
    machine: Name
    bits: Count
    libc: Name
    libc_version: Name
    pip: Name
    numpy: Name = ""
    pkg: bool
    free_bytes: Count
    noexec: bool = False
    note: InstallNote | None


class Installed(Said):
    """Packages installed or removed, or why they were not."""

    note: InstallNote | None = None
    refused: Message = ""


class Driver(Said):
    """A phone's GPU driver: what showed it, and the variables by which workers on the GPU find it, or why they get none."""

    vendor: Name = ""
    shown_by: Message = ""
    variables: Annotated[dict[Name, Message], Field(max_length=8)] = {}
    trouble: Message = ""


class Hello(Said):
    """The agent's description of the device and of the runtimes on it."""

    protocol: Count
    agent: Name = ""
    python: Name = ""
    platform: Annotated[dict[Name, Name], Field(max_length=64)] = {}
    cores: Annotated[Cores, Field(min_length=1)]
    clusters: Annotated[list[Cores], Field(max_length=MAX_CORES)]
    siblings: Annotated[dict[CoreText, Cores], Field(max_length=MAX_CORES)] = {}
    runtimes: Annotated[list[FoundRuntime], Field(max_length=64)]
    broken: Annotated[list[BrokenRuntime], Field(max_length=64)]
    environment: Environment = Environment()
    variables: Annotated[dict[Name, Name], Field(max_length=256)] = {}
    driver: Driver = Driver()
    limits: Annotated[dict[Name, Count], Field(max_length=64)] = {}
    free_bytes: Count | None = None
    root: Message = ""


class Frequencies(Said):
    """A core's clock in kHz."""

    min: Count = 0
    max: Count = 0
    current: Count = 0
    hardware_max: Count = 0


class Battery(Said):
    """Charge and state."""

    percent: Annotated[int, Field(ge=0, le=100)] = 0
    status: Name = ""


class Gpu(Said):
    """An NVIDIA GPU's state, as nvidia-smi tells it."""

    index: Count = 0
    name: Name = ""
    reasons: Count = 0
    temp_c: Celsius = 0
    clock_mhz: Count = 0
    max_clock_mhz: Count = 0
    power_w: Finite = 0
    persistence: bool = False
    programs: Count = 0
    used: bool = False
    busy_percent: Annotated[int, Field(ge=0, le=100)] = 0
    limits: Annotated[dict[Name, Finite], Field(max_length=16)] = {}


class Supply(Said):
    """A board's power supply: the current that it agreed to give, and the voltage that arrives."""

    max_ma: Count = 0
    volts: Finite = 0


class Watched(Said):
    """Facts that conditions and samples have alike."""

    load_1m: Annotated[float, Field(ge=0, lt=1e6)] = 0
    governors: Annotated[dict[CoreText, Name], Field(max_length=MAX_CORES)] = {}
    boost: bool = True
    temps_c: Annotated[dict[Name, Celsius], Field(max_length=512)] = {}
    cooling: Annotated[dict[Name, Count], Field(max_length=512)] = {}
    throttled: Count = 0
    undervoltage: Annotated[int, Field(ge=0, le=1)] = 0
    over_current: Annotated[dict[Name, Count], Field(max_length=16)] = {}
    tegrastats: Annotated[dict[Name, Finite], Field(max_length=16)] = {}
    thermal_status: Annotated[int, Field(ge=0, le=100)] = 0


class Conditions(Watched):
    """The conditions of a device; what it does not tell is absent."""

    time_utc: Name = ""
    cpu_model: Name = ""
    machine_id: Name = ""
    board: Name = ""
    os: Name = ""
    android: Name = ""
    phone: Name = ""
    soc: Name = ""
    uptime_s: Finite = 0
    memory_total_bytes: Count = 0
    memory_available_bytes: Count = 0
    freq_khz: Annotated[dict[CoreText, Frequencies], Field(max_length=MAX_CORES)] = {}
    battery: Battery = Battery()
    supply: Supply = Supply()
    fans_rpm: Annotated[dict[Name, Count], Field(max_length=512)] = {}
    driver: Driver = Driver()
    power_mode: Name = ""
    gpus: Annotated[list[Gpu], Field(max_length=64)] = []
    probe_errors: Annotated[dict[Name, Message], Field(max_length=64)] = {}


class PhoneBattery(Said):
    """A phone's battery, as its service tells through adb."""

    percent: Annotated[int, Field(ge=0, le=100)]
    status: Name
    temp_c: Celsius
    powered_by: list[Name]
    voltage_mv: Count = 0


class PhoneTold(Said):
    """Answers of a phone's shell through adb (harness.devices.adb.watch), absent where it told nothing."""

    fixed_performance: bool = False
    thermal_status: Annotated[int, Field(ge=0, le=6)] = 0
    temps_c: Annotated[dict[Name, Celsius], Field(max_length=512)] = {}
    freq_khz: Annotated[dict[CoreText, Count], Field(max_length=MAX_CORES)] = {}
    gauge: dict[Name, Integer] = {}
    current_ua: Integer = 0
    battery: PhoneBattery | None = None
    screen: Name = ""
    battery_saver: bool = False
    android: Name = ""
    fixed_known: bool = False
    fixed_state: Name = ""


class Probed(Said):
    """The answer to `probe`."""

    conditions: Conditions


class Board(Said):
    """Settings of a board for a campaign, and its power mode before, which is put back after."""

    power_mode: Name
    before: Name
    clocks: bool


class Locked(Said):
    """The answer to `lock`; where a board was set, the cores that it has then."""

    machine_lock: Message
    board: Board | None = None
    cores: Annotated[Cores, Field(min_length=1)] = [0]
    clusters: Annotated[list[Cores], Field(max_length=MAX_CORES)] = []
    siblings: Annotated[dict[CoreText, Cores], Field(max_length=MAX_CORES)] = {}


class Missing(Said):
    """The answer to `missing`; of parts that came in chunks, how many bytes are there."""

    missing: Annotated[list[Digest], Field(max_length=1 << 16)]
    received: Annotated[dict[Digest, Count], Field(max_length=1 << 16)] = {}


class Quiet(Said):
    """The answer to `quiet`: shares of time that a process waits, by core."""

    cores: Annotated[Cores, Field(min_length=1)]
    waited: Annotated[dict[CoreText, Share], Field(max_length=MAX_CORES)]
    waited_asking: Annotated[dict[CoreText, Share], Field(max_length=MAX_CORES)] = {}
    others_waited: Share = 0
    quota_cores: Annotated[float, Field(gt=0, lt=1e6)] = 1.0
    slowed: Annotated[float, Field(ge=0, lt=1e6)] = 0.0


class Grant(Said):
    """The effect of one way to ask for a core."""

    method: Name
    granted: bool
    waited_before: Share | None
    waited_after: Share | None
    verified: bool
    reason: Message


class Quota(Said):
    """Processor time that a control group allows."""

    cores: Annotated[float, Field(gt=0, lt=1e6)]
    group: Message


class Permissions(Said):
    """The answer to `permissions`."""

    user: Name = ""
    cores: Cores = []
    waited: Annotated[dict[CoreText, Share | None], Field(max_length=MAX_CORES)]
    grants: Annotated[list[Grant], Field(max_length=16)]
    quota: Quota | None = None
    withheld: Cores
    siblings: Annotated[dict[CoreText, Cores], Field(max_length=MAX_CORES)]
    machine_lock: Message = ""


class Evicted(Said):
    """The answer to `evict`."""

    removed_bytes: Count = 0
    kept_bytes: Count = 0


class Stored(Said):
    """The answer to `put`."""

    stored: bool = True
    received_bytes: Count = 0


class RanJob(Said):
    """The answer to `run`, after its events."""

    conditions_after: Conditions = Conditions()


class UsedRuntime(Said):
    """The runtime that a worker used."""

    name: Name
    package: Name
    version: Name
    provider: Name


class ProfiledNode(Said):
    """A node of a profiled network."""

    name: Message
    op: Message
    provider: Name
    runs: Count
    total_ns: Count
    median_ns: Count


class Profiled(Said):
    """The answer to `profile`."""

    runtime: UsedRuntime
    threads: Positive
    cores: Cores
    runs: Positive
    quiet_runs: Positive
    disturbed_runs: Count = 0
    wall_median_ns: Positive
    plain_median_ns: Positive
    output: Sums = []
    profiled_output: Sums = []
    nodes: Annotated[list[ProfiledNode], Field(min_length=1, max_length=MAX_NODES)]
    conditions_before: Conditions


class Weighed(Said):
    """The answer to `memory`: of a fresh worker with one model alone."""

    runtime: UsedRuntime
    threads: Positive
    cores: Cores
    empty_bytes: Positive
    peak_bytes: Positive
    model_bytes: Positive
    is_reset: bool
    load_ns: Positive
    first_run_ns: Positive
    output: Sums = []
    conditions_before: Conditions


class RanBlocks(Said):
    """The answer to `blocks`, after its events."""

    blocks: Count
    conditions_after: Conditions = Conditions()


class EnergySensor(Said):
    """A sensor of energy: counters in uJ with the value at which each begins again (0: never), and powers, by name."""

    kind: Name
    scope: Message
    counters: Annotated[dict[Name, Count], Field(max_length=64)] = {}
    powers: Annotated[list[Name], Field(max_length=64)] = []


class FoundSensor(Said):
    """The answer to `sensor`."""

    sensor: EnergySensor | None = None
    reasons: Annotated[list[Message], Field(max_length=16)] = []
    update_s: Annotated[float, Field(gt=0, lt=1e6)] | None = None


class Refusal(Said):
    """An error of the agent's, with what applies to it."""

    kind: Name
    message: Message
    network: Count | None = None
    signal: Message = ""
    phase: Message = ""
    stderr: Message = ""
    digest: Message = ""
    received_bytes: Count | None = None
    owner: Message = ""
    pid: Count | None = None


class ConditionsEvent(Said):
    """The conditions just before a worker starts."""

    event: Literal["conditions"]
    conditions: Conditions


class LoadedEvent(Said):
    """A model was loaded and ran once."""

    event: Literal["loaded"]
    which: Literal["reference", "network"]
    network: Count | None = None
    load_ns: Positive
    first_run_ns: Positive
    model_bytes: Count = 0


class WarmEvent(Said):
    """Network and reference are warm."""

    event: Literal["warm"]
    network: Count
    network_ns: Times
    reference_ns: Times
    network_loops: Positive
    reference_loops: Positive


class SliceEvent(Said):
    """A slice was timed."""

    event: Literal["slice"]
    network: Count
    index: Count
    at_ns: Positive
    reference_before_ns: Times
    after_switch_ns: Positive
    network_ns: Annotated[Times, Field(min_length=1)]
    reference_after_ns: Times
    delays_ns: Waits = []
    gaps_ns: Waits = []


class SettledEvent(Said):
    """The network ran alone after the slices."""

    event: Literal["settled"]
    network: Count
    at_ns: Positive
    network_ns: Annotated[Times, Field(min_length=1)]
    delays_ns: Waits = []
    gaps_ns: Waits = []


class SampleEvent(Watched):
    """Conditions beside the run, once a second."""

    event: Literal["sample"]
    at_ns: Positive
    freq_khz: Annotated[dict[CoreText, Count], Field(max_length=MAX_CORES)] = {}
    min_khz: Annotated[dict[CoreText, Count], Field(max_length=MAX_CORES)] = {}
    max_khz: Annotated[dict[CoreText, Count], Field(max_length=MAX_CORES)] = {}
    gpu_reasons: Count = 0
    gpu_temp_c: Celsius = 0
    gpu_clock_mhz: Count = 0
    gpu_programs: Count = 0


class Baselines(Said):
    """Waits of pool threads in a run on a free machine."""

    network: Count
    reference: Count


class AskedCore(Said):
    """A worker's way of asking for its cores, and the outcome."""

    method: Name
    granted: bool
    reason: Message = ""


class HoldUps(Said):
    """Delays of a worker that show in no run's wait."""

    throttled_s: Seconds = 0
    major_faults: Count = 0
    stops: Count = 0
    traced: bool = False


class BetweenCores(Said):
    """Latency between the cores of several threads, one way, in ns: each time that it was measured in a session or a block."""

    ns: Annotated[list[Nanoseconds], Field(min_length=1, max_length=2)]
    alone_ns: Nanoseconds
    guest: bool = False


class MeasuredEvent(Said):
    """A network is measured."""

    event: Literal["measured"]
    network: Count
    slices: Count
    stop: Literal[STOP_REASONS]  # type: ignore[valid-type]
    loop_s: Seconds
    elapsed_s: Seconds
    output: Sums
    reference_output: Sums = []
    runtime: UsedRuntime
    cores: Cores
    delay_source: Name = ""
    baseline_ns: Baselines = Baselines(network=0, reference=0)
    pace_ns: Annotated[list[Positive], Field(max_length=MAX_PACES)] = []
    paced_by: Name = ""
    waited_s: Seconds = 0
    steal_s: Seconds = 0
    others_busy: Share = 0
    pinned: bool = False
    shares: Annotated[dict[Name, Share], Field(max_length=16)] = {}
    arithmetic: Literal[ARITHMETICS] = "unknown"  # type: ignore[valid-type]
    device_ns: Times = []
    device_absent: Message = ""
    request: AskedCore | None = None
    unseen: HoldUps = HoldUps()
    core_to_core: BetweenCores | None = None


class RefusedEvent(Said):
    """A network could not be measured."""

    event: Literal["refused"]
    network: Count
    failure: Refusal


class EnergyEvent(Said):
    """A reading of the sensor of energy."""

    event: Literal["energy"]
    at_ns: Positive
    uj: Annotated[dict[Name, Count], Field(max_length=64)] = {}
    # A rail at rest may read a little below zero.
    uw: Annotated[dict[Name, Integer], Field(max_length=64)] = {}


class BeganEvent(Said):
    """A worker has loaded both models and begins with its blocks."""

    event: Literal["began"]
    runtime: UsedRuntime
    cores: Cores
    delay_source: Name = ""
    pinned: bool = False
    output: Sums = []
    reference_output: Sums = []


class RunsEvent(Said):
    """Some runs of a block, one second's at a time."""

    event: Literal["runs"]
    index: Count
    at_ns: Annotated[Times, Field(min_length=1)]
    runs_ns: Annotated[Times, Field(min_length=1)]
    delays_ns: Waits = []


class BlockEvent(Said):
    """A block has ended."""

    event: Literal["block"]
    index: Count
    which: Literal[BLOCK_KINDS]  # type: ignore[valid-type]
    start_ns: Positive
    end_ns: Positive
    runs: Count
    waited_ns: Count = 0
    others_busy: Share = 0
    steal_s: Seconds = 0
    slept_s: Seconds = 0
    core_to_core: BetweenCores | None = None


_ANSWERS: dict[str, type[Said]] = {
    "hello": Hello,
    "lock": Locked,
    "missing": Missing,
    "put": Stored,
    "probe": Probed,
    "quiet": Quiet,
    "permissions": Permissions,
    "run": RanJob,
    "profile": Profiled,
    "memory": Weighed,
    "blocks": RanBlocks,
    "sensor": FoundSensor,
    "evict": Evicted,
}
_EVENTS: dict[str, type[Said]] = {
    "conditions": ConditionsEvent,
    "loaded": LoadedEvent,
    "warm": WarmEvent,
    "slice": SliceEvent,
    "settled": SettledEvent,
    "sample": SampleEvent,
    "measured": MeasuredEvent,
    "refused": RefusedEvent,
    "began": BeganEvent,
    "runs": RunsEvent,
    "block": BlockEvent,
    "energy": EnergyEvent,
}


def check_answer(verb: str, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the answer to a verb with the fields that it told, each as its model has it. Raises: BadAnswer."""
    return _check(_ANSWERS[verb], said, f"its answer to {verb}")


def check_event(said: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return an event as its model has it; None of a kind that tells nothing here, such as a heartbeat. Raises: BadAnswer."""
    kind = said.get("event")
    model = _EVENTS.get(kind) if isinstance(kind, str) else None
    return None if model is None else _check(model, said, f"event {kind!r}")


def check_refusal(said: Mapping[str, Any]) -> dict[str, Any]:
    """Return an error of the agent's. Raises: BadAnswer."""
    return _check(Refusal, said, "an error")


def check_told(key: str, value: Any) -> Any:
    """Return the answer of a phone's shell by its key in `PhoneTold`. Raises: BadAnswer."""
    return _check(PhoneTold, {key: value}, "what adb tells")[key]


def check_boot(said: Any) -> dict[str, Any]:
    """Return the device's answer before there is an agent. Raises: BadAnswer."""
    return _check(Boot, said, "its first answer")


def check_survey(said: Any) -> Survey:
    """Return the facts by which packages for a device are chosen. Raises: BadAnswer."""
    return Survey(**_check(Survey, said, "its survey"))


def check_installed(said: Any) -> Installed:
    """Return a device's answer on packages installed or removed. Raises: BadAnswer."""
    return Installed(**_check(Installed, said, "its answer on packages"))


def protocol_schema() -> dict[str, Any]:
    """Return the JSON schema of all answers and events, by name; a field that is not required may be absent."""
    models = {f"answer {verb}": model for verb, model in _ANSWERS.items()}
    models |= {f"event {kind}": model for kind, model in _EVENTS.items()} | {"error": Refusal, "boot": Boot}
    models |= {"survey": Survey, "installed": Installed}
    return {name: model.model_json_schema() for name, model in models.items()}


def _begin(value: Any) -> Any:
    """Return as much of a list or an object as a quotation shows: all of one without end takes long to write out."""
    if isinstance(value, list):
        return value[:MAX_QUOTED]
    return dict(islice(value.items(), MAX_QUOTED)) if isinstance(value, dict) else value


def _check(model: type[Said], said: Any, what: str) -> dict[str, Any]:
    try:
        return model.model_validate(said).model_dump(exclude_unset=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = printable(".".join(map(str, first["loc"])) or "the whole")[:MAX_NAME]
        if first["type"] == "missing":
            raise BadAnswer(f"{what}: {place} is missing") from error
        value = printable(repr(_begin(first["input"]))[:MAX_QUOTED])
        raise BadAnswer(f"{what}: {place} = {value}: {printable(first['msg'])}") from error
