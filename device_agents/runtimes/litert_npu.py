"""Libraries of an NPU's vendor: the one through which LiteRT drives the NPU, and the one that compiles networks for it.

LiteRT searches a folder that it is given to the bottom, and takes what it finds there: a folder must lead to one vendor's alone.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from pathlib import Path

from device_agents.refusal import Refusal
from device_agents.runtimes.litert_api import COMPILATION_FAILED, LiteRtError

DISPATCH, COMPILER = "libLiteRtDispatch_", "libLiteRtCompilerPlugin_"  # before the vendor's name


@dataclass(frozen=True)
class NpuLibraries:
    """Libraries that drive an NPU, and that compile for it; without the latter only networks that were compiled ahead run."""

    dispatch: Path
    compiler: Path | None


def find_libraries(folder: Path, kind: str) -> list[Path]:
    """Return all vendors' libraries of a kind, which lie beside LiteRT's or as in its package."""
    return sorted([*folder.glob(kind + "*.so"), *folder.glob("vendors/*/*/" + kind + "*.so")])


def npu_libraries(folder: Path) -> NpuLibraries:
    """Return the libraries of the one NPU for which there are some. Raises: Refusal where there are several vendors'."""
    dispatch, *others = find_libraries(folder, DISPATCH)
    compilers = find_libraries(folder, COMPILER)
    compiler = next(
        (path for path in compilers if vendor(path, COMPILER) == vendor(dispatch, DISPATCH)), None
    )
    if compiler is not None:
        others += [path for path in compilers if compiler.parent in path.parents and path != compiler]
    if others:
        message = "LiteRT would take any of several NPUs' libraries, %s: leave those of this device's NPU alone in %s"
        raise Refusal("runtime-missing", message % (", ".join(map(str, (dispatch, *others))), folder))
    return NpuLibraries(dispatch, compiler)


def vendor(path: Path, kind: str) -> str:
    """Return the vendor in a library's name, which libraries of one vendor write differently: GoogleTensor, google_tensor."""
    return path.stem[len(kind) :].replace("_", "").lower()


def why_refused(folder: Path, error: LiteRtError) -> Refusal:
    """Return why a network could not be compiled for the NPU."""
    libraries = npu_libraries(folder)
    for path in filter(None, (libraries.dispatch, libraries.compiler)):
        try:
            ctypes.CDLL(str(path))
        except OSError as problem:
            message = "the NPU's library %s does not load: %s; install what it needs, or name its folder in LD_LIBRARY_PATH"
            return Refusal("runtime-missing", message % (path, problem))
    if error.status != COMPILATION_FAILED:
        message = "LiteRT cannot use the NPU of this device: %s; what it printed tells why"
        return Refusal("runtime-missing", message % error)
    if libraries.compiler is None:
        message = "NPU does not run this network: %s. Without its vendor's %s*.so in %s it runs only what was compiled ahead"
        return Refusal("worker-error", message % (error, COMPILER, folder))
    message = "NPU does not run all operators of this network, or its compiler failed: %s; what it printed tells why. "
    message += "A device without an NPU that LiteRT knows says so of every network"
    return Refusal("worker-error", message % error)
