"""Models as edgetpu_compiler writes them, and a library in the place of Coral's, compiled where a C compiler is."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest


def compile_library(folder: Path) -> Path:
    """Return a libedgetpu.so.1 that takes the compiled operators and computes nothing; skip without a C compiler."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to make a library in the place of libedgetpu: apt install gcc")
    library = folder / "libedgetpu.so.1"
    source = Path(__file__).with_name("edgetpu.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source)], check=True)
    return library


def edgetpu_model(*names: str, is_float: bool = False) -> bytes:
    """Return a model of 8 values, int8 or fp32, a chain of operators: `edgetpu-custom-op`, or RELU for `relu`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version, model.buffers, model.operatorCodes = 3, [schema.BufferT()], []
    for custom in ("edgetpu-custom-op", None):
        code = schema.OperatorCodeT()
        builtin = schema.BuiltinOperator.CUSTOM if custom else schema.BuiltinOperator.RELU
        code.builtinCode = code.deprecatedBuiltinCode = builtin
        code.customCode, code.version = custom, 1
        model.operatorCodes.append(code)
    graph = schema.SubGraphT()
    graph.tensors, graph.operators = [], []
    for index in range(len(names) + 1):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.name = (
            np.array([1, 8], np.int32),
            schema.TensorType.FLOAT32 if is_float else schema.TensorType.INT8,
            f"t{index}",
        )
        if not is_float:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [0.5], [0]
        graph.tensors.append(tensor)
    for index, name in enumerate(names):
        operator = schema.OperatorT()
        operator.opcodeIndex = int(name == "relu")
        operator.inputs, operator.outputs = [index], [index + 1]
        graph.operators.append(operator)
    if not set(names) - {"relu"}:
        del model.operatorCodes[0]
        for operator in graph.operators:
            operator.opcodeIndex = 0
    graph.inputs, graph.outputs = [0], [len(names)]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())
