"""LiteRT's C API through ctypes: every function that is used in one table, statuses by name, handles with an owner.

Declared as in litert/c of https://github.com/google-ai-edge/LiteRT, tags v2.1.6 and v2.2.0. The library has no function that
tells its version; `litert_library` finds that out before anything is called.
"""

from __future__ import annotations

import ctypes
import weakref
from ctypes import POINTER, c_bool, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any, Callable

from device_agents.refusal import Refusal

CPU, GPU, NPU = 1, 2, 4  # LiteRtHwAccelerators, a bit each
READ, WRITE = 0, 1  # LiteRtTensorBufferLockMode
HOST_MEMORY = 1  # LiteRtTensorBufferType
PER_TENSOR = 1  # LiteRtQuantizationTypeId
MAX_RANK = 8  # LITERT_TENSOR_MAX_RANK
INTEGER, STRING = 2, 8  # LiteRtAnyType
COMPILER_DIR, DISPATCH_DIR, LIBRARY_DIR, REGISTERED, LOGGED = 0, 1, 22, 24, 25  # LiteRtEnvOptionTag
ERRORS_ALONE = 3  # LiteRtLogSeverity: a worker's last words are its errors, not what it loaded

COMPILATION_FAILED = 504
NO_MEMORY = 2
STATUSES = {
    1: "invalid argument",
    2: "memory allocation failure",
    3: "runtime failure",
    4: "missing input tensor",
    5: "unsupported",
    6: "not found",
    7: "timeout expired",
    8: "wrong version",
    9: "unknown error",
    10: "already exists",
    100: "cancelled",
    500: "file error",
    501: "invalid flatbuffer",
    502: "dynamic loading failed",
    503: "serialization failed",
    504: "compilation failed",
    1000: "index out of bounds",
    1001: "invalid type in the graph",
    1002: "invalid graph",
    1003: "graph modification failed",
    1500: "invalid tool configuration",
    2000: "no legalization matches",
    2001: "invalid legalization",
    3000: "no pattern matches",
    3001: "invalid transformation",
    4000: "unsupported version of the runtime",
    4001: "unsupported version of the compiler",
    4002: "incompatible bytecode version",
    5000: "an operator without shape inference",
    5001: "shape inference failed",
}
"""LiteRtStatus, by its number."""


class TensorLayout(ctypes.Structure):
    """LiteRtLayout: rank in the lower 7 bits of `flags`, dimensions, strides."""

    _fields_ = [("flags", c_uint32), ("dimensions", c_int32 * MAX_RANK), ("strides", c_uint32 * MAX_RANK)]

    @property
    def shape(self) -> tuple[int, ...]:
        """The dimensions that the rank counts."""
        return tuple(self.dimensions[: self.flags & 0x7F])


class TensorType(ctypes.Structure):
    """LiteRtRankedTensorType."""

    _fields_ = [("element_type", c_int), ("layout", TensorLayout)]


class PerTensor(ctypes.Structure):
    """LiteRtQuantizationPerTensor."""

    _fields_ = [("scale", ctypes.c_float), ("zero_point", c_int64)]


class AnyUnion(ctypes.Union):
    """The value of a LiteRtAny."""

    _fields_ = [("integer", c_int64), ("text", c_char_p)]


class AnyValue(ctypes.Structure):
    """LiteRtAny."""

    _fields_ = [("type", c_int), ("value", AnyUnion)]


class EnvironmentOption(ctypes.Structure):
    """LiteRtEnvOption."""

    _fields_ = [("tag", c_int), ("value", AnyValue)]

    @classmethod
    def of(cls, tag: int, value: str | int) -> EnvironmentOption:
        """Return an option of a text or a number."""
        if isinstance(value, str):
            return cls(tag, AnyValue(STRING, AnyUnion(text=value.encode())))
        return cls(tag, AnyValue(INTEGER, AnyUnion(integer=value)))


class MemoryUsage(ctypes.Structure):
    """LiteRtMemoryUsage."""

    _fields_ = [("total", c_size_t), ("in_use", c_size_t), ("private", c_size_t)]


