"""Paths that a person writes, `~` being the home folder, and the folders that are the user's own."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import platformdirs

from space.errors import ConfigError


def home_folder() -> Path:
    """Return the user's home folder: $HOME, without it that of the password database.

    Raises: ConfigError when it is none: what belongs there would end up in the working folder, or wherever else.
    """
    named = os.environ.get("HOME")
    try:
        home = Path.home()
    except RuntimeError as error:
        raise ConfigError("no home folder is known of this user; set HOME to one") from error
    if named == "" or not home.is_absolute() or not home.is_dir():
        told = f"$HOME is {named!r}" if named is not None else f"the user's home is {str(home)!r}"
        raise ConfigError(f"{told}, which is no folder; set HOME to the whole path of one that is there")
    return home


def expand_user(text: str | Path) -> Path:
    """Return a path as it was written, a leading `~` or `~NAME` replaced by the home folder, and $NAME by what it stands for.

    Variables that are not set stay as they are, as does the name of what is there.
    Raises: ConfigError when the home folder is none, there is no such user, or the text is no path.
    """
    if "\0" in str(text):  # which systems refuse by an error of another kind
        raise ConfigError(f"{str(text)!r} holds a zero character, which no path does; check the path")
    path = Path(text)
    if "$" in str(path) and not os.path.lexists(path):
        path = Path(os.path.expandvars(path))
    if path.parts[:1] == ("~",):
        return home_folder().joinpath(*path.parts[1:])
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise ConfigError(f"{text}: there is no user {path.parts[0][1:]!r}; write the whole path") from error


def check_is_there(path: Path | None) -> Path | None:
    """Return a path that is named, as it was written, which is read later or not at all.

    Raises: ConfigError where there is nothing of that name, or it cannot be reached.
    """
    try:
        if path is not None:
            expand_user(path).stat()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check the path") from error
    return path


def check_are_there(paths: Sequence[Path] | None) -> Sequence[Path] | None:
    """Return paths as `check_is_there` does one. Raises: ConfigError, as that."""
    for path in paths or ():
        check_is_there(path)
    return paths


def with_home(function: Callable[..., None]) -> Callable[..., None]:
    """Give a function the paths among its named arguments expanded: a shell replaces no `~` after `=`, nor between quotes."""

    @functools.wraps(function)
    def expanded(*given: Any, **named: Any) -> None:
        function(*given, **{name: _expanded(value) for name, value in named.items()})

    return expanded


def _expanded(value: Any) -> Any:
    if isinstance(value, list):
        return [_expanded(one) for one in value]
    return expand_user(value) if isinstance(value, Path) else value


def cache_folder(name: str) -> Path:
    """Return a folder for what can be made again, in $HARNESS_CACHE or the user's cache. Raises: ConfigError for no $HOME."""
    named = os.environ.get("HARNESS_CACHE")
    return (expand_user(named) if named else own_folder(platformdirs.user_cache_dir("harness"))) / name


def own_folder(path: str) -> Path:
    """Return one of the user's own folders, as platformdirs names them by $HOME and the variables of XDG.

    Raises: ConfigError when it is not absolute, or lies in a home folder that is not there.
    """
    folder = Path(path)
    if not folder.is_absolute():
        raise ConfigError(
            f"the folder {path!r} is not absolute; set HOME, and XDG_DATA_HOME and XDG_CACHE_HOME if they are set, to whole paths"
        )
    with suppress(RuntimeError):  # a user without a home, whose folders the variables of XDG name
        if folder.is_relative_to(Path.home()):
            home_folder()
    return folder
