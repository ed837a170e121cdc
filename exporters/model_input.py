"""Inputs and outputs of a model file, and what its types say of its precision."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from exporters.expected import OUTPUTS

FLOATS = {"float32": "fp32", "float16": "fp16", "float64": "fp64", "bfloat16": "bf16"}
INTEGERS = ("int8", "uint8", "int4", "uint4")
UNKNOWN = "unknown"
# Constants of these types are places, sizes, masks and biases.
_NO_WEIGHTS = ("bool", "int32", "uint32", "int64", "uint64", "object", "undefined")
# What numpy has of all types.
NUMBERS = (
    "bool",
    *("float16", "float32", "float64"),
    *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEnd:
    """An input or output: its name, numpy's name of its type, and its sizes, a text or None where the model leaves one free.

    `aliases`: other names that a person may call it by, such as a signature's. `scale` and `zero_point` where its integers stand
    for real numbers, else a scale of 0.
    """

    name: str
    dtype: str
    shape: tuple[int | str | None, ...]
    aliases: tuple[str, ...] = ()
    scale: float = 0.0
    zero_point: int = 0

    def __str__(self) -> str:
        return f"{self.name} [{','.join('?' if size is None else str(size) for size in self.shape)}] {self.dtype}"

    @property
    def names(self) -> tuple[str, ...]:
        """All names that it may be called by, its own first."""
        return (self.name, *self.aliases)

    @property
    def free(self) -> tuple[int, ...]:
        """The places of the sizes that are free, but for a free batch size at the front, which is taken as 1."""
        return tuple(place for place, size in enumerate(self.shape) if not isinstance(size, int) and place)

    @property
    def is_real(self) -> bool:
        """Whether its values stand for real numbers."""
        return self.dtype in NUMBERS and (self.dtype.startswith("float") or self.scale != 0)


def judged_outputs(outputs: Sequence[ModelEnd]) -> list[ModelEnd]:
    """Return the outputs of a model that are judged, in their order: integers only where nothing stands for real numbers."""
    real = [one for one in outputs if one.is_real]
    return (real or [one for one in outputs if one.dtype in NUMBERS])[:OUTPUTS]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFacts:
    """Facts read from a model file: inputs, outputs, precision (`fp32`, `fp16`, `int8`, ... or `unknown`), versions in words.

    `signature` names what of the file is run, where it has graphs to choose from; `signatures` are all that can be named.
    """

    inputs: tuple[ModelEnd, ...]
    outputs: tuple[ModelEnd, ...]
    precision: str
    versions: str
    signature: str = ""
    signatures: tuple[str, ...] = ()


def precision_of(
    weights: Mapping[str, int], *, values: Iterable[str] = (), value_bits: int, dynamic: bool
) -> str:
    """Return a model's precision from the elements of its weights by type, as most of them are.

    Integer weights make `int8` where the values between layers are integers too, of `value_bits` 8, and `int16x8` of 16;
    `int8-dynamic` where those are quantized during a run (`dynamic`), else, of `value_bits` 0, `int8-weights`. 4 stands for the
    8 of weights where most integers have 4 bits. `unknown` where most are of another type, as floats of 8 bits. Without weights
    the first float type of `values` counts.

    >>> precision_of({"float32": 90, "int8": 10}, value_bits=8, dynamic=False)
    'fp32'
    """
    counts = Counter({dtype: count for dtype, count in weights.items() if dtype not in _NO_WEIGHTS})
    if not counts:
        return next((FLOATS[dtype] for dtype in values if dtype in FLOATS), UNKNOWN)
    integers = sum(counts[dtype] for dtype in INTEGERS)
    dtype, most = max(((dtype, counts[dtype]) for dtype in FLOATS), key=lambda item: item[1])
    if counts.total() - integers - sum(counts[one] for one in FLOATS) > max(integers, most):
        return UNKNOWN
    if integers <= most:
        return FLOATS[dtype]
    bits = 4 if 2 * (counts["int4"] + counts["uint4"]) > integers else 8
    if dynamic or not value_bits:
        return f"int{bits}-{'dynamic' if dynamic else 'weights'}"
    return f"int16x{bits}" if value_bits == 16 else f"int{bits}"
