"""The runtimes an agent can time: each a small module with the same few names.

`NAME`, `FORMATS`, `OPTIONS` (option: type) say what it is. `find()` imports the runtime's package,
`providers()` lists what the option `provider` may be, `load(model, threads, options)` returns a `Loaded`.
All three raise `ModuleNotFoundError` where no package is installed. Importing a module here imports no runtime.
"""

from __future__ import annotations

from typing import Any

from device_agents.runtimes import onnxruntime_cpu, tflite

RUNTIMES: dict[str, Any] = {
    "onnxruntime": onnxruntime_cpu,
    "tflite": tflite,
}

FORMATS = ("onnx", "tflite")
