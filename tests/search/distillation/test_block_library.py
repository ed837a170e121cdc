"""A block library on a network of drawn weights: what it is of, what it refuses, and what its blocks are worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.block_libraries import save_library
from factories.small_distillations import (
    BLOCKS,
    RECIPE,
    SMALL,
    TEXTS,
    drawn_stage,
    pixels,
    small_task,
    small_task_apart,
    small_teacher,
)
from torch.nn.functional import cross_entropy

from search.blockwise.rounds import inherited_judge
from search.distillation import block_scores
from search.distillation.block_library import (
    BlockLibrary,
    StageLibrary,
    load_library,
    stage_content,
    stage_from,
)
from search.distillation.block_scores import block_sizes, cached_signatures, score_blocks
from search.distillation.distill import distil_stage
from search.distillation.losses import judge_stages, stacked_stages
from search.distillation.signatures import TRAIN_LOSS_CHANGE, Signatures
from search.distillation.teacher_features import StageTask, teacher_features
from search.training.sealed import content_digest
from search.training.trained import trained_digest
from search.training.trained_files import write_weights
from space import Architecture
from space.errors import ConfigError
from space.networks import Stage, build_network


def library_of(*stages: StageLibrary | None) -> BlockLibrary:
    return BlockLibrary(teacher=small_teacher(), stages=stages)


def classed(weights: Any, architecture: Architecture, images: np.ndarray) -> torch.Tensor:
    """Return a network's logits in evaluation mode."""
    network = build_network(architecture)
    network.load_state_dict(dict(weights))
    with torch.no_grad():
        return network.eval()(pixels(images))


def test_an_assembled_network_has_each_stages_own_blocks_and_the_teachers_ends() -> None:
    library = library_of(drawn_stage(0), drawn_stage(1))
    architecture = Architecture.parse("conv-conv+out/mbconv", SMALL)
    state = library.assemble(architecture)
    assert list(state) == list(build_network(architecture).state_dict())
    for name, tensor in state.items():
        if name.startswith("stages."):
            _, place, rest = name.split(".", 2)
            wanted = library.stages[int(place)].weights[{"0": 1, "1": 0}[place]][rest]
        else:
            wanted = small_teacher().weights[name]
        assert torch.equal(tensor, wanted), name


def test_the_digest_is_of_the_teacher_the_blocks_their_weights_and_the_recipe_alone() -> None:
    one = drawn_stage(0)
    name = library_of(one, None).digest
    same = {
        "seconds": 2.0,
        "environment": {"threads": "2"},
        "mse": one.mse + 1,
        "task": "other",
        "source": "",
    }
    for key, value in same.items():
        assert library_of(drawn_stage(0, **{key: value}), None).digest == name, key
    weights = ({**one.weights[0], "cell.op1.layers.0.0.0.bias": torch.zeros(8)}, *one.weights[1:])
    teacher = small_teacher(seed=1)
    foreign = dataclasses.replace(one, teacher=trained_digest(teacher))
    others = (
        library_of(None, None),
        library_of(one, drawn_stage(1)),
        library_of(drawn_stage(0, weights=weights), None),
        library_of(drawn_stage(0, recipe=dataclasses.replace(RECIPE, seed=1)), None),
        BlockLibrary(teacher=teacher, stages=(foreign, None)),
        # "conv-conv+out" and "conv-conv+in+out" have weights of the same shapes: names decide
        library_of(drawn_stage(0, blocks=(one.blocks[0], BLOCKS["conv-conv+in+out"], one.blocks[2])), None),
    )
    assert len({name, *(other.digest for other in others)}) == 7


def test_stages_that_are_not_the_teachers_are_refused_by_what_differs() -> None:
    other = dataclasses.replace(SMALL, name="other")
    wider = dataclasses.replace(SMALL, classes=5)
    for stages, told in (
        ((drawn_stage(0),), "1 stage; space 'small' has 2"),
        ((drawn_stage(1), None), "stage 0 is of stage 1, the teacher's is 0"),
        ((drawn_stage(0, config=other), None), "stage 0 is of space other, the teacher's is small"),
        ((drawn_stage(0, config=wider), None), "stage 0 is of description of the space .*classes=5"),
        (
            (drawn_stage(0, teacher="0" * 64), None),
            "stage 0 is of teacher 0000000000000000, the teacher's is",
        ),
    ):
        with pytest.raises(ConfigError, match=f"^library: {told}"):
            library_of(*stages)


