"""Folders of images: one folder a class, or folders `train`, `val` and `test` of those."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from space.errors import ConfigError
from space.text import printable

PARTS = ("train", "val", "test")
ALL = "all"  # the one part of images that are not split yet
MAX_FILES = 2_000_000
_SYSTEMS_OWN = ("thumbs.db", "desktop.ini")  # written by file managers; hidden files are left out, too


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """Image files of a part, paths below the folder, sorted by class and name, and the label of each."""

    files: tuple[str, ...]
    labels: tuple[int, ...]


def list_folder(root: Path) -> tuple[tuple[str, ...], Mapping[str, ListedPart]]:
    """Return the names of the classes, sorted, and the files of each part; of folders that are not split the part is `all`.

    A folder below that of a class is of that class, too.

    Raises:
        ConfigError: it is no folder, holds less than two classes, a class has no images, a part has other classes than `train`, a
            file lies beside the classes, or a link leads out of the folder or to a folder.
    """
    if not root.is_dir():
        raise ConfigError(
            f"folder:{root}: there is no such folder; name one that holds a folder of images for each class, and settings as in "
            "folder:PATH:fit=crop"
        )
    try:
        names = _folders_in(root)
        is_split = "train" in names and bool(_folders_in(root / "train", strict=False))
        parts = [name for name in names if name in PARTS] if is_split else [ALL]
        if is_split and (others := sorted(set(names) - set(PARTS))):
            raise ConfigError(
                f"{root} holds {others[0]!r} beside 'train'; parts are called {', '.join(PARTS)}: rename or move it"
            )
        classes = _folders_in(root / "train") if is_split else names
        _check_classes(root, classes)
        return tuple(classes), {part: _list_part(root, part, classes) for part in parts}
    except OSError as error:
        raise ConfigError(
            f"{error.filename or root}: cannot be read: {error.strerror or error}; check its permissions"
        ) from error


def _check_classes(root: Path, classes: Sequence[str]) -> None:
    if len(classes) < 2:
        found = f"only that of {classes[0]!r}" if classes else "none"
        raise ConfigError(
            f"{root}: a task has a folder for each of two or more classes, and there is {found}; name the folder above them"
        )
    for name in classes:
        if not name.isprintable():
            raise ConfigError(f"{root}: the class {name!r} has characters that cannot be shown; rename it")


def _list_part(root: Path, part: str, classes: Sequence[str]) -> ListedPart:
    folder = root if part == ALL else root / part
    if part not in (ALL, "train") and (others := set(_folders_in(folder)) ^ set(classes)):
        name = min(others)
        where = "train" if name in classes else part
        raise ConfigError(
            f"{root}: class {name!r} is in {where} alone; each part needs the same classes: add or remove it"
        )
    files, labels = list[str](), list[int]()
    for label, name in enumerate(classes):
        found = sorted(_files_below(folder / name, root.resolve()))
        if not found:
            raise ConfigError(
                f"{folder / name}: holds no image; add some, or remove the folder of that class"
            )
        files += (os.path.relpath(path, root) for path in found)
        labels += [label] * len(found)
        if len(files) > MAX_FILES:
            raise ConfigError(f"{root}: holds more than {MAX_FILES:,} images; take a part of them")
    return ListedPart(files=tuple(files), labels=tuple(labels))


def _folders_in(folder: Path, *, strict: bool = True) -> list[str]:
    """Return the names of the folders in a folder, sorted. Raises: ConfigError for a file beside them, if `strict`; OSError."""
    found = []
    for entry in sorted(folder.iterdir()):
        if _is_left_out(entry.name):
            continue
        if entry.is_symlink() and entry.is_dir():
            raise _refused_link(entry)
        if entry.is_dir():
            found.append(entry.name)
        elif strict:
            raise ConfigError(
                f"{_shown(entry)}: lies among the folders of classes; move it into one, or away"
            )
    return found


def _files_below(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files below a folder. Raises: ConfigError for a link that leads out of the root, or to a folder; OSError.

    `realpath`, as `Path.resolve` raises RuntimeError for a link that leads to itself.
    """
    for entry in folder.iterdir():
        if _is_left_out(entry.name):
            continue
        if entry.is_symlink() and (entry.is_dir() or not Path(os.path.realpath(entry)).is_relative_to(root)):
            raise _refused_link(entry)
        if entry.is_dir():
            yield from _files_below(entry, root)
        elif entry.is_file():
            yield entry
        else:
            raise ConfigError(f"{_shown(entry)}: is no plain file; remove it")


def _is_left_out(name: str) -> bool:
    return name.startswith(".") or name.lower() in _SYSTEMS_OWN


def _refused_link(path: Path) -> ConfigError:
    return ConfigError(
        f"{_shown(path)}: is a link out of the folder, or to a folder, which is not followed; put its target in its place"
    )


def _shown(path: Path) -> str:
    return printable(str(path))
