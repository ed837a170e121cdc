"""LiteRT's compiled models on CPU, GPU or NPU, by its C library alone: neither its Python package nor numpy is needed.

Inputs and outputs are buffers of the library's own, in the memory that the accelerator asks for: a run copies nothing on a CPU.
What a GPU computes is fetched within the run, so that it is over when the run is.
"""

from __future__ import annotations

import ctypes
import struct
from contextlib import contextmanager
from ctypes import c_bool, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from math import prod
from typing import Any, Callable, Iterator, Sequence

from device_agents.environment import ANDROID
from device_agents.refusal import Refusal
from device_agents.runtimes import litert_api as api
from device_agents.runtimes.litert_api import (
    Handles,
    LiteRtError,
    LiteRtLibrary,
    PerTensor,
    TensorLayout,
    TensorType,
)
from device_agents.runtimes.litert_library import MODULE, open_library
from device_agents.runtimes.litert_npu import DISPATCH, find_libraries, npu_libraries, why_refused
from device_agents.runtimes.litert_printed import PrintedText, printed_text, shares_told
from device_agents.runtimes.loaded import Change, Inputs, Loaded, Output, judged_values
from device_agents.runtimes.plain_values import fixed_bytes

NAME = "litert"
FORMATS = ("tflite",)
PACKAGES = (MODULE,)
OPTIONS = {"provider": str}

# LiteRtElementType: the type's name in numpy, and its letter in `struct`.
ELEMENTS = {
    1: ("float32", "f"),
    2: ("int32", "i"),
    3: ("uint8", "B"),
    4: ("int64", "q"),
    6: ("bool", "?"),
    7: ("int16", "h"),
    9: ("int8", "b"),
    10: ("float16", "e"),
    11: ("float64", "d"),
    13: ("uint64", "Q"),
    16: ("uint32", "I"),
    17: ("uint16", "H"),
}
# Providers that this process has compiled a network for, and which are thus there.
COMPILED_FOR: set[str] = set()
SIGNATURE = 0  # the first of a model, or what LiteRT makes of one without


@dataclass(frozen=True)
class Provider:
    """A provider that computes a model: bits of LiteRtHwAccelerators, its arithmetic, and options by identifier, in TOML."""

    accelerator: int
    arithmetic: str
    options: dict[str, str]


PROVIDERS = {
    "CPU": Provider(api.CPU, "", {}),
    # LiteRtDelegatePrecision: 1 is fp16, which is the default, too.
    "GPU": Provider(api.GPU, "fp16", {"gpu_options": "precision = 1\n"}),
    "GPU-fp32": Provider(api.GPU, "fp32", {"gpu_options": "precision = 2\n"}),
    "NPU": Provider(api.NPU, "unknown", {}),
}
ALSO_CPU = "+CPU"  # behind a GPU's name: the CPU runs the operators that it leaves out; of an NPU LiteRT tells no share
GPU_LIBRARIES = "libLiteRt*Accelerator.so"
# Whether LiteRT's own kernels run no operator of the graph as it now is, and whether XNNPACK ran none of it as it was compiled.
TELL_WHOLE = ("LiteRtCompiledModelIsFullyAccelerated", "LiteRtCompiledModelIsNonCpuFullyAccelerated")
# What LiteRT prints of a graph in which an operator's values tell the size of its result.
DYNAMIC = "only supports static-sized tensors"
ADVICE_ON_SIZES = "it takes none with values whose sizes are known only in a run: fix them at export, or take the provider CPU"
# Of a GPU outside Android, where LiteRT says no more than that it did not start.
ADVICE_ON_VULKAN = (
    ". It is reached by Vulkan: install its loader and the GPU's driver (Debian: apt install libvulkan1 mesa-vulkan-drivers; "
    "NVIDIA's comes with its driver), and let this user open /dev/dri (sudo usermod -aG render USER, then log in anew)"
)
# Identifiers of options, by litert_cpu_options.cc and litert_runtime_options.cc.
CPU_OPTIONS, RUNTIME_OPTIONS = "xnnpack", "runtime_options_string"


def find() -> tuple[str, str, Any]:
    """Return (package, version, library). Raises: ModuleNotFoundError, Refusal for a library that cannot be used."""
    return open_library()


