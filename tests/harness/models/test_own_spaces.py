"""What is chosen to be measured of a space of one's own, and beside which network it is timed."""

from __future__ import annotations

from factories.own_spaces import own_space

from harness.models.exported import reference_of
from harness.models.names import select_models_and_segments
from space.segments import Segment


def test_of_networks_that_are_one_the_first_is_measured() -> None:
    named = ["mb/mb/skip/basic", "mb/skip/mb/basic", "ghost/mb/mb/skip,segments"]
    chosen = select_models_and_segments(named, own_space())
    assert [str(one) for one in chosen if not isinstance(one, Segment)] == [
        "mb/mb/skip/basic",
        "ghost/mb/mb/skip",
    ]
    assert len(chosen) == 2 + 11


def test_the_reference_is_that_of_the_definition() -> None:
    config = own_space()
    assert config.chain is not None and str(reference_of(config)) == "/".join(config.chain.reference)
