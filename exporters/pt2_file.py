"""Files of torch.export, .pt2: checked as data, then converted to ONNX by torch's own exporter in a process with limits.

`torch.export.load` trusts a file: it unpickles what it cannot read otherwise, evaluates sizes as Python, and takes whatever has a
name below `torch` for an operator. So nothing is loaded whose archive says more than tensors, ATen's operators and plain sizes.
"""

from __future__ import annotations

import io
import json
import re
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from exporters.conversion import installed_version
from exporters.own_run import MEMORY_SHARE, free_bytes
from exporters.processes import ProcessEnded, answer_apart
from space.errors import ConfigError
from space.text import printable, reason_of

TIME_LIMIT_S = 600.0
GRAPH_LIMIT_BYTES = 1 << 26
MOST_ENTRIES = 100_000
COPIES = 5  # of the weights, at once, while torch loads them and writes ONNX

_CODE = ("/data/aotinductor/", "/data/executorch/")
_TENSOR_FILES = re.compile(r"(weight|tensor)_[0-9]+")
_NAME = re.compile(r"([A-Za-z_][A-Za-z0-9_.]*)?")
_ATEN = re.compile(r"torch\.ops\.aten\.[A-Za-z0-9_]+\.[A-Za-z0-9_]+")
_ARITHMETIC = re.compile(
    r"(_operator\.(getitem|add|sub|mul|floordiv|truediv|mod|pow|neg|pos|eq|ne|lt|le|gt|ge|and_|or_|not_)"
    r"|math\.(ceil|floor|trunc|sqrt)|torch\.sym_(int|float|max|min|not|sum|ite|sqrt))"
)
_OF_FILES = ("from_file", "save", "load")  # ATen's operators that read or write them
_SIZES = re.compile(r"[A-Za-z0-9_+\-*/%() ,<>=!.&|~]*")
_SIZE_NAMES = re.compile(
    r"(?:[suz][a-z]*[0-9]+|Symbol|Integer|Rational|Float|Add|Mul|Pow|positive|nonnegative|integer|precision|Max|Min|Mod|PythonMod|FloorDiv|CeilDiv|CleanDiv|IntTrueDiv|FloatTrueDiv|ModularIndexing|Where|Eq|Ne|Ge"
    r"|Gt|Le|Lt|And|Or|Not|Abs|ToFloat|TruncToInt|TruncToFloat|FloorToInt|CeilToInt|RoundToInt|PowByNatural|FloatPow|LShift|RShift"
    r"|Identity|floor|ceiling|true|false|True|False|oo|int_oo|inf)"
)
_TREES = ("builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict", None)


def pt2_to_onnx(path: Path, data: bytes, limit_bytes: int) -> bytes:
    """Return the ONNX model of a .pt2 file's program. Sizes that the program leaves free are free in it.

    Raises: ConfigError for what is no such file or a damaged one, for one that says more than a model has to, and for a program
    that torch cannot convert.
    """
    _check(path, data, limit_bytes)
    for name in ("torch", "onnx"):
        if installed_version(name) is None:
            raise ConfigError(f"{path}: converting it needs {name}, not installed here; pip install {name}")
    spare_bytes = int(free_bytes() * MEMORY_SHARE)
    if len(data) * COPIES > spare_bytes:
        raise ConfigError(
            f"{path}: converting it takes some {len(data) * COPIES / 1e9:.1f} GB of memory, and this machine has "
            f"{spare_bytes / 1e9:.1f} GB to spare; convert it to ONNX elsewhere"
        )
    with tempfile.TemporaryFile() as program, tempfile.TemporaryFile() as model:
        program.write(data)
        program.flush()
        descriptors = {"program": program.fileno(), "model": model.fileno()}
        try:
            answer = answer_apart(
                "exporters.pt2_worker",
                descriptors,
                tuple(descriptors.values()),
                limit_bytes=spare_bytes,
                limit_s=TIME_LIMIT_S,
            )
        except TimeoutError:
            answer = {"error": "it took too long"}
        except ProcessEnded as ended:
            answer = {"error": str(ended)}
        if "error" in answer:
            raise ConfigError(f"{path}: torch does not convert it to ONNX: {printable(answer['error'])}")
        model.seek(0)
        return model.read()


