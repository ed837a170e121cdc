"""Accuracies in the form of NAS-Bench-Macro's published file (Su et al. 2021, arXiv:2103.11922): JSON, one object a network.

    {"20122101": {"test_acc": [93.02, 92.87, 93.11], "mean_acc": 93.0, "std": 0.0990, "params": 1746122, "flops": 76021760}}

A network's text has a digit for each choice of a space of one's own: the place of a candidate in the choice's list, from 0. In
`test_acc` there is an accuracy in percent for each training, as many for every network; they are the seeds 0, 1, 2. All else is
optional, and compared: `mean_acc` and `std` (of the population) with these accuracies, `params` and `flops` with the space's own
counts. The published `flops` are multiply-accumulates of convolutions and of the linear layer, which is what the space counts;
twice as many, for every network, are the same in the other convention.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from space.accuracies.user_readers import MAX_ROWS, UserTable
from space.architecture import Architecture
from space.config import SpaceConfig
from space.costs import network_cost
from space.errors import DatasetError, shown
from space.indexing import index_of
from space.text import counted
from space.text_files import decoded

ACCURACIES = "test_acc"
_FIELDS = (ACCURACIES, "mean_acc", "std", "params", "flops")
_MAX_CANDIDATES = 10  # a digit names one
_HUGE = 1e300  # whole numbers may be too large for a float
_TOLERANCE = 0.01  # percent: files with two decimals are right, too


def json_source(content: bytes, config: SpaceConfig) -> UserTable:
    """Read the bytes of such a file as a table of architectures (canonical indices), seeds and `test_acc`, a training a row.

    Raises:
        DatasetError: they are no such file, a text names no network of the space, or numbers are not right or contradict each
            other or the space; the message names the network and the remedy.
    """
    if config.chain is None or max(config.radices) > _MAX_CANDIDATES:
        raise DatasetError(
            "a .json is read as NAS-Bench-Macro's, which names networks by a digit for each choice, and space "
            f"{config.name!r} has none of {_MAX_CANDIDATES} candidates at most; name its own space, --space FILE.toml, or "
            "write another table as CSV"
        )
    networks = _networks(content)
    texts = list(networks)
    indices = [_index_of(text, config) for text in texts]
    rows: list[Sequence[float]] = []
    for text, fields in networks.items():
        accuracies = _trainings(text, fields)
        if rows and len(accuracies) != len(rows[0]):
            raise DatasetError(
                f"network {text}: {ACCURACIES} has {len(accuracies)} numbers, and {len(rows[0])} for {texts[0]}; "
                "give every network as many trainings"
            )
        rows.append(accuracies)
    _check_counts(networks, indices, config)
    trainings = len(rows[0])
    if len(rows) * trainings > MAX_ROWS:
        raise DatasetError(
            f"{len(rows)} networks of {trainings} trainings are more than {MAX_ROWS}; keep those needed"
        )
    columns: dict[str, Any] = {
        "architecture": np.repeat(indices, trainings),
        "seed": np.tile(np.arange(trainings, dtype=np.float64), len(rows)),
        ACCURACIES: np.array(rows, dtype=np.float64).ravel(),
    }
    return UserTable(
        titles=tuple(columns),
        rows=len(rows) * trainings,
        cells=lambda title: columns[title].tolist(),
        numbers=lambda title: columns[title],
        is_numeric=lambda title: title != "architecture",
        place=lambda row: f"network {texts[row // trainings]}",
    )


def _networks(content: bytes) -> Mapping[str, Mapping[str, object]]:
    """Return the fields of each network by its text, unchecked but for their names."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            twice = next(name for name, count in counts.items() if count > 1)
            raise DatasetError(f"{shown(twice)} stands twice in one object; keep one")
        return found

    try:
        networks = json.loads(decoded(content), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:  # a number may also have too many digits
        raise DatasetError(f"is not JSON: {error}; write it again") from error
    form = f"write {{text: {{{ACCURACIES}: [...], mean_acc, std, params, flops}}}}, as NAS-Bench-Macro's file does"
    if not isinstance(networks, dict) or not networks:
        raise DatasetError(f"holds {shown(networks)} and no object of networks; {form}")
    for text, fields in networks.items():
        if not isinstance(fields, dict) or ACCURACIES not in fields or set(fields) - set(_FIELDS):
            raise DatasetError(f"network {shown(text)} = {shown(fields)}; {form}")
    return networks


def _index_of(text: str, config: SpaceConfig) -> int:
    """Return the canonical index of the network that a text of digits names."""
    if len(text) != config.stages or not (text.isascii() and text.isdigit()):
        raise DatasetError(
            f"network {shown(text)}: space {config.name!r} has {counted(config.stages, 'choice')}; write a digit for each"
        )
    blocks = []
    for choice, (digit, places) in enumerate(zip(map(int, text), config.choices, strict=True)):
        if digit >= len(places):
            known = ", ".join(f"{number} {config.blocks[place]}" for number, place in enumerate(places))
            raise DatasetError(
                f"network {text}: choice {choice + 1} has no candidate {digit}; it has {known}"
            )
        blocks.append(places[digit])
    return index_of(config, blocks)


def _trainings(text: str, fields: Mapping[str, object]) -> list[float]:
    """Return a network's accuracies, checked, and its mean and standard deviation with them."""
    given = fields[ACCURACIES]
    if not isinstance(given, list) or not given:
        raise DatasetError(
            f"network {text}: {ACCURACIES} = {shown(given)}; give a list of one number for each training"
        )
    found = [_number(one) for one in given]
    for one, value in zip(given, found, strict=True):
        if not 0 <= value <= 100:  # nor is NaN
            raise DatasetError(
                f"network {text}: {ACCURACIES} = {shown(one)} is not percent from 0 to 100; correct it"
            )
    for name, right in (("mean_acc", float(np.mean(found))), ("std", float(np.std(found)))):
        if not abs(_number(fields.get(name, right)) - right) <= _TOLERANCE:
            raise DatasetError(
                f"network {text}: {name} = {shown(fields[name])}, and its {ACCURACIES} {shown(given)} make {right:.4f}; correct "
                f"one of them, or leave {name} out"
            )
    return found


def _check_counts(
    networks: Mapping[str, Mapping[str, object]], indices: Sequence[int], config: SpaceConfig
) -> None:
    """Compare the parameters and operations that a file tells with those that the space counts."""
    costs = [network_cost(config, index) for index in indices]
    first = next(iter(networks.values())).get("flops")
    unit = 2 if first == 2 * costs[0].macs else 1
    for (text, fields), index, cost in zip(networks.items(), indices, costs, strict=True):
        for name, right in (("params", cost.params), ("flops", unit * cost.macs)):
            value = fields.get(name, right)
            if isinstance(value, bool) or value != right:
                raise DatasetError(
                    f"network {text}: {name} = {shown(value)}, and space {config.name!r} counts {right} for "
                    f"{Architecture.from_index(index, config)}: the file is of other networks, has candidates in another order, "
                    f"or counts otherwise; name its own space, or leave {name} out of the file where only the counting differs"
                )


def _number(value: object) -> float:
    """Return a value as a float, NaN for what is no number."""
    return float(value) if type(value) in (int, float) and abs(value) < _HUGE else np.nan  # type: ignore[arg-type]
