"""Distillation in a chain of sites of unequal shapes, whose candidates are any modules: one of them has no weights at all."""

from __future__ import annotations

import dataclasses
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from factories.own_spaces import CANDIDATES, DEFINITION, lone_space, own_space, write_space
from factories.small_distillations import small_teacher

from search.distillation.block_library import BlockLibrary, StageLibrary, load_library, save_stage
from search.distillation.block_scores import score_blocks, score_on_training
from search.distillation.distill import distil_stage
from search.distillation.recipe import DistilRecipe
from search.distillation.signatures import TRAIN_LOSS_CHANGE, Signatures
from search.distillation.teacher_features import StageTask
from search.training.images import Task
from search.training.synthetic_images import make_synthetic_task
from search.training.trained import Trained
from search.training.trained_files import save_trained
from space import Architecture, define, load_space
from space.costs import fixed_cost, network_cost, stage_costs, stem_cost
from space.errors import ArchitectureError, ConfigError
from space.indexing import available, blocks_of
from space.networks import build_network, build_stage
from space.stages import SpaceStage, check_stages

pytestmark = pytest.mark.training

TEACHER = "mb/ghost/mb/basic"
RECIPE = DistilRecipe(epochs=2, batch=14)
SHARED = DistilRecipe(epochs=2, batch=14, shared=True, paths="fair", loss="mse")


@cache
def task() -> Task:
    return make_synthetic_task(own_space(), 1, (4, 2, 2))


@cache
def teacher() -> Trained:
    return small_teacher(TEACHER, config=own_space())


@cache
def distilled(stage: int, recipe: DistilRecipe = RECIPE, together: int | None = None) -> StageLibrary:
    return distil_stage(StageTask(teacher(), task(), stage), recipe, together=together)


@cache
def library(recipe: DistilRecipe = RECIPE) -> BlockLibrary:
    return BlockLibrary(teacher=teacher(), stages=tuple(distilled(stage, recipe) for stage in range(4)))


# --- stages ---------------------------------------------------------------------------------------


def test_stem_stages_and_head_are_the_whole_network() -> None:
    config = own_space()
    stages = [SpaceStage(config, number) for number in range(config.stages)]
    # The fixed site 3 belongs to the choice before it; the last choice has two sites.
    assert [stage.sites for stage in stages] == [range(1), range(1, 2), range(2, 4), range(4, 6)]
    network = build_network(Architecture.parse(TEACHER, config)).eval()
    x = torch.randn(2, 3, 16, 16)
    y = network.stem(x)
    for stage, module, own in zip(
        stages, network.stages, Architecture.parse(TEACHER, config).blocks, strict=True
    ):
        assert tuple(y.shape[1:]) == stage.input_shape
        y = module(y)
        assert tuple(y.shape[1:]) == stage.output_shape
        names = [stage.prefix + name for name in build_stage(stage, own).state_dict()]
        assert set(names) <= network.state_dict().keys() and names == list(module.state_dict())
    assert torch.equal(network.head(y), network(x))


def test_costs_of_stem_stages_and_head_add_up() -> None:
    config = own_space()
    table, index = stage_costs(config), 17
    whole = stem_cost(config).macs + config.chain.head.traced.macs  # type: ignore[union-attr]
    whole += sum(row[block].macs for row, block in zip(table, blocks_of(config, index), strict=True))
    assert whole == network_cost(config, index).macs > fixed_cost(config).macs
    assert table[0][config.table.by_text["basic"]].params == 0  # no candidate of that stage


def test_sites_at_the_front_belong_to_the_first_stage_and_enclosed_choices_are_refused() -> None:
    given = {"image_size": 8, "classes": 2, "stem": {"module": "conv", "channels": 4}, "head": "linear"}
    both = {"candidates": ["conv", "separable"]}
    candidates = {"conv": "conv", "separable": "separable"}
    fixed = {"candidates": ["conv"], "channels": 6, "stride": 2}
    front = define("front", candidates=candidates, sites=[fixed, both, both], **given)  # type: ignore[arg-type]
    assert SpaceStage(front, 0).sites == range(2) and SpaceStage(front, 0).input_shape == (4, 8, 8)
    outer = {**both, "choice": "outer"}
    enclosed = define("enclosed", candidates=candidates, sites=[outer, both, outer], **given)  # type: ignore[arg-type]
    with pytest.raises(
        ArchitectureError, match=r"^distilling: in space 'enclosed@.*' site site2 follows .* of site site0"
    ):
        check_stages(enclosed, "distilling")


# --- distillation ---------------------------------------------------------------------------------


def test_blocks_learn_alone_whatever_is_trained_beside_them() -> None:
    together, alone = distilled(2), distilled(2, together=1)
    assert [str(block) for block in together.blocks] == ["mb", "ghost", "skip"]
    assert np.allclose(together.history, alone.history, rtol=1e-4) and np.allclose(
        together.nsr, alone.nsr, rtol=1e-3
    )
    for one, other in zip(together.weights, alone.weights, strict=True):
        assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_a_candidate_without_weights_has_the_same_error_in_every_epoch() -> None:
    found = distilled(1)
    place = [str(block) for block in found.blocks].index("skip")
    assert not found.weights[place] and np.ptp(found.history[:, place]) < 1e-6
    mb = found.history[:, 0]
    assert mb[1] < mb[0]


