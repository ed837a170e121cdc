"""Graph hashes of whole columns: hexadecimal text, digests and places in the canonical order, all rows at once."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from space import hash_table
from space.config import SpaceConfig
from space.errors import DatasetError, shown
from space.hash_table import DIGEST_BYTES

_HEX = re.compile(r"[0-9a-fA-F]*")


def check_space(config: SpaceConfig) -> None:
    """Refuse a space whose hashes would take too long to compute.

    Raises:
        DatasetError: the space has too many networks.
    """
    if not hash_table.is_hashed_whole(config):
        raise DatasetError(
            f"the {len(config)} networks of space {config.name!r} are too many to join by hash; "
            f"use a space of at most {hash_table.MAX_COMPUTED}"
        )


def digests_of(texts: Sequence[str]) -> NDArray[np.uint8]:
    """Return the digests of hashes written in hexadecimal: (rows, 16) bytes.

    Raises:
        DatasetError: a text is no hash; the message names its row.
    """
    joined = "".join(texts)
    if set(map(len, texts)) - {2 * DIGEST_BYTES} or not _HEX.fullmatch(joined):
        for row, text in enumerate(texts, start=1):
            if len(text) != 2 * DIGEST_BYTES or not _HEX.fullmatch(text):
                raise DatasetError(
                    f"row {row}: hash {shown(text)} is not 32 hexadecimal characters; "
                    "the file is damaged: download or write it again"
                )
    return np.frombuffer(bytes.fromhex(joined), np.uint8).reshape(-1, DIGEST_BYTES)


def indices_of_digests(digests: NDArray[np.uint8], config: SpaceConfig) -> NDArray[np.int64]:
    """Return the places in the canonical order of the networks with these digests: (rows, 16) -> (rows,).

    Raises:
        DatasetError: no network of the space has a digest; the message names its row.
    """
    check_space(config)
    ordered, places = _ordered(config)
    wanted = np.ascontiguousarray(digests).view(f"S{DIGEST_BYTES}").reshape(-1)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    unknown = np.flatnonzero(ordered[at] != wanted)
    if unknown.size:
        row = int(unknown[0])
        raise DatasetError(
            f"row {row + 1}: hash {digests[row].tobytes().hex()}: no network of space {config.name!r} has it; "
            "read the file with the space that it was made for, or remove the row"
        )
    return places[at]


def digests_at(indices: NDArray[np.int64], config: SpaceConfig) -> NDArray[np.uint8]:
    """Return the digests of the networks at these places of the canonical order: (rows,) -> (rows, 16).

    Of a space too large to hash whole they are computed one by one.

    Raises:
        DatasetError: they are too many for that.
    """
    if not hash_table.is_hashed_whole(config):
        if len(indices) > hash_table.MAX_COMPUTED:
            check_space(config)
        joined = "".join(hash_table.hash_at(config, index) for index in indices.tolist())
        return np.frombuffer(bytes.fromhex(joined), np.uint8).reshape(-1, DIGEST_BYTES)
    content = hash_table.all_digests(config)
    digests: NDArray[np.uint8] = np.frombuffer(content, np.uint8).reshape(-1, DIGEST_BYTES)[indices]
    return digests


def texts_of(digests: NDArray[np.uint8]) -> NDArray[np.str_]:
    """Return digests, (rows, 16), as hexadecimal text: (rows,) of 32 characters."""
    text = digests.tobytes().hex().encode("utf-32-le")
    return np.frombuffer(text, f"<U{2 * DIGEST_BYTES}")


@lru_cache(maxsize=8)
def _ordered(config: SpaceConfig) -> tuple[NDArray[np.bytes_], NDArray[np.int64]]:
    """Return all digests of a space in rising order, and the place of each in the canonical order: of equal ones the first."""
    digests = np.frombuffer(hash_table.all_digests(config), f"S{DIGEST_BYTES}")
    places = np.argsort(digests, kind="stable")
    return digests[places], places
