"""Conditions sampled beside a run: how often, of what, from which cores, and what a slow source does."""

from __future__ import annotations

import json
import os
import selectors
import time
from itertools import pairwise
from pathlib import Path

import pytest
from rigs.agent_client import Client, process_exists
from rigs.agent_jobs import QUICK_PLAN, send_job

from device_agents.cores import kept_on
from device_agents.facts import CLOCK_CAPS, Absent, parse_first_number, parse_throttled
from device_agents.nvidia import uses_gpu
from device_agents.probes import Probes
from device_agents.sampler import Question, Sampler, Source

GOLDEN = Path(__file__).parent / "golden/devices"
LONG_PLAN = {**QUICK_PLAN, "max_s": 60, "min_slices": 100000, "half_width": 0}


def commands_folder(folder: Path, **commands: str) -> str:
    """Write shell commands; return a PATH on which they stand first."""
    folder.mkdir()
    for name, text in commands.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


def take_samples(sampler, count, ago_s=0.0, wanted=lambda sample, before: True):
    """Return samples as the supervisor takes them, which began `ago_s` before, and the longest step in seconds.

    Those are counted and returned that are `wanted`, by the sample and those returned before it: on a busy machine
    a command may start later than the first samples are due.
    """
    samples, longest_s = [], 0.0
    with selectors.PollSelector() as selector:
        sampler.open(time.monotonic() - ago_s, selector)
        while len(samples) < count:
            for key, _ in selector.select(max(0, sampler.due_s - time.monotonic())):
                assert key.data is sampler
                sampler.read(key.fd)
            start_s = time.monotonic()
            sample = sampler.step(start_s)
            longest_s = max(longest_s, time.monotonic() - start_s)
            if sample is not None and wanted(sample, samples):
                samples.append(sample)
    sampler.close()
    return samples, longest_s


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="of one core, samples come every 5 s")
@pytest.mark.alone
def test_samples_come_once_a_second_while_the_worker_runs(agent, tmp_path, models):
    path = commands_folder(tmp_path / "bin", vcgencmd="echo throttled=0x50000")
    with Client(agent, tmp_path / "root", env={**os.environ, "PATH": path}) as client:
        start_ns = time.perf_counter_ns()
        plan = {**LONG_PLAN, "max_s": 2.6}
        events, session = client.run(send_job(client, models, "sleeping", plan=plan))
        assert session["type"] == "result", session
    samples = [event for event in events if event["event"] == "sample"]
    starts_ns = [start_ns, *(sample["at_ns"] for sample in samples)]
    gaps_ns = [later - sooner for sooner, later in pairwise(starts_ns[:-1])]
    assert len(samples) >= 3 and min(gaps_ns) >= 0.9e9, "the last is the end's, whenever that is"
    assert starts_ns[-1] < time.perf_counter_ns()
    for sample in samples:
        assert sample["load_1m"] >= 0
        # a command, which the sample at the end does not wait for
        assert sample.get("throttled", 0x50000) == session["conditions_before"]["throttled"] == 0x50000
    assert all("throttled" in sample for sample in samples[:-1])
    slices_ns = [event["at_ns"] for event in events if event["event"] == "slice"]
    assert any(slices_ns[0] < sample["at_ns"] < slices_ns[-1] for sample in samples)  # one clock


@pytest.mark.alone
def test_the_supervisor_stays_off_the_measured_core_and_returns(client, models):
    mask = os.sched_getaffinity(client.process.pid)
    if len(mask) < 2:
        pytest.skip("a machine of one core leaves the supervisor no other")
    core = min(mask)
    job = send_job(client, models, "sleeping", plan={**LONG_PLAN, "max_s": 1}, cores=[core])
    client.send("run", job=job)
    pid = client.await_event("started")["pid"]
    client.await_event("slice")
    assert os.sched_getaffinity(client.process.pid) == mask - {core}
    assert os.sched_getaffinity(pid) == {core}
    _, session = client.finish()
    assert session["pinned"] is True
    assert os.sched_getaffinity(client.process.pid) == mask
    job["networks"][0]["parts"] = [client.put(b"no model at all")]
    assert client.run(job)[1]["measured"] == 0
    assert os.sched_getaffinity(client.process.pid) == mask


def test_a_supervisor_without_another_core_stays_where_it_is():
    mask = os.sched_getaffinity(0)
    with kept_on([]):
        assert os.sched_getaffinity(0) == mask
    with kept_on([100000]):  # the system refuses
        assert os.sched_getaffinity(0) == mask


def test_a_command_under_way_ends_with_its_agent(agent, tmp_path, models):
    # it answers once, for the conditions before, and then hangs
    pids, asked = tmp_path / "pids", tmp_path / "asked"
    script = f"[ -e {asked} ] && echo $$ > {pids} && exec sleep 60\ntouch {asked}\necho throttled=0x0"
    path = commands_folder(tmp_path / "bin", vcgencmd=script)
    with Client(agent, tmp_path / "root", env={**os.environ, "PATH": path}) as client:
        client.send("run", job=send_job(client, models, "sleeping", plan=LONG_PLAN))
        while not (pids.exists() and pids.read_text().strip()):
            assert client.receive()["event"] != "sample"
        pid = int(pids.read_text())
        assert client.end() == 0
        assert not process_exists(pid)