def _check(path: Path, data: bytes, limit_bytes: int) -> None:
    """Refuse what is no .pt2 file, and one of which loading could run anything. Raises: ConfigError."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            problem = _problem(archive, limit_bytes)
    except (zipfile.BadZipFile, ValueError, KeyError, OSError, RuntimeError) as error:
        raise ConfigError(
            f"{path}: no file of torch.export, or a damaged one ({reason_of(error)}); save it again with torch.export.save"
        ) from error
    if problem:
        raise ConfigError(f"{path}: {problem}")


def _problem(archive: zipfile.ZipFile, limit_bytes: int) -> str:
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES or sum(entry.file_size for entry in entries) > limit_bytes:
        return f"it holds more than {MOST_ENTRIES:,} entries, or more than 2 GiB, unpacked; harness reads no such file"
    names = [entry.filename for entry in entries]
    if any(part in name for name in names for part in _CODE):
        return "it holds compiled code, which harness does not run on this machine; save the program alone: torch.export.save"
    graphs = [name for name in names if re.fullmatch(r"[^/]+/models/[^/]+\.json", name)]
    if len(graphs) != 1:
        return f"it holds {len(graphs)} programs of today's format; save one again with torch.export.save of torch 2.8 or newer"
    for name in names:
        if re.search(r"/data/(weights|constants)/[^/]+$", name):
            last = name.rsplit("/", 1)[1]
            if not (_TENSOR_FILES.fullmatch(last) or last.endswith("_config.json")):
                return f"{last!r} beside its tensors is an object for unpickling, which could run anything; {_PLAIN}"
        if name.endswith(".json") and archive.getinfo(name).file_size > GRAPH_LIMIT_BYTES:
            return f"{name} has more than {GRAPH_LIMIT_BYTES >> 20} MiB; harness reads no such program"
    found = (_said(json.loads(archive.read(name))) for name in names if name.endswith(".json"))
    return next((problem for problem in found if problem), "")


_PLAIN = "export the model without it"


def _said(document: Any) -> str:
    """Return the part of an archive's document that could run code, empty where there is none."""
    return next((problem for key, value in _pairs(document) if (problem := _of_pair(key, value))), "")


def _of_pair(key: str, value: Any) -> str:
    """Return the fault of a value under its key."""
    if key in ("target", "as_operator") and isinstance(value, str):
        is_aten = bool(_ATEN.fullmatch(value)) and value.split(".")[3] not in _OF_FILES
        if not is_aten and not _ARITHMETIC.fullmatch(value):
            return f"operator {value[:80]!r} is none of ATen's, and harness calls no other; {_PLAIN}"
    elif key == "name" and isinstance(value, str) and not _NAME.fullmatch(value):
        return f"{value[:80]!r} is no name of a value; {_PLAIN}"
    elif key == "expr_str" or key == "range_constraints":
        texts = [value] if isinstance(value, str) else list(value) if isinstance(value, Mapping) else []
        bad = next((text for text in texts if not _is_size(text)), None)
        if bad is not None:
            return f"size {bad[:80]!r} is no arithmetic of sizes; {_PLAIN}"
    elif key == "use_pickle" and value:
        return f"a weight is pickled, and unpickling could run anything; {_PLAIN}"
    elif key == "as_custom_obj" and value:
        return f"it holds an object that is no tensor; {_PLAIN}"
    elif key in ("in_spec", "out_spec") and isinstance(value, str) and value and not _is_tree(value):
        return f"its inputs or outputs are other than tuples, lists and dictionaries; {_PLAIN}"
    return ""


def _is_size(text: str) -> bool:
    """Return whether a text is arithmetic of sizes, as sympy writes it: `Add(Symbol('s0', integer=True), Integer(1))`."""
    text = re.sub(r"'([suz][a-z]*[0-9]+|[0-9.eE+-]+)'", r"\1", text)
    names = re.findall(r"[A-Za-z_][A-Za-z0-9_]*", text)
    return bool(_SIZES.fullmatch(text)) and all(map(_SIZE_NAMES.fullmatch, names))


def _is_tree(text: str) -> bool:
    """Return whether a tree's text has known nodes alone, whose context is a list of keys, or nothing."""
    contexts = (value for key, value in _pairs(json.loads(text)) if key == "context")
    types = (value for key, value in _pairs(json.loads(text)) if key == "type")
    return all(one in _TREES for one in types) and all(
        one is None or (isinstance(one, str) and "__" not in one and "{" not in one) for one in contexts
    )


def _pairs(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield each key with its value, at any depth."""
    waiting = [document]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            yield from one.items()
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
