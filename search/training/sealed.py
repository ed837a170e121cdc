"""Sealed files: checked containers (like safetensors) of weights, numbers and texts, written atomically.

A sealed file is a line that names the kind of its content, `harness KIND 1`, a line with the SHA-256 of the rest, and what
`torch.save` writes. The digest is there because a flipped bit in stored weights is valid to torch; it is no signature.
Reading runs no code: `torch.load` is called with `weights_only`, so that only tensors, numbers, texts and containers of
them come out, and nothing else is let in.
"""

from __future__ import annotations

import hashlib
import io
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from search.training.sealed_head import AGAIN, LONGEST, check_head, head
from space.atomic_files import write_file
from space.errors import ConfigError
from space.system_errors import refused

_DIGEST_CHARACTERS = 64


def seal(kind: str, content: Mapping[str, Any]) -> bytes:
    """Return content as a sealed file's bytes.

    Tuples become lists, mappings dictionaries, parameters plain tensors; of a view of a larger tensor only its part is written.

    Raises:
        TypeError: the content holds something else than tensors, numbers, texts, None and containers of them.
    """
    first = head(kind)
    buffer = io.BytesIO()
    buffer.write(first + bytes(_DIGEST_CHARACTERS) + b"\n")
    start = buffer.tell()
    torch.save(_plain(content, kind), buffer)
    with buffer.getbuffer() as view:
        digest = hashlib.sha256(view[start:]).hexdigest().encode()
        view[len(first) : start - 1] = digest
    return buffer.getvalue()


def unseal(
    kind: str, data: bytes | memoryview, name: str, device: str = "cpu", remedy: str = AGAIN
) -> dict[str, Any]:
    """Return the content of a sealed file, its tensors on a device; `name` and `remedy` are for messages.

    Raises:
        ConfigError: it is damaged, of another kind, or holds other things than weights and numbers.
    """
    view = memoryview(data)
    check_head(kind, bytes(view[:LONGEST]), name, remedy)
    first = len(head(kind))
    start = first + _DIGEST_CHARACTERS + 1
    payload = bytes(view[start:])
    if bytes(view[first:start]) != hashlib.sha256(payload).hexdigest().encode() + b"\n":
        raise ConfigError(f"{name}: is damaged: its digest is not that of its {len(payload)} bytes; {remedy}")
    try:
        # Torch reads older formats too; none was written here.
        if not zipfile.is_zipfile(io.BytesIO(payload)):
            raise ValueError("no archive of torch")
        found = torch.load(io.BytesIO(payload), map_location=device, weights_only=True)
        if not isinstance(found, dict):
            raise ValueError(f"a {type(found).__name__}, where a dictionary belongs")
    except torch.OutOfMemoryError:
        raise  # the file is not to blame
    except (
        *(RuntimeError, ValueError, TypeError, AttributeError, LookupError, EOFError),
        *(pickle.UnpicklingError, zipfile.BadZipFile),
    ) as e:
        raise ConfigError(
            f"{name}: holds other things than weights and numbers ({_fault(e)}); do not trust it"
        ) from e
    return found


def write_sealed(path: str | Path, kind: str, content: Mapping[str, Any]) -> None:
    """Write a sealed file in place of a former one, its folder made where there is none; a crash leaves one of the two.

    Raises:
        ConfigError: the file cannot be written, such as on a full disk; a former one stays as it was.
        TypeError: as for `seal`.
    """
    write_file(Path(path), seal(kind, content))


def read_sealed(path: str | Path, kind: str, device: str = "cpu", remedy: str = AGAIN) -> dict[str, Any]:
    """Read a sealed file, its tensors on a device.

    Raises:
        ConfigError: it is not there or cannot be read, or as for `unseal`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():  # a device or a FIFO may have no end
        raise ConfigError(f"{path}: is no plain file; {remedy}")
    with refused(f"{path}: cannot be read", "check the path"):
        data = path.read_bytes()
    return unseal(kind, data, str(path), device, remedy)


def content_digest(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of the content itself, 64 hexadecimal characters: equal content has an equal digest.

    A tensor counts by type, shape and values, whatever its device or memory layout; a dictionary whatever the order of its keys;
    a tuple as a list. 1, 1.0 and True differ.

    Raises:
        TypeError: as for `seal`.
    """
    hasher = hashlib.sha256()
    _feed(hasher, _plain(content, "content"))
    return hasher.hexdigest()


# --- content that may be sealed -------------------------------------------------------------------


def _plain(value: Any, place: str) -> Any:
    """Return a value as `torch.load` reads it back; `place` names it in messages."""
    if isinstance(value, Tensor):
        tensor = value.detach()
        whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
        return tensor if whole else tensor.clone()  # else torch would write the larger one
    if isinstance(value, Mapping):
        return {_key(key, place): _plain(one, f"{place}[{key!r}]") for key, one in value.items()}
    if type(value) in (list, tuple):
        return [_plain(one, f"{place}[{at}]") for at, one in enumerate(value)]
    if value is None or type(value) in (bool, int, float, str):
        return value
    raise TypeError(
        f"{place} is {type(value).__module__}.{type(value).__qualname__}; a sealed file holds tensors, bool, int, float, "
        "str, None, and lists and dictionaries of them"
    )


def _key(key: object, place: str) -> str | int:
    if type(key) is str or type(key) is int:  # the state of an optimizer has numbers for keys
        return key
    raise TypeError(f"{place} has key {key!r}; a sealed file's keys are str or int")


def _feed(hasher: Any, value: Any) -> None:
    """Hash a plain value so that no two different ones give the same bytes: a name and a length go before each."""
    if isinstance(value, Tensor):
        hasher.update(f"tensor {value.dtype} {tuple(value.shape)}\n".encode())
        hasher.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    elif isinstance(value, dict):
        hasher.update(f"dictionary {len(value)}\n".encode())
        for key in sorted(value, key=lambda key: (type(key).__name__, key)):
            _feed(hasher, key)
            _feed(hasher, value[key])
    elif isinstance(value, list):
        hasher.update(f"list {len(value)}\n".encode())
        for one in value:
            _feed(hasher, one)
    else:
        text = (value if isinstance(value, str) else repr(value)).encode("utf-8", "surrogatepass")
        hasher.update(f"{type(value).__name__} {len(text)}\n".encode() + text)


def _fault(error: Exception) -> str:
    """Return torch's message without its advice to read the file in a way that runs code."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    found = [line for line in lines if "nsupported" in line] or lines or [type(error).__name__]
    return found[0].rstrip(".")
