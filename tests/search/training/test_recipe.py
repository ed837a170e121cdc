"""The recipe: the published defaults, its schedule by hand, its text and its name."""

from __future__ import annotations

import dataclasses
import json

import pytest

from search.training.augment import MILD, Augmentation
from search.training.recipe import PUBLISHED, SHORT, Recipe, default_recipe
from space.errors import ConfigError


def test_the_defaults_are_the_published_ones() -> None:
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch, recipe.seed) == (200, 256, 0)
    assert (recipe.learning_rate, recipe.momentum, recipe.weight_decay) == (0.01, 0.9, 5e-4)
    assert not any((recipe.nesterov, recipe.label_smoothing, recipe.mixed_precision, recipe.channels_last))
    assert recipe.augmentation == Augmentation()


def test_the_learning_rate_falls_along_half_a_cosine_by_epoch() -> None:
    recipe = Recipe(epochs=200)
    assert recipe.rate_at(1) == 0.01
    assert recipe.rate_at(51) == pytest.approx(0.01 * (1 + 2**-0.5) / 2)  # cos 45 degrees
    assert recipe.rate_at(101) == pytest.approx(0.005)
    assert recipe.rate_at(151) == pytest.approx(0.01 * (1 - 2**-0.5) / 2)
    assert recipe.rate_at(200) == pytest.approx(6.1680e-07, rel=1e-4)  # 0.01 * (pi / 400) ** 2, nearly
    assert recipe.rate_at(201) == pytest.approx(0, abs=1e-18)


def test_a_recipe_reads_back_equal_from_its_text() -> None:
    recipe = Recipe(epochs=7, batch=64, learning_rate=0.1, nesterov=True, seed=3, channels_last=True)
    assert Recipe.from_json(recipe.to_json()) == recipe
    assert Recipe.from_json("{}") == Recipe()
    named = Recipe.from_json('{"augmentation": "mild"}')
    assert named == Recipe(augmentation=MILD) and named.digest == Recipe(augmentation=MILD).digest


def test_only_cifar_is_trained_as_published_unless_it_is_said() -> None:
    assert default_recipe("/data/cifar") == PUBLISHED
    assert {default_recipe(f"{kind}:x") for kind in ("digits", "synthetic", "folder", "npz")} == {SHORT}


def test_the_digest_names_the_recipe() -> None:
    assert Recipe().digest == Recipe(epochs=200).digest
    assert Recipe(momentum=0).digest == Recipe(momentum=0.0).digest
    others = {
        **{
            "epochs": 10,
            "batch": 2,
            "learning_rate": 1.0,
            "momentum": 0.5,
            "nesterov": True,
            "weight_decay": 0.1,
        },
        **{
            "label_smoothing": 0.1,
            "mixed_precision": True,
            "channels_last": True,
            "seed": 1,
        },
    }
    assert {*others, "augmentation"} == {field.name for field in dataclasses.fields(Recipe)}
    digests = {dataclasses.replace(Recipe(), **{key: value}).digest for key, value in others.items()}
    assert len({*digests, Recipe().digest}) == len(others) + 1


def test_the_augmentation_is_part_of_the_digest() -> None:
    changed = json.loads(Recipe().to_json())
    assert changed["augmentation"]["flip"] != 0
    changed["augmentation"]["flip"] = 0.0
    found = Recipe.from_json(json.dumps(changed))
    assert found.augmentation == dataclasses.replace(Augmentation(), flip=0.0)
    assert found.digest != Recipe().digest


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs = 0; give a whole number of at least 1"),
        ({"batch": 1.5}, "batch = 1.5"),
        ({"epochs": True}, "epochs = True"),
        ({"seed": -1}, "seed = -1"),
        ({"learning_rate": 0}, "learning_rate = 0; give a finite number above 0"),
        ({"learning_rate": float("nan")}, "learning_rate = nan; give a finite number"),
        ({"momentum": 1}, "momentum = 1; give a finite number from 0 to below 1"),
        ({"momentum": 0, "nesterov": True}, "nesterov = True; it needs a momentum"),
        ({"weight_decay": -1}, "weight_decay = -1"),
        ({"label_smoothing": 1}, "label_smoothing = 1; "),
        ({"mixed_precision": 1}, "mixed_precision = 1; give true or false"),
        ({"augmentation": None}, r"augmentation = None; give an Augmentation"),
    ],
)
def test_a_value_out_of_range_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "recipe is list"),
        ('{"epoch": 1}', "no 'epoch'; did you mean 'epochs'"),
        ('{"augmentation": {"flop": 1}}', "augmentation has no 'flop'; did you mean 'flip'"),
        ('{"augmentation": {"ops": 5}}', "augmentation: ops = 5; give a list of texts"),
        ('{"augmentation": 5}', "augmentation is int"),
        ('{"augmentation": "milt"}', "recipe: augmentation 'milt' is unknown; did you mean 'mild'"),
        ('{"epochs": "9"}', "epochs = '9'"),
    ],
)
def test_text_that_is_no_recipe_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Recipe.from_json(text)
