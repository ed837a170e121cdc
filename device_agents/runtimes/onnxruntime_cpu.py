"""ONNX Runtime: fixed buffers by IOBinding, so that a run is nothing but the network."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Iterator

from device_agents.cuda_events import EventTimer, open_library
from device_agents.nvidia import uses_gpu
from device_agents.outputs import refuse_change
from device_agents.refusal import Refusal
from device_agents.runtimes.loaded import Inputs, Loaded, array_outputs, judged_values, on_other_values
from device_agents.runtimes.onnxruntime_providers import (
    ALSO_CPU,
    ASSIGNMENT,
    CPU,
    TELLS_NODES,
    TENSORRT,
    THREADS_OPTIONS,
    Chosen,
    engine_folder,
    offered,
    provider_settings,
    shares,
)

NAME = "onnxruntime"
FORMATS = ("onnx",)
PACKAGES = ("onnxruntime",)
OPTIONS = {"provider": str, "allow_spinning": bool, "provider_options": dict}
DEFAULT_PROVIDER = CPU
ALL_NODES = "session.disable_cpu_ep_fallback"  # onnxruntime_session_options_config_keys.h
ALL_NODES_SINCE = (1, 16)  # older versions take the entry and do nothing
NO_SPINNING_ON = "session.force_spinning_stop"  # the same file, from 1.13 on: a run's end is the spinning's
UNAWAITED = "disable_synchronize_execution_providers"  # onnxruntime_run_options_config_keys.h, from 1.14 on
DEVICE_WARM_UPS = 3
MESSAGE_CHARACTERS = 2000
AGENT_FOLDER = "HARNESS_AGENT_FOLDER"  # a variable of the worker: where the agent may keep what it made

ALIKE = ("float16", "bool", *(sign + "int%d" % bits for sign in ("", "u") for bits in (8, 16, 32, 64)))
DTYPES = {
    **{"tensor(float)": "float32", "tensor(double)": "float64"},
    **{"tensor(%s)" % name: name for name in ALIKE},  # numpy's names, too
}


def find() -> tuple[str, str, Any]:
    """Return (package, version, module). Raises: ModuleNotFoundError, and what a broken package raises."""
    import onnxruntime

    return NAME, str(onnxruntime.__version__), onnxruntime


def providers() -> list[str]:
    """Return the names that the option `provider` may have."""
    return offered(find()[2].get_available_providers())


def load(model: bytes, threads: int, options: dict[str, Any]) -> Loaded:
    """Load a model on `threads` threads, its fixed input and output in place. Raises: as `load_with_inputs`."""
    return load_with_inputs(model, threads, options, Inputs())


def load_with_inputs(model: bytes, threads: int, options: dict[str, Any], inputs: Inputs) -> Loaded:
    """Load a model on `threads` threads, inputs of the given shapes and values, else fixed ones, and outputs in place.

    Raises: ModuleNotFoundError, Refusal when the provider is not there, ValueError for an input that cannot be given, and what
    the runtime raises.
    """
    session, runtime = open_session(model, threads, options)
    chosen = Chosen.of(runtime["provider"])
    if chosen.is_graph:
        loaded = bind_on_card(session, runtime, inputs)[0]
    else:
        loaded = bind(session, runtime, inputs)
    if chosen.name == DEFAULT_PROVIDER:
        return loaded
    loaded = replace(loaded, shares=shares(session, chosen))
    if not uses_gpu(chosen.name) or chosen.also_cpu:
        return loaded

    def timed_by_the_card(runs: int) -> list[int]:
        loaded.run()
        return device_times(model, threads, options, inputs, runs, loaded.output())

    return replace(loaded, device_times=timed_by_the_card)


def device_times(
    model: bytes,
    threads: int,
    options: dict[str, Any],
    inputs: Inputs,
    runs: int,
    right: list[float],
    library: Any = None,
) -> list[int]:
    """Return the times of some runs by the card's own events, in ns: of the network alone, whose inputs and outputs stay on
    the card.

    It is loaded anew into a stream of its own, so that nothing of this is in what is timed elsewhere. right: what its output is
    elsewhere.
    Raises: OSError without CUDA's runtime library, CudaError, OutputChanged, and as `load_with_inputs`.
    """
    timer = EventTimer(library or open_library())
    given = dict(options.get("provider_options") or {}, has_user_compute_stream="1")
    given["user_compute_stream"] = str(timer.stream.value or 0)
    session, runtime = open_session(model, threads, dict(options, provider_options=given))
    unawaited = find()[2].RunOptions()
    unawaited.add_run_config_entry(UNAWAITED, "1")
    loaded, binding = bind_on_card(session, runtime, inputs)
    for _ in range(DEVICE_WARM_UPS):  # a CUDA graph is captured in the first ones
        loaded.run()
    timer.wait()
    times = [timer.time_ns(lambda: session.run_with_iobinding(binding, unawaited)) for _ in range(runs)]
    refuse_change(runtime["provider"] + " gave %s", right, loaded.output(), [right])
    return times


def open_session(
    model: bytes, threads: int, options: dict[str, Any], profile_prefix: str = ""
) -> tuple[Any, dict[str, str]]:
    """Return a session and what it is (Loaded.runtime); with a prefix, its profiler writes a file named by it.

    Raises: as `load`.
    """
    package, version, onnxruntime = find()
    provider = options.get("provider", DEFAULT_PROVIDER)
    chosen = Chosen.of(provider)
    session_options = onnxruntime.SessionOptions()
    has_own_threads = chosen.name in THREADS_OPTIONS
    if threads > 1 and not has_own_threads and options.get("allow_spinning", True) and share_pool(threads):
        session_options.use_per_session_threads = False
    else:
        session_options.intra_op_num_threads = 1 if has_own_threads else threads
        session_options.inter_op_num_threads = 1
        session_options.add_session_config_entry(NO_SPINNING_ON, "1")
    session_options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    session_options.log_severity_level = 3
    if "allow_spinning" in options or has_own_threads:
        spinning = "1" if options.get("allow_spinning") and not has_own_threads else "0"
        session_options.add_session_config_entry("session.intra_op.allow_spinning", spinning)
    if profile_prefix:
        session_options.enable_profiling = True
        session_options.profile_file_prefix = profile_prefix
    available = offered(onnxruntime.get_available_providers())
    if provider not in available:
        message = "onnxruntime has no provider %r here; it has: %s" % (provider, ", ".join(available))
        raise Refusal("runtime-missing", message)
    if provider != DEFAULT_PROVIDER and tuple(map(int, version.split(".")[:2])) < ALL_NODES_SINCE:
        message = "onnxruntime %s may run nodes on the CPU that %s leaves out, and does not say so; install 1.16 or newer"
        raise Refusal("runtime-missing", message % (version, provider))
    if uses_gpu(provider) and hasattr(onnxruntime, "preload_dlls"):  # from 1.21 on
        onnxruntime.preload_dlls()  # CUDA and cuDNN as packages: no loader finds those by itself
    if provider == DEFAULT_PROVIDER:
        if options.get("provider_options"):
            raise Refusal("bad-request", "the CPU provider of onnxruntime takes no options")
        session = onnxruntime.InferenceSession(model, session_options, providers=[provider])
    else:
        given, engines = options.get("provider_options") or {}, None
        if chosen.name == TENSORRT and AGENT_FOLDER in os.environ:
            engines = engine_folder(
                Path(os.environ[AGENT_FOLDER]), [version, *map(str, sorted(given.items()))]
            )
        told = provider_settings(chosen, threads, given, engines)
        session = open_accelerated(onnxruntime, model, session_options, chosen, told)
    return session, {"name": NAME, "package": package, "version": version, "provider": provider}


@lru_cache(maxsize=None)
def share_pool(threads: int) -> bool:
    """Have all sessions of this process compute on the same threads; return whether this version can (seen in 1.32).

    A pool's threads spin for some 50 ms after a run, in wait for the next one: with a pool each, those of the reference take the
    cores from the network's. Two models that took turns with 2 threads on 2 cores waited 1.2 times as long as they ran,
    with a common pool for 0.6 % of that. Versions without one end the spinning with each run, which costs 2 to 3 %.
    """
    onnxruntime = find()[2]
    if not hasattr(onnxruntime, "set_global_thread_pool_sizes"):
        return False
    onnxruntime.set_global_thread_pool_sizes(threads, 1)
    return True


def open_accelerated(
    onnxruntime: Any, model: bytes, session_options: Any, chosen: Chosen, told: dict[str, str]
) -> Any:
    """Return a session of which the provider runs every node, unless the CPU may help.

    Left to itself, onnxruntime has the CPU run the others in silence. told: the provider's options.
    A second session, in which the CPU may help, tells why the first was refused.
    Raises: Refusal when the provider does not start or leaves nodes out, and what the runtime raises.
    """
    provider, refused = chosen.name, None
    named: dict[str, Any] = {"providers": [provider], "enable_fallback": 0}  # onnxruntime's own: to the CPU
    if told:
        named["provider_options"] = [told]
    session_options.add_session_config_entry(ASSIGNMENT, "1")
    session_options.add_session_config_entry(ALL_NODES, "0" if chosen.also_cpu else "1")
    try:
        session = onnxruntime.InferenceSession(model, session_options, **named)
    except Exception as error:
        if chosen.also_cpu:
            raise
        refused = error
        session_options.add_session_config_entry(ALL_NODES, "0")
        session = onnxruntime.InferenceSession(model, session_options, **named)
    found = session.get_providers()[0]
    if found != provider:  # a library of the provider's own did not load
        message = "onnxruntime could not start %s and fell back to %s" % (provider, found)
        if uses_gpu(provider):
            message += "; install there what it needs: pip install 'onnxruntime-gpu[cuda,cudnn]'"
        raise Refusal("runtime-missing", message) from refused
    if refused is not None:
        if hasattr(session, TELLS_NODES) and set(shares(session, chosen)) == {provider}:
            raise refused  # no node is left out: it was something else, such as memory
        message = "%s does not run all nodes of this network, and the CPU would run the others (that is measured with the "
        message = (message + "provider %s, as what it is): %s") % (provider, provider + ALSO_CPU, refused)
        raise Refusal("worker-error", message[:MESSAGE_CHARACTERS]) from refused
    return session


def bind(session: Any, runtime: dict[str, str], inputs: Inputs) -> Loaded:
    """Put inputs and outputs in place, so that a run allocates neither. Raises: ValueError for an input that cannot be given.

    The CPU's provider runs all of its nodes.
    """
    binding = session.io_binding()
    given = list(input_arrays(session, inputs))
    for name, array in given:
        binding.bind_cpu_input(name, array)
    buffers = [*given, *bind_outputs(session, binding)]

    def run() -> None:
        session.run_with_iobinding(binding)

    def output() -> list[float]:
        return judged_outputs(binding, inputs.batch)

    loaded = Loaded(run, output, runtime, tuple(buffers), {runtime["provider"]: 1.0})
    if runtime["provider"] == DEFAULT_PROVIDER:
        return loaded
    real = (
        [(name, array) for name, array in given if array.dtype.kind == "f"] if heeds_values(session) else []
    )
    return replace(loaded, other_output=on_other_values(real, binding.bind_cpu_input, run, output))


def heeds_values(session: Any) -> bool:
    """Return whether other inputs give other real numbers, and as many: no classes alone, and no list of what was found."""
    sizes = {size for node in session.get_inputs() for size in node.shape if isinstance(size, str)}
    outputs = session.get_outputs()
    is_real = any(DTYPES.get(node.type, "").startswith("float") for node in outputs)
    return is_real and all(isinstance(size, int) or size in sizes for node in outputs for size in node.shape)


def bind_on_card(session: Any, runtime: dict[str, str], inputs: Inputs) -> tuple[Loaded, Any]:
    """Put inputs and outputs in the card's memory, where a CUDA graph wants them; return the model and its binding.

    A run copies nothing, and is over when it ends.

    Raises: ValueError for an input that cannot be given, and for an output of no fixed size.
    """
    make = find()[2].OrtValue
    binding = session.io_binding()
    buffers: list[Any] = []
    real: list[tuple[Any, Any]] = []
    for name, array in input_arrays(session, inputs):
        value = make.ortvalue_from_numpy(array, "cuda", 0)
        binding.bind_ortvalue_input(name, value)
        buffers.append(value)
        if array.dtype.kind == "f" and heeds_values(session):
            real.append((value, array))
    for node in session.get_outputs():
        if node.type not in DTYPES or not all(isinstance(size, int) and size > 0 for size in node.shape):
            message = "output %r is a %s of the sizes %s: a CUDA graph has outputs of numbers, whose sizes are fixed"
            raise ValueError(message % (node.name, node.type, node.shape))
        value = make.ortvalue_from_shape_and_type(node.shape, DTYPES[node.type], "cuda", 0)
        binding.bind_ortvalue_output(node.name, value)
        buffers.append(value)

    def run() -> None:
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()

    def output() -> list[float]:
        return judged_outputs(binding, inputs.batch)

    def put(value: Any, array: Any) -> None:
        value.update_inplace(array)  # where a captured graph reads it

    loaded = Loaded(run, output, runtime, tuple(buffers))
    return replace(loaded, other_output=on_other_values(real, put, run, output)), binding


def input_arrays(session: Any, inputs: Inputs) -> Iterator[tuple[str, Any]]:
    """Yield each input's name and values. Raises: ValueError for an input that cannot be given."""
    for node in session.get_inputs():
        if node.type not in DTYPES:
            raise ValueError("input %r is a %s, which harness does not make" % (node.name, node.type))
        shape = inputs.shape_of(node.name) or static_shape(node)
        yield node.name, inputs.array(node.name, shape, DTYPES[node.type], "NCHW")


