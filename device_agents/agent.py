"""The agent's verbs: one request at a time, each answered by a result or a refusal."""

from __future__ import annotations

import os
import platform
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Iterator

from device_agents import PROTOCOL
from device_agents.board_guard import BoardGuard
from device_agents.core_grants import verify
from device_agents.core_probe import like_core, lost_shares, others_waited, probe_cores, probe_each, slowed
from device_agents.core_request import METHODS, sweep_groups
from device_agents.cores import QUIET_SHARE, available_cores, choose_cores, find_clusters, find_siblings
from device_agents.discovery import discover_runtimes
from device_agents.energy import Meter, find_meter
from device_agents.environment import told_packages, with_packages
from device_agents.fields import Fields, refuse
from device_agents.frames import (
    HEADER_LIMIT_BYTES,
    PAYLOAD_LIMIT_BYTES,
    PREAMBLE,
    FrameError,
    FrameReader,
    FrameWriter,
)
from device_agents.gauges import find_update_s
from device_agents.jetson import Jetson, Settings
from device_agents.jobs import (
    CORES_LIMIT,
    WorkerJob,
    parse_block_job,
    parse_cores,
    parse_job,
    parse_memory_job,
    parse_profile_job,
)
from device_agents.locks import DeviceLock, MachineLock, user_name
from device_agents.models import MODEL_LIMIT_BYTES
from device_agents.names import may_use_gpu
from device_agents.nvidia import open_gpu
from device_agents.parts_cache import PartsCache, free_bytes
from device_agents.probes import Probes
from device_agents.processes import LIBRARIES_VARIABLE, temporary_folder
from device_agents.quota import read_quota, withheld_cores
from device_agents.refusal import Refusal
from device_agents.run_delay import CoreTimes
from device_agents.sampler import PERIOD_S, SHARED_PERIOD_S, Sampler
from device_agents.supervision import ClientGone, Supervision
from device_agents.worker_environment import (
    find_driver,
    parse_environment,
    parse_libraries,
    parse_rows,
    place_libraries,
    told_variables,
)

DIGESTS_LIMIT = 20000
RUNTIMES_LIMIT = 64
MESSAGE_CHARACTERS = 2000
# A harness asks at least every few minutes. Where a link is cut without a word, sshd notices after two hours: until then nobody
# else could have the device.
PATIENCE_S = 1800.0


VERBS = (
    *("hello", "lock", "missing", "put", "probe", "quiet", "permissions"),
    *("run", "profile", "memory", "blocks", "sensor", "evict", "bye"),
)
"""What a request may ask for, each by the method of that name."""


