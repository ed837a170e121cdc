"""Jobs of several networks in one worker: each is told as soon as it is done, and a fault costs the network at fault alone."""

from __future__ import annotations

import os
import signal

import pytest
from rigs.agent_jobs import SURE_PLAN, measured, named, recipe, send_job

RUNTIME = "sleeping"  # but where it is about the times of models


@pytest.fixture
def client(one_agent):
    """Return the client of one agent: each test sends what it needs anew."""
    return one_agent


@pytest.fixture
def job(client, models):
    """Return a job of three networks, large, small, large, whose parts are on the device."""
    job = send_job(client, models, RUNTIME, plan=dict(SURE_PLAN))
    (large,) = job["networks"]
    job["networks"] = [large, job["reference"], large]
    return job


@pytest.fixture
def broken(client, job):
    """Return a recipe that no runtime reads."""
    return recipe(job, [client.put(b"no model at all")])


def told(events):
    """Return what was told in a row, as (event, network), slices and signs of life left out."""
    left_out = ("heartbeat", "sample", "slice")
    return [(event["event"], event.get("network")) for event in events if event["event"] not in left_out]


OF_ONE = ("loaded", "warm", "measured")


@pytest.mark.parametrize("runtime", ["onnxruntime", "tflite"])
def test_networks_are_timed_one_after_another_each_beside_a_reference_of_its_own(client, models, runtime):
    job = send_job(client, models, runtime, plan=dict(SURE_PLAN))
    job["networks"] = [job["networks"][0], job["reference"], job["networks"][0]]
    events, answer = client.run(job)
    assert (answer["type"], answer["measured"]) == ("result", 3), answer
    before = [("conditions", None), ("started", None)]
    of_each = ([("loaded", None)] + [(event, number) for event in OF_ONE] for number in range(3))
    assert told(events) == before + [event for one in of_each for event in one]
    assert [event["which"] for event in named(events, "loaded")] == 3 * ["reference", "network"]
    for number in range(3):
        slices = [event for event in named(events, "slice") if event["network"] == number]
        assert [event["index"] for event in slices] == list(range(measured(events, number)["slices"]))
    warms = named(events, "warm")
    assert len({tuple(warm["reference_ns"]) for warm in warms}) == 3, (
        "a reference loaded anew is warmed up anew"
    )
    large, small, again = (
        min(min(event["network_ns"]) for event in named(events, "slice") if event["network"] == number)
        / warms[number]["network_loops"]
        for number in range(3)
    )
    assert large > 1.2 * small and again > 1.2 * small
    outputs = [measured(events, number)["output"] for number in range(3)]
    assert outputs[0] == outputs[2] != outputs[1]
    starts_ns = [event["at_ns"] for event in named(events, "slice")]
    assert starts_ns == sorted(set(starts_ns))
    loops_s = sum(measured(events, number)["loop_s"] for number in range(3))
    assert loops_s < answer["elapsed_s"]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_network_that_the_runtime_refuses_is_told_and_the_others_are_measured(client, job, broken, place):
    job["networks"].insert(place, broken)
    events, answer = client.run(job)
    assert (answer["type"], answer["measured"]) == ("result", 3), answer
    (refused,) = named(events, "refused")
    assert refused["network"] == place
    assert refused["failure"]["kind"] == "worker-error" and len(refused["failure"]["message"]) <= 2000
    numbers = [event["network"] for event in named(events, "measured", "refused")]
    assert numbers == [0, 1, 2, 3]


def test_a_job_of_which_every_network_is_refused_ends_well(client, job, broken):
    job["networks"] = [broken, broken]
    events, answer = client.run(job)
    assert (answer["type"], answer["measured"]) == ("result", 0)
    assert [event["network"] for event in named(events, "refused")] == [0, 1]


def test_a_network_whose_output_is_no_number_is_refused_and_says_so(client, job):
    job["networks"][1] = recipe(job, [job["networks"][0]["parts"][0], client.put(b"nan")])
    events, answer = client.run(job)
    assert answer["measured"] == 2, answer
    (refused,) = named(events, "refused")
    assert refused["network"] == 1 and refused["failure"]["kind"] == "worker-error"
    assert "not finite" in refused["failure"]["message"]


