"""int8 for TFLite models by Google's LiteRT quantizer, with ranges that are given. Runs in the converter's process.

The quantizer works on a finished float model: activations get a scale and a zero point each, weights a scale for each channel,
biases 32 bits at the scale of input times weights. It keeps the operators and their versions, and every tensor's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from exporters.errors import ConversionError

Range = tuple[float, float]  # lowest and highest value, 0 among them
_LEVELS, _LOWEST = 255, -128
_LEAST_SPAN = np.float32(1e-9)  # the quantizer's; a range that holds 0 alone has a scale, too


def scale_of(low: float, high: float) -> tuple[float, int]:
    """Return scale and zero point of a range for 8 signed bits, as the quantizer rounds them."""
    scale = max(np.float32(high) - np.float32(low), _LEAST_SPAN) / np.float32(_LEVELS)
    return float(scale), int(np.rint(_LOWEST - np.float32(low) / scale))


def observed_ranges(model: bytes, samples: Iterable[Sequence[Any]]) -> dict[str, Range]:
    """Run a float model on samples, an array for each input in the order of their names; return what its tensors held.

    Raises: ConversionError for values that are not finite.
    """
    interpreter = Interpreter(
        model_content=model,
        num_threads=1,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    inputs = sorted(interpreter.get_input_details(), key=lambda details: details["name"])
    outputs = {number for op in interpreter._get_ops_details() for number in op["outputs"]}
    ranges = dict[str, Range]()
    for arrays in samples:
        for details, array in zip(inputs, arrays, strict=True):
            interpreter.set_tensor(details["index"], array)
        interpreter.invoke()
        for details in interpreter.get_tensor_details():
            if details["index"] in outputs:
                found = interpreter.get_tensor(details["index"])
                if not np.isfinite(found).all():
                    raise ConversionError(
                        f"{details['name']} is not finite on the calibration images, so that int8 has no scale for it; take "
                        "other images or weights, or export fp32"
                    )
                low, high = ranges.get(details["name"], (0.0, 0.0))
                ranges[details["name"]] = min(low, float(found.min())), max(high, float(found.max()))
    return ranges


def quantize(model: bytes, ranges: Mapping[str, Range]) -> bytes:
    """Return a float model in int8, whose activations have the given ranges, by their names.

    Where an operator's output has a scale by definition (a sigmoid's) or its input's (padding), its range does not matter.
    """
    # Late: other precisions need no quantizer, which is an extra.
    from litert_quantizer import quantizer, recipe

    statistics = {
        name: {"min": np.array(low, np.float32), "max": np.array(high, np.float32)}
        for name, (low, high) in ranges.items()
    }
    made = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    return bytes(made.quantize(statistics, enable_progress_report=False).quantized_model)
