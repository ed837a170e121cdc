"""Constraints on costs of networks: `pixel<8ms`, `params<=3M`, `tflite-size<9MB`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from math import isfinite
from numbers import Real

import numpy as np
from numpy.typing import NDArray

from search.table.table import Cost, NetworkTable
from space.errors import ConfigError, did_you_mean
from space.indexing import BoolArray

LATENCY_UNIT = "ms"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostKind:
    """A cost besides latency: the unit of its numbers, and its title for people.

    Of one that is measured: the `field` of a row that has it, its `column` in tables, in `scale` times the unit, the
    `option` that measures it, and whether it is predicted where it is not measured.
    """

    unit: str
    title: str
    field: str = ""
    column: str = ""
    scale: float = 1.0
    option: str = "--memory"
    is_predicted: bool = False


# What a network costs by itself. Any other subject is a device's latency, in ms, or what a network takes alone in a fresh process
# there, or the energy of an inference, behind a colon: `pixel:memory`, `pixel:tflite:load`.
PROPERTIES: Mapping[str, CostKind] = {
    "params": CostKind(unit="", title="parameters"),
    "macs": CostKind(unit="", title="multiply-accumulates of one image"),
    "memory": CostKind(
        unit="bytes", title="memory of weights and feature maps of one image in fp32, by arithmetic"
    ),
    "onnx-size": CostKind(unit="bytes", title="size of the ONNX file"),
    "tflite-size": CostKind(unit="bytes", title="size of the TFLite file"),
}
# Of 40 networks, predicted from 30 others, memory was off by 0.3 % (median) and 1.4 % at most; load times by 3 % and 30 %, first
# runs by 6 % and 16 %, and too few lay within their intervals. Energy adds up over blocks as time does.
FRESH: Mapping[str, CostKind] = {
    "memory": CostKind(
        unit="bytes",
        title="peak memory",
        field="memory_bytes",
        column="memory MB",
        scale=1e6,
        is_predicted=True,
    ),
    "load": CostKind(unit="ms", title="load time", field="load_ms", column="load ms"),
    "first-run": CostKind(unit="ms", title="first run", field="fresh_first_run_ms", column="first run ms"),
    "energy": CostKind(
        unit="mJ", title="energy", field="energy_mj", column="energy mJ", option="--energy", is_predicted=True
    ),
}
# Suffixes that may be typed, with their factors, by the unit of the numbers.
UNITS: Mapping[str, Mapping[str, float]] = {
    "ms": {"ns": 1e-6, "us": 1e-3, "ms": 1.0, "s": 1e3},
    "bytes": {"B": 1.0, "KB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30},
    "mJ": {"uJ": 1e-3, "mJ": 1.0, "J": 1e3},
    "": {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9},
}
EXACT = 15  # digits that tell what was typed
LEAST_COUNT = 1e3  # no network has fewer parameters or operations: who writes 3 means 3M
_RELATIONS = {"<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal}
_EXAMPLES = {"ms": "8ms", "bytes": "12MB", "mJ": "50mJ", "": "3M"}
_CONSTRAINT = re.compile(r"(?P<subject>[^<>=]+)(?P<relation><=|>=|<|>)(?P<amount>[^<>=]+)")
_AMOUNT = re.compile(r"(?P<number>[0-9]+\.?[0-9]*(?:[eE][+-]?[0-9]+)?|\.[0-9]+)\s*(?P<unit>[^0-9.]*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Constraint:
    """Limit on a cost: `relation` is one of `<`, `<=`, `>`, `>=`; `limit` is in ms, bytes, mJ or a count, as `unit` tells.

    Raises: ConfigError for another relation or unit, or what is no finite number.
    """

    subject: str
    relation: str
    limit: float
    unit: str

    def __post_init__(self) -> None:
        is_number = isinstance(self.limit, Real) and isfinite(self.limit)
        if not is_number or self.relation not in _RELATIONS or self.unit not in UNITS:
            raise ConfigError(
                f"limit on {self.subject!r}: {self.relation!r} {self.limit!r} in {self.unit!r}; give <, <=, > or >=, a "
                "number, and its unit: "
                "'ms', 'bytes', 'mJ', or '' of counts; or write a text such as 'pixel<8ms'"
            )

    @property
    def is_upper(self) -> bool:
        """Whether the limit is an upper bound."""
        return self.relation.startswith("<")

    def __str__(self) -> str:
        return f"{self.subject}{self.relation}{amount_text(self.limit, self.unit)}"

    def holds(self, values: NDArray[np.float64]) -> BoolArray:
        """Return which values are within the limit, same shape; NaN is not."""
        return np.asarray(_RELATIONS[self.relation](values, self.limit), dtype=np.bool_)


def split_subject(subject: str) -> tuple[str, str]:
    """Return the device that a subject names, and which of `FRESH` is asked of it, empty for its latency.

    >>> split_subject("pixel:tflite:memory"), split_subject("pixel:tflite"), split_subject("memory")
    (('pixel:tflite', 'memory'), ('pixel:tflite', ''), ('memory', ''))
    """
    device, colon, name = subject.rpartition(":")
    return (device, name) if colon and name in FRESH else (subject, "")


def unit_of(subject: str) -> str:
    """Return the unit of the numbers of a subject of limits: "ms", "bytes", "mJ", or "" of counts."""
    fresh = split_subject(subject)[1]
    kind = FRESH[fresh] if fresh else PROPERTIES.get(subject)
    return LATENCY_UNIT if kind is None else kind.unit


def parse_constraint(text: str) -> Constraint:
    """Read a constraint such as `pixel<8ms`, `pi4:tflite<=40ms`, `pixel:memory<50MB`, `params<3M` or `memory<20MB`.

    A subject that is none of `PROPERTIES` is a device: the latency there, or one of `FRESH`.
    Raises: ConfigError naming what is wrong with it.
    """
    found = _CONSTRAINT.fullmatch(text.strip()) if isinstance(text, str) else None
    if found is None:
        raise ConfigError(
            f"constraint {text!r} cannot be read; write SUBJECT<LIMIT, e.g. 'pixel<8ms' or 'params<3M', in quotes"
        )
    subject, relation = found["subject"].strip(), found["relation"]
    if subject == "accuracy":
        raise ConfigError(
            f"constraint {text!r}: accuracy is the goal of a search, not a limit; --pareto shows its cost"
        )
    fresh, unit = split_subject(subject)[1], unit_of(subject)
    try:
        limit = parse_amount(found["amount"], unit)
    except ConfigError as error:
        near = others = ""
        if not fresh and subject not in PROPERTIES:
            device, colon, name = subject.rpartition(":")
            near = did_you_mean(name, FRESH) and did_you_mean(subject, [f"{device}:{one}" for one in FRESH])
            if not colon:
                near, others = did_you_mean(subject, PROPERTIES), _of_unit(found["amount"])
        reason = f"{subject!r} is no cost{near} (as a device: {error})" if near else f"{error}{others}"
        raise ConfigError(f"constraint {text!r}: {reason}") from error
    amount = found["amount"].strip()
    if not unit and limit < LEAST_COUNT and not amount[-1].isalpha():
        meant = f"{subject}{relation}{amount}M"
        raise ConfigError(f"constraint {text!r}: no network has so few {subject}; did you mean {meant!r}?")
    return Constraint(subject=subject, relation=relation, limit=limit, unit=unit)


def _of_unit(amount: str) -> str:
    """Return `; costs of this unit: x, y` for the properties that take an amount's unit; empty where none does."""
    found = _AMOUNT.fullmatch(amount.strip())
    fitting = [
        name
        for name, kind in PROPERTIES.items()
        if found and found["unit"] and found["unit"] in UNITS[kind.unit]
    ]
    return f"; costs of this unit: {', '.join(fitting)}" if fitting else ""


