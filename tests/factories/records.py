"""Records made up for tests: constructed by hand or by hypothesis, never by a device."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from harness.records import (
    STOP_REASONS,
    BlockRun,
    Configuration,
    Failure,
    FreshRun,
    SessionRecord,
    SettledRuns,
    Slice,
    TimedBlock,
)

CAMPAIGN = "00000000-0000-4000-8000-000000000000"

CONFIGURATION = Configuration(
    device="made-up",
    hardware="x86_64 Made Up CPU",
    runtime="onnxruntime",
    runtime_version="1.0",
    provider="CPUExecutionProvider",
    format="onnx",
    precision="fp32",
    threads=2,
    cores=(4, 5),
    space="blox",
    weights="seeded 0",
    reference="f" * 32,
    clock_tier="C",
)


def graph_hash(number: int) -> str:
    """Return a made-up graph hash."""
    return f"{number:032x}"


def make_slice(
    network_ns: Sequence[int], before_ns: Sequence[int], after_ns: Sequence[int], after_switch_ns: int = 1
) -> Slice:
    """Return a slice of these times, in which nobody waited."""
    nothing = (0,) * (len(before_ns) + 1 + len(network_ns) + len(after_ns))
    return Slice(
        reference_before_ns=tuple(before_ns),
        after_switch_ns=after_switch_ns,
        network_ns=tuple(network_ns),
        reference_after_ns=tuple(after_ns),
        delays_ns=nothing,
        gaps_ns=nothing,
    )


def make_session(
    slices: Sequence[Slice] = (),
    *,
    configuration: Configuration = CONFIGURATION,
    number: int = 1,
    **changes: Any,
) -> SessionRecord:
    """Return a session of network `number`; `changes` replace fields."""
    own: dict[str, Any] = dict(
        session_id=str(uuid.uuid4()),
        campaign_id=CAMPAIGN,
        configuration=configuration,
        architecture=f"network {number}",
        graph_hash=graph_hash(number),
        model_digest=f"{number:064x}",
        started_utc=f"2024-05-01T00:00:{number % 60:02d}.000+00:00",
        elapsed_s=2.5,
        loop_s=2.0,
        stop="precision",
        load_ns=5_000_000,
        first_run_ns=9_000_000,
        reference_load_ns=4_000_000,
        reference_first_run_ns=8_000_000,
        network_loops=1,
        reference_loops=1,
        warmup_network_ns=(3_000_000, 2_000_000),
        warmup_reference_ns=(1_500_000,),
        slices=tuple(slices) or (make_slice([2_000_000], [1_000_000], [1_000_000]),),
        conditions_before={"load_1m": 0.5, "governors": {"0": "performance"}},
        conditions_after={"temps_c": {"cpu": 50.5}},
        output=(0.25, -1.5),
        agent_digest="a" * 64,
        plan={"min_slices": 12, "half_width": 0.005},
        scheduling={"delay_source": "schedstat", "others_busy": 0.0},
    )
    return SessionRecord(**(own | changes))


def unchecked_session(**changes: Any) -> SessionRecord:
    """Return a session that differs in some fields, which nobody checks: for simulations, which take thousands."""
    session = object.__new__(SessionRecord)
    for name, value in (_LIKE | changes).items():
        object.__setattr__(session, name, value)
    return session


_LIKE = {one.name: getattr(made, one.name) for made in [make_session()] for one in fields(SessionRecord)}


def without_waits(session: SessionRecord) -> SessionRecord:
    """Return a session as records of before have it, or systems that do not tell: what its runs waited is not known."""
    slices = [replace(piece, delays_ns=(), gaps_ns=()) for piece in session.slices]
    return replace(session, slices=tuple(slices), scheduling={})


def make_fresh_run(
    memory_bytes: int = 12_000_000,
    *,
    configuration: Configuration = CONFIGURATION,
    number: int = 1,
    **changes: Any,
) -> FreshRun:
    """Return a fresh run of network `number`, whose model takes so much; `changes` replace fields."""
    run = FreshRun(
        run_id=str(uuid.uuid4()),
        campaign_id=CAMPAIGN,
        configuration=configuration,
        architecture=f"network {number}",
        graph_hash=graph_hash(number),
        purpose="network",
        model_digest=f"{number:064x}",
        agent_digest="a" * 64,
        started_utc=f"2024-05-01T00:00:{number % 60:02d}.000+00:00",
        model_bytes=4_000_000,
        empty_bytes=40_000_000,
        peak_bytes=40_000_000 + memory_bytes,
        is_reset=True,
        load_ns=20_000_000,
        first_run_ns=9_000_000,
    )
    return replace(run, **changes)


def make_block(
    which: str, start_s: float, seconds: float, runs_ms: Sequence[float] = (), **changes: Any
) -> TimedBlock:
    """Return a block of these timed runs, evenly spread, in which nobody waited."""
    count = len(runs_ms)
    block = TimedBlock(
        which=which,
        start_ns=round(start_s * 1e9),
        end_ns=round((start_s + seconds) * 1e9),
        runs=10 * count,
        at_ns=tuple(round((start_s + seconds * number / count) * 1e9) for number in range(count)),
        runs_ns=tuple(round(ms * 1e6) for ms in runs_ms),
        delays_ns=(0,) * count,
    )
    return replace(block, **changes)


def make_block_run(
    blocks: Sequence[TimedBlock] = (),
    *,
    configuration: Configuration = CONFIGURATION,
    number: int = 1,
    **changes: Any,
) -> BlockRun:
    """Return a run of blocks of network `number`; `changes` replace fields."""
    run = BlockRun(
        run_id=str(uuid.uuid4()),
        campaign_id=CAMPAIGN,
        configuration=configuration,
        architecture=f"network {number}",
        graph_hash=graph_hash(number),
        purpose="sustained",
        model_digest=f"{number:064x}",
        agent_digest="a" * 64,
        started_utc=f"2024-05-01T00:00:{number % 60:02d}.000+00:00",
        ended="complete",
        load_ns=20_000_000,
        first_run_ns=9_000_000,
        blocks=tuple(blocks)
        or (make_block("reference", 1.0, 1.0, [8.0] * 9), make_block("network", 2.0, 9.0, [4.0, 4.5, 5.0])),
        conditions_before={"load_1m": 0.5},
        conditions_after={"temps_c": {"cpu": 50.5}},
        plan={"timed_runs": 9},
        scheduling={"delay_source": "schedstat", "cores": [4, 5]},
        gate={"waited_s": 0.0},
        samples=({"at_ns": 3_000_000_000, "temps_c": {"cpu": 50.0}},),
    )
    return replace(run, **changes)


def make_energy_run(
    *,
    network_w: float = 9.0,
    kind: str = "rapl",
    first_uj: int = 1_000_000,
    range_uj: int = 1 << 38,
    update_s: float = 0.001,
    drift: Callable[[float], float] = lambda at_s: 1.0,
    scatter: Sequence[float] = (),
    **changes: Any,
) -> BlockRun:
    """Return a run of a device that takes 3 W at rest, `network_w` while a network runs 200 times a second, 12 W for a reference.

    A sensor of this kind, which measures so often, reads it; `drift` and `scatter` (of each block) change all powers.
    """
    from device_agents.block_plans import energy_plan  # late: a factory of records needs no more

    plan = energy_plan(update_s)
    assert plan is not None
    watts = {"idle": 3.0, "network": network_w, "reference": 12.0}
    blocks, spans = [], []  # of blocks with what settles before them: from when, to when, W
    at_s = 5.0
    for number, (which, seconds) in enumerate(plan.blocks):
        factor = scatter[number] if len(scatter) else 1.0
        start_s, at_s = at_s, at_s + plan.settle_s + seconds
        spans.append((start_s, at_s, watts[which] * factor))
        runs_ms = {"idle": [], "network": [5.0] * 20, "reference": [10.0] * 20}[which]
        a_second = {"idle": 0, "network": 200, "reference": 100}[which]
        block = make_block(which, at_s - seconds, seconds, runs_ms)
        blocks.append(replace(block, runs=round(a_second * seconds), others_busy=0.02))
    grid_s = np.arange(4.0, at_s, 0.001)
    power = np.full(len(grid_s), 3.0)
    for begin, end, w in spans:
        power[slice(*np.searchsorted(grid_s, (begin, end)))] = w
    power *= np.array([drift(one) for one in grid_s[::100].tolist()]).repeat(100)[: len(grid_s)]
    joules = np.cumsum(power) * 0.001
    readings: list[dict[str, Any]] = []
    for place in range(0, len(grid_s), round(plan.energy_s * 1000)):
        told = place - place % max(1, round(update_s * 1000))  # its latest measurement
        counted = (first_uj + round(float(joules[told]) * 1e6)) % (range_uj or 1 << 62)
        values = {"uj": {"package-0": counted}, "uw": {}}
        if kind != "rapl":
            values = {"uj": {}, "uw": {"all": round(float(power[told]) * 1e6)}}
        readings.append({"at_ns": round(float(grid_s[place]) * 1e9), **values})
    sensor: dict[str, Any] = {"kind": kind, "scope": "all of it", "counters": {}, "powers": ["all"]}
    if kind == "rapl":
        sensor |= {"counters": {"package-0": range_uj}, "powers": []}
    return make_block_run(blocks, purpose="energy", sensor=sensor, readings=tuple(readings), **changes)


def make_failure(*, configuration: Configuration = CONFIGURATION, number: int = 1, **changes: Any) -> Failure:
    """Return a failure of network `number`."""
    failure = Failure(
        campaign_id=CAMPAIGN,
        configuration=configuration,
        architecture=f"network {number}",
        graph_hash=graph_hash(number),
        kind="worker-killed",
        message="killed by signal 9",
        time_utc="2024-05-01T00:00:00.000+00:00",
    )
    return replace(failure, **changes)


TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40)
TIMES_NS = st.integers(1, 2**63 - 1)
FINITE = st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | FINITE | TEXT,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(TEXT, children, max_size=3),
    max_leaves=8,
)
CONDITIONS = st.dictionaries(TEXT, JSON_VALUES, max_size=4)

CONFIGURATIONS = st.builds(
    Configuration,
    device=TEXT,
    hardware=TEXT,
    runtime=TEXT,
    runtime_version=TEXT,
    provider=TEXT,
    format=TEXT,
    precision=TEXT,
    threads=st.integers(1, 256),
    cores=st.lists(st.integers(0, 4095), max_size=4).map(tuple),
    space=TEXT,
    weights=TEXT,
    reference=st.text("0123456789abcdef", min_size=32, max_size=32),
    clock_tier=st.sampled_from("ABC"),
)

SLICES = st.builds(
    make_slice,
    network_ns=st.lists(TIMES_NS, min_size=1, max_size=5),
    before_ns=st.lists(TIMES_NS, min_size=1, max_size=2),
    after_ns=st.lists(TIMES_NS, max_size=2),
    after_switch_ns=TIMES_NS,
)

SETTLED = st.builds(
    SettledRuns,
    at_ns=st.integers(0, 2**63 - 1),
    network_ns=st.lists(TIMES_NS, min_size=1, max_size=9).map(tuple),
)

SESSIONS = st.builds(
    make_session,
    slices=st.lists(SLICES, min_size=1, max_size=5),
    configuration=CONFIGURATIONS,
    number=st.integers(0, 2**64),
    architecture=TEXT,
    started_utc=TEXT,
    elapsed_s=FINITE,
    loop_s=FINITE,
    stop=st.sampled_from(STOP_REASONS),
    load_ns=TIMES_NS,
    first_run_ns=TIMES_NS,
    network_loops=st.integers(1, 2**40),
    reference_loops=st.integers(1, 2**40),
    warmup_network_ns=st.lists(TIMES_NS, max_size=5).map(tuple),
    warmup_reference_ns=st.lists(TIMES_NS, max_size=5).map(tuple),
    conditions_before=CONDITIONS,
    conditions_after=CONDITIONS,
    output=st.lists(FINITE, max_size=8).map(tuple),
    expected=st.lists(FINITE, max_size=8).map(tuple),
    plan=CONDITIONS,
    settled=st.none() | SETTLED,
)
