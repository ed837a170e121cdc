"""Options made from a recipe's fields: their flags, bounds and defaults, and the recipe that they make."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.models import OptionInfo

from harness.commands.recipe_options import RecipeOptions, takes_recipe
from search.distillation.recipe import DistilRecipe
from search.training.augment import MILD, NONE, Augmentation
from search.training.recipe import PUBLISHED, SHORT, Recipe
from space.errors import ConfigError


def given(*usual: Any) -> tuple[Callable[..., None], list[RecipeOptions]]:
    """Return a command with a recipe's options, and what it was called with."""
    calls: list[RecipeOptions] = []

    @takes_recipe("A file.", *usual)
    def command(typed: RecipeOptions, other: int = 1) -> None:
        calls.append(typed)

    return command, calls


def option(command: Callable[..., None], name: str) -> OptionInfo:
    hint = inspect.signature(command).parameters[name].annotation
    return next(one for one in get_args(hint) if isinstance(one, OptionInfo))


def test_each_described_field_is_an_option_and_the_command_keeps_its_own() -> None:
    command, _ = given(PUBLISHED, SHORT)
    assert list(inspect.signature(command).parameters) == [
        "recipe", "epochs", "batch", "learning_rate", "augmentation", "mixed_precision", "channels_last", "seed", "other",
    ]  # fmt: skip
    assert option(command, "epochs").min == 1 and option(command, "seed").min == 0
    # What typer takes for a default within Annotated are the flags.
    assert option(command, "learning_rate").default == "--learning-rate"
    assert option(command, "channels_last").default == "--channels-last/--channels-first"


def test_a_default_is_told_where_the_usual_recipes_agree() -> None:
    command, _ = given(PUBLISHED, SHORT)
    assert str(option(command, "seed").help).endswith("[default: 0]")
    assert "default" not in str(option(command, "epochs").help)
    command, _ = given(DistilRecipe())
    told = {
        name: str(option(command, name).help).partition("[default: ")[2]
        for name in ("epochs", "augmentation", "shared")
    }
    assert told == {"epochs": "20]", "augmentation": "none]", "shared": "apart]"}


def test_the_values_given_are_returned_or_the_whole_of_a_file_under_them(tmp_path: Path) -> None:
    command, calls = given(PUBLISHED, SHORT)
    nothing = dict.fromkeys(inspect.signature(command).parameters)
    command(**nothing)
    command(**{**nothing, "epochs": 3, "augmentation": "none", "channels_last": False})
    assert calls[0].given(Recipe) == {}
    assert calls[1].given(Recipe) == {
        "epochs": 3,
        "augmentation": NONE.to_plain(),
        "channels_last": False,
    }
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"epochs": 9, "momentum": 0.5, "augmentation": MILD.to_plain()}))
    command(**{**nothing, "recipe": path, "batch": 7})
    whole = Recipe(epochs=9, momentum=0.5, augmentation=MILD, batch=7)
    assert calls[2].given(Recipe) == whole, "what the file leaves out is as published"


def test_an_augmentation_may_be_a_file(tmp_path: Path) -> None:
    command, calls = given(PUBLISHED)
    path = tmp_path / "own.json"
    path.write_text('{"rand_ops": 0, "flip": 0.25}')
    command(**{**dict.fromkeys(inspect.signature(command).parameters), "augmentation": str(path)})
    (changed,) = calls[0].given(Recipe).values()
    assert changed == Augmentation(rand_ops=0, flip=0.25).to_plain()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"augmentation": "nowhere.json"}, "--augmentation nowhere.json: cannot be read"),
        ({"augmentation": "milt"}, "--augmentation 'milt' is unknown; did you mean 'mild'"),
        ({"recipe": Path("nowhere.json")}, "--recipe nowhere.json: cannot be read"),
    ],
)
def test_values_that_cannot_be_used_are_refused(values: dict[str, Any], message: str) -> None:
    command, calls = given(PUBLISHED)
    command(**{**dict.fromkeys(inspect.signature(command).parameters), **values})
    with pytest.raises(ConfigError, match=message):
        calls[0].given(Recipe)


def test_a_file_that_is_no_recipe_is_named(tmp_path: Path) -> None:
    command, calls = given(PUBLISHED)
    path = tmp_path / "recipe.json"
    path.write_text('{"epoch": 3}')
    command(**{**dict.fromkeys(inspect.signature(command).parameters), "recipe": path})
    with pytest.raises(ConfigError, match=r"recipe\.json: recipe has no 'epoch'; did you mean 'epochs'"):
        calls[0].given(Recipe)
