"""The runtimes an agent can time: each a small module with the same few names.

`NAME`, `FORMATS`, `OPTIONS` (option: type) say what it is. `find()` imports the runtime's package,
`providers()` lists what the option `provider` may be, `load(model, threads, options)` returns a `Loaded`.
All three raise `ModuleNotFoundError` where no package is installed. Importing a module here imports no runtime.

A runtime with a profiler that Python can reach has a module in `PROFILED` too: its `load_profiled(model, threads, options,
folder)` returns a `Loaded` and a function that ends the profile and yields the `NodeTime`s of each run.
"""

from __future__ import annotations

from typing import Any

from device_agents.runtimes import onnxruntime_cpu, onnxruntime_profile, tflite

RUNTIMES: dict[str, Any] = {
    "onnxruntime": onnxruntime_cpu,
    "tflite": tflite,
}

PROFILED: dict[str, Any] = {
    "onnxruntime": onnxruntime_profile,
}

FORMATS = ("onnx", "tflite")
