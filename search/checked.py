"""Checked values: frozen dataclasses whose annotations say which values a field takes, read from JSON and written to it.

    @dataclass(frozen=True, slots=True, kw_only=True)
    class Recipe(Checked):
        NAME: ClassVar[str] = "recipe"                                  # in messages
        epochs: Annotated[int, Range(least=1), "Epochs."] = 200         # a text describes the field on the command line
        loss: Annotated[str, ("nsr", "mse")] = "nsr"
        augmentation: Augmentation = Augmentation()                     # Checked as well

    Recipe.from_plain({"epochs": 7}).to_plain()

Fields of numbers, texts, booleans, mappings, checked values, and tuples of these are checked, and may be `None` where the
annotation says so; fields of any other type are not checked.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Self, get_args, get_origin, get_type_hints

from space.errors import ConfigError, did_you_mean, shown
from space.text_files import read_text

_LONGEST = 2**63 - 1  # of whole numbers: some are seeds, and JSON's readers elsewhere have 64 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Bounds of a number: `least` and `most` are within, `above` and `below` are not."""

    least: float = -math.inf
    above: float = -math.inf
    most: float = math.inf
    below: float = math.inf

    def __contains__(self, value: float) -> bool:
        return self.least <= value <= self.most and self.above < value < self.below

    def __str__(self) -> str:
        """Return the words of a message, such as `of at least 1` or `from 0 to below 1`; empty without bounds."""
        low = f"above {self.above:g}" if self.above > -math.inf else ""
        high = f"at most {self.most:g}" if self.most < math.inf else ""
        high = f"below {self.below:g}" if self.below < math.inf else high
        if self.least > -math.inf:
            least = f"{self.least:g}"
            return f"from {least} to {high.removeprefix('at most ')}" if high else f"of at least {least}"
        return " and ".join(part for part in (low, high) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A field's type: values of `kind` in `range` or of `words`, a tuple of them where `many`; `help` describes it."""

    kind: Any
    many: bool = False
    optional: bool = False
    range: Range = Range()
    words: tuple[str, ...] = ()
    help: str = ""

    def checked(self, value: Any) -> Any:
        """Return a value as the field keeps it: 1 as 1.0, a list as a tuple.

        Raises:
            ValueError: it is not of the field; the message says what to give.
        """
        if value is None and self.optional:
            return None
        several = value if self.many and isinstance(value, list | tuple) else [value]
        if (self.many and several is not value) or not all(map(self._takes, several)):
            raise ValueError(self._remedy(several))
        kept = tuple(float(one) if self.kind is float else one for one in several)
        return kept if self.many else kept[0]

    def _takes(self, value: Any) -> bool:
        kind = self.kind
        if kind in (int, float):
            most = _LONGEST if kind is int else sys.float_info.max
            return type(value) in (int, kind) and abs(value) <= most and value in self.range
        if kind in (bool, str):
            return type(value) is kind and (not self.words or value in self.words)
        is_checked = isinstance(kind, type) and issubclass(kind, Checked | Mapping)
        return isinstance(value, kind) if is_checked else True

    def _remedy(self, values: Sequence[Any]) -> str:
        wrong = [value for value in values if isinstance(value, str) and value not in self.words]
        if wrong and self.words:
            near = did_you_mean(wrong[0], self.words)
            return (
                f"there is no {shown(wrong[0])}{near}" if near else f"choose one of {', '.join(self.words)}"
            )
        kind = self.kind
        if kind is bool:
            return "give true or false"
        names = {int: f"whole number* {self.range}", float: f"finite number* {self.range}", str: "text*"}
        name = names.get(kind) or (kind.__name__ if issubclass(kind, Checked) else "object of its fields")
        name = name.rstrip().replace("*", "s" if self.many else "")
        return f"give a list of {name}" if self.many else f"give a{'n' * (name[0] in 'AEIOUo')} {name}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Checked:
    """Base of frozen dataclasses that are checked when they are made; `NAME` names one in messages.

    Raises:
        ConfigError: a value is not of its field.
    """

    NAME: ClassVar[str] = ""

    def __post_init__(self) -> None:
        for name, field in fields_of(type(self)).items():
            value = getattr(self, name)
            try:
                object.__setattr__(self, name, field.checked(value))
            except ValueError as e:
                raise self.refusal(name, str(e)) from None
        self.check()

    def check(self) -> None:
        """Refuse fields that do not go together. Raises: ConfigError."""

    def refusal(self, name: str, remedy: str) -> ConfigError:
        """Return the error that refuses a field's value."""
        return ConfigError(f"{self.NAME}: {name} = {shown(getattr(self, name))}; {remedy}")

    def to_plain(self) -> dict[str, Any]:
        """Return the fields in JSON's types."""
        return {one.name: _plain(getattr(self, one.name)) for one in dataclasses.fields(self)}

    def to_json(self) -> str:
        """Return JSON text, keys sorted, so that equal values have equal texts."""
        return json.dumps(self.to_plain(), sort_keys=True)

    @property
    def digest(self) -> str:
        """The SHA-256 of the JSON text, 64 hexadecimal characters."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @classmethod
    def from_plain(cls, found: object, name: str = "") -> Self:
        """Return the value of an object in JSON's types, or of a name in `named`; `name` is for messages.

        Raises:
            ConfigError: it is no object, a name or key is unknown, or a value is not of its field.
        """
        name, known = name or cls.NAME, fields_of(cls)
        if isinstance(found, str) and (values := cls.named()):
            if found not in values:
                near = did_you_mean(found, values)
                raise ConfigError(f"{name} {shown(found)} is unknown{near} (known: {', '.join(values)})")
            return values[found]
        if not isinstance(found, Mapping):
            raise ConfigError(f"{name} is {type(found).__name__}; write an object of its fields")
        for key in found:
            if key not in known:
                near = did_you_mean(str(key), known)
                raise ConfigError(f"{name} has no {key!r}{near} (there are: {', '.join(known)})")
        return cls(
            **{key: _read(known[key], value, f"{name}: {key}") for key, value in cls.completed(found).items()}
        )

    @classmethod
    def named(cls) -> Mapping[str, Self]:
        """Return the values that may be given by a name in place of an object of their fields."""
        return {}

    @classmethod
    def completed(cls, found: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the fields found in JSON, with those whose defaults are not those of their classes."""
        return found

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read a value from JSON text; missing keys have defaults.

        Raises:
            ConfigError: the text is not JSON, or as for `from_plain`.
        """
        try:
            found = json.loads(text)
        except (ValueError, RecursionError) as e:
            raise ConfigError(f"{cls.NAME}: the text is not JSON: {e}; write an object such as {{}}") from e
        return cls.from_plain(found)

    @classmethod
    def from_file(cls, path: Path, *, option: str) -> Self:
        """Read a value from a JSON file that an option of the command line names. Raises: ConfigError."""
        text = read_text(path, option=option)
        try:
            return cls.from_json(text)
        except ConfigError as error:
            raise ConfigError(f"{option} {path}: {error}") from error


def fields_of(cls: type[Checked]) -> Mapping[str, Field]:
    """Return the type of each field of a class, by name, in their order."""
    return _fields_of(cls)  # type: ignore[arg-type]  # mypy: "expected Hashable", as which it takes no class of this base


@cache
def _fields_of(cls: Any) -> Mapping[str, Field]:
    hints = get_type_hints(cls, include_extras=True)
    return {one.name: _field(hints[one.name]) for one in dataclasses.fields(cls)}


def _field(hint: Any) -> Field:
    more: Sequence[Any] = ()
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
    kinds = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    kind = next(one for one in kinds if one is not NoneType)
    many = get_origin(kind) is tuple
    kind = get_args(kind)[0] if many else get_origin(kind) or kind
    names: dict[type, str] = {Range: "range", tuple: "words", str: "help"}
    return Field(kind=kind, many=many, optional=NoneType in kinds, **{names[type(one)]: one for one in more})


def _read(field: Field, value: object, name: str) -> Any:
    if isinstance(field.kind, type) and issubclass(field.kind, Checked) and not field.many:
        return field.kind.from_plain(value, name)
    return value


def _plain(value: Any) -> Any:
    if isinstance(value, Checked):
        return value.to_plain()
    if isinstance(value, Mapping):
        return {key: _plain(one) for key, one in value.items()}
    return list(map(_plain, value)) if isinstance(value, list | tuple) else value
