"""Jobs that are quick, and true in all else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rigs.agent_client import Client

QUICK_PLAN = {
    **{"warmup_min_runs": 5, "warmup_min_s": 0.0, "warmup_max_s": 0.1, "warmup_stable_runs": 5},
    **{"min_slices": 12, "max_s": 0.4},
}
# Ends at its cap however busy the core is: after fewer than `min_slices` none is called contended.
SURE_PLAN = {**QUICK_PLAN, "min_slices": 100000, "max_s": 0.05}


def send_job(
    client: Client, models: dict[str, list[list[bytes]]], runtime: str, **changes: Any
) -> dict[str, Any]:
    """Put the parts of a job; return the job."""
    network, reference = ([client.put(part) for part in parts] for parts in models[runtime])
    shape = ("tflite", 16) if runtime == "tflite" else ("onnx", 1)
    job = {
        "networks": [{"format": shape[0], "alignment": shape[1], "parts": network}],
        "reference": {"format": shape[0], "alignment": shape[1], "parts": reference},
        "runtime": runtime,
        "options": {},
        "threads": 1,
        "cores": None,
        "plan": dict(QUICK_PLAN),
        "silence_s": 30,
    }
    return {**job, **changes}


def recipe(job: dict[str, Any], parts: Sequence[str]) -> dict[str, Any]:
    """Return a recipe like the job's reference, of other parts."""
    return {**job["reference"], "parts": list(parts)}


def named(events: Sequence[dict[str, Any]], *names: str) -> list[dict[str, Any]]:
    """Return the events of these names, as they came."""
    return [event for event in events if event["event"] in names]


def measured(events: Sequence[dict[str, Any]], network: int = 0) -> dict[str, Any]:
    """Return what was told of a network when it was measured."""
    (event,) = [event for event in named(events, "measured") if event["network"] == network]
    return event
