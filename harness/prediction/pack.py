"""Packed jobs for devices that no harness reaches, and their results: `harness pack`, `harness import`, and for Python."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.devices.config import PACKED, Device
from harness.devices.names import parse_packed_device
from harness.estimates.latency import Latency, LatencyTable
from harness.estimates.sustained import Sustained
from harness.measurement.campaign import Outcome
from harness.measurement.packed import PackedJob, import_campaign, pack_campaign
from harness.models.exported import ExportObserver
from harness.models.file_names import find_files
from harness.models.names import Network
from harness.prediction.measure import Progress, asked_source, latencies_of, requested, runs_under_load
from harness.prediction.request import DEFAULT_MODELS, MeasureRequest
from harness.store import Store
from harness.store.opening import check_store
from space import Space, find_space
from space.atomic_files import check_output_file, write_file

if TYPE_CHECKING:
    from harness.models.torch_models import TorchModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """Imported results of a packed job: the outcome, the latencies of its networks, and its runs under load."""

    outcome: Outcome
    rows: tuple[Latency, ...]
    sustained: tuple[Sustained, ...] = ()

    @property
    def exit_status(self) -> int:
        """The command's exit status, as of a campaign."""
        return self.outcome.exit_status


def pack_requested(
    request: MeasureRequest, output: Path, store: Store, observer: ExportObserver
) -> PackedJob:
    """Write a packed job of what a request asks for of one device, and note it in the store.

    Raises: ConfigError when it does not fit a packed job, or the file cannot be written.
    """
    given = request.inputs
    named = filter(None, [request.reference, given.values, given.expect])
    check_output_file(output, inputs=[*find_files(request.files, observer.log), *named], is_text=False)
    (device,) = request.devices
    if device.transport == PACKED:
        observer.log(
            f"device {device.name!r} is not in devices.toml: a device of that name, with the usual settings"
        )
    source, options = asked_source(request, find_space(request.space), observer)
    job = pack_campaign(device, source, options, store, rng=random.Random(request.seed), log=observer.log)
    write_file(output, job.data)
    return job


def import_requested(path: Path, store: Store, observer: ExportObserver) -> Imported:
    """Read the results of a packed job into the store. Raises: ConfigError, as `import_campaign`."""
    outcome = import_campaign(path, store, observer)
    # Each start has the same uses; those of files may share a configuration.
    uses = {(use.configuration, *(model.graph_hash for model in use.models)): use for use in outcome.uses}
    rows = (row for use in uses.values() for row in latencies_of(use, store))
    return Imported(outcome=outcome, rows=tuple(rows), sustained=runs_under_load([outcome], store))


def pack(
    device: str | Device,
    models: Network | Path | TorchModel | Iterable[Network | Path | TorchModel] = DEFAULT_MODELS,
    *,
    output: str | Path,
    store: Store,
    level: str = "screen",
    runtimes: str | Sequence[str] = (),
    precision: str | Sequence[str] = (),
    batch: int | str | Sequence[int] = 1,
    threads: int | None = None,
    cores: int | str | Iterable[int] = (),
    sessions: int | None = None,
    memory: bool = False,
    energy: bool = False,
    space: str | Path | Space = "",
    shapes: Mapping[str, Sequence[int]] | None = None,
    inputs: str | Path | Sequence[Any] | None = None,
    expect: str | Path | None = None,
    signature: str = "",
    reference: str | Path | None = None,
    seed: int | None = None,
    devices_file: str | Path | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> PackedJob:
    """Write a job for a device that no harness reaches: `python3 job.zip` there, then `import_results` of what it writes.

    `output` is the job's file; other arguments are as for `measure`, of one `device`, in devices.toml or not. Everything
    named is measured, whatever is stored. The store notes the request, and takes results of no other.
    Raises: ConfigError.

    >>> job = pack("board", "conv/conv", output="job.zip", store=store, runtimes=["onnxruntime"], level="quick", space="tiny")
    >>> job.networks, job.sessions
    (1, 1)
    """
    check_store(store)
    named = device if isinstance(device, Device) else parse_packed_device(device, devices_file)
    with requested(
        (named,), models, shapes=shapes, inputs=inputs, expect=expect, signature=signature, reference=reference, level=level,
        runtimes=runtimes, precision=precision, batch=batch, threads=threads, cores=cores, sessions=sessions, memory=memory,
        energy=energy, space=space, seed=seed,
    ) as request:  # fmt: skip
        return pack_requested(request, Path(output), store, Progress(log))


def import_results(
    path: str | Path, *, store: Store, log: Callable[[str], None] = lambda line: None
) -> LatencyTable:
    """Read a packed job's results, the file `path`, into the store of `pack`; return its latencies and failures.

    What is there already stays as it is: importing twice is importing once. `log`: as for `measure`.
    Raises: ConfigError for a file that is no result of a job, is damaged or altered, or is of a job that this store did not
    pack; DeviceError where the job was given up.

    >>> for row in import_results("job-results.zip", store=store):
    ...     print(row.architecture, row.configuration.runtime, row.latency_ms > 0)
    conv/conv onnxruntime True
    """
    check_store(store)
    found = import_requested(Path(path), store, Progress(log))
    if found.outcome.error is not None:
        raise found.outcome.error
    return LatencyTable(rows=found.rows, failures=tuple(found.outcome.failures))
