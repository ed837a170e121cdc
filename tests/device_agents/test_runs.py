"""Sessions of the real agent over each runtime, and the faults a device can have."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from rigs.agent_client import Client, frame, process_exists, sha256
from rigs.agent_jobs import QUICK_PLAN, SURE_PLAN, measured, named, recipe, send_job

LONG_PLAN = {**QUICK_PLAN, "max_s": 60, "min_slices": 100000, "half_width": 0}
GOOD = {"format": "onnx", "alignment": 1, "parts": ["0" * 64]}


@pytest.fixture(scope="module")
def session(one_agent, models):
    """Return a function that gives a runtime's events and answer of one session, and when it began and ended."""

    @cache
    def run(runtime):
        plan = {**QUICK_PLAN, "warmup_min_runs": 30, "warmup_max_s": 60, "settled_runs": 9}
        job = send_job(one_agent, models, runtime, plan=plan)
        start_ns = time.perf_counter_ns()
        return (*one_agent.run(job), start_ns, time.perf_counter_ns())

    return run


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
class TestEachRuntime:
    def test_gives_events_in_order_and_what_was_measured(self, session, runtime):
        events, answer, *_ = session(runtime)
        assert answer["type"] == "result" and answer["measured"] == 1, answer
        assert measured(events).get("arithmetic") == {"tflite": "fp32"}.get(runtime), (
            "ONNX Runtime does not tell"
        )
        events = [event for event in events if event["event"] not in ("heartbeat", "sample")]
        told = measured(events)
        count = told["slices"]
        names = [event["event"] for event in events]
        settled = ["settled"] * (told["stop"] != "contended")
        begin = ["conditions", "started", "loaded", "loaded", "warm"]
        assert names == begin + ["slice"] * count + [*settled, "measured"]
        assert [event["which"] for event in events[2:4]] == ["reference", "network"]
        assert "network" not in events[2] and all(event["network"] == 0 for event in events[3:])
        for event in events[2:4]:
            assert event["load_ns"] > 0 and event["first_run_ns"] > 0 and event["model_bytes"] > 0
        warm = events[4]
        assert warm["network_loops"] >= 1 and warm["reference_loops"] >= 1
        assert len(warm["network_ns"]) >= 30 and len(warm["reference_ns"]) >= 30
        assert min(warm["network_ns"] + warm["reference_ns"]) >= 1000000
        slices = named(events, "slice")
        assert [event["index"] for event in slices] == list(range(count))
        for event in slices:
            times = [event["after_switch_ns"]]
            assert len(event["reference_before_ns"]) == len(event["reference_after_ns"]) == 2
            assert len(event["network_ns"]) == 5
            times += event["reference_before_ns"] + event["network_ns"] + event["reference_after_ns"]
            assert all(isinstance(time_ns, int) and time_ns > 0 for time_ns in times)
        for event in named(events, "settled"):
            assert len(event["network_ns"]) == 9
            assert slices[-1]["at_ns"] + sum(slices[-1]["network_ns"]) < event["at_ns"]
            assert sum(event["network_ns"]) / 1e9 < told["loop_s"]
        assert told["stop"] in ("precision", "plateau", "contended", "cap")
        assert told["runtime"]["name"] == runtime
        assert set(told["runtime"]) == {"name", "package", "version", "provider"}
        assert answer["threads"] == 1 and len(answer["cores"]) == 1 and answer["pinned"] is True
        assert (told["cores"], told["pinned"]) == (answer["cores"], True)
        assert 0 < told["loop_s"] < told["elapsed_s"] < answer["elapsed_s"]
        assert len(told["output"]) == 8
        for conditions in (
            events[0]["conditions"],
            answer["conditions_before"],
            answer["conditions_after"],
        ):
            assert conditions["time_utc"].endswith("Z")

    @pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel tells no run delays")
    def test_tells_of_each_run_what_it_waited_and_what_was_waited_before_it(self, session, runtime):
        events, *_ = session(runtime)
        told, slices = measured(events), named(events, "slice")
        assert told["delay_source"] == "schedstat"
        assert set(told["baseline_ns"]) == {"network", "reference"}
        assert 0 <= min(told["baseline_ns"].values()) <= max(told["baseline_ns"].values()) < 1000000
        assert 0 <= told["waited_s"] < told["loop_s"]
        assert told["pace_ns"] and all(1000 < pace < 1e9 for pace in told["pace_ns"])
        assert told["paced_by"]
        for event in slices + named(events, "settled"):
            count = 10 if event["event"] == "slice" else 9
            assert len(event["delays_ns"]) == len(event["gaps_ns"]) == count
            assert all(
                type(wait_ns) is int and wait_ns >= 0 for wait_ns in event["delays_ns"] + event["gaps_ns"]
            )

    def test_says_when_each_slice_began_on_the_clock_that_all_processes_share(self, session, runtime):
        events, answer, start_ns, end_ns = session(runtime)
        assert answer["type"] == "result", answer
        slices = [event for event in events if event["event"] == "slice"]
        starts_ns = [event["at_ns"] for event in slices]
        assert starts_ns == sorted(set(starts_ns)) and start_ns < starts_ns[0] < end_ns
        for event, next_ns in zip(slices, [*starts_ns[1:], end_ns], strict=True):
            times_ns = event["reference_before_ns"] + event["network_ns"] + event["reference_after_ns"]
            assert event["at_ns"] + sum(times_ns) + event["after_switch_ns"] < next_ns

    def test_tells_a_larger_network_from_a_smaller_one(self, session, runtime):
        events, *_ = session(runtime)  # both stand in one job, so that a slow machine slows both
        (warm,), slices = named(events, "warm"), named(events, "slice")
        network_ns = min(min(event["network_ns"]) for event in slices) / warm["network_loops"]
        reference_ns = min(min(event["reference_after_ns"]) for event in slices) / warm["reference_loops"]
        assert network_ns > 1.2 * reference_ns

    def test_is_missing_for_a_provider_that_is_not_there(self, one_agent, models, runtime):
        job = send_job(one_agent, models, runtime, options={"provider": "AbacusExecutionProvider"})
        _, answer = one_agent.run(job)
        assert answer["kind"] == "runtime-missing"
        assert "AbacusExecutionProvider" in answer["message"] and "it has: " in answer["message"]

    def test_reports_what_it_said_of_a_broken_reference(self, one_agent, models, runtime):
        job = send_job(one_agent, models, runtime)
        job["reference"] = recipe(job, [one_agent.put(b"no model at all")])
        events, answer = one_agent.run(job)
        assert answer["kind"] == "worker-error" and "network" not in answer, answer
        assert not named(events, "refused"), "it is no network's fault"
        assert len(answer["message"]) <= 2000

    def test_takes_one_thread_per_core_named(self, one_agent, models, runtime):
        cores = sorted(os.sched_getaffinity(0))[:2]
        job = send_job(one_agent, models, runtime, cores=cores, threads=len(cores), plan=SURE_PLAN)
        events, answer = one_agent.run(job)
        assert answer["cores"] == measured(events)["cores"] == cores and answer["threads"] == len(cores)


