"""TFLite's interpreter, from whichever package has it: ai_edge_litert, tflite_runtime or tensorflow."""

from __future__ import annotations

import sys
from typing import Any, Callable

from device_agents.refusal import Refusal
from device_agents.runtimes import delegates
from device_agents.runtimes.loaded import Inputs, Loaded, array_output, judged_values, on_other_values

NAME = "tflite"
FORMATS = ("tflite",)
PACKAGES = ("ai_edge_litert", "tflite_runtime", "tensorflow")
OPTIONS = {"provider": str, "provider_options": dict}
XNNPACK_HAS = {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "ADD", "MUL"}  # wherever it is
SHOWN = 3  # operators that a message names
PROVIDERS = ("XNNPACK", "builtin")
SIGNATURES = True
# Kernels compute in the types of the graph's operators; these only turn one type into another, or stand for others.
CONVERSIONS = ("QUANTIZE", "DEQUANTIZE", "DELEGATE")
ARITHMETICS = {"float32": "fp32", "float16": "fp16", "int8": "int8", "uint8": "int8", "int16": "mixed"}


def find() -> tuple[str, str, Any]:
    """Return (package, version, module with Interpreter) of the first package that is installed.

    Raises: ModuleNotFoundError when none is; a package that is there but broken raises what it raises.
    """
    try:
        import ai_edge_litert
        from ai_edge_litert import interpreter as litert

        return "ai_edge_litert", str(ai_edge_litert.__version__), litert
    except ModuleNotFoundError as error:
        if error.name != "ai_edge_litert":
            raise
    try:
        import tflite_runtime
        from tflite_runtime import interpreter as lite

        return "tflite_runtime", str(tflite_runtime.__version__), lite
    except ModuleNotFoundError as error:
        if error.name != "tflite_runtime":
            raise
    import tensorflow

    return "tensorflow", str(tensorflow.__version__), tensorflow.lite


def providers() -> list[str]:
    """Return the names that the option `provider` may have, the usual one first."""
    own = list(PROVIDERS)
    if sys.maxsize < 1 << 32 and find()[0] == "tflite_runtime":
        own.reverse()  # its wheels for 32-bit ARM run models without XNNPACK
    return [*own, delegates.EDGE_TPU] if delegates.has_corals_library() else own


def load(model: bytes, threads: int, options: dict[str, Any]) -> Loaded:
    """Load a model on `threads` threads, its fixed input in place. Raises: as `load_with_inputs`."""
    return load_with_inputs(model, threads, options, Inputs())


def load_with_inputs(model: bytes, threads: int, options: dict[str, Any], inputs: Inputs) -> Loaded:
    """Load a model on `threads` threads, its inputs of the given shapes and values, else fixed ones.

    Raises: ModuleNotFoundError, Refusal when the provider is not there or has options that nothing reads, ValueError for an input
    that cannot be given, and what the runtime raises.
    """
    package, version, module = find()
    provider = options.get("provider", PROVIDERS[0])
    given = options.get("provider_options") or {}
    check_provider(provider, given)
    arguments = interpreter_arguments(module, model, threads, provider, given)
    interpreter = module.Interpreter(**arguments)
    graph = Signature(interpreter, inputs.signature) if inputs.signature else InterpreterGraph(interpreter)
    for details in graph.inputs():
        shape = inputs.shape_of(details["name"])
        if shape is not None:
            graph.resize(details["index"], shape)
    graph.allocate()
    if provider == "XNNPACK" and not is_delegated(graph.listed):
        raise without_xnnpack(set(graph.operators()))
    is_edgetpu = provider == delegates.EDGE_TPU
    if is_edgetpu:
        delegates.check_edgetpu(graph.operators())
    real = set_inputs(graph, inputs)
    outputs = sorted(graph.outputs(), key=lambda details: str(details["name"]))  # as other runtimes have them

    def output() -> list[float]:
        found = [(graph.get(details["index"]), details["quantization"]) for details in outputs]
        told = [array_output(array, *quantized) for array, quantized in found if array.dtype.kind in "biuf"]
        return judged_values(told, inputs.batch)

    runtime = {"name": NAME, "package": package, "version": version, "provider": provider}
    if provider in PROVIDERS:
        shares, arithmetic = shares_of(graph.listed, provider), arithmetic_of(graph.listed)
        return Loaded(graph.run, output, runtime, shares=shares, arithmetic=arithmetic)
    if not any(is_real(details) for details in outputs):  # classes may be the same, whatever the input is
        real = []
    other_output = on_other_values(real, graph.set, graph.run, output)
    if is_edgetpu:  # it computes in nothing else
        shares = {provider: 1.0}
        return Loaded(graph.run, output, runtime, (), shares, arithmetic="int8", other_output=other_output)
    graph.operators()  # refuses where they are not listed
    shares = shares_of(graph.listed, provider.partition("+")[0])
    delegates.check_shares(provider, shares)
    kept = (graph, arguments)  # what a delegate computes in it does not tell
    return Loaded(graph.run, output, runtime, kept, shares, other_output=other_output)


