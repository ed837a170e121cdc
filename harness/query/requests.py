"""Requests of gates and comparisons, checked where they are made: quickly, for nothing is imported here that measures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from harness.devices.config import PRECISIONS
from harness.models.file_names import find_files, is_file_name, is_one_file
from space.atomic_files import check_output_file
from space.errors import ConfigError

DEFAULT_RULE = "latency > +3%"
_RULE = re.compile(r"\s*(latency|memory|size)\s*>\s*\+?([0-9]{1,6}(?:\.[0-9]{1,6})?)\s*%\s*")

Metric = Literal["latency", "memory", "size"]
Compared = Literal["networks", "files", "precisions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rule of failing: a latency, a peak memory, or a file's size, that grew by more than `limit`, a share."""

    metric: Metric
    limit: float

    @classmethod
    def parse(cls, text: str) -> Rule:
        """Return the rule of a text such as `latency > +3%`. Raises: ConfigError."""
        found = _RULE.fullmatch(text)
        if found is None:
            raise ConfigError(
                f"--fail-if {text!r}: no rule; write e.g. --fail-if 'latency > +3%', 'memory > +5%' or 'size > +1%'"
            )
        metric = next(one for one in get_args(Metric) if one == found[1])
        return cls(metric=metric, limit=float(found[2]) / 100)

    def __str__(self) -> str:
        """Return the rule as it is written."""
        return f"{self.metric} > +{self.limit * 100:g}%"


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRequest:
    """Request of a gate: `files` judged by a `baseline` file and the rules of `fail_if`, or the baseline file to `write`.

    `junit`: a file that is to take the checks. `memory`: measure that of the files of a new baseline.
    Raises: ConfigError for what contradicts each other, or a file that is not there, or cannot be written.
    """

    files: tuple[str, ...]
    baseline: Path | None = None
    write: Path | None = None
    fail_if: tuple[str, ...] = ()
    junit: Path | None = None
    memory: bool = False

    def __post_init__(self) -> None:
        if (self.baseline is None) == (self.write is None):
            raise ConfigError(
                "give --baseline FILE.json to judge by, or --write FILE.json to make one: one of them"
            )
        if self.write is not None and (self.fail_if or self.junit is not None):
            option = "--fail-if" if self.fail_if else "--junit"
            raise ConfigError(f"{option} is for --baseline: leave it out where --write makes one")
        if self.memory and self.write is None:
            raise ConfigError("--memory is for --write: a rule such as --fail-if 'memory > +5%' measures it")
        for path, kind in ((self.junit, ".xml"), (self.write, ".json")):
            check_output_file(path, kind, inputs=filter(None, [self.baseline]))
        find_files(filter(is_one_file, self.files))
        for text in self.fail_if:
            Rule.parse(text)


def check_compared(first: str, second: str, *, precision: str = "", configuration: str = "") -> Compared:
    """Return the kind of two names that are compared.

    Raises: ConfigError where the two are not of a kind, or for a choice that is of networks.
    """
    named = [text for text in (first, second) if text in PRECISIONS]
    if not named:
        if not any(map(is_file_name, (first, second))):
            return "networks"
        check_files((first, second), precision, configuration)
        return "files"
    if len(named) < 2:
        raise ConfigError(
            f"{first} and {second}: {named[0]} is a precision; name two precisions, or two networks"
        )
    if precision or configuration:
        option = "--precision" if precision else "--configuration"
        raise ConfigError(
            f"{option}: all configurations in {first} are compared with those in {second}; narrow them by --device, --runtime, "
            "--threads and --space"
        )
    return "precisions"


def check_files(names: Sequence[str], precision: str, configuration: str) -> None:
    """Raise ConfigError where one of two names is no model file, or for a choice that is of networks."""
    odd = next((name for name in names if not is_file_name(name)), "")
    if configuration or odd:
        why = f" ({odd} is no model file, which ends with .onnx, .tflite or .pt2)" if odd else ""
        raise ConfigError(
            f"{' and '.join(names)}: two model files are timed against each other on a device, and networks are compared on "
            f"a configuration; name two of a kind{why}"
        )
    if precision:
        raise ConfigError("--precision is of networks: a model file has its own, leave it out")