def test_both_runtimes_give_one_output_for_the_same_weights(session, models):
    outputs = [measured(session(runtime)[0])["output"] for runtime in models]
    assert np.abs(outputs[0]).max() > 1e-3
    np.testing.assert_allclose(outputs[0], outputs[1], rtol=1e-3, atol=1e-5)


def test_a_provider_that_leaves_nodes_to_the_cpu_is_refused(one_agent, models):
    provider = "AzureExecutionProvider"  # in the packages for processors; it runs no node of a network
    if provider not in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has no provider beside the CPU's")
    events, answer = one_agent.run(send_job(one_agent, models, "onnxruntime", options={"provider": provider}))
    assert not named(events, "slice"), "the CPU's times under another provider's name"
    assert answer["kind"] == "worker-error" and "network" not in answer, answer
    assert "AzureExecutionProvider does not run all nodes" in answer["message"]


def test_tflite_without_xnnpack_is_another_provider(one_agent, models):
    options = {"provider": "builtin"}
    events, _ = one_agent.run(send_job(one_agent, models, "tflite", options=options, plan=SURE_PLAN))
    assert measured(events)["runtime"]["provider"] == "builtin"


def test_heartbeats_come_while_a_session_lasts_so_that_one_longer_than_the_silence_allowed_is_not_silent(
    one_agent, models
):
    plan = {**LONG_PLAN, "max_s": 5}  # beats after 2 and 4 seconds, however soon the worker begins
    events, answer = one_agent.run(send_job(one_agent, models, "sleeping", plan=plan, silence_s=3.5))
    assert answer["type"] == "result", answer
    beats, told = named(events, "heartbeat"), measured(events)
    assert len(beats) >= 2
    assert beats[-1]["phase"] == "slices" and beats[0]["elapsed_s"] >= 2
    assert told["stop"] == "cap" and told["loop_s"] > 4.9


