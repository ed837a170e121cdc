"""Two networks compared on every configuration of a device, or two model files against each other: the faster, or a tie."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.dataframe import RowTable
from harness.devices.config import Device
from harness.devices.names import select_devices
from harness.estimates.comparison import Comparison, are_hours_apart, doubted
from harness.estimates.comparison import compare as compare_estimates
from harness.estimates.latency import Latency
from harness.models.file_names import GivenInputs, is_file_name
from harness.models.names import Network, in_spaces, listed, select_architecture, space_meant
from harness.models.torch_models import saved_programs
from harness.prediction.request import MeasureRequest
from harness.prediction.space_prediction import space_of
from harness.query.compare_files import Pair, compare_files
from harness.query.compare_precisions import PrecisionComparisons, compare_precisions
from harness.query.requests import check_compared, check_files
from harness.records import Configuration, Failure
from harness.store import Store
from harness.store.configurations import (
    ConfigurationChoice,
    configuration_id,
    fitting_configurations,
    measure_command,
    several,
)
from harness.store.latencies import latencies
from harness.store.opening import check_store
from space import Architecture, Space, SpaceConfig
from space.errors import ConfigError
from space.registry import space_name

if TYPE_CHECKING:
    from harness.models.torch_models import TorchModel


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkComparison:
    """The comparison of two networks on one configuration: `result` is that of the first with the second."""

    first: Latency
    second: Latency
    result: Comparison

    @property
    def configuration(self) -> Configuration:
        """The configuration that both were measured on."""
        return self.first.configuration

    def to_json(self) -> dict[str, object]:
        """Return the comparison as plain values; `low` and `high` are the ratio's 95 % interval."""
        result = self.result
        return {
            "device": self.configuration.device,
            "configuration": configuration_id(self.configuration),
            "verdict": result.verdict,
            "reason": result.reason,
            "ratio": result.ratio,
            "low": None if result.interval is None else result.interval[0],
            "high": None if result.interval is None else result.interval[1],
            "networks": [
                {
                    "architecture": row.architecture,
                    "graph_hash": row.graph_hash,
                    "latency_ms": row.latency_ms,
                    "interval_ms": row.interval_ms,
                    "grade": row.grade,
                    "sessions": row.estimate.sessions,
                }
                for row in (self.first, self.second)
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class NetworkComparisons(RowTable[NetworkComparison]):
    """A comparison for each configuration, at least one, on which both networks are measured.

    `not_measured`: the networks that a configuration lacks, by their texts; of files with what failed.
    """

    rows: tuple[NetworkComparison, ...]
    not_measured: Mapping[Configuration, tuple[str, ...]]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return a row a configuration as plain values, latencies in ms, and the columns."""
        rows = [
            {name: value for name, value in pair.to_json().items() if name != "networks"}
            | _columns("first", pair.first)
            | _columns("second", pair.second)
            for pair in self
        ]
        return rows, list(rows[0])


def _columns(which: str, row: Latency) -> dict[str, object]:
    """Return one of two latencies as columns."""
    low_ms, high_ms = row.interval_ms or (None, None)
    found = {"ms": row.latency_ms, "low_ms": low_ms, "high_ms": high_ms, "grade": row.grade}
    return {f"{which}_{name}": value for name, value in found.items()}


def compare(
    store: Store,
    first: Network | Path | TorchModel,
    second: Network | Path | TorchModel,
    *,
    device: str | Device = "",
    runtime: str = "",
    threads: int | None = None,
    precision: str = "",
    batch: int | None = None,
    configuration: str = "",
    space: str | Path | Space = "",
    level: str = "screen",
    sessions: int | None = None,
    fresh: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: str | Path | Sequence[Any] | GivenInputs | None = None,
    expect: str | Path | None = None,
    signature: str = "",
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> NetworkComparisons:
    """Compare two networks on each configuration of a device: `first` is faster than `second`, slower, or a tie.

    They are ordered where the 95 % interval of their ratio leaves out 1; where findings say that either may be wrong by more
    than its interval (grade D), only if they are apart by a factor of two as well. A network is an architecture, its graph
    hash or its index.

    - `device`: by default `local`, or the one of `configuration`, an id; also a pattern, a group of `devices_file`, or "all".
    - `runtime`, `threads`, `precision`, `batch` (by default 1) and `space` narrow the choice.

    Two model files of one format, or torch modules, are measured first, in turns in the same processes, one as the other's
    reference: with `level`, `sessions`, `fresh`, and `shapes`, `inputs`, `expect` and `signature` of both, as for `measure`;
    `log` is given a line of progress at a time.

    Raises: ConfigError when no configuration has both networks measured, or a text names no network, or several.

    >>> from harness.models.results import results
    >>> fastest, *_, slowest = results(store, device="made-up")
    >>> compare(store, fastest.architecture, slowest.architecture, device="made-up")[0].result.verdict
    'faster'
    """
    check_store(store)
    given = inputs if isinstance(inputs, GivenInputs) else None
    if given is not None and (shapes or expect or signature):
        raise ConfigError("inputs holds shapes, expect and signature itself: give them there, not beside it")
    if any(isinstance(one, Architecture) for one in (first, second)):
        space = space_meant((first, second), space)
    models = listed([first, second], space if isinstance(space, Space) else None)
    with saved_programs(models, None if given else inputs) as (names, values):  # type: ignore[arg-type]
        asked = given or GivenInputs.of(shapes, values, expect, signature)
        if any(map(is_file_name, names)):
            check_files(names, precision, configuration)
            request = MeasureRequest(
                devices=select_devices([device] if device else [], devices_file), models=(names[0],), reference=Path(names[1]),
                inputs=asked, level=level, runtimes=tuple(several(runtime)), threads=threads, batches=(batch or 1,),
                sessions=sessions, fresh=fresh,
            )  # fmt: skip
            pairs, failures = compare_files(request, store, log)
            return _of_files(pairs, failures)
    one, other = names
    if asked != GivenInputs() or fresh or sessions is not None:
        raise ConfigError(
            f"--shape, --inputs, --expect, --signature, --fresh and sessions are for model files, and {one} and {other} are "
            "none: 'harness measure' measures them"
        )
    choice = ConfigurationChoice(
        device=device,
        batch=batch,
        runtime=runtime,
        threads=threads,
        precision=precision,
        configuration=configuration,
        space=space_name(space),
        devices_file=devices_file,
    )
    return _measured(store, one, other, choice)


def _of_files(pairs: Sequence[Pair], failures: Sequence[Failure]) -> NetworkComparisons:
    """Return how two files compare in each runtime, and what failed in others."""
    lacking: dict[Configuration, dict[str, None]] = {}
    for one in failures:
        why = f"{one.architecture} ({one.kind}: {one.message})"
        lacking.setdefault(one.configuration, {})[why] = None
    return NetworkComparisons(
        rows=tuple(NetworkComparison(first=a, second=b, result=result) for a, b, result in pairs),
        not_measured={configuration: tuple(each) for configuration, each in lacking.items()},
    )


def _measured(store: Store, first: str, second: str, choice: ConfigurationChoice) -> NetworkComparisons:
    """Compare two networks by what is stored of the configurations that fit. Raises: ConfigError, see `compare`."""
    named = in_spaces(lambda config: _both(first, second, config))
    pairs = in_spaces(lambda config: _two(first, second, config), [a.config for a, _ in named.values()])
    fitting = fitting_configurations(store, choice)
    if all(one.space not in pairs for one in fitting):
        pairs[fitting[0].space] = _two(first, second, space_of(fitting[0]))  # or raises what is wrong
    found: list[NetworkComparison] = []
    not_measured: dict[Configuration, tuple[str, ...]] = {}
    for one in fitting:
        if one.space not in pairs:
            continue
        pair = pairs[one.space]
        by_hash = {row.graph_hash: row for row in latencies(store, one, [n.graph_hash for n in pair])}
        if missing := tuple(str(network) for network in pair if network.graph_hash not in by_hash):
            not_measured[one] = missing
            continue
        a, b = (by_hash[network.graph_hash] for network in pair)
        result = compare_estimates(
            *(a.estimate, b.estimate, [a.configuration, b.configuration]),
            hours_apart=are_hours_apart(a.started_utc, b.started_utc),
        )
        result = doubted(result, [*a.findings, *b.findings])
        found.append(NetworkComparison(first=a, second=b, result=result))
    if not found:
        lacking, missing = next(iter(not_measured.items()))
        raise ConfigError(
            f"device {lacking.device!r}",
            f"not measured under "
            f"{'this configuration' if len(not_measured) == 1 else 'one configuration with the other'}: {', '.join(missing)}; "
            f"measure what is missing: {measure_command(lacking)} --models {','.join(missing)}",
        )
    return NetworkComparisons(rows=tuple(found), not_measured=not_measured)


def compare_any(
    store: Store, first: str, second: str, *, precision: str = "", configuration: str = "", **options: Any
) -> NetworkComparisons | PrecisionComparisons:
    """Compare two networks or model files, or two precisions; options as for `compare`, fewer of them for precisions.

    Raises: ConfigError as `compare` and `compare_precisions`, and where only one of the two is a precision.
    """
    if check_compared(first, second, precision=precision, configuration=configuration) != "precisions":
        return compare(store, first, second, precision=precision, configuration=configuration, **options)
    kept = {
        name: options[name]
        for name in ("device", "runtime", "threads", "batch", "space", "devices_file")
        if name in options
    }
    return compare_precisions(store, first, second, **kept)


def _two(first: str, second: str, config: SpaceConfig) -> tuple[Architecture, Architecture]:
    """Return the two networks of a space. Raises: ConfigError when a text names none or several, or both the same."""
    a, b = _both(first, second, config)
    if a.graph_hash == b.graph_hash:
        raise ConfigError(f"{first!r} and {second!r} are the same network, {a}; name two")
    return a, b


def _both(first: str, second: str, config: SpaceConfig) -> tuple[Architecture, Architecture]:
    return select_architecture(first, config), select_architecture(second, config)
