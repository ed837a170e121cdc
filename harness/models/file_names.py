"""Model files as people name them, and what they give of their inputs: looked up, not opened."""

from __future__ import annotations

import glob
import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from space.errors import ConfigError, did_you_mean
from space.system_errors import with_remedy
from space.text import counted
from space.user_paths import expand_user

# Of model files, with the format that runtimes load: programs of torch.export are converted.
SUFFIXES: Mapping[str, Literal["onnx", "tflite"]] = {".onnx": "onnx", ".tflite": "tflite", ".pt2": "onnx"}
MOST_FILES = 10_000
SEARCH_WORD_S = (2.0, 30.0)  # until the first word on a long search for files, and until each further one
_SIZE = re.compile("[1-9][0-9]{0,9}")  # of an input
_WILDCARDS = ("*", "?", "[")
_WORDS = ("all", "segments")  # of selections, whatever a folder is called


@dataclass(frozen=True, slots=True, kw_only=True)
class GivenInputs:
    """Inputs of model files as a person gives them: `shapes` by input name, and an .npz file of their values.

    `expect`: an .npz file of the outputs that are right for them, by name. `signature`: the one of TFLite files that is run.
    """

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    values: Path | None = None
    expect: Path | None = None
    signature: str = ""

    @classmethod
    def of(
        cls,
        shapes: Mapping[str, Sequence[int]] | None,
        values: str | Path | None,
        expect: str | Path | None,
        signature: str,
    ) -> GivenInputs:
        """Return the inputs that a caller from Python gives."""
        return cls(
            shapes={name: tuple(shape) for name, shape in (shapes or {}).items()},
            values=None if values is None else Path(values),
            expect=None if expect is None else Path(expect),
            signature=signature,
        )

    @classmethod
    def parse(
        cls,
        shapes: Iterable[str],
        values: Path | None = None,
        expect: Path | None = None,
        signature: str = "",
    ) -> GivenInputs:
        """Return the inputs of texts such as `input=1,3,224,224`. Raises: ConfigError."""
        found: dict[str, tuple[int, ...]] = {}
        for text in shapes:
            name, equals, sizes = text.rpartition("=")
            pieces = [piece.strip() for piece in sizes.replace("x", ",").split(",")]
            if not equals or not name or not all(_SIZE.fullmatch(piece) for piece in pieces):
                raise ConfigError(
                    f"--shape {text!r}: no shape of an input; write e.g. --shape input=1,3,224,224"
                )
            if name in found:
                raise ConfigError(f"--shape {text!r}: input {name!r} has a shape already; give each once")
            found[name] = tuple(int(piece) for piece in pieces)
        return cls(shapes=found, values=values, expect=expect, signature=signature)


def is_file_name(text: str) -> bool:
    """Return whether a text among the names of networks means model files: by its ending, a wildcard, or a folder."""
    if text.lower().endswith(tuple(SUFFIXES)) or "*" in text or "?" in text:
        return True
    if not text or text in _WORDS or ":" in text.partition("/")[0] or "\0" in text:
        return False
    try:
        return Path(text).expanduser().is_dir() or Path(text).expanduser().is_file()
    except (OSError, RuntimeError):
        return False


def is_one_file(text: str) -> bool:
    """Return whether a name means one file, not a folder or a pattern, in which files have to be searched."""
    return not any(one in text for one in _WILDCARDS) and not Path(text).is_dir()


def split_names(texts: Iterable[str]) -> tuple[list[str], list[str]]:
    """Return those of some names that mean networks, and those that mean model files, which may be joined by commas."""
    networks, files = [], []
    for text in texts:
        if is_file_name(text) and ("," not in text or Path(text).exists()):
            files.append(text)
            continue
        words = [word for word in text.split(",") if word]
        named = [word for word in words if is_file_name(word)] if len(words) > 1 else []
        files += named
        rest = ",".join(word for word in words if word not in named) if named else text
        # An empty text is refused where networks are looked up.
        networks += [rest] if rest or not text else []
    return networks, files


def find_files(texts: Iterable[str], log: Callable[[str], None] = lambda text: None) -> list[Path]:
    """Return the model files that names, wildcards and folders mean, each once; `log` follows a long search.

    Raises: ConfigError.
    """
    found: dict[Path, None] = {}
    for text in texts:
        try:
            found |= dict.fromkeys(_meant(text, log))
        except OSError as error:  # a name that is too long, a folder that may not be searched
            raise ConfigError(
                f"{text}: cannot be looked up: {with_remedy(error, 'check the path')}"
            ) from error
        _check_number(text, len(found))
    return list(found)


def _meant(text: str, log: Callable[[str], None]) -> list[Path]:
    path = expand_user(text)
    if path.is_dir():
        found = _models_among(text, path.rglob("*"), log)
        if not found:
            raise ConfigError(f"{text}: a folder without .onnx, .tflite or .pt2 files; name another")
        return found
    if not path.exists() and any(one in text for one in _WILDCARDS):
        fitting = glob.iglob(str(path), recursive=True)  # noqa: PTH207 - of absolute patterns too
        found = _models_among(text, map(Path, fitting), log)
        if not found:
            raise ConfigError(f"{text!r}: no .onnx, .tflite or .pt2 file fits; check the pattern")
        return found
    if not path.exists():
        if path.is_symlink():
            raise ConfigError(f"{text}: a link to what is not there; mend it, or name the file itself")
        near = did_you_mean(path.name, (one.name for one in path.parent.glob("*") if one.suffix in SUFFIXES))
        raise ConfigError(f"{text}: no such file{near or '; check the path'}")
    if path.suffix.lower() not in SUFFIXES:
        raise ConfigError(
            f"{text}: none of .onnx, .tflite and .pt2; export or convert the model to one of them"
        )
    return [path]


def _models_among(text: str, paths: Iterable[Path], log: Callable[[str], None]) -> list[Path]:
    """Return the model files among the paths that a text means, sorted. Raises: ConfigError for too many."""
    found = list[Path]()
    first_s, next_s = SEARCH_WORD_S
    due_s = time.monotonic() + first_s
    for number, path in enumerate(paths, 1):
        if path.suffix.lower() in SUFFIXES and path.is_file():
            found.append(path)
            _check_number(text, len(found))
        if time.monotonic() >= due_s:
            log(f"{text}: {counted(len(found), 'model file')} among {number:,} names so far")
            due_s = time.monotonic() + next_s
    return sorted(found)


def _check_number(text: str, number: int) -> None:
    if number > MOST_FILES:
        raise ConfigError(f"{text!r}: more than {MOST_FILES:,} model files; name fewer")
