"""The recipe of a distillation as the command line gives it: a file, and single values over it."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes
from harness.commands.recipes import named_augmentation
from space.errors import ConfigError

if TYPE_CHECKING:
    from search.distillation.recipe import DistilRecipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What the user typed of a distillation's recipe, None where nothing."""

    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe", metavar="FILE.json", help="Recipe as JSON; what it leaves out has its default."
        ),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option("--loss", help="nsr (each channel's error over its variance) or mse. [default: nsr]"),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes over the features. [default: 20]")
    ] = None
    batch: Annotated[int | None, typer.Option("--batch", min=2, help="Images a step. [default: 64]")] = None
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Adam's, of the first step. [default: 0.01]")
    ] = None
    views: Annotated[
        int | None,
        typer.Option(
            "--views",
            min=1,
            help="Passes of the teacher, each augmented anew; epochs take turns. [default: 1]",
        ),
    ] = None
    augmentation: Annotated[
        str | None, typer.Option("--augmentation", help="published, mild or none. [default: none]")
    ] = None
    keep_own: Annotated[
        bool | None,
        typer.Option(
            "--keep-own/--train-own", help="Take the teacher's own blocks with the teacher's weights."
        ),
    ] = None
    shared: Annotated[
        bool | None,
        typer.Option(
            "--shared/--apart",
            help="Equal ops in equal places of a stage's blocks share weights (a supernet a stage): a step trains one random "
            "block, a fraction of the work; give it more epochs. [default: each block has its own]",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of weights and of the order of images. [default: 0]"),
    ] = None


takes_recipe = takes(Typed, "typed")  # gives a command the options of `Typed`


def choose_recipe(typed: Typed) -> DistilRecipe:
    """Return the file's recipe, or the default one, with what else was typed in place of its values.

    Raises: ConfigError when the file or a value cannot be used.
    """
    from search.distillation.recipe import DistilRecipe

    recipe = DistilRecipe() if typed.recipe is None else _read(typed.recipe)
    changes: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(Typed)
        if field.name != "recipe" and (value := getattr(typed, field.name)) is not None
    }
    if typed.augmentation is not None:
        changes["augmentation"] = named_augmentation(typed.augmentation)
    return dataclasses.replace(recipe, **changes)


def _read(path: Path) -> DistilRecipe:
    from search.distillation.recipe import DistilRecipe

    try:
        return DistilRecipe.from_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"--recipe {path}: cannot be read: {error}") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
