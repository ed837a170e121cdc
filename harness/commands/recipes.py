"""The recipe of a training as the command line gives it: a file, single values over it, or the task's usual one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.commands.option_groups import takes
from space.errors import ConfigError, did_you_mean

if TYPE_CHECKING:
    from search.training.augment import Augmentation
    from search.training.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Typed:
    """What the user typed of a recipe, None where nothing: the options of commands that train."""

    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE.json",
            help="Recipe as JSON; what it leaves out is as published. [default: as published; for digits and synthetic images "
            "20 epochs, batch 64, learning rate 0.05, augmentation mild, channels last]",
        ),
    ] = None
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Epochs, in place of the recipe's.")
    ] = None
    batch: Annotated[int | None, typer.Option("--batch", min=1, help="Images a step.")] = None
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", help="Learning rate of the first epoch.")
    ] = None
    augmentation: Annotated[
        str | None,
        typer.Option(
            "--augmentation",
            help="published (RandAugment, flip, crop, cutout), mild (small shifts) or none; the published one is made for "
            "photographs and hurts small images.",
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option("--seed", min=0, help="Seed of weights, order of images and augmentation. [default: 0]"),
    ] = None
    mixed_precision: Annotated[
        bool | None,
        typer.Option("--mixed-precision/--full-precision", help="Compute in bfloat16 where it does."),
    ] = None
    channels_last: Annotated[
        bool | None, typer.Option("--channels-last/--channels-first", help="Layout of images in memory.")
    ] = None


takes_recipe = takes(Typed, "typed")  # gives a command the options of `Typed`


def choose_recipe(source: str, typed: Typed) -> Recipe:
    """Return the recipe of a task's source: the file's, or the usual one, with what else was typed in place of its values.

    Raises: ConfigError when the file or a value cannot be used.
    """
    from search.training.usual import usual_recipe

    recipe = usual_recipe(source) if typed.recipe is None else _read(typed.recipe)
    changes: dict[str, Any] = {
        field.name: value
        for field in dataclasses.fields(Typed)
        if field.name != "recipe" and (value := getattr(typed, field.name)) is not None
    }
    if typed.augmentation is not None:
        changes["augmentation"] = named_augmentation(typed.augmentation)
    return dataclasses.replace(recipe, **changes)


def named_augmentation(name: str) -> Augmentation:
    """Return the augmentation of a name. Raises: ConfigError when there is none."""
    from search.training.usual import AUGMENTATIONS

    if name not in AUGMENTATIONS:
        near = did_you_mean(name, AUGMENTATIONS)
        raise ConfigError(f"--augmentation {name!r} is unknown{near} (known: {', '.join(AUGMENTATIONS)})")
    return AUGMENTATIONS[name]


def _read(path: Path) -> Recipe:
    from search.training.recipe import Recipe

    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"--recipe {path}: cannot be read: {error}") from error
    try:
        return Recipe.from_json(text)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error
