"""NVIDIA's management library by ctypes: the energy of a GPU, which nvidia-smi does not tell.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import ctypes
from typing import Any, Callable

from device_agents.readings import Absent

LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0


def open_gpu(index: int, library: str = LIBRARY) -> dict[str, Callable[[], int]]:
    """Return a reader of a GPU, by its number: `energy_mj` since its driver began (Volta on), else `power_mw`. Raises: Absent."""
    try:
        nvml = ctypes.CDLL(library)
        status = nvml.nvmlInit_v2()
        handle = ctypes.c_void_p()
        if status == SUCCESS:
            status = nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(index), ctypes.byref(handle))
    except (OSError, AttributeError) as error:
        raise Absent("NVML: %s" % error) from None
    if status != SUCCESS:
        raise Absent("NVML: it finds no GPU %d (status %d)" % (index, status))
    for name, function, number in (
        ("energy_mj", "nvmlDeviceGetTotalEnergyConsumption", ctypes.c_ulonglong),
        ("power_mw", "nvmlDeviceGetPowerUsage", ctypes.c_uint),
    ):
        read = reader(nvml, function, handle, number)
        try:
            read()
        except (OSError, AttributeError):
            continue
        return {name: read}
    raise Absent("NVML: this GPU tells neither energy nor power")


def reader(nvml: Any, function: str, handle: ctypes.c_void_p, number: Any) -> Callable[[], int]:
    """Return a reader of one number from one function; it raises OSError where the GPU does not tell it."""

    def read() -> int:
        value = number()
        status = getattr(nvml, function)(handle, ctypes.byref(value))
        if status != SUCCESS:
            raise OSError("NVML: %s: status %d" % (function, status))
        return int(value.value)

    return read
