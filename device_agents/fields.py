"""Fields of a request, read one by one; a field that is missing or wrong is refused by name and value."""

from __future__ import annotations

import re
from typing import Any

from device_agents.refusal import Refusal

DIGEST = re.compile(r"[0-9a-f]{64}")
REQUIRED = object()
SHOWN_CHARACTERS = 80


class Fields:
    """The fields of one JSON object, called `name` in messages (`run: job.plan`)."""

    def __init__(self, name: str, values: Any) -> None:
        if not isinstance(values, dict):
            raise refuse(name, values, "an object")
        self.name = name
        self.values = values

    def only(self, *known: str) -> Fields:
        """Refuse fields that nobody reads: most often a misspelt name."""
        for key in self.values:
            if key not in known:
                raise Refusal(
                    "bad-request",
                    "%s has a field %s; it may have: %s" % (self.name, show(key), ", ".join(known)),
                )
        return self

    def object(self, key: str) -> Fields:
        """Return a nested object's fields."""
        return Fields(self._path(key), self._value(key, REQUIRED))

    def text(self, key: str, max_characters: int = 1000) -> str:
        """Return a text that is neither empty nor longer than said."""
        value = self._value(key, REQUIRED)
        if not isinstance(value, str) or not 0 < len(value) <= max_characters:
            raise refuse(self._path(key), value, "a text of 1 to %d characters" % max_characters)
        return value

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        """Return one of a few words."""
        value = self._value(key, REQUIRED)
        if value not in choices:
            raise refuse(self._path(key), value, "one of: " + ", ".join(choices))
        return str(value)

    def integer(self, key: str, low: int, high: int, default: Any = REQUIRED) -> int:
        """Return an integer within bounds."""
        value = self._value(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise refuse(self._path(key), value, "an integer from %d to %d" % (low, high))
        return value

    def number(self, key: str, low: float, high: float, default: Any = REQUIRED) -> float:
        """Return a number within bounds; NaN is within none."""
        value = self._value(key, default)
        if not isinstance(value, (int, float)) or isinstance(value, bool) or not low <= value <= high:
            raise refuse(self._path(key), value, "a number from %g to %g" % (low, high))
        return float(value)

    def digest(self, key: str) -> str:
        """Return a digest: 64 hex characters."""
        return self._digest(self._path(key), self._value(key, REQUIRED))

    def optional_digest(self, key: str) -> str | None:
        value = self._value(key, None)
        return None if value is None else self._digest(self._path(key), value)

    def digests(self, key: str, max_count: int) -> list[str]:
        value = self._value(key, REQUIRED)
        if not isinstance(value, list) or len(value) > max_count:
            raise refuse(self._path(key), value, "a list of at most %d digests" % max_count)
        return [self._digest("%s[%d]" % (self._path(key), index), item) for index, item in enumerate(value)]

    def _path(self, key: str) -> str:
        return "%s.%s" % (self.name, key) if ":" in self.name else "%s: %s" % (self.name, key)

    def _value(self, key: str, default: Any) -> Any:
        value = self.values.get(key, default)
        if value is REQUIRED:
            raise Refusal("bad-request", "%s is missing" % self._path(key))
        return value

    @staticmethod
    def _digest(path: str, value: Any) -> str:
        if not isinstance(value, str) or not DIGEST.fullmatch(value):
            raise refuse(path, value, "a sha256 digest of 64 hex characters")
        return value


def refuse(path: str, value: Any, expected: str) -> Refusal:
    """Return the refusal of a value."""
    return Refusal("bad-request", "%s is %s; expected %s" % (path, show(value), expected))


def show(value: Any) -> str:
    """Return a value for a message, bounded in length."""
    text = repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
