"""Records: a failed measurement cannot pass for a good one."""

from __future__ import annotations

import hashlib
import json
from dataclasses import FrozenInstanceError, asdict, fields, replace
from typing import Any

import pytest
from factories.records import CONFIGURATION, CONFIGURATIONS, make_session, make_slice
from hypothesis import given
from hypothesis import strategies as st

from harness.records import Configuration, Failure, ReferenceLatency, SessionRecord, SettledRuns


def test_a_failure_and_a_session_have_no_common_type() -> None:
    assert set(Failure.__mro__) & set(SessionRecord.__mro__) == {object}
    assert not any("_ns" in field.name for field in fields(Failure))


@pytest.mark.parametrize("bad", [0, -1, 1.5, True, None, float("nan"), "1", 2**63])
def test_a_time_that_is_no_positive_integer_of_64_bits_is_refused(bad: object) -> None:
    for times in (([bad], [1], [1]), ([1], [bad], [1]), ([1], [1], [bad])):
        with pytest.raises((ValueError, TypeError)):
            make_slice(*times)
    with pytest.raises((ValueError, TypeError)):
        make_slice([1], [1], [1], after_switch_ns=bad)
    with pytest.raises((ValueError, TypeError)):
        SettledRuns(at_ns=1, network_ns=(1, bad))  # type: ignore[arg-type]


def test_a_slice_needs_runs_of_both() -> None:
    with pytest.raises(ValueError, match="needs runs"):
        make_slice([], [1], [1])
    with pytest.raises(ValueError, match="needs runs"):
        make_slice([1], [], [])


@pytest.mark.parametrize(
    "changes",
    [{"network_ns": ()}, {"at_ns": -1}, {"at_ns": None}, {"delays_ns": (1,)}, {"gaps_ns": (0, -1)}],
)
def test_settled_runs_have_a_beginning_runs_and_a_wait_each(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="settled runs"):
        SettledRuns(**{"at_ns": 1, "network_ns": (1, 2)} | changes)


def test_the_arithmetic_is_told_where_the_provider_is_known_to_use_it_and_nowhere_else() -> None:
    assert CONFIGURATION.arithmetic == "fp32" == replace(CONFIGURATION, provider="XNNPACK").arithmetic
    for other in ({"provider": "CUDAExecutionProvider"}, {"precision": "fp16"}, {"precision": "int8"}):
        assert replace(CONFIGURATION, **other).arithmetic is None  # type: ignore[arg-type]


def test_a_session_without_slices_loops_or_reason_is_refused() -> None:
    session = make_session()
    for change in ({"slices": ()}, {"network_loops": 0}, {"reference_loops": -1}, {"stop": "bored"}):
        with pytest.raises(ValueError, match=r"slice|loops|stop"):
            replace(session, **change)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        *((name, ("\ud800", None, 1.5, True, -1, 2**63, [1])) for name in ("load_ns", "first_run_ns")),
        *((name, ("1", None, 1.0, 2**63)) for name in ("reference_load_ns", "reference_first_run_ns", "network_loops")),
        *((name, (("1",), (0,), (1, None))) for name in ("warmup_network_ns", "warmup_reference_ns")),
        *((name, (None, [], "x", 1)) for name in ("conditions_before", "conditions_after", "plan", "gate", "scheduling")),
        *((name, (None, 1, b"x")) for name in ("architecture", "graph_hash", "started_utc", "process", "agent_digest")),
        *((name, (None, "1", True)) for name in ("elapsed_s", "loop_s")),
        ("samples", ((1,), ({}, None))),
    ],
)  # fmt: skip
def test_a_session_s_fields_are_of_their_types_so_that_whatever_computes_with_them_can(
    name: str, values: tuple[object, ...]
) -> None:
    for value in values:
        with pytest.raises(ValueError, match=name):
            replace(make_session(), **{name: value})


def test_a_configuration_is_checked_and_frozen() -> None:
    with pytest.raises(ValueError, match="threads = 0"):
        replace(CONFIGURATION, threads=0)
    with pytest.raises(ValueError, match="clock_tier = 'D'"):
        replace(CONFIGURATION, clock_tier="D")
    with pytest.raises(FrozenInstanceError):
        CONFIGURATION.device = "other"


@pytest.mark.parametrize("latency_ns", [0.0, -1.0, float("nan")])
def test_a_reference_latency_is_positive(latency_ns: float) -> None:
    with pytest.raises(ValueError, match="latency_ns"):
        ReferenceLatency(configuration=CONFIGURATION, latency_ns=latency_ns, measured_utc="")


CHANGED = {
    "threads": 3,
    "cores": (5, 4),
    "clock_tier": "A",
    "batch": 8,
}


@pytest.mark.parametrize("name", [field.name for field in fields(Configuration)])
def test_each_field_of_a_configuration_counts_for_its_digest(name: str) -> None:
    changed = replace(CONFIGURATION, **{name: CHANGED.get(name, "other")})
    assert changed.digest != CONFIGURATION.digest
    assert replace(changed, **{name: getattr(CONFIGURATION, name)}).digest == CONFIGURATION.digest


def test_a_configuration_of_before_keeps_its_name() -> None:
    of_before = {
        name: value
        for name, value in asdict(CONFIGURATION).items()
        if name not in ("batch", "provider_options", "environment")
    }
    assert CONFIGURATION.digest == hashlib.sha256(json.dumps(of_before, sort_keys=True).encode()).hexdigest()
    for batch in (0, -1, True, 2.0):
        with pytest.raises(ValueError, match="batch = "):
            replace(CONFIGURATION, batch=batch)


@given(one=CONFIGURATIONS, other=st.one_of(CONFIGURATIONS, st.just(CONFIGURATION)))
def test_configurations_are_equal_when_their_digests_are(one: Configuration, other: Configuration) -> None:
    assert (one == other) == (one.digest == other.digest)
