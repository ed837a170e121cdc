"""Spaces by their names: those of harness, definitions by their files, and those that installed packages add.

A space of one's own is called NAME@DIGEST wherever it is kept, the digest being of its definition: two that are both called NAME
are never taken for each other.
"""

from __future__ import annotations

import hashlib
import json
import re
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from space.architecture import SPACES, Space
from space.atomic_files import write_file
from space.definition import (
    defined_space,
    definition_key,
    folder_of,
    forget_traces,
    load_space,
    read_definition,
)
from space.errors import ArchitectureError, HarnessError, did_you_mean, shown
from space.plugins import SPACES as GROUP
from space.plugins import bad_plugin, load_plugin, plugins
from space.user_paths import own_folder

SUFFIX = ".toml"
_FULL_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}@[0-9a-f]{12}")
_defined: dict[str, Space] = {}  # by NAME@DIGEST: what this process has read


def find_space(name: str | Path | Space) -> Space:
    """Return a space: itself, or that of a name, NAME@DIGEST, or of a TOML file that defines it, whose code is run.

    Raises:
        ArchitectureError: there is none; the message suggests the nearest, or says why a definition is none.
    """
    if isinstance(name, Space):
        return name if name.chain is None else _remembered(name)
    text = str(name)
    if text in SPACES:
        return SPACES[text]
    if text in _defined:
        return _defined[text]
    if text.endswith(SUFFIX):
        return _remembered(_from_file(Path(text)))
    if _FULL_NAME.fullmatch(text) and (kept := _kept(text)) is not None and kept.name == text:
        return _defined.setdefault(text, kept)
    bare, _, digest = text.partition("@")
    if bare in plugins(GROUP) and bare not in SPACES:
        found = find_space(_from_package(bare))
        if digest in ("", found.name.partition("@")[2]):
            return found
    elif (read := _read_as(text)) is not None:
        return read
    if digest:
        others = " and ".join(one for one in _defined if one.partition("@")[0] == bare)
        now = f"; {others} is another space of that name" if others else ""
        raise ArchitectureError(
            f"space {shown(text)} is defined in a file of its own, not named here{now}; name it, as it was when networks were "
            f"measured: --space FILE{SUFFIX}"
        )
    known = list(dict.fromkeys([*SPACES, *plugins(GROUP)]))
    raise ArchitectureError(
        f"space {shown(text)} is not known{did_you_mean(text, known)} (known: {', '.join(known)}); one of your own is named by "
        f"its file, FILE{SUFFIX}"
    )


def space_name(name: str | Path | Space) -> str:
    """Return a space's stored name: of a definition NAME@DIGEST, of any other text itself.

    Raises:
        ArchitectureError: a definition is none.
    """
    text = "" if isinstance(name, Space) else str(name)
    if text in SPACES:
        return text
    if text and not text.endswith(SUFFIX) and text not in plugins(GROUP):
        read = _read_as(text)
        return text if read is None else read.name
    return find_space(name).name if text or isinstance(name, Space) else text


def known_spaces() -> tuple[Space, ...]:
    """Return the spaces of harness, and the definitions that were read before, by this process or by others of the user."""
    found = dict(_defined)  # what others read has no bare name in this process
    with suppress(HarnessError, OSError):
        for path in sorted(_path("*").parent.glob("*@*.json")):
            if path.stem not in found and (kept := _kept(path.stem)) is not None and kept.name == path.stem:
                found[kept.name] = kept
    return (*SPACES.values(), *found.values())


def forget_traced(name: str) -> None:
    """Have definitions of a space, NAME@DIGEST, be traced when they are next read: their code makes other modules by now.

    What the space was when networks were measured is kept.
    """
    forget_traces()
    with suppress(HarnessError, OSError):
        for path in _path("*").parent.glob("*.json"):
            if path.stem != name and (kept := _kept(path.stem)) is not None and kept.name == name:
                path.unlink(missing_ok=True)


def _read_as(bare: str) -> Space | None:
    """Return the one definition of a name that this process has read; None where there is none, or several."""
    called = [one for one in _defined.values() if one.name.partition("@")[0] == bare]
    return called[0] if len(called) == 1 else None


def _from_file(path: Path) -> Space:
    """Return the space that a file defines: as it was traced before, where neither file nor code has changed since."""
    document, folder = read_definition(path), folder_of(path)
    key = definition_key(document, folder)
    kept = _kept(key) if key else None
    if kept is not None and kept.chain is not None:
        return replace(kept, chain=replace(kept.chain, folder=folder * bool(kept.chain.folder)))
    found = defined_space(document, folder, str(path))
    if key and key == definition_key(document, folder):  # the code may have changed while it was traced
        _keep(key, found)
    return found


def _remembered(space: Space) -> Space:
    """Keep a definition for this process, and for those that read what was measured of it later, wherever its file is then."""
    _keep(space.name, space)
    _defined[space.name] = space
    return space


def _keep(name: str, space: Space) -> None:
    """Write a space beside the sha256 of its text, where it can be written."""
    with suppress(HarnessError, OSError):
        path, content = _path(name), _sealed(space)
        if not path.is_file() or path.read_bytes() != content:
            write_file(path, content)


def _kept(name: str) -> Space | None:
    """Return a space that was kept; None where it was not, or is no longer whole."""
    with suppress(HarnessError, OSError, ValueError, TypeError, KeyError, AttributeError):
        content = _path(name).read_bytes()
        found = Space(**json.loads(content.partition(b"\n")[2]))
        if content == _sealed(found) and found.chain is not None:
            return found
    return None


def _sealed(space: Space) -> bytes:
    text = json.dumps(space.to_plain()).encode()
    return hashlib.sha256(text).hexdigest().encode() + b"\n" + text


def _path(name: str) -> Path:
    import platformdirs

    return own_folder(platformdirs.user_data_dir("harness")) / "spaces" / f"{name}.json"


def _from_package(name: str) -> Space:
    found = load_plugin(GROUP, name)
    if isinstance(found, str | Path):
        found = load_space(found)
    if not isinstance(found, Space):
        raise bad_plugin(GROUP, name, f"is {shown(found)}, no space and no path of a TOML file")
    return found
