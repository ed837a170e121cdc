"""A GPU in software: SwiftShader, which Chromium brings, found through the loader of Vulkan."""

from __future__ import annotations

import ctypes.util
from pathlib import Path

import pytest

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


def software_gpu() -> dict[str, str]:
    """Return the environment of a process that is to find the GPU; skip the test where there is none."""
    if not SWIFTSHADER.is_file() or ctypes.util.find_library("vulkan") is None:
        pytest.skip("a GPU in software is not installed (Debian: apt install chromium-common libvulkan1)")
    return {"VK_ICD_FILENAMES": str(SWIFTSHADER)}
