"""A teacher's features: their variance, where they lie and how large they are; what cannot be had is refused."""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from factories.small_distillations import BLOCKS, SMALL, small_task, small_teacher

from search.distillation import teacher_features as features_module
from search.distillation.distill import distil_stage
from search.distillation.recipe import DistilRecipe
from search.distillation.teacher_features import StageTask, Views, teacher_features, teacher_network
from search.training.augment import Augmentation
from space.errors import ConfigError

QUICK = DistilRecipe(epochs=1, batch=20)


@pytest.mark.training
def test_features_larger_than_what_memory_may_hold_lie_in_files_of_just_their_size(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sizes: list[int] = []
    real = features_module._file_of

    def spy(size_bytes: int) -> Any:
        sizes.append(size_bytes)
        return real(size_bytes)

    monkeypatch.setattr(features_module, "_file_of", spy)
    # Bytes of an image: 4 channels of 8 px, then 8 of 4 px, 4 bytes a number.
    a_view = 4 * (4 * 8 * 8 + 8 * 4 * 4)
    recipe = dataclasses.replace(QUICK, epochs=2, views=2)
    for limit, wanted in ((0, [80, 21]), (21 * a_view, [80]), (80 * a_view - 1, [80]), (80 * a_view, [])):
        sizes.clear()
        distil_stage(
            StageTask(small_teacher(), small_task(), 0, memory_bytes=limit), recipe, [BLOCKS["mbconv"]]
        )
        assert sizes == [images * a_view for images in wanted]


def test_a_folder_that_features_cannot_lie_in_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with (
        pytest.raises(ConfigError, match=rf"^{tmp_path}/nowhere: 16,128 bytes .*: No such file"),
        teacher_features(StageTask(small_teacher(), small_task(), 1, memory_bytes=0), "val"),
    ):
        pass


def test_features_of_more_images_than_the_teacher_sees_at_once_have_their_true_variance(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(features_module, "BATCH", 16)  # 40 images: two batches and a rest
    before = torch.get_rng_state()
    with (
        torch.enable_grad(),
        teacher_features(StageTask(small_teacher(), small_task(), 0), views=Views(count=2)) as found,
    ):
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
        with teacher_features(
            StageTask(small_teacher(), small_task(), 0), views=Views(augmentation=varied, seed=seed)
        ) as one:
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
            distil_stage(StageTask(small_teacher(), small_task(), stage), QUICK)
    fewer = dataclasses.replace(SMALL, classes=3)
    with pytest.raises(ConfigError, match="classes"):
        distil_stage(StageTask(small_teacher(config=fewer), small_task(), 0), QUICK)
