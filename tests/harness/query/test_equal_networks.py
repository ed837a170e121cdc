"""Networks of a space of one's own that several names are of: found once, with what was measured by any of the names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.own_spaces import own_space
from factories.stores import MANY, add_sessions, calibrate, new_store

from harness.prediction.space_prediction import predict
from harness.query import join, search
from space import Architecture, find_space
from space.hash_table import is_first

FIRST, OTHER = (Architecture.parse(text, own_space()) for text in ("mb/mb/skip/basic", "mb/skip/mb/basic"))
if OTHER.index < FIRST.index:
    FIRST, OTHER = OTHER, FIRST


def accuracies(folder: Path) -> str:
    path = folder / "synthetic.csv"
    path.write_text(
        "network,top1\n" + "".join(f"{one},{50 + len(set(str(one).split('/')))}\n" for one in own_space())
    )
    return str(path)


def test_a_search_finds_a_network_of_several_names_once(tmp_path: Path) -> None:
    config = find_space(own_space())
    table = join.join(accuracies(tmp_path), costs=["params"], space=config)
    distinct = int(is_first(config).sum())
    assert distinct < len(config)
    answer = search.search(table, ["params<1M"])
    assert len(answer) == answer.answer.standings[0].met == distinct
    assert len({row["graph_hash"] for row in answer}) == distinct
    assert table.notes == (
        f"{len(config) - distinct} of {len(config)} names are of networks that have an earlier one, by which they are found",
    )


@pytest.mark.parametrize("named", [FIRST, OTHER])
def test_what_was_measured_by_another_name_counts(named: Architecture, tmp_path: Path) -> None:
    config = find_space(own_space())
    configuration = replace(MANY, space=config.name)
    others = [one for one in config.sample(20, seed=1) if one.graph_hash != named.graph_hash]
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, configuration)
        add_sessions(store, [*others, named], configuration, sessions=2)
        predicted = predict(store, device="made-up")
    cost = join.join(accuracies(tmp_path), [predicted]).table.costs["made-up"]
    row = predicted.at(named)
    assert cost.measured is not None and cost.measured[[FIRST.index, OTHER.index]].all()
    assert cost.values[FIRST.index] == pytest.approx(row.latency_ms) and row.source == "measured"
    assert not np.isnan(cost.values).any()
