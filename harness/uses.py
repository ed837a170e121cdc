"""What a campaign runs on a device: each runtime with its configuration and its models."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from harness.conditions import clock_tier, hardware_name
from harness.devices import Device, Format
from harness.models import Model
from harness.records import Configuration, SessionRecord
from harness.selection import RuntimeUse, allowed_cores, choose_runtimes, version_name


class ModelSource(Protocol):
    """Where a campaign's models come from, made for a format only when a device runs it."""

    def models(self, model_format: Format) -> Sequence[Model]:
        """Return the networks to measure, in the given format."""

    def reference(self, model_format: Format) -> Model:
        """Return the reference network that every slice alternates with."""


class Request(Protocol):
    """What the user asked for; empty or None leaves the choice to devices.toml, then to the device."""

    @property
    def runtimes(self) -> tuple[str, ...]:
        """Return the runtimes asked for, as `name[:provider]`."""

    @property
    def formats(self) -> tuple[str, ...]:
        """Return the model formats asked for."""

    @property
    def threads(self) -> int | None:
        """Return the number of threads asked for."""

    @property
    def cores(self) -> tuple[int, ...]:
        """Return the cores asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """A runtime in use on the device, with the models that it runs."""

    configuration: Configuration
    runtime: RuntimeUse
    models: Sequence[Model]
    reference: Model


def decide_uses(
    device: Device,
    hello: Mapping[str, Any],
    conditions: Mapping[str, Any],
    source: ModelSource,
    request: Request,
    say: Callable[[str], None],
) -> list[Use]:
    """Decide what will run: runtimes, cores, models and the configuration that each measurement belongs to.

    Raises: ConfigError when the request does not fit the device.
    """
    runtimes = choose_runtimes(device, hello, request.runtimes, request.formats)
    cores, threads = allowed_cores(device, hello, request.threads, request.cores)
    uses = []
    for runtime in runtimes:
        say(f"preparing {runtime.format} models")
        reference = source.reference(runtime.format)
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
        models = tuple(source.models(runtime.format))
        uses.append(Use(configuration=configuration, runtime=runtime, models=models, reference=reference))
    return uses


def changes(session: SessionRecord, measured: Mapping[str, Any]) -> str:
    """Say what a session ran with instead of its configuration: a reboot or an upgrade may change it."""
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
    """Return the cores that a worker says it ran on."""
    cores = measured.get("cores")
    return [core for core in cores if type(core) is int] if isinstance(cores, list) else []
