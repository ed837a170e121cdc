"""A trial of a runtime on a device: a model of 1 to 6 KB runs in a worker as any other, and its outputs are as expected.

The models are the stem of the space `tiny`, as exported: the same operators and versions as whole networks have. Expected are the
first values that its convolution gives, from numpy (`tests/harness/devices/test_trial.py` makes both again).
"""

from __future__ import annotations

import hashlib
import json
from importlib.resources import files
from math import isclose
from typing import Any

from harness.devices.assembly import Assembly
from harness.devices.client import AgentClient
from harness.devices.runtimes import RuntimeUse
from harness.errors import AgentError

TOLERANCE = 2e-3  # accelerators compute in half precision or TF32
SILENCE_S = 20.0
PLAN: dict[str, Any] = {
    "reference_runs": 1,
    "network_runs": 2,
    "min_slices": 1,
    "max_s": 0.1,
    "half_width": 0.5,
    "warmup_min_runs": 1,
    "warmup_min_s": 0.0,
    "warmup_max_s": 0.1,
    "warmup_stable_runs": 1,
}


def trial_model(model_format: str) -> Assembly:
    """Return the model to try a format's runtimes with."""
    data = files("harness.devices").joinpath("trial_models", f"stem.{model_format}").read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return Assembly(
        format=model_format,
        alignment=1,
        skeleton=data,
        parts=(),
        dictionary=None,
        digest=digest,
        read_part=lambda part: b"",
    )


def expected_output(model_format: str) -> list[float]:
    """Return the first values of the model's output on the agent's fixed input."""
    text = files("harness.devices").joinpath("trial_models", "expected.json").read_text("utf-8")
    return list(json.loads(text)[model_format])


def try_runtime(client: AgentClient, use: RuntimeUse, cores: tuple[int, ...], threads: int) -> str:
    """Run the trial model in a runtime's worker; return what is wrong, empty where nothing is.

    The device should be locked: a session under way would be disturbed. Raises: LinkError, AgentError of other than the runtime.
    """
    model = trial_model(use.format)
    client.send_models([model])
    told: list[dict[str, Any]] = []
    recipe = model.recipe()
    job: dict[str, Any] = {
        "networks": [recipe],
        "reference": recipe,
        "runtime": use.name,
        "options": use.options,
        "plan": PLAN,
    }
    job |= {"threads": threads, "cores": list(cores), "silence_s": SILENCE_S, "request": ""}
    try:
        client.run(job, told.append)
    except AgentError as error:
        return str(error)
    last = next((event for event in told if event["event"] in ("measured", "refused")), {})
    if last.get("event") == "refused":
        return str(last["failure"]["message"])
    if last.get("event") != "measured":
        return "its worker ended without a word"
    expected, found = expected_output(use.format), last["output"]
    if len(found) < len(expected) or not all(
        isclose(a, b, rel_tol=TOLERANCE, abs_tol=TOLERANCE) for a, b in zip(expected, found, strict=False)
    ):
        return f"it computes {_few(found)} where {_few(expected)} is right"
    return ""


def _few(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:4])
