"""Runs under load from Python: a device kept busy with networks, minute by minute."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.dataframe import Tabular
from harness.devices.config import Device
from harness.estimates.sustained import Stretch, Sustained
from harness.measurement.plan import parse_sustained
from harness.models.names import Network
from harness.prediction.measure import Progress, measure_devices, named_devices, raise_first, requested
from harness.records import Failure
from harness.store import Store
from harness.store.opening import check_store
from space import Space
from space.errors import ConfigError

if TYPE_CHECKING:
    from harness.models.torch_models import TorchModel

_CONFIGURATION = ("device", "runtime", "provider", "precision", "batch")
_RUN = ("architecture", "graph_hash", "run_id")


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class SustainedRuns(Tabular):
    """Runs under load in the order in which they were measured, and what failed; as a table a row for each of their minutes."""

    runs: tuple[Sustained, ...]
    failures: tuple[Failure, ...] = ()

    def __iter__(self) -> Iterator[Sustained]:
        return iter(self.runs)

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> Sustained:
        return self.runs[index]

    def to_records(self) -> tuple[list[dict[str, object]], Sequence[str]]:
        """Return a row for each minute of each run as plain values, and the columns."""
        columns = (*_CONFIGURATION, *_RUN, *(field.name for field in fields(Stretch)))
        rows = [
            {name: getattr(one.run.configuration, name) for name in _CONFIGURATION}
            | {name: getattr(one.run, name) for name in _RUN}
            | asdict(minute)
            | {"signs": " ".join(minute.signs)}
            for one in self.runs
            for minute in one.stretches
        ]
        return rows, columns


def sustain(
    device: str | Device | Sequence[str | Device],
    models: Network | Path | TorchModel | Iterable[Network | Path | TorchModel],
    duration: str,
    *,
    store: Store,
    runtimes: str | Sequence[str] = (),
    precision: str | Sequence[str] = (),
    batch: int | str | Sequence[int] = 1,
    threads: int | None = None,
    cores: int | str | Iterable[int] = (),
    space: str | Path | Space = "",
    shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: str | Path | Sequence[Any] | None = None,
    expect: str | Path | None = None,
    signature: str = "",
    wait_s: float = 0.0,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> SustainedRuns:
    """Keep a device busy with each network or model file for a `duration` such as "30m"; return how its latency changed.

    Other arguments are as for `measure`. The runs are kept in the store, apart from sessions; nothing else reads them.
    A network that failed has no run, or one that broke off; its failure is in `failures`.
    Raises: ConfigError for a duration that is no time; else as `measure`.

    >>> runs = sustain(device, "conv/conv", "3s", store=store, runtimes=["onnxruntime"], space="tiny")
    >>> runs[0].run.architecture, len(runs[0].stretches)
    ('conv/conv', 6)
    """
    check_store(store)
    if not isinstance(duration, str) or not duration:
        raise ConfigError(f"duration = {duration!r}: give a text with a unit, such as '90s' or '30m'")
    with requested(
        named_devices(device, devices_file), models, shapes=shapes, inputs=inputs, expect=expect, signature=signature,
        runtimes=runtimes, precision=precision, batch=batch, threads=threads, cores=cores, space=space, wait_s=wait_s,
        sustained_s=parse_sustained(duration),
    ) as request:  # fmt: skip
        found = measure_devices(request, store, Progress(log))
    raise_first(found.outcomes)
    failures = (failure for outcome in found.outcomes for failure in outcome.failures)
    return SustainedRuns(runs=found.sustained or (), failures=tuple(failures))
