"""The verb `blocks`: runs of network and reference in turns, by the real agent; what is told of them, and what is refused."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
from factories.records import make_block_run
from rigs.agent_client import Client
from rigs.agent_jobs import named, send_job

from device_agents.block_plans import BlockPlan
from harness.estimates.energy import energy_of
from harness.measurement.block_runs import BlockRunBuilder

IDENTITY = {
    name: getattr(make_block_run(purpose="energy"), name)
    for name in (
        *("run_id", "campaign_id", "architecture", "graph_hash", "purpose", "model_digest", "agent_digest"),
        *("started_utc", "configuration"),
    )
}
BLOCKS = [["reference", 0.1], ["network", 0.4], ["idle", 0.15], ["reference", 0.1]]


@pytest.fixture
def client(one_agent):
    """Return the client of one agent: each test sends what it needs anew."""
    return one_agent


def block_job(client, models, runs="sleeping", /, **changes):
    """Put the parts of a job of blocks; return the job."""
    job = send_job(client, models, runs)
    (network,) = job.pop("networks")
    del job["plan"]
    return {**job, "network": network, "blocks": BLOCKS, **changes}


def run(client, job):
    client.send("blocks", job=job)
    events, answer = client.finish()
    assert answer["type"] == "result", answer
    return events, answer


def test_blocks_run_in_their_order_and_timed_runs_are_spread_over_each(client, models):
    events, answer = run(client, block_job(client, models, "onnxruntime", timed_runs=10))
    assert [event["which"] for event in named(events, "block")] == [which for which, _ in BLOCKS]
    assert answer["blocks"] == len(BLOCKS) and answer["conditions_after"]
    assert [event["which"] for event in named(events, "loaded")] == ["reference", "network"]
    (began,) = named(events, "began")
    assert began["runtime"]["name"] == "onnxruntime" and began["cores"] == answer["cores"]
    last_ns = 0
    for block, (which, seconds) in zip(named(events, "block"), BLOCKS, strict=True):
        assert block["start_ns"] >= last_ns
        last_ns = block["end_ns"]
        assert block["end_ns"] - block["start_ns"] >= seconds * 1e9
        runs = [event for event in named(events, "runs") if event["index"] == block["index"]]
        at_ns = [at for event in runs for at in event["at_ns"]]
        if which == "idle":
            assert (block["runs"], runs) == (0, [])
            continue
        assert 1 <= len(at_ns) <= 11 and len(at_ns) <= block["runs"]
        assert at_ns == sorted(at_ns) and block["start_ns"] <= at_ns[0]
        gaps_ns = [later - sooner for sooner, later in pairwise(at_ns)]
        assert all(gap_ns >= 0.1 * seconds * 1e9 for gap_ns in gaps_ns), (
            "spread over the block, not its first runs"
        )
        for event in runs:
            assert len(event["runs_ns"]) == len(event["at_ns"]) and min(event["runs_ns"]) > 0
            if began["delay_source"]:
                assert len(event["delays_ns"]) == len(event["at_ns"])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores")
@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_of_several_threads_tell_how_far_apart_their_cores_were_before_and_after_each(
    client, models, threads
):
    plan = BlockPlan(blocks=tuple((which, seconds) for which, seconds in BLOCKS), timed_runs=5)
    builder = BlockRunBuilder(plan, IDENTITY, {})
    cores = sorted(os.sched_getaffinity(0))[:threads]
    job = block_job(client, models, "onnxruntime", timed_runs=5, threads=threads, cores=cores)
    for event in run(client, job)[0]:
        builder.add(event)
    told = builder.build().scheduling.get("core_to_core")
    if threads == 1:
        assert told is None
        return
    assert len(told) == len(BLOCKS)
    known = [one for one in told if one is not None]
    assert known and all(len(one["ns"]) == 2 and min(one["ns"]) > 1 < one["alone_ns"] for one in known)


def test_what_settles_before_a_block_is_not_of_it(client, models):
    blocks = [["network", 0.05], ["idle", 0.05], ["network", 0.05]]
    events, _ = run(client, block_job(client, models, blocks=blocks, settle_s=0.2))
    first, idle, last = named(events, "block")
    assert last["start_ns"] - idle["end_ns"] >= 0.2e9
    timed_ns = [at_ns for event in named(events, "runs") for at_ns in event["at_ns"]]
    assert timed_ns == sorted(timed_ns) and all(
        any(block["start_ns"] <= at_ns <= block["end_ns"] for block in (first, last)) for at_ns in timed_ns
    )


def test_a_run_longer_than_its_block_runs_once(client, models):
    events, _ = run(client, block_job(client, models, blocks=[["network", 0.01]] * 3, timed_runs=1))
    assert [len(event["runs_ns"]) for event in named(events, "runs")] == [1, 1, 1]


def test_a_device_says_which_sensor_of_energy_it_has_or_why_none_and_reads_it_beside_blocks(client, models):
    found = client.ask("sensor", provider="CPUExecutionProvider")
    assert found["type"] == "result" and ("sensor" in found or found["reasons"])
    events, _ = run(client, block_job(client, models, energy_of="CPUExecutionProvider", energy_s=0.05))
    assert bool(named(events, "energy")) == ("sensor" in found)


WRAPPER = """
import sys, time
sys.path.insert(0, {archive!r})
from pathlib import Path
from device_agents import agent, energy
plain, find = energy.read_text, agent.find_meter
energy.read_text = lambda path: str(int(5e6 * time.perf_counter()) % {range_uj}) if path.name == "energy_uj" else plain(path)
agent.find_meter = lambda filesystem, provider, gpu: find(Path({tree!r}), provider, gpu)
from device_agents.main import main
sys.exit(main())
"""


@pytest.mark.alone  # where others hold the cores, the counter is not read in time, and no energy is told
def test_the_joules_of_a_counter_that_begins_again_are_found_beside_real_blocks(agent, models, tmp_path):
    """The real agent and its worker on a tree of /sys whose counter runs at 5 W and begins again each 0.6 s."""
    zone = tmp_path / "sys/class/powercap/intel-rapl:0"
    zone.mkdir(parents=True)
    for name, text in (("name", "package-0"), ("energy_uj", "0"), ("max_energy_range_uj", "3000000")):
        (zone / name).write_text(text)
    (tmp_path / "agent.py").write_text(
        WRAPPER.format(archive=str(agent), range_uj=3_000_000, tree=str(tmp_path))
    )
    plan = BlockPlan(
        blocks=(*(("idle", 0.3), ("network", 0.3), ("reference", 0.3)) * 3, ("idle", 0.3)),
        timed_runs=10,
        energy_s=0.01,
    )
    with Client(tmp_path / "agent.py", tmp_path / "root") as client:
        found = client.ask("sensor", provider="CPUExecutionProvider")
        assert found["sensor"]["counters"] == {"package-0": 3_000_000} and found["update_s"] < 0.5
        blocks = [list(block) for block in plan.blocks]
        job = block_job(
            client,
            models,
            "onnxruntime",
            **{**asdict(plan), "blocks": blocks},
            energy_of="CPUExecutionProvider",
        )
        events, _ = run(client, job)
    builder = BlockRunBuilder(plan, {**IDENTITY, "sensor": found["sensor"]}, {})
    for event in events:
        builder.add(event)
    taken = builder.build()
    # Other programs have no share in these 5 W.
    calm = tuple(replace(block, delays_ns=()) for block in taken.blocks)
    energy = energy_of(replace(taken, blocks=calm))
    assert energy.network_w == pytest.approx(5.0, rel=0.02) and energy.idle_w == pytest.approx(5.0, rel=0.02)
    assert energy.above_idle.value == pytest.approx(0.0, abs=0.04 * energy.total.value)
    runs = [block.runs / block.seconds for block in taken.blocks if block.which == "network"]
    assert energy.total.value == pytest.approx(sum(5e3 / one for one in runs) / len(runs), rel=0.02)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"blocks": []}, ("bad-request", "blocks: job.blocks")),
        ({"blocks": [["network", 0.1], ["both", 1]]}, ("bad-request", "job.blocks[1]", "both")),
        ({"blocks": [["network", float("1e9")]]}, ("bad-request", "job.blocks[0]")),
        ({"blocks": [["idle", 3600]] * 30}, ("bad-request", "108000 s in all", "86400")),
        ({"blocks": [["network", True]]}, ("bad-request", "job.blocks[0]")),
        ({"timed_runs": 0}, ("bad-request", "timed_runs")),
        ({"runtime": "abacus"}, ("runtime-missing", "abacus")),
        ({"plan": {}}, ("bad-request", "plan")),
    ],
)
def test_jobs_of_blocks_are_checked(client, models, changes, words):
    client.send("blocks", job=block_job(client, models, **changes))
    _, answer = client.finish()
    assert answer["type"] == "error"
    said = answer["kind"] + " " + answer["message"]
    assert [word for word in words if word not in said] == []
