"""Read and write latencies in the published format, blox-bench-DEVICE, with a sidecar for further columns."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from harness.devices.config import DEFAULT_PRECISION
from harness.estimates.doubtful import DOUBTFUL, NAMED, Doubtful
from harness.prediction.provenance import Provenance
from harness.prediction.request import BenchRequest, check_device_name
from harness.prediction.space_latencies import NOT_GRADED, SpaceRow, indices_of
from harness.prediction.space_prediction import (
    MeasuredNetworks,
    SpaceTable,
    load_measured,
    predict_space,
    space_of,
    summary,
)
from harness.records import Configuration
from harness.store import Store
from harness.store.configurations import (
    ANY,
    ConfigurationChoice,
    one_configuration,
    prior_configuration,
    several,
)
from harness.version import __version__
from search.table import Cost
from space import Architecture, ArchitectureError, SpaceConfig, check_enumerable
from space.accuracies.load import published_in_folder
from space.atomic_files import write_file
from space.dataset import Dataset, bench_dataset, read_dataset, write_dataset
from space.dataset.files import IS_PICKLE, read_header
from space.dataset.header import NoHeader
from space.errors import ConfigError
from space.hash_table import first_equals, is_first
from space.text_files import read_content, suffix_of
from space.user_paths import expand_user

SIDECAR_VERSION = 1
# Of a sidecar's intervals: its measured ones hold with 95 %, its predicted ones with 90 %.
FILE_COVERAGE = 0.90
MAX_SIDECAR_BYTES = 256 << 20
ROUNDED_S = 0.501e-6  # .blox holds whole microseconds
MAX_QUOTED = 40  # characters of a value in an error
KIND = re.compile("[a-z-]{1,40}")  # of a failure
# Fields of a sidecar's configuration that a choice may name, with what stands for one that is not told.
_TOLD = {"runtime": "", "provider": "", "threads": 0, "precision": "", "batch": 1}
# Fields in which a device has several configurations at a time.
_TOLD_APART = ("device", "space", "runtime", "provider", "threads", "precision", "batch")


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchFiles:
    """Files written in the published format, the sidecar, and what they hold of a configuration.

    `rows` are in canonical order, each network once; those that failed are none. `doubtful`: what has grade D, or failed.
    """

    paths: tuple[Path, ...]
    sidecar: Path
    configuration: Configuration
    rows: tuple[SpaceRow, ...]
    doubtful: Doubtful


def write_bench_files(store: Store, choice: ConfigurationChoice, request: BenchRequest) -> BenchFiles:
    """Write the files of a request, latencies in s, and the sidecar .json, of the one configuration that fits.

    Raises: ConfigError when a file cannot be written, the name cannot be published, too little is stored, or files of the name
    hold what was measured otherwise.
    """
    chosen = one_configuration(store, choice)
    check_enumerable(
        space_of(chosen),
        "a file of latencies",
        "write those of networks by name: harness predict --models sample:99 --csv",
    )
    name = request.name or _file_name(chosen)
    check_device_name(name)
    sidecar = request.folder / f"blox-bench-{name}.json"
    _check_not_others(sidecar, chosen)
    prior = prior_configuration(store, request.prior, chosen)
    table = None
    if request.measured_only:
        measured = load_measured(store, chosen, doubtful=request.doubtful)
        every, doubtful = measured.space_rows(), measured.doubtful
    else:
        table = predict_space(store, chosen, prior, doubtful=request.doubtful)
        measured, doubtful = table.measured, table.doubtful
        every = table.rows(np.flatnonzero(is_first(measured.config)).tolist())
    rows = [row for row in every if row.latency_ms is not None]
    last = store.sessions(chosen, [measured.rows[0].graph_hash])[-1]
    document = _sidecar(name, measured, table, rows) | {
        "conditions": last.conditions_before,
        "agent": last.agent_digest,
        "doubtful": doubtful.to_json(),
    }
    columns = document["columns"]
    data = bench_dataset(name, [row.index for row in rows], columns["latency_s"], measured.config)
    paths = [request.folder / f"blox-bench-{name}.{one}" for one in request.formats]
    for path in paths:
        write_dataset(path, data)
    write_file(sidecar, json.dumps(document, separators=(",", ":")).encode())
    return BenchFiles(
        paths=tuple(paths), sidecar=sidecar, configuration=chosen, rows=tuple(rows), doubtful=doubtful
    )


def _file_name(configuration: Configuration) -> str:
    """Return the name of a device in files, which tells precisions and batch sizes apart: the published format does not."""
    c = configuration
    precision = "" if c.precision == DEFAULT_PRECISION else f"-{c.precision}"
    return c.device + precision + ("" if c.batch == 1 else f"-batch{c.batch}")


def _check_not_others(sidecar: Path, configuration: Configuration) -> None:
    """Raise ConfigError where a file of this name is of another runtime, precision and the like of the device."""
    with suppress(OSError, ValueError, TypeError, KeyError):  # none is there, or none of ours
        held = json.loads(sidecar.read_bytes())["configuration"]
        differing = [
            f"{name} {held[name]}" for name in _TOLD_APART if held[name] != getattr(configuration, name)
        ]
        if differing:
            raise ConfigError(
                f"{sidecar}: holds latencies of {', '.join(differing)}; give these another --name, or another --output"
            )


def latency_files(paths: Sequence[Path], *, allow_pickle: bool = False) -> dict[str, Path]:
    """Return the files of latencies by the device that each names; a folder stands for those that it holds.

    Raises: ConfigError when one cannot be read, or is a pickle and `allow_pickle` is not set.
    """
    files: dict[str, Path] = {}
    for path in [file for one in paths for file in _in_folder(expand_user(one), allow_pickle)]:
        if suffix_of(path) == ".pickle" and not allow_pickle:
            raise ConfigError(f"--latencies {path}: {IS_PICKLE}")
        try:
            header = read_header(path, config=None)
        except NoHeader as error:
            raise ConfigError(
                f"--latencies {path}: is no blox-bench-DEVICE file, which begins with a header ('---'); 'harness dataset write' "
                "writes what is measured, and bench_dataset and write_dataset of space.dataset latencies of your own"
            ) from error
        if header.dataset_type != "benchmarking":
            raise ConfigError(
                f"--latencies {path}: is a file of type {header.dataset_type!r}, not of latencies; give a blox-bench-DEVICE file"
            )
        device = str(header.extra["device"])
        if device in files:
            raise ConfigError(
                f"--latencies {path}: device {device!r} is that of {files[device]} too; give one of them"
            )
        files[device] = path
    return files


def _in_folder(path: Path, allow_pickle: bool) -> list[Path]:
    try:
        if not path.is_dir():
            return [path]
        return published_in_folder(
            path, allow_pickle, names=("blox-bench-*",), remedy="name a blox-bench-DEVICE file or its folder"
        )
    except (OSError, ValueError) as error:
        raise ConfigError(f"--latencies {path}: cannot be read: {error}; check the path") from error


def file_latency(
    path: Path,
    name: str,
    config: SpaceConfig,
    *,
    choice: ConfigurationChoice = ANY,
    measured_only: bool = False,
    doubtful: bool = False,
    allow_pickle: bool = False,
) -> tuple[Cost, Provenance]:
    """Return the latencies of a blox-bench-DEVICE file, with intervals and grades where it has a sidecar.

    Of networks whose sidecar says grade D there is no latency, unless `doubtful`; of those that failed there is none, nor of
    predicted ones if `measured_only`.

    Raises: ConfigError when file or sidecar cannot be used, the sidecar tells of another runtime, precision or batch, or of other
    threads than the `choice` names, or there is none to tell what was measured.
    """
    data = read_dataset(path, config=config, allow_pickle=allow_pickle)
    columns = {key: np.full(len(config), np.nan) for key in ("values", "low", "high")}
    columns["values"][data.indices] = data.array("latency") * 1e3
    unpacked = path.with_suffix("") if path.suffix.lower() == ".gz" else path
    sidecar = _read_sidecar(unpacked.with_suffix(".json"), data, config)
    if sidecar is None:
        if measured_only:
            raise ConfigError(
                f"--latencies {path}: does not tell measured from predicted latencies (no sidecar .json); leave out "
                "--measured-only"
            )
        cost = Cost(name=name, unit="ms", title=f"latency on {name} ({path.name})", values=columns["values"])
        return cost, Provenance(origin=str(path), measured=len(data))
    rows, of, failed = sidecar
    _check_asked(path, of, choice)
    is_measured = np.zeros(len(config), dtype=np.bool_)
    grades = np.zeros(len(config), dtype="<U1")
    for key, column in (("latency_s", "values"), ("low_s", "low"), ("high_s", "high")):
        columns[column][data.indices] = [np.nan if v is None else float(v) * 1e3 for v in rows[key]]
    is_measured[data.indices] = [source == "measured" for source in rows["source"]]
    supported = np.ones(len(config), dtype=np.bool_)
    supported[data.indices] = rows["supported"]
    grades[data.indices] = [grade.strip(NOT_GRADED) for grade in rows["grade"]]
    apart = np.flatnonzero(grades == DOUBTFUL)
    if not doubtful:
        is_measured[apart], grades[apart] = False, ""
    left_out = ~is_measured if measured_only else np.isin(np.arange(len(config)), apart) & ~is_measured
    for values in columns.values():
        values[left_out] = np.nan
    supported[first_equals(config)[indices_of(failed, config)]] = False
    given = grades[is_measured].tolist()
    cost = Cost(
        name=name,
        unit="ms",
        title=f"latency on {name} ({path.name})",
        values=columns["values"],
        low=columns["low"],
        high=columns["high"],
        coverage=FILE_COVERAGE,
        measured=is_measured,
        supported=supported,
        grades=grades,
    )
    told_apart = [of["precision"]] * (of["precision"] not in ("", DEFAULT_PRECISION))
    told_apart += [f"batch {of['batch']}"] * (of["batch"] > 1)
    provenance = Provenance(
        origin=", ".join([str(path), *told_apart]),
        precision=of["precision"],
        measured=int(is_measured.sum()),
        predicted=0 if measured_only else rows["source"].count("predicted"),
        grades={grade: given.count(grade) for grade in "ABCD"},
        doubtful=Doubtful(
            networks=len(apart),
            names=tuple(str(Architecture.from_index(int(index), config)) for index in apart[:NAMED]),
            why={"as the file says": len(apart)} if len(apart) else {},
            taken=doubtful,
            failed=failed,
        ),
    )
    return cost, provenance


def _check_asked(path: Path, of: Mapping[str, Any], choice: ConfigurationChoice) -> None:
    """Raise ConfigError for a file of another runtime, precision or batch, or of other threads, than a choice names."""
    runtime, provider = of["runtime"], of["provider"]
    others = "" if choice.fits_runtime(runtime, provider) else " ".join(several(choice.runtime))
    asked = [
        ("runtime", others, runtime, f"{runtime} ({provider})"),
        ("precision", choice.precision, of["precision"], f"{of['precision']} models"),
        ("threads", choice.threads, of["threads"], f"{of['threads']} threads"),
        ("batch", choice.batch, of["batch"], f"batch {of['batch']}"),
    ]
    for name, wanted, told, text in asked:
        if wanted and told and wanted != told:
            raise ConfigError(
                f"--latencies {path}: is of {text}, not {wanted}; name another file, or --{name} {told}"
            )


def _sidecar(
    name: str, measured: MeasuredNetworks, table: SpaceTable | None, rows: Sequence[SpaceRow]
) -> dict[str, Any]:
    """Return the data that the published format cannot hold; columns are in the order of the files' rows."""
    return {
        "version": SIDECAR_VERSION,
        "device": name,
        "harness": __version__,
        "configuration": asdict(measured.configuration) | {"id": measured.configuration.digest},
        "reference_s": measured.reference_ms / 1e3,
        "prediction": None if table is None else summary(table),
        "meaning": {
            "conditions": "before the last session of the fastest measured network",
            "low_s, high_s": "95 % interval of a measured latency; 90 % prediction interval of a predicted one",
            "grade": "A to D of a measured latency, - of a predicted one",
        },
        "columns": {
            "graph_hash": [row.graph_hash for row in rows],
            "latency_s": [row.latency_ms / 1e3 for row in rows if row.latency_ms is not None],
            "low_s": [None if row.low_ms is None else row.low_ms / 1e3 for row in rows],
            "high_s": [None if row.high_ms is None else row.high_ms / 1e3 for row in rows],
            "source": [row.source for row in rows],
            "grade": [row.grade for row in rows],
            "sessions": [row.sessions for row in rows],
            "supported": [row.supported for row in rows],
        },
    }


