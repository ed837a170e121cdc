"""TFLite's interpreter, from whichever package has it: ai_edge_litert, tflite_runtime or tensorflow."""

from __future__ import annotations

from typing import Any

from device_agents.refusal import Refusal
from device_agents.runtimes.loaded import Inputs, Loaded, first_values

NAME = "tflite"
FORMATS = ("tflite",)
PACKAGES = ("ai_edge_litert", "tflite_runtime", "tensorflow")
OPTIONS = {"provider": str}
PROVIDERS = ("XNNPACK", "builtin")
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
    """Return the names that the option `provider` may have."""
    return list(PROVIDERS)


def load(model: bytes, threads: int, options: dict[str, Any]) -> Loaded:
    """Load a model on `threads` threads, its fixed input in place. Raises: as `load_with_inputs`."""
    return load_with_inputs(model, threads, options, Inputs())


def load_with_inputs(model: bytes, threads: int, options: dict[str, Any], inputs: Inputs) -> Loaded:
    """Load a model on `threads` threads, its inputs of the given shapes and values, else fixed ones.

    Raises: ModuleNotFoundError, Refusal when the provider is not there, ValueError for an input that cannot be given, and what
    the runtime raises.
    """
    package, version, module = find()
    provider = options.get("provider", PROVIDERS[0])
    if provider not in PROVIDERS:
        message = "tflite has no provider %r; it has: %s" % (provider, ", ".join(PROVIDERS))
        raise Refusal("runtime-missing", message)
    arguments: dict[str, Any] = {"model_content": model, "num_threads": threads}
    if provider == "builtin":
        resolvers = getattr(module, "OpResolverType", None) or module.experimental.OpResolverType
        arguments["experimental_op_resolver_type"] = resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = module.Interpreter(**arguments)
    for details in interpreter.get_input_details():
        shape = inputs.shape_of(details["name"])
        if shape is not None:
            interpreter.resize_tensor_input(details["index"], shape)
    interpreter.allocate_tensors()
    if provider == "XNNPACK" and not is_delegated(interpreter):
        message = (
            "this tflite runs the model without XNNPACK (it may be built without); use the provider builtin"
        )
        raise Refusal("runtime-missing", message)
    for details in interpreter.get_input_details():
        if details["dtype"] is bytes or getattr(details["dtype"], "__name__", "").startswith(
            ("str", "bytes")
        ):
            raise ValueError("input %r holds text, which harness does not make" % details["name"])
        shape = [int(size) for size in details["shape"]]
        array = inputs.array(details["name"], shape, details["dtype"], "NHWC", *details["quantization"])
        interpreter.set_tensor(details["index"], array)
    outputs = interpreter.get_output_details()

    def output() -> list[float]:
        if not outputs:
            return []
        first = outputs[0]
        scale, zero_point = first["quantization"]
        return first_values(interpreter.get_tensor(first["index"]), scale, zero_point)

    runtime = {"name": NAME, "package": package, "version": version, "provider": provider}
    return Loaded(interpreter.invoke, output, runtime, arithmetic=arithmetic_of(interpreter))


def arithmetic_of(interpreter: Any) -> str:
    """Return what the operators compute in, mixed where that differs; empty where the package does not list them.

    Weights in fp16 that are turned into fp32 first are computed with in fp32; integer weights beside fp32 values are mixed.
    """
    if not hasattr(interpreter, "_get_ops_details"):
        return ""
    kinds = {one["index"]: getattr(one["dtype"], "__name__", "") for one in interpreter.get_tensor_details()}
    found = set()
    for details in interpreter._get_ops_details():
        if details["op_name"] not in CONVERSIONS:
            tensors = [*details["inputs"], *details["outputs"]]
            found.update(ARITHMETICS.get(kinds.get(int(index), ""), "") for index in tensors)
    found.discard("")
    return "mixed" if len(found) > 1 else "".join(found)


def is_delegated(interpreter: Any) -> bool:
    """Tell whether a delegate runs a part of the model; True where a package does not list its operators."""
    if not hasattr(interpreter, "_get_ops_details"):
        return True
    return any(details["op_name"] == "DELEGATE" for details in interpreter._get_ops_details())
