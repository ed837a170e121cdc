"""Features of blocks and networks, against cells worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from factories.latencies import additive

from search.latency.block_features import (
    block_features,
    border_features,
    pair_features,
    stage_effects,
    standardized,
)
from search.latency.ridge import feature_rows
from space import BLOX, MINI, Architecture, SpaceConfig
from space.indexing import block_indices


# op0 conv, mbconv, bconv | op1 conv, mbconv, bconv | sum-in, sum-out, input used
@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("mbconv", [0, 0, 0, 0, 1, 0, 0, 0, 1]),
        ("conv-mbconv", [1, 0, 0, 0, 1, 0, 0, 0, 0]),
        ("conv-mbconv+in", [1, 0, 0, 0, 1, 0, 1, 0, 1]),
        ("bconv-conv+out", [0, 0, 1, 1, 0, 0, 0, 1, 0]),
        ("bconv-bconv+in+out", [0, 0, 1, 0, 0, 1, 1, 1, 1]),
        ("conv+bconv", [0, 0, 1, 1, 0, 0, 0, 1, 1]),
    ],
)
def test_the_features_of_a_cell_are_its_ops_by_slot_and_its_sums(text: str, row: list[int]) -> None:
    index = Architecture.parse(f"conv/{text}/conv").index
    assert feature_rows(BLOX, np.array([index]))[0, 1:].tolist() == [
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
        *row,
        0,
        0,
        0,
        1,
        0,
        0,
        0,
        0,
        1,
    ]


def test_features_are_made_once_and_nobody_changes_them() -> None:
    for made in (block_features, pair_features, border_features):
        assert made(MINI) is made(SpaceConfig(**MINI.to_plain()))
        with pytest.raises(ValueError, match="read-only"):
            made(MINI)[0, 0] = 1.0


def test_every_block_has_features_of_its_own() -> None:
    assert len(np.unique(block_features(BLOX), axis=0)) == 45


def test_standardized_columns_have_mean_0_and_deviation_1_over_the_whole_space() -> None:
    columns = standardized(pair_features(MINI))[block_indices(MINI, np.arange(len(MINI)))].reshape(
        len(MINI), -1
    )
    assert np.allclose(columns.mean(axis=0), 0)
    assert np.allclose(columns.std(axis=0), 1)


def test_a_pair_feature_is_the_product_of_its_two_features() -> None:
    row = dict(zip(map(str, BLOX.blocks), pair_features(BLOX), strict=True))["bconv-conv+out"]
    # pair (bconv, conv) is 3 * 2 + 0; bconv in slot 0 with sum-out is 9 + 3 * 2 + 1; conv in slot 1 with it is 9 + 3 * 3 + 1.
    assert np.flatnonzero(row).tolist() == [6, 16, 19]


def test_the_stage_effects_of_an_additive_table_are_the_tables_it_was_made_of() -> None:
    made = np.random.default_rng(0).normal(size=(3, 45))
    centered = made - made.mean(axis=1, keepdims=True)
    assert np.allclose(stage_effects(BLOX, additive(made)), centered)
