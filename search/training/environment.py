"""What a training is computed with: noted beside its result, since another machine gives other bits."""

from __future__ import annotations

import platform
from collections.abc import Mapping

import torch

_THEN = " then "


def environment_of(device: torch.device) -> dict[str, str]:
    """Return the names and versions of what computes on a device."""
    return {
        "cpu": platform.processor() or platform.machine(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "none",
        "platform": platform.platform(),
        "python_version": platform.python_version(),
        "threads": str(torch.get_num_threads()),
        "torch_version": str(torch.__version__),
    }


def both_environments(former: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return an environment that says what changed, `A then B`, where a training went on elsewhere."""

    def joined(key: str) -> str:
        values = former.get(key, now[key]).split(_THEN)
        return _THEN.join(values if values[-1] == now[key] else [*values, now[key]])

    return {key: joined(key) for key in now}
