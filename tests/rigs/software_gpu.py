"""A GPU in software: SwiftShader, which Chromium brings, found through the loader of Vulkan; and one that fails on demand."""

from __future__ import annotations

import ctypes.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

SWIFTSHADER = Path("/usr/lib/chromium/vk_swiftshader_icd.json")


def software_gpu() -> dict[str, str]:
    """Return the environment of a process that is to find the GPU; skip the test where there is none."""
    if not SWIFTSHADER.is_file() or ctypes.util.find_library("vulkan") is None:
        pytest.skip("a GPU in software is not installed (Debian: apt install chromium-common libvulkan1)")
    return {"VK_ICD_FILENAMES": str(SWIFTSHADER)}


def failing_gpu(folder: Path) -> dict[str, str]:
    """Return the environment of a process whose GPU in software fails as further variables say (failing_gpu.c).

    Skip the test without such a GPU, and without a C compiler.
    """
    software_gpu()
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a driver in front of SwiftShader: apt install gcc")
    library, manifest = folder / "libfailing_gpu.so", folder / "failing_gpu.json"
    source = Path(__file__).with_name("failing_gpu.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True)
    told = json.loads(SWIFTSHADER.read_text())
    behind = SWIFTSHADER.parent / told["ICD"]["library_path"]
    told["ICD"]["library_path"] = str(library)
    manifest.write_text(json.dumps(told))
    return {"VK_ICD_FILENAMES": str(manifest), "GPU_BEHIND": str(behind)}
