"""Predictions of a space: by what they are weighed, and as tables."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.stores import MANY, add_sessions, calibrate, new_store, stored

import harness
from harness.query.latencies import LatencySource, computed_latencies
from harness.store import Store
from space import DEEP, TINY
from space.errors import ArchitectureError, ConfigError
from space.selection import select_models


def test_latencies_do_not_depend_on_the_confidence_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(20, 0, False, TINY))
    with Store(str(path)) as store:
        configuration = replace(MANY, space=TINY.name)
        narrow, usual, wide = (
            computed_latencies(store, configuration, LatencySource(coverage=coverage))
            for coverage in (0.5, 0.95, 0.995)
        )
    np.testing.assert_array_equal(narrow.values, usual.values)
    np.testing.assert_array_equal(wide.values, usual.values)
    assert (narrow.high[~narrow.measured] < usual.high[~usual.measured]).all()


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("deep") / "store.sqlite"
    configuration = replace(MANY, space=DEEP.name)
    with new_store(path) as store:
        calibrate(store, configuration)
        add_sessions(store, select_models("design:1", DEEP)[:30], configuration)
    return path


def test_a_table_of_a_space_too_large_to_list_has_the_chosen_networks(deep: Path) -> None:
    pytest.importorskip("pandas")
    with Store(str(deep)) as store:
        table = harness.predict(store, device="made-up", models="sample:3@1")
        bare = harness.predict(store, device="made-up")
    frame = table.to_pandas()
    assert table.chosen is not None and frame["index"].tolist() == list(table.chosen)
    assert frame.latency_ms.tolist() == [row.latency_ms for row in table.rows(table.chosen)]
    with pytest.raises(ArchitectureError, match="--models"):
        bare.to_pandas()


def test_a_table_to_search_in_is_refused_of_a_space_too_large_to_list(deep: Path) -> None:
    with Store(str(deep)) as store:
        table = harness.predict(store, device="made-up")
    with pytest.raises(ConfigError, match=r"a table of accuracies and costs.*--objective"):
        harness.join("synthetic", [table])


def test_a_table_has_a_length_and_is_pickled(tmp_path: Path, deep: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(20, 0, False, TINY))
    with Store(str(path)) as store, Store(str(deep)) as large:
        tables = [
            harness.predict(store, device="made-up", threads=2, space=TINY),
            harness.predict(large, device="made-up", models="sample:3@1"),
            harness.predict(large, device="made-up"),
        ]
    assert [len(table) for table in tables] == [len(TINY), 3, 0]
    for table in tables:
        again = pickle.loads(pickle.dumps(table))  # noqa: S301 - of this test
        assert len(again) == len(table)
        assert again.rows([1, 2, 3]) == table.rows([1, 2, 3])
