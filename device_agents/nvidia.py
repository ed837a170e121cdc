"""NVIDIA's command nvidia-smi: how it is asked, by the names that its version knows."""

from __future__ import annotations

import subprocess
from typing import Callable

from device_agents.readings import Absent

QUERY = "index,name,%s,temperature.gpu,clocks.sm,clocks.max.sm,power.draw,persistence_mode"
# The programs with a compute context on the card that runtimes use; a container sees those of others only where it shares their
# process ids.
PROGRAMS = ["nvidia-smi", "--id=0", "--query-compute-apps=pid", "--format=csv,noheader"]
# The share of its last period in which the card computed: of all programs, whoever sees them. A period is a second at most
# (https://docs.nvidia.com/deploy/nvml-api/structnvmlUtilization__t.html).
LOAD = ["nvidia-smi", "--id=0", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits"]
LOAD_PERIOD_S = 1.0
REASONS = ("clocks_event_reasons.active", "clocks_throttle_reasons.active")  # drivers from 535 on, and before
# What it exits with, by its manual page.
BAD_ARGUMENT = 2
NOTHING_FOUND = 6
PROVIDERS = ("cuda", "tensorrt")


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


def uses_gpu(provider: str) -> bool:
    """Return whether a runtime's provider computes on an NVIDIA GPU."""
    return any(name in provider.lower() for name in PROVIDERS)


def may_use_gpu(provider: str) -> bool:
    """Return whether a provider may compute on an NVIDIA GPU: LiteRT's runs on whatever GPU Vulkan or OpenCL finds."""
    return uses_gpu(provider) or provider.upper().startswith("GPU")
