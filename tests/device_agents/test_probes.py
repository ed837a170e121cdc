"""Probes against what real systems say: one JSON file an answer."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from device_agents import facts, main
from device_agents import probes as probes_module
from device_agents.cores import find_clusters
from device_agents.facts import Absent
from device_agents.nvidia import UUIDS, load_of, programs_on, used_gpu
from device_agents.probes import Probes
from device_agents.readings import Flood, run_bounded, run_with_deadline

GOLDEN = Path(__file__).parent / "golden"


def golden(folder):
    return pytest.mark.parametrize(
        "path", sorted((GOLDEN / folder).glob("*.json")), ids=lambda path: path.stem
    )


@golden("facts")
def test_a_text_gives_its_fact(path):
    case = json.loads(path.read_text())
    parse = getattr(facts, case["source"])
    for key, kind in (("error", ValueError), ("absent", facts.Absent)):
        if key in case:
            with pytest.raises(kind, match=re.escape(case[key])):
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


@pytest.mark.parametrize(
    ("supplies", "battery"),
    [
        ({"hidpp_battery_0": ("Device", "Discharging", 55)}, None),  # a mouse's
        ({"BAT0": ("System", "Full", 90), "hidpp_battery_0": ("Device", "Discharging", 55)}, ("Full", 90)),
        ({"BAT0": ("", "Not charging", 80), "BAT1": ("", "Discharging", 40)}, ("Discharging", 40)),
        ({"BAT0": ("", "Discharging", 40), "BAT1": ("", "Unknown", 80)}, ("Discharging", 40)),
    ],
)
def test_a_device_runs_on_its_battery_where_one_of_its_own_runs_down(tmp_path, supplies, battery):
    for name, (scope, status, percent) in supplies.items():
        folder = tmp_path / "sys/class/power_supply" / name
        folder.mkdir(parents=True)
        told = {"type": "Battery", "status": status, "capacity": percent} | (
            {"scope": scope} if scope else {}
        )
        for key, value in told.items():
            (folder / key).write_text(f"{value}\n")
    conditions = Probes(tmp_path, run_with_deadline).conditions([], gpus=False)
    expected = None if battery is None else {"status": battery[0], "percent": battery[1]}
    assert conditions.get("battery") == expected


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


@pytest.mark.parametrize(
    ("where", "kind", "why"),
    [("", Flood, "it wrote more than 1048576 bytes"), (">&2", subprocess.TimeoutExpired, "timed out")],
)
def test_a_command_that_never_stops_writing_is_ended_before_it_fills_memory(
    tmp_path, monkeypatch, where, kind, why
):
    program = tmp_path / "vcgencmd"
    program.write_text(f"#!/bin/sh\nexec yes {where}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(kind, match=why):
        run_bounded([str(program)], 1.0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before_kb + 50_000
    if not where:
        assert why in Probes(tmp_path).conditions([])["probe_errors"]["throttled"]


def test_the_end_of_what_a_command_said_of_its_errors_is_kept():
    done = run_bounded(["sh", "-c", "yes | head -c 3000000 >&2; echo gone >&2; echo out; exit 3"], 20.0)
    assert (done.returncode, done.stdout, done.stderr[-5:], len(done.stderr)) == (
        3,
        b"out\n",
        b"gone\n",
        1 << 20,
    )


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
        if command == programs_on(0) and answer is not None:
            return answer
        if command[0] == "nvidia-smi" and command != programs_on(0):
            return line % 0 + line % 1
        raise Absent()

    probes = Probes(tmp_path, run_command)
    conditions = probes.conditions([])
    assert [gpu.get("programs") for gpu in conditions["gpus"]] == [programs, None]
    assert (error is None) == ("gpus" not in conditions.get("probe_errors", {}))
    assert error is None or error in conditions["probe_errors"]["gpus"]
    takers = [
        question.take for question in probes.questions(conditions) if list(question.command) == programs_on(0)
    ]
    assert [take("4711\n815\n") for take in takers] == [{"gpu_programs": 2}] * (programs is not None)


LIKE = [{"index": index, "name": "NVIDIA T4"} for index in range(4)]
UNLIKE = [{"index": 0, "name": "NVIDIA T4"}, {"index": 1, "name": "NVIDIA H100"}]
ORDERED = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


@pytest.mark.parametrize(
    ("variables", "device_id", "gpus", "used"),
    [
        ({}, 0, LIKE, 0),
        ({}, 2, LIKE, 2),
        ({"CUDA_VISIBLE_DEVICES": "3"}, 0, LIKE, 3),
        ({"CUDA_VISIBLE_DEVICES": "3,1"}, 1, LIKE, 1),
        ({"CUDA_VISIBLE_DEVICES": "GPU-bb"}, 0, LIKE, 1),
        ({"CUDA_VISIBLE_DEVICES": "1", **ORDERED}, 0, UNLIKE, 1),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 0, UNLIKE, "CUDA_DEVICE_ORDER to PCI_BUS_ID"),
        ({}, 0, UNLIKE, "CUDA_DEVICE_ORDER to PCI_BUS_ID"),
        ({}, 0, UNLIKE[:1], 0),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, LIKE, "CUDA_VISIBLE_DEVICES is ''"),
        ({"CUDA_VISIBLE_DEVICES": "3"}, 1, LIKE, "CUDA_VISIBLE_DEVICES is '3'"),
        ({"CUDA_VISIBLE_DEVICES": "7"}, 0, LIKE, "CUDA_VISIBLE_DEVICES is '7'"),
        ({"CUDA_VISIBLE_DEVICES": "MIG-1234"}, 0, LIKE, "CUDA_VISIBLE_DEVICES is 'MIG-1234'"),
        ({"CUDA_VISIBLE_DEVICES": "GPU-"}, 0, LIKE, "CUDA_VISIBLE_DEVICES is 'GPU-'"),
        ({"CUDA_VISIBLE_DEVICES": "²"}, 0, LIKE, "CUDA_VISIBLE_DEVICES is '²'"),
    ],
)
def test_the_gpu_that_a_worker_uses_is_told_by_its_variables_or_is_not_known(
    variables, device_id, gpus, used
):
    def run_command(command):
        assert command == UUIDS
        return "0, GPU-aa00\n1, GPU-bb00\n2, GPU-bc00\n3, GPU-cc00\n"

    if isinstance(used, int):
        assert used_gpu(variables, device_id, gpus, run_command) == used
        return
    with pytest.raises(ValueError, match=re.escape(used)):
        used_gpu(variables, device_id, gpus, run_command)


@pytest.mark.parametrize("visible", ["1", "GPU-b"])
def test_the_gpu_that_a_worker_uses_is_watched_and_no_other(tmp_path, visible):
    asked = []

    def run_command(command):
        asked.append(command)
        if command[0] != "nvidia-smi":
            raise Absent()
        if command == UUIDS:
            return "0, GPU-a\n1, GPU-b\n"
        if "--query-compute-apps=pid" in command:
            return "4711\n"
        return "0, NVIDIA T4, 0x0, 41, 585, 1590, 68.1, Disabled\n1, NVIDIA T4, 0x8, 84, 300, 1590, 68.1, Disabled\n"

    probes = Probes(tmp_path, run_command)
    variables = {"CUDA_VISIBLE_DEVICES": visible}
    conditions = probes.conditions([], True, variables)
    assert [(gpu.get("used"), gpu.get("programs")) for gpu in conditions["gpus"]] == [(None, None), (True, 1)]
    assert programs_on(1) in asked and programs_on(0) not in asked
    sample = {}
    for question in probes.questions(conditions):
        sample.update(question.take(run_command(list(question.command))))
    assert sample == {"gpu_reasons": 8, "gpu_temp_c": 84.0, "gpu_clock_mhz": 300, "gpu_programs": 1}
    assert probes.used_gpu(variables, 0) == 1


def test_where_it_is_not_known_which_gpu_is_used_the_conditions_say_so(tmp_path):
    def run_command(command):
        if command[0] != "nvidia-smi":
            raise Absent()
        return "0, NVIDIA T4, 0x0, 41, 585, 1590, 68.1, Disabled\n1, NVIDIA H100, 0x0, 41, 585, 1590, 68.1, Disabled\n"

    conditions = Probes(tmp_path, run_command).conditions([], True, {})
    assert not any("used" in gpu or "programs" in gpu for gpu in conditions["gpus"])
    assert "PCI_BUS_ID" in conditions["probe_errors"]["used_gpu"]


@pytest.mark.parametrize(
    ("loads", "busy"), [(["0"], 0), (["35", "0"], 0), (["35", "40"], 40), (["[N/A]", "[N/A]"], None)]
)
def test_a_gpus_load_is_told_and_its_programs_but_in_a_container_of_its_own_process_ids(
    tmp_path, monkeypatch, loads, busy
):
    monkeypatch.setattr(probes_module, "LOAD_PERIOD_S", 0.0)
    link = tmp_path / "proc" / "self" / "ns" / "pid"
    link.parent.mkdir(parents=True)
    link.symlink_to("pid:[4026532281]")
    answers = [*loads, *loads]

    def run_command(command):
        if command == load_of(0):
            return answers.pop(0) + "\n"
        if command[0] == "nvidia-smi" and command != programs_on(0):
            return "0, NVIDIA T4, 0x0, 41, 585, 1590, 68.11, Disabled\n"
        return ""

    (gpu,) = Probes(tmp_path, run_command).conditions([])["gpus"]
    assert ("programs" in gpu, gpu.get("busy_percent")) == (False, busy)
    assert answers == loads, "a load that may be of a worker that has just ended is asked for again"
    link.unlink()
    link.symlink_to("pid:[4026531836]")
    (gpu,) = Probes(tmp_path, run_command).conditions([])["gpus"]
    assert (gpu.get("busy_percent"), gpu.get("programs")) == (busy, 0), (
        "programs that draw are listed nowhere"
    )


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


def test_programs_are_found_that_a_login_without_a_profile_does_not_find(tmp_path, monkeypatch):
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho a card\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    assert "/usr/lib/wsl/lib" in main.FURTHER_FOLDERS
    monkeypatch.setattr(main, "FURTHER_FOLDERS", ("/bin", str(tmp_path)))
    monkeypatch.setenv("PATH", "/bin")
    monkeypatch.setattr(sys, "argv", [__file__])  # the agent, whose digest is told
    with pytest.raises(Absent):
        run_with_deadline(["nvidia-smi"])
    for _ in range(2):  # a worker's is handed on to it
        main.main(["--version"])
    assert run_with_deadline(["nvidia-smi"]) == "a card\n"
    assert os.environ["PATH"] == f"/bin:{tmp_path}"


BOARD, SYSTEM = "proc/device-tree/serial-number", "etc/machine-id"
TERMUX = "data/data/com.termux/files/usr/etc/ssh/ssh_host_ed25519_key.pub"


def machine_id(folder, **files):
    for path, text in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    conditions = Probes(folder, run_with_deadline).conditions([], gpus=False)
    assert "machine_id" not in conditions.get("probe_errors", {})
    return conditions.get("machine_id")


def test_a_machine_is_told_by_its_serial_number_else_by_its_systems_id_and_never_in_plain(tmp_path):
    serial, system = "10000000abcdef01", "ab" * 16
    assert machine_id(tmp_path) is None
    phone = machine_id(tmp_path, **{TERMUX: "ssh-ed25519 AAAA made-up"})
    server = machine_id(tmp_path, **{SYSTEM: system + "\n"})
    board = machine_id(tmp_path, **{BOARD: serial + "\0"})
    assert len({phone, server, board}) == 3
    assert all(len(one) == 16 and one not in serial + system for one in (phone, server, board))
    assert machine_id(tmp_path, **{BOARD: serial}) == board
    assert machine_id(tmp_path, **{BOARD: "0000000000000000\0"}) == server, "a board without a number"
    assert machine_id(tmp_path, **{BOARD: "UNKNOWN\r\n"}) == server
    assert machine_id(tmp_path, **{SYSTEM: "uninitialized\n"}) == phone


def test_a_number_that_is_withheld_leaves_the_next_source(tmp_path):
    (tmp_path / BOARD).mkdir(parents=True)  # reading it is an error, as where SELinux forbids it
    assert machine_id(tmp_path) is None
    assert machine_id(tmp_path, **{SYSTEM: "cd" * 16}) is not None
