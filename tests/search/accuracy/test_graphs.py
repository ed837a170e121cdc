"""Graphs of networks: nodes and edges as the data flows, the same for all notations, different for all networks."""

from __future__ import annotations

import numpy as np
import pytest

from search.accuracy.graphs import (
    FIRST,
    GLOBAL,
    INPUT,
    adjacency,
    block_graphs,
    feature_count,
    node_count,
    node_features,
    readings,
)
from space import BLOX, MINI, Architecture, SpaceConfig

ONE_STAGE = SpaceConfig(name="one", ops=("conv", "other"), widths=(8,), image_size=8, classes=10)
NAMES = ("global", "input", "op0", "op1", "red0", "op0'", "op1'", "red1", "output")  # of MINI


def edges(text: str) -> set[tuple[str, str]]:
    """Return (read, reader) of one network of MINI."""
    reads = readings(block_graphs(MINI), [Architecture.parse(text, MINI).index])[0]
    return {(NAMES[read], NAMES[reader]) for reader, read in zip(*np.nonzero(reads), strict=True)}


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ("conv", {("input", "op1"), ("op1", "red0")}),
        ("conv-bconv", {("input", "op0"), ("op0", "op1"), ("op1", "red0")}),
        ("conv-bconv+in", {("input", "op0"), ("op0", "op1"), ("input", "op1"), ("op1", "red0")}),
        ("conv-bconv+out", {("input", "op0"), ("op0", "op1"), ("op0", "red0"), ("op1", "red0")}),
        ("conv+bconv", {("input", "op0"), ("input", "op1"), ("op0", "red0"), ("op1", "red0")}),
        (
            "conv-bconv+in+out",
            {("input", "op0"), ("op0", "op1"), ("input", "op1"), ("op0", "red0"), ("op1", "red0")},
        ),
    ],
)
def test_edges_follow_the_data_through_every_wiring(block: str, expected: set[tuple[str, str]]) -> None:
    rest = {("red0", "op1'"), ("op1'", "red1"), ("red1", "output")}
    assert edges(f"{block}/mbconv") == expected | rest


def test_each_stage_reads_the_reduction_before_it() -> None:
    assert ("red0", "op0'") in edges("conv/conv-conv+in") and ("red0", "op1'") in edges("conv/conv-conv+in")
    assert ("input", "op0'") not in edges("conv/conv-conv+in")


