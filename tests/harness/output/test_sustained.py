"""What a run under load comes to, in sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest
from factories.records import make_block, make_block_run

from harness.estimates.sustained import sustained
from harness.output.sustained import print_sustained, summary
from harness.records import BlockRun


def run_of(**changes: object) -> BlockRun:
    blocks = []
    for minute in range(30):
        blocks.append(make_block("reference", 10.0 + 60 * minute, 1.0, [8.0] * 20))
        slow = 1.0 if minute < 15 else 1.5
        blocks.append(make_block("network", 11.0 + 60 * minute, 59.0, [4.0 * slow] * 70, others_busy=0.05))
    return make_block_run(blocks, **changes)


def said(run: BlockRun) -> str:
    return "\n".join(summary(sustained(run)))


def test_the_ends_are_compared_and_the_reference_beside() -> None:
    text = said(run_of())
    assert "the last 5:00 over the first: 1.500 (1.500 to 1.500)" in text
    assert "of the reference in between 1.000" in text
    assert [word for word in ("throttled", "disturbed", "other cores", "ended early") if word in text] == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"others_busy": 0.9}, "other cores were busy in 30 of 30 minutes"),
        ({"others_busy": None}, "not known whether other cores were busy"),
        ({"delays_ns": ()}, "not known whether other programs had the cores"),
        ({"delays_ns": (4_000_000,) * 70}, "disturbed by other programs in 30 of 30 minutes"),
    ],
)
def test_what_other_programs_did_is_told(change: dict[str, object], words: str) -> None:
    run = run_of()
    blocks = [replace(one, **change) if one.which == "network" else one for one in run.blocks]  # type: ignore[arg-type]
    assert words in said(replace(run, blocks=tuple(blocks)))


def test_throttling_and_an_early_end_are_told() -> None:
    text = said(run_of(samples=({"at_ns": 700 * 10**9, "throttled": 4},), ended="stopped by the user"))
    assert "throttled in 1 of 30 minutes: Raspberry Pi throttled: throttled" in text
    assert "ended early: stopped by the user" in text


def test_how_far_apart_the_cores_of_several_threads_were_is_told() -> None:
    """On one thread, and on a GPU, it moves nothing."""
    run = run_of()
    near, far = ({"ns": [ns, ns], "alone_ns": 90.0, "guest": True} for ns in (92.0, 270.0))
    moved = replace(run, scheduling=run.scheduling | {"core_to_core": [near] * 50 + [far] * 10})
    assert "the cores were up to 2.9 times as far apart as usual, or as near, in 5 of 30 minutes" in said(
        moved
    )
    assert "the last 5:00 over the first: not known, too few undisturbed runs in the end" in said(moved)
    unknown = "not known how far apart the cores were"
    assert unknown in said(run) and unknown not in said(moved)
    for changes in ({"threads": 1}, {"provider": "CUDAExecutionProvider"}):
        assert unknown not in said(replace(run, configuration=replace(run.configuration, **changes)))


def test_a_network_of_microseconds_has_three_digits_minute_by_minute(
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = run_of()
    blocks = [replace(one, runs_ns=(2_468,) * len(one.runs_ns)) for one in run.blocks]
    print_sustained([sustained(replace(run, blocks=tuple(blocks)))], json_output=False)
    assert capsys.readouterr().out.count("0.00247") == 30 * 3  # median, p90 and the reference's
