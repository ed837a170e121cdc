"""Iterated search without a good teacher: the network found is the next teacher, while accuracy improves.

    (done,) = iterate([first], do_rounds, Budget(rounds=4, flops=1e15), expect=lambda teacher: ...)
    done.best                      # the trained network that is best on the images that decide, the first teacher among them
    [round.gain for round in done.rounds], done.stop

Blox (arXiv:2210.07271) asks whether one can search blockwise without a good teacher. A round, given as `do_rounds`, distills a
library from the teacher, searches, and fine-tunes; its winner is the teacher of the next round. Rounds keep their work by
content (`search.work`), so that an iteration that was killed resumes when it is called again. Decisions depend on FLOPs and on
images other than test images, never on a clock.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from search.blockwise.search import quality
from search.checked import Checked, Range
from search.training.history import Figures
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.training.trained import Trained


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget(Checked):
    """When to stop: after `rounds`, before a round that could go beyond `flops` in all, or after one that gained too little.

    A round's gain is its winner's top-1 minus its teacher's on the images that decide, in points. A gain of `noise` points or
    less is too little; None: the standard error of the difference of two accuracies (`noise_of`). `is_fixed`: do all rounds,
    whatever they gain.

    Raises:
        ConfigError: a number is out of its range.
    """

    NAME: ClassVar[str] = "budget"

    rounds: Annotated[int, Range(least=1)] = 3
    flops: Annotated[float | None, Range(least=1)] = None
    noise: Annotated[float | None, Range(least=0)] = None
    is_fixed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundResult:
    """Result of a round: the trained winner, the training FLOPs, and `notes` for its record."""

    trained: Trained
    flops: float
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One round as plain data. Accuracies are top-1 in percent, `_val` of the images that decide; `noise` and `gain` in points.

    `notes` are those of its `RoundResult`, such as digests and figures, in JSON's types.
    """

    number: int
    teacher: str
    teacher_val: float
    winner: str
    winner_val: float
    winner_test: float
    noise: float
    flops: float
    notes: Mapping[str, Any]

    @property
    def gain(self) -> float:
        """The winner's top-1 on the images that decide minus its teacher's, in points."""
        return self.winner_val - self.teacher_val


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Iterated:
    """History of rounds, the reason to stop, and the best trained network: the first teacher where no round beat it.

    `best_round` is the number of its round, 0 for the first teacher.
    """

    rounds: tuple[Round, ...]
    stop: str
    best: Trained
    best_round: int

    @property
    def flops(self) -> float:
        """The operations of all rounds' training."""
        return math.fsum(one.flops for one in self.rounds)

    def to_plain(self) -> dict[str, Any]:
        """Return all but the weights in JSON's types."""
        return {
            "rounds": [{**asdict(one), "notes": dict(one.notes), "gain": one.gain} for one in self.rounds],
            "stop": self.stop,
            "best_round": self.best_round,
            "flops": self.flops,
        }


DECIDING = "validation images"  # the name of those that choose a training's epoch
Val = Callable[["Trained"], Figures]  # of a trained network, on the images that decide


def val_of(trained: Trained) -> Figures:
    """Return the figures of the images that chose a training's epoch."""
    return trained.best.val


def iterate(
    firsts: Sequence[Trained],
    do_rounds: Callable[[int, Mapping[int, Trained]], Mapping[int, RoundResult]],
    budget: Budget,
    *,
    expect: Callable[[Trained], float] = lambda teacher: 0.0,
    val: Val = val_of,
    deciding: str = DECIDING,
    on_round: Callable[[Round], None] = lambda done: None,
) -> list[Iterated]:
    """Search round after round, each winner the next teacher, from each of `firsts` on, until the budget or the gains end.

    `do_rounds(number, teachers)` does the round, numbered from 1, of each unfinished iteration, by its place in `firsts`, so that
    their work runs in parallel; each has the budget. `expect(teacher)` returns a round's maximum cost in FLOPs; `val` evaluates
    teachers and winners, by default by the figures that chose their epochs; `deciding` names its images in messages. A winner
    that is no better than its teacher ends its iteration.

    Raises:
        ConfigError: the budget does not allow a single round.
    """
    runs = [
        _Iteration(teacher=first, best=first, teacher_val=figures, best_val=figures)
        for first, figures in ((first, val(first)) for first in firsts)
    ]
    for number in range(1, budget.rounds + 1):
        for run in runs:
            run.check(number, budget, expect)
        going = {place: run for place, run in enumerate(runs) if not run.stop}
        if not going:
            break
        done = do_rounds(number, {place: run.teacher for place, run in going.items()})
        for place, run in going.items():
            on_round(run.end_round(number, done[place], val(done[place].trained), budget, deciding))
    return [
        Iterated(rounds=tuple(run.rounds), stop=run.stop, best=run.best, best_round=run.best_round)
        for run in runs
    ]


@dataclass(slots=True, kw_only=True, eq=False)
class _Iteration:
    """An iteration in progress."""

    teacher: Trained
    best: Trained
    teacher_val: Figures
    best_val: Figures
    best_round: int = 0
    rounds: list[Round] = field(default_factory=list)
    stop: str = ""

    def check(self, number: int, budget: Budget, expect: Callable[[Trained], float]) -> None:
        """Stop before a round that could go beyond the budget. Raises: ConfigError when that is the first one."""
        if self.stop or budget.flops is None:
            return
        at_most = expect(self.teacher)
        if math.fsum(one.flops for one in self.rounds) + at_most <= budget.flops:
            return
        if not self.rounds:
            raise ConfigError(
                f"budget: one round can take {at_most:.3g} operations and {budget.flops:.3g} are allowed; allow more, or take "
                "fewer epochs"
            )
        self.stop = f"round {number} could take the training beyond {budget.flops:.3g} operations"

    def end_round(
        self, number: int, done: RoundResult, after: Figures, budget: Budget, deciding: str
    ) -> Round:
        """Record a round's result, make its winner the next teacher, and stop where the budget requires it.

        `after` are the winner's figures that decide, of images that are called `deciding`.
        """
        before = self.teacher_val
        noise = noise_of([before, after]) if budget.noise is None else budget.noise
        found = Round(
            number=number,
            teacher=str(self.teacher.architecture),
            teacher_val=before.top1,
            winner=str(done.trained.architecture),
            winner_val=after.top1,
            winner_test=done.trained.test.top1,
            noise=noise,
            flops=done.flops,
            notes=done.notes,
        )
        self.rounds.append(found)
        if quality(after) > quality(self.best_val):
            self.best, self.best_val, self.best_round = done.trained, after, number
        if number == budget.rounds:
            self.stop = f"all {number} rounds are done" if number > 1 else "the one round is done"
        elif found.gain <= noise and not budget.is_fixed:
            self.stop = (
                f"round {number} gained {found.gain:+.2f} points, no more than the noise of {noise:.2f} "
                f"of {after.images} {deciding}"
            )
        self.teacher, self.teacher_val = done.trained, after
        return found


def noise_of(pair: Sequence[Figures]) -> float:
    """Return the standard error, in points, of the difference of two accuracies, as of independent binomial counts.

    On the same images, as here, counts differ by less, for networks fail on the same hard images: the iteration stops rather too
    early than too late.
    """
    return 100 * math.sqrt(sum(f.first / f.images * (1 - f.first / f.images) / f.images for f in pair))
