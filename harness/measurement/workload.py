"""Workload of a campaign: runtimes, each with its configuration and models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from harness.devices.assembly import Assembly
from harness.devices.conditions import clock_tier, hardware_name
from harness.devices.config import DEFAULT_PRECISION, Device, Format, Precision
from harness.devices.runtimes import RuntimeUse, version_name
from harness.records import Configuration, SessionRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A network in one format: text, graph hash (the key of accuracies), and assembly.

    A segment of a network (`purpose`) has its key where a network has its graph hash.
    `weights` names the weights and the exporter that made the parts: equal names mean equal models.
    `assemble` is called when the model is about to be sent, so that a campaign over a whole space holds no model bytes.
    """

    architecture: str
    graph_hash: str
    format: str
    precision: str
    space: str
    weights: str
    purpose: str = "network"
    assemble: Callable[[], Assembly] = field(repr=False, compare=False)


class ModelSource(Protocol):
    """Source of a campaign's models; they are exported to a format and precision only when a device runs them."""

    def models(self, model_format: Format, precision: Precision) -> Sequence[Model]:
        """Return the networks to measure, in the given format and precision."""

    def reference(self, model_format: Format, precision: Precision) -> Model:
        """Return the reference network that every slice alternates with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimePlan:
    """A runtime on the device with its configuration and the models to run."""

    configuration: Configuration
    runtime: RuntimeUse
    models: Sequence[Model]
    reference: Model

    @property
    def title(self) -> str:
        """The runtime's name, with a precision other than fp32 behind it."""
        c = self.configuration
        return c.runtime if c.precision == DEFAULT_PRECISION else f"{c.runtime} {c.precision}"


def plan_runtime(
    device: Device,
    hello: Mapping[str, Any],
    conditions: Mapping[str, Any],
    source: ModelSource,
    runtime: RuntimeUse,
    precision: Precision,
    allowed: tuple[tuple[int, ...], int],
) -> RuntimePlan:
    """Plan a runtime: its models in a precision, and the configuration of their measurements.

    allowed: the cores that sessions may take, and how many they take. The models are exported here unless they are cached.
    """
    cores, threads = allowed
    reference = source.reference(runtime.format, precision)
    configuration = Configuration(
        device=device.name,
        hardware=hardware_name(hello, conditions),
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
    )
    models = tuple(source.models(runtime.format, precision))
    return RuntimePlan(configuration=configuration, runtime=runtime, models=models, reference=reference)


def changes(session: SessionRecord, measured: Mapping[str, Any]) -> str:
    """Describe differences between a session and its configuration, as after a reboot or an upgrade; empty without any."""
    configuration, runtime = session.configuration, measured.get("runtime")
    found = runtime if isinstance(runtime, Mapping) else {}
    pairs: list[tuple[str, object, object]] = [
        ("version", version_name(found), configuration.runtime_version),
        ("provider", found.get("provider"), configuration.provider),
        ("clock tier", clock_tier(session.conditions_before, _cores(measured)), configuration.clock_tier),
    ]
    if not set(_cores(measured)) <= set(configuration.cores):
        pairs.append(("cores", _cores(measured), list(configuration.cores)))
    return ", ".join(
        dict.fromkeys(f"{name} {now!r}, not {then!r}" for name, now, then in pairs if now != then)
    )


def _cores(measured: Mapping[str, Any]) -> list[int]:
    """Return the cores that a worker reports."""
    cores = measured.get("cores")
    return [core for core in cores if type(core) is int] if isinstance(cores, list) else []
