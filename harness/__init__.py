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

from importlib import import_module
from typing import TYPE_CHECKING

from harness.version import __version__

if TYPE_CHECKING:
    from harness.devices.config import load_devices
    from harness.models.results import results
    from harness.prediction.measure import measure
    from harness.prediction.pack import import_results, pack
    from harness.prediction.space_prediction import predict
    from harness.prediction.under_load import sustain
    from harness.query.compare import compare
    from harness.query.compare_precisions import compare_precisions
    from harness.query.join import join
    from harness.query.search import search
    from harness.store.opening import open_store
    from harness.training import distill, train

    distil = distill

__all__ = [
    "__version__",
    "compare",
    "compare_precisions",
    "distill",
    "import_results",
    "join",
    "load_devices",
    "measure",
    "open_store",
    "pack",
    "predict",
    "results",
    "search",
    "sustain",
    "train",
]

_MODULES = {
    "compare": "harness.query.compare",
    "compare_precisions": "harness.query.compare_precisions",
    "distill": "harness.training",
    "import_results": "harness.prediction.pack",
    "join": "harness.query.join",
    "load_devices": "harness.devices.config",
    "measure": "harness.prediction.measure",
    "open_store": "harness.store.opening",
    "pack": "harness.prediction.pack",
    "predict": "harness.prediction.space_prediction",
    "results": "harness.models.results",
    "search": "harness.query.search",
    "sustain": "harness.prediction.under_load",
    "train": "harness.training",
}
_FORMER = {"distil": "distill"}  # names of before, which stay


if not TYPE_CHECKING:  # a checker would take any name for one of these

    def __getattr__(name: str) -> object:
        name = _FORMER.get(name, name)
        if name not in _MODULES:
            raise AttributeError(f"module 'harness' has no attribute {name!r}")
        return getattr(import_module(_MODULES[name]), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
