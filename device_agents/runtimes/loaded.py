"""A loaded model: something to run, and the fixed or given inputs that it runs on."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from typing import Any, Callable, Iterable, NamedTuple, Sequence, Tuple

OUTPUT_VALUES = 8  # that each output is judged by
OUTPUTS = 8  # of a model that are judged
MOST_VALUES = 1 << 20  # of an output that are read
IMAGE_GROUPS = 64  # of a batch that are judged, each by sums of its own
VALUES_AT_ONCE = 1 << 16  # of an input, that are made
PERIOD = 61  # of the signs, a prime: rows, channels and images are seldom as long as some of it
# Legendre's symbol, as good as drawn by lot; the first values stand for themselves.
SIGNS = [
    1 if place < OUTPUT_VALUES or pow(place, PERIOD // 2, PERIOD) == 1 else -1 for place in range(PERIOD)
]
Change = Callable[[bytes, str], bytes]
"""Other values of an input, made of the bytes of its own and their type's letter in `struct`."""
# The letter in `struct` of numpy's types of real numbers and integers, by kind and bytes.
LETTERS = {
    **{"f2": "e", "f4": "f", "f8": "d"},
    **{"i1": "b", "i2": "h", "i4": "i", "i8": "q", "u1": "B", "u2": "H", "u4": "I", "u8": "Q"},
}
NodeTime = Tuple[str, str, str, int]
"""A node of one run: its name, its op type, the provider that ran it, its time in ns."""


@dataclass(frozen=True)
class Loaded:
    """`run` does one inference on the fixed input; `output` returns what the last one's outputs are judged by (`judged_values`).

    `runtime` is {name, package, version, provider}, as a session reports it. `shares`: the share of the model's operators that
    each provider runs, empty where the runtime does not prove it. `arithmetic`: what it says that it computes in, or was set to,
    fp32, fp16, int8, mixed or unknown; empty where that is not told. `device_times` runs the model so often and returns what the
    accelerator's own clock says of each run, in ns; None where there is none. `other_output` runs it once on other values
    and returns that output, its inputs put back; None on a processor, and without inputs that can be changed. `buffers` live
    as long as the model: ONNX Runtime 1.29 writes into an output that nobody else holds after its memory is gone.
    """

    run: Callable[[], Any]
    output: Callable[[], list[float]]
    runtime: dict[str, str]
    buffers: tuple[Any, ...] = ()
    shares: dict[str, float] = field(default_factory=dict)
    arithmetic: str = ""
    device_times: Callable[[int], list[int]] | None = None
    other_output: Callable[[Change], list[float]] | None = None


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


def on_other_values(
    given: Sequence[Tuple[Any, Any]],
    put: Callable[[Any, Any], Any],
    run: Callable[[], Any],
    output: Callable[[], list[float]],
) -> Callable[[Change], list[float]] | None:
    """Return `Loaded.other_output` of a model whose inputs are numpy's arrays; None where none of them holds real numbers.

    given: inputs that hold some, as `put` names them, with their values.
    """

    def other_output(change: Change) -> list[float]:
        # Held until the model has its own again.
        others = [changed_array(array, change) for _, array in given]
        for place, (name, _) in enumerate(given):
            put(name, others[place])
        run()
        values = output()
        for name, array in given:
            put(name, array)
        return values

    return other_output if given else None


def changed_array(array: Any, change: Change) -> Any:
    """Return other values in the shape and type of an array."""
    import numpy

    data = change(array.tobytes(), LETTERS[array.dtype.kind + str(array.dtype.itemsize)])
    return numpy.frombuffer(data, array.dtype).reshape(array.shape).copy()


