"""Jobs that are quick, and true in all else."""

from __future__ import annotations

from typing import Any

from agent_client import Client

QUICK_PLAN = {"warmup_min_s": 0.01, "warmup_max_s": 0.5, "min_slices": 12, "max_s": 0.4}


def send_job(
    client: Client, models: dict[str, list[list[bytes]]], runtime: str, **changes: Any
) -> dict[str, Any]:
    """Put the parts of a job; return the job."""
    network, reference = ([client.put(part) for part in parts] for parts in models[runtime])
    shape = {"onnxruntime": ("onnx", 1), "tflite": ("tflite", 16)}[runtime]
    job = {
        "network": {"format": shape[0], "alignment": shape[1], "parts": network},
        "reference": {"format": shape[0], "alignment": shape[1], "parts": reference},
        "runtime": runtime,
        "options": {},
        "threads": 1,
        "cores": None,
        "plan": dict(QUICK_PLAN),
        "silence_s": 30,
    }
    return {**job, **changes}
