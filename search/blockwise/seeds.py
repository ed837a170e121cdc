"""Blockwise search with several seeds: each distills libraries, chooses finalists and fine-tunes networks of its own.

    runs = search_seeds(library, setting, 3, search_round_or_rounds)
    incumbent(runs).searched.found.best         # chosen by the images for re-scoring over all seeds, and shown on test images
    between_seeds(runs)                         # the mean test accuracy of the seeds' answers, with Student's t

The first seed is that of the given library. Teacher and images are the same for all: runs differ by the luck of distilling,
choosing and fine-tuning.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from search.blockwise.candidates import Student, quality
from search.blockwise.iterated_search import Iterated
from search.blockwise.rounds import Searched, distilled
from search.blockwise.setting import Setting
from search.distillation.block_library import BlockLibrary
from search.statistics import Estimate, seeds_interval

SearchLibrary = Callable[[BlockLibrary, Setting], tuple[Iterated | None, Searched]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SeedRun:
    """A search with one seed, `added` to the seeds of the library's recipes and of the setting; its rounds, if it had several."""

    added: int
    iterated: Iterated | None
    searched: Searched

    @property
    def answer(self) -> Student:
        """The answer of this seed's search alone."""
        return self.searched.found.best


def search_seeds(
    library: BlockLibrary, setting: Setting, seeds: int, search: SearchLibrary
) -> tuple[SeedRun, ...]:
    """Search with as many seeds, one after the other: the library itself, and the same distilled with other seeds."""
    runs = []
    for added in range(seeds):
        if seeds > 1:
            setting.log(f"seed {added + 1} of {seeds}")
        own = distilled(library.teacher, library, setting, added_seed=added) if added else library
        iterated, searched = search(own, with_seed(setting, added))
        runs.append(SeedRun(added=added, iterated=iterated, searched=searched))
    return tuple(runs)


def with_seed(setting: Setting, added: int) -> Setting:
    """Return a setting whose seeds, of the predictor and of fine-tuning, have a number added."""
    recipe = replace(setting.recipe, seed=setting.recipe.seed + added)
    return replace(setting, seed=setting.seed + added, recipe=recipe)


def incumbent(runs: Sequence[SeedRun]) -> SeedRun:
    """Return the run of the best answer by the images for re-scoring, of equal ones the first."""
    return max(runs, key=lambda run: quality(run.answer.val))


def between_seeds(runs: Sequence[SeedRun]) -> Estimate:
    """Return the mean test accuracy of the runs' answers, in percent, with its interval between seeds."""
    return seeds_interval([run.answer.test.top1 for run in runs])
