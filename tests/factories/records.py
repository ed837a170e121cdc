"""Records made up for tests: constructed by hand or by hypothesis, never by a device."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from harness.records import STOP_REASONS, Configuration, Failure, FreshRun, SessionRecord, SettledRuns, Slice

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
    fields: dict[str, Any] = dict(
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
        scheduling={"delay_source": "schedstat"},
    )
    return SessionRecord(**(fields | changes))


def unchecked_session(**changes: Any) -> SessionRecord:
    """Return a session that differs in some fields, which nobody checks: for simulations, which take thousands."""
    session = copy(_LIKE)
    for name, value in changes.items():
        object.__setattr__(session, name, value)
    return session


_LIKE = make_session()


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
