"""Model files of any origin as things to measure: found by name, checked without running them, and cut into parts to send.

A file is data here, whatever it holds: the device's runtime is the first that loads it, in a process of its own.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, Literal

from exporters.expected import OUTPUT_VALUES, judged_parts, output_sums
from exporters.model_input import ModelEnd, judged_outputs
from exporters.onnx_file import read_onnx
from exporters.own_run import OwnRun, own_outputs
from exporters.pt2_file import pt2_to_onnx
from exporters.tflite_file import MAGIC, read_tflite
from harness.measurement.workload import Model
from harness.models.exported import cache_folder
from harness.models.file_names import SUFFIXES, GivenInputs, find_files
from harness.records import FILE_SPACE
from space.array_files import read_arrays
from space.assembly import Assembly
from space.errors import ConfigError, did_you_mean

LIMIT_BYTES = (1 << 31) - 1  # protobuf's and flatbuffers' own
INPUTS_LIMIT_BYTES = 1 << 28
MOST_VALUES = 1 << 28  # of all inputs together, that the device makes
SKELETON_BYTES = 1 << 10
PART_BYTES = 1 << 22
MOST_PARTS = 250  # a recipe of the protocol holds 256
_LFS = b"version https://git-lfs"


@dataclass(frozen=True, slots=True, kw_only=True)
class FileModel:
    """A checked model file. `name` is shown and stored; `digest` is of the bytes that the device loads.

    `shapes` and `values` (an .npz file's bytes) are given inputs by the model's own names; `key` names file and inputs together.
    `signature`: the one that is run, empty where the file's first graph is all there is. `batch`: the images of one run, in
    neither name nor key; inputs that leave their first size free take that many. `expect`: the sums that judge
    its outputs, of given ones, None where they are those of the file's own run.
    """

    path: Path
    name: str
    format: Literal["onnx", "tflite"]
    precision: str
    versions: str
    digest: str
    size_bytes: int
    inputs: tuple[ModelEnd, ...]
    outputs: tuple[ModelEnd, ...]
    signature: str
    shapes: Mapping[str, tuple[int, ...]]
    values: bytes | None = field(repr=False)
    expect: tuple[float, ...] | None = field(repr=False)
    pieces: tuple[Piece, ...] = field(repr=False)
    folded: Folded | None = field(repr=False)  # the model's bytes where they differ from the file's
    batch: int = 1

    @property
    def key(self) -> str:
        """Return 32 hex characters that name the file's bytes and its inputs: equal keys, equal measurements."""
        given = {name: list(shape) for name, shape in self.shapes.items()}
        signature = [self.signature] if self.signature else []
        text = json.dumps([self.digest, given, self.values_digest, *signature], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    @property
    def values_digest(self) -> str | None:
        """The sha256 of the given values, None where there are none."""
        return None if self.values is None else hashlib.sha256(self.values).hexdigest()

    def __str__(self) -> str:
        """Return the name with its given inputs."""
        shapes = (f"{name}={','.join(map(str, shape))}" for name, shape in self.shapes.items())
        values = [] if self.values_digest is None else [f"inputs {self.values_digest[:8]}"]
        signature = [f"signature {self.signature}"] if self.signature else []
        return " ".join((self.name, *signature, *shapes, *values))

    def at_batch(self, batch: int) -> FileModel:
        """Return the file for runs of `batch` images.

        Raises: ConfigError for a file whose inputs do not take that many, or whose inputs or outputs are given as arrays.
        """
        found = replace(self, batch=batch)
        if batch == 1:
            return found
        if self.values is not None or self.expect is not None:
            raise ConfigError(
                f"{self.path}: --batch {batch} takes made-up inputs; leave --inputs and --expect out, or give arrays of "
                f"{batch} images and leave --batch out"
            )
        if not any(_takes_batch(one) for one in self.inputs):
            raise ConfigError(
                f"{self.path}: --batch {batch}: no input leaves its first size free ({', '.join(map(str, self.inputs))}); export "
                "the model with a free batch size (dynamic axes), or leave --batch out"
            )
        _check_sizes(self.path, self.inputs, found.run_shapes)
        return found

    @property
    def run_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of inputs in a run, by name, where they are not the model's own: those given, their first size the batch."""
        if self.batch == 1:
            return dict(self.shapes)
        found = dict(self.shapes)
        for one in self.inputs:
            if _takes_batch(one):
                sizes = self.shapes.get(one.name, one.shape)[1:]
                found[one.name] = (self.batch, *(size for size in sizes if isinstance(size, int)))
        return found

    def model(self) -> Model:
        """Return the file as a campaign's model."""
        given: dict[str, Any] = {name: list(shape) for name, shape in self.shapes.items()}
        if self.values is not None:
            given["values"] = self.values_digest
        if self.signature:
            given["signature"] = self.signature
        return Model(
            architecture=str(self),
            graph_hash=self.key,
            format=self.format,
            precision=self.precision,
            space=FILE_SPACE,
            weights=f"file {self.digest[:12]}",
            inputs=given,
            batch=self.batch,
            assemble=self.assemble,
            expected=self.expected,
        )

    def expected(self) -> tuple[float, ...]:
        """Return the sums that judge its outputs: of those that a person gave, else of the file's own run here.

        Raises: ConversionError where this machine cannot run it, with the reason; ConfigError when the file has changed.
        """
        if self.expect is not None:
            return self.expect
        with self._opened() as file:
            run = OwnRun(
                format=self.format,
                descriptor=file.fileno(),
                size_bytes=self.size_bytes,
                digest=self.digest,
                shapes=self.run_shapes,
                values=self.values,
                signature=self.signature,
                batch=self.batch,
            )
            return own_outputs(run, cache_folder())

    def _opened(self) -> io.BufferedReader:
        """Return the model's bytes as an open file. Raises: ConfigError when they are not those that were checked."""
        if self.folded is not None:
            return self.folded.open()
        try:
            file = self.path.open("rb")
            if hashlib.file_digest(file, "sha256").hexdigest() == self.digest:
                return file
            file.close()
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror or error}; put the file back") from error
        raise ConfigError(f"{self.path}: changed while it was measured; give the command again")

    def assemble(self) -> Assembly:
        """Return the file as parts to send. Raises: ConfigError when it is not what it was when it was checked."""
        first, *rest = self.pieces
        by_digest = {piece.digest: piece for piece in rest}
        values = self.values_digest

        def read_part(digest: str) -> bytes:
            if self.values is not None and digest == values:
                return self.values
            return self._read(by_digest[digest])

        return Assembly(
            format=self.format,
            alignment=1,
            skeleton=self._read(first),
            parts=tuple(piece.digest for piece in rest),
            dictionary=None,
            digest=self.digest,
            shapes=self.run_shapes,
            inputs=values,
            signature=self.signature,
            batch=self.batch,
            size_bytes=self.size_bytes + len(self.values or b""),
            read_part=read_part,
        )

    def _read(self, piece: Piece) -> bytes:
        try:
            if self.folded is not None:
                data = self.folded.read(piece.offset, piece.size_bytes)
            else:
                with self.path.open("rb") as file:
                    file.seek(piece.offset)
                    data = file.read(piece.size_bytes)
        except OSError as error:
            raise ConfigError(f"{self.path}: {error.strerror or error}; put the file back") from error
        if hashlib.sha256(data).hexdigest() != piece.digest:
            raise ConfigError(f"{self.path}: changed while it was measured; give the command again")
        return data


class Folded:
    """Bytes in a temporary file without a name, which nobody else changes."""

    def __init__(self, data: bytes) -> None:
        with tempfile.TemporaryFile(prefix="harness-") as file:
            file.write(data)
            file.flush()
            self._fd = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._fd)

    def open(self) -> io.BufferedReader:
        """Return the bytes as an open file, which shares its place with every other such file: read it by `os.pread`."""
        return os.fdopen(os.dup(self._fd), "rb")

    def read(self, offset: int, size_bytes: int) -> bytes:
        """Return some of the bytes."""
        return os.pread(self._fd, size_bytes, offset)


