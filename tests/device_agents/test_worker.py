"""What a worker loads, reads and runs for its networks, seen from within: over a runtime that only counts."""

from __future__ import annotations

import gc
import time
from types import SimpleNamespace

import pytest

from device_agents import models, worker
from device_agents.outputs import OutputChanged
from device_agents.refusal import Refusal
from device_agents.runtimes import RUNTIMES
from device_agents.runtimes.loaded import Loaded

REFERENCE, SHARED, OWN = b"r", b"s", b"o"
PLAN = {"warmup_min_runs": 1, "warmup_max_s": 0.0, "min_sample_ns": 1, "min_slices": 1, "max_s": 0.0}
SLICE = ["reference"] * 2 + ["network"] * 6 + ["reference"] * 2


class Told:
    """Takes the reporter's place, and notes phases among the runs."""

    def __init__(self, runs):
        self.runs, self.events = runs, []

    def enter(self, phase, network=None):
        self.runs.append((phase, network))

    def send(self, header):
        self.events.append(header)

    add_slice = send

    def pulse(self, now_ns):
        pass


def do_two(monkeypatch, tmp_path, runs, **changes):
    """Do a job of two networks, changed so; note phases and runs as they come, and return the parts read and what was told."""
    read = []

    def load(model, threads, options):
        name = "reference" if model.startswith(REFERENCE) else "network"

        def run():
            runs.append(name)
            time.sleep(0.0002)

        return Loaded(run, lambda: [1.0], {"name": "counting"})

    def read_part(parts_dir, digest):
        read.append(digest)
        return digest.encode()

    monkeypatch.setitem(RUNTIMES, "counting", SimpleNamespace(find=lambda: None, load=load))
    monkeypatch.setattr(models, "load_part", read_part)
    recipes = [
        {"format": "onnx", "alignment": 1, "parts": [part.decode() for part in parts]}
        for parts in ((REFERENCE, SHARED), (OWN, SHARED), (OWN * 2, SHARED))
    ]
    job = {"reference": recipes[0], "networks": recipes[1:], "runtime": "counting", "threads": 1}
    job.update(plan=PLAN, options={}, **changes)
    told = Told(runs)
    worker.do_job({"job": job, "cores": [0], "parts_dir": str(tmp_path), "process": {"pinned": False}}, told)
    gc.enable()  # a worker's own garbage collection ends with it
    return read, told.events


@pytest.fixture
def work(monkeypatch, tmp_path):
    """Do a job of two networks; return phases and runs as they came, the parts read, and what was told."""
    runs = []
    return (runs, *do_two(monkeypatch, tmp_path, runs))


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_tell_how_far_apart_their_cores_are_before_and_after_the_slices(
    threads, monkeypatch, tmp_path
):
    class Probe(worker.CoreToCore):
        def __init__(self, cores):
            self.cores, self.ns = cores, []

        def begin(self):
            self.ns = []
            self.take()

        def take(self):
            runs.append("probe")
            self.ns.append(90.0)

        def told(self):
            return {"ns": self.ns, "alone_ns": 95.0, "guest": False} if self.cores else {}

        def end(self):
            runs.append("end")

    runs = []
    monkeypatch.setattr(worker, "CoreToCore", Probe)
    _, events = do_two(monkeypatch, tmp_path, runs, threads=threads)
    told = [event.get("core_to_core") for event in events if event["event"] == "measured"]
    assert told == [{"ns": [90.0, 90.0], "alone_ns": 95.0, "guest": False} if threads == 2 else None] * 2
    for network in range(2):
        begin = runs.index(("slices", network))
        assert runs[begin - 1] == "probe" and runs[begin + 1 :].index("probe") >= len(SLICE)
    assert runs[-1] == "end"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        (lambda runs: [7] * runs, {"device_ns": [7, 7, 7]}),
        (lambda runs: {}["card"], {"device_absent": "KeyError: 'card'"}),
        (None, {}),
    ],
)
def test_a_clock_of_the_device_that_cannot_be_asked_says_why(asked, told):
    session = SimpleNamespace(_plan=SimpleNamespace(settled_runs=3))
    network = Loaded(lambda: None, lambda: [], {}, device_times=asked)
    assert worker.Session._device_times(session, network) == told


