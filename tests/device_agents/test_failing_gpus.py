"""A GPU that is lost or full, by a driver in front of SwiftShader: a failure that says so, and the next network is measured."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import save_tflite
from rigs.agent_client import Client
from rigs.agent_jobs import SURE_PLAN, named
from rigs.software_gpu import failing_gpu

Told = tuple[list[dict[str, Any]], dict[str, Any]]


class Device:
    """An agent whose workers find a GPU that fails as each job is told."""

    def __init__(self, client: Client, model: bytes, gpu: dict[str, str]) -> None:
        self._client, self._gpu = client, gpu
        self._recipe = {"format": "tflite", "alignment": 1, "parts": [client.put(model)]}

    def run(self, networks: int = 1, provider: str = "GPU-fp32", **faults: int) -> Told:
        """Measure the model some times in one job of one worker; return what is told."""
        self._set(faults)
        plan = dict(SURE_PLAN, warmup_max_s=0.1)
        return self._client.run({**self._job(provider), "networks": [self._recipe] * networks, "plan": plan})

    def run_blocks(self, seconds: float, **faults: int) -> Told:
        """Run the model in two blocks; return what is told."""
        self._set(faults)
        blocks = [["network", seconds], ["reference", seconds]]
        job = {**self._job("GPU-fp32"), "network": self._recipe, "blocks": blocks}
        self._client.send("blocks", job=job)
        return self._client.finish()

    def _set(self, faults: dict[str, int]) -> None:
        environment = self._gpu | {name: str(value) for name, value in faults.items()}
        self._client.ask("hello", protocol=3, harness="test", runtimes=["litert"], environment=environment)

    def _job(self, provider: str) -> dict[str, Any]:
        options = {"provider": provider}
        given = {"reference": self._recipe, "runtime": "litert", "options": options}
        return {**given, "threads": 1, "cores": None, "silence_s": 60}


@pytest.fixture(scope="module")
def device(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Device]:
    """Return the device of all tests."""
    folder = tmp_path_factory.mktemp("failing")
    gpu = failing_gpu(folder)
    model = save_tflite(folder / "a.tflite").read_bytes()
    with Client(agent, folder / "root", env=dict(os.environ)) as client:
        yield Device(client, model, gpu)


def outputs(told: Told) -> list[list[float]]:
    """Return the outputs of the networks that were measured."""
    return [event["output"] for event in named(told[0], "measured")]


@pytest.fixture(scope="module")
def right(device: Device) -> list[float]:
    """Return the output that the CPU computes."""
    (output,) = outputs(device.run(provider="CPU"))
    assert any(output)
    return output


def assert_measures(device: Device, right: list[float]) -> None:
    (output,) = outputs(device.run())
    assert output == pytest.approx(right, abs=1e-3)


# While the outputs before are read, and in the warm-up of the first network.
@pytest.mark.parametrize("place", [20, 60])
@pytest.mark.parametrize("late", [0, 1], ids=["at once", "when it is waited for"])
def test_a_gpu_that_is_lost_is_said_to_be_and_the_next_worker_measures(
    device: Device, right: list[float], late: int, place: int
) -> None:
    events, answer = device.run(2, GPU_LOST_AT=place, GPU_LOST_LATE=late)
    assert (answer["type"], answer["kind"], answer["network"]) == ("error", "worker-error", 0), answer
    assert "the GPU-fp32 was lost: " in answer["message"] and "VK_ERROR_DEVICE_LOST" in answer["message"]
    assert not named(events, "measured", "refused"), (
        "the second network is not to blame, nor is the first measured"
    )
    assert_measures(device, right)


# Allocations of LiteRT 2.3.0: without the first, of the model's values, all functions succeed and give zeros; 5 and 6, and what
# comes after 12 MB, fetch what was computed; 30 does so in the warm-up.
@pytest.mark.parametrize(
    "fault",
    [
        {"GPU_FULL_AT": 1},
        {"GPU_MEMORY": 12_000_000},
        *(
            pytest.param(fault, marks=pytest.mark.long)
            for fault in ({"GPU_FULL_AT": 5}, {"GPU_FULL_AT": 6}, {"GPU_FULL_AT": 30})
        ),
    ],
    ids=str,
)
def test_a_gpu_without_memory_is_said_to_be_and_no_zeros_are_taken(
    device: Device, right: list[float], fault: dict[str, int]
) -> None:
    events, answer = device.run(2, **fault)
    assert (answer["type"], answer["kind"]) == ("error", "out-of-memory"), answer
    assert "the GPU-fp32 has not the memory for this network: " in answer["message"]
    assert "vkAllocateMemory failed with VK_ERROR_OUT_OF_DEVICE_MEMORY" in answer["message"]
    assert not named(events, "measured", "refused")
    assert_measures(device, right)


def test_a_gpu_that_computes_no_more_and_says_nothing_is_found_out(
    device: Device, right: list[float]
) -> None:
    events, answer = device.run(2, GPU_IDLE_AT=60)  # in the warm-up: its output stays that of an earlier run
    assert (answer["type"], answer["kind"], answer["network"]) == ("error", "worker-error", 0), answer
    assert "after the last run: what was timed does not count" in answer["message"]
    assert not named(events, "measured", "refused")
    assert_measures(device, right)
    _, answer = device.run_blocks(0.2, GPU_IDLE_AT=60)
    assert (answer["type"], answer["kind"]) == ("error", "worker-error"), answer
    assert "after the last run: what was timed does not count" in answer["message"]
    assert device.run_blocks(0.01)[1]["type"] == "result"


@pytest.mark.parametrize(
    ("place", "network"),
    [(1, None), (9, None), (13, 0), (17, 0), (21, 0), (25, 0)],  # first the reference's
)
def test_a_gpu_that_stops_between_any_two_of_its_first_runs_is_found_out(
    device: Device, place: int, network: int | None
) -> None:
    events, answer = device.run(GPU_IDLE_AT=place)
    assert (answer["type"], answer["kind"], answer.get("network")) == ("error", "worker-error", network), (
        answer
    )
    assert "one and the same output" in answer["message"] or "does not count" in answer["message"]
    assert not named(events, "measured", "refused")


def test_a_library_that_crashes_without_memory_is_told_with_what_it_may_be(
    device: Device, right: list[float]
) -> None:
    events, answer = device.run(2, GPU_FULL_AT=2)
    assert (answer["type"], answer["kind"], answer["signal"]) == ("error", "worker-killed", "SIGSEGV"), answer
    assert "may end its process like this where it finds no memory there" in answer["message"]
    assert not named(events, "measured", "refused")
    assert_measures(device, right)


def test_what_a_gpu_prints_reaches_the_failure(device: Device) -> None:
    _, answer = device.run(GPU_LOST_AT=1)
    assert "vkQueueSubmit failed with VK_ERROR_DEVICE_LOST" in answer["stderr"]