def providers() -> list[str]:
    """Return the names that the option `provider` may have: those whose libraries lie beside LiteRT's."""
    folder = find()[2].path.parent
    there = {
        api.CPU: True,
        api.GPU: bool(list(folder.glob(GPU_LIBRARIES))),
        api.NPU: bool(find_libraries(folder, DISPATCH)),
    }
    alone = [name for name, provider in PROVIDERS.items() if there[provider.accelerator]]
    return alone + [name + ALSO_CPU for name in alone if PROVIDERS[name].accelerator == api.GPU]


def load(model: bytes, threads: int, options: dict[str, Any]) -> Loaded:
    """Load a model on `threads` threads, its fixed input in place. Raises: as `load_with_inputs`."""
    return load_with_inputs(model, threads, options, Inputs())


def load_with_inputs(model: bytes, threads: int, options: dict[str, Any], inputs: Inputs) -> Loaded:
    """Load a model on `threads` threads, its inputs of the given shapes and values, else fixed ones.

    Raises: ModuleNotFoundError, Refusal when the provider is not there or leaves operators out, ValueError for an input that
    cannot be given, LiteRtError.
    """
    compiled, runtime = open_compiled(model, threads, options)
    run, output, other_output = compiled.bind(inputs)
    return Loaded(
        *(run, output, runtime, (compiled,), compiled.shares, compiled.arithmetic),
        other_output=other_output if compiled.is_accelerated else None,
    )


def open_compiled(
    model: bytes, threads: int, options: dict[str, Any], is_profiled: bool = False
) -> tuple[Compiled, dict[str, str]]:
    """Return a compiled model and what runs it (Loaded.runtime). Raises: as `load`."""
    package, version, library = find()
    name = options.get("provider", "CPU")
    if name not in providers():
        message = "litert has no provider %r here; it has: %s" % (name, ", ".join(providers()))
        raise Refusal("runtime-missing", message)
    runtime = {"name": NAME, "package": package, "version": version, "provider": name}
    return Compiled(library, model, threads, name, is_profiled), runtime


@lru_cache(maxsize=None)
def environment(library: LiteRtLibrary, accelerator: int) -> tuple[c_void_p, Any]:
    """Return this process's environment for an accelerator, and what it points to; GPUs are opened once for all models.

    Raises: Refusal where there are several NPUs' libraries, LiteRtError.
    """
    values: dict[int, str | int] = {
        api.LIBRARY_DIR: str(library.path.parent),
        api.REGISTERED: accelerator,
        api.LOGGED: api.ERRORS_ALONE,
    }
    if accelerator & api.NPU:
        npu = npu_libraries(library.path.parent)
        values[api.DISPATCH_DIR] = str(npu.dispatch.parent)
        if npu.compiler is not None:
            values[api.COMPILER_DIR] = str(npu.compiler.parent)
    options = (api.EnvironmentOption * len(values))(
        *(api.EnvironmentOption.of(tag, value) for tag, value in values.items())
    )
    return library.make("LiteRtCreateEnvironment", len(options), options), options


@dataclass(frozen=True)
class LiteRtTensor:
    """An input or output: its handle, name, and type (`code`: the letter in `struct`); a scale where it is quantized."""

    handle: c_void_p
    name: str
    element: int
    dtype: str
    code: str
    scale: float
    zero_point: int