def parse_amount(text: str, unit: str) -> float:
    """Read `8ms`, `12MB` or `3M` as a number in this unit ("ms", "bytes", "mJ" or "" of counts).

    Raises: ConfigError when it is no number above 0, has no unit where one is needed, or one of another kind.
    """
    found = _AMOUNT.fullmatch(text.strip())
    example = _EXAMPLES[unit]
    if found is None:
        raise ConfigError(f"{text.strip()!r} is no amount; write a number and its unit, e.g. {example}")
    typed = found["unit"].strip()
    units = UNITS[unit]
    if typed not in units:
        what = f"{text.strip()!r} has no unit" if not typed else f"unit {typed!r} does not fit"
        remedy = f"{found['number']}{example.lstrip('0123456789')}"
        known = ", ".join(name for name in units if name)
        raise ConfigError(f"{what}; write e.g. {remedy} (units: {known})")
    value = float(found["number"]) * units[typed]
    if not 0 < value < float("inf"):
        problem = "is not above 0" if value <= 0 else "is more than any network takes"
        raise ConfigError(f"{text.strip()!r} {problem}; write e.g. {example}")
    return float(Decimal(found["number"]) * Decimal(str(units[typed])))  # 2.3M is 2,300,000 and no less


def amount_text(value: float, unit: str, digits: int = EXACT) -> str:
    """Format an amount as `parse_amount` reads it, rounded to `digits`: `8ms`, `12.5MB`, `50mJ`, `3M`."""
    if unit in (LATENCY_UNIT, "mJ"):
        return f"{value:.{digits}g}{unit}"
    factor, name = max(
        ((f, n) for n, f in UNITS[unit].items() if n != "K" and not n.endswith("iB") and f <= value),
        default=(1, "B" if unit == "bytes" else ""),
    )
    return f"{value / factor:.{digits}g}{name}"


def check_contradictions(constraints: Sequence[Constraint]) -> None:
    """Refuse constraints that no network whatever can meet together.

    Raises: ConfigError naming the two that contradict each other.
    """
    for upper in (c for c in constraints if c.is_upper):
        for lower in (c for c in constraints if not c.is_upper and c.subject == upper.subject):
            both_inclusive = upper.relation == "<=" and lower.relation == ">="
            if lower.limit > upper.limit or (lower.limit == upper.limit and not both_inclusive):
                raise ConfigError(
                    f"{lower} and {upper} contradict each other: nothing lies between; drop or change one"
                )


def bound(constraint: Constraint, cost: Cost, confident: bool) -> NDArray[np.float64]:
    """Return the values compared with a constraint, (networks,): estimates, or the intervals' far ends where there are any."""
    if not confident or cost.low is None or cost.high is None:
        return cost.values
    return cost.high if constraint.is_upper else cost.low


def allowed(table: NetworkTable, constraints: Sequence[Constraint], *, confident: bool = False) -> BoolArray:
    """Return which networks have an accuracy, supported costs and meet every constraint, bool (networks,).

    `confident`: the far end of each interval must meet it, not the estimate alone.
    Raises: ConfigError when the table has no such cost.
    """
    found = ~np.isnan(table.accuracy.values) & table.supported
    for constraint in constraints:
        found &= constraint.holds(bound(constraint, table.cost(constraint.subject), confident))
    return found
