"""Exported models and their networks, run on many images. Imports torch and a runtime; runs in a process of its own."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from exporters.formats import Format
from exporters.networks import torch_network
from exporters.weights import Weights
from space import Architecture

FloatArray = NDArray[np.float32]
_AT_ONCE = 64


def network_logits(architecture: Architecture, weights: Weights, images: FloatArray) -> FloatArray:
    """Return the logits (n, classes) that the network computes in torch, in fp32, of images (n, C, H, W)."""
    torch.set_num_threads(os.cpu_count() or 1)
    network = torch_network(architecture, weights, folded=False)
    with torch.inference_mode():
        found = [network(some).numpy() for some in torch.split(torch.from_numpy(images), _AT_ONCE)]
    return np.concatenate(found)


def model_logits(format: Format, model: bytes, images: FloatArray) -> FloatArray:
    """Return the logits (n, classes) of a stand-alone model that takes one of the images (n, C, H, W) at a time."""
    run = _onnx_run(model) if format == "onnx" else _tflite_run(model)
    return np.concatenate([run(images[k : k + 1]) for k in range(len(images))])


def _onnx_run(model: bytes) -> Callable[[FloatArray], FloatArray]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # other programs have work to do
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def run(image: FloatArray) -> FloatArray:
        return np.asarray(session.run(["logits"], {"image": image})[0], np.float32)

    return run


def _tflite_run(model: bytes) -> Callable[[FloatArray], FloatArray]:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=model, num_threads=os.cpu_count() or 1)
    interpreter.allocate_tensors()
    (source,), (result,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(image: FloatArray) -> FloatArray:
        interpreter.set_tensor(source["index"], _quantized(image.transpose(0, 2, 3, 1), source))
        interpreter.invoke()
        values = np.asarray(interpreter.get_tensor(result["index"]), np.float32)
        scale, zero_point = result["quantization"]
        return (values - np.float32(zero_point)) * np.float32(scale) if scale else values

    return run


def _quantized(values: FloatArray, details: dict[str, Any]) -> NDArray[Any]:
    scale, zero_point = details["quantization"]
    if not scale:
        return values
    limits = np.iinfo(details["dtype"])
    scaled: NDArray[Any] = np.clip(np.round(values / scale + zero_point), limits.min, limits.max)
    return scaled.astype(details["dtype"])
