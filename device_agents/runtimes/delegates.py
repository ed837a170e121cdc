"""TFLite's external delegates: Coral's Edge TPU, for models that were compiled for it, and those that devices.toml describes.

A delegate is a library of an accelerator's maker, with options of its own.
Sources: https://ai.google.dev/edge/litert/performance/implementing_delegate (external delegates),
https://coral.ai/docs/edgetpu/tflite-python/ and https://coral.ai/docs/edgetpu/compiler/
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Mapping, Sequence

from device_agents.refusal import Refusal

LIBRARY = "library"  # the option that holds the path; the others are the delegate's
EDGE_TPU = "EdgeTPU"
CORALS_LIBRARY = "libedgetpu.so.1"
CORALS_VARIABLE = "HARNESS_EDGETPU_LIBRARY"
COMPILED_OPERATOR = "edgetpu-custom-op"  # stands for all that the compiler put on the Edge TPU
# A model with fp32 at its borders has these there; they compute nothing.
BORDERS = ("QUANTIZE", "DEQUANTIZE")
DELEGATED = "DELEGATE"


def open_delegate(module: Any, library: str, options: Mapping[str, str]) -> Any:
    """Return the delegate of a library, of TFLite's package `module`. Raises: OSError, ValueError, RuntimeError."""
    load = getattr(module, "load_delegate", None) or module.experimental.load_delegate
    ctypes.CDLL(library)  # tells more of a library that does not load than TFLite does
    return load(library, dict(options))


def named_delegate(module: Any, provider: str, given: Mapping[str, str]) -> Any:
    """Return the delegate that devices.toml describes under a provider's name. Raises: Refusal where it cannot be used."""
    options = {name: value for name, value in given.items() if name != LIBRARY}
    library = given[LIBRARY]
    try:
        return open_delegate(module, library, options)
    except (OSError, ValueError, RuntimeError) as error:
        message = (
            "the delegate %s cannot be used: %s: %s; is the library there, made for this processor and this version of TFLite, "
            "and does it know the options %s? See tflite_delegates in devices.toml"
            % (provider, library, " ".join(str(error).split()), options or "none")
        )
        raise Refusal("runtime-missing", message) from error


def check_shares(provider: str, shares: Mapping[str, float]) -> None:
    """Refuse a model of which a delegate does not run all, unless its provider allows that. Raises: Refusal.

    shares: of the model's operators by name, as a package tells them that lists operators.
    """
    name, _, also_cpu = provider.partition("+")
    share = shares.get(name, 0.0)
    if share <= 0:
        raise Refusal("worker-error", "the delegate %s took no operator of the model" % name)
    if share < 1 and not also_cpu:
        message = (
            "the delegate %s runs %.0f %% of the model's operators, and the CPU would run the others: no latency of the "
            "accelerator; tflite:%s+cpu measures it as it falls" % (name, 100 * share, name)
        )
        raise Refusal("worker-error", message)


def corals_library() -> str:
    """Return the library's path as devices.toml has it, else the name by which its system finds it."""
    return os.environ.get(CORALS_VARIABLE) or CORALS_LIBRARY


def has_corals_library() -> bool:
    """Return whether the library loads, or devices.toml names one: then a model's failure tells why it does not."""
    if os.environ.get(CORALS_VARIABLE):
        return True
    try:
        ctypes.CDLL(CORALS_LIBRARY)
    except OSError:
        return False
    return True


def is_compiled(model: bytes) -> bool:
    """Return whether a model was compiled for the Edge TPU."""
    return COMPILED_OPERATOR.encode() in model


def edgetpu_delegate(module: Any, model: bytes) -> Any:
    """Return the delegate for a model. Raises: Refusal where it is not compiled, or the library or the Edge TPU is not there."""
    if not is_compiled(model):
        message = (
            "the model was not compiled for the Edge TPU, which would leave all of it to the CPU; compile its int8 form on "
            "x86-64 Linux (edgetpu_compiler model.tflite makes model_edgetpu.tflite); as the reference name one that is, with "
            "--reference FILE"
        )
        raise Refusal("worker-error", message)
    try:
        return open_delegate(module, corals_library(), {})
    except (OSError, ValueError, RuntimeError) as error:
        message = (
            "the Edge TPU cannot be used: %s; is it plugged in, may this user use it (sudo usermod -aG plugdev USER, then log "
            "in anew), is %s installed and made for this version of TFLite? edgetpu_library in devices.toml names another"
            % (" ".join(str(error).split()), corals_library())
        )
        raise Refusal("runtime-missing", message) from error


def check_edgetpu(operators: Sequence[str]) -> None:
    """Refuse a model of which a part runs on the CPU. Raises: Refusal.

    operators: names of all that the interpreter lists, those among them that a delegate has replaced.
    """
    if DELEGATED not in operators:
        raise Refusal("worker-error", "the Edge TPU's library took no operator of the model")
    left = [name for name in operators if name not in (DELEGATED, COMPILED_OPERATOR, *BORDERS)]
    if left:
        message = (
            "a part of the model runs on the CPU, %d operators (%s): no latency of the Edge TPU; edgetpu_compiler -s shows why "
            "it leaves them out" % (len(left), ", ".join(sorted(set(left))))
        )
        raise Refusal("worker-error", message)


def refuse_elsewhere(model: bytes, provider: str) -> None:
    """Refuse a model that was compiled for the Edge TPU where it would run on something else. Raises: Refusal."""
    if is_compiled(model):
        message = (
            "the model was compiled for the Edge TPU and runs nowhere else, not on %s; take tflite:edgetpu"
        )
        raise Refusal("worker-error", message % provider)
