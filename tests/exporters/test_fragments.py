"""Fragments and the steps that wire them."""

from __future__ import annotations

import pytest

from exporters.fragments import (
    GLUE,
    IMAGE,
    LOGITS,
    all_fragments,
    all_values,
    fragments_of,
    possible_steps,
    steps,
    value_shape,
)
from space import BLOX, MINI, Architecture


def same_block_everywhere(k: int) -> Architecture:
    return Architecture(blocks=(BLOX.blocks[k],) * BLOX.stages)


def test_the_default_space_is_made_of_23_fragments_with_weights() -> None:
    fragments = all_fragments(BLOX)
    assert len(fragments) == 24 and fragments[0] == GLUE
    assert len({str(fragment) for fragment in fragments}) == 24


@pytest.mark.parametrize("k", range(45))
def test_every_step_reads_values_that_an_earlier_step_wrote(k: int) -> None:
    written = {IMAGE}
    for step in steps(same_block_everywhere(k)):
        assert set(step.inputs) <= written
        assert step.output not in written
        written.add(step.output)
    assert LOGITS in written


@pytest.mark.parametrize("k", range(45))
def test_every_step_is_one_that_was_foreseen_at_export(k: int) -> None:
    for step in steps(same_block_everywhere(k)):
        assert step in possible_steps(step.fragment, BLOX)
        assert {*step.inputs, step.output} <= set(all_values(BLOX))


def test_a_network_holds_each_fragment_once_and_those_of_its_blocks_only() -> None:
    architecture = Architecture.parse("conv-mbconv+in/bconv/conv+mbconv")
    assert [str(fragment) for fragment in fragments_of(architecture)] == [
        "glue",
        "stem",
        "stage0.op0.conv",
        "stage0.op1.mbconv",
        "stage0.reduction",
        "stage1.op1.bconv",
        "stage1.reduction",
        f"stage2.op0.{architecture.blocks[2].op0}",
        f"stage2.op1.{architecture.blocks[2].op1}",
        "stage2.reduction",
        "head",
    ]


def test_values_halve_in_size_and_double_in_channels_from_stage_to_stage() -> None:
    assert value_shape(IMAGE, BLOX) == (1, 3, 32, 32)
    assert value_shape("s0.n1", BLOX) == (1, 32, 32, 32)
    assert value_shape("s2.y", BLOX) == (1, 128, 8, 8)
    assert value_shape("s3.x", BLOX) == (1, 256, 4, 4)
    assert value_shape(LOGITS, MINI) == (1, 10)