@pytest.mark.parametrize("recipe", [RECIPE, SHARED])
def test_a_library_reads_back_and_makes_any_network(recipe: DistilRecipe, tmp_path: Path) -> None:
    save_trained(tmp_path / "teacher.harness", teacher())
    for stage in library(recipe).stages:
        assert stage is not None
        save_stage(tmp_path, stage)
    found = load_library(tmp_path)
    assert found.digest == library(recipe).digest
    for index in (0, 17, len(own_space()) - 1):
        network = build_network(own_space()[index])
        network.load_state_dict(found.assemble(own_space()[index]))
        x = torch.randn(2, 3, 16, 16)
        y = network.eval().stem(x)
        for stage, own in zip(library(recipe).stages, own_space()[index].blocks, strict=True):
            assert stage is not None
            module = build_stage(stage.place, own).eval()
            module.load_state_dict(dict(stage.of(own)))
            y = module(y)
        assert torch.equal(network.head(y), network(x))


def test_the_teachers_own_blocks_answer_as_the_teacher_does() -> None:
    recipe = DistilRecipe(epochs=1, batch=14, keep_own=True)
    for stage, own in enumerate(teacher().architecture.blocks):
        found = distilled(stage, recipe)
        assert found.nsr[found.blocks.index(own)] < 1e-9 and (np.sort(found.nsr)[1:] > 1e-3).all()


def test_signatures_are_known_of_what_each_stage_has(tmp_path: Path) -> None:
    found = score_blocks(library(), task())
    found = found.with_columns(score_on_training(library(), task()).columns)
    for name in ("nsr", "loss_change", "agreement", "params", "macs", TRAIN_LOSS_CHANGE):
        assert (np.isfinite(found.column(name)) == available(own_space())).all()
    assert Signatures.from_json(found.to_json()).digest == found.digest


def test_a_head_that_views_its_input_is_scored_as_it_is_trained(tmp_path: Path) -> None:
    viewing = """

class Flat(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.linear = nn.Linear(channels_in * 16, channels_out)

    def forward(self, x):
        return self.linear(x.view(len(x), -1))


def flat(channels_in, channels_out, stride):
    return Flat(channels_in, channels_out, stride)
"""
    head = DEFINITION.replace('"conv_linear"\nchannels = 16', '"own_ops:flat"')
    config = load_space(write_space(tmp_path, head, CANDIDATES + viewing))
    one = small_teacher("mb/skip/mb/skip", config=config)
    stage = distil_stage(StageTask(one, task(), 3), DistilRecipe(epochs=1, batch=14, keep_own=True))
    found = score_blocks(BlockLibrary(teacher=one, stages=(None, None, None, stage)), task())
    own = config.table.by_text["skip"]
    assert abs(found.column("loss_change")[3, own]) < 1e-5 and found.column("agreement")[3, own] == 100


# --- what is refused ------------------------------------------------------------------------------


def test_a_block_of_another_stage_is_refused() -> None:
    config = own_space()
    with pytest.raises(ConfigError, match="no block basic in stage 0; its blocks are of mb, ghost"):
        distil_stage(StageTask(teacher(), task(), 0), RECIPE, [config.blocks[config.table.by_text["basic"]]])
    with pytest.raises(ConfigError, match="has no stage 4; its stages are 0 to 3"):
        distil_stage(StageTask(teacher(), task(), 4), RECIPE)


@pytest.mark.parametrize("recipe", [RECIPE, SHARED])
def test_a_last_batch_of_one_image_is_refused_where_any_batch_norm_cannot_take_it(
    recipe: DistilRecipe,
) -> None:
    some, alone = make_synthetic_task(lone_space(), 1, (3, 1, 1)), dataclasses.replace(recipe, batch=5)
    one = small_teacher("plain", config=lone_space())
    refused = r"^distillation recipe: batch = 5 leaves .* and a BatchNorm of block squeeze in stage 0 of space 'lone"
    with pytest.raises(ConfigError, match=refused):
        distil_stage(StageTask(one, some, 0), alone)
    assert distil_stage(StageTask(one, some, 0), dataclasses.replace(recipe, batch=4)).nsr.shape == (2,)


def test_weights_of_other_types_than_libraries_keep_are_refused(tmp_path: Path) -> None:
    odd = """
import torch
from torch import nn


class Odd(nn.Module):
    def __init__(self, channels_in, channels_out, stride):
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, stride)
        self.register_buffer("scale", torch.ones(channels_out, 1, 1, dtype=torch.float16))

    def forward(self, x):
        return self.conv(x) * self.scale.float()


def ghost(channels_in, channels_out, stride, *, ratio=2):
    return Odd(channels_in, channels_out, stride)
"""
    config = load_space(write_space(tmp_path, DEFINITION, odd))
    with pytest.raises(
        ConfigError, match=r"block ghost of stage 0: sites\.0\.scale is of torch\.float16, and libraries keep"
    ):
        distil_stage(StageTask(small_teacher("mb/mb/mb/basic", config=config), task(), 0), RECIPE)
