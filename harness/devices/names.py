"""Devices as people name them: by name, pattern of names, group, or all of them. Whatever takes `--device` reads it here."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from harness.devices.config import (
    ALL,
    DEFAULT_FILE,
    PACKED,
    Device,
    groups_of,
    is_named,
    known_text,
    load_devices,
    name_problem,
    shortened,
)
from harness.devices.destination import LOCAL
from space.errors import ConfigError

Groups = Mapping[str, Sequence[str]]

_WILDCARD = re.compile(r"[*?\[]")


def expand_names(
    asked: Iterable[str], names: Sequence[str], groups: Callable[[], Groups], place: str = DEFAULT_FILE
) -> list[str]:
    """Return the names that are meant, each once, in the order asked for, of one pattern or group in that of `names`.

    `all` is all of the `names`; a pattern, with `*`, `?` or `[abc]`, those that fit it. `groups`, the names in each group, is
    called where something is neither; what is no group is returned as it is, for the caller to look up.
    Raises: ConfigError for a pattern that no name fits, with the names and groups there are; `place` is where they are from.

    >>> expand_names(["pi4", "p*"], ["pixel", "tv", "pi4"], dict)
    ['pi4', 'pixel']
    """
    found: dict[str, None] = {}
    known = frozenset(names)
    for text in asked:
        if text in known:
            found[text] = None
        elif text == ALL:
            found |= dict.fromkeys(names)
        elif _WILDCARD.search(text):
            fitting = [name for name in names if fnmatchcase(name, text)]
            if not fitting:
                raise ConfigError(f"no device in {place} fits {text!r} ({known_text(names, groups())})")
            found |= dict.fromkeys(fitting)
        else:
            found |= dict.fromkeys(groups().get(text, [text]))
    return list(found)


def select_devices(asked: Sequence[str | Device], path: str | Path | None = None) -> tuple[Device, ...]:
    """Return the devices that are asked for, each once; without any, the device `local`.

    A text is a name, a pattern of names, a group, or `all`: the last three mean devices that devices.toml names, and `local`
    where it names no other. `path` is that file, as for `load_devices`.
    Raises: ConfigError, as `load_devices`, or with the known names and groups.
    """
    given = {one.name: one for one in asked if isinstance(one, Device)}
    if given and len(given) == len(asked):
        return tuple(given.values())
    known = load_devices(path)
    named = [name for name, device in known.items() if is_named(device)] or [LOCAL]
    texts = [one if isinstance(one, str) else one.name for one in asked or [LOCAL]]
    names = expand_names(texts, named, lambda: groups_of(known), str(path or DEFAULT_FILE))
    return tuple(given.get(name) or known[name] for name in names)


def select_one(text: str, path: str | Path | None = None) -> Device:
    """Return the one device of a name, pattern or group. Raises: ConfigError, also where it means several."""
    found = select_devices([text], path)
    if len(found) > 1:
        names = shortened([device.name for device in found])
        raise ConfigError(f"--device {text!r} means {len(found)} devices ({names}), and here it takes one")
    return found[0]


def parse_packed_device(name: str, devices_file: str | Path | None = None) -> Device:
    """Return the device of a packed job, from devices.toml or a new one: a job needs no connection to it.

    Raises: ConfigError for what is no name.
    """
    known = load_devices(devices_file)
    if name in known:
        return known[name]
    if problem := name_problem(name):
        raise ConfigError(f"--device {name!r}: the name {problem}")
    return Device(name=name, transport=PACKED)
