"""Latencies of networks in two precisions, compared on made-up sessions whose ratio and correlation are known."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from factories.stores import (
    IN_INT8,
    INT8_GAIN,
    MANY,
    OP_COSTS,
    add_sessions,
    calibrate,
    in_two_precisions,
    networks,
    new_store,
)
from rigs.commands import refused, run
from rigs.examples import run_example

from harness.estimates.latency import Latency
from harness.query.compare_precisions import (
    compare_precisions,
    compare_rows,
    measure_both_command,
    median_ratio,
    rank_correlation,
)
from harness.records import Configuration
from harness.store import Store
from harness.store.latencies import latencies
from space import Architecture, define, find_space
from space.indexing import FloatArray

FP32 = MANY
INT8 = IN_INT8


def measured(path: Path, *parts: tuple[Configuration, Sequence[Architecture], dict[str, Any]]) -> Path:
    """Return a new store of sessions: of each configuration its networks, and how they are made."""
    with new_store(path) as store:
        for configuration, items, how in parts:
            calibrate(store, configuration)
            add_sessions(store, items, configuration, **how)
    return path


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("precisions") / "store.sqlite"
    path.write_bytes(in_two_precisions())
    return path


def test_a_known_ratio_is_found_and_lies_in_the_intervals(path: Path) -> None:
    with Store(str(path)) as store:
        (found,) = compare_precisions(store, "fp32", "int8", device="made-up")
        (back,) = compare_precisions(store, "int8", "fp32", device="made-up")
    assert found.configurations == (FP32, INT8)
    assert len(found.networks) == found.ratio.count == 18
    assert found.ratio.low < INT8_GAIN < found.ratio.high
    assert found.ratio.value == pytest.approx(INT8_GAIN, rel=0.01)
    assert back.ratio.value == pytest.approx(1 / INT8_GAIN, rel=0.01)
    ratios = [one.ratio for one in found.networks]
    assert ratios == sorted(ratios)
    holding = [
        one.interval
        for one in found.networks
        if one.interval and one.interval[0] < INT8_GAIN < one.interval[1]
    ]
    assert len(holding) >= 16
    assert found.spearman.value > 0.95 and found.spearman.high == 1


def test_what_each_op_gains_is_found() -> None:
    costs = {
        "fp32": {"conv": 4.0, "mbconv": 2.0, "bconv": 1.0},
        "int8": {"conv": 1.0, "mbconv": 1.5, "bconv": 1.2},
    }
    rest = {"fp32": 3.0, "int8": 2.0}
    with_times = [
        tuple(
            made_up_row(one, rest[name] + sum(ms[op] for block in one.blocks for op in block.ops))
            for name, ms in costs.items()
        )
        for one in networks(40)
    ]
    found = compare_rows([(a, b) for a, b in with_times])
    assert [one.op for one in found.ops] == ["conv", "mbconv", "bconv", ""]
    for one in found.ops:
        a, b = (costs[name].get(one.op, rest[name]) for name in costs)
        assert (one.a_ms, one.b_ms) == pytest.approx((a, b))
        assert (one.ratio.value, one.ratio.low, one.ratio.high) == pytest.approx((b / a,) * 3)
    assert found.fit_error == pytest.approx((0, 0), abs=1e-9)


def own_pairs(costs: dict[str, dict[str, float]], *sites: str) -> list[tuple[Latency, Latency]]:
    """Return all networks of a space of some sites, with 3 ms and the time of each candidate that does something."""
    space = find_space(
        define(
            "own_pairs",
            image_size=8,
            classes=2,
            stem={"module": "conv", "channels": 4},
            candidates={"mb": "mbconv", "basic": "resnet_basic", "skip": "identity"},
            sites=[{"candidates": site.split()} for site in sites],
        )
    )
    return [
        tuple(
            made_up_row(one, 3.0 + sum(ms.get(block.op1, 0.0) for block in one.blocks))
            for ms in costs.values()
        )
        for one in space
    ]  # type: ignore[misc]


def test_an_op_of_ones_own_takes_the_mean_of_the_choices_that_have_it() -> None:
    costs = {"fp32": {"mb": 4.0, "basic": 2.0}, "int8": {"mb": 1.0, "basic": 1.5}}
    found = compare_rows(own_pairs(costs, "mb skip", "mb basic skip", "mb skip", "mb skip"))
    times = {one.op: (one.a_ms, one.b_ms) for one in found.ops}
    expected = {"mb": (4.0, 1.0), "basic": (2.0, 1.5), "skip": (0.0, 0.0), "": (3.0, 3.0)}
    assert list(times) == ["mb", "skip", "basic", ""]
    command = measure_both_command(found.configurations[0], "fp32", "int8")
    assert command.endswith("--models sample:24"), "design:1 would be three networks"
    for op, ms in expected.items():
        assert times[op] == pytest.approx(ms, abs=1e-6)


def test_no_op_has_a_time_where_every_network_runs_as_many() -> None:
    costs = {"fp32": {"mb": 4.0, "basic": 2.0}, "int8": {"mb": 1.0, "basic": 1.5}}
    found = compare_rows(own_pairs(costs, "mb basic", "mb basic", "mb basic"))
    assert found.ops == () and found.fit_error == pytest.approx((0, 0), abs=1e-9)


@functools.cache
def some_row() -> Latency:
    """Return a row of a made-up store."""
    with tempfile.TemporaryDirectory() as folder, new_store(Path(folder) / "store.sqlite") as store:
        calibrate(store, FP32)
        add_sessions(store, networks(1))
        return latencies(store, FP32)[0]


def made_up_row(network: Architecture, latency_ms: float) -> Latency:
    """Return a row of a network with a latency that is certain to 1 %."""
    interval_ms = (latency_ms / 1.01, latency_ms * 1.01)
    names = {"architecture": str(network), "graph_hash": network.graph_hash}
    configuration = replace(FP32, space=network.config.name)
    return replace(
        some_row(), configuration=configuration, latency_ms=latency_ms, interval_ms=interval_ms, **names
    )


def test_configurations_that_differ_in_more_than_precision_are_never_paired(tmp_path: Path) -> None:
    items = networks(6)
    others = {
        "threads": {"threads": 4},
        "cores": {"cores": (0, 1)},
        "runtime_version": {"runtime_version": "2.0"},
        "clock_tier": {"clock_tier": "A"},
        "hardware": {"hardware": "another"},
        "weights": {"weights": "trained"},
        "provider": {"provider": "another"},
        "reference": {"reference": "a" * 32},
    }
    parts = [(replace(INT8, **changes), items, {}) for changes in others.values()]
    store = measured(tmp_path / "store.sqlite", (FP32, items, {}), *parts)
    line = "harness measure --device made-up --runtime onnxruntime --cores 4,5 --precision fp32 --precision int8 --models "
    refused(run(store, "compare", "fp32", "int8", "-d", "made-up"), "0 networks measured well in both", line)


def test_networks_of_grade_d_are_left_out_and_counted(tmp_path: Path) -> None:
    items = networks(12)
    store = measured(tmp_path / "store.sqlite", (FP32, items, {}), (INT8, items, {}))
    with Store(str(store)) as opened:
        wrong = {"output": (0.5, 0.5), "expected": (0.25, -1.5)}
        add_sessions(opened, networks(13)[12:], INT8, seed=3, **wrong)
        add_sessions(opened, networks(13)[12:], FP32, seed=4)
    done = run(store, "compare", "fp32", "int8", "-d", "made-up", "--json")
    (found,) = done.json
    assert len(found["networks"]) == 12
    assert [one["networks"] for one in found["doubtful"]] == [0, 1]
    assert "int8: 1 network of grade D left out" in done.stderr and "--fresh" in done.stderr


def test_fewer_than_5_networks_in_both_are_refused_with_the_command_that_measures_them(
    tmp_path: Path,
) -> None:
    store = measured(tmp_path / "store.sqlite", (FP32, networks(9), {}), (INT8, networks(4), {}))
    line = "--cores 4,5 --precision fp32 --precision int8 --models design:1"
    refused(run(store, "compare", "fp32", "int8", "-d", "made-up"), "4 networks", "at least 5", line)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("fp32", "fp32"), ("one precision",)),
        (("fp32", "conv/conv/conv"), ("fp32 is a precision", "name two precisions")),
        (("fp32", "int8", "--precision", "int8"), ("--precision: ", "narrow them by --device")),
        (("fp32", "int8", "--configuration", FP32.digest[:8]), ("--configuration: ",)),
    ],
)
def test_what_is_no_pair_of_precisions_is_refused(
    path: Path, words: tuple[str, ...], parts: tuple[str, ...]
) -> None:
    refused(run(path, "compare", *words, "-d", "made-up"), *parts)


def test_the_command_prints_what_python_finds(path: Path) -> None:
    done = run(path, "compare", "fp32", "int8", "-d", "made-up")
    assert (done.status, done.stderr) == (0, "")
    (document,) = run(path, "compare", "fp32", "int8", "-d", "made-up", "--json").json
    with Store(str(path)) as store:
        found = compare_precisions(store, "fp32", "int8", device="made-up")
        assert document == found[0].to_json()
        frame = found.to_pandas()
    assert list(frame["ratio"]) == [one["ratio"] for one in document["networks"]]
    assert f"{found[0].ratio.value:.3f}" in done.stdout
    assert f"(Spearman): {found[0].spearman.value:.2f}, " in done.stdout
    assert all(op in done.stdout for op in (*OP_COSTS, "stem, reductions, head"))


def test_the_example_runs(path: Path) -> None:
    with Store(str(path)) as store:
        run_example("compare_precisions", store=store)


# --- intervals ------------------------------------------------------------------------------------


@pytest.mark.simulation
@pytest.mark.parametrize(("rho", "count", "noise"), [(-0.3, 60, 0.02), (0.7, 20, 0.01), (1.0, 30, 0.05)])
def test_the_interval_of_a_rank_correlation_holds_the_whole_space_s_in_95_of_100_draws(
    rho: float, count: int, noise: float
) -> None:
    rng = np.random.default_rng(5)
    x = rng.standard_normal(5000)
    y = rho * x + np.sqrt(1 - rho**2) * rng.standard_normal(5000)
    space = np.exp(0.3 * np.stack([x, y]))
    certain = np.zeros(5000)
    true = rank_correlation(space[0], space[1], certain, certain, draws=2).value
    sds = np.full(count, noise)

    def holds(seed: int) -> bool:
        drawn: FloatArray = space[:, rng.choice(5000, count, replace=False)]
        a, b = drawn * np.exp(noise * rng.standard_normal(drawn.shape))
        found = rank_correlation(a, b, sds, sds, draws=200, seed=seed)
        return found.low <= true <= found.high

    assert sum(map(holds, range(200))) >= 184  # of 190: less would come by luck in 1 of 100


def test_few_networks_or_tied_ones_have_no_interval() -> None:
    nine, sds = np.arange(1.0, 10.0), np.full(9, 0.01)
    found = rank_correlation(nine, nine, sds, sds)
    assert found.value == 1 and np.isnan(found.low)
    tied = rank_correlation(np.ones(20), np.arange(1.0, 21.0), np.full(20, 0.01), np.full(20, 0.01))
    assert np.isnan([tied.value, tied.low]).all()


@pytest.mark.simulation
def test_the_interval_of_the_median_ratio_holds_the_whole_space_s_in_95_of_100_draws() -> None:
    rng = np.random.default_rng(6)
    ratios = rng.lognormal(-0.5, 0.06, 5000)
    true, reference = float(np.median(ratios)), 0.04  # the reference's relative standard deviation

    def holds(_: int) -> bool:
        measured = rng.choice(ratios, 15) * np.exp(0.02 * rng.standard_normal(15))
        found = median_ratio(measured * np.exp(reference * rng.standard_normal()), 1.96 * reference)
        return found.low <= true <= found.high

    assert sum(map(holds, range(200))) >= 184
    assert np.isnan(median_ratio(ratios[:5], 0.0).low)