def test_a_command_without_end_is_started_once_and_each_sample_has_its_last_whole_line(tmp_path, monkeypatch):
    line = "RAM 1/2MB (lfb 1x4MB) GR3D_FREQ $n%@[306]"
    text = f"echo $$ >> {tmp_path}/pids; n=0; while :; do n=$((n + 1)); echo \"{line}\"; printf 'RAM 1/'; sleep 0.02; echo; done"
    monkeypatch.setenv("PATH", commands_folder(tmp_path / "bin", tegrastats=text))
    probes = Probes(tmp_path)
    before = probes.conditions([])
    assert before["tegrastats"] == {"gpu_percent": 1.0, "gpu_mhz": 306.0}
    sampler = Sampler([], probes.questions(before), 0.2)
    samples, longest_s = take_samples(sampler, 3, wanted=lambda sample, _: "tegrastats" in sample)
    loads = [sample["tegrastats"]["gpu_percent"] for sample in samples]
    assert loads == sorted(set(loads)) and longest_s < 2, "who waits for the end waits for ever"
    started = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(started) == 2 and not any(process_exists(pid) for pid in started)


def test_a_line_of_a_command_without_end_counts_for_one_sample(tmp_path, monkeypatch):
    text = "echo 'RAM 1/2MB (lfb 1x4MB) GR3D_FREQ 7%'; exec sleep 60"
    monkeypatch.setenv("PATH", commands_folder(tmp_path / "bin", tegrastats=text))
    probes = Probes(tmp_path)
    sampler = Sampler([], probes.questions(probes.conditions([])), 0.2)
    samples, _ = take_samples(sampler, 3, wanted=lambda sample, before: before or "tegrastats" in sample)
    assert [sample.get("tegrastats") for sample in samples] == [{"gpu_percent": 7.0}, None, None]


@pytest.mark.parametrize("text", ["exit 1", "echo nothing of the kind; sleep 60", "sleep 60"])
def test_a_command_without_end_that_tells_nothing_is_an_error_and_is_not_sampled(tmp_path, monkeypatch, text):
    monkeypatch.setattr("device_agents.readings.COMMAND_DEADLINE_S", 0.2)
    monkeypatch.setenv("PATH", commands_folder(tmp_path / "bin", tegrastats=text))
    probes = Probes(tmp_path)
    before = probes.conditions([])
    assert "tegrastats" not in before and "tegrastats" in before["probe_errors"]
    assert probes.questions(before) == []


@pytest.mark.parametrize(
    "name",
    [
        "raspberry_pi_4",
        "raspberry_pi_5_on_a_weak_supply",
        "pixel_7_over_adb",
        "x86_server",
        "coral_dev_board_hot",
    ],
)
def test_a_sample_holds_what_changes_of_the_conditions(tmp_path, name):
    case = json.loads((GOLDEN / f"{name}.json").read_text())
    for file, text in case["files"].items():
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_bytes(text.encode("latin-1"))

    def run_command(command):
        if " ".join(command) not in case["commands"]:
            raise Absent()
        return case["commands"][" ".join(command)]

    probes = Probes(tmp_path, run_command)
    before = probes.conditions([0, 1])
    sampler = Sampler(probes.sources([0, 1]), [], 0.0)
    (sample,), _ = take_samples(sampler, 1)
    for question in probes.questions(before):
        sample.update(question.take(run_command(question.command)))
    expected = {
        key: before[key]
        for key in (
            "temps_c",
            "load_1m",
            "throttled",
            "undervoltage",
            "thermal_status",
            "governors",
            "over_current",
        )
        if key in before
    }
    caps = {kind: state for kind, state in before.get("cooling", {}).items() if kind.startswith(CLOCK_CAPS)}
    expected |= {"cooling": caps} if caps else {}
    for group, name in (("freq_khz", "current"), ("min_khz", "min"), ("max_khz", "max")):
        if clocks := {core: khz[name] for core, khz in before.get("freq_khz", {}).items() if name in khz}:
            expected[group] = clocks
    assert sample.pop("at_ns") > 0 and sample.pop("event") == "sample"
    assert sample == expected


def test_a_sample_counts_how_often_a_jetson_was_held_back_for_its_supplys_sake(tmp_path):
    (tmp_path / "sys/class/hwmon/hwmon3").mkdir(parents=True)
    for name, text in (("name", "soctherm_oc"), ("oc1_event_cnt", "4"), ("oc3_event_cnt", "15")):
        (tmp_path / "sys/class/hwmon/hwmon3" / name).write_text(text)
    sampler = Sampler(Probes(tmp_path).sources([]), [], 0.0)
    (sample,), _ = take_samples(sampler, 1)
    assert sample["over_current"] == {"oc1": 4, "oc3": 15}


