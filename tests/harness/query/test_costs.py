"""Limits on what networks take alone in fresh processes: measured where they are, and memory predicted elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from factories.records import make_fresh_run
from factories.stores import MANY, add_sessions, calibrate, networks, new_store, stored
from rigs.commands import refused, run

import harness
from harness.blockwise.costs import space_costs
from harness.prediction.fresh_costs import MeasuredCosts, all_measured_costs, measured_costs
from harness.query.costs import fresh_cost
from harness.query.latencies import LatencySource
from harness.store import Store
from harness.store.latencies import latencies
from search.latency.candidates import FEWEST, enough_models
from search.table import Cost
from space import BLOX, TINY, Architecture
from space.costs import all_params
from space.errors import ConfigError

IN_TINY = replace(MANY, space=TINY.name)
SEARCH = ("search", "-a", "synthetic", "-t", "2", "--space", TINY.name)
EMPTY_BYTES = 19e6
BYTES_A_PARAMETER = 12.0


def true_bytes(index: int, space: object = TINY) -> float:
    return EMPTY_BYTES + BYTES_A_PARAMETER * float(all_params(space)[index])  # type: ignore[arg-type]


def weigh(store: Store, architectures: Sequence[Architecture], configuration=IN_TINY, times: int = 3) -> None:
    """Store made-up fresh runs, which scatter by 0.2 % in memory and 2 % in time."""
    rng = np.random.default_rng(5)
    for number, one in enumerate(architectures):
        for _ in range(times):
            taken = true_bytes(one.index, one.config) * np.exp(rng.normal(0, 0.002))
            changes = {
                "architecture": str(one),
                "graph_hash": one.graph_hash,
                "model_digest": 2 * one.graph_hash,
            }
            load_ns = int(40e6 * np.exp(rng.normal(0, 0.02)))
            run = make_fresh_run(round(taken), configuration=configuration, number=number, load_ns=load_ns)
            store.add_fresh_run(replace(run, **changes))


@pytest.fixture
def cost_of(tmp_path: Path) -> Callable[..., Cost]:
    """Return a function that gives the cost of networks of TINY, so many of which were measured."""

    def of(count: int, name: str = "made-up:memory", times: int = 3, **source: object) -> Cost:
        with new_store(tmp_path / f"{count} {times}.sqlite") as store:
            if not store.fresh_runs(IN_TINY):
                weigh(store, TINY.sample(count, seed=1), times=times)
            return fresh_cost(store, name, IN_TINY, LatencySource(**source))[0]  # type: ignore[arg-type]

    return of


def test_memory_of_networks_that_were_not_measured_is_predicted_with_an_interval_that_holds_it(
    cost_of,
) -> None:
    cost = cost_of(20, coverage=0.9)
    truth = np.array([true_bytes(index) for index in range(len(TINY))])
    assert (cost.unit, cost.coverage, int(cost.measured.sum())) == ("bytes", 0.9, 20)
    others = ~cost.measured & cost.supported
    assert others.sum() > 20
    assert np.abs(cost.values[others] / truth[others] - 1).max() < 0.01
    inside = (cost.low <= truth) & (truth <= cost.high)
    assert inside[others].mean() >= 0.8
    assert inside[cost.measured].mean() >= 0.8
    assert (cost.high / cost.low)[cost.measured].max() < 1.02


def test_a_measured_network_has_the_median_of_its_processes(tmp_path: Path) -> None:
    (one,) = TINY.sample(1, seed=1)
    with new_store(tmp_path / "store.sqlite") as store:
        for taken in (30_000_000, 31_000_000, 50_000_000):
            run = make_fresh_run(
                taken,
                configuration=IN_TINY,
                architecture=str(one),
                graph_hash=one.graph_hash,
                model_digest=2 * one.graph_hash,
            )
            store.add_fresh_run(run)
        cost, provenance = fresh_cost(store, "x:memory", IN_TINY, LatencySource())
        assert cost.values[one.index] == 31_000_000
        assert cost.low is not None and cost.low[one.index] < 31_000_000 < cost.high[one.index]  # type: ignore[index]
        assert (provenance.measured, provenance.predicted) == (1, 0)
        again = make_fresh_run(
            29_000_000,
            configuration=IN_TINY,
            architecture=str(one),
            graph_hash=one.graph_hash,
            model_digest=2 * one.graph_hash,
        )
        store.add_fresh_run(again)  # what was computed before counts no more
        assert fresh_cost(store, "x:memory", IN_TINY, LatencySource())[0].values[one.index] == 30_500_000


@pytest.mark.parametrize(
    ("count", "name", "source"),
    [
        (20, "made-up:load", {}),
        (FEWEST - 1, "made-up:memory", {}),
        (20, "made-up:memory", {"measured_only": True}),
    ],
)
def test_what_is_not_predicted_is_known_of_measured_networks_alone(cost_of, count, name, source) -> None:
    cost = cost_of(count, name, **source)
    assert int(cost.measured.sum()) == count
    assert np.array_equal(~np.isnan(cost.values), cost.measured)
    assert np.array_equal(~np.isnan(cost.low), cost.measured)


def test_one_process_a_network_gives_no_interval_for_what_was_measured(cost_of) -> None:
    cost = cost_of(20, times=1)
    assert np.isnan(cost.low[cost.measured]).all()
    assert not np.isnan(cost.values).any() and not np.isnan(cost.low[~cost.measured]).any()


def test_a_search_finds_networks_within_a_limit_on_measured_memory(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(40, segments=False, config=TINY))
    with Store(str(path)) as store:
        weigh(store, networks(30, TINY))
    limits = ("-c", "made-up:memory<=50MB", "-c", "made-up:load<1s")
    done = run(path, *SEARCH, *limits, "--top", "30", "--json")
    assert done.status == 0, done.stderr
    rows = done.json["networks"]
    assert 0 < len(rows) <= 30  # a load time is known of these alone
    for row in rows:
        assert row["made-up:memory_bytes"] <= 50e6
        assert row["made-up:memory_source"] == row["made-up:load_source"] == "measured"
        assert abs(row["made-up:memory_bytes"] / true_bytes(row["index"]) - 1) < 0.01
        assert "made-up:load_grade" not in row
    assert any("made-up:load" in note and "not predicted" in note for note in done.json["notes"])
    text = run(path, *SEARCH, "-c", "made-up:onnxruntime:memory<=50MB", "--top", "1").stdout
    assert "MB .. " in text and "predicted by" in text


def test_a_search_from_python_has_the_limits_that_the_command_has_on_memory(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, IN_TINY)
        add_sessions(store, TINY.sample(30, seed=1), IN_TINY, sessions=2)
        weigh(store, TINY.sample(30, seed=1))
        table = harness.predict(store, device="made-up", space="tiny")
        whole, provenance = fresh_cost(store, "made-up:memory", IN_TINY, LatencySource(coverage=0.9))
    joined = harness.join("synthetic", table, costs=["params", "made-up:memory"])
    cost = joined.table.costs["made-up:memory"]
    assert (cost.unit, cost.coverage) == ("bytes", 0.9)
    assert np.array_equal(cost.values, whole.values) and np.array_equal(cost.high, whole.high)
    assert joined.provenance["made-up:memory"].measured == provenance.measured == 30
    limit = float(np.median(whole.values))
    answer = harness.search(joined, f"made-up:memory<={limit!r}B")
    assert len(answer) == ((whole.values <= limit) & joined.table.supported).sum() > 20
    assert "made-up:memory" not in harness.join("synthetic", table).table.costs  # only where it is asked for
    with pytest.raises(ConfigError, match=r"'made-up:energy' is unknown; did you mean 'made-up:memory'"):
        harness.join("synthetic", table, costs=["made-up:energy"])


def test_predict_shows_memory_and_load_where_they_are_measured(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(40, segments=False, config=TINY))
    measured, other = networks(30, TINY)[0], networks(60, TINY)[-1]
    asked = ("predict", "-d", "made-up", "-t", "2", "-m", f"{measured.index},{other.index}")
    before = run(path, *asked, "--json").json
    assert before["costs"] == {} and {row["memory_bytes"] for row in before["networks"]} == {None}
    with Store(str(path)) as store:
        weigh(store, networks(30, TINY))
    done = run(path, *asked, "--json")
    assert done.status == 0, done.stderr
    told = done.json["costs"]
    assert list(told) == ["memory", "load", "first-run"]
    assert (told["memory"]["measured"], told["memory"]["predicted"]) == (30, len(TINY) - 30)
    assert told["memory"]["error"] < 0.01 and told["load"]["predictor"] is None
    one, two = done.json["networks"]
    assert (one["memory_source"], two["memory_source"]) == ("measured", "predicted")
    for row in (one, two):
        assert row["memory_bytes"] == pytest.approx(true_bytes(row["index"]), rel=0.01)
        assert row["memory_low_bytes"] < row["memory_bytes"] < row["memory_high_bytes"]
    assert one["load_ms"] == pytest.approx(40, rel=0.1) and two["load_ms"] is None
    assert (one["fresh_first_run_ms"], one["energy_mj"]) == (9.0, None)
    lines = run(path, *asked, "--wide").stdout.splitlines()
    assert f"peak memory: 30 measured, {len(TINY) - 30:,} predicted (~) by" in "\n".join(lines)
    assert "load time: 30 measured, unknown of the others (which is not predicted)" in lines
    cells = {line.split()[0]: line.split() for line in lines if line.startswith((str(measured), str(other)))}
    assert cells[str(measured)][-3] == f"{one['memory_bytes'] / 1e6:.4g}"
    assert cells[str(other)][-1] == f"~{two['memory_bytes'] / 1e6:.4g}"


def test_predicted_memory_of_networks_unlike_any_that_was_weighed_is_told(tmp_path: Path) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(40, segments=False, config=TINY))
    op = networks(1, TINY)[0].blocks[0].ops[0]
    without = [one for one in networks(200, TINY) if op not in one.blocks[0].ops]
    with Store(str(path)) as store:
        weigh(store, without[:20])
        table = harness.predict(store, device="made-up", threads=2)
    sources = {index: table.at(index).memory_source for index in range(len(TINY))}
    far = [index for index, source in sources.items() if source == "predicted, far"]
    assert set(sources.values()) == {"measured", "predicted", "predicted, far"}
    assert all(op in one.blocks[0].ops for one in map(TINY.__getitem__, far))
    assert table.at(far[0]).supported, "its latency is like that of measured networks"
    lines = run(path, "predict", "-d", "made-up", "-t", "2", "-m", str(far[0]), "--wide").stdout.splitlines()
    (line,) = [line for line in lines if line.startswith(str(TINY[far[0]]))]
    assert line.endswith(" far") and "~" in line


@pytest.mark.parametrize(
    ("limit", "words"),
    [
        ("made-up:memory<50MB", ["no peak memory is measured", "--memory --models"]),
        ("made-up:memroy<50MB", ["'MB' does not fit", "did you mean 'made-up:memory'"]),
        ("made-up:laod<50ms", ["unknown runtime 'laod'", "did you mean 'made-up:load'"]),
        ("made-up:load<50MB", ["'MB' does not fit", "units: ns, us, ms, s"]),
        ("nowhere:memory<50MB", ["nowhere"]),
    ],
)
def test_a_limit_that_nothing_is_known_for_or_that_is_typed_wrong_names_its_remedy(
    tmp_path: Path, limit: str, words: list[str]
) -> None:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(40, segments=False, config=TINY))
    refused(run(path, *SEARCH, "-c", limit), *words)


def test_a_blockwise_search_says_that_it_has_no_such_limit(tmp_path: Path) -> None:
    with (
        new_store(tmp_path / "store.sqlite") as store,
        pytest.raises(ConfigError, match=r"blockwise.*--method"),
    ):
        space_costs(store, BLOX, ["made-up:memory"], LatencySource(), lambda text: None)


def test_latencies_that_are_too_few_to_predict_others_say_so_and_what_to_measure(tmp_path: Path) -> None:
    few = tmp_path / "few.sqlite"
    few.write_bytes(stored(8, 0, False, TINY))
    answer = run(few, "search", "--space", "tiny", "-a", "synthetic", "-c", "made-up<1s", "--json").json
    (note,) = (one for one in answer["notes"] if "no latency, measured or predicted" in one)
    assert "2,017 of 2,025 networks" in note
    assert "(predicted from 10 measured networks on); measure more: harness measure --device made-up" in note
    assert "--space tiny" in note and note.endswith(f"--models {enough_models(TINY)}")


def weighed(store: Store, memory_bytes: int, started_utc: str, **changes: object) -> None:
    """Store three fresh runs of the first network of TINY."""
    (one,) = TINY.sample(1, seed=1)
    for _ in range(3):
        run = make_fresh_run(memory_bytes, configuration=IN_TINY, started_utc=started_utc)
        named = {"architecture": str(one), "graph_hash": one.graph_hash, "model_digest": 2 * one.graph_hash}
        store.add_fresh_run(replace(run, **(named | changes)))


def test_processes_of_a_model_that_has_changed_since_do_not_count(tmp_path: Path) -> None:
    (one,) = TINY.sample(1, seed=1)
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, IN_TINY)
        add_sessions(store, [one], IN_TINY)
        weighed(store, 90_000_000, "2024-05-01T00:00:00.000+00:00", model_digest="0" * 64)
        (row,) = latencies(store, IN_TINY)
        assert row.memory_bytes is None and measured_memory(store) is None, "it is another model's"
        weighed(store, 30_000_000, "2024-05-02T00:00:00.000+00:00")
        weighed(store, 60_000_000, "2024-05-03T00:00:00.000+00:00", model_digest="1" * 64)
        cost, _ = fresh_cost(store, "x:memory", IN_TINY, LatencySource())
        (row,) = latencies(store, IN_TINY)
    assert cost.values[one.index] == row.memory_bytes == 30_000_000


def measured_memory(store: Store) -> MeasuredCosts | None:
    return measured_costs(store, IN_TINY, "memory", TINY, coverage=0.9)


def test_of_a_network_without_a_latency_the_memory_of_its_last_model_counts(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as store:
        weighed(store, 90_000_000, "2024-05-01T00:00:00.000+00:00", model_digest="0" * 64)
        weighed(store, 30_000_000, "2024-05-02T00:00:00.000+00:00", model_digest="1" * 64)
        found = measured_memory(store)
    assert found is not None and found.values.tolist() == [30_000_000]


def test_a_peak_that_holds_what_putting_the_model_together_took_is_no_memory_of_it(tmp_path: Path) -> None:
    (one,) = TINY.sample(1, seed=1)
    with new_store(tmp_path / "store.sqlite") as store:
        calibrate(store, IN_TINY)
        add_sessions(store, [one], IN_TINY)
        weighed(store, 90_000_000, "2024-05-01T00:00:00.000+00:00", is_reset=False)
        (row,) = latencies(store, IN_TINY)
        assert row.memory_bytes is None and row.load_ms == 20.0
        with pytest.raises(ConfigError, match=r"no peak memory is measured.*lets no peak begin anew"):
            fresh_cost(store, "x:memory", IN_TINY, LatencySource())
        load, _ = fresh_cost(store, "x:load", IN_TINY, LatencySource())
        assert load.values[one.index] == 20.0
        table = all_measured_costs(store, IN_TINY, TINY, coverage=0.9, doubtful=False, failed={})
    assert list(table) == ["load", "first-run"]