class ProfilerEvent(ctypes.Structure):
    """ProfiledEventData; times in us."""

    _fields_ = [
        ("tag", c_char_p),
        ("type", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory_before", MemoryUsage),
        ("memory_after", MemoryUsage),
        ("metadata", c_uint64 * 2),
        ("source", c_int),
    ]


DESTRUCTOR = ctypes.CFUNCTYPE(None, c_void_p)

OUT = POINTER(c_void_p)  # where a handle is returned
FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "LiteRtCreateEnvironment": (c_int, POINTER(EnvironmentOption), OUT),
    "LiteRtGetNumAccelerators": (c_void_p, POINTER(c_size_t)),
    "LiteRtCreateModelFromBuffer": (c_void_p, c_char_p, c_size_t, OUT),
    "LiteRtCreateOptions": (OUT,),
    "LiteRtSetOptionsHardwareAccelerators": (c_void_p, c_int),
    "LiteRtCreateOpaqueOptions": (c_char_p, c_char_p, DESTRUCTOR, OUT),
    "LiteRtAddOpaqueOptions": (c_void_p, c_void_p),
    "LiteRtCreateCompiledModel": (c_void_p, c_void_p, c_void_p, OUT),
    "LiteRtCompiledModelResizeInputTensorNonStrict": (c_void_p, c_size_t, c_size_t, POINTER(c_int), c_size_t),
    "LiteRtGetCompiledModelInputTensorLayout": (c_void_p, c_size_t, c_size_t, POINTER(TensorLayout)),
    "LiteRtGetCompiledModelOutputTensorLayouts": (
        c_void_p,
        c_size_t,
        c_size_t,
        POINTER(TensorLayout),
        c_bool,
    ),
    "LiteRtGetCompiledModelInputBufferRequirements": (c_void_p, c_size_t, c_size_t, OUT),
    "LiteRtGetCompiledModelOutputBufferRequirements": (c_void_p, c_size_t, c_size_t, OUT),
    "LiteRtGetModelSignature": (c_void_p, c_size_t, OUT),
    "LiteRtGetNumSignatureInputs": (c_void_p, POINTER(c_size_t)),
    "LiteRtGetNumSignatureOutputs": (c_void_p, POINTER(c_size_t)),
    "LiteRtGetSignatureInputTensorByIndex": (c_void_p, c_size_t, OUT),
    "LiteRtGetSignatureOutputTensorByIndex": (c_void_p, c_size_t, OUT),
    "LiteRtGetTensorName": (c_void_p, POINTER(c_char_p)),
    "LiteRtGetRankedTensorType": (c_void_p, POINTER(TensorType)),
    "LiteRtGetQuantizationTypeId": (c_void_p, POINTER(c_int)),
    "LiteRtGetPerTensorQuantization": (c_void_p, POINTER(PerTensor)),
    "LiteRtCreateManagedTensorBufferFromRequirements": (c_void_p, POINTER(TensorType), c_void_p, OUT),
    "LiteRtGetTensorBufferType": (c_void_p, POINTER(c_int)),
    "LiteRtGetTensorBufferPackedSize": (c_void_p, POINTER(c_size_t)),
    "LiteRtLockTensorBuffer": (c_void_p, OUT, c_int),
    "LiteRtUnlockTensorBuffer": (c_void_p,),
    "LiteRtCompiledModelGetProfiler": (c_void_p, OUT),
    "LiteRtStartProfiler": (c_void_p,),
    "LiteRtStopProfiler": (c_void_p,),
    "LiteRtGetNumProfilerEvents": (c_void_p, POINTER(c_int)),
    "LiteRtGetProfilerEvents": (c_void_p, c_int, POINTER(ProfilerEvent)),
    "LiteRtRunCompiledModel": (c_void_p, c_size_t, c_size_t, OUT, c_size_t, OUT),
}
"""The arguments of each function; all of them return a LiteRtStatus."""
OPTIONAL_FUNCTIONS: dict[str, tuple[Any, ...]] = {
    "LiteRtCompiledModelIsFullyAccelerated": (c_void_p, POINTER(c_bool)),
    "LiteRtCompiledModelIsNonCpuFullyAccelerated": (c_void_p, POINTER(c_bool)),  # from 2.3.0 on
}
"""As FUNCTIONS, of which a version may lack some."""
DESTROYERS = (
    "LiteRtDestroyOptions",
    "LiteRtDestroyModel",
    "LiteRtDestroyCompiledModel",
    "LiteRtDestroyTensorBuffer",
    "LiteRtDestroyOpaqueOptions",
)
"""Functions that take a handle and return nothing."""