def test_features_say_what_a_node_is_and_of_which_stage() -> None:
    features = node_features(block_graphs(MINI), [Architecture.parse("bconv-conv/mbconv", MINI).index])[0]
    #          global input output reduction conv mbconv bconv stage0 stage1 first-of-two
    expected = {
        "global": [1, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        "input": [0, 1, 0, 0, 0, 0, 0, 0, 0, 0],
        "op0": [0, 0, 0, 0, 0, 0, 1, 1, 0, 1],
        "op1": [0, 0, 0, 0, 1, 0, 0, 1, 0, 0],
        "red0": [0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
        "op0'": [0] * 10,
        "op1'": [0, 0, 0, 0, 0, 1, 0, 0, 1, 0],
        "red1": [0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
        "output": [0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
    }
    assert dict(zip(NAMES, features.tolist(), strict=True)) == expected


def test_a_missing_op_neither_hears_nor_is_heard() -> None:
    hears = adjacency(block_graphs(MINI), [Architecture.parse("conv/conv-conv", MINI).index])[0]
    assert not hears[FIRST].any() and not hears[:, FIRST].any()
    assert hears[FIRST + 3].any() and hears[:, FIRST + 3].any()


@pytest.mark.parametrize("config", [BLOX, MINI, ONE_STAGE])
def test_the_global_node_and_every_other_one_hear_each_other_and_themselves(config: SpaceConfig) -> None:
    indices = np.random.default_rng(0).choice(len(config), min(50, len(config)), replace=False)
    parts = block_graphs(config)
    features, hears = node_features(parts, indices), adjacency(parts, indices)
    assert features.shape == (len(indices), node_count(config), feature_count(config))
    assert hears.shape == (len(indices), node_count(config), node_count(config))
    is_there = features.any(axis=2)
    for row in (hears[:, GLOBAL, :], hears[:, :, GLOBAL], np.diagonal(hears, axis1=1, axis2=2)):
        assert ((row > 0) == is_there).all()
    assert is_there[:, [GLOBAL, INPUT, -1]].all()


def test_the_adjacency_is_normalized_by_hearers_and_heard() -> None:
    parts, index = block_graphs(ONE_STAGE), Architecture.parse("conv-other", ONE_STAGE).index
    links = np.eye(6) + np.diag([0, 1, 1, 1, 1], -1) + 0.25 * np.diag([0, 1, 1, 1, 1], 1)  # a plain chain
    links[GLOBAL] = links[:, GLOBAL] = 1
    expected = np.diag(links.sum(axis=1) ** -0.5) @ links @ np.diag(links.sum(axis=0) ** -0.5)
    np.testing.assert_allclose(adjacency(parts, [index])[0], expected, rtol=1e-6)


def test_graphs_do_not_depend_on_what_they_are_made_with() -> None:
    parts = block_graphs(BLOX)
    many = np.random.default_rng(1).choice(len(BLOX), 40, replace=False)
    for of in (node_features, readings, adjacency):
        assert (of(parts, many)[7] == of(parts, many[7:8])[0]).all()


def test_no_two_networks_look_the_same_to_the_global_node() -> None:
    # Color refinement (Weisfeiler and Leman): what four layers can tell apart at best. Random sums stand for the layers.
    parts, rng, every = block_graphs(BLOX), np.random.default_rng(0), np.arange(len(BLOX))
    seen = np.zeros(len(BLOX))
    signs = [rng.normal(size=(a, 3)) for a in (feature_count(BLOX), 3, 3, 3)]
    for begin in range(0, len(BLOX), 9113):
        indices = every[begin : begin + 9113]
        hears = adjacency(parts, indices).astype(np.float64)
        h = node_features(parts, indices).astype(np.float64)
        for matrix in signs:
            h = np.tanh(hears @ h @ matrix)
        seen[indices] = h[:, GLOBAL, 0]
    assert np.diff(np.sort(seen)).min() > 1e-13


def test_what_is_known_of_blocks_stands_on_the_nodes_of_their_stage_and_changes_nothing_else() -> None:
    known = np.random.default_rng(0).normal(size=(MINI.stages, len(MINI.blocks), 2))
    parts, every = block_graphs(MINI, known), np.arange(0, len(MINI), 7)
    own = feature_count(MINI)
    features, plain = node_features(parts, every), node_features(block_graphs(MINI), every)
    assert parts.features == own + 2 and features.shape[2] == own + 2
    assert (features[:, :, :own] == plain).all()
    assert (adjacency(parts, every) == adjacency(block_graphs(MINI), every)).all()
    more = features[:, :, own:]
    assert not more[:, [GLOBAL, INPUT, -1]].any()
    for row, index in zip(more, every.tolist(), strict=True):
        for stage, choice in enumerate((index % 45, index // 45)):
            op0, op1, reduction = row[FIRST + 3 * stage : FIRST + 3 * stage + 3]
            assert (op1 == known[stage, choice].astype(np.float32)).all() and (reduction == op1).all()
            assert (op0 == (op1 if MINI.blocks[choice].op0 is not None else 0)).all()


@pytest.mark.parametrize("shape", [(45, 2), (2, 44, 1), (3, 45, 1)])
def test_features_of_blocks_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"shape \(2, 45, columns\)"):
        block_graphs(MINI, np.zeros(shape))
    with pytest.raises(ValueError, match="all finite: False"):
        block_graphs(MINI, np.full((2, 45, 1), np.nan))