def _read_sidecar(
    path: Path, data: Dataset, config: SpaceConfig
) -> tuple[dict[str, list[Any]], dict[str, Any], dict[str, str]] | None:
    """Return the columns of a file's sidecar, `_TOLD` of its configuration, and which networks failed; None without a sidecar.

    Raises: ConfigError when it is not of this file, whose latencies it has too, to more digits than .blox holds.
    """
    remedy = "write both again with 'harness dataset write', or remove the .json"
    try:
        if not path.is_file():
            return None
        document = json.loads(read_content(path, remedy=remedy, most=MAX_SIDECAR_BYTES))
        columns = document["columns"]
        found = {
            key: columns[key] for key in ("graph_hash", "latency_s", "low_s", "high_s", "source", "grade")
        }
        found["supported"] = columns.get("supported", [True] * len(data))  # not told in files of before
        failed = document.get("doubtful", {}).get("failed", {})
        indices_of(failed, config)
        configuration = document.get("configuration", {})
        of = {name: configuration.get(name, absent) for name, absent in _TOLD.items()}
        space = configuration.get("space", "")
        if space not in ("", config.name):  # hashes of miniatures are alike
            raise ConfigError(
                f"{path}: is of space {space!r}, not {config.name!r}; name that: --space {space}"
            )
        whole = all(isinstance(values, list) and len(values) == len(data) for values in found.values())
        are_named = all(type(of[name]) is type(absent) for name, absent in _TOLD.items())
        are_named &= all(KIND.fullmatch(kind) for kind in failed.values())
        if not (whole and are_named and found["graph_hash"] == data.hashes.tolist()):
            raise ConfigError(f"{path}: is not the sidecar of its file; {remedy}")
        for row, (held_s, told) in enumerate(
            zip(data.array("latency").tolist(), zip(*found.values(), strict=True), strict=True), start=1
        ):
            if trouble := _trouble(held_s, *told[1:]):
                raise ConfigError(f"{path}: is not the sidecar of its file: row {row}: {trouble}; {remedy}")
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        ArchitectureError,
    ) as error:
        raise ConfigError(f"{path}: is no sidecar of latencies: {error}; {remedy}") from error
    return found, of, failed


def _trouble(
    held_s: float,
    latency_s: object,
    low_s: object,
    high_s: object,
    source: object,
    grade: object,
    supported: object,
) -> str:
    """Return the fault of a sidecar's row beside the latency that its file holds; empty where there is none."""
    if type(latency_s) is not float or not abs(latency_s - held_s) <= ROUNDED_S:
        return f"latency_s = {_shown(latency_s)}, where the file has {held_s!r}"
    if (low_s, high_s) != (None, None) and not (
        type(low_s) is float and type(high_s) is float and 0 <= low_s <= latency_s <= high_s < inf
    ):
        return f"low_s = {_shown(low_s)}, high_s = {_shown(high_s)}: no interval that holds {latency_s!r}"
    if grade not in (
        ("A", "B", "C", "D") if source == "measured" else (NOT_GRADED,) * (source == "predicted")
    ):
        told = f"source = {_shown(source)}, grade = {_shown(grade)}"
        return f"{told}: A to D of what is measured, {NOT_GRADED} of what is predicted"
    if type(supported) is not bool or not (supported or source == "predicted"):
        return f"supported = {_shown(supported)}: true or false, and true of what is measured"
    return ""


def _shown(value: object) -> str:
    return repr(value)[:MAX_QUOTED]
