"""Training from scratch: the figures that it reports, against other ways to find them, on tiny made-up tasks."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import cache

import numpy as np
import pytest
import torch
from factories.tasks import NETWORK, PLAIN, RECIPE, TINY, made_task
from torch.nn.functional import cross_entropy

from search.training import epochs, training
from search.training.history import Epoch, Figures, best_epoch
from search.training.images import Images
from search.training.tasks import load_task
from search.training.trained import Trained
from search.training.training import train
from space import MINI, Architecture, SpaceConfig
from space.errors import ConfigError, HarnessError
from space.networks import build_network

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_thread")]


@cache
def usual() -> Trained:
    """Return the training that several tests look at."""
    return train(NETWORK, made_task(), RECIPE)


def epoch(number: int, first: int, loss: float) -> Epoch:
    figures = Figures(images=50, loss=loss, first=first, among_five=50)
    return Epoch(number=number, rate=0.1, train=figures, val=figures, train_ns=1, val_ns=1)


def judged(weights: dict[str, torch.Tensor], architecture: Architecture, images: Images) -> Figures:
    """Class all images at once, each figure by its definition."""
    network = build_network(architecture).eval()
    network.load_state_dict(weights)
    x = (torch.tensor(images.images).permute(0, 3, 1, 2) / 255 - 0.4) / 0.25
    with torch.no_grad():
        logits = network(x)
    y = torch.tensor(images.labels)
    ranks = (logits > logits.gather(1, y[:, None])).sum(dim=1)
    return Figures(
        images=len(y),
        loss=float(cross_entropy(logits, y)),
        first=int((ranks == 0).sum()),
        among_five=int((ranks < 5).sum()),
    )


@pytest.mark.parametrize(
    ("figures", "best"),
    [
        ([(40, 0.5), (41, 0.9), (39, 0.1)], 2),  # accuracy counts before loss
        ([(41, 0.5), (41, 0.4), (41, 0.6)], 2),  # of equal ones the lowest loss
        ([(40, 0.1), (41, 0.4), (41, 0.4)], 2),  # of those equal in both the first
        ([(0, 9.0)], 1),
    ],
)
def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss_then_comes_first(
    figures: list[tuple[int, float]], best: int
) -> None:
    history = [epoch(number, first, loss) for number, (first, loss) in enumerate(figures, start=1)]
    assert best_epoch(history).number == best


def test_the_figures_are_those_of_the_best_epochs_weights() -> None:
    task, trained = made_task(), usual()
    assert [one.number for one in trained.history] == [1, 2, 3]
    assert all(one.train.images == 80 and one.val.images == 50 for one in trained.history)
    for images, reported in ((task.val, trained.best.val), (task.test, trained.test)):
        found = judged(dict(trained.weights), NETWORK, images)
        assert dataclasses.replace(reported, loss=0) == dataclasses.replace(found, loss=0)
        assert reported.loss == pytest.approx(found.loss, rel=1e-5)
    assert trained.synthetic and trained.task == task.name


def test_labels_are_smoothed_in_learning_alone() -> None:
    task = made_task()
    trained = train(NETWORK, task, dataclasses.replace(RECIPE, label_smoothing=0.9))
    for images, reported in ((task.val, trained.best.val), (task.test, trained.test)):
        assert reported.loss == pytest.approx(judged(dict(trained.weights), NETWORK, images).loss, rel=1e-5)


def test_the_best_epochs_weights_are_kept_where_a_later_epoch_is_worse(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = made_task()
    real, calls = training.judge_split, []

    def worse_later(*arguments: object) -> Figures:
        figures = real(*arguments)
        calls.append(figures)
        return dataclasses.replace(figures, first=50 - len(calls))

    alone = usual()
    monkeypatch.setattr(training, "judge_split", worse_later)
    trained = train(NETWORK, task, RECIPE)
    assert trained.best.number == 1
    found = judged(dict(trained.weights), NETWORK, task.val)
    assert found.loss == pytest.approx(calls[0].loss, rel=1e-5)
    assert found.loss == pytest.approx(alone.history[0].val.loss, rel=1e-5)
    assert found.loss != pytest.approx(alone.history[2].val.loss, rel=1e-3)


def test_the_loss_falls_and_accuracy_beats_chance() -> None:
    trained = train(NETWORK, made_task(train=200), dataclasses.replace(PLAIN, epochs=4))
    assert trained.history[-1].train.loss < trained.history[0].train.loss
    assert trained.test.top1 > 2 * 100 / TINY.classes  # twice what guessing gives
    assert trained.test.top5 >= trained.test.top1


@pytest.mark.long
def test_digits_are_learned() -> None:
    config = SpaceConfig(name="digits", ops=("conv", "bconv"), widths=(8,), image_size=8, classes=10)
    task = load_task("digits", config)
    trained = train(Architecture.parse("conv", config), task, PLAIN)
    assert not trained.synthetic
    assert trained.best.val.top1 > 30 and trained.test.top1 > 30  # guessing gives 10


def test_the_same_training_gives_the_same_bits_and_another_seed_others() -> None:
    task = made_task()
    first, second = usual(), train(NETWORK, task, RECIPE)
    other = train(NETWORK, task, dataclasses.replace(RECIPE, seed=2))
    assert first.history == second.history
    assert all(torch.equal(first.weights[name], second.weights[name]) for name in first.weights)
    assert first.history != other.history


def test_all_networks_see_the_same_images_in_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, list[torch.Tensor]] = {}
    seen: dict[str, list[torch.Tensor]] = {}
    seeds: dict[str, list[int]] = {}
    real = epochs.augment_batches

    def spy(images: torch.Tensor, *rest: object) -> Sequence[torch.Tensor]:
        (batch,) = real(images, *rest)
        drawn.setdefault(name, []).append(images)
        seen.setdefault(name, []).append(batch)
        seeds.setdefault(name, []).append(rest[-1].initial_seed())
        return (batch,)

    monkeypatch.setattr(epochs, "augment_batches", spy)
    for name in ("conv", "bconv-bconv+in+out"):
        train(Architecture.parse(name, TINY), made_task(), dataclasses.replace(RECIPE, epochs=2))
    one, another = seen.values()
    assert [len(batch) for batch in one] == [32, 32, 16] * 2  # the last, smaller batch is kept
    assert all(torch.equal(a, b) for a, b in zip(one, another, strict=True))
    first, second = drawn["conv"][:3], drawn["conv"][3:]
    assert not torch.equal(first[0], second[0])  # another epoch, another order of the same images
    assert torch.equal(
        *(torch.cat(epoch).flatten(1).double().sum(1).sort().values for epoch in (first, second))
    )
    assert seeds["conv"] == seeds["bconv-bconv+in+out"]
    of_epochs = seeds["conv"][::3]
    assert len({*of_epochs, torch.Generator().initial_seed()}) == 3  # each epoch is augmented anew


def test_the_schedule_reaches_the_optimizer(monkeypatch: pytest.MonkeyPatch) -> None:
    rates = []
    real = torch.optim.SGD.step

    def spy(self: torch.optim.SGD, *arguments: object) -> object:
        group = self.param_groups[0]
        rates.append((group["lr"], group["momentum"], group["weight_decay"], group["nesterov"]))
        return real(self, *arguments)

    monkeypatch.setattr(torch.optim.SGD, "step", spy)
    trained = train(NETWORK, made_task(train=32), dataclasses.replace(RECIPE, epochs=4, learning_rate=0.08))
    wanted = [0.08, 0.08 * (2 + 2**0.5) / 4, 0.04, 0.08 * (2 - 2**0.5) / 4]
    assert [rate for rate, *_ in rates] == pytest.approx(wanted)
    assert {tuple(rest) for _, *rest in rates} == {(0.9, 5e-4, False)}
    assert [one.rate for one in trained.history] == pytest.approx(wanted)


def test_a_loss_that_is_not_finite_is_refused_with_its_epoch_and_batch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real, calls = epochs.augment_batches, []

    def poisoned(images: torch.Tensor, *arguments: object) -> Sequence[torch.Tensor]:
        calls.append(len(images))
        (batch,) = real(images, *arguments)
        return (batch * (float("nan") if len(calls) == 5 else 1),)

    monkeypatch.setattr(epochs, "augment_batches", poisoned)
    with pytest.raises(
        HarnessError, match=r"epoch 2, training at rate .*: the loss of batch 2 is nan; .* learning_rate"
    ):
        train(NETWORK, made_task(), RECIPE)


def test_a_rate_that_is_too_high_is_refused() -> None:
    with pytest.raises(
        HarnessError, match=r"epoch .* the loss of batch .* (nan|inf); the training has diverged"
    ):
        train(NETWORK, made_task(), dataclasses.replace(RECIPE, learning_rate=1e30))


def test_torchs_own_state_stays_as_it_was() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    with torch.inference_mode():
        trained = train(NETWORK, made_task(), dataclasses.replace(RECIPE, epochs=1))
        assert torch.is_inference_mode_enabled()
    assert torch.equal(torch.get_rng_state(), before)
    assert len(trained.history) == 1


def test_times_are_read_from_the_clock_that_is_given() -> None:
    ticks = iter(range(0, 1_000, 10))
    trained = train(NETWORK, made_task(), RECIPE, clock_ns=lambda: next(ticks))
    assert [(one.train_ns, one.val_ns) for one in trained.history] == [(10, 10)] * 3
    assert trained.train_ns == 60


def test_mixed_precision_and_channels_last_train_as_well() -> None:
    recipe = dataclasses.replace(PLAIN, mixed_precision=True, channels_last=True)
    trained = train(NETWORK, made_task(train=200), dataclasses.replace(recipe, epochs=4))
    assert trained.test.top1 > 2 * 100 / TINY.classes
    assert {weights.dtype for weights in trained.weights.values()} == {torch.float32, torch.int64}


def test_a_task_of_another_space_and_an_unknown_device_are_refused() -> None:
    with pytest.raises(ConfigError, match="synthetic blobs"):
        train(Architecture.from_index(0, MINI), made_task(), RECIPE)
    with pytest.raises(ConfigError, match="device 'warp' cannot be used"):
        train(NETWORK, made_task(), RECIPE, device="warp")


def test_figures_are_shares_in_percent() -> None:
    figures = Figures(images=8, loss=1.0, first=3, among_five=6)
    assert (figures.top1, figures.top5) == (37.5, 75.0)
    assert np.isclose(Figures(images=3, loss=1.0, first=1, among_five=3).top1, 100 / 3)


def test_a_last_batch_of_one_image_is_refused_only_where_batchnorm_cannot_take_it() -> None:
    small = SpaceConfig(name="small", ops=("conv",), widths=(2, 4, 8), image_size=8, classes=6)
    one = Architecture.from_index(0, small)
    for recipe, train_images in ((RECIPE, 65), (dataclasses.replace(RECIPE, batch=1), 3)):
        with pytest.raises(ConfigError, match=r"leaves a batch of one of \d+ images"):
            train(one, made_task(train=train_images), recipe)
    epochs = dataclasses.replace(RECIPE, epochs=1)
    assert train(one, made_task(train=66), epochs).history[0].train.images == 66
    assert train(NETWORK, made_task(train=65), epochs).history[0].train.images == 65
