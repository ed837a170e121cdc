"""The verb `memory`: what a real model takes alone in a fresh worker of the real agent, and what is refused."""

from __future__ import annotations

import sys

import pytest
from factories.agent_models import onnx_parts, tflite_parts
from rigs.agent_client import Client
from rigs.agent_jobs import send_job

from device_agents import memory
from device_agents.memory import read_status, reset_peak
from device_agents.refusal import Refusal
from device_agents.runtimes import load
from device_agents.runtimes.loaded import Inputs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="Linux tells a process's memory")
FORKS = False
LARGE_WIDTH = 256  # 5 MB of weights


@pytest.fixture
def client(one_agent):
    """Return the client of one agent: each test sends what it needs anew."""
    return one_agent


def memory_job(client, parts, runtime, /, **changes):
    """Put the parts of a memory job; return the job."""
    job = send_job(client, {runtime: (parts, parts)}, runtime)
    (network,) = job.pop("networks")
    for key in ("reference", "plan"):
        del job[key]
    return {**job, "network": network, **changes}


def weigh(client, job):
    client.send("memory", job=job)
    _, answer = client.finish()
    assert answer["type"] == "result", answer
    return answer


@pytest.mark.parametrize(("runtime", "make"), [("onnxruntime", onnx_parts), ("tflite", tflite_parts)])
def test_a_model_takes_its_own_bytes_at_least_and_what_was_there_before_is_not_counted(client, runtime, make):
    small, large = (weigh(client, memory_job(client, make(width), runtime)) for width in (8, LARGE_WIDTH))
    for answer in (small, large):
        assert answer["is_reset"] is True
        assert answer["load_ns"] > 0 and answer["first_run_ns"] > 0
        assert answer["empty_bytes"] > 20e6  # Python, numpy and the runtime
    taken = [answer["peak_bytes"] - answer["empty_bytes"] for answer in (small, large)]
    more = large["model_bytes"] - small["model_bytes"]
    assert more > 4e6
    assert taken[0] < 40e6, "the runtime, which both have, is no memory of the model's"
    assert 0.9 * more < taken[1] - taken[0] < 10 * more


@pytest.mark.parametrize(("runtime", "make"), [("onnxruntime", onnx_parts), ("tflite", tflite_parts)])
def test_a_worker_that_is_weighed_tells_what_it_computed(client, runtime, make):
    whole = b""
    for part in make(8):
        whole += bytes(-len(whole) % 16 if runtime == "tflite" else 0) + part
    model = load(runtime, whole, 1, {}, Inputs())
    model.run()
    told = weigh(client, memory_job(client, make(8), runtime))["output"]
    assert any(told)
    assert told == pytest.approx(model.output(), rel=1e-5)


def test_a_worker_that_is_weighed_tells_under_which_conditions(client):
    answer = weigh(client, memory_job(client, onnx_parts(8), "onnxruntime"))
    assert answer["conditions_before"]["memory_total_bytes"] > 0


UNRESET = """
import sys
sys.path.insert(0, {archive!r})
from pathlib import Path
from device_agents import memory
memory.CLEAR_REFS = Path("/no/such/file")
memory.assemble, plain = lambda *given: (len(b"x" * {ballast}) * 0 or None) or plain(*given), memory.assemble
{more}
from device_agents.main import main
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("ballast", "more", "kind"),
    [
        (400_000_000, "", "no-memory"),  # putting it together took more
        (1, "", ""),  # loading took more: its peak is the whole one
        (1, "memory.read_swapped = lambda: 5_000_000", "swapped"),
    ],
)
def test_a_peak_that_is_not_the_models_is_refused(agent, tmp_path, ballast, more, kind):
    (tmp_path / "agent.py").write_text(UNRESET.format(archive=str(agent), ballast=ballast, more=more))
    with Client(tmp_path / "agent.py", tmp_path / "root") as client:
        client.send("memory", job=memory_job(client, onnx_parts(LARGE_WIDTH), "onnxruntime"))
        _, answer = client.finish()
    assert (answer.get("kind", ""), answer["type"]) == (kind, "error" if kind else "result")
    assert (
        not kind
        or {"swapped": "5.0 MB", "no-memory": "putting the model together"}[kind] in answer["message"]
    )


def test_memory_jobs_are_checked(client, models):
    for changes, words in (
        ({"runtime": "abacus"}, ("runtime-missing", "memory: job.runtime", "abacus")),
        ({"runs": 5}, ("bad-request", "memory: job", "runs")),
        ({"threads": 0}, ("bad-request", "memory: job.threads", "0")),
    ):
        job = memory_job(client, onnx_parts(8), "onnxruntime", **changes)
        client.send("memory", job=job)
        _, answer = client.finish()
        assert answer["type"] == "error"
        said = answer["kind"] + " " + answer["message"]
        assert [word for word in words if word not in said] == []


def test_a_peak_begins_anew_and_the_present_size_stays():
    ballast = bytearray(b"x" * 64_000_000)
    del ballast
    before, resident = read_status("VmHWM"), read_status("VmRSS")
    assert before > resident + 50_000_000
    assert reset_peak()
    assert read_status("VmHWM") < before - 50_000_000
    assert read_status("VmHWM") >= read_status("VmRSS") - 1_000_000


def test_a_system_that_does_not_tell_is_refused_and_one_that_resets_nothing_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "STATUS", tmp_path / "status")
    monkeypatch.setattr(memory, "CLEAR_REFS", tmp_path / "no folder" / "clear_refs")
    assert not reset_peak()
    for text in (None, "Name:\tpython\n", "VmHWM:\tmany kB\n"):
        if text is not None:
            (tmp_path / "status").write_text(text)
        with pytest.raises(Refusal) as caught:
            read_status("VmHWM")
        assert caught.value.kind == "no-memory"
