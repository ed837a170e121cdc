"""Networks trained together, over several epochs with all knobs of a recipe, against each trained alone."""

from __future__ import annotations

import dataclasses
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from factories.small_distillations import SMALL, small_task
from torch import nn

from search.training import batched_training, epochs
from search.training.augment import Augmentation
from search.training.batched_training import train_together
from search.training.epochs import judge
from search.training.history import EpochDone
from search.training.images import Images
from search.training.recipe import Recipe
from search.training.stacked_modules import StackedNetworks, stack, unstack
from search.training.training import train
from space import Architecture, SpaceConfig
from space.errors import ConfigError, HarnessError
from space.networks import build_network

pytestmark = pytest.mark.training

BOTH = [Architecture.parse(text, SMALL) for text in ("conv-mbconv+in/mbconv", "mbconv/conv")]
RECIPE = Recipe(
    epochs=2,
    batch=16,  # 40 images: two batches and a rest
    learning_rate=0.01,
    weight_decay=0.2,
    nesterov=True,
    label_smoothing=0.1,
    augmentation=Augmentation(rand_ops=0, cutout=0),
    seed=3,
)


def test_over_epochs_each_network_learns_what_it_would_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(epochs, "_CHECK_EVERY", 2)
    found = train_together(BOTH, small_task(), RECIPE)
    for architecture, one in zip(BOTH, found, strict=True):
        alone = train(architecture, small_task(), RECIPE)
        for mine, other in zip((*one.history, one), (*alone.history, alone), strict=True):
            parts = ("train", "val") if mine is not one else ("test",)
            for part in parts:
                here, there = getattr(mine, part), getattr(other, part)
                assert here.images == there.images
                assert here.loss == pytest.approx(there.loss, rel=2e-3), part
                assert abs(here.first - there.first) <= 1 and here.among_five == there.among_five, part
        assert [epoch.rate for epoch in one.history] == [epoch.rate for epoch in alone.history]
        assert one.environment["together"] == "2" and (one.task, one.recipe) == (alone.task, RECIPE)
        assert (one.architecture, one.source) == (architecture, alone.source)
    # The four classes are all among the five first; a space of more classes tells the fifth from the sixth.
    more = dataclasses.replace(SMALL, name="more", classes=9)
    labels = np.arange(40) % 9
    images = Images(images=small_task().train.images, labels=labels)
    task = dataclasses.replace(small_task(), train=images, val=images, test=images, classes=9)
    wide = Architecture.parse("conv/conv", more)
    (whole,) = train_together([wide], task, dataclasses.replace(RECIPE, epochs=1, batch=40))
    network = build_network(wide)
    network.load_state_dict(dict(whole.weights))
    assert 0 < whole.test.among_five == judge(network, task.test, task).among_five < 40


def test_times_are_a_networks_equal_share() -> None:
    ticks = count(0, 10)
    found = train_together(BOTH, small_task(), RECIPE, clock_ns=lambda: next(ticks) ** 2)
    # Three looks an epoch: at 0, 100, 400 and 900, 1600, 2500; two networks.
    assert [(epoch.train_ns, epoch.val_ns) for epoch in found[1].history] == [(50, 150), (350, 450)]


def test_a_stopped_training_knows_the_best_weights_of_epochs_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    falling = dataclasses.replace(RECIPE, epochs=3, learning_rate=1.0, weight_decay=0, seed=2)
    whole = train_together(BOTH, small_task(), falling)
    first, second = (one.best.number for one in whole)
    assert first != second and max(first, second) < 3  # each has its own, before the stop

    def stop(done: EpochDone) -> None:
        if done.number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_together(BOTH, small_task(), falling, tmp_path, on_epoch=stop)
    with pytest.raises(ConfigError, match="another training: architecture"):
        train_together([BOTH[0], BOTH[0]], small_task(), falling, tmp_path)
    seen: list[int] = []
    resumed = train_together(
        BOTH, small_task(), falling, tmp_path, on_epoch=lambda done: seen.append(done.number)
    )
    assert seen == [3]
    for one, other in zip(resumed, whole, strict=True):
        assert one.history == other.history and one.test == other.test
        assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())
        assert one.environment == other.environment
        network = build_network(one.architecture)
        network.load_state_dict(dict(one.weights))
        for images, figures in ((small_task().val, one.best.val), (small_task().test, one.test)):
            assert judge(network, images, small_task()).loss == pytest.approx(figures.loss, rel=1e-4)
    real = batched_training.environment_of
    monkeypatch.setattr(
        batched_training, "environment_of", lambda place: {**real(place), "torch_version": "0.1"}
    )
    (elsewhere, _) = train_together(BOTH, small_task(), falling, tmp_path)
    assert elsewhere.environment != resumed[0].environment
    assert "0.1" in elsewhere.environment["torch_version"] != "0.1"  # both are told


