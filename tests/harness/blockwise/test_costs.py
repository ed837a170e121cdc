"""Costs of a library's space: latencies of networks and of single blocks, and sums over blocks for spaces too large to list."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.block_libraries import BLOCKS, DEVICE, tiny_store
from factories.chains import additive_store, long_chain
from factories.deep_libraries import DEVICE as DEEP_DEVICE
from factories.deep_libraries import sampled_store
from factories.own_spaces import own_space
from factories.stores import REFERENCE_NS, true_ratio

from harness.blockwise.costs import block_latencies, space_costs
from harness.estimates.doubtful import Doubtful
from harness.query.latencies import LatencySource
from harness.query.properties import property_cost, property_sums
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from search.blockwise.choice import check_feasible
from search.blockwise.search import SearchPlan
from space import DEEP, TINY
from space.costs import all_macs, all_params
from space.errors import ConfigError
from space.indexing import available
from space.memory import all_memory
from space.segments import Segment, all_segments


def opened(tmp_path: Path, segments: bool) -> Store:
    path = tmp_path / "store.sqlite"
    path.write_bytes(tiny_store(segments))
    return Store(str(path))


def test_blocks_take_what_their_segments_were_measured_to_take(tmp_path: Path) -> None:
    store = opened(tmp_path, segments=True)
    found, _ = space_costs(store, TINY, ["made-up"], LatencySource(measured_only=True), lambda text: None)
    table, source = found.blocks["latency:made-up"], found.sources["latency:made-up"]
    store.close()
    assert source == "segments measured as models of their own"
    for stage in range(TINY.stages):
        reduction = true_ratio(Segment(kind="reduction", stage=stage, config=TINY), DEVICE)
        for place, block in enumerate(TINY.blocks):
            cell = true_ratio(Segment(kind="cell", stage=stage, block=block, config=TINY), DEVICE)
            assert table[stage, place] == pytest.approx((cell + reduction) * REFERENCE_NS / 1e6, rel=0.01)


def test_without_segments_blocks_take_what_they_add_to_networks_and_it_is_said(tmp_path: Path) -> None:
    store = opened(tmp_path, segments=False)
    found, _ = space_costs(store, TINY, ["made-up"], LatencySource(measured_only=True), lambda text: None)
    table, source = found.blocks["latency:made-up"], found.sources["latency:made-up"]
    store.close()
    assert source.startswith("the additive part of the networks' latencies")
    assert "0 of its segments are measured" in source
    assert (np.nanmin(table, axis=1) == 0).all()
    own = [place for place, block in enumerate(TINY.blocks) if block in BLOCKS]
    assert np.isfinite(table[:, own]).all()
    assert np.isnan(np.delete(table, own, axis=1)).all(), "of blocks in no measured network nothing is known"
    for stage in range(TINY.stages):
        true = np.array(
            [
                true_ratio(Segment(kind="cell", stage=stage, block=block, config=TINY), DEVICE)
                for block in BLOCKS
            ]
        )
        expected = (true - true.min()) * REFERENCE_NS / 1e6
        assert table[stage, own] == pytest.approx(expected, abs=0.1)


def test_segments_measured_on_their_own_make_the_latencies(tmp_path: Path) -> None:
    path = tmp_path / "segments.sqlite"
    path.write_bytes(sampled_store(DEEP, 15, segments=True))
    store = Store(str(path))
    found, provenance = space_costs(store, DEEP, ["made-up"], LatencySource(), lambda text: None)
    store.close()
    assert provenance["made-up"].predictor == "sum"
    assert found.sources["latency:made-up"] == "segments measured as models of their own"
    assert provenance["made-up"].configuration == DEEP_DEVICE


def test_a_candidate_that_was_never_measured_is_told_and_not_chosen(tmp_path: Path) -> None:
    space = long_chain()
    names = [name for name in map(str, space.sample(1000, seed=1)) if "k5" not in name][:30]
    path, lines = tmp_path / "store.sqlite", list[str]()
    path.write_bytes(additive_store(",".join(names), space))
    with Store(str(path)) as store:
        found, _ = space_costs(
            store,
            space,
            ["made-up"],
            LatencySource(choice=ConfigurationChoice(space=space.name)),
            lines.append,
        )
    (line,) = [line for line in lines if "site0:k5" in line]
    assert "in no measured network: networks with them are left out; --models design:1" in line
    k5 = np.arange(len(space.blocks)) == space.table.by_text["k5"]
    assert (np.isnan(found.blocks["latency:made-up"]) == k5).all()
    assert (np.isnan(found.known(np.ones(available(space).shape))) == k5).all()
    none = replace(found, unseen=available(space))
    with pytest.raises(ConfigError, match="no block of stage 0"):
        check_feasible((), space, none, SearchPlan(), confident=False)


@pytest.mark.parametrize("name", ["params", "macs", "memory", "onnx-size"])
@pytest.mark.converter
def test_sums_over_blocks_are_the_costs_of_every_network(name: str) -> None:
    counted = {"params": all_params, "macs": all_macs, "memory": all_memory}
    for config in (TINY, own_space()) if name in counted else (TINY,):
        listed = property_cost(name, config, lambda text: None)
        summed = property_sums(name, config, lambda text: None)
        assert [summed.at(index).value for index in range(len(config))] == listed.values.tolist()
        assert (summed.unit, summed.title) == (listed.unit, listed.title)
        if name in counted:
            assert listed.values.tolist() == counted[name](config).tolist()


def test_blocks_of_a_chain_take_what_the_segments_of_their_stage_take() -> None:
    config = own_space()
    segments = {str(one): 0.01 * (number + 1) for number, one in enumerate(all_segments(config))}
    table, source = block_latencies(config, segments, 2.0, lambda: np.zeros(()), "", Doubtful())
    assert source == "segments measured as models of their own"
    assert (np.isfinite(table) == available(config)).all()
    column = config.table.by_text
    # A fixed site goes with the choice before it; a candidate that gives back what it reads takes nothing.
    fixed = segments["segment:site3:basic"]
    assert np.isclose(table[2, column["mb"]], 2 * (segments["segment:site2:mb"] + fixed))
    assert np.isclose(table[2, column["skip"]], 2 * fixed)
    both = segments["segment:site4:basic"] + segments["segment:site5:basic"]
    assert np.isclose(table[3, column["basic"]], 2 * both) and table[3, column["skip"]] == 0
    del segments["segment:site5:basic"]
    effects = np.arange(available(config).size, dtype=np.float64).reshape(available(config).shape)
    table, source = block_latencies(config, segments, 2.0, lambda: effects, "the sums", Doubtful())
    assert source.startswith("the sums, over each stage's fastest block (8 of its segments are measured;")
    assert (np.isfinite(table) == available(config)).all() and (np.nanmin(table, axis=1) == 0).all()