def read_arrays(data: bytes) -> dict[str, Any]:
    """Return the arrays of an .npz file by name; none that would need a pickle. Raises: ValueError, and what zipfile raises."""
    import numpy

    with numpy.load(io.BytesIO(data), allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def fixed_input(
    shape: Sequence[int], dtype: Any, layout: str, scale: float = 0.0, zero_point: int = 0
) -> Any:
    """Return the fixed input of a model: values in [-1, 1) by (n, channel, row, column), quantized where its type is an integer.

    shape: as the model has it; a rank of 4 is read in `layout` (NCHW or NHWC), so that both layouts of
    one image hold the same values and their outputs can be compared. Other ranks count their elements.
    An integer type without a scale takes the values 0 to 127; truth values are true where the fixed value is positive. Made piece
    by piece: what takes memory beside the input would count as the model's.
    """
    import numpy

    count = int(numpy.prod(shape, dtype=numpy.int64))
    made = numpy.empty(count, dtype)
    for begin in range(0, count, VALUES_AT_ONCE):
        places: Any = numpy.arange(begin, min(begin + VALUES_AT_ONCE, count), dtype=numpy.uint32)
        end = begin + len(places)
        if len(shape) == 4 and layout == "NHWC":
            _, rows, columns, channels = map(numpy.uint32, shape)
            pixels, channel = places // channels, places % channels
            image, pixel = pixels // (rows * columns), pixels % (rows * columns)
            places = (image * channels + channel) * (rows * columns) + pixel
        made[begin:end] = in_type(values_at(places), made.dtype, scale, zero_point)
    return made.reshape(tuple(shape))


def values_at(places: Any) -> Any:
    """Return the float32 values in [-1, 1) at places (n,) of uint32."""
    import numpy

    mixed = places * numpy.uint32(2654435761)  # Knuth's multiplicative hash
    mixed = (mixed ^ (mixed >> numpy.uint32(15))) * numpy.uint32(2246822519)  # a round of xxHash32's finish
    mixed ^= mixed >> numpy.uint32(13)
    unit = (mixed >> numpy.uint32(8)).astype(numpy.float32) / numpy.float32(1 << 24)
    return unit * numpy.float32(2) - numpy.float32(1)


def in_type(values: Any, kind: Any, scale: float, zero_point: int) -> Any:
    """Return float32 values in another of numpy's types."""
    import numpy

    if kind.kind == "b":
        return values > 0
    if kind.kind not in "iu":
        return values.astype(kind)
    scaled = values / scale + zero_point if scale else (values + 1) * 64
    limits = numpy.iinfo(kind)
    return numpy.clip(numpy.round(scaled), limits.min, limits.max).astype(kind)


class Output(NamedTuple):
    """An output of a run: its shape, and its values in a row, read where they are asked for; a scale where it is quantized."""

    shape: Sequence[int]
    values: Callable[[], Any]
    is_float: bool
    scale: float = 0.0
    zero_point: int = 0


def array_outputs(arrays: Iterable[Any]) -> list[Output]:
    """Return those of numpy's arrays that hold numbers, as outputs."""
    return [array_output(array) for array in arrays if array.dtype.kind in "biuf"]


def array_output(array: Any, scale: float = 0.0, zero_point: int = 0) -> Output:
    """Return an array of numbers as an output."""
    is_float = array.dtype.kind == "f"
    return Output(array.shape, lambda: array.reshape(-1), is_float, float(scale), int(zero_point))


def judged_values(outputs: Sequence[Output], batch: int = 1) -> list[float]:
    """Return the values that outputs are judged by: eight sums of each of the first eight, as `output_sums` has them.

    Integers that stand for no real numbers, such as classes, may flip where rounding moves a value a little: they are judged only
    where there is nothing else. Of a batch, outputs with a row an image have eight sums for each of their `image_groups`.

    Raises: ValueError for outputs of another number of images: such a run is none of the batch.
    """
    if batch > 1 and outputs and not any(is_of_batch(one.shape, batch) for one in outputs):
        shapes = ", ".join(str(list(map(int, one.shape))) for one in outputs)
        message = "the outputs are %s for a batch of %d images: this model takes none"
        raise ValueError(message % (shapes, batch))
    judged = [one for one in outputs if one.is_float or one.scale] or outputs
    sums: list[float] = []
    for one in judged[:OUTPUTS]:
        for part in judged_parts(one.values(), batch if is_of_batch(one.shape, batch) else 1):
            values = plain(part)
            if one.scale:
                values = [(value - one.zero_point) * one.scale for value in values]
            sums += output_sums(values)
    return sums


def is_of_batch(shape: Sequence[int], batch: int) -> bool:
    """Return whether an output has a row for each image of a batch."""
    return len(shape) > 0 and int(shape[0]) == batch


def judged_parts(values: Any, images: int) -> list[Any]:
    """Return the values of an output of so many images, for each of their `image_groups`.

    Of more than `MOST_VALUES` in all every second one, or third, and so on, so that reading them stays short.
    """
    groups, each = image_groups(images), len(values) // images
    parts = [values[begin * each : end * each] for begin, end in groups]
    return [part[:: max(1, -(-len(part) * len(groups) // MOST_VALUES))] for part in parts]


def image_groups(images: int) -> list[tuple[int, int]]:
    """Return beginning and end of the groups of a batch's images: of up to 64 each image, else first, last and some between.

    >>> image_groups(1), image_groups(3), image_groups(126)[:3]
    ([(0, 1)], [(0, 1), (1, 2), (2, 3)], [(0, 1), (1, 3), (3, 5)])
    """
    # One false image stands out in a small group; among all images of a large batch its share is within what int8 rounds away.
    between = IMAGE_GROUPS - 2
    cuts = {1 + (images - 2) * place // between for place in range(between + 1)} if images > 1 else set()
    ends = sorted(cuts | {0, images})
    return [(ends[place], ends[place + 1]) for place in range(len(ends) - 1)]


def output_sums(values: Sequence[float]) -> list[float]:
    """Return eight sums that stand for all values: each value is in one of them, with a sign that depends on its place.

    An error in any value moves them, about as far in proportion as it moves the whole (a count sketch: Charikar, Chen,
    Farach-Colton, Finding frequent items in data streams, 2002). Up to eight values stand for themselves.
    """
    sums = [0.0] * OUTPUT_VALUES
    for place in range(min(PERIOD, len(values))):
        sums[place % OUTPUT_VALUES] += SIGNS[place] * float(sum(values[place::PERIOD]))
    return sums


def plain(values: Any) -> Any:
    """Return values as Python's own numbers, which sum without rounding to the type that they came in."""
    return values.tolist() if hasattr(values, "tolist") else values
