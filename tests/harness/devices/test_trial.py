"""The model that the doctor tries runtimes with: what is expected of it, and what is said of a runtime that fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.reference import ReferenceEvaluator

from device_agents.block_plans import why_no_energy
from device_agents.runtimes.loaded import fixed_input, output_sums
from exporters import FragmentLibrary, Weights
from harness.devices import trial
from harness.devices.runtimes import RuntimeUse
from harness.devices.trial import (
    PLAN,
    SHARED,
    SHARED_WORKER,
    expected_output,
    trial_model,
    try_forms,
    try_runtime,
)
from harness.errors import AgentError
from space import TINY
from space.segments import Segment

USE = RuntimeUse(name="onnxruntime", version="1", provider="CPUExecutionProvider", format="onnx")


def test_what_is_expected_is_what_numpy_computes_of_the_model() -> None:
    model = onnx.load_from_string(trial_model("onnx").skeleton)
    image = fixed_input([1, 3, TINY.image_size, TINY.image_size], "float32", "NCHW")
    (output,) = ReferenceEvaluator(model).run(None, {model.graph.input[0].name: image})
    for model_format, axes in (("onnx", (0, 1, 2, 3)), ("tflite", (0, 2, 3, 1))):
        right = output_sums(np.asarray(output).transpose(axes).reshape(-1).tolist())
        assert expected_output(model_format) == pytest.approx(right, rel=1e-4, abs=1e-3)
        assert any(right)


@pytest.mark.converter
def test_the_model_is_what_the_exporters_make(harness_cache: Path) -> None:
    library = FragmentLibrary.open(
        "onnx", cache_dir=harness_cache / "fragments", config=TINY, weights=Weights.seeded(0)
    )
    made = library.assembly(Segment.parse("segment:stem", TINY)).whole()
    old, new = onnx.load_from_string(trial_model("onnx").skeleton), onnx.load_from_string(made)
    assert (old.ir_version, old.opset_import[0].version) == (new.ir_version, new.opset_import[0].version)
    assert [node.op_type for node in old.graph.node] == [node.op_type for node in new.graph.node]


class Worker:
    """A client whose worker answers as told."""

    def __init__(self, *told: dict[str, Any], error: AgentError | None = None) -> None:
        self._told, self._error = told, error

    def send_models(self, models: Any) -> int:
        return 0

    def run(self, job: dict[str, Any], on_event: Any) -> dict[str, Any]:
        json.dumps(job)
        assert job["plan"] == PLAN and job["networks"] == [job["reference"]]
        for event in self._told:
            on_event(event)
        if self._error is not None:
            raise self._error
        return {}


def tried(worker: Any) -> str:
    return try_runtime(worker, USE, (1,), 1)


def measured(output: list[float]) -> dict[str, Any]:
    return {"event": "measured", "network": 0, "output": output}


def test_right_outputs_pass_also_in_half_precision() -> None:
    right = expected_output("onnx")
    assert tried(Worker(measured(right))) == ""
    assert tried(Worker(measured(right), {"event": "sample", "at_ns": 5})) == "", "a sample that comes late"
    assert tried(Worker(measured([value * (1 + trial.TOLERANCE / 2) for value in right]))) == ""


@pytest.mark.parametrize(
    ("worker", "says"),
    [
        (Worker(measured([0.0] * 8)), "it computes 0, 0, 0, 0 where"),
        (Worker(measured(expected_output("onnx")[:3])), "it computes"),
        (
            Worker({"event": "refused", "network": 0, "failure": {"kind": "x", "message": "no Conv"}}),
            "no Conv",
        ),
        (Worker(error=AgentError("worker-killed", "ended by SIGSEGV", {})), "ended by SIGSEGV"),
        (Worker(), "without a word"),
    ],
)
def test_what_is_wrong_with_a_runtime_is_said(worker: Any, says: str) -> None:
    assert says in tried(worker)


class Device:
    """A client whose workers tell what is given, run by run; of `broken` a form fails as told."""

    def __init__(
        self, runs: list[list[dict[str, Any]]], blocks: int = 2, memory: AgentError | None = None
    ) -> None:
        self._runs, self._blocks, self._memory = iter(runs), blocks, memory

    def send_models(self, models: Any) -> int:
        return 0

    def run(self, job: dict[str, Any], on_event: Any) -> None:
        assert job["networks"] == [job["reference"]] * SHARED
        for event in next(self._runs):
            on_event(event)

    def weigh(self, job: dict[str, Any]) -> None:
        json.dumps(job)
        if self._memory is not None:
            raise self._memory

    def run_blocks(self, job: dict[str, Any], on_event: Any) -> None:
        json.dumps(job)
        for index, (which, _) in list(enumerate(job["blocks"]))[: self._blocks]:
            on_event({"event": "block", "index": index, "which": which, "runs": 3})


SHARES = [measured([1.0]) | {"stop": "cap"}] * SHARED
HELD = [measured([1.0]) | {"stop": "contended"}]


@pytest.mark.parametrize(
    ("device", "troubles"),
    [
        (Device([SHARES]), ("", "", "")),
        (Device([HELD, SHARES]), ("", "", "")),
        (Device([HELD] * 3), ("took its core", "", "")),
        (Device([SHARES[:1]]), ("1 of 2 networks", "", "")),
        (Device([[]], blocks=1), ("0 of 2 networks", "", "1 of 2 blocks")),
        (Device([SHARES], memory=AgentError("no-memory", "macOS does not tell", {})), ("", "macOS", "")),
    ],
)
def test_each_form_of_measuring_is_tried_for_itself(device: Any, troubles: tuple[str, ...]) -> None:
    found = try_forms(device, USE, (1,), 1)
    assert list(found) == [SHARED_WORKER, "--memory", "--sustained"]
    for said, told in zip(troubles, found.values(), strict=True):
        assert said in told and bool(said) == bool(told)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ({"reasons": ["RAPL: none"]}, "no sensor of energy; RAPL: none"),
        ({"sensor": {"kind": "battery"}}, "did not change within a minute"),
        ({"sensor": {"kind": "battery"}, "update_s": 30.0}, "measures every 30 s, too seldom"),
        ({"sensor": {"kind": "rapl"}, "update_s": 0.001}, ""),
    ],
)
def test_why_a_sensor_does_not_do_for_energy_is_said(found: dict[str, Any], says: str) -> None:
    told = why_no_energy(found)
    assert says in told and bool(told) == bool(says)
