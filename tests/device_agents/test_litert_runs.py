"""LiteRT in the real agent: on the CPU, on a GPU in software (SwiftShader), with libraries named and carried, and what fails."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from factories.model_files import (
    save_dynamic_tflite,
    save_half_supported_tflite,
    save_int8_tflite,
    save_tflite,
)
from rigs.agent_client import Client
from rigs.agent_jobs import SURE_PLAN, measured, named
from rigs.other_pythons import find_interpreters
from rigs.software_gpu import software_gpu

from device_agents.runtimes import litert, litert_library
from device_agents.runtimes.litert_profile import BEGIN, read_runs

STEP = 0.05  # of the int8 model's output


@pytest.fixture(scope="module")
def gpu_client(agent: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """Return a client of an agent whose workers find a GPU in software."""
    with Client(
        agent, tmp_path_factory.mktemp("gpu") / "root", env={**os.environ, **software_gpu()}
    ) as client:
        yield client


def job(client: Client, network: bytes, reference: bytes, provider: str) -> dict[str, Any]:
    """Put two models; return a job of them."""
    network_recipe, reference_recipe = (
        {"format": "tflite", "alignment": 1, "parts": [client.put(model)]} for model in (network, reference)
    )
    return {
        "networks": [network_recipe],
        "reference": reference_recipe,
        "runtime": "litert",
        "options": {"provider": provider},
        "threads": 1,
        "cores": None,
        "plan": dict(SURE_PLAN, warmup_max_s=0.1),
        "silence_s": 60,
    }


def measure(client: Client, model: bytes, provider: str) -> dict[str, Any]:
    """Measure a model beside itself; return what was told of it."""
    events, answer = client.run(job(client, model, model, provider))
    assert answer["type"] == "result", answer
    return measured(events)


def test_a_gpu_in_software_gives_the_outputs_of_the_cpu(gpu_client: Client, tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    on = {provider: measure(gpu_client, model, provider) for provider in ("CPU", "GPU-fp32", "GPU")}
    assert [one["runtime"]["provider"] for one in on.values()] == list(on)
    assert [one["shares"] for one in on.values()] == [{provider: 1.0} for provider in on]
    assert [one.get("arithmetic") for one in on.values()] == [None, "fp32", "fp16"]
    expected = on["CPU"]["output"]
    assert len(expected) == 8
    assert on["GPU-fp32"]["output"] == pytest.approx(expected, abs=1e-3, rel=1e-3)
    assert on["GPU"]["output"] == pytest.approx(expected, abs=1e-2, rel=1e-2)
    # fp16 has 11 bits: what it computes is no fp32 number that happens to be near.
    assert max(abs(x - y) for x, y in zip(on["GPU"]["output"], expected, strict=True)) > 1e-5


def test_int8_on_a_gpu_in_software_is_within_two_steps(gpu_client: Client, tmp_path: Path) -> None:
    model = save_int8_tflite(tmp_path / "a.tflite").read_bytes()
    expected = measure(gpu_client, model, "CPU")["output"]
    assert any(expected)
    assert measure(gpu_client, model, "GPU-fp32")["output"] == pytest.approx(expected, abs=2 * STEP)


def test_a_model_that_the_gpu_runs_in_part_is_refused_and_measured_where_that_is_asked_for(
    gpu_client: Client, tmp_path: Path
) -> None:
    half = save_half_supported_tflite(tmp_path / "half.tflite").read_bytes()
    whole = save_tflite(tmp_path / "a.tflite").read_bytes()
    events, answer = gpu_client.run(job(gpu_client, half, whole, "GPU-fp32"))
    assert answer["type"] == "result", answer
    (refused,) = named(events, "refused")
    assert refused["failure"]["kind"] == "worker-error"
    assert "GPU-fp32 does not run all operators of this network" in refused["failure"]["message"]
    assert "with the provider gpu-fp32+cpu" in refused["failure"]["message"]
    assert not named(events, "measured")
    both = job(gpu_client, half, whole, "GPU-fp32+CPU")
    both["networks"].append(both["reference"])
    events, answer = gpu_client.run(both)
    assert measured(events)["shares"] == {"GPU-fp32": 0.5, "CPU": 0.5}
    assert measured(events)["arithmetic"] == "mixed"
    assert measured(events, 1)["shares"] == {"GPU-fp32": 1.0}


def test_values_beyond_fp16_are_refused_by_that_name_and_fp32_computes_them(
    gpu_client: Client, tmp_path: Path
) -> None:
    large = save_half_supported_tflite(tmp_path / "large.tflite", "MUL", weight=1e6).read_bytes()
    whole = save_tflite(tmp_path / "a.tflite").read_bytes()
    events, _ = gpu_client.run(job(gpu_client, large, whole, "GPU"))
    (refused,) = named(events, "refused")
    assert "not finite" in refused["failure"]["message"]
    assert "fp16 has no numbers beyond 65504" in refused["failure"]["message"]
    output = measure(gpu_client, large, "GPU-fp32")["output"]
    assert max(output) > 65504
    assert output == pytest.approx(measure(gpu_client, large, "CPU")["output"], rel=1e-3)


def test_a_network_that_a_gpu_does_not_compile_is_refused_and_does_not_end_the_job(
    gpu_client: Client, tmp_path: Path
) -> None:
    dynamic = save_dynamic_tflite(tmp_path / "dynamic.tflite").read_bytes()
    whole = save_tflite(tmp_path / "a.tflite").read_bytes()
    both = job(gpu_client, dynamic, whole, "GPU-fp32")
    both["networks"].append(both["reference"])
    events, answer = gpu_client.run(both)
    assert answer["type"] == "result", answer
    (refused,) = named(events, "refused")
    assert (refused["network"], refused["failure"]["kind"]) == (0, "worker-error")
    assert "sizes are known only in a run: fix them at export" in refused["failure"]["message"]
    assert measured(events, 1)["shares"] == {"GPU-fp32": 1.0}


def test_a_gpu_that_is_not_there_is_refused_and_the_agent_lives_on(agent: Path, tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    environment = {**os.environ, "VK_ICD_FILENAMES": str(tmp_path / "none.json")}
    with Client(agent, tmp_path / "root", env=environment) as client:
        _, answer = client.run(job(client, model, model, "GPU"))
        assert (answer["type"], answer["kind"]) == ("error", "runtime-missing")
        assert "cannot use the GPU of this device" in answer["message"]
        assert measure(client, model, "CPU")["output"]


def library() -> Path:
    return litert_library.locate({})[2]


def litert_of(hello: dict[str, Any]) -> dict[str, Any]:
    (found,) = [one for one in [*hello["runtimes"], *hello["broken"]] if one["name"] == "litert"]
    return dict(found)


def greet(client: Client, **fields: Any) -> dict[str, Any]:
    return client.ask("hello", protocol=3, harness="test", runtimes=["litert"], **fields)


def test_a_library_that_devices_toml_names_is_the_one_that_runs(client: Client, tmp_path: Path) -> None:
    copy = tmp_path / "libLiteRt.so"
    shutil.copy(library(), copy)
    found = litert_of(greet(client, environment={"HARNESS_LITERT_LIBRARY": str(copy)}))
    assert (found["package"], found["providers"]) == ("libLiteRt.so", ["CPU"])
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    assert measure(client, model, "CPU")["runtime"] == {
        "name": "litert",
        "package": "libLiteRt.so",
        "version": found["version"],
        "provider": "CPU",
    }


def test_the_oldest_python_of_this_machine_runs_it_without_a_package(agent: Path, tmp_path: Path) -> None:
    interpreters = find_interpreters()
    if not interpreters:
        pytest.skip("this machine has no other Python than the one that runs the tests")
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    environment = {**os.environ, "HARNESS_LITERT_LIBRARY": str(library())}
    with Client(agent, tmp_path / "old", python=interpreters[0], env=environment) as old:
        assert not greet(old)["python"].startswith(f"{sys.version_info.major}.{sys.version_info.minor}.")
        session = measure(old, model, "CPU")
    assert session["shares"] == {"CPU": 1.0}
    one = litert.load(model, 1, {})
    one.run()
    assert session["output"] == one.output()


def test_a_carried_library_runs_and_is_put_there_again_when_it_is_altered(
    client: Client, tmp_path: Path
) -> None:
    data = library().read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    lacking = greet(client, libraries={"libLiteRt.so": digest})
    assert (lacking["kind"], lacking["digests"]) == ("part-missing", [digest])
    assert client.put(data) == digest
    for _ in range(2):
        found = litert_of(greet(client, libraries={"libLiteRt.so": digest}))
        assert (found["package"], found["providers"]) == ("libLiteRt.so", ["CPU"])
        (placed,) = (tmp_path / "root" / "libraries").glob("*/libLiteRt.so")
        placed.unlink()
        placed.write_bytes(b"altered")
    for name in ("../libLiteRt.so", "a/b.so", ".so", "liba.so\n"):
        assert greet(client, libraries={name: digest})["kind"] == "bad-request"
    assert greet(client, environment={"A=B": "c"})["kind"] == "bad-request"
    assert greet(client, environment={"A": 1})["kind"] == "bad-request"


def test_a_library_that_crashes_is_told_as_broken_and_the_agent_lives_on(
    client: Client, tmp_path: Path
) -> None:
    data = bytearray(library().read_bytes())
    data[len(data) * 4 // 10 : len(data) * 6 // 10] = bytes(len(data) * 6 // 10 - len(data) * 4 // 10)
    path = tmp_path / "libLiteRt.so"
    path.write_bytes(data)
    environment = {"HARNESS_LITERT_LIBRARY": str(path), "HARNESS_LITERT_ANY_VERSION": "1"}
    greet(client, environment=environment)
    model = save_tflite(tmp_path / "a.tflite").read_bytes()
    _, answer = client.run(job(client, model, model, "CPU"))
    assert (answer["type"], answer["kind"], answer["signal"]) == ("error", "worker-killed", "SIGSEGV"), answer
    assert "litert" in [one["name"] for one in greet(client)["runtimes"]]


def profiled(client: Client, model: bytes, provider: str) -> dict[str, Any]:
    """Profile a model; return the answer."""
    whole = job(client, model, model, provider)
    (network,) = whole.pop("networks")
    for key in ("reference", "plan"):
        del whole[key]
    client.send("profile", job={**whole, "network": network, "runs": 12})
    return client.finish()[1]


def test_its_profiler_tells_the_time_of_each_operator(gpu_client: Client, tmp_path: Path) -> None:
    model = save_tflite(tmp_path / "a.tflite", width=24).read_bytes()
    answer = profiled(gpu_client, model, "CPU")
    assert answer["type"] == "result", answer
    assert (answer["runtime"]["name"], answer["runtime"]["provider"]) == ("litert", "CPU")
    nodes = answer["nodes"]
    # 3 convolutions, of which the last reads the whole image
    assert [node["name"].split()[0] for node in nodes] == ["0", "1", "2"]
    assert {node["op"] for node in nodes} <= {"Convolution", "Fully Connected"}
    assert {node["runs"] for node in nodes} == {12}
    assert 0 < sum(node["median_ns"] for node in nodes) < answer["wall_median_ns"] + 1000 * len(nodes)
    half = save_half_supported_tflite(tmp_path / "half.tflite").read_bytes()
    assert [node["op"] for node in profiled(gpu_client, half, "CPU")["nodes"]] == ["Convolution", "FLOOR_MOD"]


@pytest.mark.long
def test_a_gpu_without_timers_has_no_profile_and_the_agent_says_so(
    gpu_client: Client, tmp_path: Path
) -> None:
    answer = profiled(gpu_client, save_tflite(tmp_path / "a.tflite").read_bytes(), "GPU-fp32")
    assert (answer["type"], answer["kind"]) == ("error", "no-profiler"), answer
    assert "LiteRT's profiler does not run on this GPU-fp32" in answer["message"]


def test_events_before_the_first_run_belong_to_none_and_delegates_own_events_are_no_operators() -> None:
    events = [("AllocateTensors", 1, 9), ("Conv (F32)", 8, 5), (BEGIN, 1, 1), ("Conv (F32)", 8, 2)]
    events += [("MUL", 2, 3), ("inside", 4, 7), ("Invoke", 32, 1 << 32), (BEGIN, 1, 1)]
    assert list(read_runs(events, "CPU")) == [
        [("0 Conv (F32)", "Conv", "CPU", 2000), ("1 MUL", "MUL", "CPU", 3000)],
        [],
    ]