def test_the_cap_ends_a_session_and_precision_ends_one_sooner(one_agent, models):
    job = send_job(one_agent, models, "onnxruntime", plan={**QUICK_PLAN, "max_s": 60, "half_width": 0.5})
    for _ in range(10):  # a core that others hold ends it, too
        told = measured(one_agent.run(job)[0])
        if told["stop"] != "contended":
            break
    assert told["stop"] == "precision" and told["slices"] >= 12
    job["plan"] = {**QUICK_PLAN, "max_s": 0.01, "half_width": 0}
    told = measured(one_agent.run(job)[0])
    assert (told["stop"], told["slices"]) == ("cap", 8)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="the kernel tells no run delays")
@pytest.mark.parametrize(
    ("provider", "is_wait"), [("vx", False), ("QNNExecutionProvider", False), ("cpu", True)]
)
def test_who_waits_for_an_accelerator_of_any_name_does_not_wait_for_a_core(
    one_agent, models, provider, is_wait
):
    job = send_job(one_agent, models, "sleeping", options={"provider": provider}, plan=SURE_PLAN)
    events, _ = one_agent.run(job)
    shares = [
        sum(event["delays_ns"]) / sum(event["reference_before_ns"] + event["network_ns"])
        for event in named(events, "slice")
    ]
    assert shares and (min(shares) > 0.5) is is_wait, shares


def test_a_worker_killed_by_the_system_is_one_failure(one_agent, models):
    job = send_job(one_agent, models, "sleeping", plan=LONG_PLAN)
    one_agent.send("run", job=job)
    pid = one_agent.await_event("started")["pid"]
    one_agent.await_event("slice")
    os.kill(pid, signal.SIGKILL)
    _, answer = one_agent.finish()
    assert (answer["kind"], answer["signal"]) == ("worker-killed", "SIGKILL")
    assert "memory" in answer["message"]
    job["plan"] = SURE_PLAN
    assert one_agent.run(job)[1]["type"] == "result"


def test_a_worker_that_crashes_names_its_signal(one_agent, models):
    one_agent.send("run", job=send_job(one_agent, models, "sleeping", plan=LONG_PLAN))
    os.kill(one_agent.await_event("started")["pid"], signal.SIGSEGV)
    _, answer = one_agent.finish()
    assert (answer["kind"], answer["signal"]) == ("worker-killed", "SIGSEGV")


def test_a_worker_that_falls_silent_is_ended(one_agent, models):
    job = send_job(one_agent, models, "sleeping", plan=LONG_PLAN, silence_s=3)
    one_agent.send("run", job=job)
    pid = one_agent.await_event("started")["pid"]
    one_agent.await_event("slice")
    os.kill(pid, signal.SIGSTOP)
    start_s = time.monotonic()
    _, answer = one_agent.finish()
    assert answer["kind"] == "worker-silent"
    assert "3 s" in answer["message"] and "slices" in answer["message"]
    assert time.monotonic() - start_s < 20
    assert not process_exists(pid)
    job["plan"] = SURE_PLAN
    assert one_agent.run(job)[1]["type"] == "result"


