"""The YAML header of a published file: what its rows are and in which format they follow.

---
version: 1
search_space: ...
dataset_type: benchmarking
columns: [model_hash, latency]
device: pixel-6
format: custom
column_types: {model_hash: hash, latency: float}
---
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import yaml

from space.config import SpaceConfig
from space.dataset.schema import KEY_COLUMN, WHOLE_NUMBERS, check_extra, kinds_of
from space.errors import DatasetError, shown
from space.text import reason_of

HEADER_BYTES = 1024  # readers look no further for the header's end
_EDGE = b"---\n"
# As editors and Git leave text behind: with a mark of UTF-8, with CRLF.
_BEGIN, _END = re.compile(rb"(?:\xef\xbb\xbf)?---\r?\n"), re.compile(rb"\n---\r?\n")
_OWN_KEYS = ("version", "search_space", "dataset_type", "columns", "format", "column_types")
_WHOLE_NUMBER = re.compile(r"[0-9]{1,18}")
_DAMAGED = "the file is damaged or of another kind: download or write it again"


class NoHeader(DatasetError):
    """A file that does not begin with a header, as one of another kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """Content of a header.

    `columns` are those after the hash; `column_types` how each is packed, the hash too, and empty but in the
    format `custom`; `extra` the keys that only this type of file has, such as `device`.

    Raises:
        DatasetError: the type, a column or an extra key cannot be used.
    """

    dataset_type: str
    columns: tuple[str, ...]
    extra: Mapping[str, int | str]
    format: str
    column_types: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if taken := [key for key in self.extra if key in _OWN_KEYS]:
            raise DatasetError(f"extra key {taken[0]!r} is one that every header has; choose another name")
        kinds_of(self.dataset_type, self.columns)
        check_extra(self.dataset_type, self.extra)


def parse_header(head: bytes, config: SpaceConfig | None) -> tuple[Header, int]:
    """Read the header at the begin of a file's first bytes; return it and the number of its bytes.

    Raises:
        DatasetError: there is no whole header, or it describes no file of this space; None: any space will do.
    """
    begin = _BEGIN.match(head)
    if not head:
        raise DatasetError(f"is empty; {_DAMAGED}")
    if begin is None:
        raise NoHeader(f"begins with {shown(head[:8])} instead of '---' and a line end; {_DAMAGED}")
    end = _END.search(head[:HEADER_BYTES], begin.end() - 1)
    if end is None:
        raise DatasetError(f"has no end of its header in the first {HEADER_BYTES} bytes; {_DAMAGED}")
    found = _load(head[begin.end() : end.start() + 1])
    if found.get("version") != "1":
        raise DatasetError(
            f"has version {_brief(found.get('version'))}; only version 1 is known: use a newer release"
        )
    if config is not None and found.get("search_space") != _as_text(_search_space(config)):
        raise DatasetError(
            f"has a search_space other than {config.name!r} ({config.stages} stages of "
            f"{', '.join(config.ops)}); read it with the space that it was made for"
        )
    columns = found.get("columns")
    if not isinstance(columns, list) or columns[:1] != [KEY_COLUMN] or not _are_texts(columns):
        raise DatasetError(f"has no list of columns that begins with {KEY_COLUMN}; {_DAMAGED}")
    types = found.get("column_types", {})
    if not isinstance(types, dict) or not _are_texts(types.values()):
        raise DatasetError(f"has column_types that give no text for each column; {_DAMAGED}")
    header = Header(
        dataset_type=_text(found, "dataset_type"),
        columns=tuple(columns[1:]),
        extra={key: _extra(found, key) for key in found if key not in _OWN_KEYS},
        format=_text(found, "format"),
        column_types=types,
    )
    return header, end.end()


def begins_header(head: bytes) -> bool:
    """Return whether a file that begins so has a header: is a published one."""
    return _BEGIN.match(head) is not None


def header_bytes(header: Header, config: SpaceConfig) -> bytes:
    """Return the header as the first bytes of a file, keys in the published order.

    Raises:
        DatasetError: the header is longer than readers look for its end.
    """
    content: dict[str, object] = {
        "version": 1,
        "search_space": _search_space(config),
        "dataset_type": header.dataset_type,
        "columns": [KEY_COLUMN, *header.columns],
        **header.extra,
        "format": header.format,
    }
    if header.column_types:
        content["column_types"] = dict(header.column_types)
    written = _EDGE + yaml.safe_dump(content, sort_keys=False, default_flow_style=False).encode() + _EDGE
    if len(written) > HEADER_BYTES:
        raise DatasetError(
            f"its header would have {len(written)} bytes, and at most {HEADER_BYTES} are read; "
            "use shorter names or fewer columns"
        )
    return written


def _load(text: bytes) -> dict[str, object]:
    """Read YAML in which every scalar is text: so no tag makes an object, and no name turns into a date."""
    try:
        found = yaml.load(text.decode(), yaml.BaseLoader)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise DatasetError(f"has a header that is not YAML ({reason_of(error)}); {_DAMAGED}") from error
    if not isinstance(found, dict) or not _are_texts(found):
        raise DatasetError(f"has a header without keys; {_DAMAGED}")
    return found


def _search_space(config: SpaceConfig) -> dict[str, object]:
    if config.chain is not None:
        return {"definition": config.name, "choices": list(config.radices)}
    # One list for all stages: the dump then repeats it by an anchor, as the published headers do.
    stage = [[len(config.ops)], [len(config.ops), 2, 2, 2]]
    return {
        "shape": [stage] * config.stages,
        "nodes": config.nodes,
        "stages": config.stages,
        "ops": list(config.ops),
    }


def _as_text(value: object) -> object:
    if isinstance(value, dict):
        return {key: _as_text(item) for key, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list) else str(value)


def _are_texts(values: object) -> bool:
    return all(isinstance(value, str) for value in values)  # type: ignore[attr-defined]


def _text(found: dict[str, object], key: str) -> str:
    value = found.get(key)
    if not isinstance(value, str):
        raise DatasetError(f"has {key} = {_brief(value)}, which is no text; {_DAMAGED}")
    return value


def _extra(found: dict[str, object], key: str) -> int | str:
    text = _text(found, key)
    if key not in WHOLE_NUMBERS:
        return text
    if not _WHOLE_NUMBER.fullmatch(text):
        raise DatasetError(f"has {key} = {shown(text)}, which is not a whole number; {_DAMAGED}")
    return int(text)


def _brief(value: object) -> str:
    """Show a text; name only the type of anything else: aliases let a short header hold endless nested lists."""
    return shown(value) if isinstance(value, str) else "nothing" if value is None else type(value).__name__