def test_a_stage_reads_back_whole_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    stage = drawn_stage(1)
    content = stage_content(stage)
    found = stage_from(content)
    for item in dataclasses.fields(StageLibrary):
        if item.name == "weights":
            continue
        one, other = getattr(found, item.name), getattr(stage, item.name)
        assert np.array_equal(one, other) if isinstance(one, np.ndarray) else one == other, item.name
    for state, wanted in zip(found.weights, stage.weights, strict=True):
        assert list(state) == list(wanted) and all(torch.equal(state[name], wanted[name]) for name in wanted)
    for changes, told in (
        ({"stage": 2}, "space 'small' has no stage 2"),
        ({"blocks": []}, "argument 2 is longer|0 blocks have"),
        ({"blocks": [], "weights": []}, "0 blocks have 3 and 3 losses"),
        ({"mse": [1.0]}, "3 blocks have 1 and 3 losses"),
        ({"nsr": [1.0]}, "3 blocks have 3 and 1 losses"),
        ({"weights": content["weights"][:2]}, "shorter"),
        ({"blocks": ["bconv", "conv", "conv"]}, "space 'small' has no block 'bconv'"),
        ({"blocks": 3}, "not iterable"),
        ({"space_config": {"name": "small"}}, "missing"),
        ({"recipe": '{"epoch": 3}'}, "no 'epoch'"),
    ):
        with pytest.raises(ConfigError, match=rf"^it: is no distilled stage of this version: .*({told})"):
            stage_from({**content, **changes}, "it")
    for name in content.keys() - {"space"}:  # the name of a space, which is written out beside
        with pytest.raises(ConfigError, match=f"^it: has no '{name}', as a distilled stage does"):
            stage_from({key: value for key, value in content.items() if key != name}, "it")
    save_library(tmp_path, library_of(None, stage))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["stage-1.harness", "teacher.harness"]
    (tmp_path / "stage-1.harness").rename(tmp_path / "stage-0.harness")
    with pytest.raises(ConfigError, match=f"^{tmp_path}: library: stage 0 is of stage 1"):
        load_library(tmp_path)


def test_signatures_are_those_of_each_block_in_the_teachers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(block_scores, "BATCH", 8)  # 21 images: two batches and a rest
    monkeypatch.setattr(block_scores, "together_for", lambda *of: 2)  # three blocks: two, then one
    task, teacher = small_task(), small_teacher()
    library = library_of(drawn_stage(0), drawn_stage(1, TEXTS[:2]))
    with torch.enable_grad():
        found = score_blocks(library, task)
    labels = torch.tensor(task.val.labels)
    own = classed(teacher.weights, teacher.architecture, task.val.images)
    for place, stage in enumerate(library.stages):
        for row, block in enumerate(stage.blocks):
            blocks = list(teacher.architecture.blocks)
            blocks[place] = block
            architecture = Architecture(blocks=tuple(blocks), config=SMALL)
            weights = {k: v for k, v in teacher.weights.items() if not k.startswith(f"stages.{place}.")}
            weights |= {f"stages.{place}.{name}": tensor for name, tensor in stage.weights[row].items()}
            said = classed(weights, architecture, task.val.images)
            wanted = {
                "mse": stage.mse[row],
                "nsr": stage.nsr[row],
                "loss_change": float(cross_entropy(said, labels) - cross_entropy(own, labels)),
                "accuracy_change": 100
                * float((said.argmax(1) == labels).float().mean() - (own.argmax(1) == labels).float().mean()),
                "agreement": 100 * float((said.argmax(1) == own.argmax(1)).float().mean()),
            }
            for name, value in wanted.items():
                at = found.column(name)[place, SMALL.blocks.index(block)]
                assert at == pytest.approx(value, abs=1e-4), (name, place, str(block))
    for name in wanted:
        assert np.isfinite(found.column(name)).sum(1).tolist() == [3, 2]
    assert found.teacher == trained_digest(teacher) and found.task == "synthetic noise"
    assert found.notes == {
        "teacher": "conv-mbconv/mbconv",
        "images": "21 validation images of drawn by a test",
        "library": library.digest,
    }


def test_loss_changes_on_training_images_are_scored_where_they_are_asked_for_and_once(tmp_path: Path) -> None:
    library, task = library_of(drawn_stage(0), drawn_stage(1, TEXTS[:2])), small_task()
    told: list[str] = []

    def asked(*columns: str) -> Signatures:
        return cached_signatures(library, task, tmp_path, "cpu", told.append, columns)

    plain = asked("nsr")
    assert TRAIN_LOSS_CHANGE not in plain.columns
    whole = asked("nsr", TRAIN_LOSS_CHANGE)
    on_training = score_blocks(library, dataclasses.replace(task, val=task.train)).column("loss_change")
    np.testing.assert_array_equal(whole.column(TRAIN_LOSS_CHANGE), on_training)
    assert not np.array_equal(on_training, plain.column("loss_change"), equal_nan=True)
    for name in plain.columns:
        np.testing.assert_array_equal(whole.column(name), plain.column(name))
    assert [text.split(" stages")[0] for text in told] == ["scoring 2", "scoring 2"]
    assert asked(TRAIN_LOSS_CHANGE).digest == asked().digest == whole.digest and len(told) == 2


