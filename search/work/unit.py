"""A unit of work: a function with its config and inputs. Equal units have equal keys on every machine.

    unit = Unit(kind="train", config={"space": "tiny", "architecture": "conv/bconv", ...})
    unit.key                                         # 64 hexadecimal characters

The key is the SHA-256 of the unit as canonical JSON (keys sorted, no blanks, numbers as Python writes them) with the version of
the kind's function, so that results of an earlier version are not reused.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from search.work.kinds import find_kind
from space.errors import ConfigError

_DIGEST = re.compile(r"[0-9a-f]{64}")
_TOLD_CHARACTERS = 60  # of a value of the config in a message


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit: its function by `kind` (`search.work.kinds`), its `config`, JSON, and its inputs: content digests by name.

    Raises:
        ConfigError: there is no such kind, the config is no JSON object, or an input is no digest.
    """

    kind: str
    config: Mapping[str, Any]
    inputs: Mapping[str, str] = field(default_factory=dict)
    key: str = field(init=False)

    def __post_init__(self) -> None:
        version = find_kind(self.kind).version
        # Through text and back: a copy of the unit's own, of JSON's types alone.
        object.__setattr__(self, "config", json.loads(_canonical(self.config, f"unit of kind {self.kind!r}")))
        object.__setattr__(self, "inputs", dict(self.inputs))
        for name, digest in self.inputs.items():
            if not isinstance(name, str) or not is_digest(digest):
                raise ConfigError(
                    f"unit of kind {self.kind!r}: input {name!r} is {digest!r}; give the content digest that "
                    "ResultStore.add returned, 64 hexadecimal characters"
                )
        whole = {"kind": self.kind, "version": version, "config": self.config, "inputs": self.inputs}
        text = _canonical(whole, f"unit of kind {self.kind!r}")
        object.__setattr__(self, "key", hashlib.sha256(text.encode()).hexdigest())

    def __hash__(self) -> int:
        return hash(self.key)

    def __str__(self) -> str:
        """Return the unit's name in messages: the kind, the beginning of the key, and the texts of its config."""
        short = {name: value for name, value in self.config.items() if isinstance(value, str | int)}
        texts = (f"{name} {value}" for name, value in short.items() if not is_digest(value))
        told = ", ".join(
            text if len(text) <= _TOLD_CHARACTERS else text[:_TOLD_CHARACTERS] + "..." for text in texts
        )
        return f"{self.kind} {self.key[:12]}" + (f" ({told})" if told else "")

    def to_plain(self) -> dict[str, Any]:
        """Return it as JSON's types; `Unit(**plain)` is the unit again."""
        return {"kind": self.kind, "config": dict(self.config), "inputs": dict(self.inputs)}


def is_digest(text: object) -> bool:
    """Return whether a value has the form of a content digest: 64 hexadecimal characters."""
    return isinstance(text, str) and _DIGEST.fullmatch(text) is not None


def _canonical(value: object, what: str) -> str:
    def check(part: object) -> None:
        # json would write the key 1 as "1", and a tuple as a list: two values with one text.
        if isinstance(part, dict | Mapping):
            for key, inner in part.items():
                if not isinstance(key, str):
                    raise ConfigError(f"{what}: the key {key!r} is {type(key).__name__}; JSON's are texts")
                check(inner)
        elif isinstance(part, list):
            for inner in part:
                check(inner)
        elif part is not None and type(part) not in (str, int, float, bool):
            raise ConfigError(
                f"{what}: {part!r} is {type(part).__name__}; give texts, numbers, lists and objects"
            )

    if not isinstance(value, Mapping):
        raise ConfigError(f"{what}: the config is {type(value).__name__}; give an object")
    check(value)
    try:
        return json.dumps(dict(value), sort_keys=True, separators=(",", ":"), allow_nan=False)
    except (ValueError, TypeError, RecursionError) as e:
        raise ConfigError(f"{what}: the config is no JSON: {e}") from e