@pytest.mark.long
def test_slow_samples_give_signs_of_life_within_a_slice_and_are_not_run_alone(one_agent, models):
    # one slice of 8 samples of 0.6 s sends no event for 4.8 s, yet the worker is never 4 s silent
    plan = {**LONG_PLAN, "max_s": 0.1, "min_sample_ns": 600000000, "warmup_min_runs": 1, "warmup_max_s": 0}
    plan.update(network_runs=6, reference_runs=1, settled_runs=1, min_slices=1)
    events, answer = one_agent.run(send_job(one_agent, models, "sleeping", plan=plan, silence_s=4))
    assert answer["type"] == "result", answer
    assert measured(events)["slices"] == 1
    assert not named(events, "settled"), "runs of 50 ms and more fill the caches at their beginning"


def test_missing_parts_are_named_before_a_worker_starts(one_agent, models):
    job = send_job(one_agent, models, "onnxruntime")
    job["networks"].append(recipe(job, ["0" * 64]))
    events, answer = one_agent.run(job)
    assert events == []
    assert (answer["kind"], answer["digests"]) == ("part-missing", ["0" * 64])


@pytest.mark.parametrize("means", ["input", "SIGTERM", "SIGKILL"])
def test_a_worker_never_outlives_its_agent(agent, tmp_path, models, means):
    with Client(agent, tmp_path / "root") as client:
        client.send("run", job=send_job(client, models, "sleeping", plan=LONG_PLAN))
        pid = client.await_event("started")["pid"]
        client.await_event("slice")
        if means == "input":
            client.process.stdin.close()
        else:
            client.process.send_signal(getattr(signal, means))
        status = client.process.wait(10)
        assert status == (-signal.SIGKILL if means == "SIGKILL" else 0)
        deadline_s = time.monotonic() + 5
        while process_exists(pid) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert not process_exists(pid)


def test_a_worker_leaves_when_its_input_ends(agent, client, models, tmp_path):
    # what reaches a worker where the kernel sends no signal at its parent's end
    job = send_job(client, models, "sleeping", plan=LONG_PLAN)
    message = {
        "task": "run",
        "job": job,
        "cores": [0],
        "parts_dir": str(tmp_path / "root/parts"),
        "parent": os.getpid(),
    }
    frames_fd, theirs = os.pipe()
    command = [sys.executable, str(agent), "worker", "--frames", str(theirs)]
    with (
        os.fdopen(frames_fd, "rb", 0) as frames,
        subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=(theirs,)) as worker,
    ):
        os.close(theirs)
        worker.stdin.write(frame(message))
        worker.stdin.flush()
        assert frames.read(4) == b"HRN1"
        worker.stdin.close()
        assert worker.wait(10) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"runtime": "abacus"}, ["runtime-missing", "abacus", "onnxruntime"]),
        ({"threads": 0}, ["bad-request", "job.threads", "0"]),
        ({"threads": True}, ["bad-request", "job.threads", "True"]),
        ({"threads": 4000}, ["bad-request", "job.threads", "4000"]),
        ({"cores": [4000]}, ["bad-request", "job.cores", "4000"]),
        ({"cores": []}, ["bad-request", "job.cores"]),
        ({"threads": 2, "cores": [0]}, ["bad-request", "job.threads"]),
        ({"options": {"spin": True}}, ["bad-request", "job.options", "spin", "allow_spinning"]),
        ({"options": {"allow_spinning": "yes"}}, ["bad-request", "allow_spinning", "yes"]),
        ({"plan": {"half_widht": 0.01}}, ["bad-request", "job.plan", "half_widht", "half_width"]),
        ({"plan": {"max_s": "long"}}, ["bad-request", "job.plan.max_s", "long"]),
        ({"plan": {"settled_runs": 1001}}, ["bad-request", "job.plan.settled_runs", "1001"]),
        ({"silence_s": float("nan")}, ["bad-request", "job.silence_s", "nan"]),
        ({"networks": None}, ["bad-request", "job.networks", "None", "1 to 256"]),
        ({"networks": []}, ["bad-request", "job.networks", "1 to 256"]),
        ({"networks": [GOOD] * 257}, ["bad-request", "job.networks", "1 to 256"]),
        ({"networks": [GOOD, None]}, ["bad-request", "job.networks[1]", "None"]),
        ({"networks": [{**GOOD, "parts": []}]}, ["bad-request", "job.networks[0].parts"]),
        ({"networks": [GOOD, {**GOOD, "parts": ["../x"]}]}, ["networks[1].parts[0]", "../x"]),
        ({"networks": [{**GOOD, "format": "tflite"}]}, ["bad-request", "networks[0].format"]),
        ({"reference": None}, ["bad-request", "job.reference", "None"]),
        ({"request": "please"}, ["bad-request", "request", "please", "realtime"]),
        ({"network": GOOD}, ["bad-request", "network"]),
        ({"speed": 1}, ["bad-request", "speed"]),
    ],
)
def test_a_job_that_is_wrong_is_refused_by_name_and_value(one_agent, models, change, words):
    job = {**send_job(one_agent, models, "onnxruntime"), **change}
    events, answer = one_agent.run(job)
    assert events == [] and answer["type"] == "error"
    for word in words:
        assert word in f"{answer['kind']}: {answer['message']}"
    assert one_agent.ask("probe")["type"] == "result"


