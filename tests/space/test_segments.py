"""Segments as values: their texts and keys, the segments of a space and of a network, what is refused."""

from __future__ import annotations

import re

import pytest
from factories.segments import segments_of
from hypothesis import given
from hypothesis import strategies as st

from space import BLOX, MINI, Architecture, ArchitectureError, Block, SpaceConfig
from space.segments import Segment, all_segments

SEGMENTS = all_segments(BLOX)
CELL = Segment.parse("segment:cell0:conv-mbconv+in")


def test_blox_has_140_segments_the_miniature_94() -> None:
    assert len(SEGMENTS) == len(set(SEGMENTS)) == 2 + 3 * 45 + 3 == 140
    assert len(all_segments(MINI)) == 2 + 2 * 45 + 2
    kinds = [segment.kind for segment in SEGMENTS]
    assert [kinds.count(kind) for kind in ("stem", "cell", "reduction", "head")] == [1, 135, 3, 1]


def test_a_text_says_kind_stage_and_block() -> None:
    assert (CELL.kind, CELL.stage, str(CELL.block)) == ("cell", 0, "conv-mbconv+in")
    assert str(SEGMENTS[0]) == "segment:stem" and str(SEGMENTS[-1]) == "segment:head"
    assert str(SEGMENTS[46]) == "segment:reduction0" and SEGMENTS[46].stage == 0
    assert repr(CELL) == "<Segment segment:cell0:conv-mbconv+in of blox>"


@given(st.sampled_from([*SEGMENTS, *all_segments(MINI)]))
def test_every_text_is_read_back(segment: Segment) -> None:
    assert Segment.parse(str(segment), segment.config) == segment
    assert Segment.parse(f" {segment}\n", segment.config) == segment


def test_parallel_twins_are_one_segment() -> None:
    twin = Segment.parse("segment:cell1:mbconv+conv")
    assert twin == Segment.parse("segment:cell1:conv+mbconv") and str(twin) == "segment:cell1:conv+mbconv"
    turned = Block(op0="conv", op1="mbconv", wiring="parallel")
    made = [
        Segment(kind="cell", stage=1, block=block)
        for block in (turned, Block(op0="mbconv", op1="conv", wiring="parallel"))
    ]
    assert made == [twin, twin] and {segment.key for segment in made} == {twin.key}


def test_a_key_is_the_md5_of_space_and_text_and_no_network_has_it() -> None:
    # printf 'blox segment:stem' | md5sum
    assert Segment.parse("segment:stem").key == "482db85a1e2ca53066ab0c9ef61e5a57"
    keys = [segment.key for segment in (*SEGMENTS, *all_segments(MINI))]
    assert len(set(keys)) == len(keys) and all(re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    for key in keys[:3]:
        with pytest.raises(ArchitectureError, match="no network of space 'blox' has it"):
            Architecture.from_hash(key)


@pytest.mark.parametrize("config", [BLOX, MINI])
def test_networks_are_made_of_the_segments_of_their_space_and_need_all_of_them(config: SpaceConfig) -> None:
    used = {
        segment
        for block in config.blocks
        for segment in segments_of(Architecture(blocks=(block,) * config.stages, config=config))
    }
    assert used == set(all_segments(config))


def test_a_segment_reads_what_the_network_passes_on() -> None:
    shapes = [segment.input_shape for segment in segments_of(Architecture.from_index(0))]
    assert shapes[:3] == [(3, 32, 32), (32, 32, 32), (32, 32, 32)]
    assert shapes[3:] == [(64, 16, 16), (64, 16, 16), (128, 8, 8), (128, 8, 8), (256, 4, 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("segment:cell0:convv", "is not in space 'blox', .*did you mean 'segment:cell0:conv'"),
        ("segment:cell3:conv", "whose stages are 0 to 2; did you mean 'segment:cell[0-2]:conv'"),
        ("segment:reduction3", "whose stages are 0 to 2; did you mean 'segment:reduction[0-2]'"),
        ("segment:reduction00", "did you mean 'segment:reduction0'"),
        ("segment:tail", "did you mean 'segment:"),
        ("stem", "segment 'stem' is not in space 'blox', .*did you mean 'segment:stem'"),
        ("segment:cell0", "is not in space 'blox'"),
        ("segment:cell\u0661:conv", "is not in space 'blox'"),
        ("", "segment '' is not in space 'blox', .*write segment:stem, segment:cell0:BLOCK, "),
        ("x" * 9999, r"x\.\.\. is not in space"),
    ],
)
def test_a_text_that_names_no_segment_is_refused_with_a_remedy(text: str, message: str) -> None:
    with pytest.raises(ArchitectureError, match=message) as caught:
        Segment.parse(text)
    assert len(str(caught.value)) < 400


def test_a_stage_of_another_space_is_refused() -> None:
    Segment.parse("segment:reduction2")
    with pytest.raises(ArchitectureError, match="is not in space 'mini', whose stages are 0 to 1"):
        Segment.parse("segment:reduction2", MINI)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "tail"}, "segment 'segment:tail' is not in space 'blox'"),
        ({"kind": "stem", "stage": 0}, "'segment:stem0' is not in space .*did you mean 'segment:stem'"),
        (
            {"kind": "reduction"},
            "'segment:reduction' is not in space .*did you mean 'segment:reduction[0-2]'",
        ),
        ({"kind": "cell", "stage": 0}, "'segment:cell0' is not in space"),
        ({"kind": "reduction0"}, "kind 'reduction0' and stage None; give 'reduction' and 0"),
        ({"kind": "reduction", "stage": "0"}, "kind 'reduction' and stage '0'; give 'reduction' and 0"),
        (
            {"kind": "reduction", "stage": 0, "block": CELL.block},
            "'segment:reduction0:conv-mbconv\\+in' is not in space",
        ),
        (
            {"kind": "cell", "stage": 3, "block": CELL.block},
            "whose stages are 0 to 2; did you mean 'segment:cell[0-2]:conv-mbconv\\+in'",
        ),
        ({"kind": "reduction", "stage": -1}, "whose stages are 0 to 2"),
        (
            {"kind": "cell", "stage": 0, "block": Block(op0=None, op1="swin", wiring="single")},
            "'segment:cell0:swin' is not in space 'blox'",
        ),
    ],
)
def test_fields_that_describe_no_segment_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        Segment(**fields)  # type: ignore[arg-type]
