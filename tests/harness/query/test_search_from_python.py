"""Join, search and compare as functions: the same answers as the commands give, as rows and tables of plain values."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store, stored
from factories.tables import made_cost, made_table
from rigs.commands import run
from rigs.examples import run_example

from harness.dataframe import Tabular
from harness.models.results import results
from harness.prediction.space_prediction import SpaceTable, predict
from harness.query import compare, join, search
from harness.query.answer import ParetoFront, SearchAnswer
from harness.query.from_store import search_store
from harness.query.join import SearchTable
from harness.store import Store
from search.methods.method import Problem
from search.methods.registry import SearchMethod
from search.table.constraints import Constraint, parse_constraint
from search.table.synthetic import synthetic_accuracies
from space import BLOX, MINI, TINY, Architecture
from space.dataset import bench_dataset, write_dataset
from space.errors import ConfigError
from space.indexing import FloatArray, IndexArray


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "store.sqlite"
    path.write_bytes(stored(30, 12, segments=False))
    return path


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    with Store(str(path)) as opened:
        yield opened


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> SpaceTable:
    path = tmp_path_factory.mktemp("predicted") / "store.sqlite"
    path.write_bytes(stored(30, 12, segments=False))
    with Store(str(path)) as opened:
        return predict(opened, device="made-up", threads=2)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> SpaceTable:
    with new_store(tmp_path_factory.mktemp("tiny") / "store.sqlite") as opened:
        configuration = replace(MANY, space=TINY.name)
        calibrate(opened, configuration)
        add_sessions(opened, TINY.sample(14, seed=1), configuration, sessions=2)
        return predict(opened, device="made-up")


@pytest.mark.slow
def test_a_search_over_predictions_has_the_rows_of_the_command(path: Path, predicted: SpaceTable) -> None:
    table = join.join("synthetic", [predicted], costs=["params"])
    answer = search.search(table, ["made-up<5ms", "params<3M"])
    limits = ("-c", "made-up<5ms", "-c", "params<3M", "-t", "2")
    done = run(path, "search", "-a", "synthetic", *limits, "--top", "7", "--json")
    assert done.status == 0, done.stderr
    shown = [{k: v for k, v in row.items() if k != "ties_with_best"} for row in done.json["networks"]]
    assert answer[:7] == shown
    assert len(answer) == done.json["networks_within_limits"]
    assert str(answer.best) == shown[0]["architecture"]


def test_a_confident_search_lets_the_far_end_of_each_interval_meet_the_limit(predicted: SpaceTable) -> None:
    table = join.join("synthetic", {"phone": predicted}, costs=[])
    every = search.search(table, ["phone<5ms"])
    sure = search.search(table, [parse_constraint("phone<5ms")], confident=True)
    assert 0 < len(sure) < len(every)
    assert all(float(str(row["phone_high_ms"])) < 5 for row in sure[:50])


def test_a_method_evaluates_as_many_networks_as_its_budget_has() -> None:
    answer = search.search(join.join("synthetic"), ["params<3M"], method="random", budget=30, seed=1)
    assert answer.trace is not None
    assert len(answer) == len(answer.trace.indices) == 30
    assert answer.best.index == answer[0]["index"]


def test_a_front_holds_the_cheapest_and_the_most_accurate_network() -> None:
    answer = search.search(join.join("synthetic", costs=["params"]), ["params<2M"])
    front = answer.front("params")
    assert front[-1]["index"] == answer.best.index
    assert front[0]["params"] == min(row["params"] for row in answer[:])  # type: ignore[type-var]
    assert [row["index"] for row in front] == front.front.indices.tolist()
    assert answer.front(["params", "params"]).hypervolume == front.hypervolume
    assert 0 < front.hypervolume < 1


def test_networks_that_were_measured_after_a_search_alone_are_its_rows() -> None:
    found = search.search(join.join("synthetic"), ["params<2M"])
    last = int(found.indices[-1])
    verified = SearchAnswer(table=found.table, answer=found.answer, verified=frozenset({last}))
    assert verified.indices.tolist() == [last] and len(verified) == 1
    nothing = SearchAnswer(table=found.table, answer=found.answer, verified=frozenset({10**6}))
    assert len(nothing) == len(found)


def test_nothing_within_the_limits_is_refused_with_the_nearest_network() -> None:
    with pytest.raises(
        ConfigError, match=r"no network meets params<1M; the nearest is .*: it takes params 1\.718M"
    ):
        search.search(join.join("synthetic"), ["params<1M"])
    with pytest.raises(ConfigError, match="no cost 'pixel'"):
        search.search(join.join("synthetic"), ["pixel<8ms"])


def test_accuracies_of_ones_own_choose_the_space() -> None:
    table = join.join(synthetic_accuracies(TINY, 3), costs=["macs"])
    assert table.table.config is TINY
    assert len(search.search(table)) == len(TINY)


def test_costs_that_are_none_and_latencies_by_a_property_s_name_are_refused(predicted: SpaceTable) -> None:
    with pytest.raises(
        ConfigError, match=r"'parms' is unknown; did you mean 'params'\? \(known: params, macs"
    ):
        join.join("synthetic", costs=["parms"])
    for name in ("params", "phone:memory", "phone:energy", ""):
        with pytest.raises(ConfigError, match=f"'{name}' is a property of networks, or no name"):
            join.join("synthetic", {name: predicted}, costs=[])


def test_latencies_of_one_device_twice_are_told_apart_by_names_that_one_gives(predicted: SpaceTable) -> None:
    with pytest.raises(ConfigError, match="several latencies of 'made-up'; name them"):
        join.join("synthetic", [predicted, predicted])
    table = join.join("synthetic", {"a": predicted, "b": predicted}, costs=[])
    assert list(table.table.costs) == ["a", "b"]


def test_a_column_has_one_meaning(path: Path, predicted: SpaceTable, store: Store) -> None:
    refusal = "'a_low_ms' would be the latency of one and an end of the other's interval"
    with pytest.raises(ConfigError, match=refusal):
        join.join("synthetic", {"a": predicted, "a_low": predicted})
    for device in ("made-up_low", "made-up_high"):
        configuration = replace(MANY, device=device)
        calibrate(store, configuration)
        add_sessions(store, networks(3), configuration)
        with pytest.raises(ConfigError, match=f"'{device}_ms' would be the latency of one"):
            search_store(store, "synthetic", device=[device, "made-up"], threads=2)
    assert len(search_store(store, "synthetic", "made-up_low<1s", measured_only=True)) == 3


@pytest.mark.parametrize("limit", [0.0, -1.0])
def test_a_limit_that_no_network_can_meet_is_refused(limit: float) -> None:
    table = join.join("synthetic", costs=["params"])
    with pytest.raises(ConfigError, match="is not above 0"):
        search.search(table, Constraint(subject="params", relation="<", limit=limit, unit=""))


def test_two_networks_are_compared_as_the_command_does(path: Path, store: Store) -> None:
    first, second = (str(one) for one in networks(2))
    found = compare.compare(store, first, second, device="made-up")
    done = run(path, "compare", first, second, "--device", "made-up", "--json")
    assert done.status == 0, done.stderr
    assert json.loads(json.dumps([pair.to_json() for pair in found])) == done.json
    assert len(found) == 2 and not found.not_measured


def test_what_one_configuration_lacks_is_told_beside_the_others(store: Store) -> None:
    first, second = str(networks(1)[0]), str(networks(30)[-1])
    found = compare.compare(store, first, second, device="made-up")
    assert len(found) == 1
    assert list(found.not_measured.values()) == [(second,)]


def test_every_table_becomes_a_data_frame_and_an_arrow_table(store: Store, tiny: SpaceTable) -> None:
    pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    table = join.join("synthetic", [tiny])
    answer = search.search(table, ["made-up<6ms"])
    front = answer.front(["made-up", "params"])
    first, second = (str(one) for one in networks(2))
    tables: list[Tabular] = [
        results(store), tiny, table, answer, front, compare.compare(store, first, second, device="made-up"),
    ]  # fmt: skip
    counts = [42, len(TINY), len(TINY), len(answer), len(front), 2]
    for one, count in zip(tables, counts, strict=True):
        frame, arrow = one.to_pandas(), one.to_arrow()
        assert len(frame) == arrow.num_rows == count, one
        assert list(frame.columns) == arrow.column_names
        assert [name for name in frame.columns if "latency" in name and not name.endswith("_ms")] == []
    empty = ParetoFront(table=table, front=replace(front.front, indices=front.front.indices[:0]))
    assert empty.to_arrow().column_names == front.to_arrow().column_names


def test_answers_become_data_frames_with_units_in_their_columns(store: Store, predicted: SpaceTable) -> None:
    pytest.importorskip("pandas")
    answer = search.search(join.join("synthetic", [predicted]), ["made-up<3ms"])
    frame = answer.to_pandas()
    assert len(frame) == len(answer)
    assert {"made-up_ms", "made-up_low_ms", "made-up_grade", "memory_bytes"} <= set(frame.columns)
    first, second = (str(one) for one in networks(2))
    pairs = compare.compare(store, first, second, device="made-up").to_pandas()
    each = [
        f"{which}_{name}" for which in ("first", "second") for name in ("ms", "low_ms", "high_ms", "grade")
    ]
    assert list(pairs.columns) == [
        "device",
        "configuration",
        "verdict",
        "reason",
        "ratio",
        "low",
        "high",
        *each,
    ]
    assert (pairs.first_ms / pairs.second_ms).to_numpy() == pytest.approx(pairs.ratio.to_numpy(), rel=0.05)


@pytest.mark.parametrize("name", ["join", "search", "compare"])
def test_the_examples_in_docstrings_hold(name: str, store: Store) -> None:
    run_example(name, store=store)


def test_the_space_of_joined_accuracies_is_blox_where_nothing_says_another() -> None:
    assert join.join("synthetic", costs=[]).table.config == BLOX


def test_a_confident_search_is_refused_where_latencies_have_no_intervals(tmp_path: Path) -> None:
    file = tmp_path / "blox-bench-lab.csv"
    write_dataset(file, bench_dataset("lab", [0, 1, 2], [1e-3, 2e-3, 3e-3]))
    table = join.join("synthetic", [file])
    assert len(search.search(table, ["lab<2.5ms"])) == 2
    with pytest.raises(ConfigError, match=r"latencies of 'lab' have no intervals.*confident=False"):
        search.search(table, ["lab<2.5ms"], confident=True)
    assert len(search.search(table, ["params<2M"], confident=True)) > 2


def test_networks_within_the_limits_are_counted_whatever_a_method_evaluates(path: Path) -> None:
    limits = ("-a", "synthetic", "-c", "params<3M")
    every = run(path, "search", *limits, "--json").json
    some = run(path, "search", *limits, "--method", "random", "--budget", "20", "--json").json
    assert some["method"]["look_ups"] == len(some["networks"]) * 2 == 20
    assert some["networks_within_limits"] == every["networks_within_limits"] > 20


def test_the_front_of_a_method_has_networks_that_it_evaluated_alone() -> None:
    table = join.join("synthetic", costs=["params"])
    answer = search.search(table, ["params<3M"], method="random", budget=30, seed=1)
    front = answer.front("params")
    assert answer.trace is not None
    assert set(front.front.indices.tolist()) <= set(answer.trace.indices.tolist())
    assert front[-1]["index"] == answer.best.index, "no network of the front is more accurate than the answer"


def test_what_is_not_found_is_told_without_a_limit_and_with_one_that_no_interval_is_of() -> None:
    predicted = made_cost("pixel", np.linspace(1.0, 2.0, len(MINI)).tolist())
    far = replace(predicted, supported=np.zeros(len(MINI), dtype=np.bool_))
    unlike = SearchTable(table=made_table([60.0, 70.0], far), provenance={}, notes=())
    message = (
        r"no network is found: 2 networks with an accuracy are unlike any measured one and left out, such as "
    )
    with pytest.raises(ConfigError, match=message):
        search.search(unlike)
    with pytest.raises(ConfigError, match=r"no network meets params<1M; the nearest is "):
        search.search(join.join("synthetic"), ["params<1M"], confident=True)


# --- accuracies, limits and methods as Python holds them ------------------------------------------


def as_frame(percent: dict[Architecture, float]) -> Any:
    pandas = pytest.importorskip("pandas")
    return pandas.DataFrame({"architecture": list(map(str, percent)), "top1": list(percent.values())})


def as_arrow(percent: dict[Architecture, float]) -> Any:
    pyarrow = pytest.importorskip("pyarrow")
    return pyarrow.Table.from_pandas(as_frame(percent))


HELD: dict[str, Callable[[dict[Architecture, float]], Any]] = {
    "architectures": lambda percent: percent,
    "texts": lambda percent: {str(one): value for one, value in percent.items()},
    "indices": lambda percent: {one.index: value for one, value in percent.items()},
    "numpy's": lambda percent: {np.int64(one.index): np.float64(value) for one, value in percent.items()},
    "hashes": lambda percent: {one.graph_hash: value for one, value in percent.items()},
    "frame": as_frame,
    "shuffled frame": lambda percent: as_frame(percent).sample(frac=1, random_state=1),
    "frame with an index": lambda percent: as_frame(percent).set_index("architecture"),
    "column": lambda percent: as_frame(percent).set_index("architecture").top1,
    "bare column": lambda percent: (
        as_frame(percent).set_index("architecture").top1.rename(None).rename_axis(None)
    ),
    "arrow": as_arrow,
}


@pytest.mark.parametrize("held", HELD)
def test_accuracies_are_a_mapping_or_a_table_that_python_holds(held: str) -> None:
    networks = BLOX.sample(40, seed=3)
    percent = {one: 50 + one.index / 7e4 for one in networks}
    expected = np.full(len(BLOX), np.nan)
    expected[[one.index for one in networks]] = list(percent.values())
    table = join.join(HELD[held](percent), costs="params")
    assert np.array_equal(table.table.accuracy.values, expected, equal_nan=True)
    assert search.search(table).best == max(percent, key=percent.__getitem__)


def test_accuracies_that_python_holds_are_checked_like_those_of_files() -> None:
    first, second = BLOX.sample(2, seed=1)
    frame = as_frame({first: 60.0, second: 61.0})
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        ({first: 60.0, first.index: 61.0}, {}, "dict: row 2: network .* stands in row 1 already"),
        (as_frame({first: 60.0}).iloc[[0, 0]], {}, "DataFrame: row 2: network .* stands in row 1 already"),
        ({first: 0.6, second: 0.7}, {}, "dict: column accuracy holds nothing above 1"),
        ({TINY[0]: 60.0}, {}, "is of space 'tiny', not 'blox'"),
        ({"conv/cnov/conv": 60.0}, {}, "did you mean 'conv'"),
        ({first: "high"}, {}, "accuracy = 'high' is not a number"),
        ({first: float("nan")}, {}, "^dict: no network has a number as its accuracy"),
        (None, {}, "accuracies = None: give files"),
        ({first: 60.0}, {"latencies": None}, "latencies: NoneType is no latencies"),
        (
            frame,
            {"latencies": {3: "blox-bench-lab.csv"}},
            "latencies: 3 is a property of networks, or no name",
        ),
        (frame, {"metric": "top5"}, "DataFrame: there is no accuracy 'top5'"),
        (
            synthetic_accuracies(),
            {"metric": "test_top1"},
            "metric 'test_top1', epoch 'best': the accuracies are loaded, as synth",
        ),
        (synthetic_accuracies(), {"epoch": "last"}, "epoch 'last': the accuracies are loaded"),
        ({}, {}, "^accuracies: dict holds no network; give percent by network"),
        (frame.iloc[:0], {}, "^accuracies: DataFrame holds no network"),
        (frame.set_index("architecture").top1.iloc[:0], {}, "^accuracies: Series holds no network"),
        (frame, {"epoch": "last"}, "a table has one value a row; leave the epoch out"),
        (frame.rename(columns={"top1": "latency_ms"}), {}, "'latency_ms' is a time and no accuracy"),
    ]
    for given, options, message in wrong:
        with pytest.raises(ConfigError, match=message):
            join.join(given, **options)
    missing = join.join({first: 60.0, second: None})
    assert "1 of 2 rows has no accuracy and counts as missing" in missing.notes


def test_a_column_whose_rows_are_numbered_names_no_networks() -> None:
    frame = as_frame({one: 60.0 for one in BLOX.sample(3)})
    for column in (frame.top1, frame.top1.iloc[::-1], frame.top1[[0, 2]], frame.top1.rename_axis("id")):
        with pytest.raises(ConfigError, match=r"Series: its index is the numbers of rows.*set_index"):
            join.join(column)
    assert join.join(frame.top1.rename_axis("network")).table.accuracy.at(2) == 60.0
    for table in (frame.top1.rename_axis("index"), frame[["top1"]].iloc[::-1].reset_index()):
        with pytest.raises(ConfigError, match="column 'index' holds 0 to 2, which are the numbers of rows"):
            join.join(table)
    indices = frame.assign(index=[1, 2, 7])[["index", "top1"]]
    for table in (indices, indices.set_index("index").top1):
        assert join.join(table).table.accuracy.at(7) == 60.0
    seeds = frame.assign(seed=[0, 0, 1]).set_index(["architecture", "seed"]).top1
    assert join.join(seeds).table.accuracy.seeds == (0, 1)


@pytest.mark.parametrize("held", ["frame", "frame with an index", "column", "mapping"])
def test_architectures_in_tables_know_their_space(held: str, tmp_path: Path) -> None:
    networks = MINI.sample(3)
    frame = as_frame({one: 60.0 for one in networks}).assign(architecture=networks)
    given = {
        "frame": frame,
        "frame with an index": frame.set_index("architecture"),
        "column": frame.set_index("architecture").top1,
        "mapping": dict.fromkeys(networks, 60.0),
    }[held]
    with pytest.raises(ConfigError, match="is of space 'mini', not 'tiny'"):
        join.join(given, space="tiny")
    with new_store(tmp_path / "store.sqlite") as opened:
        answer = search_store(opened, given, "params<1M")
    assert answer.config == MINI and len(answer) == 3


def test_a_front_has_no_network_unlike_any_measured_one_that_nobody_measured() -> None:
    supported = np.zeros(len(MINI), dtype=np.bool_)
    supported[[0, 1, 3]] = True  # network 3 was far, and measured to verify the answer
    cost = replace(made_cost("pixel", [4.0, 3.0, 0.1, 2.0]), supported=supported)
    table = replace(made_table([90.0, 80.0, 95.0, 70.0], cost), with_far=True)
    found = search.search(SearchTable(table=table, provenance={}, notes=()))
    assert found.best.index == 2, "which is to be measured"
    failed = replace(found, verified=frozenset({17}))
    assert failed.best.index == 0, "of those that were not measured one that is like measured ones"
    verified = replace(found, verified=frozenset({3}))
    assert [row["index"] for row in verified.front("pixel")] == [3, 1, 0]


def test_a_validation_accuracy_that_python_holds_has_its_test_accuracy_beside_it() -> None:
    frame = (
        as_frame({one: 60.0 for one in BLOX.sample(3)})
        .rename(columns={"top1": "val_top1"})
        .assign(test_top1=58.0)
    )
    assert [one.metric for one in join.join(frame, costs=()).table.shown] == ["test_top1"]


def test_one_table_or_file_of_latencies_and_one_cost_need_no_list(
    tmp_path: Path, predicted: SpaceTable
) -> None:
    file = tmp_path / "blox-bench-lab.csv"
    write_dataset(file, bench_dataset("lab", [0, 1, 2], [1e-3, 2e-3, 3e-3]))
    for one, name in ((predicted, "made-up"), (str(file), "lab"), (file, "lab")):
        assert list(join.join("synthetic", one, costs="params").table.costs) == [name, "params"]
    assert list(join.join("synthetic", iter([file]), costs=(c for c in ["macs"])).table.costs) == [
        "lab",
        "macs",
    ]


def test_a_method_of_ones_own_is_given_itself() -> None:
    class Backwards:
        def __init__(self, problem: Problem) -> None:
            self._left = np.flatnonzero(problem.allowed)[::-1]

        def ask(self) -> IndexArray:
            wanted, self._left = self._left[:10], self._left[10:]
            return wanted

        def tell(self, indices: IndexArray, scores: FloatArray) -> None:
            pass

    table = join.join("synthetic", costs="params")
    last = search.search(table, "params<3M").indices.max()
    own = SearchMethod(make=Backwards, meaning="the last first", warms_up=False)
    answer = search.search(table, "params<3M", method=own, budget=25)
    assert answer.trace is not None and answer.trace.method == "the last first"
    assert answer.trace.indices[0] == last and len(answer) == 25


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"limits": ["params<3M", 9]}, "constraint 9 cannot be read; write SUBJECT<LIMIT"),
        (
            {"limits": Constraint(subject="params", relation="<", limit=3, unit="ms")},
            "limit on 'params': is in 'ms'; give it in 'no unit', or as a text",
        ),
        ({"limits": None}, "constraint None cannot be read; write SUBJECT<LIMIT"),
        (
            {"limits": "pixel:memory<9MB"},
            r"the table has no 'pixel:memory'; take it in: harness\.join\(\.\.\., costs=",
        ),
        ({"limits": "onnx-size<9MB"}, "the table has no 'onnx-size'; take it in"),
        ({"method": None}, "method None: give a name, or a search.methods.registry.SearchMethod"),
        ({"method": "random", "budget": 1.5}, r"budget = 1\.5: give a whole number"),
        ({"method": "random", "budget": "5"}, "budget = '5': give a whole number"),
        ({"method": "random", "seed": 0.5}, r"seed = 0\.5: give a whole number"),
    ],
)
def test_arguments_of_another_type_are_refused_by_their_names(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        search.search(join.join("synthetic", costs="params"), **given)


def test_what_a_notebook_shows_of_a_predictor_is_how_good_it_is(predicted: SpaceTable) -> None:
    shown = repr(predicted.predictor)
    assert "chosen='" in shown and "array(" not in shown and len(shown) < 3000