@dataclass(frozen=True, slots=True)
class Piece:
    """A piece of a model's bytes, from `offset` on."""

    offset: int
    size_bytes: int
    digest: str


def open_files(paths: Sequence[Path], given: GivenInputs | None = None) -> list[FileModel]:
    """Return checked model files, with what is given of their inputs. Files of one name are told apart by their folders.

    A shape counts for the files that have an input of its name, an expected output and a signature for those that have one.
    Raises: ConfigError for a file that cannot be measured, and what is given that none of them has.
    """
    given = given or GivenInputs()
    values, expect = _arrays_of(given)
    files, signatures = list[FileModel](), list[str]()
    unused, names = dict(given.shapes), _names_of_files(paths)
    for path in paths:
        file, known = _open(path, _storable(names[path]), given, values, expect)
        files.append(file)
        signatures += known
        for called in _names(file.inputs):
            unused.pop(called, None)
    if unused:
        name, inputs = next(iter(unused)), [one for file in files for one in file.inputs]
        raise ConfigError(
            f"--shape {name}=...: no input of that name{_there_is(name, _names(inputs), inputs)}"
        )
    if given.signature and given.signature not in signatures:
        there = _there_is(given.signature, signatures, signatures)
        raise ConfigError(f"--signature {given.signature}: no signature of that name{there}")
    if expect is not None and not any(file.expect is not None for file in files):
        outputs = [one for file in files for one in judged_outputs(file.outputs)]
        known_outputs = _names(one for file in files for one in file.outputs)
        there = _there_is(next(iter(expect.arrays), ""), known_outputs, outputs)
        raise ConfigError(f"{expect.path}: no array is called as an output of a file that is compared{there}")
    return files


