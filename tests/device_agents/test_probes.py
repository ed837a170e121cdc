"""Probes against what real systems say: one JSON file an answer."""

from __future__ import annotations

import json
import re
import subprocess
import time
from pathlib import Path

import pytest

from device_agents import facts
from device_agents import probes as probes_module
from device_agents.cores import find_clusters
from device_agents.nvidia import LOAD, PROGRAMS
from device_agents.probes import Probes
from device_agents.readings import Absent, run_with_deadline

GOLDEN = Path(__file__).parent / "golden"


def golden(folder):
    return pytest.mark.parametrize(
        "path", sorted((GOLDEN / folder).glob("*.json")), ids=lambda path: path.stem
    )


@golden("facts")
def test_a_text_gives_its_fact(path):
    case = json.loads(path.read_text())
    parse = getattr(facts, case["source"])
    if "error" in case:
        with pytest.raises(ValueError, match=re.escape(case["error"])):
            parse(case["text"])
        return
    found = parse(case["text"])
    if isinstance(found, dict):
        found = json.loads(json.dumps(found))
    assert found == case["fact"]


@pytest.fixture
def device(request, tmp_path):
    """Return (golden case, folder that holds its files, runner of its commands)."""
    case = json.loads(request.getfixturevalue("path").read_text())
    for name, text in case["files"].items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(text.encode("latin-1"))  # numbers of the device tree are no text

    def run_command(command):
        answer = case["commands"].get(" ".join(command))
        if answer is None:
            raise Absent()
        if isinstance(answer, dict):
            raise subprocess.CalledProcessError(answer["status"], command[0])
        return answer

    return case, tmp_path, run_command


@golden("devices")
def test_a_device_gives_its_conditions_and_nothing_for_what_it_lacks(path, device):
    case, folder, run_command = device
    cores = sorted(core for cluster in case["clusters"] for core in cluster)
    conditions = Probes(folder, run_command).conditions(cores)
    assert conditions.pop("time_utc").endswith("Z")
    assert conditions == case["conditions"]


@golden("devices")
def test_a_device_gives_its_clusters_fastest_first(path, device):
    case, folder, _ = device
    cores = sorted(core for cluster in case["clusters"] for core in cluster)
    assert find_clusters(cores, folder) == case["clusters"]


def test_cores_of_a_system_that_tells_garbled_models_are_one_cluster(tmp_path):
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc/cpuinfo").write_text("processor : 0\nCPU part : 0xwhat\n")
    assert find_clusters([0, 1], tmp_path) == [[0, 1]]


def test_only_the_frequencies_of_the_cores_asked_for_are_read(tmp_path):
    for core in range(4):
        file = tmp_path / f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq"
        file.parent.mkdir(parents=True)
        file.write_text("1000\n")
    conditions = Probes(tmp_path, run_with_deadline).conditions([1, 3])
    assert conditions["freq_khz"] == {"1": {"current": 1000}, "3": {"current": 1000}}


def test_what_may_not_be_read_is_an_error_and_not_absent(tmp_path):
    (tmp_path / "proc/uptime").mkdir(parents=True)  # reading a folder fails, for root too
    conditions = Probes(tmp_path, run_with_deadline).conditions([])
    assert "uptime_s" not in conditions
    assert "directory" in conditions["probe_errors"]["uptime_s"]
    assert list(conditions["probe_errors"]) == ["uptime_s"]


def test_a_command_that_hangs_or_fails_is_an_error_within_its_deadline(tmp_path, monkeypatch):
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (("vcgencmd", "exec sleep 60"), ("nvpmodel", "exit 3")):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")
    start_s = time.monotonic()
    conditions = Probes(tmp_path).conditions([])
    assert time.monotonic() - start_s < 4
    assert "timed out" in conditions["probe_errors"]["throttled"]
    assert "status 3" in conditions["probe_errors"]["power_mode"]
    assert "throttled" not in conditions


def test_gpus_are_asked_for_only_where_they_matter(tmp_path):
    asked = []
    probes = Probes(tmp_path, lambda command: asked.append(command[0]) or "")
    assert "gpus" not in probes.conditions([], gpus=False) and "nvidia-smi" not in asked
    probes.conditions([])
    assert "nvidia-smi" in asked


@pytest.mark.parametrize(
    ("answer", "programs", "error"),
    [
        ("", 0, None),
        ("4711\n", 1, None),
        ("4711\n 815\n", 2, None),
        ("[Not Supported]\n", None, "'[Not Supported]' are no process ids"),
        (None, None, None),
    ],
)
def test_programs_on_the_first_gpu_are_counted_where_it_tells_them(tmp_path, answer, programs, error):
    line = "%d, NVIDIA T4, 0x0, 41, 585, 1590, 68.11, Disabled\n"

    def run_command(command):
        if command == PROGRAMS and answer is not None:
            return answer
        if command[0] == "nvidia-smi" and command != PROGRAMS:
            return line % 0 + line % 1
        raise Absent()

    probes = Probes(tmp_path, run_command)
    conditions = probes.conditions([])
    assert [gpu.get("programs") for gpu in conditions["gpus"]] == [programs, None]
    assert (error is None) == ("gpus" not in conditions.get("probe_errors", {}))
    assert error is None or error in conditions["probe_errors"]["gpus"]
    takers = [
        question.take for question in probes.questions(conditions) if list(question.command) == PROGRAMS
    ]
    assert [take("4711\n815\n") for take in takers] == [{"gpu_programs": 2}] * (programs is not None)


@pytest.mark.parametrize(
    ("loads", "busy"), [(["0"], 0), (["35", "0"], 0), (["35", "40"], 40), (["[N/A]", "[N/A]"], None)]
)
def test_in_a_container_of_its_own_process_ids_the_gpus_load_is_told_in_place_of_its_programs(
    tmp_path, monkeypatch, loads, busy
):
    monkeypatch.setattr(probes_module, "LOAD_PERIOD_S", 0.0)
    link = tmp_path / "proc" / "self" / "ns" / "pid"
    link.parent.mkdir(parents=True)
    link.symlink_to("pid:[4026532281]")
    answers = iter(loads)

    def run_command(command):
        if command == LOAD:
            return next(answers) + "\n"
        if command[0] == "nvidia-smi" and command != PROGRAMS:
            return "0, NVIDIA T4, 0x0, 41, 585, 1590, 68.11, Disabled\n"
        return ""

    (gpu,) = Probes(tmp_path, run_command).conditions([])["gpus"]
    assert ("programs" in gpu, gpu.get("busy_percent")) == (False, busy)
    assert list(answers) == [], "a load that may be of a worker that has just ended is asked for again"
    link.unlink()
    link.symlink_to("pid:[4026531836]")
    (gpu,) = Probes(tmp_path, run_command).conditions([])["gpus"]
    assert ("busy_percent" in gpu, gpu.get("programs")) == (False, 0)


def test_a_command_that_has_nothing_to_tell_is_asked_once(tmp_path):
    asked = []

    def run_command(command):
        asked.append(command[0])
        return "Permission Denial: can't dump" if command[0] == "dumpsys" else ""

    probes = Probes(tmp_path, run_command)
    for _ in range(3):
        assert "thermal_status" not in probes.conditions([])
    assert asked.count("dumpsys") == 1
    assert asked.count("vcgencmd") == 3  # an answer that is no throttle mask is an error, not nothing


def test_a_command_that_is_not_there_is_absent(tmp_path):
    with pytest.raises(Absent):
        run_with_deadline(["no-such-command-anywhere"])
    with pytest.raises(subprocess.CalledProcessError):
        run_with_deadline(["false"])
