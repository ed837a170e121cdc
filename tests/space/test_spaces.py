"""Spaces by name."""

from __future__ import annotations

import pytest

from space import BLOX, DEEP, MINI, SPACES, TINY, Architecture, ArchitectureError, find_space


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
