"""Parts of a round: libraries distilled anew with other seeds, and the images that decide between rounds."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from factories.block_libraries import made_library, made_stage
from factories.small_distillations import small_task, small_task_apart, small_teacher

from search.blockwise import rounds
from search.blockwise.iterated_search import Budget, val_of
from search.distillation.recipe import DistilRecipe
from search.training.images import Task


@pytest.mark.parametrize("added", [0, 2])
def test_a_library_is_distilled_anew_by_its_own_recipes_with_the_seed_that_is_added(
    added: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = made_library()
    asked: list[tuple[int, DistilRecipe]] = []

    def stage_units(teacher: Any, task: Any, recipes: dict[int, DistilRecipe], results: Any) -> Any:
        asked.extend(recipes.items())
        return [SimpleNamespace(key=str(place)) for place in recipes]

    monkeypatch.setattr(rounds, "stage_units", stage_units)
    monkeypatch.setattr(rounds, "stage_from", lambda place: made_stage(library.teacher, int(place)))
    setting = SimpleNamespace(
        task=None,
        log=lambda text: None,
        results=SimpleNamespace(get=lambda digest: digest),
        run=lambda named, results, **told: {unit.key: unit.key for _, unit in named},
    )
    found = rounds.distilled(library.teacher, library, cast(Any, setting), added_seed=added)
    assert [one.stage for one in found.stages if one] == [0, 1]
    assert [(place, recipe.seed) for place, recipe in asked] == [(0, added), (1, added)]
    assert {(recipe.epochs, recipe.batch) for _, recipe in asked} == {(1, 20)}


def test_rounds_are_decided_by_the_images_for_re_scoring_where_there_are_some() -> None:
    apart, shared = small_task_apart(), small_task()
    trained = small_teacher()
    val = rounds.rescored(cast(Any, SimpleNamespace(task=apart, device="cpu")))
    assert val(trained).images == len(apart.rescore) != len(apart.val)
    of_before = rounds.rescored(cast(Any, SimpleNamespace(task=shared, device="cpu")))
    assert of_before is val_of and of_before(trained) is trained.best.val


@pytest.mark.parametrize(
    ("task", "wanted"), [(small_task(), "validation images"), (small_task_apart(), "images for re-scoring")]
)
def test_the_images_that_decide_between_rounds_are_named(
    task: Task, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def iterate(teachers: Any, do_rounds: Any, budget: Budget, *, deciding: str, **more: Any) -> Any:
        asked.append(deciding)
        do_rounds(1, dict(enumerate(teachers)))
        return [SimpleNamespace(stop="")]

    student = SimpleNamespace(trained=small_teacher(), val=small_teacher().best.val)
    searched = SimpleNamespace(found=SimpleNamespace(best=student), flops=1.0)
    monkeypatch.setattr(rounds, "iterate", iterate)
    monkeypatch.setattr(rounds, "search_round", lambda library, setting: searched)
    monkeypatch.setattr(rounds, "_notes", lambda searched: {})
    setting = SimpleNamespace(task=task, device="cpu", log=lambda text: None)
    rounds.search_again(cast(Any, SimpleNamespace(teacher=small_teacher())), cast(Any, setting), Budget())
    assert asked == [wanted]