class Compiled:
    """A model that is compiled for a provider, with all handles that it takes."""

    def __init__(
        self, library: LiteRtLibrary, model: bytes, threads: int, provider: str, is_profiled: bool = False
    ) -> None:
        """Compile a model. Raises: Refusal when the provider cannot run it, LiteRtError."""
        main, also_cpu, _ = provider.partition(ALSO_CPU)
        self._provider, chosen = main, PROVIDERS[main]
        self.is_accelerated = chosen.accelerator != api.CPU
        accelerators = chosen.accelerator | (api.CPU if also_cpu else 0)
        self.library = library
        self._printed: PrintedText | None = printed_text() if self.is_accelerated else None
        self._handles = Handles(library)
        self._handles.kept.append(model)
        self._environment = environment(library, accelerators)[0]
        found = library.ask(ctypes.c_size_t, "LiteRtGetNumAccelerators", self._environment)
        if found < bin(accelerators).count("1"):
            message = "LiteRT has no %s here: its library for that does not load; what it printed tells why"
            raise Refusal("runtime-missing", message % provider)
        self._model = self._handles.make(
            "LiteRtCreateModelFromBuffer", self._environment, model, len(model), destroy="LiteRtDestroyModel"
        )
        options = self._handles.make("LiteRtCreateOptions", destroy="LiteRtDestroyOptions")
        library.call("LiteRtSetOptionsHardwareAccelerators", options, accelerators)
        texts = {**chosen.options, CPU_OPTIONS: "num_threads = %d\n" % threads}
        if is_profiled:
            texts[RUNTIME_OPTIONS] = "enable_profiling = true\n"
        for name, text in texts.items():
            self._add_options(options, name, text.encode())
        self.handle, printed = self._compile(options)
        self.shares, self.arithmetic = {provider: 1.0}, chosen.arithmetic
        if also_cpu:
            is_whole = library.ask(c_bool, "LiteRtCompiledModelIsNonCpuFullyAccelerated", self.handle)
            self.shares = {main: 1.0} if is_whole else shares_told(main, printed)
            self.arithmetic = chosen.arithmetic if is_whole else "mixed"

    def _compile(self, options: c_void_p) -> tuple[c_void_p, str]:
        """Return the compiled model, and on an accelerator what LiteRT printed meanwhile.

        Raises: Refusal when the provider cannot run it, LiteRtError.
        """
        printed = self._printed
        begin = len(printed.read()) if printed else 0
        try:
            handle = self._handles.make(
                "LiteRtCreateCompiledModel",
                *(self._environment, self._model, options),
                destroy="LiteRtDestroyCompiledModel",
            )
        except LiteRtError as error:
            if printed is None:
                raise
            printed.check(self._provider, error)
            is_dynamic = DYNAMIC in printed.read()[begin:]
            if is_dynamic or (error.status != api.COMPILATION_FAILED and self._provider in COMPILED_FOR):
                message = "the %s does not run this network: %s; " % (self._provider, error)
                message += ADVICE_ON_SIZES if is_dynamic else "it runs others, and what it printed tells why"
                raise Refusal("worker-error", message) from error
            if PROVIDERS[self._provider].accelerator == api.NPU:
                raise why_refused(self.library.path.parent, error) from error
            if error.status != api.COMPILATION_FAILED:
                message = "LiteRT cannot use the %s of this device: %s; what it printed tells why" % (
                    self._provider,
                    error,
                )
                message += "" if ANDROID else ADVICE_ON_VULKAN
                raise Refusal("runtime-missing", message) from error
            raise self._partial(str(error)) from error
        COMPILED_FOR.add(self._provider)
        return handle, printed.read()[begin:] if printed else ""

    def _partial(self, told: str) -> Refusal:
        """Return the refusal of a network that the accelerator does not run as a whole; `told`: how that is known."""
        message = "%s does not run all operators of this network: %s" % (self._provider, told)
        if PROVIDERS[self._provider].accelerator == api.GPU:
            message += ". Let the CPU run the others with the provider " + (self._provider + ALSO_CPU).lower()
        return Refusal("worker-error", message)

    def _check_whole(self) -> None:
        """Refuse a network of which an accelerator runs a part alone; where LiteRT has no function that tells, forget the share.

        Raises: Refusal, LiteRtError.
        """
        if not self.is_accelerated or len(self.shares) > 1:
            return
        names = [name for name in TELL_WHOLE if name in self.library.functions]
        for name in names:
            if not self.library.ask(c_bool, name, self.handle):
                raise self._partial("%s says so" % name)
        if not names:
            self.shares = {}

    def _add_options(self, options: c_void_p, name: str, text: bytes) -> None:
        """Add options of an accelerator, which LiteRT reads when it compiles."""
        self._handles.kept.append(text)
        opaque = self.library.make("LiteRtCreateOpaqueOptions", name.encode(), text, KEEP)
        self.library.call("LiteRtAddOpaqueOptions", options, opaque)  # which owns it from here on

    def bind(
        self, inputs: Inputs
    ) -> tuple[Callable[[], None], Callable[[], list[float]], Callable[[Change], list[float]] | None]:
        """Put inputs and outputs in place; return Loaded's `run`, `output` and `other_output`.

        Raises: ValueError for an input that cannot be given, Refusal for a network that is not run as a whole, LiteRtError.
        """
        library = self.library
        signature = library.make("LiteRtGetModelSignature", self._model, SIGNATURE)
        tensors = [
            self._tensor("Input", signature, index) for index in range(self._count("Inputs", signature))
        ]
        for index, tensor in enumerate(tensors):
            shape = inputs.shape_of(tensor.name)
            if shape is not None:
                self._resize(index, tensor, shape)
        given = [(tensor, *self._input(index, tensor, inputs)) for index, tensor in enumerate(tensors)]
        sources = [buffer for _, buffer, _ in given]
        results = [
            self._tensor("Output", signature, index) for index in range(self._count("Outputs", signature))
        ]
        layouts = (TensorLayout * len(results))()
        library.call(
            "LiteRtGetCompiledModelOutputTensorLayouts", self.handle, SIGNATURE, len(results), layouts, True
        )
        self._check_whole()  # now: other shapes have the accelerators choose their operators anew
        sinks = [
            self._buffer("Output", index, tensor, layouts[index]) for index, tensor in enumerate(results)
        ]
        run = self._runner(sources, sinks)

        in_order = sorted(range(len(results)), key=lambda index: results[index].name)

        def output() -> list[float]:
            told = [self._output(results[one], sinks[one], layouts[one].shape) for one in in_order]
            with self._telling_faults():
                return judged_values(told, inputs.batch)

        def other_output(change: Change) -> list[float]:
            with self._telling_faults():
                for tensor, buffer, data in given:
                    self._write(buffer, change(data, tensor.code))
            run()
            values = output()
            with self._telling_faults():
                for _, buffer, data in given:
                    self._write(buffer, data)
            return values

        is_real = any(tensor.scale or tensor.dtype.startswith("float") for tensor in results)
        return run, output, other_output if given and is_real else None

    @contextmanager
    def _telling_faults(self) -> Iterator[None]:
        """Tell an accelerator's fault by what it printed, whether a function failed or not. Raises: GpuError, LiteRtError."""
        try:
            yield
        except LiteRtError as error:
            if self._printed:
                self._printed.check(self._provider, error)
            raise
        if self._printed:
            self._printed.check(self._provider)

    def _runner(self, sources: Sequence[c_void_p], sinks: Sequence[c_void_p]) -> Callable[[], None]:
        """Return a function that runs the model once, and on an accelerator fetches its outputs."""
        function = self.library.functions["LiteRtRunCompiledModel"]
        arguments = (
            *(self.handle, ctypes.c_size_t(SIGNATURE)),
            *(ctypes.c_size_t(len(sources)), (c_void_p * len(sources))(*sources)),
            *(ctypes.c_size_t(len(sinks)), (c_void_p * len(sinks))(*sinks)),
        )
        away = [
            sink
            for sink in sinks
            if self.library.ask(ctypes.c_int, "LiteRtGetTensorBufferType", sink) != api.HOST_MEMORY
        ]

        def run() -> None:
            status = function(*arguments)
            if status:
                raise api.failure("LiteRtRunCompiledModel", status)

        def run_and_fetch() -> None:
            run()
            for sink in away:
                self._lock(sink, api.READ)
                self.library.call("LiteRtUnlockTensorBuffer", sink)

        fetching = run_and_fetch if away else run
        printed, provider = self._printed, self._provider
        if printed is None:
            return fetching

        def run_and_check() -> None:
            try:
                fetching()
            except LiteRtError as error:
                printed.check(provider, error)
                raise
            if printed.fault:
                printed.check(provider)

        return run_and_check

    def _count(self, kind: str, signature: c_void_p) -> int:
        return int(self.library.ask(ctypes.c_size_t, "LiteRtGetNumSignature" + kind, signature))

    def _tensor(self, kind: str, signature: c_void_p, index: int) -> LiteRtTensor:
        """Describe an input or output of the signature. Raises: ValueError for one that holds no numbers, LiteRtError."""
        library = self.library
        handle = library.make("LiteRtGetSignature%sTensorByIndex" % kind, signature, index)
        name = (library.ask(ctypes.c_char_p, "LiteRtGetTensorName", handle) or b"").decode("utf-8", "replace")
        described = TensorType()
        library.call("LiteRtGetRankedTensorType", handle, ctypes.byref(described))
        if described.element_type not in ELEMENTS:
            message = "%s %r holds values of LiteRT's type %d, which harness does not make"
            raise ValueError(message % (kind.lower(), name, described.element_type))
        scaled = PerTensor()
        if library.ask(ctypes.c_int, "LiteRtGetQuantizationTypeId", handle) == api.PER_TENSOR:
            library.call("LiteRtGetPerTensorQuantization", handle, ctypes.byref(scaled))
        dtype, code = ELEMENTS[described.element_type]
        return LiteRtTensor(
            handle, name, described.element_type, dtype, code, scaled.scale, scaled.zero_point
        )

    def _resize(self, index: int, tensor: LiteRtTensor, shape: Sequence[int]) -> None:
        """Give an input a shape. Raises: ValueError for another than an NPU's code was compiled for, LiteRtError."""
        own = self._layout(index).shape
        if PROVIDERS[self._provider].accelerator == api.NPU and tuple(shape) != own:
            message = "input %r is given the shape %s, and the NPU's code is compiled for %s: make a model of that shape"
            raise ValueError(message % (tensor.name, list(shape), list(own)))
        sizes = (ctypes.c_int * len(shape))(*shape)
        self.library.call(
            "LiteRtCompiledModelResizeInputTensorNonStrict", self.handle, SIGNATURE, index, sizes, len(sizes)
        )

    def _layout(self, index: int) -> TensorLayout:
        layout = TensorLayout()
        self.library.call(
            "LiteRtGetCompiledModelInputTensorLayout", self.handle, SIGNATURE, index, ctypes.byref(layout)
        )
        return layout

    def _input(self, index: int, tensor: LiteRtTensor, inputs: Inputs) -> tuple[c_void_p, bytes]:
        """Return the buffer of an input, and its values, which are in it. Raises: ValueError, LiteRtError."""
        layout = self._layout(index)
        quantized = tensor.scale, tensor.zero_point
        if tensor.name in inputs.arrays:
            data = inputs.array(tensor.name, layout.shape, tensor.dtype, "NHWC", *quantized).tobytes()
        else:
            data = fixed_bytes(layout.shape, tensor.code, "NHWC", *quantized)
        buffer = self._buffer("Input", index, tensor, layout)
        size_bytes = self.library.ask(ctypes.c_size_t, "LiteRtGetTensorBufferPackedSize", buffer)
        if size_bytes != len(data):
            message = "input %r takes %d bytes, and %d are given"
            raise ValueError(message % (tensor.name, size_bytes, len(data)))
        self._write(buffer, data)
        return buffer, data

    def _write(self, buffer: c_void_p, data: bytes) -> None:
        ctypes.memmove(self._lock(buffer, api.WRITE), data, len(data))
        self.library.call("LiteRtUnlockTensorBuffer", buffer)

    def _buffer(self, kind: str, index: int, tensor: LiteRtTensor, layout: TensorLayout) -> c_void_p:
        """Return a buffer for an input or output, of the memory that the accelerator asks for."""
        needed = self.library.make(
            "LiteRtGetCompiledModel%sBufferRequirements" % kind, self.handle, SIGNATURE, index
        )
        described = TensorType(tensor.element, layout)
        return self._handles.make(
            "LiteRtCreateManagedTensorBufferFromRequirements",
            *(self._environment, ctypes.byref(described), needed),
            destroy="LiteRtDestroyTensorBuffer",
        )

    def _lock(self, buffer: c_void_p, mode: int) -> int:
        """Return where a buffer lies in this process's memory, once what computes it is done."""
        address = c_void_p()
        self.library.call("LiteRtLockTensorBuffer", buffer, ctypes.byref(address), mode)
        return address.value or 0

    def _output(self, tensor: LiteRtTensor, buffer: c_void_p, shape: Sequence[int]) -> Output:
        """Return an output, to be read from its buffer."""

        def values() -> Any:
            count = prod(shape)
            data = ctypes.string_at(self._lock(buffer, api.READ), count * struct.calcsize("=" + tensor.code))
            self.library.call("LiteRtUnlockTensorBuffer", buffer)
            if tensor.code == "e":  # of fp16 no view is known to Python 3.8
                return struct.unpack("=%de" % count, data)
            view: Any = memoryview(data)
            return view.cast(tensor.code)

        return Output(shape, values, tensor.dtype.startswith("float"), tensor.scale, tensor.zero_point)


KEEP = api.DESTRUCTOR(lambda address: None)  # options are Python's own bytes, which LiteRT must not free
