"""A block library on a network of drawn weights: what it is of, what it refuses, and what its blocks are worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_small import BLOCKS, SMALL, small_task, small_teacher
from torch.nn.functional import cross_entropy

from harness.errors import ConfigError
from search.blockwise import features as features_module
from search.blockwise import signing
from search.blockwise.distil_recipe import DistilRecipe
from search.blockwise.distilling import distil_stage, fresh_stage
from search.blockwise.features import teacher_features, teacher_network
from search.blockwise.library import (
    BlockLibrary,
    StageLibrary,
    load_library,
    save_library,
    stage_content,
    stage_from,
)
from search.blockwise.packing import pack, unpack
from search.blockwise.plugged import judge_on, write_weights
from search.blockwise.signing import block_sizes, sign
from search.blockwise.stage_errors import judge_stages, stacked_stages
from search.training.augment import Augmentation
from search.training.sealed import content_digest
from search.training.trained import trained_digest
from space import Architecture
from space.networks import Stage, build_network

RECIPE = DistilRecipe(epochs=1, batch=20)
TEXTS = ("mbconv", "conv-conv+out", "conv")  # not in canonical order


def drawn_stage(stage: int, texts: tuple[str, ...] = TEXTS, **changes: Any) -> StageLibrary:
    """Return blocks of fresh weights as if they were distilled."""
    blocks = tuple(BLOCKS[text] for text in texts)
    found = StageLibrary(
        config=SMALL,
        teacher=trained_digest(small_teacher()),
        task="synthetic noise",
        source="synthetic noise",
        stage=stage,
        recipe=RECIPE,
        blocks=blocks,
        weights=tuple(
            fresh_stage(RECIPE, stage, block, SMALL.widths[stage]).state_dict() for block in blocks
        ),
        history=np.full((1, len(blocks)), 0.5),
        mse=np.arange(1.0, 1 + len(blocks)),
        nsr=np.arange(10.0, 10 + len(blocks)),
        seconds=1.0,
        environment={"threads": "1"},
    )
    return dataclasses.replace(found, **changes)


def library_of(*stages: StageLibrary | None) -> BlockLibrary:
    return BlockLibrary(teacher=small_teacher(), stages=stages)


def classed(weights: Any, architecture: Architecture, images: np.ndarray) -> torch.Tensor:
    """Return a network's logits in evaluation mode."""
    network = build_network(architecture)
    network.load_state_dict(dict(weights))
    task = small_task()
    scaled = torch.tensor((images / 255 - task.mean) / task.std, dtype=torch.float32).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network.eval()(scaled)


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
        ((drawn_stage(0),), "1 stages; space 'small' has 2"),
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
        ({"stage": 2}, "stage 2 is not in space 'small'"),
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


def test_packed_weights_of_another_length_type_or_layer_are_refused() -> None:
    block = BLOCKS["conv-mbconv"]
    state = Stage(block, 4).state_dict()
    turned = pack(dict(reversed(state.items())), block, 4)  # the order is the block's, not the dictionary's
    packed = pack(state, block, 4)
    assert all(torch.equal(turned[name], packed[name]) for name in packed)
    assert packed["values"].dtype == torch.float32 and packed["counts"].dtype == torch.int64
    marked = {**packed, "counts": torch.arange(len(packed["counts"]))}
    counts = [int(tensor) for name, tensor in unpack(marked, block, 4).items() if not tensor.ndim]
    assert counts == list(range(len(counts))) and len(counts) > 3
    for changes, told in (
        ({"values": packed["values"][1:]}, "values are torch.float32"),
        ({"values": packed["values"].double()}, "values are torch.float64"),
        ({"counts": packed["counts"][1:]}, "counts are torch.int64"),
        ({"counts": packed["counts"].float()}, "counts are torch.float32"),
        ({"values": None}, "values are not there"),
    ):
        with pytest.raises(ConfigError, match=f"^block conv-mbconv: its {told}"):
            unpack({**packed, **changes}, block, 4)
    for wrong, told in (
        ({**state, "more": torch.zeros(1)}, r"more is \(1,\) in the weights, not there in the block"),
        ({**state, "reduction.shallow.0.bias": torch.zeros(7)}, r"bias is \(7,\) in the weights, \(8,\)"),
        ({name: state[name] for name in list(state)[1:]}, "is not there in the weights"),
    ):
        with pytest.raises(ConfigError, match=rf"^block conv-mbconv of width 4: .*{told}"):
            pack(wrong, block, 4)


