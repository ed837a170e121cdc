"""Latencies from published files, blox-bench-DEVICE, as columns of the joined table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.commands.latency_costs import Behind
from harness.estimates.doubtful import DOUBTFUL, NAMED, Doubtful
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.table import Cost
    from space import SpaceConfig

# Of a sidecar's intervals: its measured ones hold with 95 %, its predicted ones with 90 %.
FILE_COVERAGE = 0.90
MAX_SIDECAR_BYTES = 256 << 20


def latency_files(paths: Sequence[Path]) -> dict[str, Path]:
    """Return the files of latencies by the device that each names. Raises: ConfigError when one cannot be read."""
    from space.dataset import read_dataset

    files: dict[str, Path] = {}
    for path in paths:
        data = read_dataset(path)
        if data.dataset_type != "benchmarking":
            raise ConfigError(
                f"--latencies {path}: is a file of type {data.dataset_type!r}, not of latencies; give a blox-bench-DEVICE file"
            )
        device = str(data.extra["device"])
        if device in files:
            raise ConfigError(
                f"--latencies {path}: device {device!r} is that of {files[device]} too; give one of them"
            )
        files[device] = path
    return files


def file_latency(
    path: Path, name: str, config: SpaceConfig, *, doubtful: bool = False
) -> tuple[Cost, Behind]:
    """Return the latencies of a blox-bench-DEVICE file, with intervals and grades where its sidecar lies beside it.

    Of networks whose sidecar says grade D there is no latency, unless `doubtful`.

    Raises: ConfigError when file or sidecar cannot be used.
    """
    import numpy as np

    from search.table import Cost
    from space import Architecture
    from space.dataset import read_dataset

    data = read_dataset(path, config=config)
    columns = {key: np.full(len(config), np.nan) for key in ("values", "low", "high")}
    columns["values"][data.indices] = data.array("latency") * 1e3
    sidecar = _sidecar(path.with_suffix(".json"), data.hashes.tolist())
    if sidecar is None:
        cost = Cost(name=name, unit="ms", title=f"latency by {path.name}", values=columns["values"])
        return cost, Behind(origin=str(path), configuration=None, measured=len(data), predicted=0, grades={})
    is_measured = np.zeros(len(config), dtype=np.bool_)
    grades = np.zeros(len(config), dtype="<U1")
    for key, column in (("low_s", "low"), ("high_s", "high")):
        columns[column][data.indices] = [np.nan if v is None else float(v) * 1e3 for v in sidecar[key]]
    is_measured[data.indices] = [source == "measured" for source in sidecar["source"]]
    grades[data.indices] = [grade if grade in "ABCD" else "" for grade in sidecar["grade"]]
    apart = np.flatnonzero(grades == DOUBTFUL)
    told = Doubtful(
        networks=len(apart),
        names=tuple(str(Architecture.from_index(int(index), config)) for index in apart[:NAMED]),
        why={"as the file says": len(apart)} if len(apart) else {},
        taken=doubtful and bool(len(apart)),
    )
    if not doubtful:
        is_measured[apart], grades[apart] = False, ""
        for values in columns.values():
            values[apart] = np.nan
    given = grades[is_measured].tolist()
    cost = Cost(
        name=name,
        unit="ms",
        title=f"latency by {path.name}",
        values=columns["values"],
        low=columns["low"],
        high=columns["high"],
        coverage=FILE_COVERAGE,
        measured=is_measured,
        grades=grades,
    )
    behind = Behind(
        origin=str(path),
        configuration=None,
        measured=int(is_measured.sum()),
        predicted=sidecar["source"].count("predicted"),
        grades={grade: given.count(grade) for grade in "ABCD"},
        doubtful=told,
    )
    return cost, behind


def _sidecar(path: Path, hashes: list[str]) -> dict[str, list[Any]] | None:
    """Return the columns of a file's sidecar, None where there is none. Raises: ConfigError when it is not of this file."""
    remedy = "write both anew with 'harness dataset write', or remove the .json"
    try:
        if not path.is_file():
            return None
        if path.stat().st_size > MAX_SIDECAR_BYTES:
            raise ConfigError(f"{path}: more than {MAX_SIDECAR_BYTES} bytes; {remedy}")
        document = json.loads(path.read_bytes())
        columns = document["columns"]
        found = {key: columns[key] for key in ("graph_hash", "low_s", "high_s", "source", "grade")}
        whole = all(isinstance(values, list) and len(values) == len(hashes) for values in found.values())
        texts = whole and all(isinstance(v, str) for key in ("source", "grade") for v in found[key])
        numbers = whole and all(
            v is None or type(v) is float for key in ("low_s", "high_s") for v in found[key]
        )
        if not (texts and numbers and found["graph_hash"] == hashes):
            raise ConfigError(f"{path}: is not the sidecar of the file beside it; {remedy}")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; {remedy}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{path}: is no sidecar of latencies: {error}; {remedy}") from error
    return found
