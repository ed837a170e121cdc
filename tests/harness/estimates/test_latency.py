"""Latencies of made-up sessions: what enters a row, what is said against it, and what is never merged."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.records import CAMPAIGN, CONFIGURATION, graph_hash, make_session, make_slice

from harness.estimates.estimate import scatter_of
from harness.estimates.latency import latency_of, to_json
from harness.output.tables import print_latencies
from harness.records import SessionRecord
from harness.store import Store
from harness.store.latencies import latencies

REFERENCE_NS = 10_000_000
NOISE = np.random.default_rng(1).normal(0, 0.002, 20)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(str(tmp_path / "store.sqlite"))
    store.start_campaign(CAMPAIGN, "made-up", "2024-05-01T00:00:00.000+00:00", {})
    yield store
    store.close()


def session_of(ratio: float, number: int = 1, **changes: Any) -> SessionRecord:
    """Return a session of network `number` whose slices scatter a little about this ratio."""
    reference_ns = changes.pop("reference_ns", REFERENCE_NS)
    slices = [
        make_slice([round(ratio * (1 + noise) * reference_ns)], [reference_ns], [reference_ns])
        for noise in NOISE
    ]
    return make_session(slices, number=number, **changes)


def keep(store: Store, sessions: Sequence[SessionRecord]) -> None:
    for session in sessions:
        store.add_session(session)


def test_what_other_tests_estimate_once_is_what_is_estimated(store: Store) -> None:
    def check(coverage: float) -> None:
        found = latencies(store, CONFIGURATION, coverage=coverage)  # as tests/harness/conftest.py has it
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.store.latencies.latency_of", latency_of)
            patch.setattr("harness.store.latencies.scatter_of", scatter_of)
            assert latencies(store, CONFIGURATION, coverage=coverage) == found

    keep(store, [session_of(2.0), session_of(2.01), session_of(3.0, 2)])
    for coverage in (0.95, 0.5, 0.95):
        check(coverage)
    keep(store, [session_of(2.1), session_of(3.02, 2)])
    check(0.95)


def test_sessions_of_different_arithmetic_are_never_merged(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [f"2024-05-0{day}T00:00:00.000+00:00" for day in range(1, 6)]
    kinds = ("unknown", "fp16", "fp32", "fp16", "fp32")
    ratios = (2.0, 9.0, 2.0, 9.0, 2.0)
    keep(
        store,
        [session_of(r, started_utc=u, arithmetic=k) for r, u, k in zip(ratios, days, kinds, strict=True)],
    )
    keep(store, [session_of(3.0, 2)])
    (told, silent) = latencies(store, CONFIGURATION)
    print_latencies([told, silent])
    assert "arithmetic" not in capsys.readouterr().out, "it is the model's precision"
    assert (told.estimate.sessions, told.arithmetic, silent.arithmetic) == (3, "fp32", "fp32")
    assert told.estimate.ratio == pytest.approx(2.0, rel=0.02)
    keep(store, [session_of(9.0, started_utc="2024-05-06T00:00:00.000+00:00", arithmetic="fp16")])
    told = latencies(store, CONFIGURATION, [told.graph_hash])[0]
    assert (told.estimate.sessions, told.arithmetic) == (4, "fp16")  # the one that tells nothing is of either
    assert to_json([told])[0]["arithmetic"] == "fp16"
    print_latencies([told, silent])
    assert "arithmetic" in capsys.readouterr().out


def test_a_model_that_changed_under_its_name_is_the_one_measured_last_and_hides_no_other(
    store: Store,
) -> None:
    first, then = (f"2024-05-0{day}T00:00:00.000+00:00" for day in (1, 2))
    keep(store, [session_of(2.0, started_utc=first), session_of(2.0, started_utc=first), session_of(5.0, 2)])
    keep(store, [session_of(3.0, started_utc=then, model_digest="f" * 64)])
    changed, other = latencies(store, CONFIGURATION)
    assert (changed.estimate.sessions, other.estimate.sessions) == (1, 1)
    assert changed.estimate.ratio == pytest.approx(3.0, rel=0.01)


def test_a_row_carries_its_grade_its_doubts_and_the_median_of_each_session(store: Store) -> None:
    times = [f"2024-05-0{day}T00:00:00.000+00:00" for day in (1, 2, 3)]
    ratios = (
        2.0,
        2.004,
        1.998,
    )  # within 1 %, but the reference's latency is not known so well, nor how processes scatter
    keep(store, [session_of(r, started_utc=utc) for r, utc in zip(ratios, times, strict=True)])
    keep(store, [session_of(3.0, 2)])
    steady, lone = latencies(store, CONFIGURATION)
    assert (steady.grade, steady.findings) == ("C", ()), "within 4 %"
    center = 1 + float(np.median(NOISE))
    assert steady.session_medians == pytest.approx([r * center for r in ratios], rel=1e-6)
    assert steady.latency_ms == pytest.approx(20.0 * center, rel=1e-6)
    assert (lone.grade, [finding.kind for finding in lone.findings]) == ("C", ["one-session"])
    document = to_json([lone])[0]
    assert document["grade"] == "C"
    message, remedy = lone.findings[0].message, lone.findings[0].remedy
    assert document["findings"] == [{"kind": "one-session", "message": message, "remedy": remedy, "cap": "C"}]


def waited_in_most(session: SessionRecord) -> SessionRecord:
    """Return a session in three of whose four slices another program had the core."""
    slices = tuple(
        replace(piece, delays_ns=(REFERENCE_NS,) * len(piece.runs_ns)) if number % 4 else piece
        for number, piece in enumerate(session.slices)
    )
    return replace(session, slices=slices)


def test_sessions_that_the_estimate_leaves_out_do_not_tell_how_well_sessions_agree(store: Store) -> None:
    keep(store, [waited_in_most(session_of(9.0)), session_of(2.0), session_of(2.004)])
    (row,) = latencies(store, CONFIGURATION)
    assert row.estimate.sessions == 2
    assert row.session_medians == pytest.approx([2.0, 2.004], rel=0.01)


def test_sessions_that_the_estimate_leaves_out_move_no_wall_time_and_no_interval_of_others(
    store: Store,
) -> None:
    keep(store, [session_of(ratio, number) for number in (1, 2) for ratio in (2.0, 2.004)])
    (before, _) = latencies(store, CONFIGURATION)
    keep(store, [waited_in_most(session_of(9.0, number)) for number in (1, 1, 1, 2, 2, 2)])
    (after, _) = latencies(store, CONFIGURATION)
    assert after.wall == before.wall
    assert after.estimate == before.estimate


def test_a_latency_is_of_the_hours_of_the_sessions_that_make_the_estimate(store: Store) -> None:
    times = [f"2024-05-0{day}T00:00:00.000+00:00" for day in (1, 2, 3, 4)]
    first, *between, last = (session_of(2.0, started_utc=utc) for utc in times)
    keep(store, [waited_in_most(first), *between, waited_in_most(last)])
    (row,) = latencies(store, CONFIGURATION)
    assert row.started_utc == tuple(times[1:3]) and row.measured_utc == times[2]


def test_measuring_again_makes_good_what_throttled(store: Store) -> None:
    throttled = {"conditions_after": {"thermal_status": 3}}
    keep(store, [session_of(9.0, **throttled)])
    assert [row.grade for row in latencies(store, CONFIGURATION)] == ["D"]
    keep(store, [session_of(2.0), session_of(2.004)])
    (row,) = latencies(store, CONFIGURATION)
    assert row.grade == "C"
    assert [(one.kind, one.cap) for one in row.findings] == [("throttled", "A"), ("one-visit", "A")]
    assert row.estimate.ratio == pytest.approx(2.0, rel=0.01)


def test_what_was_throttled_or_a_calibration_enters_no_estimate(store: Store) -> None:
    keep(store, [session_of(2.0), session_of(2.0)])
    before = latencies(store, CONFIGURATION)
    keep(store, [session_of(9.0, purpose="throttled"), session_of(9.0, purpose="throttled", number=4)])
    keep(store, [session_of(9.0, purpose="contended"), session_of(9.0, purpose="contended", number=4)])
    assert latencies(store, CONFIGURATION) == before
    keep(store, [session_of(5.0, purpose="segment", number=5), session_of(0.5, purpose="calibration")])
    assert [row.estimate for row in latencies(store, CONFIGURATION)] == [row.estimate for row in before]
    assert latencies(store, CONFIGURATION, [graph_hash(4), graph_hash(5)]) == []
    assert [row.graph_hash for row in latencies(store, CONFIGURATION, purpose="segment")] == [graph_hash(5)]


@pytest.mark.parametrize(
    "change",
    [
        {"clock_tier": "A"},
        {"runtime_version": "2.0"},
        {"runtime": "tflite"},
        {"threads": 1},
        {"cores": (0, 1)},
    ],
)
def test_rows_of_other_clocks_runtimes_threads_or_cores_are_never_merged(
    store: Store, change: dict[str, Any]
) -> None:
    other = replace(CONFIGURATION, **change)
    slower = session_of(4.0, configuration=other, reference_ns=2 * REFERENCE_NS)
    keep(store, [session_of(2.0), session_of(2.0), slower])
    (ours,), (theirs,) = latencies(store, CONFIGURATION), latencies(store, other)
    assert (ours.configuration, ours.estimate.sessions) == (CONFIGURATION, 2)
    assert (theirs.configuration, theirs.estimate.sessions) == (other, 1)
    assert theirs.latency_ms / ours.latency_ms == pytest.approx(4.0, rel=1e-6)


def test_the_scatter_of_all_networks_widens_the_interval_of_one_session(store: Store) -> None:
    keep(store, [session_of(2.0)])
    (alone,) = latencies(store, CONFIGURATION)
    scattered = [(number, 3 + 0.1 * sign) for number in range(2, 12) for sign in (-1, 1)]
    keep(store, [session_of(ratio, number) for number, ratio in scattered])
    (pooled,) = latencies(store, CONFIGURATION, [graph_hash(1)])
    assert alone.estimate.interval is not None
    assert pooled.estimate.interval is not None
    assert pooled.latency_ms == pytest.approx(alone.latency_ms)
    assert width(pooled.estimate.interval) > 1.3 * width(alone.estimate.interval)


def width(interval: tuple[float, float]) -> float:
    return interval[1] - interval[0]


def test_without_networks_nothing_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, [session_of(2.0), session_of(2.0)])
    monkeypatch.setattr(Store, "sessions", None)
    assert latencies(store, CONFIGURATION, []) == []
    assert latencies(store, CONFIGURATION, [graph_hash(99)]) == []


def test_the_interval_in_ms_holds_the_uncertainty_of_the_reference_and_that_of_the_ratio_does_not(
    store: Store,
) -> None:
    keep(store, [session_of(2.0), session_of(2.0)])
    (row,) = latencies(store, CONFIGURATION)
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None
    assert reference.sd is not None
    assert row.estimate.interval is not None
    assert row.interval_ms is not None
    narrow = np.log(np.array(row.estimate.interval) / row.estimate.ratio)
    wide = np.log(np.array(row.interval_ms) / row.latency_ms)
    assert np.abs(wide) == pytest.approx(np.hypot(narrow, 1.96 * reference.sd), rel=1e-3)
    (half,) = latencies(store, CONFIGURATION, coverage=0.5)
    assert half.interval_ms is not None
    assert width(half.interval_ms) < width(row.interval_ms) / 2
    assert half.grade == row.grade


def test_the_grade_is_that_of_the_interval_in_ms(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, [session_of(2.0), session_of(2.0)])
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None
    for sd, expected in ((0.0, "B"), (0.02, "C"), (0.06, "D")):
        known = replace(reference, sd=sd, hour_sd=None)
        monkeypatch.setattr(Store, "reference_latency", lambda *_, known=known: known)
        assert [row.grade for row in latencies(store, CONFIGURATION)] == [expected]


def test_another_hour_makes_no_d_by_itself(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(store, [session_of(2.0), session_of(2.0)])
    reference = store.reference_latency(CONFIGURATION)
    assert reference is not None
    for sd, hour_sd, expected in ((0.06, 0.02, "C"), (0.06, 0.06, "D"), (0.01, 0.01, "B"), (0.02, 0.0, "C")):
        known = replace(reference, sd=sd, hour_sd=hour_sd)
        monkeypatch.setattr(Store, "reference_latency", lambda *_, known=known: known)
        (row,) = latencies(store, CONFIGURATION)
        assert row.grade == expected
        assert row.interval_ms is not None
        assert np.log(row.interval_ms[1] / row.latency_ms) >= 1.96 * sd, "what is printed holds another hour"


def test_a_network_without_a_clean_slice_has_no_latency_and_hides_no_other(store: Store) -> None:
    whole = session_of(3.0, 2)
    waited = tuple(replace(piece, delays_ns=(REFERENCE_NS,) * len(piece.runs_ns)) for piece in whole.slices)
    keep(store, [session_of(2.0), replace(whole, slices=waited)])
    assert [row.graph_hash for row in latencies(store, CONFIGURATION)] == [graph_hash(1)]