@dataclass
class Agent:
    """Serve one connection. digest: the agent's own, as it tells the harness. memory_bytes: a worker's limit, if any."""

    root: Path
    cache: PartsCache
    agent_path: Path
    digest: str
    reader: FrameReader
    writer: FrameWriter
    filesystem: Path = Path("/")
    memory_bytes: int | None = None

    def __post_init__(self) -> None:
        self._lock = DeviceLock(self.root, MachineLock(self.filesystem))
        self._guard = BoardGuard(self.agent_path, self.root)
        self._probes = Probes(self.filesystem)
        self._environment: dict[str, str] = {}  # of processes that import a runtime, besides this one's
        self._driver: dict[str, Any] = {}  # of the GPU, whose variables are those of workers that use it

    def serve(self) -> int:
        """Answer requests until `bye` or the end of input; return the exit status."""
        self.writer.write_bytes(PREAMBLE)
        while True:
            try:
                frame = self.reader.read(PATIENCE_S)
            except FrameError as error:
                self.writer.write(dict(Refusal("protocol", str(error)).header(), id=None))
                return 2
            if frame is None:
                return 0
            header, payload = frame
            request_id = header.get("id")
            try:
                self._answer(header, payload)
            except ClientGone:
                return 0
            if header.get("verb") == "bye" and request_id is not None:
                return 0

    def _answer(self, header: dict[str, Any], payload: bytes) -> None:
        request_id = header.get("id")
        try:
            answer = dict(self._handle(header, payload), type="result")
        except Refusal as refusal:
            answer = refusal.header()
        except ClientGone:
            raise
        except OSError as error:
            answer = Refusal("agent-error", "the device's system refused: %s" % error).header()
        except Exception as error:  # noqa: BLE001 - a fault of the agent's own is an answer too, and it lives on
            text = "the agent failed: %s: %s" % (type(error).__name__, error)
            answer = Refusal("agent-error", text[:MESSAGE_CHARACTERS]).header()
        self.writer.write(dict(answer, id=request_id))

    def _handle(self, header: dict[str, Any], payload: bytes) -> dict[str, Any]:
        request_id = header.get("id")
        if not isinstance(request_id, (int, str)) or isinstance(request_id, bool):
            raise Refusal(
                "bad-request", "a request needs an id, a number or a text; this one has %r" % (request_id,)
            )
        verb = Fields("request", header).choice("verb", VERBS)
        if payload and verb != "put":
            raise Refusal("bad-request", "%s takes no payload; %d bytes came with it" % (verb, len(payload)))
        answer: dict[str, Any] = getattr(self, verb)(Fields(verb, header), payload, request_id)
        return answer

    def hello(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        protocol = fields.integer("protocol", 0, 1 << 30)
        if protocol != PROTOCOL:
            raise Refusal(
                "protocol",
                "this agent speaks protocol %d, not %d; send the agent that belongs to the harness"
                % (PROTOCOL, protocol),
            )
        fields.text("harness")
        names, libraries, rows = parse_runtimes(fields), parse_libraries(fields), parse_rows(fields)
        given = parse_environment(fields)
        environment = with_packages(given, self.root)
        if libraries:
            folder = place_libraries(self.root, self.cache.parts_dir, libraries)
            environment[LIBRARIES_VARIABLE] = str(folder)
        self._environment, self._driver = environment, find_driver(rows, given)
        runtimes, broken = discover_runtimes(self.agent_path, self._environment, names)
        return {
            "protocol": PROTOCOL,
            "agent": self.digest,
            "python": platform.python_version(),
            "platform": self._probes.platform(),
            **self._cores(),
            "runtimes": runtimes,
            "broken": broken,
            "environment": told_packages(self.root),
            "variables": told_variables(given, os.environ),
            "driver": self._driver,
            "limits": {
                "header_bytes": HEADER_LIMIT_BYTES,
                "payload_bytes": PAYLOAD_LIMIT_BYTES,
                "cache_bytes": self.cache.limit_bytes,
            },
            "free_bytes": free_bytes(self.root),
            "root": str(self.root),
        }

    def lock(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        owner, settings = fields.text("owner"), parse_settings(fields)
        self._lock.take(owner)
        sweep_groups()
        if not self._guard.is_holding:
            Jetson(self.root).restore()  # what a guard that was killed, or a loss of power, has left
        answer: dict[str, Any] = {"machine_lock": self._lock.machine_lock}
        if settings is not None:
            # a power mode turns cores on and off
            answer.update(board=self._guard.hold(settings, self._lock.descriptors), **self._cores())
        return answer

    def _cores(self) -> dict[str, Any]:
        cores = available_cores()
        siblings = find_siblings(cores, self.filesystem)
        return {
            "cores": cores,
            "clusters": find_clusters(cores, self.filesystem),
            "siblings": {str(core): list(group) for core, group in siblings.items()},
        }

    def missing(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        missing = self.cache.missing(fields.digests("digests", DIGESTS_LIMIT))
        return {"missing": missing, "received": self.cache.received(missing)}

    def put(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        if "offset" in fields.values:
            return self._put_chunk(fields, payload)
        self.cache.put(
            fields.digest("digest"),
            fields.integer("size_bytes", 0, PAYLOAD_LIMIT_BYTES),
            payload,
            fields.choice("encoding", ("raw", "zlib")),
            fields.optional_digest("dictionary"),
        )
        return {"stored": True}

    def _put_chunk(self, fields: Fields, payload: bytes) -> dict[str, Any]:
        size_bytes = fields.integer("size_bytes", 0, MODEL_LIMIT_BYTES)
        offset = fields.integer("offset", 0, size_bytes)
        received_bytes = self.cache.put_chunk(
            fields.digest("digest"),
            size_bytes,
            offset,
            fields.integer("chunk_bytes", 0, min(PAYLOAD_LIMIT_BYTES, size_bytes - offset)),
            payload,
            fields.choice("encoding", ("raw", "zlib")),
        )
        return {"stored": received_bytes == size_bytes, "received_bytes": received_bytes}

    def probe(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        return {"conditions": self._probes.conditions(available_cores(), variables=self._variables())}

    def quiet(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        """Find the quietest cores, and where they are busy, what a process that asks for them still waits."""
        threads = fields.integer("threads", 1, CORES_LIMIT)
        request = fields.choice("request", ("", *METHODS))
        allowed = parse_cores(fields)
        cores = available_cores()
        clusters, siblings = find_clusters(cores, self.filesystem), find_siblings(cores, self.filesystem)
        usable = cores if allowed is None else [core for core in cores if core in allowed]
        is_told = CoreTimes(str(self.filesystem / "proc/stat")).is_told
        beside = like_core(usable, clusters, siblings)
        probes = probe_each(usable + beside if is_told else cores, None)
        waited = {core: probe.waited for core, probe in probes.items()}
        chosen = choose_cores(allowed, threads, clusters, siblings, lost_shares(probes, clusters))
        answer: dict[str, Any] = {"cores": chosen, "waited": told({core: waited[core] for core in usable})}
        if beside:
            answer["slowed"] = max(slowed(probes[core], probes[beside[0]]) for core in chosen)
        others = None if is_told else others_waited(waited, chosen)
        if others is not None:
            answer["others_waited"] = others
        if request and any((waited[core] or 0.0) > QUIET_SHARE for core in chosen):
            answer["waited_asking"] = told(probe_cores(chosen, request))
        quota = read_quota(self.filesystem)
        return answer if quota is None else dict(answer, quota_cores=quota.cores)

    def permissions(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        available = available_cores()
        clusters = find_clusters(available, self.filesystem)
        siblings = find_siblings(available, self.filesystem)
        wanted = parse_cores(fields)
        threads = fields.integer("threads", 1, CORES_LIMIT, len(wanted or (0,)))
        cores = choose_cores(wanted, threads, clusters, siblings, {})
        with self._lock.held(fields.text("owner")):  # what is tried here would disturb a campaign
            waited = probe_cores(available, None)
            grants = verify(cores, self.filesystem)
            machine_lock = self._lock.machine_lock
        quota = read_quota(self.filesystem)
        return {
            "user": user_name(os.getuid()),
            "cores": cores,
            "waited": {str(core): share for core, share in waited.items()},
            "grants": [asdict(grant) for grant in grants],
            "quota": asdict(quota) if quota is not None else None,
            "withheld": withheld_cores(self.filesystem),
            "siblings": {str(core): list(group) for core, group in siblings.items()},
            "machine_lock": machine_lock,
        }

    def evict(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        removed_bytes, kept_bytes = self.cache.evict(fields.integer("max_bytes", 0, 1 << 60))
        return {"removed_bytes": removed_bytes, "kept_bytes": kept_bytes}

    def bye(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        return {}

    def run(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        job = parse_job(fields.values.get("job"))
        with self._ready(job) as (cores, before):
            self._tell(request_id, event="conditions", conditions=before)
            message = job.message(cores, self.cache.parts_dir)
            session = self._supervise(job, message, before, request_id)
            after = self._conditions(cores, job.options)
        return dict(session, conditions_before=before, conditions_after=after)

    def profile(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        job = parse_profile_job(fields.values.get("job"))
        with self._ready(job) as (cores, before), temporary_folder(self.root / "tmp") as temp_dir:
            message = job.message(cores, self.cache.parts_dir, temp_dir=str(temp_dir))
            profile = self._supervise(job, message, before, request_id)
        return dict(profile, conditions_before=before)

    def memory(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        job = parse_memory_job(fields.values.get("job"))
        with self._ready(job) as (cores, before):
            weighed = self._supervise(job, job.message(cores, self.cache.parts_dir), {}, request_id)
        return dict(weighed, conditions_before=before)

    def blocks(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        job = parse_block_job(fields.values.get("job"))
        energy_of = job.fields["energy_of"]
        with self._ready(job) as (cores, before):
            self._tell(request_id, event="conditions", conditions=before)
            meter = self._meter(energy_of, device_id_of(job.options))[0] if energy_of else None
            message = job.message(cores, self.cache.parts_dir)
            run = self._supervise(job, message, before, request_id, meter)
            after = self._conditions(cores, job.options)
        return dict(run, conditions_before=before, conditions_after=after)

    @contextmanager
    def _ready(self, job: WorkerJob) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Hold a job's parts; yield its cores, and the conditions just before it. Raises: Refusal, OSError."""
        cores = available_cores()
        siblings = find_siblings(cores, self.filesystem)
        chosen = choose_cores(job.cores, job.threads, find_clusters(cores, self.filesystem), siblings, {})
        with self.cache.hold(job.parts()):
            yield chosen, self._conditions(chosen, job.options)

    def _tell(self, request_id: Any, **event: Any) -> None:
        """Send an event of a job."""
        self.writer.write(dict(event, type="event", id=request_id))

    def sensor(self, fields: Fields, payload: bytes, request_id: Any) -> dict[str, Any]:
        """Tell which sensor of energy there is for a provider, and how often it measures, or why there is none."""
        meter, reasons = self._meter(fields.text("provider"), 0)
        if meter is None:
            return {"reasons": reasons}
        update_s = find_update_s(meter.latest)
        answer: dict[str, Any] = {"sensor": meter.describe(), "reasons": reasons}
        return answer if update_s is None else dict(answer, update_s=update_s)

    def _meter(self, provider: str, device_id: int) -> tuple[Meter | None, list[str]]:
        def open_used() -> dict[str, Any]:
            return open_gpu(self._probes.used_gpu(self._variables(), device_id))

        return find_meter(self.filesystem, provider, open_used)

    def _conditions(self, cores: list[int], options: dict[str, Any]) -> dict[str, Any]:
        """Return the conditions that a job's worker meets, with the driver that is put in its way."""
        provider = str(options.get("provider", ""))
        uses_gpu, device_id = may_use_gpu(provider), device_id_of(options)
        conditions = self._probes.conditions(cores, uses_gpu, self._variables(), device_id)
        return dict(conditions, driver=self._driver) if self._driver_variables(provider) else conditions

    def _variables(self) -> dict[str, str]:
        """Return the variables of processes that import a runtime."""
        return {**os.environ, **self._environment}

    def _driver_variables(self, provider: str) -> dict[str, str]:
        """Return the variables by which a worker finds the GPU's driver; none where it computes on the processor.

        What lies beside a driver goes before libraries of the same names, so nothing else is given them.
        """
        is_led = may_use_gpu(provider) or provider.upper().startswith(("NPU", "EDGETPU"))
        return self._driver.get("variables", {}) if is_led else {}

    def _supervise(
        self,
        job: WorkerJob,
        message: dict[str, Any],
        conditions: dict[str, Any],
        request_id: Any,
        meter: Meter | None = None,
    ) -> dict[str, Any]:
        """See a job's worker through; `conditions`: those before it, by which samples are asked for."""
        cores = message["cores"]
        others = [core for core in available_cores() if core not in cores]
        sampler = Sampler(
            self._probes.sources(cores),
            self._probes.questions(conditions),
            max(job.fields.get("sample_s", 0.0), PERIOD_S if others else SHARED_PERIOD_S),
        )
        supervision = Supervision(
            agent_path=self.agent_path,
            client=self.reader,
            emit=lambda event: self._tell(request_id, **event),
            probes=self._probes,
            silence_s=job.silence_s,
            sampler=sampler,
            own_cores=others,
            memory_bytes=self.memory_bytes,
            environment=dict(
                self._environment, **self._driver_variables(str(job.options.get("provider", "")))
            ),
            meter=meter,
            energy_s=job.fields.get("energy_s", 0.0),
        )
        try:
            return supervision.run(message)
        except Refusal as refusal:
            if refusal.kind == "part-damaged":  # a disk that damages one part damages others
                refusal.details["digests"] = self.cache.remove_damaged(job.parts())
            raise


def device_id_of(options: dict[str, Any]) -> int:
    """Return which of the GPUs that are visible to a worker its provider is told to use."""
    told = str((options.get("provider_options") or {}).get("device_id", 0))
    return int(told) if told.isdecimal() else 0


def told(waited: dict[int, float | None]) -> dict[str, float]:
    """Return the shares that are known, by core."""
    return {str(core): share for core, share in waited.items() if share is not None}


def parse_settings(fields: Fields) -> Settings | None:
    """Read `board`, what a campaign asks of the board; None where it asks for nothing. Raises: Refusal."""
    given = fields.values.get("board")
    if given is None:
        return None
    told = given if isinstance(given, dict) else {}
    mode, clocks = told.get("power_mode"), told.get("clocks")
    if not isinstance(mode, str) or not isinstance(clocks, bool):
        expected = "an object with power_mode, a text, and clocks, true or false"
        raise refuse(fields.name + ": board", given, expected)
    return Settings(mode, clocks)


def parse_runtimes(fields: Fields) -> list[str] | None:
    """Read `runtimes`, names of the only ones to look for; None for all. Raises: Refusal."""
    given = fields.values.get("runtimes")
    if given is None:
        return None
    is_list = isinstance(given, list) and len(given) <= RUNTIMES_LIMIT
    if not is_list or not all(isinstance(name, str) for name in given):
        raise refuse(fields.name + ": runtimes", given, "a list of at most %d names" % RUNTIMES_LIMIT)
    return list(given)
