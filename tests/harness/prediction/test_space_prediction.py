"""Predictions of a space: by what they are weighed, and as tables."""

from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.own_spaces import lone_space
from factories.stores import MANY, add_sessions, calibrate, new_store, stored

import harness
from harness.prediction.space_prediction import load_measured, predict_space
from harness.query.latencies import LatencySource, computed_latencies
from harness.query.sums import latency_sums
from harness.store import Store
from space import DEEP, TINY, find_space
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


def test_how_far_sessions_of_a_network_lie_apart_is_pooled_over_networks_that_have_several(
    tmp_path: Path,
) -> None:
    path, configuration = tmp_path / "store.sqlite", replace(MANY, space=TINY.name)
    with new_store(path) as store:
        calibrate(store, configuration)
        models = select_models("sample:30@1", TINY)
        add_sessions(store, models, configuration, scatter=0.0)
        assert load_measured(store, configuration).session_sd == 0.0, "one session each tells nothing"
        add_sessions(store, models[:12], configuration, scatter=0.03, sessions=6, seed=1)
        space = predict_space(store, configuration)
        sums = latency_sums(store, "made-up", configuration, TINY, LatencySource(), print)
    assert space.measured.session_sd == pytest.approx(0.03 * (5 / 6) ** 0.5, rel=0.25), (
        "one of seven does not scatter"
    )
    for predictor in (space.predictor, sums.fitted.predictor):
        scores = np.sqrt(np.square(predictor.scores).mean())
        assert scores == pytest.approx(space.measured.session_sd), "their medians lie closer together"


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


def test_of_a_space_measured_whole_nothing_more_is_asked_for(tmp_path: Path) -> None:
    space = find_space(lone_space())
    configuration = replace(MANY, space=space.name)
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, configuration)
        add_sessions(store, space[:1], configuration)
        with pytest.raises(ConfigError, match=r"too few .*measure more: harness measure"):
            harness.predict(store, device="made-up")
        add_sessions(store, space[1:], configuration)
        with pytest.raises(ConfigError, match=r"too few .*all that its space has.*need no predictor"):
            harness.predict(store, device="made-up")
