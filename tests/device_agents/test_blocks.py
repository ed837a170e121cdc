"""The verb `blocks`: runs of network and reference in turns, by the real agent; what is told of them, and what is refused."""

from __future__ import annotations

from itertools import pairwise

import pytest
from rigs.agent_jobs import named, send_job

BLOCKS = [["reference", 0.1], ["network", 0.4], ["idle", 0.15], ["reference", 0.1]]


def block_job(client, models, /, **changes):
    """Put the parts of a job of blocks; return the job."""
    job = send_job(client, models, "onnxruntime")
    (network,) = job.pop("networks")
    del job["plan"]
    return {**job, "network": network, "blocks": BLOCKS, **changes}


def run(client, job):
    client.send("blocks", job=job)
    events, answer = client.finish()
    assert answer["type"] == "result", answer
    return events, answer


def test_blocks_run_in_their_order_and_timed_runs_are_spread_over_each(client, models):
    events, answer = run(client, block_job(client, models, timed_runs=10))
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
