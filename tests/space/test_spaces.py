"""Spaces by name."""

from __future__ import annotations

import doctest
from dataclasses import asdict
from itertools import islice

import pytest

from space import (
    BLOX,
    DEEP,
    MINI,
    SPACES,
    TINY,
    Architecture,
    ArchitectureError,
    Space,
    SpaceConfig,
    architecture,
    find_space,
)
from space.selection import select_models


def test_a_space_is_found_by_its_name() -> None:
    assert dict(SPACES) == {"blox": BLOX, "mini": MINI, "tiny": TINY, "deep": DEEP}
    assert [find_space(name) for name in SPACES] == [BLOX, MINI, TINY, DEEP]


def test_a_name_that_no_space_has_is_refused_with_the_nearest() -> None:
    with pytest.raises(
        ArchitectureError,
        match=r"space 'tyni' is not known; did you mean 'tiny'\? \(known: blox, mini, tiny, deep\)",
    ):
        find_space("tyni")


def test_tiny_has_the_networks_of_mini_on_a_quarter_of_the_pixels() -> None:
    assert len(TINY) == len(MINI) == 2025 and (TINY.ops, TINY.widths) == (BLOX.ops, (8, 16))
    small, large = (Architecture.parse("mbconv/conv-bconv", config) for config in (TINY, MINI))
    assert small.index == large.index and small.params == large.params
    assert 3.9 < large.macs / small.macs <= 4


def test_a_space_is_the_sequence_of_its_networks() -> None:
    assert len(BLOX) == 91_125
    assert BLOX[17] == Architecture.from_index(17) and BLOX[-1].index == 91_124
    assert BLOX[5:9:2] == [BLOX[5], BLOX[7]] and BLOX[91_124:] == [BLOX[-1]] and BLOX[3:3] == []
    assert [network.index for network in islice(BLOX, 3)] == [0, 1, 2]
    assert sum(1 for _ in TINY) == len(set(TINY)) == 2025
    assert BLOX[17] in BLOX and BLOX[17] not in MINI and 17 not in BLOX
    assert DEEP[-1].index == 184_528_124
    with pytest.raises(IndexError):
        BLOX[91_125]


def test_a_sample_is_that_of_the_selection_and_begins_with_the_smaller_ones() -> None:
    drawn = BLOX.sample(20, seed=1)
    assert drawn == select_models("sample:20@1")
    assert BLOX.sample(5, seed=1) == drawn[:5] != BLOX.sample(5)
    assert set(TINY.sample(2025)) == set(TINY)
    for count in (0, 2026):
        with pytest.raises(ArchitectureError, match=f"a sample of {count} networks.*give 1 to 2025"):
            TINY.sample(count)


def test_a_space_equals_its_description_and_no_other() -> None:
    described = SpaceConfig(**asdict(TINY))
    assert described == TINY and hash(described) == hash(TINY) and not isinstance(described, Space)
    assert described != MINI and described != "tiny"
    assert Architecture.parse("conv/conv", described) == Architecture.parse("conv/conv", TINY)


def test_the_examples_of_spaces_run() -> None:
    assert doctest.testmod(architecture) == (0, 3)
