"""Measure latencies of neural networks on devices, predict those of a whole search space, and search it within limits.

    import harness

    device = harness.load_devices("devices.toml")["pixel"]
    with harness.open_store("lab.sqlite") as store:
        harness.measure(device, "sample:200@1", store=store, level="quick", log=print)
        measured = harness.results(store, device="pixel").to_pandas()
        latency = harness.predict(store, device="pixel", runtime="onnxruntime")
    print(latency.at("conv/mbconv/bconv-conv").interval_ms)
    table = harness.join("blox-base-0.blox", [latency])
    print(harness.search(table, ["pixel<8ms", "params<=3M"]).best)

The command `harness` does the same for the shell. Importing this package loads nothing else: a name's module is imported when
the name is first used.
"""

import re
import sys
from collections.abc import Callable
from functools import cache, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any

from harness.version import __version__

if TYPE_CHECKING:
    from harness.blockwise.run import search_blocks
    from harness.devices.config import load_devices
    from harness.errors import DeviceError, StoreError
    from harness.models.results import results
    from harness.output.report.page import report
    from harness.prediction.measure import measure
    from harness.prediction.pack import import_results, pack
    from harness.prediction.space_prediction import predict
    from harness.prediction.under_load import sustain
    from harness.query.compare import compare
    from harness.query.compare_precisions import compare_precisions
    from harness.query.from_store import maximize, search_store, verify
    from harness.query.join import join
    from harness.query.search import search
    from harness.store.opening import open_store
    from harness.training import distill, train
    from space.errors import ConfigError, HarnessError

    distil = distill

__all__ = [
    "ConfigError",
    "DeviceError",
    "HarnessError",
    "StoreError",
    "__version__",
    "compare",
    "compare_precisions",
    "distill",
    "import_results",
    "join",
    "load_devices",
    "maximize",
    "measure",
    "open_store",
    "pack",
    "predict",
    "report",
    "results",
    "search",
    "search_blocks",
    "search_store",
    "sustain",
    "train",
    "verify",
]

_MODULES = {
    "ConfigError": "space.errors",
    "DeviceError": "harness.errors",
    "HarnessError": "space.errors",
    "StoreError": "harness.errors",
    "compare": "harness.query.compare",
    "compare_precisions": "harness.query.compare_precisions",
    "distill": "harness.training",
    "import_results": "harness.prediction.pack",
    "join": "harness.query.join",
    "load_devices": "harness.devices.config",
    "maximize": "harness.query.from_store",
    "measure": "harness.prediction.measure",
    "open_store": "harness.store.opening",
    "pack": "harness.prediction.pack",
    "predict": "harness.prediction.space_prediction",
    "report": "harness.output.report.page",
    "results": "harness.models.results",
    "search": "harness.query.search",
    "search_blocks": "harness.blockwise.run",
    "search_store": "harness.query.from_store",
    "sustain": "harness.prediction.under_load",
    "train": "harness.training",
    "verify": "harness.query.from_store",
}
_PLURAL = re.compile("(ies|es|s|e|y)$")  # what a noun and its plural end in beyond their stem
_OPTIONS = {"constraint": "limits"}  # of the command line, where an argument is called otherwise
_FORMER = {"distil": "distill"}  # names of before, which stay


if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> object:
        name = _FORMER.get(name, name)
        if name not in _MODULES:
            raise AttributeError(
                f"module 'harness' has no attribute {name!r}", name=name, obj=sys.modules[__name__]
            )
        found = getattr(import_module(_MODULES[name]), name)
        return found if isinstance(found, type) else _with_arguments_noted(found)

    @cache
    def _with_arguments_noted(function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that takes its arguments in singular or plural, since some functions take several of what others
        take one of; its errors tell its arguments beside the options of the command line, which messages give.
        """
        from space.errors import HarnessError, did_you_mean

        names = [name for name in function.__annotations__ if name != "return"]
        by_stem = {_PLURAL.sub("", name): name for name in names}
        by_stem |= {option: name for option, name in _OPTIONS.items() if name in names}

        @wraps(function)
        def called(*given: Any, **named: Any) -> Any:
            for name in [*named]:
                meant = name if name in names else by_stem.get(_PLURAL.sub("", name), "")
                if not meant or (meant != name and meant in named):
                    there = f"{did_you_mean(name, names)} (there are: {', '.join(names)})"
                    raise TypeError(f"harness.{function.__name__} has no argument {name!r}{there}")
                named[meant] = named.pop(name)
            try:
                return function(*given, **named)
            except HarnessError as error:
                error.note_arguments(function.__annotations__)
                raise

        called.__module__ = __name__  # where pickle finds it
        return called

    def __dir__() -> list[str]:
        return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})
