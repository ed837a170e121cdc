"""What the names of a query mean: columns of one batch, and titles that tell configurations apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store

from harness.query.accuracies import AccuracySource
from harness.query.costs import cost_columns
from harness.query.latencies import LatencySource
from harness.query.query import Query
from harness.store import Store
from space import TINY

ONE = replace(MANY, space=TINY.name)
BATCH = replace(ONE, batch=8)
INT8 = replace(ONE, precision="int8", device="other")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with new_store(tmp_path_factory.mktemp("query") / "store.sqlite") as opened:
        for configuration in (ONE, BATCH, INT8):
            calibrate(opened, configuration)
            add_sessions(opened, networks(3, TINY), configuration, sessions=2)
        yield opened


def query(*costs: str, **source: object) -> Query:
    return Query(
        accuracies=AccuracySource(paths=("synthetic",)),
        latencies=LatencySource(measured_only=True, **source),  # type: ignore[arg-type]
        costs=costs,
    )


@pytest.mark.parametrize(
    ("name", "source", "meant"),
    [
        ("made*", {}, ["made-up"]),
        ("all", {}, ["made-up", "other"]),
        ("all:int8", {}, ["other"]),
        ("all:memory", {}, ["made-up:memory", "other:memory"]),
        ("made*", {"batch": 8}, ["made-up:batch8"]),
        ("made*:batch8", {}, ["made-up:batch8"]),
    ],
)
def test_a_pattern_means_runs_of_one_image_unless_a_batch_is_named(
    store: Store, name: str, source: dict[str, object], meant: list[str]
) -> None:
    assert query(**source).meant(store, name) == meant


def test_a_page_without_a_device_shows_latencies_of_one_batch(store: Store) -> None:
    assert query().with_all_costs(store, ("params",)).costs == ("made-up", "other", "params")
    assert query(batch=8).with_all_costs(store, ()).costs == ("made-up:batch8",)


def test_titles_tell_precision_and_batch_where_they_are_not_the_usual_ones(store: Store) -> None:
    names = ["made-up", "made-up:batch8", "other"]
    found, _ = cost_columns(store, TINY, [*names, "memory"], query().latencies)
    assert [found[name].title for name in names] == [
        "latency on made-up (onnxruntime)",
        "latency on made-up (onnxruntime, batch 8)",
        "latency on other (onnxruntime, int8)",
    ]
    assert "of one image in fp32" in found["memory"].title
