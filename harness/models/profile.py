"""Profile one network on a device: export it with named nodes, and take the profile of the runtime that has a profiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from exporters import node_fragments
from harness.devices.config import Device, parse_precision, parse_runtime
from harness.measurement.profile import Group, Profile, group_nodes, take_profile
from harness.models.exported import ExportedModels, with_named_nodes
from harness.models.names import select_architecture
from space import Architecture, find_space
from space.errors import ConfigError

RUNTIME: Final = "onnxruntime"
FORMAT: Final = "onnx"


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProfile:
    """A network's profile on a device."""

    profile: Profile
    network: Architecture
    device: str

    def groups(self, by: str) -> list[Group]:
        """Return the nodes' times added up by "fragment", "op" or "node"."""
        nodes = self.profile.nodes
        if by == "fragment":
            return group_nodes(self.profile, node_fragments([node.name for node in nodes], self.network))
        return group_nodes(self.profile, [node.op if by == "op" else node.name for node in nodes])


def profile_network(
    device: Device,
    network: str,
    *,
    runtime: str = RUNTIME,
    precision: str = "",
    threads: int | None = None,
    cores: Sequence[int] = (),
    runs: int = 50,
    space: str = "blox",
    wait_s: float = 0.0,
    export: Callable[[str, int, int, str], None] = lambda model_format, done, total, name: None,
    log: Callable[[str], None] = lambda line: None,
) -> NetworkProfile:
    """Profile a network that a person names on a device; `export` follows its export, `log` is given a line at a time.

    `precision`: of the model, by default the device's.
    Raises: ConfigError when the runtime has no profiler, or a name cannot be used; else as `take_profile`.
    """
    _check_runtime(runtime)
    architecture = select_architecture(network, find_space(space))
    chosen = parse_precision(precision) if precision else device.precision
    model = ExportedModels([architecture], progress=export).models(FORMAT, chosen)[0].assemble()
    profile = take_profile(
        device,
        with_named_nodes(model),
        runtime=runtime,
        threads=threads,
        cores=cores,
        runs=runs,
        wait_s=wait_s,
        say=lambda text: log(f"{device.name}: {text}"),
    )
    return NetworkProfile(profile=profile, network=architecture, device=device.name)


def _check_runtime(text: str) -> None:
    """Refuse a runtime without a profiler before a model is made for it. Raises: ConfigError."""
    try:
        name, _ = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {text!r}: {error}") from error
    if name != RUNTIME:
        raise ConfigError(
            f"--runtime {text!r}: {name} has no profiler that can be reached from Python; use --runtime {RUNTIME}"
        )