def test_a_worker_that_dies_at_a_network_names_it_and_what_was_measured_before_is_told(client, job):
    job["plan"]["max_s"] = 1
    client.send("run", job=job)
    pid = client.await_event("started")["pid"]
    first = client.await_event("measured")
    client.await_event("slice")
    os.kill(pid, signal.SIGKILL)
    events, answer = client.finish()
    assert (first["network"], answer["kind"], answer["network"]) == (0, "worker-killed", 1), answer
    assert answer["phase"] == "slices" and named(events, "measured") == []


@pytest.mark.parametrize("place", [0, 2])
def test_a_part_damaged_in_the_middle_of_a_job_ends_it_and_is_named_with_its_network(
    client, models, job, place
):
    damaged = client.put(models[RUNTIME][0][1])  # a part of the large network alone
    assert damaged in job["networks"][0]["parts"] and damaged not in job["reference"]["parts"]
    small = job["reference"]
    job["networks"] = [small] * place + [job["networks"][0], small]
    path = client.root / "parts" / damaged[:2] / damaged
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    events, answer = client.run(job)
    assert (answer["kind"], answer["digest"], answer["network"]) == ("part-damaged", damaged, place)
    assert damaged in answer["message"]
    assert [event["network"] for event in named(events, "measured")] == list(range(place))
    assert client.ask("missing", digests=[damaged])["missing"] == [damaged]


def test_a_damaged_part_of_the_reference_is_no_networks_fault(client, job):
    digest = job["reference"]["parts"][1]
    path = client.root / "parts" / digest[:2] / digest
    path.write_bytes(bytes(len(path.read_bytes())))
    events, answer = client.run(job)
    assert (answer["kind"], answer["digest"]) == ("part-damaged", digest)
    assert "network" not in answer and named(events, "measured") == []


def test_all_damaged_parts_of_a_job_are_found_at_once(client, job):
    digests = list(dict.fromkeys(p for one in (job["reference"], *job["networks"]) for p in one["parts"]))
    broken = digests[::2]
    for digest in broken:
        path = client.root / "parts" / digest[:2] / digest
        path.write_bytes(bytes(len(path.read_bytes())))
    _, answer = client.run(job)
    assert (answer["kind"], answer["digests"]) == ("part-damaged", broken)
    assert client.ask("missing", digests=digests)["missing"] == broken


@pytest.mark.long
def test_a_core_that_others_hold_ends_the_job_after_the_network_that_saw_it(client, models):
    from device_agents.core_probe import compete

    job = send_job(client, models, "onnxruntime")
    job["networks"] *= 3
    core = max(os.sched_getaffinity(0))
    plan = {**SURE_PLAN, "min_slices": 8, "max_s": 20, "half_width": 0}
    plan["min_sample_ns"] = 20000000  # longer than a turn of two programs, and too short to be corrected
    job.update(cores=[core], plan=plan)
    competitors = [compete(core), compete(core)]
    try:
        events, answer = client.run(job)
    finally:
        for competitor in competitors:
            competitor.end()
    assert answer["type"] == "result", answer
    stops = [event["stop"] for event in named(events, "measured")]
    assert stops[-1] == "contended" and "contended" not in stops[:-1]
    assert answer["measured"] == len(stops)
    for event in named(events, "measured"):
        assert event["baseline_ns"] == {"network": 0, "reference": 0}, "one thread waits for others alone"


@pytest.mark.parametrize("request_", ["realtime", "nice"])
def test_the_core_is_asked_for_by_the_worker_alone_and_said_to_be(client, job, request_):
    job.update(request=request_, plan={**SURE_PLAN, "max_s": 0.5}, networks=job["networks"][:2])
    client.send("run", job=job)
    pid = client.await_event("started")["pid"]
    first = client.await_event("measured")
    asked = os.sched_getscheduler(pid) == os.SCHED_RR, os.getpriority(os.PRIO_PROCESS, pid) == -20
    assert os.sched_getscheduler(client.process.pid) == os.SCHED_OTHER
    _, answer = client.finish()
    assert answer["request"] == first["request"] and answer["request"]["method"] == request_
    if answer["request"]["granted"]:
        assert asked == (request_ == "realtime", request_ == "nice")
    else:
        assert not any(asked) and answer["request"]["reason"]


def test_without_a_request_nothing_is_said_of_one(client, job):
    events, answer = client.run(job)
    assert "request" not in answer and "request" not in measured(events)
