"""Profile a network, of ONNX exported with named nodes, or a model file on a device, by a runtime that has a profiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from exporters import node_fragments, with_node_names
from harness.devices.config import Device, Format, Precision, parse_precision, parse_runtime, runtime_format
from harness.measurement.profile import Group, Profile, group_nodes, take_profile
from harness.measurement.workload import Model
from harness.models.exported import ExportedModels
from harness.models.file_names import GivenInputs, is_file_name
from harness.models.files import FileModel, open_one
from harness.models.names import select_architecture
from space import Architecture, find_space
from space.errors import ConfigError

RUNTIME: Final = "onnxruntime"
# Nodes have the names that the model gives them; LiteRT's are the delegate's own.
NAMED: Final[Format] = "onnx"
PROFILED: Final = (RUNTIME, "litert")
GROUPINGS = ("fragment", "op", "node")  # keys that the times of nodes are added up by


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkProfile:
    """The profile of a network or a model file on a device, of runs of `batch` images."""

    profile: Profile
    network: Architecture | FileModel
    device: str
    batch: int = 1

    @property
    def ways(self) -> tuple[str, ...]:
        """Keys by which nodes can be added up, the usual one first; only a network in ONNX Runtime has fragments."""
        return GROUPINGS if self._has_fragments else GROUPINGS[1:]

    @property
    def _has_fragments(self) -> bool:
        return not isinstance(self.network, FileModel) and self.profile.runtime == RUNTIME

    def groups(self, by: str) -> list[Group]:
        """Return the nodes' times added up by one of `ways`. Raises: ConfigError for the fragments of a file."""
        nodes = self.profile.nodes
        if by == "fragment":
            if isinstance(self.network, FileModel) or not self._has_fragments:
                what = self.network if isinstance(self.network, FileModel) else self.profile.runtime
                raise ConfigError(f"--by fragment: {what} has none; use --by op or --by node")
            return group_nodes(self.profile, node_fragments([node.name for node in nodes], self.network))
        return group_nodes(self.profile, [node.op if by == "op" else node.name for node in nodes])


def profile_network(
    device: Device,
    network: str,
    *,
    runtime: str = RUNTIME,
    precision: str = "",
    batch: int = 1,
    threads: int | None = None,
    cores: Sequence[int] = (),
    runs: int = 50,
    space: str = "blox",
    inputs: GivenInputs | None = None,
    wait_s: float = 0.0,
    on_progress: Callable[[str, int, int, str], None] = lambda model_format, done, total, name: None,
    log: Callable[[str], None] = lambda line: None,
) -> NetworkProfile:
    """Profile a network, or a model file with its `inputs`, that a person names on a device.

    `on_progress` follows the network's export, `log` is given a line at a time. `precision`: of a network's model, by default the
    device's. `batch`: the images of one run.
    Raises: ConfigError when the runtime has no profiler, or a name cannot be used; else as `take_profile`.
    """
    model_format = _profiled_format(runtime)
    chosen = parse_precision(precision) if precision else device.precision
    profiled, model = _chosen(network, space, inputs, model_format, chosen, batch, on_progress)
    profile = take_profile(
        device,
        model,
        runtime=runtime,
        threads=threads,
        cores=cores,
        runs=runs,
        wait_s=wait_s,
        log=lambda text: log(f"{device.name}: {text}"),
    )
    return NetworkProfile(profile=profile, network=profiled, device=device.name, batch=batch)


def _chosen(
    text: str,
    space: str,
    inputs: GivenInputs | None,
    model_format: Format,
    precision: Precision,
    batch: int,
    on_progress: Callable[[str, int, int, str], None],
) -> tuple[Architecture | FileModel, Model]:
    """Return a name's network or file, and its model. Raises: ConfigError."""
    if not is_file_name(text):
        if inputs is not None and inputs != GivenInputs():
            raise ConfigError(f"--shape, --inputs and --signature are for model files, and {text!r} is none")
        architecture = select_architecture(text, find_space(space))
        source = ExportedModels([architecture], on_progress=on_progress).at_batch(batch)
        model = source.models(model_format, precision)[0]
        if model_format == NAMED:
            assemble = model.assemble
            model = replace(model, assemble=lambda: with_node_names(assemble()))
        return architecture, model
    file = open_one(text, inputs)
    if file.format != model_format:
        others = " or ".join(name for name in PROFILED if runtime_format(name) == file.format)
        raise ConfigError(
            f"{text}: the runtime does not read {file.format} files; profile it with --runtime {others}"
        )
    return file, file.at_batch(batch).model()


def _profiled_format(text: str) -> Format:
    """Return the format that a runtime with a profiler reads. Raises: ConfigError before a model is made for another."""
    try:
        name, _ = parse_runtime(text)
    except ValueError as error:
        raise ConfigError(f"--runtime {error}") from error
    if name not in PROFILED:
        others = " or ".join(f"--runtime {known}" for known in PROFILED)
        raise ConfigError(f"--runtime {text!r}: {name} has no profiler that can be reached; use {others}")
    return runtime_format(name)
