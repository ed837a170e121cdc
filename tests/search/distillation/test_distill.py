"""Blocks distilled from a teacher: their losses, the library that they make, and what signs them."""

from __future__ import annotations

import errno
import os
import tempfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch
from factories.block_libraries import save_library
from factories.teachers import TEACHER, few_digits, made_teacher

from search.distillation import teacher_features as features_module
from search.distillation.block_library import (
    BlockLibrary,
    load_library,
    save_stage,
    stage_content,
    stage_from,
)
from search.distillation.block_scores import score_blocks
from search.distillation.distill import distil_stage
from search.distillation.losses import errors
from search.distillation.packing import pack, shapes_of, unpack
from search.distillation.recipe import DistilRecipe
from search.distillation.teacher_features import StageTask, Views, teacher_features, teacher_network
from search.training.augment import Augmentation
from search.training.sealed import content_digest
from search.training.trained_files import load_trained
from space import MINI, TINY, Architecture
from space.errors import ConfigError, HarnessError
from space.networks import Stage, build_network
from space.stages import SpaceStage

pytestmark = pytest.mark.training

BLOCKS = {str(block): block for block in TINY.blocks}
OWN = [BLOCKS[text] for text in TEACHER.split("/")]
SINGLES = [BLOCKS[op] for op in TINY.ops]
QUICK = DistilRecipe(epochs=2, batch=32)


def same(one: dict, other: dict) -> bool:
    return content_digest({**one, "seconds": 0, "environment": {}}) == content_digest(
        {**other, "seconds": 0, "environment": {}}
    )


@cache
def own_library() -> BlockLibrary:
    """Return a library whose blocks are the teacher's own, with the teacher's weights."""
    teacher, recipe = made_teacher(), replace(QUICK, epochs=1, keep_own=True)
    stages = [distil_stage(StageTask(teacher, few_digits(), place), recipe, [OWN[place]]) for place in (0, 1)]
    return BlockLibrary(teacher=teacher, stages=tuple(stages))


def test_errors_are_the_hand_worked_ones() -> None:
    targets = torch.tensor([[0.0, 0.0], [2.0, 4.0]])[:, :, None, None]  # two images, two channels
    answers = torch.tensor([[1.0, 0.0, 0.0, 2.0], [2.0, 4.0, 0.0, 2.0]])[:, :, None, None]  # two members
    variance = torch.tensor([1.0, 4.0])
    mse, nsr = errors(answers, targets, variance)
    assert mse.tolist() == [0.25, 3.0]  # channels 0.5 and 0; 2 and 4
    assert nsr.tolist() == [0.25, 1.5]


def test_features_are_what_the_teachers_stage_reads_and_answers() -> None:
    teacher, task = made_teacher(), few_digits()
    network = teacher_network(teacher)
    with teacher_features(StageTask(teacher, task, 1), "val") as found:
        assert found.inputs.shape == (64, 16, 4, 4) and found.targets.shape == (64, 32, 2, 2)
        with torch.no_grad():
            torch.testing.assert_close(network.stages[1](found.inputs), found.targets, rtol=1e-4, atol=1e-5)
            logits = network.head(found.targets)
        hits = int((logits.argmax(1) == torch.tensor(task.val.labels)).sum())
        assert hits == teacher.best.val.first
        wanted = found.targets.double().var(dim=(0, 2, 3), correction=0)
        floor = wanted.mean() * 1e-6
        torch.testing.assert_close(found.variance.double(), wanted.clamp(min=floor), rtol=1e-4, atol=1e-9)


def test_features_too_large_for_memory_lie_on_disk_and_are_the_same(tmp_path, monkeypatch) -> None:
    teacher, task = made_teacher(), few_digits()
    views = Views(count=2, augmentation=Augmentation(rand_ops=0, cutout=0), seed=3)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        teacher_features(StageTask(teacher, task, 0), views=views) as held,
        teacher_features(StageTask(teacher, task, 0, memory_bytes=1000), views=views) as mapped,
    ):
        assert (
            len(held) == 256
            and torch.equal(held.inputs, mapped.inputs)
            and torch.equal(held.targets, mapped.targets)
        )
        assert not torch.equal(held.inputs[:128], held.inputs[128:])  # the second view is varied anew
    assert list(tmp_path.iterdir()) == []