def without_xnnpack(operators: set[str]) -> Refusal:
    """Return why XNNPACK runs no operator of a model: it is not there, or it has none of them."""
    if operators & XNNPACK_HAS:
        message = (
            "this tflite runs the model without XNNPACK (it may be built without); use the provider builtin"
        )
        return Refusal("runtime-missing", message)
    message = "XNNPACK has none of the model's operators (%s); use the provider builtin"
    return Refusal("worker-error", message % ", ".join(sorted(operators)[:SHOWN]))


def check_provider(provider: str, given: dict[str, Any]) -> None:
    """Refuse a provider that is not there, or `given` options that nothing reads: they are of a delegate of devices.toml."""
    own = (*PROVIDERS, delegates.EDGE_TPU)
    is_named = delegates.LIBRARY in given
    if given and (provider in own or not is_named):
        message = "tflite's provider %r takes no provider_options, but has %r: leave them out, or name a delegate and its library"
        raise Refusal("bad-request", message % (provider, given))
    if not is_named and provider not in own:
        message = "tflite has no provider %r; it has: %s" % (provider, ", ".join(providers()))
        raise Refusal("runtime-missing", message)


def interpreter_arguments(
    module: Any, model: bytes, threads: int, provider: str, given: dict[str, Any]
) -> dict[str, Any]:
    """Return the arguments of a provider's interpreter, its delegate opened. Raises: Refusal."""
    arguments: dict[str, Any] = {"model_content": model, "num_threads": threads}
    if provider == delegates.EDGE_TPU:
        arguments["experimental_delegates"] = [delegates.edgetpu_delegate(module, model)]
    else:
        delegates.refuse_elsewhere(model, provider)
    is_named = delegates.LIBRARY in given
    if is_named:
        arguments["experimental_delegates"] = [delegates.named_delegate(module, provider, given)]
    if is_named or provider == "builtin":  # what a delegate leaves out XNNPACK would take unseen
        resolvers = getattr(module, "OpResolverType", None) or module.experimental.OpResolverType
        arguments["experimental_op_resolver_type"] = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return arguments


def set_inputs(graph: InterpreterGraph | Signature, inputs: Inputs) -> list[tuple[int, Any]]:
    """Set a graph's inputs; return places and values of those that hold real numbers. Raises: ValueError."""
    real = []
    for details in graph.inputs():
        if details["dtype"] is bytes or getattr(details["dtype"], "__name__", "").startswith(
            ("str", "bytes")
        ):
            raise ValueError("input %r holds text, which harness does not make" % details["name"])
        shape = [int(size) for size in details["shape"]]
        array = inputs.array(details["name"], shape, details["dtype"], "NHWC", *details["quantization"])
        graph.set(details["index"], array)
        if is_real(details):
            real.append((details["index"], array))
    return real


def is_real(details: Any) -> bool:
    """Return whether an input or output holds real numbers, as they are or quantized."""
    return bool(details["quantization"][0]) or getattr(details["dtype"], "__name__", "").startswith("float")


class InterpreterGraph:
    """A model's first graph, as the interpreter runs it."""

    def __init__(self, interpreter: Any) -> None:
        self.listed = interpreter  # which may list the operators
        self.inputs: Callable[[], list[Any]] = interpreter.get_input_details
        self.outputs: Callable[[], list[Any]] = interpreter.get_output_details
        self.resize: Callable[[int, Any], Any] = interpreter.resize_tensor_input
        self.allocate: Callable[[], Any] = interpreter.allocate_tensors
        self.set: Callable[[int, Any], Any] = interpreter.set_tensor
        self.get: Callable[[int], Any] = interpreter.get_tensor
        self.run: Callable[[], Any] = interpreter.invoke

    def operators(self) -> list[str]:
        """Return the names of the graph's operators. Raises: Refusal where the package does not list them."""
        if not hasattr(self.listed, "_get_ops_details"):
            message = "this tflite package does not list a model's operators, which may run anywhere; install a newer"
            raise Refusal("runtime-missing", message)
        return [str(details["op_name"]) for details in self.listed._get_ops_details()]


