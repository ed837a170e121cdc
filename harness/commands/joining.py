"""The join that search and report read: accuracies from files, costs by arithmetic, latencies from the store or from files."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from harness.commands.accuracies import AccuracySource, load
from harness.commands.latency_costs import LatencySource, stored_latency
from harness.prediction.bench_files import file_latency, latency_files
from harness.prediction.provenance import Provenance
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import find_configuration
from space.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from exporters import Format
    from search.table import Cost, Table
    from space import SpaceConfig


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Joined:
    """The table, what stands behind each latency in it, and what is missing or doubtful, for people."""

    table: Table
    behind: Mapping[str, Provenance]
    notes: tuple[str, ...]


def join(
    store: Store,
    accuracies: AccuracySource,
    subjects: Sequence[str],
    latencies: LatencySource,
    say: Callable[[str], None] = lambda text: None,
) -> Joined:
    """Join accuracies with what the subjects cost: names of `search.constraints.PROPERTIES`, else devices of the store.

    A device is `pixel`, `pixel:tflite`, a configuration's id, or the device that a file of latencies names. `say` is told
    what takes time. Raises: ConfigError, naming what is missing and what to type.
    """
    from search.constraints import PROPERTIES
    from search.table import Table
    from space import check_enumerable

    files = latency_files(latencies.files)
    chosen = {
        name: find_configuration(store, name, runtime=latencies.runtime, threads=latencies.threads)
        for name in dict.fromkeys(subjects)
        if name not in PROPERTIES and name not in files
    }
    config = _space(list(chosen.values()))
    check_enumerable(
        config,
        "a table of accuracies and costs",
        "search it with --method blockwise, or measure networks by name",
    )
    found = load(accuracies, config)
    costs: dict[str, Cost] = {}
    behind: dict[str, Provenance] = {}
    for name in dict.fromkeys(subjects):
        if name in PROPERTIES:
            costs[name] = property_cost(name, config, say)
        elif name in files:
            costs[name], behind[name] = file_latency(files[name], name, config, doubtful=latencies.doubtful)
        else:
            say(f"{name}: latencies of every network, measured or predicted")
            costs[name], behind[name] = stored_latency(store, name, chosen[name], latencies)
    table = Table(config=config, accuracy=found[0], costs=costs, shown=tuple(found[1:]))
    return Joined(table=table, behind=behind, notes=tuple(notes_on(table, behind)))


def with_far_networks(joined: Joined) -> Joined:
    """Return the same with networks that are unlike any measured one, for a search that measures what it recommends."""
    costs = {name: replace(cost, supported=None) for name, cost in joined.table.costs.items()}
    table = replace(joined.table, costs=costs)
    return Joined(table=table, behind=joined.behind, notes=tuple(notes_on(table, joined.behind)))


def _space(configurations: Sequence[Configuration]) -> SpaceConfig:
    from harness.prediction.space_prediction import space_of
    from space import BLOX

    spaces = {configuration.space: configuration for configuration in configurations}
    if len(spaces) > 1:
        named = " and ".join(f"{c.device!r} of {space!r}" for space, c in spaces.items())
        raise ConfigError(f"devices of different spaces cannot be joined: {named}; name devices of one space")
    return space_of(configurations[0]) if configurations else BLOX


def property_cost(name: str, config: SpaceConfig, say: Callable[[str], None]) -> Cost:
    """Return what every network costs in one of `search.constraints.PROPERTIES`, by arithmetic."""
    from search.constraints import PROPERTIES
    from search.table import Cost
    from space.costs import all_macs, all_params
    from space.memory import all_memory

    values: NDArray[np.float64]
    if name == "params":
        values, title = all_params(config).astype(float), "parameters"
    elif name == "macs":
        values, title = all_macs(config).astype(float), "multiply-accumulates of one image"
    elif name == "memory":
        values, title = all_memory(config).astype(float), "weights and feature maps, by arithmetic"
    else:
        from harness.models.exported import cache_folder
        from harness.models.sizes import file_sizes

        model_format: Format = "onnx" if name == "onnx-size" else "tflite"
        say(f"{name}: sizes of all files")
        values, title = file_sizes(model_format, cache_folder(), config), f"bytes of the {model_format} file"
    return Cost(name=name, unit=PROPERTIES[name], title=title, values=values)


def doubt_note(behind: Provenance) -> str:
    """Return what of a device's latencies has grade D, and what to do about it where it was left out."""
    from harness.prediction.space_prediction import doubt_text

    if behind.configuration is not None:
        return doubt_text(behind.doubtful, behind.configuration)
    return f"{behind.doubtful}" + ("" if behind.doubtful.taken else "; take them in with --doubtful")


def notes_on(table: Table, behind: Mapping[str, Provenance]) -> list[str]:
    """Return what is missing or doubtful in a table; nothing of it is left out in silence."""
    import numpy as np

    from space import Architecture

    count, accuracy = len(table.config), table.accuracy
    missing = int(np.isnan(accuracy.values).sum())
    notes = []
    if missing:
        notes.append(f"{missing:,} of {count:,} networks have no {accuracy.label} and cannot be found")
    notes += accuracy.notes
    for name, one in behind.items():
        cost = table.costs[name]
        if unknown := int(np.isnan(cost.values).sum()):
            notes.append(
                f"{name}: {unknown:,} of {count:,} networks have no latency, measured or predicted; they meet no constraint on it"
            )
        if cost.supported is not None and (far := np.flatnonzero(~cost.supported).tolist()):
            notes.append(
                f"{name}: {len(far):,} of {count:,} networks are unlike any that was measured, such as "
                f"{Architecture.from_index(far[0], table.config)}: left out; --verify takes them in and measures the best"
            )
        if one.doubtful:
            notes.append(f"{name}: {doubt_note(one)}")
        if cost.high is None:
            notes.append(f"{name}: {one.origin} has no intervals beside it (no sidecar .json)")
        bare = 0 if cost.high is None else int((np.isnan(cost.high) & ~np.isnan(cost.values)).sum())
        if bare:
            notes.append(f"{name}: {bare:,} measured networks have too few slices for an interval")
        if cost.high is not None and np.isinf(cost.high).any():
            notes.append(
                f"{name}: {one.measured:,} measured networks are too few for intervals of {cost.coverage:.0%}: predicted "
                "latencies have no upper bound there; measure more, or ask for less"
            )
    return notes