def test_the_first_slice_follows_runs_of_the_reference_as_every_other_does(work):
    runs, _, told = work
    for network in range(2):
        begin = runs.index(("slices", network)) + 1
        assert runs[begin : begin + 13] == ["reference"] * 2 + ["reference"] + SLICE, "one more beside a pace"
        assert sum(event["event"] == "slice" and event["network"] == network for event in told) == 1


def test_parts_that_several_models_share_and_those_of_the_reference_are_read_once(work):
    _, read, _ = work
    assert sorted(read) == ["o", "oo", "r", "s"]


@pytest.mark.parametrize(
    ("provider", "error", "ends"),
    [
        ("GPU", RuntimeError("lost"), True),
        ("GPU", Refusal("out-of-memory", "full"), True),
        ("GPU", Refusal("worker-error", "an operator that it has not"), False),
        ("CPU", RuntimeError("bad shapes"), False),
        ("CPU", Refusal("out-of-memory", "full"), False),
        ("CPU", Refusal("part-missing", "none"), True),
    ],
)
def test_what_an_accelerator_breaks_ends_the_job_for_the_networks_after_it_would_be_blamed(
    provider, error, ends
):
    def measure(number, reference):
        raise error

    job = {"networks": [], "reference": {"parts": []}, "threads": 1, "options": {"provider": provider}}
    session = worker.Session({"job": dict(job, plan=PLAN)}, Told([]))
    session.measure, told = measure, Told([])
    if ends:
        with pytest.raises(type(error)):
            worker.attempt(session, 0, None, told)
    else:
        assert worker.attempt(session, 0, None, told) is None
    assert [event["event"] for event in told.events] == ["refused"] * (not ends)


def test_a_reference_whose_output_is_not_finite_ends_the_job_and_is_no_fault_of_a_network(
    monkeypatch, tmp_path
):
    def load(model, threads, options):
        value = float("inf") if model.startswith(REFERENCE) else 1.0
        return Loaded(lambda: None, lambda: [value], {"name": "counting"}, arithmetic="fp16")

    monkeypatch.setitem(RUNTIMES, "counting", SimpleNamespace(find=lambda: None, load=load))
    monkeypatch.setattr(models, "load_part", lambda parts_dir, digest: digest.encode())
    recipes = [{"format": "onnx", "alignment": 1, "parts": [part.decode()]} for part in (REFERENCE, OWN)]
    job = {"reference": recipes[0], "networks": recipes[1:], "runtime": "counting", "threads": 1}
    job.update(plan=PLAN, options={})
    told = Told([])
    with pytest.raises(Refusal, match=r"the reference's output .* not finite.*65504"):
        worker.do_job({"job": job, "cores": [0], "parts_dir": str(tmp_path), "process": {}}, told)
    assert [event["event"] for event in told.events] == ["loaded"]


@pytest.mark.parametrize("idle", ["reference", "network"])
def test_a_reference_that_an_accelerator_leaves_out_is_found_out_as_a_network_is(monkeypatch, tmp_path, idle):
    runs = {"reference": 0, "network": 0}

    def load(model, threads, options):
        name = "reference" if model.startswith(REFERENCE) else "network"

        def run():
            runs[name] += 1

        def output():
            is_right = name != idle or runs[name] <= 1
            return [1.0, 2.0] if is_right else [0.0, 0.0]

        other = lambda change: [3.0, 4.0] if output()[0] else [0.0, 0.0]  # noqa: E731
        return Loaded(run, output, {"name": "counting", "provider": "GPU"}, other_output=other)

    monkeypatch.setitem(RUNTIMES, "counting", SimpleNamespace(find=lambda: None, load=load))
    monkeypatch.setattr(models, "load_part", lambda parts_dir, digest: digest.encode())
    reference, network = (
        {"format": "onnx", "alignment": 1, "parts": [part.decode()]} for part in (REFERENCE, OWN)
    )
    job = {"reference": reference, "networks": [network], "runtime": "counting", "threads": 1}
    job.update(plan=PLAN, options={"provider": "GPU"})
    told = Told([])
    message = {"job": job, "cores": [0], "parts_dir": str(tmp_path), "process": {}}
    with pytest.raises(OutputChanged, match="what was timed does not count"):
        worker.do_job(message, told)
    gc.enable()
    assert "measured" not in [event["event"] for event in told.events]
