"""The signatures of a block library, computed once and kept beside the results of units."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from space.errors import ConfigError

if TYPE_CHECKING:
    from search.blockwise.library import BlockLibrary
    from search.blockwise.signatures import Signatures
    from search.training.images import Task


def signed(
    library: BlockLibrary, task: Task, folder: Path, device: str, say: Callable[[str], None]
) -> Signatures:
    """Return a library's signatures on a task's validation images, from a file in the folder where they are known.

    Raises: ConfigError when the file cannot be written.
    """
    from search.blockwise.signatures import Signatures
    from search.blockwise.signing import sign

    path = folder / f"signatures-{library.digest}.json"
    if path.is_file():
        try:
            found = Signatures.load(path)
            if found.task == task.name:
                return found
        except ConfigError as error:
            say(f"{error}; signing again")
    stages = library.config.stages - len(library.missing)
    say(f"signing {stages} stages of {len(library.config.blocks)} blocks")
    found = sign(library, task, device=device)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: cannot be made: {error.strerror or error}; name another folder"
        ) from error
    found.save(path)
    return found
