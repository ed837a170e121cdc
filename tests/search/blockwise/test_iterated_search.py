"""Iteration without a good teacher: who teaches whom, when it stops, what it keeps; rounds are made up."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import pytest

from search.blockwise.iterated_search import (
    Budget,
    Iterated,
    Round,
    RoundResult,
    iterate,
    noise_of,
)
from search.training.history import Figures
from space.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from search.training.trained import Trained


@dataclass
class Epoch:
    val: Figures


@dataclass
class Network:
    """Stands for a trained network: a name and figures of 400 validation images."""

    architecture: str
    best: Epoch
    test: Figures


def network(name: str, right: int, loss: float = 1.0) -> Trained:
    val = Figures(images=400, loss=loss, first=right, among_five=400)
    test = Figures(images=400, loss=loss, first=right - 10, among_five=400)
    return cast("Trained", Network(name, Epoch(val), test))


class Rounds:
    """Rounds whose winners are right so many times; each costs 100 operations."""

    def __init__(self, *right: int) -> None:
        self.winners = [network(f"winner {place}", count) for place, count in enumerate(right, start=1)]
        self.taught: list[tuple[int, Any]] = []

    def turn(self, number: int, teacher: Trained) -> RoundResult:
        self.taught.append((number, teacher.architecture))
        return RoundResult(
            trained=self.winners[number - 1], flops=100.0, notes={"library": f"digest {number}"}
        )


def run(rounds: Rounds, budget: Budget, **more: Any) -> Iterated:
    def turn(number: int, teachers: Mapping[int, Trained]) -> dict[int, RoundResult]:
        return {0: rounds.turn(number, teachers[0])}

    (done,) = iterate([network("first", 200)], turn, budget, **more)
    return done


def test_each_winner_teaches_the_next_round() -> None:
    rounds = Rounds(280, 330, 360)
    done = run(rounds, Budget(rounds=3))
    assert rounds.taught == [(1, "first"), (2, "winner 1"), (3, "winner 2")]
    assert [one.gain for one in done.rounds] == pytest.approx([20.0, 12.5, 7.5])
    assert (done.best.architecture, done.best_round) == ("winner 3", 3)
    assert done.stop == "all 3 rounds are done"
    assert done.flops == 300


def test_a_round_that_gains_no_more_than_the_noise_is_the_last() -> None:
    rounds = Rounds(280, 283, 400)
    done = run(rounds, Budget(rounds=3))
    assert len(rounds.taught) == 2
    assert "round 2 gained +0.75 points" in done.stop and done.stop.endswith("of 400 validation images")
    assert done.best_round == 2, "it is better all the same"


def test_a_gain_of_exactly_the_noise_stops_and_more_goes_on() -> None:
    stopped = run(Rounds(204, 400), Budget(rounds=2, noise=1.0))
    assert len(stopped.rounds) == 1
    went_on = run(Rounds(205, 400), Budget(rounds=2, noise=1.0))
    assert len(went_on.rounds) == 2


def test_a_worse_winner_ends_it_and_the_better_network_remains_the_best() -> None:
    done = run(Rounds(300, 250, 400), Budget(rounds=3))
    assert (len(done.rounds), done.best.architecture, done.best_round) == (2, "winner 1", 1)
    never = run(Rounds(150), Budget(rounds=3))
    assert (never.best.architecture, never.best_round) == ("first", 0)


def test_other_images_than_those_that_chose_the_epochs_can_decide() -> None:
    rescored = {"first": 200, "winner 1": 260, "winner 2": 240}

    def val(trained: Trained) -> Figures:
        return Figures(images=400, loss=1.0, first=rescored[str(trained.architecture)], among_five=400)

    done = run(Rounds(280, 330, 360), Budget(rounds=3), val=val, deciding="images for re-scoring")
    assert [(one.teacher_val, one.winner_val) for one in done.rounds] == [(50, 65), (65, 60)]
    assert (done.best.architecture, done.best_round) == ("winner 1", 1)
    assert "round 2 gained -5.00 points" in done.stop and done.stop.endswith("of 400 images for re-scoring")


def test_all_rounds_are_done_where_their_number_is_fixed() -> None:
    rounds = Rounds(300, 250, 400)
    done = run(rounds, Budget(rounds=3, is_fixed=True))
    assert (len(done.rounds), done.stop) == (3, "all 3 rounds are done")
    assert rounds.taught[2] == (3, "winner 2"), "a winner teaches, even one worse than its teacher"


def test_several_iterations_go_round_by_round_and_each_ends_for_itself() -> None:
    each = [Rounds(280, 330, 360), Rounds(250, 200), Rounds(280, 330, 360)]
    asked: list[tuple[int, tuple[int, ...]]] = []

    def turns(number: int, teachers: Mapping[int, Trained]) -> dict[int, RoundResult]:
        asked.append((number, tuple(teachers)))
        return {place: each[place].turn(number, teacher) for place, teacher in teachers.items()}

    done = iterate([network("first", 200)] * 3, turns, Budget(rounds=3))
    assert asked == [(1, (0, 1, 2)), (2, (0, 1, 2)), (3, (0, 2))]
    alone = [run(Rounds(280, 330, 360), Budget(rounds=3)), run(Rounds(250, 200), Budget(rounds=3))]
    assert [one.to_plain() for one in done] == [alone[place].to_plain() for place in (0, 1, 0)]
    assert each[0].taught == each[2].taught == [(1, "first"), (2, "winner 1"), (3, "winner 2")]
    assert iterate([], turns, Budget()) == []


def test_no_round_begins_that_could_go_beyond_the_budget() -> None:
    rounds = Rounds(250, 300, 350, 400)
    done = run(rounds, Budget(rounds=4, flops=320.0), expect=lambda teacher: 110.0)
    assert len(rounds.taught) == 3
    assert done.flops <= 320
    assert done.stop == "round 4 could take the training beyond 320 operations"
    tight = run(Rounds(250, 300, 350), Budget(rounds=3, flops=309.0), expect=lambda teacher: 110.0)
    assert len(tight.rounds) == 2


def test_a_budget_below_one_round_is_refused_with_what_a_round_takes() -> None:
    rounds = Rounds(250)
    with pytest.raises(ConfigError, match="one round can take 500 operations and 400 are allowed"):
        run(rounds, Budget(flops=400.0), expect=lambda teacher: 500.0)
    assert rounds.taught == []


def test_of_equal_accuracies_the_lower_loss_is_the_best() -> None:
    rounds = Rounds(300)
    rounds.winners.append(network("surer", 300, loss=0.5))
    done = run(rounds, Budget(rounds=2))
    assert done.best.architecture == "surer"


def test_the_history_is_plain_data_that_says_everything_but_weights() -> None:
    seen: list[Round] = []
    done = run(Rounds(280, 330), Budget(rounds=2), on_round=seen.append)
    assert tuple(seen) == done.rounds
    told = json.loads(json.dumps(done.to_plain()))
    assert [one["notes"]["library"] for one in told["rounds"]] == ["digest 1", "digest 2"]
    assert told["rounds"][1]["teacher"] == "winner 1"
    assert told["rounds"][1]["winner_val"] == 82.5
    assert told["rounds"][1]["winner_test"] == 80.0
    assert told["rounds"][1]["gain"] == pytest.approx(12.5)
    assert (told["best_round"], told["flops"]) == (2, 200.0)


def test_the_noise_is_that_of_binomial_counts() -> None:
    half = Figures(images=100, loss=1.0, first=50, among_five=100)
    assert noise_of([half, half]) == pytest.approx(100 * math.sqrt(2 * 0.25 / 100))
    sure = Figures(images=100, loss=1.0, first=100, among_five=100)
    assert noise_of([half, sure]) == pytest.approx(5.0)
    assert noise_of([sure, sure]) == 0.0


@pytest.mark.parametrize(
    ("name", "value"), [("rounds", 0), ("flops", 0.0), ("flops", math.inf), ("noise", -1.0)]
)
def test_a_budget_out_of_range_is_refused_by_name(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} = {value}"):
        Budget(**{name: value})  # type: ignore[arg-type]
