"""The steps of a blockwise search: who is judged, who is trained, by what the answer is chosen; with made-up judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import pytest

from search.blockwise.search import SearchPlan, State, choose_listed, predicted_table, search_blockwise
from search.table import Cost, NetworkTable
from search.table.constraints import parse_constraint
from search.training.history import Figures
from space import Architecture, SpaceConfig
from space.errors import ConfigError

SPACE = SpaceConfig(name="two", ops=("conv", "mbconv"), widths=(4, 8), image_size=8, classes=4)
LATENCY = 1 + np.arange(len(SPACE)) / 100  # ms
PLUGGED, TUNED = "inherited", "tuned"


def figures(top1: int, loss: float = 1.0) -> Figures:
    return Figures(images=100, loss=loss, first=top1, among_five=100)


@dataclass
class Epoch:
    val: Figures


@dataclass
class Training:
    architecture: Architecture
    best: Epoch
    test: Figures
    weights: State


@dataclass
class World:
    """Accuracies that a test sets, by index: (re-scored, test) with inherited weights, and after fine-tuning.

    `epochs`: those of fine-tuned networks on the images that choose epochs, where they are others than when re-scored.
    """

    inherited: dict[int, tuple[int, int]] = field(default_factory=dict)
    tuned: dict[int, tuple[int, int]] = field(default_factory=dict)
    epochs: dict[int, int] = field(default_factory=dict)
    judged: list[tuple[int, str]] = field(default_factory=list)
    trained: list[int] = field(default_factory=list)

    def assemble(self, architecture: Architecture) -> State:
        return {PLUGGED: architecture.index}

    def judge(self, architecture: Architecture, weights: State, part: str) -> Figures:
        assert part in ("rescore", "test")
        if weights == {TUNED: architecture.index}:
            assert part == "rescore", "the training tested it"
            return figures(self.tuned.get(architecture.index, (90, 90))[0])
        assert weights == self.assemble(architecture)
        self.judged.append((architecture.index, part))
        return figures(self.inherited.get(architecture.index, (10, 10))[part == "test"])

    def fine_tune(self, architectures: Sequence[Architecture]) -> Any:
        self.trained += [one.index for one in architectures]
        found = []
        for one in architectures:
            val, test = self.tuned.get(one.index, (90, 90))
            best = Epoch(figures(self.epochs.get(one.index, val)))
            found.append(Training(one, best, figures(test), {TUNED: one.index}))
        return found


def table(predicted: np.ndarray[Any, Any] | None = None) -> NetworkTable:
    values = np.arange(len(SPACE), dtype=float) if predicted is None else predicted
    cost = Cost(name="pixel", unit="ms", title="made-up latency", values=LATENCY)
    return predicted_table(
        SPACE,
        lambda indices: cast(Any, values[indices]),
        {"pixel": cost},
        metric="predicted val_top1",
        origin=("made up",),
        synthetic=False,
    )


def search(world: World, plan: SearchPlan, limit: str = "pixel<2ms", predicted: Any = None) -> Any:
    finalists, allowed = choose_listed(table(predicted), [parse_constraint(limit)], plan)
    return search_blockwise(SPACE, finalists, world, plan, world.judge, world.fine_tune, allowed=allowed)


def test_each_step_sees_only_the_best_of_the_step_before() -> None:
    # Below 2 ms are the networks 0 to 99; the best predicted are the last of them.
    world = World(inherited={96: (50, 0), 98: (60, 0)}, tuned={96: (95, 7), 98: (94, 99)})
    found = search(world, SearchPlan(finalists=5, fine_tune=2, distance=1))
    assert [one.architecture.index for one in found.candidates] == [98, 96, 99, 97, 95]
    assert [one.predicted for one in found.candidates] == [98, 96, 99, 97, 95]
    assert world.trained == [98, 96]
    assert found.allowed == 100
    assert found.best.architecture.index == 96, "the better on validation images, the worse on test images"
    assert (found.best.val.first, found.best.test.first) == (95, 7)
    assert found.best.weights == {TUNED: 96}


def test_test_images_are_only_shown_to_networks_that_are_fine_tuned() -> None:
    world = World()
    search(world, SearchPlan(finalists=6, fine_tune=2, distance=1))
    assert {part for _, part in world.judged[:6]} == {"rescore"}
    assert sorted(world.judged[6:]) == sorted((index, "test") for index in world.trained)


def test_weights_that_fine_tuning_made_worse_are_not_kept() -> None:
    world = World(inherited={99: (80, 70)}, tuned={99: (79, 99), 98: (78, 78)})
    found = search(world, SearchPlan(finalists=2, fine_tune=2, distance=1))
    assert not found.best.is_tuned
    assert (found.best.val.first, found.best.test.first) == (80, 70)
    assert found.best.weights == {PLUGGED: 99}
    assert found.students[1].is_tuned


def test_images_that_chose_an_epoch_choose_no_network() -> None:
    # The one whose best epoch looks best is re-scored below the other, and below its own weights before.
    world = World(inherited={99: (80, 70)}, tuned={99: (79, 60), 98: (81, 75)}, epochs={99: 99, 98: 82})
    found = search(world, SearchPlan(finalists=2, fine_tune=2, distance=1))
    assert (found.best.architecture.index, found.best.val.first, found.best.test.first) == (98, 81, 75)
    assert found.best.is_tuned and not found.students[1].is_tuned


def test_of_equal_accuracies_the_lower_loss_counts() -> None:
    class Losing(World):
        def judge(self, architecture: Architecture, weights: State, split: str) -> Figures:
            return figures(50, loss=abs(architecture.index - 97))

    found = search(Losing(), SearchPlan(finalists=4, fine_tune=0, distance=1))
    assert [one.architecture.index for one in found.candidates] == [97, 98, 96, 99]


def test_without_fine_tuning_the_best_finalist_is_the_answer_with_the_librarys_weights() -> None:
    world = World(inherited={97: (44, 43)})
    found = search(world, SearchPlan(finalists=4, fine_tune=0, distance=1))
    assert world.trained == []
    assert len(found.students) == 1
    assert found.best.trained is None
    assert (found.best.architecture.index, found.best.test.first) == (97, 43)


def test_networks_with_an_unknown_signature_are_never_finalists() -> None:
    predicted = np.arange(len(SPACE), dtype=float)
    predicted[50:] = np.nan
    found = search(World(), SearchPlan(finalists=3, fine_tune=0, distance=1), predicted=predicted)
    assert {one.architecture.index for one in found.candidates} == {49, 48, 47}
    assert found.allowed == 50
    with pytest.raises(ConfigError, match="a block whose signature is unknown"):
        table(np.full(len(SPACE), np.nan))


def test_limits_that_nothing_meets_name_the_nearest_network_before_anything_is_judged() -> None:
    world = World()
    with pytest.raises(ConfigError) as error:
        search(world, SearchPlan(), "pixel<0.5ms")
    nearest = str(Architecture.from_index(0, SPACE))
    assert f"no network is within pixel<0.5ms; the nearest is {nearest}" in str(error.value)
    assert "pixel 1ms, 100.0% beyond pixel<0.5ms" in str(error.value)
    assert world.judged == []


def test_a_trainer_that_returns_another_network_is_found_out() -> None:
    class Mixed(World):
        def fine_tune(self, architectures: Sequence[Architecture]) -> Any:
            return super().fine_tune(architectures[::-1])

    with pytest.raises(ValueError, match="gave another network"):
        search(Mixed(), SearchPlan(finalists=2, fine_tune=2, distance=1))


@pytest.mark.parametrize(("name", "value"), [("finalists", 0), ("fine_tune", -1), ("distance", 0)])
def test_a_plan_out_of_range_is_refused_by_name(name: str, value: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value}"):
        SearchPlan(**{name: value})


@pytest.mark.simulation
def test_what_a_network_was_chosen_by_promises_too_much_and_test_images_do_not() -> None:
    rng = np.random.default_rng(0)
    accuracy, trials = 0.9, 400

    class Lucky(World):
        """Networks that are all equally good: what differs are the images."""

        def judge(self, architecture: Architecture, weights: State, part: str) -> Figures:
            return Figures(images=200, loss=1.0, first=int(rng.binomial(200, accuracy)), among_five=200)

    found = [search(Lucky(), SearchPlan(finalists=20, fine_tune=0, distance=1)).best for _ in range(trials)]

    def share_held(of: list[Figures]) -> float:
        return float(np.mean([one.top1_interval.low <= 90 <= one.top1_interval.high for one in of]))

    chosen, shown = [one.val for one in found], [one.test for one in found]
    assert np.mean([one.top1 for one in chosen]) > 93, "the best of twenty equal ones is the luckiest"
    assert np.mean([one.top1 for one in shown]) == pytest.approx(90, abs=0.4)
    assert share_held(chosen) < 0.8  # 0.71 by the binomial distribution: it claims 0.95
    assert share_held(shown) >= 0.93  # 0.95 and more, less two standard errors
