"""Runs under load from Python: what is asked for, a row a minute, and a device that is away."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from factories.records import make_block, make_block_run, make_failure

from harness.errors import DeviceError
from harness.estimates.sustained import sustained
from harness.measurement.campaign import Outcome
from harness.prediction import under_load
from harness.prediction.measure import Measured
from harness.store import Store
from space.errors import ConfigError

RUN = make_block_run(
    [
        block
        for at in range(6)
        for block in (
            make_block("reference", 60 * at + 5, 1, [8.0] * 12),
            make_block("network", 60 * at + 6, 59, [4.0 + at] * 60),
        )
    ]
)


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store("sqlite://")
    yield store
    store.close()


def answer(monkeypatch: pytest.MonkeyPatch, found: Measured) -> list[Any]:
    """Let a measurement come to this; return the requests that it was asked for."""
    asked: list[Any] = []
    monkeypatch.setattr(under_load, "measure_devices", lambda request, *_: asked.append(request) or found)
    return asked


def test_a_run_has_a_row_a_minute_and_its_failures_beside_it(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = Outcome(device="local", failures=[make_failure()])
    asked = answer(monkeypatch, Measured(outcomes=(outcome,), sustained=(sustained(RUN),)))
    runs = under_load.sustain("local", "conv/conv/conv", "6m", store=store, batch=(1, 8), threads=2)
    (request,) = asked
    assert (request.sustained_s, request.batches, request.threads) == (360.0, (1, 8), 2)
    rows, columns = runs.to_records()
    assert [row["median_ms"] for row in rows] == pytest.approx([4.0, 5.0, 6.0, 7.0, 8.0, 9.0])
    assert all(set(row) == set(columns) for row in rows)
    assert {(row["device"], row["architecture"], row["signs"]) for row in rows} == {
        ("made-up", "network 1", "")
    }
    assert (len(runs), len(runs.failures), runs[0].run) == (1, 1, RUN)


def test_a_device_that_is_away_and_no_time_are_errors(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    answer(monkeypatch, Measured(outcomes=(Outcome(device="local", error=DeviceError("away")),)))
    with pytest.raises(DeviceError, match="away"):
        under_load.sustain("local", "conv/conv/conv", "6m", store=store)
    with pytest.raises(ConfigError, match="duration = ''"):
        under_load.sustain("local", "conv/conv/conv", "", store=store)
