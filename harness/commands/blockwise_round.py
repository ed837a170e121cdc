"""One round of a blockwise search: a library's signatures, a predictor fitted to them, finalists, fine-tuning."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from harness.commands.blockwise_choice import Choice, choose
from harness.commands.blockwise_work import Setting, distilling_cost, fine_tuner, signatures_of, tuning_cost

if TYPE_CHECKING:
    from search.blockwise.candidates import Candidate, Found
    from search.blockwise.fitting import Fitted
    from search.blockwise.library import BlockLibrary
    from search.blockwise.predictors_report import Report
    from search.blockwise.signatures import Signatures

SHOWN_COVERAGE = 0.90


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Searched:
    """A round's library, what was predicted from it, and what was found; `flops` are of its training and distilling.

    `report` judges the predictor by the networks that it was fitted to, each left out; None where there are none.
    """

    library: BlockLibrary
    signatures: Signatures
    fitted: Fitted
    report: Report | None
    choice: Choice
    found: Found
    flops: float


def search_round(library: BlockLibrary, setting: Setting) -> Searched:
    """Search a library: nothing of it is trained but what is fine-tuned.

    Raises: ConfigError when a stage was not distilled, no network is within the limits, or a predictor cannot be fitted.
    """
    from search.blockwise.plugged import judge_on
    from search.blockwise.predictors import evaluate, fit
    from search.blockwise.searching import search_blockwise

    say = setting.say
    signatures = signatures_of(library, setting).with_columns(setting.costs.blocks)
    signatures = replace(signatures, notes={**signatures.notes, **setting.costs.sources})
    known = setting.known
    fitted = fit(
        setting.predictor,
        signatures,
        setting.columns,
        indices=np.array([], dtype=np.int64) if known is None else known.indices,
        accuracies=None if known is None else known.accuracies,
        seed=setting.seed,
    )
    report = evaluate(fitted, seed=setting.seed) if known is not None else None
    choice = choose(fitted, signatures, setting)

    def told(candidate: Candidate) -> None:
        say(f"{candidate.architecture}: {candidate.plugged.top1:.2f} % with the library's weights")

    found = search_blockwise(
        library.config,
        choice.finalists,
        library,
        setting.plan,
        judge_on(setting.task, setting.device),
        fine_tuner(library, setting),
        allowed=choice.allowed,
        on_candidate=told,
    )
    flops = distilling_cost(library.teacher, library, setting.task) + sum(
        tuning_cost(library.teacher, student.architecture.index, setting)
        for student in found.students
        if student.trained is not None
    )
    return Searched(
        library=library,
        signatures=signatures,
        fitted=fitted,
        report=report,
        choice=choice,
        found=found,
        flops=flops,
    )


def prediction_intervals(fitted: Fitted, indices: Sequence[int]) -> list[tuple[float | None, float | None]]:
    """Return the 90 % interval of each prediction, None for an end that is not known."""
    if not fitted.left_out or not len(indices):
        return [(None, None)] * len(indices)
    low, high = fitted.interval(np.array(indices, dtype=np.int64), SHOWN_COVERAGE)
    return [
        (a if math.isfinite(a) else None, b if math.isfinite(b) else None)
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
