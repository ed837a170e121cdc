"""Outputs of a session against the expected ones: how far off they are, and how far they may be."""

from __future__ import annotations

from collections.abc import Sequence
from math import hypot

from device_agents.throttling import number
from harness.records import FP32_PROVIDERS, Configuration, SessionRecord

# The most that ||output - expected|| may be of ||expected||, by the model's precision and the arithmetic that computes it. What
# is right stays far below. Zeros are off by 1, and what has nothing to do with the expected output by more.
OUTPUT_LIMITS: dict[tuple[str, str], float] = {
    # Other orders of the same sums: 60 networks and 140 segments of Blox were off by 4e-6 at most (ONNX Runtime, TFLite).
    ("fp32", "fp32"): 1e-3,
    # TF32, fp16 and bf16 keep 8 to 11 bits of a factor: under CUDA, most likely TF32, networks of Blox were off by 3e-4.
    ("fp32", "reduced"): 3e-2,
    # Weights and activations of 11 bits, rounded at every layer, whatever sums them.
    ("fp16", "fp32"): 3e-2,
    ("fp16", "reduced"): 3e-2,
    # Of files alone, which are held against their own run.
    ("fp64", "fp32"): 1e-3,
    ("fp64", "reduced"): 3e-2,
}
# Of int8, and of precisions unknown here: 8 bits for a tensor's whole range, at every layer. Over 250 networks of Blox the sums
# were off by 4 % (median) and 33 % (ONNX Runtime), 4 % and 32 % (TFLite) at most; what is false is off by 100 % and more.
WIDEST_LIMIT = 0.5
REFERENCE_ERROR = "reference_error"  # the key in a session's conditions after it
_EACH = 8  # of an output
_MOST = 1e9  # values near the largest number give no infinity
_NETWORKS = ("network", "trained")  # whose outputs are logits: of a segment's, all that are told may be zeros


def output_limit(configuration: Configuration) -> float:
    """Return how far outputs under a configuration may be off the expected ones, relative to these."""
    return limit_of(configuration.precision, configuration.provider)


def limit_of(precision: str, provider: str) -> float:
    """Return how far outputs of a model's precision by a provider may be off the expected ones, relative to these."""
    arithmetic = "fp32" if provider in FP32_PROVIDERS else "reduced"
    return OUTPUT_LIMITS.get((precision, arithmetic), WIDEST_LIMIT)


def why_false(
    name: str, output: Sequence[float], expected: Sequence[float], limit: float, *, is_network: bool = True
) -> str:
    """Return the error of false outputs of a model, with the remedy; nothing where they are not known to be false."""
    error = error_of(output, expected, is_network=is_network)
    if error is None or error <= limit:
        return ""
    return (
        f"the output of {name} on the fixed input is false: off by {error:.1%} of the right one, of which rounding explains "
        f"{limit:.1%}; try another provider or version of the runtime"
    )


def output_error(session: SessionRecord) -> float | None:
    """Return how far a session's outputs are off the expected ones, as `error_of` has it; None where they are not judged."""
    return error_of(session.output, session.expected, is_network=session.purpose in _NETWORKS)


def error_of(output: Sequence[float], expected: Sequence[float], *, is_network: bool = True) -> float | None:
    """Return the largest ||output - expected|| / ||expected|| of a model's outputs, 1 where none is told; None where it is not
    judged.

    Eight values stand for each output, those of one or several; in records of before the first eight of the first.
    Where nothing is expected, as in records of before, only a network's output of nothing but zeros is judged: it is off by 1.
    Where nothing but zeros is expected, as of segments that end with a ReLU, there is nothing to compare with.
    """
    if not expected:
        return 1.0 if is_network and output and not any(output) else None
    if not output:
        return 1.0
    told = (*output, *[0.0] * (len(expected) - len(output)))  # an output that is not told is off by 1
    pairs = list(zip(told, expected, strict=False))
    each = [pairs[begin : begin + _EACH] for begin in range(0, len(pairs), _EACH)]
    errors = [
        hypot(*(y - right for y, right in one)) / size
        for one in each
        if (size := hypot(*(right for _, right in one)))
    ]
    return min(max(errors), _MOST) if errors else None


def is_wrong(session: SessionRecord) -> bool:
    """Return whether a session's output is known to be false."""
    error = output_error(session)
    return error is not None and error > output_limit(session.configuration)


def reference_error(session: SessionRecord) -> float:
    """Return how far the reference's output was off the expected one; 0 where it was not judged, as in records of before."""
    return number(session.conditions_after.get(REFERENCE_ERROR)) or 0.0


def is_reference_wrong(session: SessionRecord) -> bool:
    """Return whether the output of a session's reference is known to be false."""
    return reference_error(session) > output_limit(session.configuration)
