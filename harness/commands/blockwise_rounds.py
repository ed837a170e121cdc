"""`harness search --method blockwise --rounds N`: the network found teaches the next round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from harness.commands.blockwise_round import search_round
from harness.commands.blockwise_work import distilled, distilling_cost, tuning_cost

if TYPE_CHECKING:
    from harness.commands.blockwise_round import Searched
    from harness.commands.blockwise_work import Setting
    from search.blockwise.iterating import Budget, Iterated, Round
    from search.blockwise.library import BlockLibrary
    from search.training.trained import Trained


def search_again(library: BlockLibrary, setting: Setting, budget: Budget) -> tuple[Iterated, Searched]:
    """Search round after round and return their history and the round of the best answer by validation images.

    The first round's library is there already; its distillation counts as part of that round.
    Raises: ConfigError when the budget does not allow a single round; else as `search_round`.
    """
    from search.blockwise.candidates import quality
    from search.blockwise.iterating import Turn, iterate

    rounds: list[Searched] = []

    def turn(number: int, teacher: Trained) -> Turn:
        own = library if number == 1 else distilled(teacher, library, setting)
        rounds.append(search_round(own, setting))
        best = rounds[-1].found.best
        assert best.trained is not None  # something is fine-tuned in every round: see the command's checks
        return Turn(trained=best.trained, flops=rounds[-1].flops, notes=_notes(rounds[-1]))

    def told(done: Round) -> None:
        setting.say(
            f"round {done.number}: {done.teacher} with {done.teacher_val:.2f} % taught {done.winner} with "
            f"{done.winner_val:.2f} % ({done.gain:+.2f} points, noise {done.noise:.2f})"
        )

    iterated = iterate(
        library.teacher, turn, budget, expect=lambda teacher: most(teacher, library, setting), on_round=told
    )
    setting.say(f"no more rounds: {iterated.stop}")
    return iterated, max(rounds, key=lambda one: quality(one.found.best.val))


def most(teacher: Trained, like: BlockLibrary, setting: Setting) -> float:
    """Return the operations that a round with a teacher takes at most: as if it fine-tuned the largest networks."""
    from space.costs import block_costs
    from space.indexing import index_of

    dearest = [max(range(len(row)), key=lambda block: row[block].macs) for row in block_costs(like.config)]
    largest = index_of(like.config, dearest)
    tuning = setting.plan.fine_tune * tuning_cost(teacher, largest, setting)
    return distilling_cost(teacher, like, setting.task) + tuning


def _notes(searched: Searched) -> dict[str, Any]:
    best = searched.found.best
    return {
        "library": searched.library.digest,
        "signatures": searched.signatures.digest,
        "networks_within_limits": searched.found.allowed,
        "plugged_in_val": best.candidate.plugged.top1,
        "plugged_in_test": best.plugged_test.top1,
    }
