"""Workload of a campaign: runtimes, each with its configuration and models."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from device_agents.choices import version_name
from device_agents.names import may_use_gpu
from device_agents.pacing import Durations, Pace
from device_agents.throttling import clock_tier, heeded, throttle_signs
from harness.devices.conditions import LIMITED, LOCKED, environment_line, hardware_name
from harness.devices.config import DEFAULT_PRECISION, Device, Format, Precision
from harness.devices.provider_options import options_line
from harness.devices.runtimes import RuntimeUse
from harness.records import Configuration
from space.assembly import Assembly
from space.errors import ConfigError
from space.text import counted

# What an environment tells, by the probe that reads it.
READ_BY = {"power_mode": "nvpmodel#", "boost": "boost#", "gpu_limits": "gpu_"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network in one format: text, graph hash (the key of accuracies), and assembly.

    A segment of a network (`purpose`) has its key where a network has its graph hash.
    `weights` names the weights and the exporter that made the parts: equal names mean equal models.
    `expected` returns the sums of the right outputs on the agent's fixed input, or is None where nobody knows them.
    `assemble` is called when the model is about to be sent, so that a campaign over a whole space holds no model bytes.
    `inputs`: what is given of a model file's inputs, for the record: shapes by name, and the digest of `values`. `batch`: the
    images of one run.
    """

    architecture: str
    graph_hash: str
    format: str
    precision: str
    space: str
    weights: str
    purpose: str = "network"
    batch: int = 1
    inputs: Mapping[str, Any] = field(default_factory=dict, compare=False)
    assemble: Callable[[], Assembly] = field(repr=False, compare=False)
    expected: Callable[[], Sequence[float]] | None = field(default=None, repr=False, compare=False)

    @property
    def key(self) -> tuple[str, str, str, int]:
        """Return the model's key among others of its weights: format, purpose, graph hash or its substitute, batch."""
        return self.format, self.purpose, self.graph_hash, self.batch


class ModelSource(Protocol):
    """Source of a campaign's models; they are exported to a format and precision only when a device runs them."""

    def models(self, model_format: Format, precision: Precision) -> Sequence[Model]:
        """Return the networks to measure, in the given format and precision."""

    def reference(self, model_format: Format, precision: Precision) -> Model:
        """Return the reference network that every slice alternates with."""


@runtime_checkable
class BatchedSource(ModelSource, Protocol):
    """Source of models that take several images a run."""

    def at_batch(self, batch: int) -> ModelSource:
        """Return the source of the same models, and their reference, for runs of `batch` images."""


class DurationProbe(Protocol):
    """Probe of a device's runtime, by which a source chooses references."""

    def stored(self, model: Model) -> Durations | None:
        """Return the durations in the last stored session of a model, None where none is stored."""

    def measured(self, model: Model, reference: Model) -> Durations | None:
        """Run a model a few times beside a reference and return how long that takes, None where it does not run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceGroup:
    """Models of a precision that are timed beside one reference, each in a process of its own if `alone`, at one pace."""

    source: ModelSource
    precision: Precision = DEFAULT_PRECISION  # of networks; files have their own
    pace: Pace = field(default_factory=Pace)
    alone: bool = False


@runtime_checkable
class GroupedSource(Protocol):
    """Source of a campaign whose models have several references, chosen when a device can be asked.

    `formats`: those that a device must have a runtime for.
    """

    @property
    def formats(self) -> Sequence[Format]: ...

    def groups(
        self, model_format: Format, precisions: Sequence[Precision], probe: DurationProbe
    ) -> Iterable[SourceGroup]:
        """Return the groups of models in a format, networks in each of the precisions; none where there is no such model."""


@runtime_checkable
class FileSource(GroupedSource, Protocol):
    """Source of networks, if there are any, and of models whose reference is chosen by their duration on the device."""

    @property
    def networks(self) -> ModelSource | None: ...

    def choices(self, model_format: Format) -> Iterable[tuple[Model, Sequence[Model]]]:
        """Return each model with the references to choose from, each shorter than the one before."""


def network_groups(
    source: ModelSource,
    model_format: Format,
    precisions: Sequence[Precision],
    batches: Sequence[int],
    probe: DurationProbe,
) -> Iterator[SourceGroup]:
    """Yield a source's networks in each precision and at each batch size, beside the reference network at the same batch.

    How long a batch takes the reference tells the pace: of many images a run may take seconds.
    Raises: ConfigError for models that take one image alone.
    """
    for batch in batches:
        batched = at_batch(source, batch)
        for precision in precisions:
            pace = Pace()
            if batch > 1:
                reference = batched.reference(model_format, precision)
                if found := probe.measured(reference, reference):
                    pace = Pace.of(found.network_ns, found.reference_ns)
            yield SourceGroup(source=batched, precision=precision, pace=pace)


def at_batch(source: ModelSource, batch: int) -> ModelSource:
    """Return the source of the same models for runs of `batch` images. Raises: ConfigError for models that take one alone."""
    if batch == 1:
        return source
    if not isinstance(source, BatchedSource):
        raise ConfigError(f"--batch {batch}: these models take one image a run; leave --batch out")
    return source.at_batch(batch)


def source_groups(
    source: ModelSource | GroupedSource,
    model_format: Format,
    precisions: Sequence[Precision],
    batches: Sequence[int],
    probe: DurationProbe,
) -> Iterable[SourceGroup]:
    """Return a source's groups in a format; of one with a single reference each precision and batch size is a group."""
    if isinstance(source, GroupedSource):
        return source.groups(model_format, precisions, probe)
    return network_groups(source, model_format, precisions, batches, probe)


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """A runtime on the device with its configuration and the models to run, at a pace; each in its own process if `alone`.

    `machine_id` tells the machine from others of its model, empty where it is not known.
    """

    configuration: Configuration
    runtime: RuntimeUse
    models: Sequence[Model]
    reference: Model
    pace: Pace = field(default_factory=Pace)
    alone: bool = False
    machine_id: str = ""

    @property
    def title(self) -> str:
        """The runtime's name, with a precision other than fp32 and a batch of several images behind it."""
        c = self.configuration
        precision = "" if c.precision == DEFAULT_PRECISION else f" {c.precision}"
        return c.runtime + precision + ("" if c.batch == 1 else f" batch {c.batch}")