class Signature:
    """The graph of one of a model's signatures.

    The public runner sets its inputs and copies its outputs in each call; a run here is the graph alone, as of the first graph.
    """

    def __init__(self, interpreter: Any, name: str) -> None:
        try:
            self._runner = interpreter.get_signature_runner(name)
            self._wrapper, self._graph = interpreter._interpreter, self._runner._subgraph_index
        except AttributeError as error:
            message = "this tflite package runs no signatures (%s); install a newer ai-edge-litert" % error
            raise Refusal("runtime-missing", message) from error
        self.listed = None  # no package lists the operators of another graph than the first

    def inputs(self) -> list[Any]:
        return list(self._runner.get_input_details().values())

    def outputs(self) -> list[Any]:
        """Return the details of the outputs, by the order of their names."""
        return list(self._runner.get_output_details().values())

    def resize(self, index: int, shape: Any) -> None:
        import numpy

        self._wrapper.ResizeInputTensor(index, numpy.array(shape, numpy.int32), False, self._graph)

    def allocate(self) -> None:
        self._wrapper.AllocateTensors(self._graph)

    def set(self, index: int, array: Any) -> None:
        self._wrapper.SetTensor(index, array, self._graph)

    def get(self, index: int) -> Any:
        """Return a copy of an output."""
        return self._wrapper.GetTensor(index, self._graph)

    def run(self) -> None:
        self._wrapper.Invoke(self._graph)

    def operators(self) -> list[str]:
        """Refuse. Raises: Refusal."""
        raise Refusal(
            "runtime-missing", "no tflite package lists the operators of a signature; leave --signature out"
        )


def arithmetic_of(interpreter: Any) -> str:
    """Return the operators' arithmetic, mixed where that differs; empty where the package does not list them.

    Weights in fp16 that are turned into fp32 first are computed with in fp32; integer weights beside fp32 values are mixed.
    """
    if not hasattr(interpreter, "_get_ops_details"):
        return ""
    kinds = {one["index"]: getattr(one["dtype"], "__name__", "") for one in interpreter.get_tensor_details()}
    found: set[str] = set()
    for details in interpreter._get_ops_details():
        if details["op_name"] not in CONVERSIONS:
            tensors = [*details["inputs"], *details["outputs"]]
            found.update(ARITHMETICS.get(kinds.get(int(index), ""), "") for index in tensors)
    found.discard("")
    return "mixed" if len(found) > 1 else "".join(found)


def is_delegated(interpreter: Any) -> bool:
    """Return whether a delegate runs a part of the model; True where a package does not list its operators."""
    listed = hasattr(interpreter, "_get_ops_details")
    return not listed or any(one["op_name"] == "DELEGATE" for one in interpreter._get_ops_details())


def shares_of(interpreter: Any, provider: str) -> dict[str, float]:
    """Return the share of the model's operators that a provider's delegates run, and that of the built-in kernels.

    A delegate stands beside the operators that it runs: those on the way from its outputs back to its inputs. Nothing is returned
    where a package does not list the operators.
    """
    if not hasattr(interpreter, "_get_ops_details"):
        return {}
    every = interpreter._get_ops_details()
    operators = [details for details in every if details["op_name"] != "DELEGATE"]
    makers = {int(tensor): number for number, one in enumerate(operators) for tensor in one["outputs"]}
    inside: set[int] = set()
    for delegate in (details for details in every if details["op_name"] == "DELEGATE"):
        ends = set(map(int, delegate["inputs"]))
        waiting = list(map(int, delegate["outputs"]))
        while waiting:
            tensor = waiting.pop()
            number = makers.get(tensor)
            if tensor not in ends and number is not None and number not in inside:
                inside.add(number)
                waiting += map(int, operators[number]["inputs"])
    if not operators:
        return {}
    if provider == PROVIDERS[1]:
        return {provider: 1.0}
    share = len(inside) / len(operators)
    return {name: part for name, part in ((provider, share), (PROVIDERS[1], 1 - share)) if part > 0}
