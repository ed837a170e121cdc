"""NVIDIA's command nvidia-smi, asked by the names that its version knows, and its library NVML for a GPU's energy.

Source: https://docs.nvidia.com/deploy/nvml-api/group__nvmlDeviceQueries.html
"""

from __future__ import annotations

import ctypes
import subprocess
from typing import Any, Callable, Mapping, Sequence

from device_agents.facts import Absent
from device_agents.names import CUDA_PROVIDERS

QUERY = "index,name,%s,temperature.gpu,clocks.sm,clocks.max.sm,power.draw,persistence_mode"
LIMITS = "power.limit,power.default_limit,clocks.applications.graphics,clocks.default_applications.graphics"
UUIDS = ["nvidia-smi", "--query-gpu=index,uuid", "--format=csv,noheader"]
LOAD_PERIOD_S = 1.0
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # drivers from 535 on, and before
# What it exits with, by its manual page.
BAD_ARGUMENT = 2
NOTHING_FOUND = 6
LIBRARY = "libnvidia-ml.so.1"
SUCCESS = 0


def ask_gpus(run_command: Callable[[list[str]], str]) -> tuple[list[str], str]:
    """Return (the command that this driver understands, its answer).

    Raises: Absent without the command or without a GPU, OSError, subprocess.SubprocessError.
    """
    for reasons in REASONS:
        command = ["nvidia-smi", "--query-gpu=" + QUERY % reasons, "--format=csv,noheader,nounits"]
        try:
            return command, run_command(command)
        except subprocess.CalledProcessError as error:
            if error.returncode == NOTHING_FOUND:
                raise Absent() from None
            if error.returncode != BAD_ARGUMENT or reasons == REASONS[-1]:
                raise
    raise Absent()


def programs_on(index: int) -> list[str]:
    """Return the command that lists the programs with a compute context on a card.

    A container sees those of others only where it shares their process ids.
    """
    return ["nvidia-smi", "--id=%d" % index, "--query-compute-apps=pid", "--format=csv,noheader"]


def load_of(index: int) -> list[str]:
    """Return the command that tells how much of its last period a card computed, in %, for whichever program.

    A period is `LOAD_PERIOD_S` at most (https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html).
    """
    return ["nvidia-smi", "--id=%d" % index, "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]


def limits_of(index: int) -> list[str]:
    """Return the command that tells a card's limits, each beside its default; clocks that are locked (-lgc) no command tells."""
    return ["nvidia-smi", "--id=%d" % index, "--query-gpu=" + LIMITS, "--format=csv,noheader,nounits"]


def used_gpu(
    variables: Mapping[str, str],
    device_id: int,
    gpus: Sequence[Mapping[str, Any]],
    run_command: Callable[[list[str]], str],
) -> int:
    """Return the index, in nvidia-smi's order, of the card that a process with these variables computes on.

    device_id: which of the cards that are visible to it. gpus: all that nvidia-smi lists.
    CUDA counts the fastest first unless CUDA_DEVICE_ORDER says otherwise; like cards stand in nvidia-smi's order in either.
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    Raises: ValueError where that cannot be told, OSError, subprocess.SubprocessError.
    """
    visible = variables.get("CUDA_VISIBLE_DEVICES")
    entries = [str(number) for number in range(len(gpus))] if visible is None else visible.split(",")
    entry = entries[device_id].strip() if device_id < len(entries) else ""
    if entry.isdecimal():
        is_alike = len({gpu.get("name") for gpu in gpus}) == 1
        if not is_alike and variables.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID":
            raise ValueError(
                "which of unlike GPUs is used is not known: set CUDA_DEVICE_ORDER to PCI_BUS_ID in the device's environment"
            )
        found = [int(entry)]
    else:
        lines = [line.split(",") for line in run_command(UUIDS).splitlines() if "," in line]
        found = [int(index) for index, uuid in lines if entry and uuid.strip().startswith(entry)]
    known = [index for index in found if any(gpu.get("index") == index for gpu in gpus)]
    if len(known) != 1:
        raise ValueError("which GPU is used is not known: CUDA_VISIBLE_DEVICES is %r" % (visible or "")[:80])
    return known[0]


def uses_gpu(provider: str) -> bool:
    return any(name in provider.lower() for name in CUDA_PROVIDERS)


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
    """Return a reader of one number from one of NVML's functions; it raises OSError where the GPU does not tell it."""

    def read() -> int:
        value = number()
        status = getattr(nvml, function)(handle, ctypes.byref(value))
        if status != SUCCESS:
            raise OSError("NVML: %s: status %d" % (function, status))
        return int(value.value)

    return read
