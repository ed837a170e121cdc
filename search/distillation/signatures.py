"""Signatures: scores of every block in every stage, measured once it was distilled; a table for each kind of score."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

import numpy as np

from space import ArchitectureError, SpaceConfig
from space.atomic_files import write_file
from space.errors import ConfigError, did_you_mean
from space.indexing import FloatArray
from space.text_files import read_text

FORMAT = "blockwise-signatures"
VERSION = 1
TRAIN_LOSS_CHANGE = "train_loss_change"
COLUMNS: Mapping[str, str] = MappingProxyType(
    {
        "mse": "mean squared error to the teacher's stage output, held-out images",
        "nsr": "noise to signal: each channel's mean squared error over its variance, mean over channels",
        "loss_change": "loss of the teacher with the block in its stage, minus the teacher's; lower is better",
        TRAIN_LOSS_CHANGE: "loss_change on the training images, as LANA is published; computed where it is asked for",
        "accuracy_change": "top-1 of the teacher with the block in its stage, minus the teacher's, in points",
        "agreement": "images that get the teacher's class with the block in its stage, in percent",
        "params": "parameters of the block and the rest of its stage, a reduction or fixed sites",
        "macs": "multiply-accumulates of the block and the rest of its stage, for one image",
    }
)
LATENCY = "latency:"  # followed by a name: latencies of blocks in ms on a device
_LATENCY_NAME = re.compile(re.escape(LATENCY) + r"\S(.*\S)?")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Signatures:
    """Scores of each block in each stage: `columns`, name -> float64 (stages, B), NaN where unknown.

    The names are those of `COLUMNS`, and "latency:NAME" in ms. `teacher` is the digest of the trained network that the
    blocks learned from, `task` the name of its images; `notes` are free texts on the origin of the numbers.

    Raises:
        ConfigError: a column has another name or shape, or a value that is infinite; no teacher or task is named.
    """

    config: SpaceConfig
    teacher: str
    task: str
    columns: Mapping[str, FloatArray]
    notes: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("teacher", "task"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value:
                raise ConfigError(f"signatures: {name} = {value!r}; name the {name} they were taken with")
        for name, note in self.notes.items():
            if not isinstance(name, str) or not isinstance(note, str):
                raise ConfigError(f"signatures: note {name!r} = {note!r}; give texts under names")
        checked = {name: self._checked(name, values) for name, values in self.columns.items()}
        object.__setattr__(self, "columns", checked)
        object.__setattr__(self, "notes", dict(self.notes))

    @property
    def shape(self) -> tuple[int, int]:
        """(stages, B): the shape of every column."""
        return self.config.stages, len(self.config.blocks)

    @property
    def digest(self) -> str:
        """The SHA-256 of the JSON text, 64 hexadecimal characters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    def column(self, name: str) -> FloatArray:
        """Return a column, (stages, B), NaN where unknown; it cannot be written to.

        Raises:
            ConfigError: there is none of this name.
        """
        if name not in self.columns:
            raise ConfigError(
                f"signatures have no column {name!r}{did_you_mean(name, self.columns)} "
                f"(there are: {', '.join(self.columns) or 'none'})"
            )
        return self.columns[name]

    def with_columns(self, columns: Mapping[str, FloatArray]) -> Signatures:
        """Return these signatures with columns added or replaced, such as a device's "latency:NAME" in ms."""
        return dataclasses.replace(self, columns={**self.columns, **columns})

    def to_json(self) -> str:
        """Return all of it as JSON text, keys sorted, null where unknown; `from_json` gives back the same bits."""
        columns = {
            name: [[None if value != value else value for value in row] for row in values.tolist()]
            for name, values in self.columns.items()
        }
        content = {
            "format": FORMAT,
            "version": VERSION,
            "space": {"chain": None, **self.config.to_plain()},
            "teacher": self.teacher,
            "task": self.task,
            "columns": columns,
            "notes": dict(self.notes),
        }
        return json.dumps(content, sort_keys=True, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> Signatures:
        """Read what `to_json` wrote.

        Raises:
            ConfigError: the text is no JSON of signatures, of another version, or a value is not allowed.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"signatures: the text is not JSON: {e}; score the library again") from e
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ConfigError(f"signatures: the text is no {FORMAT}; give a file of block signatures")
        if found.get("version") != VERSION:
            raise ConfigError(
                f"signatures: version {found.get('version')!r} cannot be read, only {VERSION}; "
                "score the library again with this release"
            )
        try:
            return cls(
                config=SpaceConfig(**found["space"]),
                teacher=found["teacher"],
                task=found["task"],
                columns={name: _table(name, rows) for name, rows in found["columns"].items()},
                notes=found["notes"],
            )
        except (KeyError, TypeError, AttributeError, ArchitectureError) as e:
            raise ConfigError(
                f"signatures: the text cannot be used: {type(e).__name__}: {e}; score the library again"
            ) from e

    def save(self, path: str | Path) -> None:
        """Write the JSON text, whole or not at all.

        Raises:
            ConfigError: the file cannot be written.
        """
        write_file(Path(path), (self.to_json() + "\n").encode())

    @classmethod
    def load(cls, path: str | Path) -> Signatures:
        """Read a file that `save` wrote.

        Raises:
            ConfigError: names the file: it cannot be read, or holds no signatures.
        """
        text = read_text(Path(path), remedy="score a library first")
        try:
            return cls.from_json(text)
        except ConfigError as e:
            raise ConfigError(f"{path}: {e}") from e

    def _checked(self, name: str, values: FloatArray) -> FloatArray:
        """Return a column as float64 of its own that cannot be written to."""
        if name not in COLUMNS and not _LATENCY_NAME.fullmatch(name):
            raise ConfigError(
                f"signatures: no column is named {name!r}{did_you_mean(name, COLUMNS)} "
                f"(there are: {', '.join(COLUMNS)}, and {LATENCY}NAME)"
            )
        table = np.array(values, dtype=np.float64)
        if table.shape != self.shape:
            raise ConfigError(
                f"signatures: column {name!r} has shape {table.shape}; space {self.config.name!r} has "
                f"{self.shape[0]} stages of {self.shape[1]} blocks"
            )
        if np.isinf(table).any():
            stage, block = np.argwhere(np.isinf(table))[0].tolist()
            raise ConfigError(
                f"signatures: {name} of {self.config.blocks[block]} in stage {stage} is {table[stage, block]}; "
                "give a finite number, or NaN where it is unknown"
            )
        table.flags.writeable = False
        return table


def _table(name: str, rows: object) -> FloatArray:
    """Return a column from JSON's rows, null as NaN.

    Raises:
        ConfigError: it holds something that is no number.
    """
    try:
        table = np.array(rows, dtype=object)
        known = np.array([[value is not None for value in row] for row in table], dtype=np.bool_)
        if any(type(value) not in (int, float) for value in table[known]):
            raise ValueError("not all are numbers or null")
        return np.where(known, table, np.nan).astype(np.float64)
    except (ValueError, TypeError, OverflowError) as e:
        raise ConfigError(
            f"signatures: column {name!r} is no table of numbers: {e}; score the library again"
        ) from e