def test_a_disk_too_full_for_features_is_named(tmp_path, monkeypatch) -> None:
    def full(descriptor: int, begin: int, length: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(features_module.os, "posix_fallocate", full)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with (
        pytest.raises(ConfigError, match=rf"{tmp_path}: [0-9,]+ bytes .*No space left.*free space"),
        teacher_features(StageTask(made_teacher(), few_digits(), 0, memory_bytes=0)),
    ):
        pass


def test_distilling_lowers_the_held_out_error_of_every_op() -> None:
    teacher, task, recipe = made_teacher(), few_digits(256), replace(QUICK, epochs=4, batch=64)
    few = distil_stage(StageTask(teacher, task, 1), replace(recipe, epochs=1, learning_rate=1e-9), SINGLES)
    more = distil_stage(StageTask(teacher, task, 1), recipe, SINGLES)
    assert (more.nsr < 0.8 * few.nsr).all() and (more.mse < few.mse).all()
    assert more.history.shape == (4, 3) and (more.history[-1] < more.history[0]).all()


def test_the_teachers_own_blocks_have_no_error_and_make_the_teacher_again() -> None:
    teacher, library = made_teacher(), own_library()
    for stage in library.stages:
        assert stage.nsr[0] < 1e-6 and stage.mse[0] < 1e-6
    state = library.assemble(teacher.architecture)
    assert list(state) == list(build_network(teacher.architecture).state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in teacher.weights.items())
    signatures = score_blocks(library, few_digits())
    for place, block in enumerate(OWN):
        column = TINY.blocks.index(block)
        assert abs(signatures.column("loss_change")[place, column]) < 1e-5
        assert signatures.column("accuracy_change")[place, column] == 0
        assert signatures.column("agreement")[place, column] == 100


def test_a_block_becomes_what_it_becomes_whoever_learns_beside_it() -> None:
    teacher, task = made_teacher(), few_digits()
    recipe = replace(QUICK, epochs=1, batch=128)  # one step: rounding has no time to grow
    beside = distil_stage(StageTask(teacher, task, 0), recipe, SINGLES)
    alone = distil_stage(StageTask(teacher, task, 0), recipe, SINGLES[1:2])
    in_turns = distil_stage(StageTask(teacher, task, 0), recipe, SINGLES, together=2)
    assert alone.history[0, 0] == pytest.approx(beside.history[0, 1], rel=1e-5)
    np.testing.assert_allclose(in_turns.history, beside.history, rtol=1e-5)
    for name, tensor in alone.weights[0].items():
        # Adam's first step is 0.01.
        torch.testing.assert_close(beside.weights[1][name], tensor, rtol=1e-3, atol=0.021)


def test_a_library_reads_back_and_refuses_what_is_not_its_own(tmp_path) -> None:
    library = own_library()
    save_library(tmp_path, library)
    found = load_library(tmp_path)
    assert found.digest == library.digest and found.missing == ()
    assert same(stage_content(found.stages[1]), stage_content(library.stages[1]))
    (tmp_path / "stage-0.harness").unlink()
    assert load_library(tmp_path).missing == (0,)
    with pytest.raises(ConfigError, match=r"stage 0 was not distilled; run 'harness distill'"):
        load_library(tmp_path).assemble(library.teacher.architecture)
    with pytest.raises(ConfigError, match=r"has no block conv: 1 of 45"):
        library.assemble(Architecture.parse("conv/conv", TINY))
    with pytest.raises(ConfigError, match=r"of space 'mini', the library of 'tiny'"):
        library.assemble(Architecture.parse("conv/conv", MINI))
    other = made_teacher("conv/conv", 1)
    with pytest.raises(ConfigError, match=r"is of teacher .* distill it again"):
        BlockLibrary(teacher=other, stages=library.stages)
    with pytest.raises(ConfigError, match=r"no block library: it has no teacher.harness"):
        load_library(tmp_path / "nowhere")
    path = save_stage(tmp_path, library.stages[0])
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ConfigError, match=r"stage-0.harness: is damaged"):
        load_library(tmp_path)
    content = stage_content(library.stages[0])
    with pytest.raises(
        ConfigError, match=r"block conv: its values are .* \(9768,\), and .* \(6672,\) in stage 0"
    ):
        stage_from({**content, "blocks": ["conv"]})
    assert load_trained(tmp_path / "teacher.harness").architecture == library.teacher.architecture


def test_bad_wishes_are_named() -> None:
    teacher, task = made_teacher(), few_digits()
    with pytest.raises(ConfigError, match=r"no stage 2; its stages are 0 to 1"):
        distil_stage(StageTask(teacher, task, 2), QUICK)
    with pytest.raises(ConfigError, match=r"no block to distill"):
        distil_stage(StageTask(teacher, task, 0), QUICK, [])
    with pytest.raises(
        HarnessError, match=r"block conv of stage 0: the loss of epoch 1 is .*lower learning_rate"
    ):
        distil_stage(StageTask(teacher, task, 0), replace(QUICK, learning_rate=1e30), SINGLES[:1])
    for knobs, text in (
        ({"loss": "l1"}, "loss = 'l1'; choose one of nsr, mse"),
        ({"epochs": 0}, "epochs = 0"),
        ({"views": 3}, "views = 3"),
        ({"learning_rate": 0}, "learning_rate = 0; give a finite number above 0"),
    ):
        with pytest.raises(ConfigError, match=text):
            replace(QUICK, **knobs)
    assert DistilRecipe.from_json(QUICK.to_json()) == QUICK
    with pytest.raises(
        ConfigError,
        match=r"distillation recipe has no 'epoch', did you mean 'epochs'|distillation recipe has no 'epoch'",
    ):
        DistilRecipe.from_json('{"epoch": 3}')


def test_every_block_packs_into_two_tensors_and_back() -> None:
    place = SpaceStage(TINY, 0)
    for block in TINY.blocks[::7]:
        stage = Stage(block, 8)
        stage(torch.randn(2, 8, 8, 8))
        state = stage.state_dict()
        assert {name: tuple(tensor.shape) for name, tensor in state.items()} == shapes_of(block, place)
        back = unpack(pack(state, block, place), block, place)
        assert list(back) == list(state) and all(
            torch.equal(back[name], tensor) for name, tensor in state.items()
        )
    with pytest.raises(
        ConfigError, match=r"block conv of stage 1: .* is \(8, 8, 3, 3\) in the weights, \(16, 16, 3, 3\)"
    ):
        pack(Stage(BLOCKS["conv"], 8).state_dict(), BLOCKS["conv"], SpaceStage(TINY, 1))
