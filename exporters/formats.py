"""Formats and precisions of models."""

from __future__ import annotations

from typing import Literal, get_args

Format = Literal["onnx", "tflite"]
FORMATS: tuple[Format, ...] = get_args(Format)
# Of a model's weights and activations: int8 is full integer, static, with a scale for each channel of the weights.
Precision = Literal["fp32", "fp16", "int8"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)