def test_sizes_of_a_block_are_the_difference_that_it_makes_to_a_network() -> None:
    sizes = block_sizes(SMALL)
    for place in (0, 1):
        lone = Stage(BLOCKS["conv-mbconv"], SMALL.widths[place])
        column = SMALL.blocks.index(BLOCKS["conv-mbconv"])
        assert sizes["params"][place, column] == sum(one.numel() for one in lone.parameters())
    # The head and the stem of "conv/conv" are what is left of its multiply-accumulates: 4 units of 3 x 3 x 3 at 8 px, and
    # 16 features to 4 classes; a costing of a pass as the space has it may count more, but never of one block alone.
    left = [
        Architecture.parse(text, SMALL).macs
        - sum(
            sizes["macs"][place, SMALL.blocks.index(BLOCKS[block])]
            for place, block in enumerate(text.split("/"))
        )
        for text in ("conv/conv", "conv-conv/mbconv", "mbconv/conv+mbconv")
    ]
    assert len(set(left)) == 1 and 4 * 27 * 64 + 16 * 4 <= left[0] <= 2 * (4 * 27 * 64 + 16 * 4)


def test_judging_stages_weighs_images_alike_and_uses_running_means() -> None:
    stage = drawn_stage(1)
    network = stacked_stages(stage)
    assert not network.training
    with teacher_features(StageTask(small_teacher(), small_task(), 1), "val") as features:
        whole, parts = (
            judge_stages(network, features, 21, "cpu"),
            judge_stages(network.train(), features, 8, "cpu"),
        )
        for one, other in zip(whole, parts, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-5)
        alone = Stage(stage.blocks[1], 8)
        alone.load_state_dict(dict(stage.weights[1]))
        with torch.no_grad():
            wrong = (alone.eval()(features.inputs) - features.targets).square().mean((0, 2, 3))
    assert whole[0][1] == pytest.approx(float(wrong.mean()), rel=1e-5)
    assert whole[1][1] == pytest.approx(float((wrong / features.variance).mean()), rel=1e-5)


def test_blocks_are_distilled_and_profiled_by_images_of_their_own_where_there_are_some() -> None:
    apart = small_task_apart()
    shared = dataclasses.replace(apart, val=apart.profile, held_out=None)
    library = library_of(drawn_stage(0), None)
    found, wanted = (score_blocks(library, task) for task in (apart, shared))
    for name, values in wanted.columns.items():
        np.testing.assert_array_equal(found.columns[name], values)
    assert (found.columns["loss_change"] != score_blocks(library, small_task()).columns["loss_change"]).any()
    assert found.notes["images"] == "21 images for profiling of drawn by a test"
    own, of_profile = (
        distil_stage(StageTask(small_teacher(), task, 1), RECIPE, [BLOCKS["conv"]])
        for task in (apart, shared)
    )
    assert (own.mse, own.nsr) == (of_profile.mse, of_profile.nsr)


def test_a_plugged_network_is_judged_on_the_split_that_is_named(tmp_path: Path) -> None:
    teacher, task = small_teacher(), small_task_apart()
    judge = inherited_judge(task)
    before = torch.get_rng_state()
    judge(teacher.architecture, teacher.weights, "rescore")
    assert torch.equal(torch.get_rng_state(), before)
    for split, images in (("rescore", task.rescore), ("test", task.test)):
        said = classed(teacher.weights, teacher.architecture, images.images)
        figures = judge(teacher.architecture, teacher.weights, split)
        assert figures.images == len(images)
        assert figures.loss == pytest.approx(
            float(cross_entropy(said, torch.tensor(images.labels))), rel=1e-5
        )
        assert figures.first == int((said.argmax(1) == torch.tensor(images.labels)).sum())
    path = tmp_path / "weights.pt"
    digest = write_weights(path, teacher.weights, teacher.architecture)
    found = torch.load(path, weights_only=True)
    for name, tensor in teacher.weights.items():
        assert torch.equal(found[name], tensor)
    assert digest == content_digest(dict(teacher.weights))
    with pytest.raises(ConfigError, match=f"^{path / 'w.pt'}: cannot be written: "):
        write_weights(path / "w.pt", teacher.weights, teacher.architecture)
