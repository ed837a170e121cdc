"""Methods of the study: what cannot be fitted is left out, and said to be."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from factories.signatures import made_signatures

from search.distillation.recipe import DistilRecipe
from search.study.candidates import Candidates, add_supernets, add_tuned
from search.study.settings import StudySettings
from search.study.truth import GroundTruth
from search.work.flops import Spent
from search.work.unit import Unit
from space import MINI


def ground_truth() -> GroundTruth:
    val = np.linspace(50.0, 60.0, 30)
    return GroundTruth(
        config=MINI,
        indices=np.arange(0, 1500, 50),
        val=val,
        tests=val[None],
        seconds=np.ones(30),
        dataset="synthetic",
        epochs=1,
        seed=0,
        origin="a test",
        digest="0" * 64,
    )


@pytest.mark.parametrize(("count", "is_fitted"), [(3, False), (4, True)])
def test_donna_as_published_is_left_out_where_too_few_networks_are_fine_tuned(
    count: int, is_fitted: bool
) -> None:
    truth, found = ground_truth(), Candidates()
    context: Any = SimpleNamespace(truth=truth, settings=StudySettings(space="mini"), images=100)
    library: Any = SimpleNamespace(signatures=made_signatures(), spent=Spent())
    tuned = [
        SimpleNamespace(
            index=int(truth.indices[place]),
            spent=Spent(networks=1),
            trained=SimpleNamespace(best=SimpleNamespace(val=SimpleNamespace(top1=50.0 + place))),
        )
        for place in range(count)
    ]
    add_tuned(context, library, cast("Any", tuned), found)
    assert set(found.methods) == {"donna-tuned", "donna-published"} - (
        set() if is_fitted else {"donna-published"}
    )
    assert (f"DONNA as published, {count} fine-tuned" in found.predictions) == is_fitted
    assert (f"DONNA as published, {count} fine-tuned" in found.blockwise) == is_fitted
    if is_fitted:
        assert found.left_out == []
    else:
        (told,) = found.left_out
        assert "donna-published is left out" in told
        assert "space 'mini' it is fitted to 4 fine-tuned networks or more, and there are 3" in told


def test_a_supernet_whose_recipe_names_no_epochs_costs_what_the_usual_number_does() -> None:
    truth = ground_truth()
    teacher: Any = SimpleNamespace(index=0, digest="0" * 64, spent=Spent())

    def by_name(groups: dict[int, list[Unit]]) -> dict[int, list[tuple[Any, float]]]:
        content = {"scores": [0.0] * len(MINI.blocks)}
        return {name: [(content, 1.0) for _ in units] for name, units in groups.items()}

    def first_flops(supernet: dict[str, Any]) -> float:
        context: Any = SimpleNamespace(
            truth=truth,
            settings=StudySettings(space="mini", supernet=supernet, dna={}),
            images=100,
            task=SimpleNamespace(profile=range(10)),
            base={"space": "mini", "task": "digits"},
            unit_runner=SimpleNamespace(by_name=by_name),
        )
        found = Candidates()
        add_supernets(context, [teacher], found)
        return float(found.methods["supernet"].runs[0].flops[0])

    assert first_flops({}) == first_flops({"epochs": DistilRecipe().epochs}) > first_flops({"epochs": 1})
