"""Names of providers, and digests of jobs, which the harness, its agent and the driver of a packed job must form alike."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Mapping

# In the name of a provider that runs networks on a GPU; of NVIDIA's the clocks are asked for.
CUDA_PROVIDERS = ("cuda", "tensorrt")
GPU_PROVIDERS = (*CUDA_PROVIDERS, "gpu", "rocm", "migraphx")


def may_use_gpu(provider: str) -> bool:
    """Return whether a provider computes on a GPU, which may be NVIDIA's: LiteRT's runs on whatever Vulkan or OpenCL finds."""
    return any(name in provider.lower() for name in GPU_PROVIDERS)


def short_provider(provider: str) -> str:
    """Return a provider's short name: `cuda` of `CUDAExecutionProvider`, `cuda+cpu` of `CUDAExecutionProvider+CPU`."""
    name, plus, also = provider.lower().partition("+")
    end = "executionprovider"
    return (name[: -len(end)] if name.endswith(end) else name) + plus + also


def job_digest(job: Mapping[str, Any]) -> str:
    """Return the sha256 of what is asked of a worker, but for the cores, which the device chose."""
    asked = {key: value for key, value in job.items() if key != "cores"}
    return hashlib.sha256(
        json.dumps(asked, sort_keys=True, separators=(",", ":")).encode("utf-8")
    ).hexdigest()
