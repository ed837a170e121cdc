"""The paper's six questions, each answered with estimates and intervals: pure functions of arrays.

The questions are those of Blox (arXiv:2210.07271). Accuracies are of test images, in percent; differences are in points, over
networks, paired. The module is as long as six questions are. A question whose numbers were not computed is answered by
`NOT_ANSWERED` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from search.methods.ridge import fit_ridge_cv
from search.statistics import FEWEST_DRAWN, Estimate, correlation_of, kendall, mean_of, spearman
from search.study.runs import FEWEST_RUNS, NOT_COMPARABLE
from space import SpaceConfig
from space.indexing import FloatArray, block_indices

NOT_ANSWERED = "not answered here"
CEILING = (
    "validation accuracy, trained"  # no predictor, but what one could reach at best: it saw the training
)
QUESTIONS = (
    "Does distillation beat normal training?",
    "Does fine-tuned accuracy correlate with accuracy from scratch?",
    "Do signatures find good blocks?",
    "Do they predict end to end?",
    "How many fine-tuning epochs are needed?",
    "Can one search without a good teacher?",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionAnswer:
    """Answer to question `number`: a sentence, and the numbers behind it as a table and as plain values."""

    number: int
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

    Those are compared that were fine-tuned for as many epochs, else the nearest below, else above.
    """
    if not tuned:
        return QuestionAnswer(number=1)
    gains = {count: mean_of(accuracies - scratch) for count, accuracies in tuned.items()}
    last = max((count for count in gains if count <= epochs), default=min(gains))
    gain = gains[last]
    verdict = _verdict(gain, (last, epochs), "no, they are worse", "no clear difference")
    networks = len(scratch)
    sentence = (
        f"{verdict}: {networks} networks assembled from distilled blocks and fine-tuned with their teacher for {last} epochs "
        f"test {_signed(gain)} points against the same networks trained from scratch for {epochs} epochs"
    )
    if verdict.startswith(NOT_COMPARABLE):
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
    both = {count: _both(accuracies, scratch) for count, accuracies in tuned.items()}
    last = max(both)
    tau, rho = both[last]
    sentence = (
        f"{_whether(tau)}: over {len(scratch)} networks Kendall's tau is {tau} and Spearman's rho {rho}, "
        f"after {last} epochs of fine-tuning"
    )
    return QuestionAnswer(
        number=2,
        sentence=sentence,
        columns=("fine-tuning epochs", "Kendall", "Spearman"),
        rows=tuple((str(count), str(t), str(r)) for count, (t, r) in both.items()),
        figures={
            str(count): {"kendall": t.to_plain(), "spearman": r.to_plain()} for count, (t, r) in both.items()
        },
    )


def block_effects(config: SpaceConfig, indices: NDArray[np.int64], accuracies: FloatArray) -> FloatArray:
    """Return the effect of each block in each stage on accuracies (n,), (stages, B); NaN where no network has it.

    Least squares on which block is where, with the ridge penalty that leave-one-out prefers: 120 networks see a block of 45 less
    than three times a stage, and plain least squares would answer with their noise.
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
    """Correlate the signatures of each stage's blocks, (libraries, stages, B), higher better, with the blocks' effects.

    The effects are fitted to the accuracies (n,) of the networks at `indices` (n,); blocks that none of these has are left out.
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
        f"{_counted(max(map(len, signatures.values())), 'library', 'libraries')})"
    )
    return QuestionAnswer(
        number=3,
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
    best = max(own, key=lambda name: own[name][0].value)
    text = f"the best of the blockwise predictors is {best}, Kendall's tau {own[best][0]}"
    judged = own[best][0].count
    if others:
        other = max(others, key=lambda name: others[name][0].value)
        text += f"; the best of the others is {other}, {others[other][0]}"
        if others[other][0].count != judged:
            text += (
                f" ({NOT_COMPARABLE} closely: judged by {judged} networks and by {others[other][0].count})"
            )
    return QuestionAnswer(
        number=4,
        sentence=f"{_whether(own[best][0])}: {text}",
        columns=("predictor", "Kendall", "Spearman", "networks"),
        rows=tuple((name, str(t), str(r), str(t.count)) for name, (t, r) in correlations.items()),
        figures={
            name: {"kendall": t.to_plain(), "spearman": r.to_plain()} for name, (t, r) in correlations.items()
        },
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

    `tested` are the test accuracies of each teacher as it taught, the last one never did; `from_scratch` those of the same
    networks in the ground truth. `ranked`: Kendall's tau of the sum of signatures under each teacher. `good_teacher`: the
    taus under a good one. `epochs`: those that a random teacher was trained for from scratch, as was the ground truth, and those
    that a winner was fine-tuned for.
    """
    if not tested.size or tested.shape[1] < 2:
        return QuestionAnswer(number=6)
    runs, rounds = ranked.shape
    gain = mean_of(tested[:, -1] - tested[:, 0])
    start, end = mean_of(tested[:, 0]), mean_of(tested[:, -1])
    gain_scratch = mean_of(from_scratch[:, -1] - from_scratch[:, 0])
    told = _verdict(gain, (epochs[1], epochs[0]), "no, it loses", "no different from no gain")
    if runs < FEWEST_RUNS:
        told = "one run decides nothing" if runs == 1 else "too few runs to tell"
    sentence = (
        f"{told}: from random teachers of {start} % test, {rounds} round{'s' if rounds > 1 else ''} lead to networks of {end} %, "
        f"{_signed(gain)} points more, over {runs} run{'s' if runs > 1 else ''}"
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


def _both(predicted: FloatArray, true: FloatArray) -> tuple[Estimate, Estimate]:
    return correlation_of(kendall, predicted, true), correlation_of(spearman, predicted, true)


def _verdict(gain: Estimate, epochs: tuple[int, int], worse: str, none: str) -> str:
    """Return a verdict on the gain of networks trained for the first of the `epochs` over others trained for the second.

    Of unlike epochs only this can be said: who had no more of them and is better is better, and who had no fewer and is worse is
    worse.
    """
    if np.isnan(gain.low):
        return "too few networks to tell"
    if gain.low > 0 and epochs[0] <= epochs[1]:
        return "yes"
    if gain.high < 0 and epochs[0] >= epochs[1]:
        return worse
    return none if epochs[0] == epochs[1] else f"{NOT_COMPARABLE}, {epochs[0]} epochs with {epochs[1]}"


def _counted(count: int, one: str, several: str) -> str:
    return f"1 {one}" if count == 1 else f"{count} {several}"


def _whether(tau: Estimate) -> str:
    if np.isnan(tau.low):
        return "too few networks to tell"
    if tau.low > 0:
        return "yes"
    return "no, they oppose" if tau.high < 0 else "no different from chance"


def _tau(values: FloatArray) -> Estimate:
    """Return the mean of rank correlations; its interval ends where they do."""
    found = mean_of(values)
    return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0)) if found.count > 1 else found


def _signed(one: Estimate) -> str:
    if np.isnan(one.low):
        return f"{one.value:+.2f} (no interval)"
    return f"{one.value:+.2f} ({one.low:+.2f} to {one.high:+.2f})"
