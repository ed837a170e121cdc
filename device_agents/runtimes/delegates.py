"""TFLite's external delegates: a library of an accelerator's maker, by its path, with options of its own.

Source: https://ai.google.dev/edge/litert/performance/implementing_delegate (external delegates)
"""

from __future__ import annotations

import ctypes
from typing import Any, Mapping

from device_agents.refusal import Refusal

LIBRARY = "library"  # the option that holds the path; the others are the delegate's
ALSO_CPU = "+CPU"  # behind a delegate's name: the built-in kernels run the operators that it leaves out


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
