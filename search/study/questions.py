"""Six questions of the Blox paper (arXiv:2210.07271), each answered by a verdict with estimates and intervals.

Pure functions of arrays. Accuracies are of test images, in percent; differences are in points, paired by network. The answer to a
question whose numbers were not computed is `NOT_ANSWERED` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.methods.ridge import fit_ridge_cv
from search.statistics import FEWEST_DRAWN, Estimate, correlation_of, kendall, mean_of, spearman
from search.study.runs import FEWEST_RUNS
from space import SpaceConfig
from space.indexing import FloatArray, block_indices
from space.text import counted

NOT_ANSWERED = "not answered here"
# The limit of predictors rather than one of them: it needs the training.
CEILING = "validation accuracy, trained"
QUESTIONS = (
    "Does distillation beat normal training?",
    "Does fine-tuned accuracy correlate with accuracy from scratch?",
    "Do signatures find good blocks?",
    "Do they predict end to end?",
    "How many fine-tuning epochs are needed?",
    "Can one search without a good teacher?",
)


class AnswerVerdict(Enum):
    """Verdict on an estimate, positive where the answer is yes."""

    YES, NO, UNCLEAR, TOO_FEW, NOT_COMPARABLE = auto(), auto(), auto(), auto(), auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswer:
    """Answer to question `number`: its verdict, a sentence, and the numbers behind it as a table and as plain values.

    `verdict` is None where the question was not answered, or asks for a number.
    """

    number: int
    verdict: AnswerVerdict | None = None
    sentence: str = NOT_ANSWERED
    columns: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def question(self) -> str:
        """The question itself."""
        return QUESTIONS[self.number - 1]

    def to_plain(self) -> dict[str, Any]:
        """Return it for JSON."""
        return {
            "number": self.number,
            "question": self.question,
            "answer": self.sentence,
            "figures": dict(self.figures),
        }


def does_distilling_beat_training(
    tuned: Mapping[int, FloatArray], scratch: FloatArray, epochs: int
) -> QuestionAnswer:
    """Compare networks fine-tuned from the library, test accuracies (n,) by epochs, with `scratch` (n,) of `epochs`.

    The verdict is of the fine-tuning with as many epochs, else of the one with the most below, else of the shortest.
    """
    if not tuned:
        return QuestionAnswer(number=1)
    gains = {count: mean_of(accuracies - scratch) for count, accuracies in tuned.items()}
    last = max((count for count in gains if count <= epochs), default=min(gains))
    gain = gains[last]
    verdict, networks = verdict_of(gain, last, epochs), len(scratch)
    words = {
        AnswerVerdict.NO: "no, they are worse",
        AnswerVerdict.UNCLEAR: "no clear difference",
        AnswerVerdict.NOT_COMPARABLE: f"not comparable, {last} epochs with {epochs}",
    }
    sentence = (
        f"{(_WORDS | words)[verdict]}: {networks} networks assembled from distilled blocks and fine-tuned with their teacher "
        f"for {last} epochs test {_signed(gain)} points against the same networks trained from scratch for {epochs} epochs"
    )
    if verdict is AnswerVerdict.NOT_COMPARABLE:
        sentence += f"; fine-tune for {epochs} as well (tuned_epochs)"
    rows = [
        (
            str(count),
            f"{tuned[count].mean():.2f}",
            _signed(one),
            f"{int((tuned[count] > scratch).sum())} of {networks}",
        )
        for count, one in gains.items()
    ]
    return QuestionAnswer(
        number=1,
        verdict=verdict,
        sentence=sentence,
        columns=(
            "fine-tuning epochs",
            "test %",
            f"points over {epochs} epochs from scratch",
            "networks that gain",
        ),
        rows=(*rows, (f"from scratch, {epochs}", f"{scratch.mean():.2f}", "", "")),
        figures={"gain_points": {str(count): one.to_plain() for count, one in gains.items()}},
    )


def does_tuned_follow_scratch(tuned: Mapping[int, FloatArray], scratch: FloatArray) -> QuestionAnswer:
    """Correlate the ranks of networks fine-tuned, (n,) by number of epochs, with those of the same from scratch (n,)."""
    if not tuned:
        return QuestionAnswer(number=2)
    both = {count: both_correlations(accuracies, scratch) for count, accuracies in tuned.items()}
    last = max(both)
    tau, rho = both[last]
    verdict = verdict_of(tau)
    sentence = (
        f"{(_WORDS | _RANKED)[verdict]}: over {len(scratch)} networks Kendall's tau is {tau} and Spearman's rho {rho}, "
        f"after {last} epochs of fine-tuning"
    )
    return QuestionAnswer(
        number=2,
        verdict=verdict,
        sentence=sentence,
        columns=("fine-tuning epochs", "Kendall", "Spearman"),
        rows=tuple((str(count), str(t), str(r)) for count, (t, r) in both.items()),
        figures={str(count): plain_pair(*pair) for count, pair in both.items()},
    )


def block_effects(config: SpaceConfig, indices: NDArray[np.int64], accuracies: FloatArray) -> FloatArray:
    """Return the effect of each block in each stage on accuracies (n,), (stages, B); NaN where no network has it.

    Least squares on one indicator for each stage and block, with the ridge penalty that leave-one-out prefers: of 120 networks
    fewer than three have a given block of 45 in a stage, and plain least squares would fit their noise.
    """
    choices = block_indices(config, indices)  # (n, stages)
    count = len(config.blocks)
    design = np.zeros((len(indices), config.stages * count))
    for stage in range(config.stages):
        design[np.arange(len(indices)), stage * count + choices[:, stage]] = 1
    effects = fit_ridge_cv([design], accuracies).slopes.reshape(config.stages, count)
    seen = design.sum(axis=0).reshape(config.stages, count) > 0
    return np.where(seen, effects, np.nan)


def do_signatures_find_blocks(
    config: SpaceConfig,
    signatures: Mapping[str, FloatArray],
    indices: NDArray[np.int64],
    accuracies: FloatArray,
) -> QuestionAnswer:
    """Correlate the signatures of each stage's blocks, (libraries, stages, B), higher being better, with the blocks' effects.

    The effects are fitted to the accuracies (n,) of the networks at `indices` (n,); blocks that no network has are left out.
    """
    if not signatures:
        return QuestionAnswer(number=3)
    effects = block_effects(config, indices, accuracies)
    rows, figures = [], {}
    firm: list[str] = []
    for name, values in signatures.items():
        each = []
        for stage in range(config.stages):
            each.append(correlation_of(spearman, values[:, stage], effects[stage]))
            if each[-1].low > 0:
                firm.append(f"{name} in stage {stage}: {each[-1]}")
        rows.append((name, *map(str, each)))
        figures[name] = [one.to_plain() for one in each]
    seen = [int(np.isfinite(effects[stage]).sum()) for stage in range(config.stages)]
    count = len(config.blocks)
    sentence = (
        f"{'yes, ' + '; '.join(firm) if firm else 'no different from chance'} (Spearman's rho of {', '.join(map(str, seen))} of "
        f"{count} blocks' signatures with their effects on {len(indices)} networks; each interval over blocks, of "
        f"{counted(max(map(len, signatures.values())), 'library', 'libraries')})"
    )
    return QuestionAnswer(
        number=3,
        verdict=AnswerVerdict.YES if firm else AnswerVerdict.UNCLEAR,
        sentence=sentence,
        columns=("signature", *(f"Spearman, stage {stage}" for stage in range(config.stages))),
        rows=tuple(rows),
        figures={"spearman": figures, "blocks_seen": seen},
    )


def do_they_predict(
    correlations: Mapping[str, tuple[Estimate, Estimate]], blockwise: Sequence[str]
) -> QuestionAnswer:
    """Test which of the `blockwise` predictors rank networks, by (Kendall, Spearman) of each predictor."""
    own = {name: correlations[name] for name in blockwise if name in correlations}
    if not own:
        return QuestionAnswer(number=4)
    others = {name: pair for name, pair in correlations.items() if name not in own and name != CEILING}
    best = _best(own)
    text = f"the best of the blockwise predictors is {best}, Kendall's tau {own[best][0]}"
    judged = own[best][0].count
    if others:
        other = _best(others)
        text += f"; the best of the others is {other}, {others[other][0]}"
        if others[other][0].count != judged:
            text += f" (not comparable closely: judged by {judged} networks and by {others[other][0].count})"
    verdict = verdict_of(own[best][0])
    return QuestionAnswer(
        number=4,
        verdict=verdict,
        sentence=f"{(_WORDS | _RANKED)[verdict]}: {text}",
        columns=("predictor", "Kendall", "Spearman", "networks"),
        rows=tuple((name, str(t), str(r), str(t.count)) for name, (t, r) in correlations.items()),
        figures={name: plain_pair(*pair) for name, pair in correlations.items()},
    )


def how_many_epochs(tuned: Mapping[int, FloatArray]) -> QuestionAnswer:
    """Find the number of fine-tuning epochs after which more do not help, from test accuracies (n,) by number of epochs."""
    if len(tuned) < 2:
        return QuestionAnswer(number=5)
    counts = sorted(tuned)
    last = counts[-1]
    gains = {count: mean_of(tuned[last] - tuned[count]) for count in counts[:-1]}
    enough = next((count for count in counts[:-1] if gains[count].low <= 0), last)
    if len(tuned[last]) < FEWEST_DRAWN:
        sentence = (
            f"too few networks to tell: over {len(tuned[last])} networks {last} epochs gain {_signed(gains[counts[-2]])} points "
            f"over {counts[-2]}"
        )
    elif enough == last:
        sentence = (
            f"at least {last}: {last} epochs still gain {_signed(gains[counts[-2]])} points over {counts[-2]}"
        )
    else:
        sentence = f"{enough}: {last} epochs gain {_signed(gains[enough])} points over {enough}, no different from none"
    rows = [
        (str(count), str(mean_of(tuned[count])), _signed(gains[count]) if count in gains else "")
        for count in counts
    ]
    return QuestionAnswer(
        number=5,
        sentence=f"{sentence}; each number of epochs is a fine-tuning of its own, its rate falling to 0",
        columns=("fine-tuning epochs", "test %", f"what {last} epochs gain on it, points"),
        rows=tuple(rows),
        figures={
            "test_percent": {str(count): mean_of(tuned[count]).to_plain() for count in counts},
            "gain_of_last_points": {str(count): one.to_plain() for count, one in gains.items()},
        },
    )


def can_one_iterate(
    tested: FloatArray,
    from_scratch: FloatArray,
    ranked: FloatArray,
    good_teacher: FloatArray | None = None,
    *,
    epochs: tuple[int, int],
) -> QuestionAnswer:
    """Evaluate iterations from random teachers: `tested` and `from_scratch`, (runs, rounds + 1), and `ranked`, (runs, rounds).

    `tested` are the test accuracies of the random teacher and of each round's winner; `from_scratch` those of the same networks
    in the ground truth. `ranked`: Kendall's tau of the sum of signatures under each teacher; `good_teacher`: under a good one.
    `epochs`: of training a random teacher from scratch, as in the ground truth, and of fine-tuning a winner.
    """
    if not tested.size or tested.shape[1] < 2:
        return QuestionAnswer(number=6)
    runs, rounds = ranked.shape
    gain = mean_of(tested[:, -1] - tested[:, 0])
    verdict = AnswerVerdict.TOO_FEW if runs < FEWEST_RUNS else verdict_of(gain, epochs[1], epochs[0])
    words = {
        AnswerVerdict.NO: "no, it loses",
        AnswerVerdict.UNCLEAR: "no different from no gain",
        AnswerVerdict.TOO_FEW: "one run decides nothing" if runs == 1 else "too few runs to tell",
        AnswerVerdict.NOT_COMPARABLE: f"not comparable, {epochs[1]} epochs with {epochs[0]}",
    }
    start, end = mean_of(tested[:, 0]), mean_of(tested[:, -1])
    gain_scratch = mean_of(from_scratch[:, -1] - from_scratch[:, 0])
    sentence = (
        f"{(_WORDS | words)[verdict]}: from random teachers of {start} % test, {counted(rounds, 'round')} lead to networks of "
        f"{end} %, {_signed(gain)} points more, over {counted(runs, 'run')}"
    )
    if epochs[0] != epochs[1]:
        sentence += (
            f"; teachers were trained for {epochs[0]} epochs and winners fine-tuned for {epochs[1]}, and from scratch for "
            f"{epochs[0]} each the winners gain {_signed(gain_scratch)} points"
        )
    rows = []
    for number in range(rounds + 1):
        tau = str(_tau(ranked[:, number])) if number < rounds else ""
        name = "random teacher" if not number else f"winner of round {number}"
        rows.append((name, str(mean_of(tested[:, number])), str(mean_of(from_scratch[:, number])), tau))
    if good_teacher is not None and good_teacher.size:
        rows.append(("largest network as teacher", "", "", str(_tau(good_teacher))))
    return QuestionAnswer(
        number=6,
        verdict=verdict,
        sentence=sentence,
        columns=("teacher", "test %", "the same from scratch, test %", "Kendall of its sum"),
        rows=tuple(rows),
        figures={
            "test_percent": [mean_of(tested[:, n]).to_plain() for n in range(rounds + 1)],
            "scratch_percent": [mean_of(from_scratch[:, n]).to_plain() for n in range(rounds + 1)],
            "kendall": [_tau(ranked[:, n]).to_plain() for n in range(rounds)],
            "gain_points": gain.to_plain(),
            "gain_from_scratch_points": gain_scratch.to_plain(),
            "runs": runs,
        },
    )


def verdict_of(estimate: Estimate, epochs: int = 1, others: int = 1) -> AnswerVerdict:
    """Return the verdict on a rank correlation, or on the gain of networks trained for `epochs` over others trained for `others`.

    With unequal epochs only these are comparable: networks that are better with fewer epochs, or worse with more.
    """
    if np.isnan(estimate.low):
        return AnswerVerdict.TOO_FEW
    if estimate.low > 0 and epochs <= others:
        return AnswerVerdict.YES
    if estimate.high < 0 and epochs >= others:
        return AnswerVerdict.NO
    return AnswerVerdict.UNCLEAR if epochs == others else AnswerVerdict.NOT_COMPARABLE


# Words of verdicts: those of all questions, and of questions about rank correlations.
_WORDS = {AnswerVerdict.YES: "yes", AnswerVerdict.TOO_FEW: "too few networks to tell"}
_RANKED = {AnswerVerdict.NO: "no, they oppose", AnswerVerdict.UNCLEAR: "no different from chance"}


def both_correlations(predicted: FloatArray, true: FloatArray) -> tuple[Estimate, Estimate]:
    """Return Kendall's tau and Spearman's rho of predictions (n,) or (runs, n) with the truth (n,)."""
    return correlation_of(kendall, predicted, true), correlation_of(spearman, predicted, true)


def plain_pair(tau: Estimate, rho: Estimate) -> dict[str, Any]:
    """Return both rank correlations for JSON."""
    return {"kendall": tau.to_plain(), "spearman": rho.to_plain()}


def _best(ranked: Mapping[str, tuple[Estimate, Estimate]]) -> str:
    """Return the name of the highest Kendall's tau; those without one come last."""
    return max(ranked, key=lambda name: np.nan_to_num(ranked[name][0].value, nan=-2.0))


def _tau(values: FloatArray) -> Estimate:
    """Return the mean of rank correlations; its interval ends where they do."""
    found = mean_of(values)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0)) if found.count > 1 else found


def _signed(one: Estimate) -> str:
    if np.isnan(one.low):
        return f"{one.value:+.2f} (no interval)"
    return f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