class LiteRtError(RuntimeError):
    """A status of LiteRT's that is not ok."""

    def __init__(self, function: str, status: int) -> None:
        meaning = STATUSES.get(status, "a status that harness does not know")
        super().__init__("%s: %s (status %d)" % (function, meaning, status))
        self.status = status


def failure(function: str, status: int) -> Exception:
    """Return the error for a status that is not ok: memory that is not there is that model's failure, as everywhere."""
    error = LiteRtError(function, status)
    if status != NO_MEMORY:
        return error
    return Refusal(
        "out-of-memory", "%s: the CPU or the accelerator has not the memory for this network" % error
    )


class LiteRtLibrary:
    """LiteRT's library with all functions of the table declared."""

    def __init__(self, path: Path) -> None:
        """Load it. Raises: Refusal when it does not load, or lacks a function."""
        try:
            library = ctypes.CDLL(str(path))
        except OSError as error:
            raise Refusal("runtime-missing", "LiteRT's library does not load: %s" % error) from error
        missing = [name for name in (*FUNCTIONS, *DESTROYERS) if not hasattr(library, name)]
        if missing:
            message = "%s is of a version of LiteRT that harness does not know: it has no function %s"
            raise Refusal("runtime-missing", message % (path, ", ".join(missing)))
        self.path = path
        self.functions: dict[str, Callable[..., Any]] = {}
        for name, arguments in FUNCTIONS.items():
            self._declare(library, name, c_int, arguments)
        for name, arguments in OPTIONAL_FUNCTIONS.items():
            if hasattr(library, name):
                self._declare(library, name, c_int, arguments)
        for name in DESTROYERS:
            self._declare(library, name, None, (c_void_p,))

    def _declare(self, library: ctypes.CDLL, name: str, result: Any, arguments: tuple[Any, ...]) -> None:
        function = getattr(library, name)
        function.restype, function.argtypes = result, list(arguments)
        self.functions[name] = function

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function. Raises: as `failure` of the status it returns, Refusal where this version has no such function."""
        if name not in self.functions:
            raise Refusal("runtime-missing", "%s is too old: it has no function %s" % (self.path, name))
        status = self.functions[name](*arguments)
        if status:
            raise failure(name, status)

    def make(self, name: str, *arguments: Any) -> c_void_p:
        """Call a function that returns a handle in its last argument, and return that. Raises: LiteRtError."""
        handle = c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle

    def ask(self, kind: Any, name: str, *arguments: Any) -> Any:
        """Call a function that returns a number in its last argument, and return that. Raises: LiteRtError."""
        value = kind()
        self.call(name, *arguments, ctypes.byref(value))
        return value.value


class Handles:
    """Owner of handles: destroys them in the reverse of the order in which they were made, once, when it goes or is closed.

    `kept`: what they point into, alive until then.
    """

    def __init__(self, library: LiteRtLibrary) -> None:
        self._library = library
        self._open: list[tuple[Callable[..., Any], c_void_p]] = []
        self.kept: list[bytes] = []
        self.close = weakref.finalize(self, destroy, self._open, self.kept)
        self.close.atexit = False  # a process that ends takes them along

    def make(self, name: str, *arguments: Any, destroy: str) -> c_void_p:
        """Make a handle and own it. Raises: LiteRtError."""
        handle = self._library.make(name, *arguments)
        self._open.append((self._library.functions[destroy], handle))
        return handle


def destroy(handles: list[tuple[Callable[..., Any], c_void_p]], kept: list[bytes]) -> None:
    """Destroy handles, the last one first, and only then let go of what they point into."""
    while handles:
        function, handle = handles.pop()
        function(handle)
    kept.clear()
