"""Coral's Edge TPU, which TFLite reaches by an external delegate, libedgetpu, and only with models that were compiled for it.

Source: https://coral.ai/docs/edgetpu/tflite-python/ and https://coral.ai/docs/edgetpu/compiler/
"""

from __future__ import annotations

import ctypes
import os
from typing import Any, Sequence

from device_agents.refusal import Refusal
from device_agents.runtimes.delegates import open_delegate

PROVIDER = "EdgeTPU"
LIBRARY = "libedgetpu.so.1"
LIBRARY_VARIABLE = "HARNESS_EDGETPU_LIBRARY"
COMPILED_OPERATOR = "edgetpu-custom-op"  # stands for all that the compiler put on the Edge TPU
# A model with fp32 at its borders has these there; they compute nothing.
BORDERS = ("QUANTIZE", "DEQUANTIZE")
DELEGATED = "DELEGATE"


def library_name() -> str:
    """Return the library's path as devices.toml has it, else the name by which its system finds it."""
    return os.environ.get(LIBRARY_VARIABLE) or LIBRARY


def is_there() -> bool:
    """Return whether the library loads, or devices.toml names one: then a model's failure tells why it does not."""
    if os.environ.get(LIBRARY_VARIABLE):
        return True
    try:
        ctypes.CDLL(LIBRARY)
    except OSError:
        return False
    return True


def is_compiled(model: bytes) -> bool:
    """Return whether a model was compiled for the Edge TPU."""
    return COMPILED_OPERATOR.encode() in model


def load_delegate(module: Any, model: bytes) -> Any:
    """Return the delegate for a model. Raises: Refusal where it is not compiled, or the library or the Edge TPU is not there."""
    if not is_compiled(model):
        message = (
            "the model was not compiled for the Edge TPU, which would leave all of it to the CPU; compile its int8 form on "
            "x86-64 Linux (edgetpu_compiler model.tflite makes model_edgetpu.tflite); as the reference name one that is, with "
            "--reference FILE"
        )
        raise Refusal("worker-error", message)
    try:
        return open_delegate(module, library_name(), {})
    except (OSError, ValueError, RuntimeError) as error:
        message = (
            "the Edge TPU cannot be used: %s; is it plugged in, may this user use it (sudo usermod -aG plugdev USER, then log "
            "in anew), is %s installed and made for this version of TFLite? edgetpu_library in devices.toml names another"
            % (" ".join(str(error).split()), library_name())
        )
        raise Refusal("runtime-missing", message) from error


def check_whole(operators: Sequence[str]) -> None:
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