def test_signatures_are_those_of_each_block_in_the_teachers_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signing, "BATCH", 8)  # 21 images: two batches and a rest
    monkeypatch.setattr(signing, "together_for", lambda *of: 2)  # three blocks: two, then one
    task, teacher = small_task(), small_teacher()
    library = library_of(drawn_stage(0), drawn_stage(1, TEXTS[:2]))
    with torch.enable_grad():
        found = sign(library, task)
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
    told: list[int] = []
    sign(library_of(None, library.stages[1]), task, on_stage=told.append)
    assert told == [1]


def test_features_for_signatures_lie_on_disk_where_memory_may_not_hold_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    real = features_module._file_of
    monkeypatch.setattr(
        features_module, "_file_of", lambda size, folder: sizes.append(size) or real(size, folder)
    )
    sign(library_of(drawn_stage(0), None), small_task(), memory_bytes=0)
    assert sizes == [21 * 4 * (4 * 8 * 8 + 8 * 4 * 4)]


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
    with teacher_features(small_teacher(), small_task(), 1, "val") as features:
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


def test_features_of_more_images_than_the_teacher_sees_at_once_have_their_true_variance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features_module, "BATCH", 16)  # 40 images: two batches and a rest
    before = torch.get_rng_state()
    with torch.enable_grad(), teacher_features(small_teacher(), small_task(), 0, views=2) as found:
        network = teacher_network(small_teacher())
        with torch.no_grad():
            wanted = network.stages[0](found.inputs)
        torch.testing.assert_close(found.targets, wanted, rtol=1e-4, atol=1e-5)
        assert not found.targets.requires_grad and torch.equal(found.inputs[:40], found.inputs[40:])
        variance = wanted.double().var((0, 2, 3), correction=0)
        torch.testing.assert_close(found.variance.double(), variance, rtol=1e-4, atol=1e-9)
    assert torch.equal(torch.get_rng_state(), before)
    varied = Augmentation(rand_ops=0, cutout=0)
    some = []
    for seed in (0, 1, 0):
        with teacher_features(small_teacher(), small_task(), 0, augmentation=varied, seed=seed) as one:
            some.append(one.inputs.clone())
    assert torch.equal(some[0], some[2]) and not torch.equal(some[0], some[1])


def test_a_channel_that_hardly_varies_is_given_a_small_part_of_the_mean_variance() -> None:
    def variance(values: list[list[float]]) -> list[float]:
        return features_module._variance(torch.tensor(values)[:, None, None, :]).tolist()  # (n, 1, 1, c)

    assert variance([[0.0, 5.0], [2.0, 5.0]]) == pytest.approx([1.0, 5e-7])  # half of 1, one millionth of it
    tiny = float(torch.finfo(torch.float32).tiny)
    assert variance([[3.0, 5.0], [3.0, 5.0]]) == pytest.approx([tiny, tiny], rel=1e-6)
    assert variance([[0.1], [0.1], [0.1]])[0] > 0  # rounding below zero is none


def test_a_stage_that_the_space_lacks_and_images_that_do_not_fit_are_refused() -> None:
    for stage in (-1, 2):
        with pytest.raises(ConfigError, match=f"no stage {stage}; its stages are 0 to 1"):
            distil_stage(small_teacher(), small_task(), stage, RECIPE)
    fewer = dataclasses.replace(SMALL, classes=3)
    with pytest.raises(ConfigError, match="classes"):
        distil_stage(small_teacher(config=fewer), small_task(), 0, RECIPE)


def test_a_plugged_network_is_judged_on_the_split_that_is_named(tmp_path: Path) -> None:
    teacher, task = small_teacher(), small_task()
    judge = judge_on(task)
    before = torch.get_rng_state()
    judge(teacher.architecture, teacher.weights, "val")
    assert torch.equal(torch.get_rng_state(), before)
    for split, images in (("val", task.val), ("test", task.test)):
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
    with pytest.raises(
        ConfigError, match=f"^{tmp_path / 'nowhere' / 'w.pt'}: weights cannot be written: No such"
    ):
        write_weights(tmp_path / "nowhere" / "w.pt", teacher.weights, teacher.architecture)