def test_a_sample_tells_which_clocks_are_held_down_for_heat_and_of_no_fan(tmp_path):
    for number, (kind, state) in enumerate(
        (("pwm-fan", 4), ("cpufreq-cpu4", 2), ("devfreq-fb000000.gpu", 0), ("Processor", 3), ("Processor", 0))
    ):
        folder = tmp_path / f"sys/class/thermal/cooling_device{number}"
        folder.mkdir(parents=True)
        (folder / "type").write_text(f"{kind}\n")
        (folder / "cur_state").write_text(f"{state}\n")
    sampler = Sampler(Probes(tmp_path).sources([]), [], 0.0)
    (sample,), _ = take_samples(sampler, 1)
    assert sample["cooling"] == {"cpufreq-cpu4": 2, "devfreq-fb000000.gpu": 0, "Processor": 3}, (
        "the highest of a kind"
    )


def test_a_session_ends_with_a_sample_so_that_what_came_last_is_its_own(client, models):
    events, _ = client.run(send_job(client, models, "sleeping"))
    assert [event["event"] for event in events][-2:] == ["sample", "measured"]
    assert events[-2]["load_1m"] >= 0


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="of one core, samples come every 5 s")
def test_a_sample_says_of_the_first_gpu_why_its_clock_is_as_it_is(tmp_path, monkeypatch):
    line = "%d, NVIDIA T4, 0x0000000000000020, %s, 585, 1590, 68.11, Disabled"
    folder = commands_folder(
        tmp_path / "bin", **{"nvidia-smi": f'echo "{line % (0, 84)}"; echo "{line % (1, 30)}"'}
    )
    monkeypatch.setenv("PATH", folder)
    probes = Probes(tmp_path)
    assert probes.questions(probes.conditions([], gpus=False)) == []
    period_s = 60.0  # the time in which the command has to answer, however busy this machine
    sampler = Sampler([], probes.questions(probes.conditions([])), period_s)
    (sample,), _ = take_samples(sampler, 1, ago_s=period_s)
    assert (sample["gpu_reasons"], sample["gpu_temp_c"], sample["gpu_clock_mhz"]) == (32, 84.0, 585)


@pytest.mark.parametrize(
    ("provider", "is_nvidia"),
    [
        ("CUDAExecutionProvider", True),
        ("TensorrtExecutionProvider", True),
        ("CPUExecutionProvider", False),
        ("", False),
    ],
)
def test_only_nvidias_providers_have_their_gpu_sampled(provider, is_nvidia):
    assert uses_gpu(provider) is is_nvidia


def test_a_command_never_holds_the_loop_up_and_is_not_asked_again_after_a_period(tmp_path):
    (tmp_path / "load").write_text("0.5 0 0")
    script = f"echo asked >> {tmp_path}/asked; exec sleep 60"
    hung = Question(("sh", "-c", script), lambda text: {"hung": text})
    quick = Question(("echo", "throttled=0x4"), lambda text: {"throttled": parse_throttled(text)})
    sampler = Sampler([Source("", "load_1m", str(tmp_path / "load"), parse_first_number)], [hung, quick], 1.0)
    samples, longest_s = take_samples(sampler, 3)
    assert [(sample["load_1m"], sample["throttled"]) for sample in samples] == [(0.5, 4)] * 3
    assert (tmp_path / "asked").read_text().split() == ["asked"]
    assert all("hung" not in sample for sample in samples)
    assert longest_s < 20  # it hangs for a minute


def test_a_source_that_is_slow_twice_is_left_out(tmp_path):
    (tmp_path / "value").write_text("1")

    def slowly(text):
        time.sleep(0.02)
        return int(text)

    path = str(tmp_path / "value")
    sources = [Source("temps_c", "modem", path, slowly), Source("temps_c", "cpu", path, int)]
    samples, _ = take_samples(Sampler(sources, [], 0.01), 3)
    assert ["modem" in sample["temps_c"] for sample in samples] == [True, True, False]
    assert "cpu" in samples[0]["temps_c"]


def test_a_source_that_fails_now_and_then_is_absent_then(tmp_path):
    (tmp_path / "zone").write_text("off")
    sources = [
        Source("temps_c", "zone", str(tmp_path / "zone"), int),
        Source("temps_c", "none", str(tmp_path / "none"), int),
    ]
    sampler = Sampler(sources, [], 0.01)
    with selectors.PollSelector() as selector:
        sampler.open(0, selector)
        assert "temps_c" not in sampler.step(1)
        (tmp_path / "zone").write_text("41")
        assert sampler.step(2)["temps_c"] == {"zone": 41}
    sampler.close()


def test_of_two_files_on_boosted_clocks_a_sample_tells_what_the_conditions_tell(tmp_path: Path) -> None:
    for file, text in (("cpufreq/boost", "1"), ("intel_pstate/no_turbo", "1")):
        path = tmp_path / "sys/devices/system/cpu" / file
        path.parent.mkdir(parents=True)
        path.write_text(text)
    sampler = Sampler(Probes(tmp_path).sources([]), [], 0.0)
    with selectors.DefaultSelector() as selector:
        sampler.open(0.0, selector)
        sample = sampler.look()
        sampler.close()
    assert sample["boost"] is Probes(tmp_path).conditions([])["boost"] is False
