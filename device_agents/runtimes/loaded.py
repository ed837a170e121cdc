"""A loaded model: something to run, and the fixed or given inputs that it runs on."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Callable, Sequence, Tuple

OUTPUT_VALUES = 8
NodeTime = Tuple[str, str, str, int]
"""A node of one run: its name, its op type, the provider that ran it, its time in ns."""


@dataclass(frozen=True)
class Loaded:
    """`run` does one inference on the fixed input; `output` returns the first values of the last one.

    `runtime` is {name, package, version, provider}, as a session reports it. `shares`: the share of the model's operators that
    each provider runs, empty where the runtime does not prove it. `arithmetic`: what it says that it computes in, or was set to,
    fp32, fp16, int8, mixed or unknown; empty where that is not told. `device_times` runs the model so often and returns what the
    accelerator's own clock says of each run, in ns; None where there is none. `reversed_output` runs it once on the values of its
    inputs in reverse order and returns that output, the inputs put back; None where no run is left out unsaid. `buffers` live as
    long as the model: ONNX Runtime 1.29 writes into an output that nobody else holds after its memory is gone.
    """

    run: Callable[[], Any]
    output: Callable[[], list[float]]
    runtime: dict[str, str]
    buffers: tuple[Any, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    arithmetic: str = ""
    device_times: Callable[[int], list[int]] | None = None
    reversed_output: Callable[[], list[float]] | None = None


@dataclass(frozen=True)
class Inputs:
    """A model's given inputs, by name: shapes of those that it leaves free, and arrays in place of fixed values.

    signature: the one of a TFLite model whose inputs they are, empty for its first graph. batch: the images that one run takes,
    by these shapes or the model's own.
    """

    shapes: dict[str, list[int]] = field(default_factory=dict)
    arrays: dict[str, Any] = field(default_factory=dict)
    signature: str = ""
    batch: int = 1

    def __bool__(self) -> bool:
        return bool(self.shapes or self.arrays or self.signature or self.batch > 1)

    def shape_of(self, name: str) -> list[int] | None:
        """Return the shape that an input is given, None where it keeps the model's."""
        if name in self.arrays:
            return [int(size) for size in self.arrays[name].shape]
        return self.shapes.get(name)

    def array(
        self,
        name: str,
        shape: Sequence[int],
        dtype: Any,
        layout: str,
        scale: float = 0.0,
        zero_point: int = 0,
    ) -> Any:
        """Return an input's values: those given, else the fixed ones. Raises: ValueError when those given are of another type."""
        import numpy

        if name not in self.arrays:
            return fixed_input(shape, dtype, layout, scale, zero_point)
        array = self.arrays[name]
        if array.dtype != numpy.dtype(dtype):
            raise ValueError(
                "input %r is given as %s; the model wants %s" % (name, array.dtype, numpy.dtype(dtype))
            )
        return numpy.ascontiguousarray(array)


def read_arrays(data: bytes) -> dict[str, Any]:
    """Return the arrays of an .npz file by name; none that would need a pickle. Raises: ValueError, and what zipfile raises."""
    import numpy

    with numpy.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def fixed_values(shape: Sequence[int], layout: str) -> Any:
    """Return float32 values in [-1, 1) that depend only on (n, channel, row, column).

    shape: as the model has it; a rank of 4 is read in `layout` (NCHW or NHWC), so that both layouts of
    one image hold the same values and their outputs can be compared. Other ranks count their elements.
    """
    import numpy

    count = int(numpy.prod(shape, dtype=numpy.int64))
    order: Any = numpy.arange(count, dtype=numpy.uint32)
    if len(shape) == 4 and layout == "NHWC":
        batch, rows, columns, channels = shape
        order = order.reshape(batch, channels, rows, columns).transpose(0, 2, 3, 1)
    mixed = order.reshape(tuple(shape)) * numpy.uint32(2654435761)  # Knuth's multiplicative hash
    mixed = (mixed ^ (mixed >> numpy.uint32(15))) * numpy.uint32(2246822519)  # a round of xxHash32's finish
    mixed ^= mixed >> numpy.uint32(13)
    unit = (mixed >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(1 << 24)
    return numpy.ascontiguousarray(unit * numpy.float32(2) - numpy.float32(1))


def fixed_input(
    shape: Sequence[int], dtype: Any, layout: str, scale: float = 0.0, zero_point: int = 0
) -> Any:
    """Return the fixed input of a model, quantized where its type is an integer.

    An integer type without a scale takes the values 0 to 127; truth values are true where the fixed value is positive.
    """
    import numpy

    values = fixed_values(shape, layout)
    kind = numpy.dtype(dtype)
    if kind.kind == "b":
        return values > 0
    if kind.kind not in "iu":
        return values.astype(kind)
    scaled = values / scale + zero_point if scale else (values + 1) * 64
    limits = numpy.iinfo(kind)
    return numpy.clip(numpy.round(scaled), limits.min, limits.max).astype(kind)


def judged_places(shape: Sequence[int], batch: int) -> list[int]:
    """Return the places of an output's values that are told: the first, of a batch half of them of its first and last image.

    Raises: ValueError for an output of another number of images: such a run is none of the batch.
    """
    count = 1
    for size in shape:
        count *= int(size)
    if batch == 1:
        return list(range(min(count, OUTPUT_VALUES)))
    if not shape or shape[0] != batch:
        raise ValueError(
            "the first output is %s for a batch of %d images: this model takes none" % (list(shape), batch)
        )
    each = min(count // batch, OUTPUT_VALUES // 2)
    return [*range(each), *range(count - count // batch, count - count // batch + each)]


def first_values(array: Any, scale: float = 0.0, zero_point: int = 0, batch: int = 1) -> list[float]:
    """Return the first values of an output, dequantized where it has a scale; none of an output that holds no numbers.

    Raises: as `judged_places`.
    """
    if array.dtype.kind not in "biuf":
        return []
    flat = array.reshape(-1)
    values = [float(flat[place]) for place in judged_places(array.shape, batch)]
    return [(value - zero_point) * scale for value in values] if scale else values
