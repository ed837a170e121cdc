"""Fixtures of the exporters' tests."""

from exporter_fixtures import library, onnx_library, tflite_library

__all__ = ["library", "onnx_library", "tflite_library"]
