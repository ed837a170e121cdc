"""Time on an NVIDIA card by its own events, through CUDA's runtime library and ctypes alone.

An event is recorded into a stream of work, and the card notes when it comes to it: between two of them lies what the card did,
and what it waited for the processor's launches, but neither the wait for the result nor anything that runs after it.
https://docs.nvidia.com/cuda/cuda-runtime-api/group__CUDART__EVENT.html
"""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int, c_uint, c_void_p
from typing import Any, Callable

LIBRARIES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")
NON_BLOCKING = 1  # cudaStreamNonBlocking: work of other streams is not waited for
NS_PER_MS = 1e6
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "cudaStreamCreateWithFlags": (ctypes.POINTER(c_void_p), c_uint),
    "cudaStreamSynchronize": (c_void_p,),
    "cudaEventCreate": (ctypes.POINTER(c_void_p),),
    "cudaEventRecord": (c_void_p, c_void_p),
    "cudaEventSynchronize": (c_void_p,),
    "cudaEventElapsedTime": (ctypes.POINTER(c_float), c_void_p, c_void_p),
}


class CudaError(RuntimeError):
    """A status of CUDA's runtime that is not success."""


def open_library() -> Any:
    """Return CUDA's runtime library; one that is loaded already is found by its name. Raises: OSError where none is there."""
    for name in LIBRARIES:
        try:
            library = ctypes.CDLL(name)
        except OSError:
            continue
        for function, arguments in FUNCTIONS.items():
            getattr(library, function).argtypes = list(arguments)
            getattr(library, function).restype = c_int
        return library
    raise OSError("no library of CUDA's runtime is found: %s" % ", ".join(LIBRARIES))


class EventTimer:
    """A stream of its own, and two events that time the work which is put into it."""

    def __init__(self, library: Any) -> None:
        """Make the stream and the events. Raises: CudaError."""
        self._library = library
        self.stream, self._begin, self._end = c_void_p(), c_void_p(), c_void_p()
        self._call("cudaStreamCreateWithFlags", ctypes.byref(self.stream), NON_BLOCKING)
        self._call("cudaEventCreate", ctypes.byref(self._begin))
        self._call("cudaEventCreate", ctypes.byref(self._end))

    def wait(self) -> None:
        """Wait until all work of the stream is done. Raises: CudaError."""
        self._call("cudaStreamSynchronize", self.stream)

    def time_ns(self, launch: Callable[[], object]) -> int:
        """Return how long the card takes for what `launch` puts into the stream, which must not wait for it.

        Raises: CudaError, also for a time that is none.
        """
        self._call("cudaEventRecord", self._begin, self.stream)
        launch()
        self._call("cudaEventRecord", self._end, self.stream)
        self._call("cudaEventSynchronize", self._end)
        elapsed_ms = c_float()
        self._call("cudaEventElapsedTime", ctypes.byref(elapsed_ms), self._begin, self._end)
        if not elapsed_ms.value > 0:
            raise CudaError("cudaEventElapsedTime says %r ms: nothing ran in the stream" % elapsed_ms.value)
        return round(elapsed_ms.value * NS_PER_MS)

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise CudaError("%s: status %d" % (name, status))