def judged_outputs(binding: Any, batch: int) -> list[float]:
    """Return the judged values of a binding's last outputs. Raises: as `judged_values`."""
    known = [one for one in binding.get_outputs() if one.is_tensor() and one.data_type() in DTYPES]
    return judged_values(array_outputs(one.numpy() for one in known), batch)


def bind_outputs(session: Any, binding: Any) -> list[Any]:
    """Put outputs in place, and return their buffers. A first run tells the sizes that the model leaves free.

    What is no tensor of numbers, such as the maps of a classifier, is made anew by each run.
    """
    import numpy

    onnxruntime = find()[2]
    nodes = session.get_outputs()
    shapes = [
        node.shape if all(isinstance(size, int) and size > 0 for size in node.shape) else None
        for node in nodes
    ]
    if None in shapes:
        for node in nodes:
            binding.bind_output(node.name)
        session.run_with_iobinding(binding)
        found = binding.get_outputs()
        shapes = [value.shape() if value.is_tensor() else None for value in found]
    buffers = []
    for place, node in enumerate(nodes):
        shape = shapes[place]
        if shape is None or node.type not in DTYPES:
            binding.bind_output(node.name)
            continue
        value = onnxruntime.OrtValue.ortvalue_from_numpy(numpy.zeros(shape, DTYPES[node.type]))
        buffers.append(value)
        binding.bind_ortvalue_output(node.name, value)
    return buffers


def static_shape(node: Any) -> list[int]:
    """Return a tensor's shape, a free batch dimension taken as 1. Raises: ValueError when more is free."""
    shape = [1 if index == 0 and not isinstance(size, int) else size for index, size in enumerate(node.shape)]
    if not all(isinstance(size, int) and size > 0 for size in shape):
        raise ValueError(
            "tensor %r has the free shape %s; name its sizes with --shape" % (node.name, node.shape)
        )
    return shape