def _names_of_files(paths: Iterable[Path]) -> dict[Path, str]:
    """Return each file's name, with as many of its folders as tell it from others that are called so."""
    found, left, length = dict[Path, str](), set(paths), 0
    while left:
        length += 1
        ends = Counter(path.parts[-length:] for path in left)
        found |= {path: str(Path(*path.parts[-length:])) for path in left if ends[path.parts[-length:]] == 1}
        left -= found.keys()
    return found


def open_reference(text: str, given: GivenInputs) -> FileModel:
    """Return the one checked model file that others are timed beside, with what is given of inputs where it has these.

    Raises: ConfigError when the text means none or several.
    """
    (path,) = _one(text)
    return _open(path, _storable(path.name), given, *_arrays_of(given), is_optional=True)[0]


def open_one(text: str, given: GivenInputs | None = None) -> FileModel:
    """Return the one checked model file that a text means. Raises: ConfigError when it means none or several."""
    return open_files(_one(text), given)[0]


def _one(text: str) -> list[Path]:
    paths = find_files([text])
    if len(paths) > 1:
        raise ConfigError(f"{text!r} means {len(paths)} files; name one")
    return paths


@dataclass(frozen=True, slots=True, kw_only=True)
class _Arrays:
    """The arrays by name of a file that a person gives."""

    path: Path
    arrays: Mapping[str, Any]


def _arrays_of(given: GivenInputs) -> tuple[_Arrays | None, _Arrays | None]:
    """Return the arrays that are given of inputs and of outputs. Raises: ConfigError."""
    return _read_arrays(given.values, "input"), _read_arrays(given.expect, "output")


def _read_arrays(path: Path | None, what: str) -> _Arrays | None:
    if path is None:
        return None
    try:
        return _Arrays(path=path, arrays=read_arrays(path, INPUTS_LIMIT_BYTES))
    except ConfigError as error:
        raise ConfigError(
            f"{error}; write plain arrays of at most {INPUTS_LIMIT_BYTES >> 20} MiB: "
            f"numpy.savez({path.stem + '.npz'!r}, {what}=array)"
        ) from error


def _open(
    path: Path,
    name: str,
    given: GivenInputs,
    values: _Arrays | None,
    expect: _Arrays | None,
    *,
    is_optional: bool = False,
) -> tuple[FileModel, Sequence[str]]:
    """Return a file with its inputs, and its signatures' names; `is_optional`: values of other inputs are for other files."""
    data, suffix = _read_file(path), path.suffix.lower()
    if SUFFIXES[suffix] == "onnx":
        model = pt2_to_onnx(path, data, LIMIT_BYTES) if suffix == ".pt2" else data
        facts, whole = read_onnx(path, model, LIMIT_BYTES)
    else:
        facts, whole = read_tflite(path, data, given.signature), data
    own = _own_shapes(path, facts.inputs, given.shapes)
    if (
        values is not None
        and is_optional
        and any(_called(one, values.arrays) is None for one in facts.inputs)
    ):
        values = None
    arrays = {} if values is None else _own_values(path, facts.inputs, values)
    _check_free(path, facts.inputs, own, arrays)
    _check_sizes(path, facts.inputs, own)
    file = FileModel(
        path=path,
        name=name,
        format=SUFFIXES[suffix],
        precision=facts.precision,
        versions=facts.versions,
        digest=hashlib.sha256(whole).hexdigest(),
        size_bytes=len(whole),
        inputs=facts.inputs,
        outputs=facts.outputs,
        signature=facts.signature,
        shapes=own,
        values=None if values is None else _packed(arrays),
        expect=None if expect is None else _own_expected(path, facts.outputs, expect),
        pieces=tuple(_pieces(whole)),
        folded=None if whole is data else Folded(whole),
    )
    return file, facts.signatures


