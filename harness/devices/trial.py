"""A trial of a runtime on a device: a model of 1 to 6 KB runs in a worker as any other, and its outputs are as expected.

What else `harness measure` asks of a device is tried with the same model: networks that share a worker, a look at memory, blocks.

The models are the stem of the space `tiny`, as exported: the same operators and versions as whole networks have. Expected are the
sums of the values that its convolution gives, from numpy (`tests/harness/devices/test_trial.py` makes both again).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from importlib.resources import files
from math import hypot
from typing import Any

from device_agents.block_plans import BlockPlan, why_no_energy
from harness.devices.client import AgentClient
from harness.devices.runtimes import RuntimeUse
from harness.errors import AgentError
from space.assembly import Assembly

TOLERANCE = 2e-3  # relative: accelerators compute in half precision or TF32
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
BLOCKS = BlockPlan(blocks=(("network", 0.05), ("reference", 0.05)), timed_runs=2)
SHARED = 2
TRIES = 3  # a worker whose core others hold ends early
SHARED_WORKER = "networks that share a worker"
NOT_KNOWN = "other programs took its core each time"


def trial_model(model_format: str) -> Assembly:
    """Return the model to try a format's runtimes with."""
    data = files("harness.devices").joinpath("trial_models", f"stem.{model_format}").read_bytes()
    return Assembly.of_bytes(data, model_format)


def expected_output(model_format: str) -> list[float]:
    """Return the sums (8,) of the model's output on the agent's fixed input, as each session tells them."""
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
    job = use.job(cores, threads, SILENCE_S) | _session(recipe, 1)
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
    off = hypot(*(a - b for a, b in zip(expected, found, strict=False)))
    if len(found) < len(expected) or not off <= TOLERANCE * hypot(*expected):
        return f"it computes {_few(found)} where {_few(expected)} is right"
    return ""


def try_forms(client: AgentClient, use: RuntimeUse, cores: tuple[int, ...], threads: int) -> dict[str, str]:
    """Return each form of measuring beside a session of one network, and what is wrong with it, empty where nothing is.

    `NOT_KNOWN` where the device was too busy to tell. The device should be locked, and `try_runtime` have found nothing.
    Raises: LinkError.
    """
    model = trial_model(use.format)
    client.send_models([model])
    recipe, job = model.recipe(), use.job(cores, threads, SILENCE_S)

    def share() -> str:
        for _ in range(TRIES):
            told: list[dict[str, Any]] = []
            client.run(job | _session(recipe, SHARED), told.append)
            measured = [event for event in told if event["event"] == "measured"]
            if not measured or measured[-1].get("stop") != "contended":
                return _fewer("networks", measured, SHARED)
        return NOT_KNOWN

    def weigh() -> str:
        client.weigh(job | {"network": recipe})
        return ""

    def run_blocks() -> str:
        told: list[dict[str, Any]] = []
        client.run_blocks(job | asdict(BLOCKS) | {"network": recipe, "reference": recipe}, told.append)
        ended = [event for event in told if event["event"] == "block" and event["runs"]]
        return _fewer("blocks", ended, len(BLOCKS.blocks))

    forms: dict[str, Callable[[], str]] = {
        SHARED_WORKER: share,
        "--memory": weigh,
        "--sustained": run_blocks,
    }
    return {name: _trouble(form) for name, form in forms.items()}


def find_sensor(
    client: AgentClient, provider: str, find_gauge: Callable[[], dict[str, Any]] | None
) -> dict[str, Any]:
    """Return the agent's sensor of energy for a provider; where none will do, a phone's gauge by adb, where there is adb.

    Raises: LinkError, AgentError.
    """
    found = client.energy_sensor(provider)
    trouble = why_no_energy(found)
    if not trouble or find_gauge is None:
        return found
    reasons = found["reasons"] if found.get("sensor") is None else [trouble]
    other = find_gauge()
    return other | {"reasons": [*reasons, *other["reasons"]]}


def _session(recipe: dict[str, Any], networks: int) -> dict[str, Any]:
    return {"networks": [recipe] * networks, "reference": recipe, "plan": PLAN, "request": ""}


def _fewer(what: str, told: list[dict[str, Any]], count: int) -> str:
    return "" if len(told) == count else f"{len(told)} of {count} {what} were measured"


def _trouble(form: Callable[[], str]) -> str:
    try:
        return form()
    except AgentError as error:
        return str(error)


def _few(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values[:4])
