"""The recipe of a distillation: values out of range are named, and its digest names all of it."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest

from search.distillation.recipe import FORMS, DistilRecipe
from search.training.augment import Augmentation
from space.errors import ConfigError

TWICE = DistilRecipe(epochs=2, batch=20)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"batch": 1}, "batch = 1; give a whole number of at least 2"),
        ({"epochs": True}, "epochs = True; give a whole number"),
        ({"seed": 2**63}, "seed = 9223372036854775808"),
        ({"learning_rate": math.nan}, "learning_rate = nan; give a finite number"),
        ({"weight_decay": math.inf}, "weight_decay = inf; give a finite number"),
        ({"weight_decay": -0.1}, "weight_decay = -0.1; give a finite number of at least 0"),
        ({"keep_own": 1}, "keep_own = 1; give true or false"),
        ({"augmentation": "none"}, "augmentation = 'none'; give an Augmentation"),
    ],
)
def test_a_recipes_value_out_of_range_is_named(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=f"^distillation recipe: {told}"):
        dataclasses.replace(TWICE, **changes)


def test_a_recipes_digest_names_all_of_it_and_nothing_else() -> None:
    assert (
        dataclasses.replace(TWICE, weight_decay=1).digest
        == dataclasses.replace(TWICE, weight_decay=1.0).digest
    )
    others: dict[str, Any] = {
        "epochs": 3,
        "batch": 16,
        "learning_rate": 0.02,
        "weight_decay": 0.1,
        "loss": "mse",
        "views": 2,
        "augmentation": Augmentation(rand_ops=0, cutout=0),
        "keep_own": True,
        "shared": True,
        "paths": "fair",
        "seed": 1,
    }
    assert others.keys() == {item.name for item in dataclasses.fields(DistilRecipe)}
    both = {"paths": {"shared": True, "paths": "fair"}}  # which do not go without each other
    changed = {
        dataclasses.replace(TWICE, **both.get(name, {name: value})).digest for name, value in others.items()
    }
    assert len({TWICE.digest, *changed}) == 12


def test_a_recipe_of_before_there_were_paths_has_the_text_and_so_the_key_that_it_had() -> None:
    assert TWICE.digest == "426d5aa1c17af2815f0bb34b409eb1ef0367e966d0983cb706d8b78ed3ee2668"
    fair = dataclasses.replace(TWICE, shared=True, paths="fair")
    assert set(json.loads(fair.to_json())) - set(json.loads(TWICE.to_json())) == {"paths"}
    assert DistilRecipe.from_json(fair.to_json()) == fair
    with pytest.raises(
        ConfigError, match="paths = 'fair'; blocks with separate weights have no paths; share"
    ):
        dataclasses.replace(TWICE, paths="fair")


@pytest.mark.parametrize(
    ("changes", "form"),
    [
        ({}, "blocks apart, nsr, 2 epochs, as DONNA does"),
        ({"loss": "mse"}, "blocks apart, mse, 2 epochs"),
        ({"loss": "mse", "epochs": 1}, "blocks apart, mse, 1 epoch, as LANA does"),
        ({"shared": True}, "a supernet a stage, random paths, nsr, 2 epochs"),
        (FORMS["dna"], "a supernet a stage, fair paths, mse, 2 epochs, as DNA does"),
    ],
)
def test_a_recipe_says_of_which_published_form_it_is(changes: dict[str, Any], form: str) -> None:
    assert dataclasses.replace(TWICE, **changes).form == form


def test_the_rate_falls_along_half_a_cosine() -> None:
    found = list(map(DistilRecipe(learning_rate=0.02).rate_at, (0, 0.25, 0.5, 1)))
    assert found == pytest.approx([0.02, 0.0170711, 0.01, 0], abs=1e-7)