def _called(one: ModelEnd, given: Mapping[str, Any]) -> Any:
    """Return the value given under a name of an input or output, None where there is none."""
    return next((given[name] for name in one.names if name in given), None)


def _read_file(path: Path) -> bytes:
    try:
        if not path.is_file():  # a FIFO would be waited for, a device may have no end
            raise ConfigError(f"{path}: no plain file; write the model to one")
        size = path.stat().st_size
        if size > LIMIT_BYTES:
            raise ConfigError(f"{path}: {size / 1e9:.1f} GB; harness measures model files of up to 2 GiB")
        with path.open("rb") as file:
            data = file.read(LIMIT_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not data:
        raise ConfigError(f"{path}: an empty file; copy or export it again")
    if data.startswith(_LFS):
        raise ConfigError(f"{path}: a pointer of Git LFS, not the model; fetch it: git lfs pull")
    if path.suffix.lower() == ".onnx" and data[4:8] == MAGIC:
        raise ConfigError(f"{path}: a TFLite model; rename it to {path.with_suffix('.tflite').name}")
    return data


def _pieces(data: bytes) -> Iterable[Piece]:
    """Cut a model: a small head, then pieces of 4 MiB, larger ones of a model that would have too many."""
    step = max(PART_BYTES, -(-len(data) // MOST_PARTS))
    ends = [0, *range(min(SKELETON_BYTES, len(data)), len(data), step), len(data)]
    view = memoryview(data)
    for begin, end in pairwise(ends):
        if end > begin:
            yield Piece(begin, end - begin, hashlib.sha256(view[begin:end]).hexdigest())


def _own_shapes(
    path: Path, inputs: Sequence[ModelEnd], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, tuple[int, ...]]:
    """Return the given shapes by the model's own names. Raises: ConfigError for one that does not fit."""
    found = {}
    for one in inputs:
        shape = _called(one, shapes)
        if shape is None:
            continue
        if not _fits(one.shape, shape) and not (
            path.suffix.lower() == ".tflite" and len(shape) == len(one.shape)
        ):
            given = ",".join(map(str, shape))
            raise ConfigError(
                f"{path}: --shape {one.name}={given} does not fit the input {one}; change what is free (?) alone"
            )
        found[one.name] = shape
    return found


def _takes_batch(one: ModelEnd) -> bool:
    """Return whether an input leaves its first size free."""
    return bool(one.shape) and not isinstance(one.shape[0], int)


def _check_free(
    path: Path, inputs: Sequence[ModelEnd], shapes: Mapping[str, Any], arrays: Mapping[str, Any]
) -> None:
    for one in inputs:
        if one.free and one.name not in shapes and one.name not in arrays:
            sizes = ",".join(str(size) if isinstance(size, int) else "1" for size in one.shape)
            raise ConfigError(
                f"{path}: input {one} has free sizes; name them, e.g. --shape '{one.name}={sizes}', or give --inputs FILE.npz"
            )


def _check_sizes(path: Path, inputs: Sequence[ModelEnd], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse inputs without a value, and those that are too large for memory. Raises: ConfigError."""
    for one in inputs:
        count = prod(shapes.get(one.name) or [size for size in one.shape if isinstance(size, int)])
        if not count:
            raise ConfigError(
                f"{path}: input {one} has a size of 0, and so no values; export the model with the sizes that it is run with"
            )
        if count > MOST_VALUES:
            raise ConfigError(
                f"{path}: input {one} has {count:,} values, and harness gives {MOST_VALUES:,} at most; "
                "name smaller sizes with --shape"
            )


def _own_values(path: Path, inputs: Sequence[ModelEnd], values: _Arrays) -> dict[str, Any]:
    """Return given arrays by the model's own names. Raises: ConfigError for one that does not fit, or an input without any."""
    found, known = {}, _names(inputs)
    for name in values.arrays:
        if name not in known:
            raise ConfigError(
                f"{values.path}: array {name!r} is no input of {path.name}{_there_is(name, known, inputs)}"
            )
    for one in inputs:
        array = _called(one, values.arrays)
        if array is None:
            raise ConfigError(f"{values.path}: no array for the input {one} of {path.name}; add it")
        if str(array.dtype) != one.dtype or not _fits(one.shape, array.shape):
            shape = ",".join(map(str, array.shape))
            raise ConfigError(
                f"{values.path}: array {one.name!r} is [{shape}] {array.dtype}, and {path.name} wants {one}; convert it"
            )
        found[one.name] = array
    return found


def _own_expected(path: Path, outputs: Sequence[ModelEnd], expect: _Arrays) -> tuple[float, ...] | None:
    """Return the sums (8 an output) of the outputs that are right, zeros for one that is not given and so not judged.

    None where the arrays are of other files' outputs. Raises: ConfigError for what does not fit.
    """
    judged = judged_outputs(outputs)
    found = [_called(one, expect.arrays) for one in judged]
    if all(array is None for array in found):
        if expect.arrays.keys().isdisjoint(_names(outputs)):
            return None
        raise ConfigError(
            f"{expect.path}: harness compares these outputs of {path.name}: {', '.join(map(str, judged)) or 'none'}; add one"
        )
    sums: list[float] = []
    for one, array in zip(judged, found, strict=True):
        sums += [0.0] * OUTPUT_VALUES if array is None else _sums_of(path, one, expect.path, array)
    return tuple(sums)


def _sums_of(path: Path, output: ModelEnd, expect_path: Path, array: Any) -> list[float]:
    """Return the sums of an output's right values; integers of a quantized one stand for real numbers, as they do in the model.

    Raises: ConfigError for an array that does not fit.
    """
    import numpy as np

    # TFLite's outputs take the sizes of the inputs that are given; of an ONNX output no sizes at all may be told.
    is_known = bool(output.shape) and path.suffix.lower() == ".onnx"
    if array.dtype.kind not in "biuf" or (is_known and not _fits(output.shape, array.shape)):
        shape = ",".join(map(str, array.shape))
        raise ConfigError(
            f"{expect_path}: array {output.name!r} is [{shape}] {array.dtype}, and {path.name} gives {output}; convert it"
        )
    (values,) = judged_parts(array)
    if not values.size or not np.isfinite(values).all():
        raise ConfigError(
            f"{expect_path}: array {output.name!r} holds no finite numbers to compare with; give others"
        )
    if output.scale and str(array.dtype) == output.dtype:
        values = (values - output.zero_point) * output.scale
    return output_sums(values)


def _fits(own: Sequence[int | str | None], shape: Sequence[int]) -> bool:
    """Return whether a shape has the sizes that a model fixes."""
    return len(shape) == len(own) and all(
        not isinstance(fixed, int) or fixed == size for fixed, size in zip(own, shape, strict=True)
    )


def _names(ends: Iterable[ModelEnd]) -> list[str]:
    return [name for one in ends for name in one.names]


def _packed(arrays: Mapping[str, Any]) -> bytes:
    """Return arrays as the bytes of an .npz file, the same for the same arrays."""
    import zipfile

    import numpy as np

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(arrays):
            array = io.BytesIO()
            np.lib.format.write_array(array, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            # The date of a new ZipInfo is always the same.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), array.getvalue())
    return file.getvalue()


def _there_is(name: str, known: Iterable[str], there: Iterable[ModelEnd | str]) -> str:
    """Return the end of a refusal: the nearest known name, and all that there is, each once."""
    return f"{did_you_mean(name, known)} (there is: {', '.join(dict.fromkeys(map(str, there))) or 'none'})"


def _storable(name: str) -> str:
    """Return a name as text that any store takes: of a name that is no UTF-8 the odd bytes are question marks."""
    return name.encode("utf-8", "replace").decode()
