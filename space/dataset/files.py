"""Read and write published data files; the suffix names the format."""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from space.architecture import BLOX
from space.atomic_files import write_file
from space.config import SpaceConfig
from space.dataset import csv_rows, custom_rows, pickle_rows
from space.dataset.header import HEADER_BYTES, Header, header_bytes, parse_header
from space.dataset.keys import check_space, indices_of_digests
from space.dataset.model import Dataset
from space.dataset.schema import kinds_of
from space.errors import DatasetError
from space.system_errors import with_remedy
from space.text_files import suffix_of, unpacked

IS_PICKLE = "is a pickle, a format made to run code; read the .blox or .csv file of the same name, or set allow_pickle"
_MAX_FILE_BYTES = 1 << 30  # the largest published file, lists of 200 epochs as text, has some 800 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class _Format:
    """Name a format as headers do, and how its rows become bytes and values again."""

    name: str
    encode: Callable[[Dataset], tuple[dict[str, str], bytes]]
    decode: Callable[
        [bytes, Header, SpaceConfig, Collection[str] | None], tuple[NDArray[np.uint8], dict[str, object]]
    ]


_FORMATS: Mapping[str, _Format] = {
    ".blox": _Format(name="custom", encode=custom_rows.encode, decode=custom_rows.decode),
    ".csv": _Format(name="csv", encode=csv_rows.encode, decode=csv_rows.decode),
    ".pickle": _Format(name="pickle", encode=pickle_rows.encode, decode=pickle_rows.decode),
}


def read_dataset(
    path: str | PathLike[str],
    *,
    allow_pickle: bool = False,
    config: SpaceConfig = BLOX,
    columns: Collection[str] | None = None,
) -> Dataset:
    """Read a published data file whole; a file that is damaged or hostile is an error and nothing else.

    Of a file's columns only those in `columns` are kept and, but for what they share with others, checked: lists of
    200 epochs take their time and memory. None: all of them.
    The header tells a space's stages and ops, not its widths: name the `config` that the file was made for. A
    `.pickle` file is read without running anything that it says, and only where `allow_pickle` is set. A
    `.csv` file that was cut between two rows cannot be told from a shorter one: compare the number of rows.

    Raises:
        DatasetError: the file cannot be read, or is not what its suffix and header claim; the message names
            the file, the place and the remedy.
    """
    path = Path(path)
    try:
        chosen = _format_to_read(path)
        if chosen.name == "pickle" and not allow_pickle:
            raise DatasetError(IS_PICKLE)
        check_space(config)
        header, payload = _contents(path, config)
        if header.format != chosen.name:
            raise DatasetError(
                f"has format {header.format!r}, but its suffix {path.suffix} means {chosen.name!r}; "
                "give the file the suffix of its format"
            )
        if columns is not None and not set(header.columns) & set(columns):
            raise DatasetError(
                f"has none of the columns {', '.join(sorted(columns))}; its columns are {', '.join(header.columns)}"
            )
        digests, values = chosen.decode(payload, header, config, columns)
        if not len(digests):
            raise DatasetError("holds no row; it was cut: download or write it again")
        return Dataset(
            dataset_type=header.dataset_type,
            indices=indices_of_digests(digests, config),
            columns=values,  # type: ignore[arg-type]  # made into columns there
            extra=header.extra,
            config=config,
        )
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error


def read_header(path: str | PathLike[str], *, config: SpaceConfig | None = BLOX) -> Header:
    """Read the header of a published data file, and none of its rows.

    Raises:
        DatasetError: the file cannot be read, or has no header of this space; None: any space will do.
    """
    path = Path(path)
    try:
        _format_to_read(path)
        with _opened(path) as file:
            return parse_header(file.read(HEADER_BYTES), config)[0]
    except DatasetError as error:
        raise type(error)(f"{path}: {error}") from error


def write_dataset(path: str | PathLike[str], dataset: Dataset) -> None:
    """Write a data file in the format that its suffix names, in place of any file there.

    `.csv` and `.pickle` keep every number; `.blox` rounds floats to a millionth. The file appears whole under
    its name or not at all.

    Raises:
        DatasetError: the suffix names no format, a number does not fit, or the file cannot be written.
    """
    path = Path(path)
    try:
        chosen = _format_of(path)
        types, payload = chosen.encode(dataset)
        header = Header(
            dataset_type=dataset.dataset_type,
            columns=tuple(dataset.columns),
            extra=dataset.extra,
            format=chosen.name,
            column_types=types,
        )
        content = header_bytes(header, dataset.config) + payload
    except DatasetError as error:
        raise DatasetError(f"{path}: {error}") from error
    write_file(path, content, error=DatasetError)


def _format_to_read(path: Path) -> _Format:
    """Return a file's format by its suffix; one that names none is of less interest where there is no file."""
    if "\0" not in str(path) and suffix_of(path) not in _FORMATS:
        with _opened(path):
            pass
    return _format_of(path)


def _format_of(path: Path) -> _Format:
    if "\0" in str(path):
        raise DatasetError("holds a zero character, which no path does; check the path")
    if suffix_of(path) not in _FORMATS:
        raise DatasetError(
            f"has the suffix {path.suffix!r}, which names no format; use {', '.join(_FORMATS)}"
        )
    return _FORMATS[suffix_of(path)]


def _contents(path: Path, config: SpaceConfig) -> tuple[Header, bytes]:
    """Return a file's header, and its other bytes if they are no more than the columns can need."""
    with _opened(path) as file:
        head = file.read(HEADER_BYTES)
        header, size = parse_header(head, config)
        kinds = kinds_of(header.dataset_type, header.columns).values()
        row = sum(kind.max_characters(config) for kind in kinds) + 64  # and the hash
        limit = min(_MAX_FILE_BYTES, HEADER_BYTES + row * len(config))
        packed = isinstance(file, gzip.GzipFile)  # its size is known when it is unpacked
        found = limit if packed else os.fstat(file.fileno()).st_size
        file.seek(size)
        payload = b"" if found > limit else file.read(found - size)  # no more, should the file be growing
        if found > limit or (packed and file.read(1)):
            raise DatasetError(
                f"holds {found}{' or more' * packed} bytes, and {len(config)} rows of these columns need no more than "
                f"{limit}; do not trust the file"
            )
        return header, payload


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    """Open a regular file to be read; what the system refuses meanwhile is a DatasetError."""
    try:
        # A pipe would wait for its other end, were it opened first.
        if not stat.S_ISREG(path.stat().st_mode):
            raise DatasetError("is not a regular file; give the path of a data file")
        with path.open("rb") as file:
            yield unpacked(file, path)
    except (OSError, EOFError, zlib.error) as error:
        raise DatasetError(f"cannot be read: {with_remedy(error, 'check the path')}") from error
