"""Environment variables that change how fast models run, told by name with a digest of the value, which may be secret.

Those that devices.toml gives all count. Of those that the agent inherits, from a login shell or a batch system, the ones that the
runtimes and what is below them heed:
    man7.org/linux/man-pages/man3/mallopt.3.html, sourceware.org/glibc/manual/latest/html_node/Tunables.html (memory)
    docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html (ORT_TENSORRT_*)
    uxlfoundation.github.io/oneDNN (run-time controls)
    vulkan.lunarg.com/doc/sdk/latest/linux/LoaderInterfaceArchitecture.html (which GPU's driver)
    docs.mesa3d.org/envvars.html (which GPU)
"""

from __future__ import annotations

import hashlib
from typing import Mapping

OWN = "HARNESS_"  # tells the agent where libraries are, whose versions are recorded
INHERITED = (
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_DISABLE_PTX_JIT",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "DRI_PRIME",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "LIBGL_ALWAYS_SOFTWARE",
    "MESA_VK_DEVICE_SELECT",
    "NVIDIA_TF32_OVERRIDE",
    "VK_ADD_DRIVER_FILES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
)
INHERITED_BY_PREFIX = ("DNNL_", "MALLOC_", "ONEDNN_", "ORT_TENSORRT_")
DIGITS = 8


def told_variables(given: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the first hex digits of the sha256 of each variable's value, by its name; one that is given replaces another."""
    heeded = {
        name: value
        for name, value in inherited.items()
        if name in INHERITED or name.startswith(INHERITED_BY_PREFIX)
    }
    counted = dict(heeded, **{name: value for name, value in given.items() if not name.startswith(OWN)})
    return {
        name: hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
        for name, value in sorted(counted.items())
    }
