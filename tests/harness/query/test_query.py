"""What a query means and is told: columns of one batch, titles that tell configurations apart, notes on what does not fit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from factories.stores import MANY, add_sessions, calibrate, networks, new_store

from harness.output.report.conditions import condition_lines
from harness.prediction.bench_files import file_latency
from harness.query.accuracies import AccuracySource, load
from harness.query.cost_names import parse_limits
from harness.query.costs import cost_columns
from harness.query.latencies import LatencySource
from harness.query.query import SHOWN_PROPERTIES, Query
from harness.store import Store
from harness.store.configurations import ANY, ConfigurationChoice
from space import TINY
from space.dataset import bench_dataset, write_dataset
from space.errors import ConfigError

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


def query(*costs: str, choice: ConfigurationChoice = ANY) -> Query:
    return Query(
        accuracies=AccuracySource(paths=("synthetic",)),
        latencies=LatencySource(measured_only=True, choice=choice),
        costs=costs,
    )


@pytest.mark.parametrize(
    ("name", "batch", "meant"),
    [
        ("made*", None, ["made-up"]),
        ("all", None, ["made-up", "other"]),
        ("all:int8", None, ["other"]),
        ("all:memory", None, ["made-up:memory", "other:memory"]),
        ("made*", 8, ["made-up:batch8"]),
        ("made*:batch8", None, ["made-up:batch8"]),
    ],
)
def test_a_pattern_means_runs_of_one_image_unless_a_batch_is_named(
    store: Store, name: str, batch: int | None, meant: list[str]
) -> None:
    assert query(choice=ConfigurationChoice(batch=batch)).meant(store, name) == meant


def test_a_page_without_a_device_shows_latencies_of_one_batch(store: Store) -> None:
    assert query().with_all_costs(store).costs == ("made-up", "other", *SHOWN_PROPERTIES)
    assert query(choice=ConfigurationChoice(batch=8)).with_all_costs(store).costs == (
        "made-up:batch8",
        *SHOWN_PROPERTIES,
    )


@pytest.mark.parametrize(
    ("limit", "most"),
    [
        ("params<42k", 41_999),
        ("params<=42k", 42_000),
        ("params<42000.5", 42_000),
        ("memory<1MB", 999_999),
        ("made-up<5ms", 5.0),
    ],
)
def test_a_page_opens_with_the_networks_below_a_limit_that_none_may_reach(limit: str, most: float) -> None:
    _, constraints = parse_limits([limit])
    assert list(replace(query(), constraints=constraints).upper_limits().values()) == [most]


def test_titles_tell_precision_and_batch_where_they_are_not_the_usual_ones(store: Store) -> None:
    names = ["made-up", "made-up:batch8", "other"]
    found, _ = cost_columns(store, TINY, [*names, "memory"], query().latencies)
    assert [found[name].title for name in names] == [
        "latency on made-up (onnxruntime)",
        "latency on made-up (onnxruntime, batch 8)",
        "latency on other (onnxruntime, int8)",
    ]
    assert "of one image in fp32" in found["memory"].title


def own_table(folder: Path, column: str) -> Path:
    path = folder / "own.csv"
    path.write_text(
        f"architecture,{column}\n"
        + "".join(f"{one},{60 + place}\n" for place, one in enumerate(networks(3, TINY)))
    )
    return path


@pytest.mark.parametrize(
    ("column", "device", "words"),
    [
        ("accuracy", "other", ["other: latencies are of int8 models", "are not said to be of such"]),
        ("val_top1_int8_onnx", "made-up", ["made-up: latencies are of fp32 models", "are of int8 models"]),
        ("val_top1_int8_onnx", "other", []),
        ("accuracy", "made-up", []),
    ],
)
def test_accuracies_and_latencies_of_two_precisions_are_not_joined_without_a_word(
    store: Store, tmp_path: Path, column: str, device: str, words: list[str]
) -> None:
    asked = query(device)
    own = AccuracySource(paths=(str(own_table(tmp_path, column)),), metric=column)
    notes = [
        note for note in replace(asked, accuracies=own).build_table(store).notes if "how accurate" in note
    ]
    assert len(notes) == bool(words)
    assert all(word in note for note in notes for word in words)


def test_a_file_that_does_not_tell_measured_from_predicted_calls_nothing_measured(tmp_path: Path) -> None:
    path = tmp_path / "blox-bench-lab.csv"
    write_dataset(path, bench_dataset("lab", [0, 1, 2], [1e-3, 2e-3, 3e-3], TINY))
    _, provenance = file_latency(path, "lab", TINY)
    assert (
        str(provenance)
        == f"{path}: 3 latencies, measured or predicted: the file does not tell (no sidecar .json)"
    )
    (line,) = (text for label, text in condition_lines(provenance) if label == "networks")
    assert line.startswith("3 latencies, measured or predicted")


def test_a_device_of_which_nothing_is_good_enough_costs_a_page_that_device_alone(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as opened:
        calibrate(opened, ONE)
        add_sessions(opened, networks(3, TINY), ONE, sessions=2)
        hot = replace(ONE, device="hot")
        calibrate(opened, hot)
        closed = {"closed": ["the processor is at 90 C"], "waited_s": 300.0}
        add_sessions(opened, networks(3, TINY), hot, sessions=2, gate=closed)
        found, _ = query().build_page_table(opened)
        with pytest.raises(ConfigError, match="nothing measured is good enough"):
            query("hot").build_page_table(opened)
    assert [name for name in found.table.costs if ONE.device in name or "hot" in name] == [ONE.device]
    (note,) = (one for one in found.notes if one.startswith("left out: device 'hot'"))
    assert "nothing measured is good enough: 3 networks of grade D left out" in note


@pytest.mark.parametrize("name", ["params", "memory", "made-up:energy", "made-up:tflite:memory"])
def test_a_greatest_latency_is_no_limit_on_what_is_no_time(name: str) -> None:
    with pytest.raises(ConfigError, match=f"--max-latency is a time, and '{name}' is none"):
        parse_limits((), ["made-up", name], "8ms")
    assert parse_limits((), [name], "") == ([name], ())
    assert len(parse_limits((), ["made-up", "made-up:load"], "8ms")[1]) == 2


def test_made_up_accuracies_have_one_epoch_and_the_scatter_that_one_gives_them() -> None:
    with pytest.raises(ConfigError, match="synthetic stands alone"):
        load(AccuracySource(paths=("synthetic",), epoch="5"), TINY)
    (found,) = load(AccuracySource(paths=("synthetic",), noise_sd=0.3), TINY)
    assert found.seed_sd == 0.3


def test_a_mistyped_cost_is_taken_for_no_device_that_was_never_measured(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as opened:
        calibrate(opened, ONE)
        with pytest.raises(
            ConfigError, match=r"'parms' is no cost; did you mean 'params'\? \(known: params, macs"
        ):
            query("parms").with_devices(opened)
        assert query("pixel").with_devices(opened).costs == ("pixel",)


def test_a_mistyped_runtime_of_a_cost_is_asked_for_once(tmp_path: Path) -> None:
    with new_store(tmp_path / "store.sqlite") as opened:
        calibrate(opened, ONE)
        for name, near in (("onnxrutime", "onnxruntime"), ("memroy", f"{ONE.device}:memory")):
            with pytest.raises(ConfigError, match=f"did you mean '{near}'") as refused:
                query(f"{ONE.device}:{name}").with_devices(opened)
            assert str(refused.value).count("did you mean") == 1
