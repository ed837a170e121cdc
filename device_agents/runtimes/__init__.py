"""The runtimes an agent can time: each a small module with the same few names.

`Runtime` has the names. Importing a module here imports no runtime. Modules of other packages lie in `outside`, where the
harness puts them when it packs the agent.

A runtime with a profiler that Python can reach has a module in `PROFILED` too: its `load_profiled(model, threads, options,
folder, inputs)` returns a `Loaded` and a function that ends the profile and yields the `NodeTime`s of each run.

A runtime that can be given the shapes and the values of a model's inputs has a function `load_with_inputs(model, threads,
options, inputs)` too; one that can run a signature of the model has `SIGNATURES = True` beside it.
"""

from __future__ import annotations

import gc
from importlib import import_module
from typing import Any, Dict, Mapping, Protocol, Sequence

from device_agents.refusal import Refusal
from device_agents.runtimes import outside
from device_agents.runtimes.loaded import Inputs, Loaded


class Runtime(Protocol):
    """A module of a runtime. Its three functions raise ModuleNotFoundError where none of its packages is installed."""

    NAME: str

    @property
    def FORMATS(self) -> Sequence[str]:
        """The formats of models that it loads, "onnx" or "tflite"."""

    @property
    def PACKAGES(self) -> Sequence[str]:
        """Names to import, of which any one is enough."""

    @property
    def OPTIONS(self) -> Mapping[str, type]:
        """The type of each option that `load` takes."""

    def find(self) -> tuple[str, str, Any]:
        """Import the runtime and return (package, version, module)."""

    def providers(self) -> list[str]:
        """Return the choices of the option `provider`, the default first; empty where there is no choice."""

    def load(self, model: bytes, threads: int, options: dict[str, Any]) -> Loaded:
        """Load a model on `threads` threads, its fixed input in place. Raises: Refusal, and what the runtime raises."""


class Modules(Dict[str, Any]):
    """Modules by the names of runtimes; one of this package, given by its own name, is imported once it is asked for."""

    def __getitem__(self, runtime: str) -> Any:
        module = super().__getitem__(runtime)
        return import_module("%s.%s" % (__name__, module)) if isinstance(module, str) else module


RUNTIMES: dict[str, Runtime] = Modules(onnxruntime="onnxruntime_cpu", tflite="tflite", litert="litert")
for name, module in outside.runtimes().items():
    RUNTIMES.setdefault(name, module)

PROFILED = Modules(onnxruntime="onnxruntime_profile", litert="litert_profile")

FORMATS = ("onnx", "tflite")
PROCESSOR = ("cpu", "xnnpack", "builtin", "dnnl")  # the beginnings of providers that compute on nothing else


def uses_accelerator(provider: str) -> bool:
    """Return whether a provider may compute elsewhere than on the calling thread, which then waits for it and not for a core.

    All do but those that are known to compute on the processor alone: makers of accelerators give theirs any name.
    """
    return bool(provider) and not provider.lower().startswith(PROCESSOR)


def is_one_thread(job: dict[str, Any]) -> bool:
    """Return whether a job's models compute on the calling thread alone, whose time off the core is a wait for it."""
    return job["threads"] == 1 and not uses_accelerator(str(job["options"].get("provider", "")))


def start(runtime: str) -> tuple[str, str, Any]:
    """Import a runtime; return what its `find` does. Raises: what that raises.

    Nearly all that an import makes lasts: to look through it for garbage again and again takes a tenth of the time.
    """
    is_collecting = gc.isenabled()
    gc.disable()
    try:
        return RUNTIMES[runtime].find()
    finally:
        if is_collecting:
            gc.enable()


def start_or_refuse(runtime: str) -> None:
    """Import a runtime. Raises: Refusal where it is not installed, and what a broken package raises."""
    try:
        start(runtime)
    except ModuleNotFoundError as error:
        raise Refusal("runtime-missing", "%s is not installed here: %s" % (runtime, error)) from error


def load(runtime: str, model: bytes, threads: int, options: dict[str, Any], inputs: Inputs) -> Loaded:
    """Load a model in a runtime. Raises: as its `load`, and Refusal where it cannot be given inputs."""
    if not inputs:
        return RUNTIMES[runtime].load(model, threads, options)
    if not hasattr(RUNTIMES[runtime], "load_with_inputs"):
        raise Refusal("bad-request", "the runtime %s takes no shapes or values of inputs" % runtime)
    if inputs.signature and not getattr(RUNTIMES[runtime], "SIGNATURES", False):
        raise Refusal("bad-request", "the runtime %s runs no signature of a model" % runtime)
    loaded: Loaded = RUNTIMES[runtime].load_with_inputs(model, threads, options, inputs)  # type: ignore[attr-defined]
    return loaded
