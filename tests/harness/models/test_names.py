"""From words to networks and segments of a space, and the reference of each space."""

from __future__ import annotations

import pytest

from harness.models.exported import reference_of
from harness.models.names import (
    in_spaces,
    select_architecture,
    select_models_and_segments,
)
from space import BLOX, MINI, SPACES, TINY, SpaceConfig
from space.errors import ConfigError
from space.segments import all_segments
from space.selection import select_models


def test_the_reference_has_as_many_of_its_blocks_as_a_space_has_stages() -> None:
    assert str(reference_of(BLOX)) == "conv/mbconv-bconv+out/conv+conv"
    assert str(reference_of(TINY)) == str(reference_of(MINI)) == "conv/mbconv-bconv+out"
    assert reference_of(TINY).config is TINY
    four = SpaceConfig(name="four", ops=BLOX.ops, widths=(2, 4, 8, 16), image_size=16, classes=10)
    assert str(reference_of(four)) == "conv/mbconv-bconv+out/conv+conv/conv"


def test_selections_name_networks_and_segments_of_the_space_asked_for() -> None:
    assert {one.config.name for one in select_models_and_segments(["design:1", "segments"], TINY)} == {"tiny"}
    assert len(select_models_and_segments(["segments"], TINY)) == len(all_segments(TINY)) == 94
    assert len(select_models_and_segments(["3, segments"], TINY)) == 95
    assert len(select_models_and_segments(["design:1"], TINY)) == 45


def test_one_network_is_taken_where_one_is_named() -> None:
    assert str(select_architecture("conv/conv", TINY)) == "conv/conv"
    for several, count in (("1,2", 2), ("sample:3", 3)):
        with pytest.raises(ConfigError, match=f"'{several}' names {count} networks; name one"):
            select_architecture(several, TINY)


def test_words_are_read_in_each_space_where_they_name_something() -> None:
    assert set(in_spaces(lambda config: select_models(["conv/conv"], config))) == {"mini", "tiny"}
    # And those of this machine.
    assert set(in_spaces(lambda config: select_models(["7"], config))) >= set(SPACES)
    with pytest.raises(ConfigError, match="space 'blox' has 3 stages"):
        in_spaces(lambda config: select_models(["conv"], config))
