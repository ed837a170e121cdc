"""scripts/check-gpu: one check that fails, crashes or hangs ends no other. Checks of a stand-in; no test machine has a GPU."""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rigs.software_gpu import software_gpu

from device_agents.facts import Absent

ROOT = Path(__file__).parents[2]
CHECKS = """
import os
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path


class NotThere(Exception):
    pass


@dataclass
class Found:
    figures: dict = field(default_factory=dict)
    lines: list = field(default_factory=list)
    faults: list = field(default_factory=list)


def hangs(chosen):
    chosen.keep(Found(figures={"so far": 1}))
    child = subprocess.Popen(["sleep", "60"])
    Path("child").write_text(str(child.pid))
    time.sleep(60)


def lacks(chosen):
    raise NotThere("no such thing here")


def raises(chosen):
    raise ValueError("wrong")


CHECKS = {
    "good": (lambda chosen: Found(figures={"device": chosen.device}, lines=["fine"]), 30.0),
    "faulty": (lambda chosen: Found(faults=["a figure is wrong"]), 30.0),
    "raises": (raises, 30.0),
    "crashes": (lambda chosen: os._exit(3), 30.0),
    "hangs": (hangs, 3.0),
    "lacks": (lacks, 30.0),
    "last": (lambda chosen: Found(figures={"images": chosen.images}), 30.0),
}
"""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "benchmarks" / "gpu.py", tmp_path / "benchmarks" / "gpu.py")
    shutil.copy(ROOT / "scripts" / "check-gpu", tmp_path / "scripts" / "check-gpu")
    (tmp_path / "benchmarks" / "gpu_checks.py").write_text(CHECKS)

    def go(*arguments: str) -> tuple[subprocess.CompletedProcess[str], dict[str, Any]]:
        done = subprocess.run(
            [tmp_path / "scripts" / "check-gpu", "--output", "out.json", *arguments],
            env={"PATH": "/usr/bin:/bin", "PYTHON": sys.executable},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return done, json.loads((tmp_path / "out.json").read_text())["checks"]

    return go


def test_every_check_is_told_of_however_the_others_end(run: Any, tmp_path: Path) -> None:
    done, checks = run("--tiny")
    assert {name: outcome["status"] for name, outcome in checks.items()} == {
        "good": "ok",
        "faulty": "fault",
        "raises": "failed",
        "crashes": "failed",
        "hangs": "hung",
        "lacks": "not there",
        "last": "ok",
    }
    assert done.returncode == 1
    assert checks["good"]["figures"] == {"device": "cuda"} and checks["last"]["figures"] == {"images": 128}
    assert (
        "ValueError: wrong" in checks["raises"]["faults"][0]
        and "ended with 3" in checks["crashes"]["faults"][0]
    )
    assert checks["hangs"]["figures"] == {"so far": 1}, "what it had is kept"
    assert checks["lacks"]["lines"] == ["no such thing here"]
    assert sorted(path.name for path in tmp_path.glob("out.json*")) == ["out.json"]
    child = int((tmp_path / "child").read_text())
    assert not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text().split()[2]


def test_checks_that_find_nothing_wrong_or_nothing_there_end_well(run: Any) -> None:
    done, checks = run("--only", "good", "lacks", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert list(checks) == ["good", "lacks"] and checks["good"]["figures"] == {"device": "cpu"}


class Times:
    """Checks that take as long as told of the time that a clock of their own tells, to their limit at most."""

    def __init__(self, output: Path, **seconds: float) -> None:
        self.now_s, self.seconds, self.limits_s = 100.0, seconds, dict[str, float]()
        self.output, self.kept = output, list[list[str]]()

    def run(self, name: str, chosen: Any, limit_s: float) -> dict[str, Any]:
        if self.output.exists():
            self.kept.append(list(json.loads(self.output.read_text())["checks"]))
        self.limits_s[name] = limit_s
        taken_s = min(self.seconds[name], limit_s)
        self.now_s += taken_s
        status = "hung" if taken_s < self.seconds[name] else "ok"
        return {"status": status, "figures": {}, "lines": [], "faults": [], "seconds": taken_s}


@pytest.fixture
def timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu

    def go(
        needs: dict[str, float], most_s: float = 100.0, **seconds: float
    ) -> tuple[int, Times, dict[str, Any]]:
        monkeypatch.setattr(gpu, "CHECKS", {name: (None, need) for name, need in needs.items()})
        times = Times(tmp_path / "gpu.json", **seconds)
        chosen = argparse.Namespace(only=list(needs), output=times.output, most=most_s)
        status = gpu.run_all(chosen, times.run, lambda: times.now_s)
        return status, times, json.loads(times.output.read_text())

    return go


def test_a_check_whose_time_is_not_left_is_skipped_and_a_shorter_one_runs(timed: Any, capsys: Any) -> None:
    status, times, found = timed({"a": 60, "b": 50, "c": 10}, a=55, b=1, c=5)
    assert status == 0 and list(times.limits_s) == ["a", "c"]
    assert {name: one["status"] for name, one in found["checks"].items()} == {
        "a": "ok",
        "b": "skipped",
        "c": "ok",
    }
    assert found["seconds"] == 60
    assert (
        "no time left: it needs 50 s; scripts/check-gpu --only b" in capsys.readouterr().out.splitlines()[-3]
    )


def test_a_check_takes_what_the_later_ones_do_not_need_and_hangs_within_the_time(timed: Any) -> None:
    status, times, found = timed({"a": 20, "b": 40, "c": 30}, a=1, b=500, c=500)
    assert status == 1 and times.limits_s == {"a": 30, "b": 60, "c": 39}
    assert found["seconds"] == 100, "all that there is, no more"


def test_what_was_found_is_in_the_file_before_the_next_check_runs(timed: Any) -> None:
    _, times, _ = timed({"a": 20, "b": 20, "c": 20}, a=1, b=1, c=1)
    assert times.kept == [["a"], ["a", "b"]]
    assert not list(times.output.parent.glob("*.new"))


def test_what_matters_most_fits_into_eight_minutes_together(checks: Any) -> None:
    import gpu

    needs = [(name, need) for name, (_, need) in checks.CHECKS.items()]
    names = [name for name, _ in needs]
    must = ("measuring-cuda", "tensorrt", "litert", "training", "distilling", "agreement")
    assert names[1:7] == list(must)
    assert sum(need for _, need in needs[: names.index("energy") + 1]) <= gpu.MOST_S < 480


def test_a_provider_that_is_absent_is_named_with_what_installs_it(checks: Any) -> None:
    with pytest.raises(
        checks.NotThere, match=r"TensorrtExecutionProvider is absent: .* pip install tensorrt"
    ):
        checks.check_tensorrt(argparse.Namespace(device="cuda"))


def test_without_a_sensor_of_the_gpu_the_reason_is_named(
    checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_gpu(_: int) -> None:
        raise Absent("NVML: made up to be absent")

    monkeypatch.setattr("device_agents.nvidia.open_gpu", open_gpu)
    with pytest.raises(checks.NotThere, match="NVML: made up"):
        checks.check_energy(argparse.Namespace())


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_checks

    return gpu_checks


def litert_found(**changes: Any) -> dict[str, Any]:
    """Return made-up figures of one file on LiteRT's GPU, as they should be but for the changes of its session."""
    good = {"name": "a.tflite", "shares": {"GPU-fp32": 1.0}, "output_error": 1e-7, "output_limit": 1e-3}
    sessions = [good | {"gpu_clocks_mhz": [1980]} | changes]
    rows = {"a.tflite": {"latency_ms": 2.0, "grade": "B"}}
    there = {"sessions": sessions, "rows": rows, "failures": [], "said": ""}
    return {"litert": there | {"rows": {"a.tflite": {"latency_ms": 4.0}}}, "litert:gpu-fp32": there}


def test_a_run_of_litert_on_the_gpu_is_told_beside_the_processors(checks: Any) -> None:
    line, faults = checks.judged_litert("litert:gpu-fp32", "a.tflite", litert_found())
    assert faults == []
    assert "2.000 ms, 0.50 x the processor's, grade B" in line and "GPU at 1980 to 1980 MHz" in line


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": "b.tflite"}, "not measured"),
        ({"output_error": 2e-3}, "outputs are off"),
        ({"output_error": None}, "outputs are off"),
        ({"shares": {"GPU-fp32": 0.5, "CPU": 0.5}}, "operators ran elsewhere"),
        ({"shares": {"CPU": 1.0}}, "operators ran elsewhere"),
        ({"shares": None}, "operators ran elsewhere"),
    ],
)
def test_what_is_wrong_with_litert_on_the_gpu_is_a_fault(
    checks: Any, changes: dict[str, Any], words: str
) -> None:
    (fault,) = checks.judged_litert("litert:gpu-fp32", "a.tflite", litert_found(**changes))[1]
    assert words in fault


def test_a_session_without_a_latency_is_a_fault(checks: Any) -> None:
    found = litert_found()
    found["litert:gpu-fp32"]["rows"] = {}
    (fault,) = checks.judged_litert("litert:gpu-fp32", "a.tflite", found)[1]
    assert fault.endswith(checks.NO_LATENCY)


def test_vulkans_devices_have_names_and_kinds_and_without_a_driver_the_remedy_is_named(
    checks: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from vulkan import vulkan_devices

    for name, value in software_gpu().items():
        monkeypatch.setenv(name, value)
    (device,) = vulkan_devices()
    assert device["kind"] == "processor" and "SwiftShader" in device["name"]
    monkeypatch.setenv("VK_ICD_FILENAMES", str(tmp_path / "none.json"))
    with pytest.raises(checks.NotThere, match=r"no Vulkan here.*VK_DRIVER_FILES"):
        checks.need_vulkan()


LEFT_OUT = "worker-error: CUDAExecutionProvider does not run all nodes of this network, and the CPU would run the others"


def precision_rows(**changes: Any) -> list[dict[str, Any]]:
    """Return made-up rows of three networks in each precision, those of a changed precision with other errors."""
    errors = {"fp32": [1e-6] * 3, "fp16": [1e-3] * 3, "int8": [0.2] * 3} | changes
    return [{"precision": name, "output_error": one} for name, found in errors.items() for one in found]


def test_networks_in_all_precisions_are_as_they_should_be_and_int8_may_be_refused(checks: Any) -> None:
    assert checks.precision_faults(precision_rows(), []) == []
    assert checks.precision_faults(precision_rows(int8=[]), [LEFT_OUT]) == []


@pytest.mark.parametrize(
    ("changes", "failures", "words"),
    [
        ({"fp16": [1e-3, None, 1e-3]}, [], "fp16: outputs are off by"),
        ({"fp32": [1e-6, float("nan"), 1e-6]}, [], "fp32: outputs are off by"),
        ({"fp16": [1e-3, 1e-3]}, [LEFT_OUT], f"fp16: 2 of 3 networks are measured: {LEFT_OUT}"),
        ({"fp32": []}, [], "fp32: 0 of 3 networks are measured: no failure is told"),
        ({"int8": [0.2]}, [], "int8: 1 of 3 networks are measured: no failure is told"),
        ({}, ["worker-error: out of memory"], "out of memory"),
    ],
)
def test_networks_that_fail_or_cannot_be_compared_in_a_precision_are_faults(
    checks: Any, changes: dict[str, Any], failures: list[str], words: str
) -> None:
    (fault,) = checks.precision_faults(precision_rows(**changes), failures)
    assert words in fault


def provider_row(provider: str, batch: int, **changes: Any) -> dict[str, Any]:
    times = {"latency_ms": 1.0, "wall_median_ms": 1.0, "device_ms": 0.9, "images_per_s": 1000.0 * batch}
    return {"provider": provider, "batch": batch, "output_error": 1e-6, "grade": "A"} | times | changes


def test_a_provider_without_rows_at_a_batch_is_a_fault_that_tells_the_failures(
    checks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, graph = "CUDAExecutionProvider", "CUDAExecutionProvider+graph"
    rows = [provider_row(one, batch) for one in (plain, graph) for batch in (1, 64) for _ in range(2)]

    def measured(found: list[dict[str, Any]]) -> Any:
        def stand_in(arguments: list[str], *_: Any, **__: Any) -> subprocess.CompletedProcess[str]:
            answer = [{"kind": "worker-error", "message": "no graph"}] if arguments[0] == "results" else found
            return subprocess.CompletedProcess(arguments, 3, json.dumps(answer), "")

        monkeypatch.setattr(checks, "harness", stand_in)
        return checks.provider_rows(["onnxruntime:cuda", "onnxruntime:cuda+graph"], ["--batch", "1,64"])

    assert measured(rows).faults == []
    found = measured(rows[:-2])
    assert found.faults == [
        "onnxruntime:cuda+graph at batch 64: 0 of 2 networks are measured: worker-error: no graph"
    ]
    assert "worker-error: no graph" in found.lines
