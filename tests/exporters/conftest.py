"""Fixtures of the exporters' tests."""

from rigs.fragment_libraries import library, onnx_library, tflite_library

__all__ = ["library", "onnx_library", "tflite_library"]
