"""Several seeds of a blockwise search: what each distills and searches with, and which answer is shown; all made up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from factories.block_libraries import made_library

from search.blockwise import rounds
from search.blockwise.rounds import SeedRun, between_seeds, incumbent, search_seeds
from search.distillation.block_library import BlockLibrary
from search.training.history import Figures
from search.training.recipe import Recipe


@dataclass(frozen=True)
class SomeSetting:
    """What a search with seeds looks at of a setting."""

    seed: int
    recipe: Recipe
    log: Any = lambda text: None


def answer(val: int, test: int) -> Any:
    of = {"images": 200, "loss": 1.0, "among_five": 200}
    return SimpleNamespace(val=Figures(first=val, **of), test=Figures(first=test, **of))


def run_of(added: int, val: int, test: int) -> SeedRun:
    searched = SimpleNamespace(found=SimpleNamespace(best=answer(val, test)))
    return SeedRun(added=added, iterated=None, searched=cast(Any, searched))


def test_the_answer_of_all_seeds_is_chosen_by_validation_and_shown_on_test() -> None:
    runs = [run_of(0, 190, 198), run_of(1, 195, 180), run_of(2, 195, 199)]
    assert incumbent(runs).added == 1, "the best by validation, the first of equal ones, however it tests"
    assert incumbent(runs).answer.test.top1_interval.value == 90
    mean = between_seeds(runs)
    assert mean.value == pytest.approx((99 + 90 + 99.5) / 3) and mean.count == 3
    assert np.isnan(between_seeds(runs[:1]).low)


def test_the_first_seed_is_the_library_s_and_each_other_distils_chooses_and_tunes_with_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    library, given = made_library(), SomeSetting(seed=5, recipe=Recipe(epochs=1, seed=7))
    remade: list[int] = []
    seen: list[tuple[bool, int, int]] = []

    def distilled(teacher: Any, like: BlockLibrary, setting: Any, *, added_seed: int) -> BlockLibrary:
        assert teacher is library.teacher and like is library and setting is given
        remade.append(added_seed)
        return replace(library)

    def search(own: BlockLibrary, setting: Any) -> Any:
        seen.append((own is library, setting.seed, setting.recipe.seed))
        return None, f"searched {setting.seed}"

    monkeypatch.setattr(rounds, "distilled", distilled)
    runs = search_seeds(library, cast(Any, given), 3, search)
    assert remade == [1, 2]
    assert seen == [(True, 5, 7), (False, 6, 8), (False, 7, 9)]
    assert [(run.added, run.searched) for run in runs] == [
        (0, "searched 5"),
        (1, "searched 6"),
        (2, "searched 7"),
    ]