def plan_runtime(
    device: Device,
    hello: Mapping[str, Any],
    conditions: Mapping[str, Any],
    group: SourceGroup,
    runtime: RuntimeUse,
    allowed: tuple[tuple[int, ...], int],
) -> RuntimePlan:
    """Plan a runtime: a group of its models, and the configuration of their measurements.

    allowed: the cores that sessions may take, and how many they take. The models are exported here unless they are cached.
    """
    cores, threads = allowed
    source = group.source
    reference = source.reference(runtime.format, group.precision)
    configuration = Configuration(
        device=device.name,
        hardware=hardware_name(hello, conditions, may_use_gpu(runtime.provider)),
        runtime=runtime.name,
        runtime_version=runtime.version,
        provider=runtime.provider,
        format=runtime.format,
        precision=reference.precision,
        threads=threads,
        cores=cores,
        space=reference.space,
        weights=reference.weights,
        reference=reference.graph_hash,
        clock_tier=clock_tier(conditions, cores),
        batch=reference.batch,
        provider_options=options_line(runtime.options.get("provider_options", {})),
        environment=environment_line(hello, conditions, may_use_gpu(runtime.provider), cores),
    )
    models = tuple(source.models(runtime.format, group.precision))
    return RuntimePlan(
        configuration=configuration,
        runtime=runtime,
        models=models,
        reference=reference,
        pace=group.pace,
        alone=group.alone,
        machine_id=str(conditions.get("machine_id", "")),
    )


def changes(
    use: RuntimePlan,
    hello: Mapping[str, Any],
    conditions: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> str:
    """Describe how a worker that began under these conditions differs from what was planned, as after an upgrade; else empty.

    Behind one address there may be several machines, and a connection that broke ends at another.
    """
    configuration, found, cores = use.configuration, measured["runtime"], measured["cores"]
    pairs: list[tuple[str, object, object]] = [
        ("version", version_name(found), configuration.runtime_version),
        ("provider", found["provider"], configuration.provider),
    ]
    has_gpu = configuration.uses_gpu
    # A device that holds itself back has other limits, and its session is measured again.
    is_free = not throttle_signs(heeded(conditions, has_gpu))
    if is_free:
        pairs.append(("clock tier", clock_tier(conditions, cores), configuration.clock_tier))
    if use.machine_id and conditions.get("machine_id"):
        pairs.append(("machine", conditions["machine_id"], use.machine_id))
    unread = conditions.get("probe_errors", {})
    if "cpu_model" in conditions and "gpus" not in unread:
        pairs.append(("hardware", hardware_name(hello, conditions, has_gpu), configuration.hardware))
        is_read = not any(
            probe in unread and name in configuration.environment for probe, name in READ_BY.items()
        )
        if is_read:
            words = configuration.environment.split(" ")
            then = [word for word in words if is_free or not word.startswith((LOCKED, LIMITED))]
            # Of cores that are set to unlike clocks a session may have any.
            is_set = is_free and any(word.startswith((LOCKED, LIMITED)) for word in words)
            now = environment_line(hello, conditions, has_gpu, cores if is_set else ())
            pairs.append(("environment", now, " ".join(then)))
    if not set(cores) <= set(configuration.cores):
        pairs.append(("cores", cores, list(configuration.cores)))
    return ", ".join(
        dict.fromkeys(f"{name} {now!r}, not {then!r}" for name, now, then in pairs if now != then)
    )


def other_machines(device: str, others: int) -> str:
    """Return a note that sessions of a device's name and model are stored of other machines."""
    return (
        f"sessions of {device!r} are stored of {counted(others, 'other machine')} of its model, or of before it was set up anew, "
        "and are taken as one device's (finding 'machines'); name each machine by itself in devices.toml"
    )