def test_networks_learn_together_even_where_the_caller_wants_no_gradients() -> None:
    once = dataclasses.replace(RECIPE, epochs=1)
    usual = train_together(BOTH[1:], small_task(), once)
    with torch.inference_mode():
        found = train_together(BOTH[1:], small_task(), once)
    assert found[0].history[0].val == usual[0].history[0].val


def test_memory_that_runs_out_names_a_batch_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    real = batched_training._losses

    def small(logits: torch.Tensor, *more: Any) -> torch.Tensor:
        if len(logits) > 5:
            raise MemoryError
        return real(logits, *more)

    monkeypatch.setattr(batched_training, "_losses", small)
    with pytest.raises(
        HarnessError,
        match=r"^training 2 networks together, epoch 1, .* a batch of 16 images .* a batch of 4 fits",
    ):
        train_together(BOTH, small_task(), RECIPE)


def test_a_task_or_batch_that_does_not_fit_is_refused_before_training() -> None:
    fewer = dataclasses.replace(SMALL, name="fewer", classes=3)
    with pytest.raises(ConfigError, match="classes"):
        train_together([Architecture.parse("conv/conv", fewer)], small_task(), RECIPE)
    deep = SpaceConfig(name="deep", ops=("conv",), widths=(2, 4, 8), image_size=8, classes=4)
    one = [Architecture.parse("conv/conv/conv", deep)]
    with pytest.raises(ConfigError, match="batch = 13 leaves a batch of one"):
        train_together(one, small_task(), dataclasses.replace(RECIPE, batch=13))


def test_mixed_precision_is_the_recipes_word() -> None:
    seen: list[torch.dtype] = []

    class Watched(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            answer = nn.functional.conv2d(images, torch.ones(1, 3, 8, 8)).view(-1, 1, 1)
            seen.append(answer.dtype)
            return answer

    for mixed in (False, True):
        recipe = dataclasses.replace(RECIPE, mixed_precision=mixed)
        assert epochs.network_logits(Watched(), torch.ones(2, 3, 8, 8), recipe).dtype == torch.float32  # type: ignore[arg-type]
    assert seen == [torch.float32, torch.bfloat16]


def test_stacked_layers_keep_what_the_members_were_made_with() -> None:
    norms = [nn.BatchNorm2d(2, eps=0.3, momentum=0.7).double() for _ in range(2)]
    for place, norm in enumerate(norms):
        nn.init.constant_(norm.weight, 1.0 + place)
        norm(torch.full((4, 2, 1, 1), 3.0 + place, dtype=torch.float64))
    whole = stack(norms[0], [norm.state_dict() for norm in norms])
    assert (whole.eps, whole.momentum, whole.weight.dtype) == (0.3, 0.7, torch.float64)
    states = unstack(whole, 2)
    for norm, state in zip(norms, states, strict=True):
        assert all(torch.equal(state[name], tensor) for name, tensor in norm.state_dict().items())
    whole.running_mean.zero_()
    assert states[0]["running_mean"].tolist() != [0, 0]  # copies
    for layer in (nn.Conv2d(2, 2, 1, bias=False), nn.Linear(2, 2, bias=False)):
        with pytest.raises(TypeError, match="has no bias; layers of a space have one"):
            stack(layer, [layer.state_dict()] * 2)
    pair = [nn.Sequential(nn.Conv2d(3, 2, 1), nn.Conv2d(2, 3, 1)) for _ in range(2)]
    images = torch.randn(2, 3, 4, 4)
    # Of one input: what comes behind is each member's own.
    wanted = torch.cat([one(images) for one in pair], 1)
    whole = stack(pair[0], [one.state_dict() for one in pair], shared_input=True)
    torch.testing.assert_close(whole(images), wanted)
    network = build_network(BOTH[0])
    StackedNetworks([network, network])
    # The members keep their layers.
    assert list(network.state_dict()) == list(build_network(BOTH[0]).state_dict())
