"""Networks of a space of one's own that several names are of: found once, with what was measured by any of the names."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from factories.chains import additive_store, long_chain
from factories.own_spaces import own_space
from factories.records import make_fresh_run
from factories.stores import MANY, add_sessions, calibrate, new_store

from harness.blockwise.costs import space_costs
from harness.prediction.bench_files import file_latency, latency_files, write_bench_files
from harness.prediction.fresh_costs import measured_costs
from harness.prediction.request import BenchRequest
from harness.prediction.space_latencies import of_equals
from harness.prediction.space_prediction import predict, summary
from harness.query import by_objective, join, search
from harness.query.accuracies import AccuracySource
from harness.query.by_objective import search_by_objective
from harness.query.compare import compare
from harness.query.latencies import LatencySource, stored_latency
from harness.query.properties import property_cost, property_sums
from harness.query.query import Query
from harness.query.sums import cost_sums
from harness.store import Store
from harness.store.configurations import ConfigurationChoice
from harness.store.latencies import latencies
from search.blockwise.by_integer_program import choose, ranked
from search.blockwise.finalists import from_list
from search.blockwise.search import SearchPlan, choose_listed, predicted_table
from search.table import Cost
from search.table.constraints import parse_constraint
from search.table.synthetic import synthetic_accuracies
from space import TINY, Architecture, Space, find_space
from space.errors import ConfigError
from space.hash_table import first_equals, is_first
from space.indexing import FloatArray, IndexArray, available, block_indices, blocks_of

TEXTS = ("mb/mb/skip/basic", "mb/skip/mb/basic")  # of one network


@pytest.fixture(scope="module")
def names() -> tuple[Architecture, Architecture]:
    """Return the first and the other name, in the order of the space."""
    first, other = sorted(
        (Architecture.parse(text, own_space()) for text in TEXTS), key=lambda one: one.index
    )
    return first, other


@pytest.fixture(params=TEXTS)
def named(request: pytest.FixtureRequest) -> Architecture:
    """Return the name that was measured."""
    return Architecture.parse(request.param, own_space())


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
    assert is_first(config) is is_first(config), "computed once"
    assert distinct < len(config)
    answer = search.search(table, ["params<1M"])
    assert len(answer) == answer.answer.standings[0].met == distinct
    assert len({row["graph_hash"] for row in answer}) == distinct
    assert table.notes == (
        f"{len(config) - distinct} of {len(config)} names are of networks that have an earlier one, by which each is found",
    )


def test_what_was_measured_by_another_name_counts(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    with measured_by(named, tmp_path) as store:
        predicted = predict(store, device="made-up")
    with pytest.raises(ConfigError, match="the accuracies are of space 'tiny' and the table of"):
        join.join(synthetic_accuracies(TINY), [predicted])
    cost = join.join(accuracies(tmp_path), [predicted]).table.costs["made-up"]
    row = predicted.at(named)
    assert cost.measured is not None and cost.measured[[one.index for one in names]].all()
    assert cost.values[names[0].index] == pytest.approx(row.latency_ms) and row.source == "measured"
    assert not np.isnan(cost.values).any()


def test_two_names_of_one_network_are_not_compared(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    with (
        measured_by(named, tmp_path) as store,
        pytest.raises(ConfigError, match="are the same network"),
    ):
        compare(store, *names, device="made-up")


def test_a_search_by_objective_shows_a_network_once_and_as_it_was_measured(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        taken = predict(store, device="made-up").at(named).latency_ms
        for factor, is_in in ((0.999, False), (1.001, True)):
            found = search_by_objective(store, query(config, taken * factor), "params", len(config))
            shown = [config[index].graph_hash for index in found.within]
            assert len(set(shown)) == len(shown), "each network once"
            assert (named.graph_hash in shown) is is_in, "what was measured by another name counts"
            for network in names:
                cost = found.costs["made-up"].at(network.index)
                assert cost.is_measured and cost.value == pytest.approx(taken)
                assert found.is_within(network.index) is is_in
        (other,) = set(names) - {named}
        predicted = found.costs["made-up"].totals[0].of(blocks_of(config, other.index))
        around = (
            parse_constraint(f"made-up<{predicted * 1.00001:.9f}ms"),
            parse_constraint(f"made-up>{predicted * 0.99999:.9f}ms"),
        )
        with pytest.raises(
            ConfigError, match=r"no network is within .*; the nearest is .*: it takes made-up "
        ):
            search_by_objective(store, replace(query(config, 1), constraints=around), "params", 3)


def test_finalists_are_within_the_limits_by_what_was_measured_by_any_name(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        costs, _ = cost_sums(
            store, config, ["made-up"], LatencySource(choice=ConfigurationChoice(space=config.name)), print
        )
    (other,) = set(names) - {named}
    taken = costs["made-up"].at(named.index).value
    scores = np.where(available(config), 0.0, np.nan)
    scores[np.arange(config.stages), blocks_of(config, other.index)] += 1  # the best of all
    for factor, is_in in ((0.999, False), (1.001, True)):
        limit = parse_constraint(f"made-up<{taken * factor:.9f}ms")
        found = choose(config, scores, costs, [limit], 3).indices(config)
        assert (other.index in found) is is_in
        assert len(found) == 3 and all(costs["made-up"].at(one).value < limit.limit for one in found)


@pytest.mark.parametrize("distance", [1, 2])
def test_no_two_finalists_of_a_blockwise_search_are_one_network(distance: int) -> None:
    config = find_space(own_space())
    rng = np.random.default_rng(4)
    scores = np.where(available(config), rng.normal(size=(config.stages, len(config.blocks))), np.nan)
    macs = property_sums("macs", config)
    limit = [parse_constraint("macs<200k")]
    summed = choose(config, scores, {"macs": macs}, limit, 30, distance=distance, distinct=True)

    def predict(indices: IndexArray) -> FloatArray:
        picked: FloatArray = scores[np.arange(config.stages), block_indices(config, indices)].sum(axis=1)
        return picked

    table = predicted_table(
        config, predict, {"macs": property_cost("macs", config)}, metric="made up", origin=(), synthetic=True
    )
    plan = SearchPlan(finalists=30, distance=distance)
    listed, count = choose_listed(table, limit, plan)
    allowed = [one for one in config if one.macs < 200_000]
    assert count == len({one.graph_hash for one in allowed}) < len(allowed)
    for found in (summed, listed):
        hashes = [config[index].graph_hash for index in found.indices(config)]
        assert len(hashes) == len(set(hashes)) == min(30, count)
    pool = from_list(block_indices(config, np.arange(len(config))), np.zeros(len(config)), 30, distance=1)
    best = ranked(config, pool, predict, 30)
    keys = [config[index].graph_hash for index in best.indices(config)]
    assert len(keys) == len(set(keys)) == len({config[i].graph_hash for i in pool.indices(config)})


def test_a_blockwise_search_takes_what_was_measured_by_another_name(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        costs, _ = space_costs(
            store, config, ["made-up"], LatencySource(choice=ConfigurationChoice(space=config.name)), print
        )
    assert all(costs.costs["made-up"].at(one.index).is_measured for one in names)


def test_a_prediction_tells_the_same_of_a_network_by_all_its_names(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        table = predict(store, device="made-up")
    rows = [(row.architecture, row.index, row) for row in table.rows()]
    assert [(text, index) for text, index, _ in rows] == [(str(one), one.index) for one in config]
    for network in names:
        row = table.at(network)
        assert row == rows[network.index][2]
        assert replace(row, architecture="", index=0) == replace(table.at(named), architecture="", index=0)
        assert (row.source, row.architecture) == ("measured", str(network))


def test_the_fastest_and_slowest_are_each_one_network_by_what_was_measured(
    named: Architecture, tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        table = predict(store, device="made-up")
    first = first_equals(config)
    fastest, slowest = table.ends(int(is_first(config).sum()))
    assert fastest == slowest and sorted(fastest) == sorted(set(first.tolist()))
    told = [row.latency_ms for row in table.rows(fastest)]
    assert told == sorted(told)


def test_networks_unlike_any_measured_one_are_counted_and_not_their_names(
    named: Architecture, tmp_path: Path
) -> None:
    config = find_space(own_space())
    with measured_by(named, tmp_path) as store:
        table = predict(store, device="made-up")
    assert table.everywhere is not None
    nowhere = np.zeros(len(config), dtype=np.bool_)
    table = replace(table, everywhere=replace(table.everywhere, supported=nowhere))
    assert summary(table)["unsupported_networks"] == len({one.graph_hash for one in config}) < len(config)


def test_what_else_was_measured_of_a_network_counts_for_all_its_names(
    names: tuple[Architecture, Architecture],
) -> None:
    first = first_equals(own_space())
    values = np.arange(len(first), dtype=np.float64)
    measured = values == names[1].index
    cost = Cost(name="memory", unit="bytes", title="", values=values, measured=measured)
    assert of_equals(cost, first).values[names[0].index] == names[1].index


def test_what_is_measured_and_predicted_is_counted_by_networks(
    named: Architecture, names: tuple[Architecture, Architecture], tmp_path: Path
) -> None:
    config = find_space(own_space())
    networks = len({one.graph_hash for one in config})
    with measured_by(named, tmp_path) as store:
        (configuration,) = store.configurations()
        rows = len(latencies(store, configuration))
        source = LatencySource(choice=ConfigurationChoice(space=config.name))
        _, provenance = stored_latency(store, "made-up", configuration, source, print)
        assert (provenance.measured, provenance.predicted) == (rows, networks - rows)
        _, sums = cost_sums(store, config, ["made-up"], source, print)
        assert sums["made-up"].provenance.predicted == networks - rows
        written = write_bench_files(
            store, ConfigurationChoice(device="made-up"), BenchRequest(folder=tmp_path, formats=("csv",))
        )
        _, told = file_latency(written.paths[0], "made-up", config)
        assert (told.measured, told.predicted) == (rows, networks - rows)
        assert latency_files(written.paths[:1]) == {"made-up": written.paths[0]}
        for network in names:  # in fresh processes, by both names
            fresh = {
                "architecture": str(network),
                "graph_hash": network.graph_hash,
                "model_digest": 2 * network.graph_hash,
            }
            store.add_fresh_run(make_fresh_run(20_000_000, configuration=configuration, **fresh))
        found = measured_costs(store, configuration, "memory", config, coverage=0.9)
    assert found is not None and len(found.indices) == 1


def test_a_prediction_in_a_large_space_tells_the_same_by_all_names(tmp_path: Path) -> None:
    config = long_chain()
    path = tmp_path / "store.sqlite"
    path.write_bytes(additive_store("sample:40", config))
    with Store(str(path)) as store:
        table = predict(store, device="made-up")
    texts = [row.architecture for row in table.measured.rows]
    text = next(one for one in texts if "skip/k" in one and not one.startswith("skip"))
    other = "/".join(sorted(text.split("/"), key=lambda one: one == "skip"))
    assert other != text
    assert replace(table.at(other), architecture="", index=0) == replace(
        table.at(text), architecture="", index=0
    )
    assert table.at(other).source == "measured"


def test_finalists_are_other_networks_and_not_other_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = long_chain()
    path = tmp_path / "store.sqlite"
    path.write_bytes(additive_store("sample:40", config))
    with Store(str(path)) as store:
        found = search_by_objective(store, query(config, 3.6), "params", 10)
        monkeypatch.setattr(by_objective, "MOST_LOOKED_AT", 40)
        fewer = search_by_objective(store, query(config, 3.6), "params", 10)
    assert len({config[index].graph_hash for index in found.within}) == len(found.within) == 10
    assert not found.notes and fewer.within == found.within[: len(fewer.within)]
    assert "the 40 names of the largest sums are of no more such networks" in fewer.notes[-1]


def measured_by(named: Architecture, folder: Path) -> Store:
    """Return a store with a network measured by one of its names, and with others."""
    path = folder / "store.sqlite"
    path.write_bytes(measured_file(str(named)))
    return Store(str(path))


@cache
def measured_file(text: str) -> bytes:
    """Return the file of such a store."""
    config, named = find_space(own_space()), Architecture.parse(text, own_space())
    configuration = replace(MANY, space=config.name)
    others = [one for one in config.sample(20, seed=1) if one.graph_hash != named.graph_hash]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "store.sqlite"
        with new_store(path) as store:
            calibrate(store, configuration)
            add_sessions(store, [*others, named], configuration, sessions=2)
        return path.read_bytes()


def query(config: Space, most_ms: float) -> Query:
    limit = parse_constraint(f"made-up<{most_ms:.9f}ms")
    return Query(
        accuracies=AccuracySource(paths=()),
        latencies=LatencySource(choice=ConfigurationChoice(space=config.name)),
        costs=("made-up",),
        constraints=(limit,),
        with_far=True,
    )
