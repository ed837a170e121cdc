"""Expected outputs of networks and segments on the agent's fixed input, as torch computes them from the exported weights.

torch runs in a process of its own, which is started when a value is wanted that nobody has computed yet, and waits idle between
requests. Values are kept beside the fragments, a line a network: CRC-32, then JSON. A line that is damaged counts as absent.
"""

from __future__ import annotations

import contextlib
import json
import threading
import weakref
import zlib
from collections.abc import Sequence
from itertools import pairwise
from math import isfinite, prod
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from exporters.cache import cache_key
from exporters.conversion import EXPORTER_VERSION, converter_versions, weights_document
from exporters.errors import ConversionError
from exporters.formats import Format
from exporters.processes import AnsweringProcess, ProcessEnded, are_kept, give_back, take
from exporters.weights import Weights
from space import SpaceConfig

# What outputs are judged by, as the agent tells it (device_agents.runtimes.loaded): sums of each output, of how many outputs, of
# how many values at most, of how many groups of a batch's images, and the signs in them.
OUTPUT_VALUES = 8
OUTPUTS = 8
MOST_VALUES = 1 << 20
IMAGE_GROUPS = 64
PERIOD = 61
SIGNS = [
    1 if place < OUTPUT_VALUES or pow(place, PERIOD // 2, PERIOD) == 1 else -1 for place in range(PERIOD)
]
JUDGED_VERSION = 2  # 1: the first eight values of the first output


def fixed_image(shape: Sequence[int], begin: int = 0) -> npt.NDArray[np.float32]:
    """Return the agent's fixed input, float32 in [-1, 1): what its `fixed_input` gives for torch's order of axes.

    begin: how many images of a larger batch come before these.
    """
    first = begin * prod(shape[1:])
    order = np.arange(first, first + prod(shape), dtype=np.uint32)
    mixed = order * np.uint32(2654435761)  # Knuth's multiplicative hash
    mixed = (mixed ^ (mixed >> np.uint32(15))) * np.uint32(2246822519)  # a round of xxHash32's finish
    mixed ^= mixed >> np.uint32(13)
    unit = (mixed >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)
    return (unit * np.float32(2) - np.float32(1)).reshape(tuple(shape))


def judged_parts(output: npt.NDArray[Any], batch: int = 1) -> list[npt.NDArray[np.float64]]:
    """Return the values (n,) of an output that the agent's sums are of, for each group of a batch's images.

    Of more than `MOST_VALUES` in all every second one, or third, and so on.
    """
    groups = image_groups(batch) if output.ndim and len(output) == batch else [(0, 1)]
    images = output.reshape(groups[-1][1], -1)
    flat = [images[begin:end].reshape(-1).astype(np.float64) for begin, end in groups]
    return [part[:: max(1, -(-part.size * len(groups) // MOST_VALUES))] for part in flat]


def image_groups(images: int) -> list[tuple[int, int]]:
    """Return beginning and end of the groups of a batch's images: each image of up to 64, else the first, the last, and
    groups of those between.
    """
    between = IMAGE_GROUPS - 2
    cuts = {1 + (images - 2) * place // between for place in range(between + 1)} if images > 1 else set()
    return list(pairwise(sorted(cuts | {0, images})))


def output_sums(values: npt.NDArray[np.float64]) -> list[float]:
    """Return the eight sums of some values (n,) that the agent tells of them: each value in one of them, with its sign."""
    sums = [0.0] * OUTPUT_VALUES
    for place in range(min(PERIOD, values.size)):
        sums[place % OUTPUT_VALUES] += SIGNS[place] * float(values[place::PERIOD].sum())
    return sums


class ExpectedOutputs:
    """Expected outputs of one space's networks and segments with some weights, kept below a folder; safe in threads."""

    def __init__(self, *, cache_dir: Path, config: SpaceConfig, weights: Weights) -> None:
        facts = {
            "exporter": EXPORTER_VERSION,
            "judged": JUDGED_VERSION,
            "torch": converter_versions("onnx")["torch"],
            "space": config.to_plain() if config.chain is None else config.chain.digest,
            "weights": weights.identity,
        }
        self._request = {"config": config.to_plain(), "weights": weights_document(weights)}
        self._path = cache_dir / "expected" / f"{cache_key(facts)}.jsonl"
        self._values: dict[str, dict[str, list[float]]] | None = None
        self._process: AnsweringProcess | None = None
        self._lock = threading.Lock()

    def of(self, name: str, model_format: Format, batch: int = 1) -> tuple[float, ...]:
        """Return the sums that judge the output of a network or a segment, by its text, in the format's order of axes.

        Of a `batch` they are of each group of images.
        Raises: ConversionError when torch is absent or fails, or the weights do not fit.
        """
        kept = name if batch == 1 else f"{name} in {IMAGE_GROUPS} groups of a batch of {batch}"
        with self._lock:
            if self._values is None:
                self._values = read_values(self._path)
            if kept not in self._values:
                self._values[kept] = self._ask(name, batch)
                append_values(self._path, kept, self._values[kept])
            return tuple(self._values[kept][model_format])

    def _ask(self, name: str, batch: int) -> dict[str, list[float]]:
        process = self._process or take("exporters.expected_worker")
        try:
            (answer,) = process.ask(self._request | {"name": name, "batch": batch})
        except ProcessEnded as ended:
            raise ConversionError(f"torch's process for expected outputs: {ended}") from None
        if are_kept():  # others may ask it meanwhile
            self._process = None
            give_back(process)
        elif self._process is None:
            self._process = process
            weakref.finalize(self, give_back, process)
        if "error" in answer:
            raise ConversionError(answer["error"])
        return answer


def read_values(path: Path) -> dict[str, dict[str, list[float]]]:
    """Return the values by name that a file holds whole; none where there is no file."""
    found = {}
    try:
        lines = path.read_bytes().splitlines()
    except OSError:
        return {}
    for line in lines:
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text) and (kept := _kept(text)) is not None:
            found[kept[0]] = kept[1]
    return found


def append_values(path: Path, name: str, values: dict[str, list[float]]) -> None:
    """Add a line to a file, in one write; where nothing can be written, the value is computed again another time."""
    text = json.dumps({"name": name} | values).encode()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab", buffering=0) as file:
            file.write(b"%08x %s\n" % (zlib.crc32(text), text))


def _kept(text: bytes) -> tuple[str, dict[str, list[float]]] | None:
    """Return the name and the values of a line, None where it holds anything else."""
    try:
        document = json.loads(text)
        name = document.pop("name")
        lists = list(document.values())
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError):
        return None
    are_finite = all(
        isinstance(values, list) and all(type(value) in (int, float) and isfinite(value) for value in values)
        for values in lists
    )
    return (name, document) if isinstance(name, str) and are_finite else None
