"""Files of arrays that people give, .npz: plain ones alone, of bounded size, damaged or hostile as they may be."""

from __future__ import annotations

import tokenize
import zipfile
import zlib
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from space.errors import ConfigError
from space.text import reason_of

# What zipfile and numpy were seen to raise for damaged archives and headers.
DAMAGED = (
    *(zipfile.BadZipFile, zlib.error, tokenize.TokenError, EOFError, SyntaxError, TypeError),
    *(ValueError, KeyError, ArithmeticError, RuntimeError, MemoryError),
)


def read_arrays(
    path: Path, limit_bytes: int, names: Collection[str] | None = None
) -> dict[str, NDArray[np.generic]]:
    """Return the arrays of a file by name, all or the given `names` that it has; at most `limit_bytes`, packed or unpacked.

    Raises: ConfigError with the path and what is wrong, without a remedy: the caller knows what the file is for.
    """
    try:
        if path.exists() and not path.is_file():  # a FIFO would be waited for, a device may have no end
            raise ConfigError(f"{path} is no plain file")
        if (packed_bytes := path.stat().st_size) > limit_bytes:
            raise ConfigError(f"{path} has {packed_bytes} bytes, more than {limit_bytes}")
        with zipfile.ZipFile(path) as archive:
            wanted = [
                entry
                for entry in archive.infolist()
                if names is None or entry.filename.removesuffix(".npy") in names
            ]
        size_bytes = sum(entry.file_size for entry in wanted)
        if size_bytes > limit_bytes:
            raise ConfigError(f"{path} has {size_bytes} bytes of arrays, more than {limit_bytes}")
        with np.load(path, allow_pickle=False) as file:
            found = {name: file[name] for name in file.files if names is None or name in names}
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror or error}") from error
    except DAMAGED as error:
        raise ConfigError(
            f"{path} is no .npz of plain arrays, or a damaged one ({reason_of(error)})"
        ) from error
    for name, array in found.items():
        if not isinstance(array, np.ndarray):  # an entry that is not in numpy's format comes as bytes
            raise ConfigError(f"{path}: {name!r} is no array")
    return found