def greet(client, *runtimes):
    return client.ask("hello", protocol=3, harness="test", runtimes=runtimes or ["onnxruntime", "sleeping"])


class TestOddRuntimePackages:
    """A package that stands where a runtime's would, first on the path."""

    @pytest.fixture
    def odd_client(self, agent, tmp_path, monkeypatch):
        clients = []

        def start(package: str, text: str) -> Client:
            folder = tmp_path / "packages" / package
            folder.mkdir(parents=True)
            (folder / "__init__.py").write_text(text)
            monkeypatch.setenv("PYTHONPATH", str(folder.parent))
            monkeypatch.setattr(Client, "forks", False)
            clients.append(Client(agent, tmp_path / "root"))
            return clients[-1]

        yield start
        for client in clients:
            client.__exit__()

    def test_one_that_raises_on_import_is_broken_and_the_others_work(self, odd_client):
        answer = greet(odd_client("onnxruntime", "raise OSError('no such table')"))
        assert [runtime["name"] for runtime in answer["runtimes"]] == ["sleeping"]
        assert answer["broken"] == [{"name": "onnxruntime", "message": "OSError: no such table"}]

    def test_one_that_crashes_on_import_is_broken_with_its_signal(self, odd_client):
        text = "import os, signal\nos.kill(os.getpid(), signal.SIGILL)"
        answer = greet(odd_client("onnxruntime", text))
        assert [runtime["name"] for runtime in answer["runtimes"]] == ["sleeping"]
        assert "SIGILL" in answer["broken"][0]["message"] and "processor" in answer["broken"][0]["message"]

    def test_one_that_lacks_a_package_of_its_own_is_broken_not_absent(self, odd_client):
        answer = greet(odd_client("ai_edge_litert", "import no_such_package"), "tflite")
        assert answer["broken"][0]["name"] == "tflite"
        assert "no_such_package" in answer["broken"][0]["message"]

    def test_one_that_prints_cannot_get_between_frames(self, odd_client, models):
        text = (
            "import os, sys\n"
            "os.write(1, b'raw'), print('hello'), os.write(2, b'on the way down')\n"
            "raise RuntimeError('x' * 5000)\n"
        )
        client = odd_client("onnxruntime", text)
        _, answer = client.run(send_job(client, models, "onnxruntime"))
        assert answer["kind"] == "worker-error", answer
        assert answer["message"].startswith("at the reference: RuntimeError: xxx")
        assert len(answer["message"]) <= 2000
        assert "on the way down" in answer["stderr"]

    def test_one_that_leaves_without_a_word_is_an_error_with_its_status(self, odd_client, models):
        client = odd_client("onnxruntime", "import os\nos._exit(7)")
        _, answer = client.run(send_job(client, models, "onnxruntime"))
        assert answer["kind"] == "worker-error" and "status 7" in answer["message"]

    def test_a_tflite_without_xnnpack_gives_no_times_under_its_name(self, odd_client, models):
        text = (
            "from types import SimpleNamespace\n"
            "__version__ = '0'\n"
            "class Interpreter:\n"
            "    get_output_details = get_tensor = resize_tensor_input = set_tensor = invoke = None\n"
            "    def __init__(self, model_content, num_threads):\n"
            "        pass\n"
            "    def allocate_tensors(self):\n"
            "        pass\n"
            "    def get_input_details(self):\n"
            "        return []\n"
            "    def _get_ops_details(self):\n"
            "        return [{'op_name': 'CONV_2D'}]\n"
            "interpreter = SimpleNamespace(Interpreter=Interpreter)\n"
        )
        client = odd_client("ai_edge_litert", text)
        _, answer = client.run(send_job(client, models, "tflite"))
        assert answer["kind"] == "runtime-missing", answer
        assert "XNNPACK" in answer["message"] and "builtin" in answer["message"]

    def test_one_that_is_killed_inside_a_frame_is_killed(self, odd_client, models):
        text = (
            "import os, signal, stat\n"
            "for fd in range(3, 64):\n"
            "    try:\n"
            "        if stat.S_ISFIFO(os.fstat(fd).st_mode):\n"
            "            os.write(fd, b'HRN1')\n"
            "    except OSError:\n"
            "        pass\n"
            "os.kill(os.getpid(), signal.SIGKILL)\n"
        )
        client = odd_client("onnxruntime", text)
        _, answer = client.run(send_job(client, models, "onnxruntime"))
        assert (answer["kind"], answer.get("signal")) == ("worker-killed", "SIGKILL"), answer

    def test_one_that_holds_the_interpreter_ends_with_the_agent_all_the_same(self, odd_client, models):
        client = odd_client("onnxruntime", "import ctypes\nctypes.PyDLL(None).sleep(30)")
        client.send("run", job=send_job(client, models, "onnxruntime"))
        pid = client.await_event("started")["pid"]
        client.await_event("heartbeat")
        client.process.kill()
        client.process.wait(10)
        deadline_s = time.monotonic() + 5
        while process_exists(pid) and time.monotonic() < deadline_s:
            time.sleep(0.01)
        assert not process_exists(pid)

    def test_one_that_hangs_is_silent_although_its_threads_live(self, odd_client, models):
        client = odd_client("onnxruntime", "import time\ntime.sleep(60)")
        # To start takes a second.
        _, answer = client.run(send_job(client, models, "onnxruntime", silence_s=5))
        assert answer["kind"] == "worker-silent" and "load" in answer["message"]


def test_a_job_for_a_runtime_that_is_not_installed_is_runtime_missing(agent, tmp_path, models):
    # -S: an interpreter without site-packages has none
    launcher = tmp_path / "bare-python"
    launcher.write_text(f'#!/bin/sh\nexec {os.path.realpath("/proc/self/exe")} -S "$@"\n')
    launcher.chmod(0o755)
    shim = tmp_path / "shim.pyz"
    shim.write_text(
        "import sys\n"
        f"sys.executable = {str(launcher)!r}\n"
        f"sys.path.insert(0, {str(agent)!r})\n"
        f"sys.argv[0] = {str(agent)!r}\n"
        "from device_agents.main import main\n"
        "sys.exit(main())\n"
    )
    with Client(shim, tmp_path / "root", python=str(launcher)) as client:
        answer = greet(client, "onnxruntime", "tflite")
        assert answer["runtimes"] == [] and answer["broken"] == []
        assert answer["agent"] == sha256(Path(agent).read_bytes())
        _, answer = client.run(send_job(client, models, "onnxruntime"))
        assert answer["kind"] == "runtime-missing" and "not installed" in answer["message"]
