"""Fine-tuning: from given weights, with a teacher; what does not fit is refused, and what was stopped goes on."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from factories.tasks import NETWORK, RECIPE, TINY, made_task

from search.training import epochs, training
from search.training.distillation_loss import distillation_loss
from search.training.history import Figures
from search.training.trained import trained_digest
from search.training.trained_files import load_trained, save_trained
from search.training.training import Guide, Start, Trained, judge, train
from space import Architecture
from space.errors import ConfigError
from space.networks import build_network

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("one_thread")]

SHORT = dataclasses.replace(RECIPE, epochs=2, batch=16)
TASK = made_task(train=48, val=30, test=20)
TEACHER = Architecture.parse("conv", TINY)


@pytest.fixture(scope="module")
def former() -> Trained:
    """A training to begin from."""
    return train(NETWORK, TASK, SHORT)


@pytest.fixture(scope="module")
def teacher() -> Trained:
    return train(TEACHER, TASK, SHORT)


@pytest.fixture(scope="module")
def tuned(former: Trained, teacher: Trained) -> Trained:
    """A training from a start with a teacher, never stopped."""
    return train(NETWORK, TASK, SHORT, start=start_of(former), guide=Guide(teacher))


def start_of(former: Trained) -> Start:
    return Start(weights=former.weights, origin=trained_digest(former))


def assert_same(one: Trained, other: Trained) -> None:
    assert one.history == other.history and one.test == other.test
    assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)
    assert (one.start, one.guide) == (other.start, other.guide)


def test_a_network_from_trained_weights_has_their_figures_before_its_first_epoch(
    former: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    before: list[Figures] = []
    real = training.learn_epoch

    def spy(network: torch.nn.Module, *rest: Any) -> list[Figures]:
        before.append(judge(network, TASK.val, TASK, batch=SHORT.batch))
        return real(network, *rest)

    monkeypatch.setattr(training, "learn_epoch", spy)
    trained = train(NETWORK, TASK, SHORT, start=start_of(former))
    assert before[0] == former.best.val
    assert before[1] == trained.history[0].val != before[0]
    assert trained.start == trained_digest(former) and trained.guide == {}
    assert trained.history != former.history


def test_judging_counts_what_the_training_counted_and_leaves_the_network_as_it_was(former: Trained) -> None:
    network = build_network(NETWORK)
    network.load_state_dict(former.weights)
    for mode in (True, False):
        network.train(mode)
        assert judge(network, TASK.test, TASK, batch=SHORT.batch) == former.test
        assert network.training is mode
    found = judge(network, TASK.test, TASK, device="cpu")  # in one batch: the same to rounding
    assert (found.first, found.among_five) == (former.test.first, former.test.among_five)
    assert found.loss == pytest.approx(former.test.loss, rel=1e-5)
    state = network.state_dict()
    assert all(torch.equal(state[name], former.weights[name]) for name in state)


def test_the_guided_loss_is_the_formula_on_a_case_worked_by_hand() -> None:
    # Of two classes, logits 2 ln 3 and 0 are odds of 9 to 1, and at temperature 2 of 3 to 1; equal logits are 1 to 1.
    student, taught = torch.tensor([[2 * math.log(3), 0.0]]), torch.zeros(1, 2)
    hard = -math.log(1 / 10)  # the label is the second class
    soft = 0.5 * math.log(0.5 / 0.75) + 0.5 * math.log(0.5 / 0.25)
    labels = torch.tensor([1])
    for weight in (0.25, 1.0):
        wanted = (1 - weight) * hard + weight * 4 * soft
        assert float(distillation_loss(student, taught, labels, weight, 2.0)) == pytest.approx(
            wanted, rel=1e-6
        )
    # Smoothing by 0.1 gives each of two classes 0.05 of the label; what the teacher says is as soft as it is.
    smooth = 0.95 * hard - 0.05 * math.log(9 / 10)
    found = float(distillation_loss(student, taught, labels, 0.25, 2.0, smoothing=0.1))
    assert found == pytest.approx(0.75 * smooth + soft, rel=1e-6)
    # A mean over images: with a second image, on which the two agree, the soft part halves.
    both = torch.cat([student, taught]), torch.cat([taught, taught])
    halved = float(distillation_loss(*both, torch.tensor([1, 0]), 1.0, 2.0))
    assert halved == pytest.approx(4 * soft / 2, rel=1e-6)
    # Teacher and student are not interchangeable.
    assert float(distillation_loss(taught, student, labels, 1.0, 2.0)) != pytest.approx(4 * soft, rel=1e-3)


def test_the_teacher_sees_the_students_images_and_is_never_changed(
    teacher: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.nn.Module, bool, torch.Tensor]] = []
    real = epochs.network_logits

    def spy(network: torch.nn.Module, images: torch.Tensor, recipe: Any) -> torch.Tensor:
        if torch.is_grad_enabled() or not network.training:
            seen.append((network, network.training, images))
        return real(network, images, recipe)

    monkeypatch.setattr(epochs, "network_logits", spy)
    weights = {name: tensor.clone() for name, tensor in teacher.weights.items()}
    one = dataclasses.replace(SHORT, epochs=1)
    guided = train(NETWORK, TASK, one, guide=Guide(teacher, weight=0.3, temperature=2))
    for at in range(0, 6, 2):  # three batches of 16
        (student, learning, images), (other, also, same) = seen[at : at + 2]
        assert learning and not also and other is not student
        assert torch.equal(images, same)
    state = seen[1][0].state_dict()
    assert all(torch.equal(state[name], weights[name]) for name in weights)
    assert all(torch.equal(teacher.weights[name], weights[name]) for name in weights)
    assert guided.guide == {"teacher": trained_digest(teacher), "weight": "0.3", "temperature": "2.0"}


def test_a_student_with_the_teachers_word_alone_comes_nearer_to_it(teacher: Trained) -> None:
    recipe = dataclasses.replace(SHORT, epochs=6, learning_rate=0.02)
    trained = train(NETWORK, TASK, recipe, guide=Guide(teacher, weight=1, temperature=2))
    losses = [epoch.train.loss for epoch in trained.history]
    assert losses[-1] < losses[0]


def test_a_guided_training_goes_on_to_the_same_bits_after_a_stop(
    tuned: Trained, former: Trained, teacher: Trained, tmp_path: Path
) -> None:
    how: dict[str, Any] = {"start": start_of(former), "guide": Guide(teacher)}

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(NETWORK, TASK, SHORT, tmp_path, on_epoch=stop, **how)
    again: list[int] = []
    assert_same(
        train(NETWORK, TASK, SHORT, tmp_path, on_epoch=lambda e: again.append(e.number), **how), tuned
    )
    assert again == [2]
    assert_same(load_trained(tmp_path), tuned)
    save_trained(tmp_path / "file", tuned)
    assert_same(load_trained(tmp_path / "file"), tuned)


def test_another_start_or_teacher_is_another_training(
    former: Trained, teacher: Trained, tmp_path: Path
) -> None:
    start, guide = start_of(former), Guide(teacher)
    train(NETWORK, TASK, SHORT, tmp_path, start=start, guide=guide)
    weights = {name: tensor.clone() for name, tensor in former.weights.items()}
    weights["head.linear.bias"] += 1
    other = dataclasses.replace(teacher, weights={n: t + 1 for n, t in teacher.weights.items()})
    for changes, message in (
        ({"guide": None}, "guide's teacher is .* in it, and not there now"),
        ({"start": None}, "start is .* in it, and not there now"),
        ({"start": Start(former.weights, "a guess")}, "start is .* in it, and a guess now"),
        ({"start": Start(weights, start.origin)}, "start's weights is"),
        ({"guide": Guide(other)}, "guide's teacher is"),
        ({"guide": Guide(teacher, weight=0.25)}, "guide's weight is 0.5 in it, and 0.25 now"),
        ({"guide": Guide(teacher, temperature=1)}, r"guide's temperature is 4.0 in it, and 1.0 now"),
    ):
        how: dict[str, Any] = {"start": start, "guide": guide, **changes}
        with pytest.raises(ConfigError, match=f"is of another training: .*{message}"):
            train(NETWORK, TASK, SHORT, tmp_path, **how)


def test_weights_and_teachers_that_do_not_fit_are_refused_by_what_differs(
    former: Trained, teacher: Trained
) -> None:
    wide = {**former.weights, "head.linear.bias": torch.zeros(7)}
    wider = dataclasses.replace(TINY, name="wider", widths=(8,))
    foreign = dataclasses.replace(teacher, architecture=Architecture.parse("conv", wider))
    rich = dataclasses.replace(TINY, classes=7)
    richer = dataclasses.replace(teacher, architecture=Architecture.parse("conv", rich))
    hollow = dataclasses.replace(teacher, weights={})
    for how, message in (
        ({"start": Start(teacher.weights, "it")}, "start 'it': the weights are not those of mbconv"),
        ({"start": Start(wide, "it")}, r"head.linear.bias is of shape \(7,\), and \(6,\) in the network"),
        (
            {"guide": Guide(foreign)},
            r"teacher conv is of another space .*: name wider and tiny; widths \(8,\) and \(4,\); "
            "take a teacher of space 'tiny'",
        ),
        (
            {"guide": Guide(richer)},
            "teacher conv is of another space than the student: classes 7 and 6; take",
        ),
        ({"guide": Guide(hollow)}, "guide: teacher conv: the weights are not those of conv"),
    ):
        with pytest.raises(ConfigError, match=message):
            train(NETWORK, TASK, SHORT, **how)  # type: ignore[arg-type]


def test_values_out_of_range_are_refused(teacher: Trained) -> None:
    for changes, message in (
        ({"weight": 0}, "guide: weight = 0; give a finite number above 0"),
        ({"weight": 1.5}, "guide: weight = 1.5; give a finite number above 0 and at most 1"),
        ({"weight": True}, "guide: weight = True"),
        ({"temperature": float("nan")}, "guide: temperature = nan"),
    ):
        with pytest.raises(ConfigError, match=message):
            Guide(teacher, **changes)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="start: origin = ' '; say where"):
        Start(weights={}, origin=" ")
